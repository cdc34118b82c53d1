"""The documentation in a real browser: GRADAUDIT_SITE names the built site."""

from __future__ import annotations

import contextlib
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


@contextlib.contextmanager
def probe(width: int, script: str) -> Iterator[None]:
    """A page `probe.html#PATH` that shows that page of the site in a frame so wide, runs the script
    there (`frame`, its `page` and `done(text)`), and has what it says as its title."""
    file = Path(os.environ["GRADAUDIT_SITE"], "probe.html")
    file.write_text(
        f"<title>?</title><iframe id=frame width={width} height=800></iframe><script>"
        "const done = text => document.title = text;"
        f"frame.onload = () => {{ const page = frame.contentDocument; {script} }};"
        "frame.src = location.hash.slice(1)</script>"
    )
    try:
        yield
    finally:
        file.unlink()


COVERAGE = "/rules/coverage/"


def test_no_page_is_wider_than_a_phone(site: str, tmp_path: Path) -> None:
    with probe(390, "done('width ' + page.documentElement.scrollWidth)"):
        for path in (
            "/", "/usage/", "/rules/", "/rules/clip-norm-too-tight/", "/measurements/", COVERAGE,
        ):  # fmt: skip
            page = rendered(f"{site}/probe.html#{path}", tmp_path)
            assert "<title>width 390</title>" in page, path


@pytest.mark.parametrize("width", [720, 960, 1280])
def test_the_tables_of_marks_fit_a_window(site: str, tmp_path: Path, width: int) -> None:
    """Beside the navigation, too: nothing is cut off or scrolled sideways."""
    script = (
        "const inside = page.querySelector('article').getBoundingClientRect().right;"
        "const right = [...page.querySelectorAll('.judges table')]"
        ".map(table => table.getBoundingClientRect().right);"
        "done([page.documentElement.scrollWidth, right.length,"
        "right.every(x => x <= inside)].join(' '))"
    )
    source = Path(__file__).parent.parent / "docs" / "rules" / "coverage.md"
    tables = source.read_text(encoding="utf-8").count('<div class="judges')
    assert tables > len({code[:3] for code in load()})
    with probe(width, script):
        page = rendered(f"{site}/probe.html#{COVERAGE}", tmp_path, 1400)
    assert f"<title>{width} {tables} true</title>" in page


@pytest.mark.parametrize(("width", "below"), [(390, 0), (1280, 48)])
def test_headings_and_frameworks_stay_in_sight(
    site: str, tmp_path: Path, width: int, below: int
) -> None:
    """On a phone the table scrolls, with its headings at its top and the frameworks at its left;
    in a window the page does, with the headings below the bar."""
    script = (
        "const table = page.querySelectorAll('.judges')[3], view = frame.contentWindow;"
        "page.documentElement.style.scrollBehavior = 'auto';"
        "const row = table.querySelectorAll('tr')[30], first = row.children[0];"
        "table.scrollTo(90, 400);"
        "view.scrollTo(0, table.getBoundingClientRect().top + view.scrollY"
        f" + ({width} < 720 ? 0 : 400));"
        "setTimeout(() => { const box = table.getBoundingClientRect();"
        "done([table.querySelectorAll('th')[5].getBoundingClientRect().top"
        " - (box.top > 0 ? box.top : 0), first.getBoundingClientRect().left - box.left,"
        "table.scrollLeft].map(Math.round).join(' ')) }, 300)"
    )
    with probe(width, script):
        page = rendered(f"{site}/probe.html#{COVERAGE}", tmp_path, 1400)
    assert f"<title>{below} 0 {90 if width < 720 else 0}</title>" in page


def test_every_rule_is_found_from_the_index(site: str, tmp_path: Path) -> None:
    page = rendered(f"{site}/rules/", tmp_path)
    for rule in load().values():
        assert f">{rule.name}</a>" in page
