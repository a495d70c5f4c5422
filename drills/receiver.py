"""An HTTP server that takes what is posted to it: a webhook, a collector of traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@contextmanager
def receiving(take: Callable[[bytes], int]) -> Iterator[str]:
    """Serve on a free port; yields the URL, without a slash at its end.

    Args:
        take: given each body, in a thread of its own; returns the status to answer with.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(take(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
