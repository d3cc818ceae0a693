"""The explorer's server: the page and, as JSON, what it asks for. For this machine alone."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from capsulegan.errors import UserError, unknown_name
from capsulegan.web.explorer import MOST_IMAGES, SOURCES, Explorer

HOST = "127.0.0.1"
ROOM = files("capsulegan.web")
PAGES = {
    "/": (ROOM / "page.html", "text/html"),
    "/page.js": (ROOM / "page.js", "text/javascript"),
    "/page.css": (ROOM / "page.css", "text/css"),
    "/palette.css": (files("capsulegan.report") / "palette.css", "text/css"),
}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'"
MOST_BYTES = 2**24
"""Of a picture that is sent to be judged."""
LARGEST_SEED = 2**53 - 1
"""What JavaScript can count to."""


class ExplorerServer(ThreadingHTTPServer):
    """Serves one explorer on 127.0.0.1.

    Parameters
    ----------
    explorer : Explorer
    port : int
        Of this machine; 0 takes one that is free.

    Raises
    ------
    UserError
        If the port is taken or not to be had.
    """

    daemon_threads = True

    def __init__(self, explorer: Explorer, port: int = 0) -> None:
        self.explorer = explorer
        self.turn = threading.Lock()  # requests compute one after the other
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port {port} cannot be had ({error}); choose another --port, or 0 for any"
            ) from error

    @property
    def address(self) -> str:
        """What to type into a browser."""
        return f"http://{HOST}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: ExplorerServer
    server_version = "capsulegan"
    sys_version = ""

    def do_GET(self) -> None:
        """Send a file of the page, or what a query asks for."""
        address = urlsplit(self.path)
        if address.path in PAGES:
            file, kind = PAGES[address.path]
            self.send(HTTPStatus.OK, file.read_bytes(), kind)
        elif address.path in QUERIES:
            query = Query(parse_qs(address.query, keep_blank_values=True))
            self.answer(lambda: QUERIES[address.path](self.server.explorer, query))
        else:
            self.refuse(HTTPStatus.NOT_FOUND, f"there is no {address.path}")

    def do_POST(self) -> None:
        """Judge the picture that is the body of the request."""
        size = self.headers.get("Content-Length", "")
        if urlsplit(self.path).path != "/api/judge":
            self.refuse(HTTPStatus.NOT_FOUND, f"nothing is to be sent to {self.path}")
        elif not size.isdecimal() or int(size) > MOST_BYTES:
            self.close_connection = True  # the body is left unread
            self.refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a picture may have {MOST_BYTES:,} bytes at most"
            )
        else:
            picture = self.rfile.read(int(size))
            self.answer(lambda: self.server.explorer.judge(picture))

    def answer(self, ask: Callable[[], Any]) -> None:
        """Send what a question gives, or one line that says why there is no answer."""
        host = self.headers.get("Host", "").partition(":")[0]
        if host not in (HOST, "localhost"):  # a foreign name that was made to lead here
            self.refuse(HTTPStatus.FORBIDDEN, f"this server is {self.server.address}")
            return
        try:
            with self.server.turn:
                found = ask()
        except UserError as error:
            self.refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self.send(HTTPStatus.OK, json.dumps(found, allow_nan=False).encode(), "application/json")

    def refuse(self, status: HTTPStatus, reason: str) -> None:
        """Send one line of what is wrong."""
        self.send(status, json.dumps({"error": " ".join(reason.split())}).encode(), "application/json")

    def send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        """Send a whole response."""
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        with contextlib.suppress(ConnectionError):  # the page was left before its answer came
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *values: Any) -> None:
        """Say nothing: standard error is for people."""


class Query:
    """The parameters of a request, each read once it is asked for.

    Raises
    ------
    UserError
        By each method, if the value is not what it should be.
    """

    def __init__(self, values: Mapping[str, list[str]]) -> None:
        self.values = values

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        text = self.values.get(name, [str(default)])[-1]
        short = len(text) <= len(str(high))  # Python is slow to read very long ones
        if not (short and text.isascii() and text.isdecimal() and low <= int(text) <= high):
            raise UserError(f"{name} must be a whole number from {low} to {high}, got {text[:40]!r}")
        return int(text)

    @property
    def seed(self) -> int:
        """Of the latents, or of the choice of real images."""
        return self.integer("seed", 0, 0, LARGEST_SEED)

    @property
    def snapshot(self) -> int | None:
        """After how many images the generator is asked for; None: at the end."""
        return self.integer("snapshot", 0, 0, LARGEST_SEED) or None

    @property
    def source(self) -> Any:
        """Where images come from: one of `SOURCES`."""
        name = self.values.get("source", ["generated"])[-1]
        if name not in SOURCES:
            raise unknown_name("source", name, SOURCES)
        return name

    def index(self, name: str) -> int:
        """Return which image of a seed is meant."""
        return self.integer(name, 0, 0, MOST_IMAGES - 1)


QUERIES: dict[str, Callable[[Explorer, Query], Any]] = {
    "/api/facts": lambda explorer, query: explorer.facts(),
    "/api/images": lambda explorer, query: explorer.images(
        query.source, query.seed, query.integer("count", 64, 1, MOST_IMAGES), query.snapshot
    ),
    "/api/walk": lambda explorer, query: explorer.walk(
        query.seed,
        query.index("first"),
        query.index("second"),
        query.integer("steps", 11, 2, 101),
        query.snapshot,
    ),
    "/api/look": lambda explorer, query: explorer.look(
        query.source, query.seed, query.index("index"), query.snapshot
    ),
    "/api/answers": lambda explorer, query: explorer.answers(
        query.integer("count", MOST_IMAGES, 1, MOST_IMAGES), query.seed
    ),
}
