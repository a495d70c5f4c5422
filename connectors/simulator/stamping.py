"""When a request reached this machine, told by the kernel and not by us.

The vendor judges its callers by the second. A Python process that renders pages reads a request late by as long as a
render, a garbage collection or a busy core takes, and would see two honest requests as one burst. Linux stamps every
segment on arrival (`SO_TIMESTAMPNS`); the stamp is read along with the data. Elsewhere the time of reading must do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from typing import Any, Final, Self

from uvicorn.protocols.http.h11_impl import H11Protocol

_SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("@qq")
_ANCILLARY_BYTES: Final = 64
_KERNEL_STAMPS: Final = sys.platform == "linux"


class StampedSocket(socket.socket):
    """A TCP socket that knows when what it received last had arrived (epoch seconds)."""

    arrived_s: float = 0.0

    @classmethod
    def listening(cls, host: str, port: int) -> Self:
        """A bound, listening socket. Raises OSError when the port is taken."""
        # The protocol is named because asyncio sets TCP_NODELAY only where it is.
        listener = cls(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        listener.stamp()
        return listener

    def stamp(self) -> None:
        """Ask the kernel for stamps."""
        if _KERNEL_STAMPS:
            self.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection, stamped too."""
        connection, address = super().accept()
        stamped = type(self)(connection.family, connection.type, connection.proto, connection.detach())
        stamped.stamp()
        return stamped, address

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive, and keep the stamp of what came."""
        if not _KERNEL_STAMPS:
            self.arrived_s = time.time()
            return super().recv(size, flags)
        data, ancillary, _, _ = self.recvmsg(size, _ANCILLARY_BYTES, flags)
        stamps = [
            raw for level, kind, raw in ancillary if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS)
        ]
        self.arrived_s = _epoch_s(stamps[-1]) if stamps else time.time()
        return data


def _epoch_s(raw: bytes) -> float:
    seconds, nanoseconds = _TIMESPEC.unpack(raw[: _TIMESPEC.size])
    return float(seconds + nanoseconds / 1e9)


class StampedProtocol(H11Protocol):
    """Hands the arrival of a request's first bytes to the application, as `scope["state"]["arrived_s"]`."""

    _socket: StampedSocket | None = None
    _fresh = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Find the socket below the transport."""
        below = getattr(transport.get_extra_info("socket"), "_sock", None)
        self._socket = below if isinstance(below, StampedSocket) else None
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Note the arrival before anything is parsed."""
        if self._fresh:
            arrived_s = self._socket.arrived_s if self._socket else time.time()
            self.app_state = {**self.app_state, "arrived_s": arrived_s}
            self._fresh = False
        super().data_received(data)

    def on_response_complete(self) -> None:
        """The next bytes begin a new request."""
        self._fresh = True
        super().on_response_complete()
