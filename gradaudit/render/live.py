"""A measuring run while it goes on, on standard error."""

from __future__ import annotations

import sys
import threading
import time
from math import isfinite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.probe.tail import Seen

PLAIN_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""

MOST_SHOWN = 3
"""Optimizers whose figures stand beside the bar."""


def norm_text(norm: float) -> str:
    return f"{norm:.3g}" if isfinite(norm) else str(norm)


def time_text(seconds: float) -> str:
    """A rough duration: 40 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def facts_of(seen: Seen) -> str:
    """The live figures: `norm 1.23  clipped 80 %  about 2 min left`.

    Of several optimizers the figures are in the order of their numbers, `norm 1.23 | 0.4`, with
    `-` where one has none; of more than three, of the first three.
    """
    shown = [seen.optimizers[index] for index in sorted(seen.optimizers)][:MOST_SHOWN]
    norms = [norm_text(one.norms[-1]) if one.norms else "-" for one in shown]
    shares = [f"{100 * one.clipped / one.clips:.0f} %" if one.clips else "-" for one in shown]
    facts = []
    if any(one.norms for one in shown):
        facts.append(f"norm {' | '.join(norms)}")
    if any(one.clips for one in shown):
        facts.append(f"clipped {' | '.join(shares)}")
    left = seen.seconds_left
    if left is not None and seen.steps < seen.wanted and round(left):
        facts.append(f"about {time_text(left)} left")
    return "  ".join(facts)


class PlainProgress:
    """A line when the first step came, and then every ten seconds."""

    def __init__(self) -> None:
        self._said = 0.0

    def show(self, seen: Seen) -> None:
        if not seen.recorded or time.monotonic() - self._said < PLAIN_SECONDS:
            return
        self._said = time.monotonic()
        facts = facts_of(seen).replace("  ", ", ")
        self.say(f"step {seen.steps} of {seen.wanted}" + (f": {facts}" if facts else ""))

    def say(self, text: str) -> None:
        sys.stderr.write(f"gradaudit: {text}\n")
        sys.stderr.flush()

    def line(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def close(self) -> None:
        pass


class BarProgress:
    """A bar at the foot of the terminal; the command's own output goes by above it.

    A line that stands unfinished is shown above the bar: dots, a bar that overwrites itself. One
    that stands still while no step is done may be a prompt: the bar gives way to it, so that what
    is typed stands beside it, until the line ends or a step is done. Called from two threads.
    """

    def __init__(self, left_out: int = 0) -> None:
        """left_out: steps that go by at the beginning without being recorded."""
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, emoji=False)
        self._lock = threading.RLock()
        waiting = f"leaving out {left_out} steps" if left_out else "waiting for the first step"
        self._shown: dict[str, Any] = {"description": waiting, "total": None, "facts": ""}
        self._steps = 0
        self._steps_then: int | None = None  # when the unfinished line was first shown
        self._written = ""  # of it, in place of the bar
        self._bar: Any = None
        self._begin()

    def _begin(self) -> None:
        """A new one each time: rich's own goes up by as many lines as it had when it was left."""
        from gradaudit.render.bar import new_bar

        self._bar = new_bar(self._console, self._shown)
        self._bar.start()

    def _leave(self) -> None:
        self._bar.stop()
        self._bar = None

    def _write(self, text: str) -> None:
        """As the command wrote it, without the bar."""
        self._console.file.write(text)
        self._console.file.flush()

    def _come_back(self) -> None:
        """On a line of its own."""
        if self._bar is None:
            self._write("\n")
            self._begin()

    def show(self, seen: Seen) -> None:
        if not seen.recorded:
            return
        with self._lock:
            self._shown = {
                "description": f"step {seen.steps}/{seen.wanted}",
                "total": seen.wanted,
                "completed": min(seen.steps, seen.wanted),
                "facts": facts_of(seen),
            }
            self._steps = seen.steps
            if self._bar is None and self._goes_on():
                self._come_back()
            if self._bar is not None:
                self._bar.show(self._shown)

    def _goes_on(self) -> bool:
        """Whether a step was done since the unfinished line was first shown: it is no prompt."""
        return self._steps_then is not None and self._steps > self._steps_then

    def say(self, text: str) -> None:
        with self._lock:
            self._come_back()
            self._console.print(f"gradaudit: {text}", markup=False)

    def line(self, text: str) -> None:
        """One line of the command's output; of what it overwrote itself (\\r) the last."""
        from rich.text import Text

        with self._lock:
            new = text.removeprefix(self._written).rstrip("\r")
            if self._bar is None:
                self._write(new)
                self._come_back()
            else:
                self._bar.above(None)
                if new or not self._written:
                    shown = Text.from_ansi(new.rpartition("\r")[2])
                    self._console.print(shown, soft_wrap=True)
            self._written, self._steps_then = "", None

    def unfinished(self, text: str, stands: bool) -> None:
        """The command's last line, which has no end yet, and whether it has stood like that."""
        with self._lock:
            if self._steps_then is None:
                self._steps_then = self._steps
            new = text.removeprefix(self._written)
            if self._bar is not None:
                overwrites = text.startswith("\r")
                if not stands or overwrites or self._goes_on():
                    self._bar.above(new.rstrip("\r").rpartition("\r")[2])
                    return
                self._leave()
            self._write(new)
            self._written = text

    def close(self) -> None:
        with self._lock:
            if self._bar is not None:
                self._leave()
