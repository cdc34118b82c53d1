"""The documentation in a real browser: GRADAUDIT_SITE names the built site."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradaudit.rules import load

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars",
    "--virtual-time-budget=4000",
)  # fmt: skip


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the built site, served on this machine."""
    folder = os.environ.get("GRADAUDIT_SITE", "")
    if not folder or not Path(folder, "index.html").is_file():
        pytest.skip("GRADAUDIT_SITE names no built site")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def rendered(address: str, tmp_path: Path, width: int = 1200) -> str:
    """The page's DOM after its scripts ran."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", f"--window-size={width},900",
         "--dump-dom", address],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def test_a_rule_page_reads_as_a_page(site: str, tmp_path: Path) -> None:
    rule = load()["GA301"]
    page = rendered(f"{site}/rules/{rule.name}/", tmp_path)
    assert f'<h1 id="ga301-{rule.name}">{rule.code} {rule.name}' in page
    for heading in ("Why it hurts", "Bad", "Good", "How to tell on your own run", "References"):
        assert f'{heading}<a class="headerlink"' in page
    assert "batch_size" in page


def test_no_page_is_wider_than_a_phone(site: str, tmp_path: Path) -> None:
    """A frame 390 pixels wide, which reports its own scroll width in its title."""
    probe = Path(os.environ["GRADAUDIT_SITE"], "probe.html")
    probe.write_text(
        "<title>?</title><iframe id=f width=390 height=800></iframe><script>"
        "f.onload=()=>document.title='width '+f.contentDocument.documentElement.scrollWidth;"
        "f.src=location.hash.slice(1)</script>"
    )
    try:
        for path in ("/", "/usage/", "/rules/", "/rules/clip-norm-too-tight/", "/measurements/"):
            page = rendered(f"{site}/probe.html#{path}", tmp_path)
            assert "<title>width 390</title>" in page, path
    finally:
        probe.unlink()


def test_every_rule_is_found_from_the_index(site: str, tmp_path: Path) -> None:
    page = rendered(f"{site}/rules/", tmp_path)
    for rule in load().values():
        assert f">{rule.name}</a>" in page
