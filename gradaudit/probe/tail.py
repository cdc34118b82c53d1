"""What a record says so far, read while it is being written."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from gradaudit.evidence.compared import norm_of
from gradaudit.evidence.record_reader import step_of


@dataclass
class Progress:
    """Of one optimizer.

    done            its last step, with those skipped. times: of its recorded steps, in seconds.
    norms           before its clip, those that are known.
    clipped, clips  steps at which what the clip compared was above its threshold; steps at which
                    that is known.
    """

    done: int = 0
    times: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    clipped: int = 0
    clips: int = 0


@dataclass
class Seen:
    """Of one rank's file, the first rank's where there are several.

    wanted      steps asked for, with those skipped.
    optimizers  by their number.
    """

    wanted: int
    optimizers: dict[int, Progress] = field(default_factory=dict)
    why_stopped: str = ""

    @property
    def steps(self) -> int:
        """Of the optimizer that has fewest: the recording ends by it."""
        return min((one.done for one in self.optimizers.values()), default=0)

    @property
    def recorded(self) -> int:
        """Steps of the first optimizer."""
        return len(self.optimizers[min(self.optimizers)].times) if self.optimizers else 0

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far of the slowest; None with less than three steps of each."""
        left = [_seconds_left(one, self.wanted) for one in self.optimizers.values()]
        known = [seconds for seconds in left if seconds is not None]
        return max(known) if known and len(known) == len(left) else None


def _seconds_left(one: Progress, wanted: int) -> float | None:
    if len(one.times) < 3:
        return None
    pace = (one.times[-1] - one.times[0]) / (len(one.times) - 1)
    return max(wanted - one.done, 0) * pace


class Tail:
    """Reads what a record has gained since the last time."""

    def __init__(self, directory: str, wanted: int) -> None:
        self.directory = directory
        self.seen = Seen(wanted)
        self._path = ""
        self._at = 0
        self._rest = b""

    def read(self) -> Seen:
        """All whole lines that are new; none where the command has deleted the record."""
        try:
            gained = self._gained()
        except FileNotFoundError:
            return self.seen
        self._at += len(gained)
        *lines, self._rest = (self._rest + gained).split(b"\n")
        for line in lines:
            try:
                self._take(json.loads(line))
            except ValueError:  # the reader of the record says so
                continue
        return self.seen

    def _gained(self) -> bytes:
        if not self._path:
            names = sorted(n for n in os.listdir(self.directory) if n.startswith("rank-"))
            if not names:
                return b""
            self._path = os.path.join(self.directory, names[0])
        with open(self._path, "rb") as file:
            file.seek(self._at)
            return file.read()

    def _take(self, entry: dict[str, Any]) -> None:
        seen, kind = self.seen, entry.get("kind")
        if kind == "stop":
            seen.why_stopped = entry["why"]
        elif kind == "step":
            one = seen.optimizers.setdefault(entry["optimizer"], Progress())
            one.done = entry["step"]
            _take_step(one, entry)


def _take_step(one: Progress, entry: dict[str, Any]) -> None:
    one.times.append(entry["time"])
    if entry["skipped"]:
        return
    step = step_of(entry)
    if step.pre_clip_norm is not None:
        one.norms.append(step.pre_clip_norm)
    limit = step.norm_clip.limit if step.norm_clip else None
    compared = norm_of(step)
    if limit is not None and compared is not None:
        one.clips += 1
        one.clipped += compared > limit
