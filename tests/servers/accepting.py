"""HTTP servers in this process that stop at once. `serve_forever` looks only every half second whether it is to stop,
and `shutdown` waits for that look.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class AcceptingServer(ThreadingHTTPServer):
    """Serves each connection in a thread of its own, from `start` to `stop`. With `tls` it speaks HTTPS. Port 0 is any
    free one.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(OSError):  # a client that is gone already, or the end
                self.process_request(*self.get_request())

    def stop(self) -> None:
        """Accept no more of them."""
        self.stopped.set()
        self.socket.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that accepts
        self._thread.join()
        self.server_close()
