"""The command's own terminal under `probe`: lines without an end, the bar below them, its size."""

from __future__ import annotations

import io
import os
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from gradaudit.probe.tail import Progress, Seen
from gradaudit.probe.terminal import Terminal
from gradaudit.render.live import BarProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BAR = "waiting for the first step"


class Told:
    """What a terminal tells: finished lines, and each unfinished one with whether it stands."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.unfinished: list[tuple[str, bool]] = []
        self.terminal = Terminal(self.lines.append, lambda *said: self.unfinished.append(said))

    def write(self, text: bytes) -> None:
        os.write(self.terminal.end, text)

    def until(self, so: Callable[[], bool]) -> None:
        ends = time.monotonic() + 20
        while not so():
            assert time.monotonic() < ends, (self.lines, self.unfinished)
            time.sleep(0.02)


@pytest.fixture
def told() -> Iterator[Told]:
    found = Told()
    yield found
    found.terminal.close()


def test_a_prompt_is_told_of_before_its_line_ends(told: Told) -> None:
    told.write(b"first\ncontinue? ")
    told.until(lambda: ("continue? ", True) in told.unfinished)
    assert told.lines == ["first\r"]
    told.write(b"yes\n")
    told.until(lambda: told.lines == ["first\r", "continue? yes\r"])


def test_of_a_line_that_overwrites_itself_the_last_state_is_told(told: Told) -> None:
    told.write(b"\r 10%")
    told.until(lambda: bool(told.unfinished))
    for share in range(11, 15):
        told.write(f"\r {share}% \u2588"[:-1].encode() + b"\xe2\x96")
        told.write(b"\x88")
    told.until(lambda: told.unfinished[-1] == ("\r 14% \u2588", True))


def test_short_lines_are_not_told_of_twice(told: Told) -> None:
    for number in range(5):
        told.write(f"{number}".encode())
        told.write(b"\n")
    told.until(lambda: len(told.lines) == 5)
    assert told.unfinished == []


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError])
def test_what_cannot_be_drawn_does_not_hold_the_command(error: type[Exception]) -> None:
    """More than a terminal holds unread; each failure counted as an end of the input, or was it."""
    shown: list[str] = []

    def line(text: str) -> None:
        shown.append(text)
        if len(shown) <= 3:
            raise error

    def unfinished(text: str, stands: bool) -> None:
        shown.append(text)
        raise error

    terminal = Terminal(line, unfinished)
    written = threading.Event()

    def command() -> None:
        for number in range(3):
            os.write(terminal.end, f"{number}\n".encode())
            time.sleep(0.05)
        os.write(terminal.end, b"stands")
        time.sleep(1.0)
        for _ in range(400):
            os.write(terminal.end, b"x" * 999 + b"\n")
        written.set()

    threading.Thread(target=command, daemon=True).start()
    assert written.wait(20)
    terminal.close()
    assert shown[:4] == ["0\r", "1\r", "2\r", "stands"]
    assert shown.count("x" * 999 + "\r") == 399  # the first ends the line that stood


def test_the_size_follows_ours(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    size = os.terminal_size((91, 17))
    monkeypatch.setattr(os, "get_terminal_size", lambda number: size)
    told.terminal.copy_size()
    monkeypatch.undo()
    assert os.get_terminal_size(told.terminal.end) == size


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    def since(self, place: int) -> str:
        """Text without escapes."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue()[place:])


def begun(monkeypatch: pytest.MonkeyPatch) -> tuple[BarProgress, Screen]:
    """A bar, and what it is drawn on. In the test itself: pytest puts its own standard error in
    place between a fixture and the test."""
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("LINES", "20")):
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return BarProgress(), screen


def seen(steps: int) -> Seen:
    return Seen(100, {0: Progress(done=steps, times=[0.1 * n for n in range(steps)])})


def test_the_bar_gives_way_to_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    bar, screen = begun(monkeypatch)
    bar.unfinished("continue? ", True)
    assert screen.since(0).endswith("continue? ")
    place = len(screen.getvalue())
    time.sleep(0.3)  # longer than rich waits between two drawings
    assert screen.since(place) == ""
    bar.line("continue? thanks\r")  # the terminal itself shows what was typed, and its line's end
    shown = screen.since(place)
    assert shown.startswith("thanks\n")
    assert BAR in shown
    bar.close()


def test_the_bar_comes_back_when_a_step_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    bar, screen = begun(monkeypatch)
    bar.unfinished("loading ", True)
    place = len(screen.getvalue())
    bar.show(seen(1))
    assert screen.since(place).startswith("\n")
    assert "step 1/100" in screen.since(place)
    place = len(screen.getvalue())
    bar.line("loading done\r")
    assert "done" in screen.since(place)
    assert "loading" not in screen.since(place)
    bar.close()


@pytest.mark.parametrize(
    ("text", "stands", "shown"),
    [("\r 10%\r 20%", True, " 20%"), ("...", False, "...")],  # a bar of its own; dots
)
def test_what_moves_is_shown_above_the_bar(
    monkeypatch: pytest.MonkeyPatch, text: str, stands: bool, shown: str
) -> None:
    bar, screen = begun(monkeypatch)
    bar.unfinished(text, stands)
    time.sleep(0.3)
    drawn = screen.since(0).replace("\r", "")
    assert re.search(rf"{re.escape(shown)} *\n{BAR}", drawn)
    assert " 10%" not in drawn
    bar.close()


def test_to_the_right_of_the_bar_is_room_for_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal writes `^C` there; in another line the bar would stay as it was."""
    bar, screen = begun(monkeypatch)
    bar.show(seen(50))
    time.sleep(0.3)
    bar.close()
    widths = {len(line) for line in re.split(r"[\r\n]", screen.since(0)) if "step 50" in line}
    assert widths
    assert max(widths) <= 80 - len("^C^C")
