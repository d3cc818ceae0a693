"""Where data lies and where it is fetched from."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from capsulegan.data.images import data_error

TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 2**16


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be fetched.

    Attributes
    ----------
    name
        Its path under the data folder, with forward slashes.
    known_hash
        Of its bytes, as its publisher gives it: "md5:..." or "sha256:...".
    urls
        Where it can be had, in the order in which the places are tried.
    """

    name: str
    known_hash: str
    urls: tuple[str, ...]


def data_folders() -> tuple[Path, ...]:
    """Return the folders in which data is looked for; what is fetched goes to the first.

    They are `$CAPSULEGAN_DATA`, if that is set, and the user's cache folder.
    """
    given = os.environ.get("CAPSULEGAN_DATA")
    return (Path(given).expanduser(), cache_folder()) if given else (cache_folder(),)


def cache_folder() -> Path:
    """Return the user's cache folder for this package, without making it.

    The same that `pooch.os_cache("capsulegan")` gives on Linux and macOS; the environment variable
    `XDG_CACHE_HOME` sets it on both.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if not base:
        base = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(base).expanduser() / "capsulegan"


def find(*names: str) -> Path | None:
    """Return the first of these files that is there, by folder and then by name."""
    for folder in data_folders():
        for name in names:
            with contextlib.suppress(OSError):
                if (folder / name).is_file():
                    return folder / name
    return None


def obtain(file: RemoteFile, also: tuple[str, ...] = ()) -> Path:
    """Return where a file lies, under its own name or one of `also`; fetch it if it is nowhere.

    Raises
    ------
    UserError
        If it is nowhere and cannot be fetched.
    """
    return find(file.name, *also) or fetch_file(file)


def fetch_file(file: RemoteFile) -> Path:
    """Fetch a file into the first data folder and check it.

    The base URL in the environment variable `CAPSULEGAN_MIRROR`, under which files have the names that
    they have under a data folder, is tried before the file's own places. An interrupted download leaves
    `NAME.partial` and goes on from there, whichever place it then comes from; what does not have the
    right hash in the end is thrown away.

    Raises
    ------
    UserError
        If no place gives the right file, or the folder cannot be written to.
    """
    folder = data_folders()[0]
    target = folder / file.name
    mirror = os.environ.get("CAPSULEGAN_MIRROR")
    urls = ((mirror.rstrip("/") + "/" + file.name,) if mirror else ()) + file.urls
    failures = []
    try:
        import pooch
    except ImportError:
        failures.append("the package pooch, which fetches files, is not installed")
        urls = ()
    partial = target.with_name(target.name + ".partial")
    for url in urls:
        attempts = 2 if partial.is_file() else 1  # the part that was there may be of another file
        for _ in range(attempts):
            try:
                with _locked(target):
                    pooch.retrieve(
                        url,
                        known_hash=file.known_hash,
                        fname=target.name,
                        path=target.parent,
                        downloader=ResumingDownloader(partial),
                    )
                return target
            except OSError as error:  # all of requests' errors are
                failures.append(f"{url} ({error})")
                break
            except ValueError:
                failures.append(f"{url} (not the file that was published: its hash is not {file.known_hash})")
    raise data_error(
        f"cannot fetch {target.name}: {'; '.join(failures)}; put the file there by hand: {target}"
    )


class ResumingDownloader:
    """A downloader for `pooch.retrieve` that goes on where an interrupted download stopped.

    Parameters
    ----------
    partial
        The file that holds what has come so far. It is left when the download breaks off, and moved to
        where pooch wants the file when it is complete.
    """

    def __init__(self, partial: Path) -> None:
        self.partial = partial

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download `url` to `output_file`."""
        import requests

        have = self.partial.stat().st_size if self.partial.is_file() else 0
        headers = {"Accept-Encoding": "identity"}  # the bytes of a .gz as they are
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                pass  # nothing is missing: its hash will tell whether it is the file
            else:
                response.raise_for_status()
                resumes = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
                with self.partial.open("ab" if have and resumes else "wb") as file:
                    for chunk in response.iter_content(CHUNK_BYTES):
                        file.write(chunk)
        self.partial.replace(output_file)


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Let one process at a time fetch a file; the next then finds it there."""
    import fcntl

    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
