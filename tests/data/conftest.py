"""What the tests of data share: refusals, a server, a cache folder of their own."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from capsulegan.errors import UserError

Refused = Callable[[str], contextlib.AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the tests out of the user's cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("CAPSULEGAN_MIRROR", raising=False)
    return folder / "capsulegan"


@pytest.fixture(scope="session")
def refused() -> Refused:
    """Give a context whose block must end with a UserError of one line that matches."""

    @contextlib.contextmanager
    def context(match: str) -> Iterator[None]:
        with pytest.raises(UserError, match=match) as caught:
            yield
        assert len(str(caught.value).splitlines()) == 1

    return context


@dataclass
class Server:
    """A web server on this machine: its files by path, how it misbehaves, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ignores_range: bool = False
    breaks_off_after: int | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent_bytes: int = 0


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requests.append((self.path, wanted))
            body = state.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if state.ignores_range:
                start = 0
            if start and start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            sent = body[start:][: state.breaks_off_after]
            self.wfile.write(sent)
            state.sent_bytes += len(sent)

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        running.shutdown()
        thread.join()
