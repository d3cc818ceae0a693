"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capsulegan.errors import UserError

PARTIAL = ".*.partial"
"""What files are called while they are written."""


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; when the block ends well, it becomes `path`.

    The data reaches the disk before the name does, and the folder is synced after it, so that a
    crash at any moment leaves either the old file or the new one. If the block fails, the temporary
    file is removed and `path` is untouched.

    Raises
    ------
    UserError
        If the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may be what cannot be had
            temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise UserError(f"cannot write {path}: {reason}; what was there before is intact") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file of bytes."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole file of UTF-8 text; what that cannot hold, half a surrogate pair, becomes "?"."""
    write_bytes(path, text.encode(errors="replace"))


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document; NaN and infinity are refused, since JSON has none."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises
    ------
    UserError
        If the file is missing, unreadable or not JSON, or holds a number that is not finite.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text, parse_float=finite, parse_constant=finite)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def finite(number: str) -> float:
    """Return a JSON number, or raise ValueError for Infinity, NaN and what no float can hold."""
    if math.isfinite(value := float(number)):
        return value
    raise ValueError(f"{number} is no finite number")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
