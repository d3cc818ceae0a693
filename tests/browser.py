"""A real browser for the tests of pages: headless Chromium."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--dump-dom",
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


def found_by(
    address: str, profile: Path, dark: bool = False, width: int = 1400, milliseconds: int = 4000
) -> dict[str, Any]:
    """Open a page for so long of its own time; return the JSON that it leaves in `data-found` of its body.

    No window is narrower than 500 pixels. Fails if the page wrote anything to the console, errors and
    violated policies included.
    """
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    size = f"--window-size={width},1000"
    own = (f"--user-data-dir={profile}", f"--virtual-time-budget={milliseconds}", size, scheme, address)
    command = [str(CHROMIUM), *OPTIONS, *own]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'data-found="([^"]*)"', result.stdout)
    assert match, result.stderr
    assert "CONSOLE" not in result.stderr, result.stderr
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    return found
