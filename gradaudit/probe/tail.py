"""What a record says so far, read while it is being written."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

_WORDS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
NORM_CLIPS = ("norm", "with_norm", "fsdp")


@dataclass
class Seen:
    """Of one rank's file, the first rank's where there are several.

    done         steps of each optimizer by its number. wanted: steps asked for, with those skipped.
    norms        of the first optimizer before its clip, those that are known.
    clipped, clips  steps of it whose norm was above the threshold; steps with a clip by norm.
    times        of its steps, in seconds.
    """

    wanted: int
    done: dict[int, int] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    clipped: int = 0
    clips: int = 0
    times: list[float] = field(default_factory=list)
    why_stopped: str = ""

    @property
    def steps(self) -> int:
        """Of the optimizer that has fewest: the recording ends by it."""
        return min(self.done.values(), default=0)

    @property
    def recorded(self) -> int:
        return len(self.times)

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None with less than three steps."""
        if len(self.times) < 3:
            return None
        pace = (self.times[-1] - self.times[0]) / (len(self.times) - 1)
        return max(self.wanted - self.steps, 0) * pace


class Tail:
    """Reads what a record has gained since the last time."""

    def __init__(self, directory: str, wanted: int) -> None:
        self.directory = directory
        self.seen = Seen(wanted)
        self._path = ""
        self._at = 0
        self._rest = b""

    def read(self) -> Seen:
        """All whole lines that are new."""
        if not self._path:
            names = sorted(n for n in os.listdir(self.directory) if n.startswith("rank-"))
            if not names:
                return self.seen
            self._path = os.path.join(self.directory, names[0])
        with open(self._path, "rb") as file:
            file.seek(self._at)
            gained = file.read()
        self._at += len(gained)
        *lines, self._rest = (self._rest + gained).split(b"\n")
        for line in lines:
            try:
                self._take(json.loads(line))
            except ValueError:  # the reader of the record says so
                continue
        return self.seen

    def _take(self, entry: dict[str, Any]) -> None:
        seen, kind = self.seen, entry.get("kind")
        if kind == "stop":
            seen.why_stopped = entry["why"]
        elif kind == "step":
            seen.done[entry["optimizer"]] = entry["step"]
            if entry["optimizer"] == min(seen.done):
                _take_step(seen, entry)


def _take_step(seen: Seen, entry: dict[str, Any]) -> None:
    seen.times.append(entry["time"])
    if entry["skipped"]:
        return
    norm = _number(entry["pre_clip_norm"])
    if norm is not None:
        seen.norms.append(norm)
    limits = [c["clip_norm"] for c in entry["clips"] if c["what"] in NORM_CLIPS]
    limit = _number(limits[0]) if limits else None
    if limit is not None and norm is not None:
        seen.clips += 1
        seen.clipped += norm > limit


def _number(value: Any) -> float | None:
    return _WORDS.get(value) if isinstance(value, str) else value
