"""On a real terminal: its width, its colours, links on the codes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from support import ROOT, SAMPLE, read_terminal, run_cli

from gradaudit.render.layout import display_width

ESCAPES = re.compile(r"\x1b\][^\x1b]*\x1b\\|\x1b\[[0-9;]*m")


def on_terminal(*words: str, columns: int = 80, environment: dict[str, str] | None = None) -> str:
    """What a command writes to a terminal of that width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "gradaudit", *words], cwd=ROOT, stdin=slave, stdout=slave,
        stderr=slave, env={**inherited, "TERM": "xterm-256color", **(environment or {})},
    )  # fmt: skip
    os.close(slave)
    shown = read_terminal(master)
    assert process.wait(30) >= 0, "a signal ended it"
    return shown.replace("\r\n", "\n")


def plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in ESCAPES.sub("", text).splitlines()) + "\n"


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_a_terminal_shows_what_a_pipe_gets_in_its_own_width(columns: int) -> None:
    shown = on_terminal("check", SAMPLE, columns=columns)
    assert plain(shown).splitlines() == _piped("check", SAMPLE, columns=columns).splitlines()
    assert max(map(display_width, plain(shown).splitlines())) <= columns


def _piped(*words: str, columns: int) -> str:
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        return plain(run_cli(*words, columns=columns).out)
    finally:
        os.chdir(before)


def test_codes_are_links_and_severities_have_colours() -> None:
    shown = on_terminal("check", SAMPLE, "--select", "GA301")
    assert re.search(r"\x1b\]8;[^;]*;https://\S*/rules/batch-norm-tiny-batch/\x1b\\", shown)
    assert re.search(r"\x1b\[1;33mwarning", shown)


@pytest.mark.parametrize(
    ("words", "environment", "colour"),
    [
        ([], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb"}, False),
        (["--color", "never"], {}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
    ],
)
def test_who_decides_on_colour(words: list[str], environment: dict[str, str], colour: bool) -> None:
    shown = on_terminal("check", SAMPLE, "--select", "GA301", *words, environment=environment)
    assert ("\x1b[" in shown) is colour


def test_a_pipe_has_no_escapes_unless_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert "\x1b" not in run_cli("check", SAMPLE).out
    assert "\x1b[" in run_cli("check", SAMPLE, "--color", "always").out


def test_the_other_commands_draw_too() -> None:
    assert "\x1b[32m+" in on_terminal("fix", SAMPLE)
    assert "\x1b[1m" in on_terminal("explain", "GA301")
    assert "\x1b[1m" in on_terminal("show", SAMPLE)
    repaired = "sample_configs/repaired_training.yaml"
    assert "\x1b[1;32msafer" in on_terminal("compare", SAMPLE, repaired)
