"""The last line of a record whose process was ended before it could write it."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

WHY = "cut_off"
"""Of a stop line that `gradaudit probe` wrote, not the recorder: after a second Ctrl-C, or a signal
to it. What the recorder had not yet written, the steps of its last half second, is lost."""


def close_records(directory: str) -> None:
    """Give every file of the record that has no end its stop line. Half a line at the end, which
    the process was writing when it was ended, is taken away. No process writes to them any more.

    A file that cannot be written stays as it is: a record without an end can be read.
    """
    for name in sorted(os.listdir(directory)):
        if name.startswith("rank-") and name.endswith(".jsonl"):
            with contextlib.suppress(OSError):
                _close(os.path.join(directory, name))


def _close(path: str) -> None:
    steps, last = 0, {}
    with open(path, "r+b") as file:
        whole = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            last = _parsed(line)
            if last.get("kind") == "step" and isinstance(last.get("step"), int):
                steps = max(steps, last["step"])
        if not whole or last.get("kind") == "stop":
            return
        file.truncate(whole)
        file.seek(whole)
        stop = {"kind": "stop", "why": WHY, "steps": steps, "recorder_seconds": None}
        file.write(json.dumps(stop).encode() + b"\n")


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
