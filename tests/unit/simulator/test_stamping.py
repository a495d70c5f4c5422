import socket
import sys
import time

import pytest

from connectors.simulator.stamping import StampedSocket


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are asked for on Linux only")
def test_a_request_read_late_keeps_the_time_of_its_arrival() -> None:
    listener = StampedSocket.listening("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()) as client:
        connection, _ = listener.accept()
        assert isinstance(connection, StampedSocket)
        with connection:
            for _ in range(2):
                before_s = time.time()
                client.sendall(b"POST")
                sent_s = time.time()
                time.sleep(0.6)
                assert connection.recv(100) == b"POST"
                # The coarse kernel clock may tick a little behind, and a busy machine hand the packet over late.
                assert before_s - 0.02 <= connection.arrived_s <= sent_s + 0.5
