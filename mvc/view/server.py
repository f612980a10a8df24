"""A server for the browsers of this machine and nobody else.

It listens on the loopback address alone. Every path begins with a random token, which the printed address has, so other
users and other pages cannot ask for anything; the name of the host is looked at, so that a page whose name was bound to
this address cannot either. Nothing but GET and HEAD is known, and files are numbers.
"""

from __future__ import annotations

import re
import secrets
import select
import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mvc.view.routes import Answer, Routes, failure
from mvc.view.worker import NotWanted

HOST = "127.0.0.1"
_HOSTS = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
MOST_CONNECTIONS = 64
IDLE_S = 60
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Answers with `routes` on a port of the loopback address, 0 for one that is free, until it is shut down.

    `address` is what a browser is to open. Raises `OSError` for a port that cannot be had.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, routes: Routes, port: int = 0) -> None:
        self.routes, self.token = routes, secrets.token_urlsafe(16)
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((HOST, port), Handler)

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """As the base class, which would ask the network for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own; one connection too many is closed."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """A connection, to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is none of ours."""


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S

    def do_GET(self) -> None:
        """Answer, if it is one of our own pages that asks."""
        try:
            answer = self._refusal() or self.server.routes.answer(self._path()[1:], self._is_wanted)
        except NotWanted:
            self.close_connection = True
            answer = failure(HTTPStatus.SERVICE_UNAVAILABLE, "other requests came later")
        self._send(answer)

    do_HEAD = do_GET

    def _path(self) -> list[str]:
        return self.path.partition("?")[0].split("/")[1:]

    def _refusal(self) -> Answer | None:
        """Why a request is not answered."""
        hosts = self.headers.get_all("Host") or []
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # whose body would be taken for the next request
            return failure(HTTPStatus.BAD_REQUEST, "a request with a body")
        if len(hosts) != 1 or not _HOSTS.fullmatch(hosts[0]):
            return failure(HTTPStatus.MISDIRECTED_REQUEST, "this is a server for its own machine")
        other = self.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
        if other and self.headers.get("Sec-Fetch-Mode") != "navigate":
            return failure(HTTPStatus.FORBIDDEN, "another page asks")
        token, *rest = self._path() or [""]
        if not rest or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            return failure(HTTPStatus.NOT_FOUND, "open the whole address that mvc view printed")
        return None

    def _is_wanted(self) -> bool:
        """Whether whoever asked is still there."""
        try:
            ready, _, _ = select.select([self.connection], [], [], 0)
            return not ready or self.connection.recv(1, socket.MSG_PEEK) != b""
        except (OSError, ValueError):
            return False

    def _send(self, answer: Answer) -> None:
        try:
            self.send_response(answer.status)
            for name, value in {**HEADERS, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Type", answer.type)
            self.send_header("Content-Length", str(len(answer.body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
        except OSError:
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class says of requests that are none, in our form."""
        self.close_connection = True
        self._send(failure(code, message or HTTPStatus(code).phrase))

    def version_string(self) -> str:
        """Without Python's version."""
        return "mvc"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the token is in every path."""


def serve(server: Server, started: Callable[[], None]) -> None:
    """Answer until Ctrl-C; `started` is called first."""
    try:
        started()
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
