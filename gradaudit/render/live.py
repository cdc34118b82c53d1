"""A measuring run while it goes on, on standard error."""

from __future__ import annotations

import sys
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
    if seen.seconds_left is not None and seen.steps < seen.wanted:
        facts.append(f"about {time_text(seen.seconds_left)} left")
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
    """A bar at the foot of the terminal; the command's own output goes by above it."""

    def __init__(self, left_out: int = 0) -> None:
        """left_out: steps that go by at the beginning without being recorded."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(stderr=True, highlight=False, emoji=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            transient=True,
            expand=True,
        )
        waiting = f"leaving out {left_out} steps" if left_out else "waiting for the first step"
        self._task: Any = self._progress.add_task(waiting, total=None, facts="")
        self._progress.start()

    def show(self, seen: Seen) -> None:
        if seen.recorded:
            self._progress.update(
                self._task,
                description=f"step {seen.steps}/{seen.wanted}",
                total=seen.wanted,
                completed=min(seen.steps, seen.wanted),
                facts=facts_of(seen),
            )

    def say(self, text: str) -> None:
        self._console.print(f"gradaudit: {text}", markup=False)

    def line(self, text: str) -> None:
        """One line of the command's output; of what it overwrote itself (\\r) the last."""
        from rich.text import Text

        self._console.print(Text.from_ansi(text.rstrip("\r").rpartition("\r")[2]), soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
