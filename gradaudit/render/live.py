"""A measuring run while it goes on, and what it saw in a few lines: on standard error and plain."""

from __future__ import annotations

import sys
import time
from math import isfinite

from gradaudit.render.layout import PROSE, clean, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.probe.tail import Seen
    from gradaudit.render.layout import Line

PLAIN_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""

MOST_FILES = 8


def norm_text(norm: float) -> str:
    return f"{norm:.3g}" if isfinite(norm) else str(norm)


def time_text(seconds: float) -> str:
    """A rough duration: 40 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def facts_of(seen: Seen) -> str:
    """The live figures: `norm 1.23  clipped 80 %  about 2 min left`."""
    facts = []
    if seen.norms:
        facts.append(f"norm {norm_text(seen.norms[-1])}")
    if seen.clips:
        facts.append(f"clipped {100 * seen.clipped / seen.clips:.0f} %")
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


WHY = {
    "steps": "all steps that were asked for",
    "interrupted": "then you interrupted it",
    "script_ended": "then the command came to its own end",
    "error": "then the command failed",
    "failed": "then the recorder failed",
    "killed": "then its process was killed, or left by os._exit",
}


def seen_lines(seen: Seen, why: str, width: int = 80) -> list[Line]:
    """What was recorded, in a few lines of `width` columns; findings are another matter."""
    rows = [("recorded", f"{seen.recorded} optimizer steps ({WHY[why]})")]
    names = [seen.classes[index] for index in sorted(seen.classes)]
    rows.append(("optimizer", ", ".join(names)))
    finite = sorted(norm for norm in seen.norms if isfinite(norm))
    if finite:
        low, middle, high = finite[0], finite[len(finite) // 2], finite[-1]
        words = f"{norm_text(low)} least, {norm_text(middle)} median, {norm_text(high)} most"
        rows.append(("norm before clip", words))
    if len(finite) < len(seen.norms):
        rows.append(("not finite", f"{len(seen.norms) - len(finite)} steps"))
    if seen.clips:
        share = f"{seen.clipped} of {seen.clips} steps"
        rows.append(("clipped", f"{share}, at clip_norm {seen.clip_norm:g}"))
    if seen.skipped:
        rows.append(("skipped", f"{seen.skipped} steps, by the loss scaler"))
    calls = seen.backward_calls[1:]
    if calls:
        rows.append(("backward calls", f"{max(set(calls), key=calls.count)} a step"))
    lines: list[Line] = [
        [(f"{name:<18}", "dim", ""), (text, "", "")] for name, text in rows
    ]  # fmt: skip
    for note in seen.notes:
        lines += _wrapped(f"note: {note}", "info", width)
    return lines + _file_lines(seen, width)


def _wrapped(text: str, style: str, width: int) -> list[Line]:
    return [[(line, style, "")] for line in wrap(clean(text), min(width, PROSE), "", "  ")]


def _file_lines(seen: Seen, width: int) -> list[Line]:
    """What the command did to files before it was ended."""
    lines: list[Line] = []
    for operation, title in (
        ("write", "It wrote"), ("delete", "It deleted"), ("read", "It resumed from, or read"),
    ):  # fmt: skip
        paths = [entry["path"] for entry in seen.files if entry["operation"] == operation]
        if not paths:
            continue
        more = f" and {len(paths) - MOST_FILES} more" if len(paths) > MOST_FILES else ""
        lines += _wrapped(f"{title}: {', '.join(paths[:MOST_FILES])}{more}", "dim", width)
    return lines
