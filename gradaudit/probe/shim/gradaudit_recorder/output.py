"""The file of the record: opened at the first line, JSON lines, 9 significant digits."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import sys
import time
from typing import Any

import torch

from gradaudit_recorder import state

SCHEMA = 1


class _Output:
    """file: None until something is to be written."""

    def __init__(self) -> None:
        self.file: Any = None
        self.waiting: list[dict[str, Any]] = []


_output = _Output()


def rank() -> int:
    return _of_launcher("RANK", "get_rank", 0)


def world_size() -> int:
    return _of_launcher("WORLD_SIZE", "get_world_size", 1)


def _of_launcher(name: str, asked: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text.isdigit():
        return int(text)
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return int(getattr(distributed, asked)())
    return default


def plain(value: Any) -> Any:
    """A value as JSON has it; see docs/record.md for the words of non-finite floats."""
    if value is None or type(value) is str or type(value) is int:
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(f"{value:.9g}")
        return "nan" if value != value else "inf" if value > 0 else "-inf"
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def write(line: dict[str, Any]) -> None:
    """Append one line; before the file is open it waits (see `begin`)."""
    if _output.file is None:
        _output.waiting.append(line)
        return
    _output.file.write(json.dumps(plain(line)) + "\n")


def note(topic: str, text: str, about: str = "") -> None:
    """Say what could be seen in part only; each topic once, or once of each that it is about."""
    if (topic, about) not in _noted:
        _noted.add((topic, about))
        write({"kind": "note", "topic": topic, "text": text})


_noted: set[tuple[str, str]] = set()


def is_open() -> bool:
    return _output.file is not None


def begin(device: str) -> None:
    """Open the file of this rank, with its header and what waits. Only what steps has a file."""
    if is_open():
        return
    now = state.current
    path = os.path.join(now.directory, f"rank-{rank()}.jsonl")
    try:
        _output.file = open(path, "x", encoding="utf-8")  # noqa: SIM115
    except FileExistsError:  # a second training, or a process that is no rank of the first
        path = os.path.join(now.directory, f"rank-{rank()}.{now.pid}.jsonl")
        _output.file = open(path, "a", encoding="utf-8")  # noqa: SIM115
    waiting, _output.waiting = _output.waiting, []
    write(
        {
            "kind": "header",
            "schema": SCHEMA,
            "source": "probe",
            "rank": rank(),
            "world_size": world_size(),
            "pid": now.pid,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": device,
            "program": os.path.basename(sys.argv[0]) if sys.argv else "",
            "steps_asked": now.steps_asked,
            "skip_steps": now.skip_steps,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now.started)),
            "configs": json.loads(os.environ.get("GRADAUDIT_PROBE_CONFIGS", "[]")),
        }
    )
    for line in waiting:
        write(line)


def tell(name: str, text: str = "") -> None:
    """Leave a file for the waiting `gradaudit probe`; it appears with its text."""
    path = os.path.join(state.current.directory, ".state", name)
    with contextlib.suppress(OSError):
        with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(file.name, path)


def before_fork() -> None:
    """What is in the file's buffer would be in the child's, too, and be written by both."""
    with contextlib.suppress(Exception):  # a full disk: said where the next line is written
        flush()


def forget() -> None:
    """In a forked child: the file and its waiting lines are the parent's."""
    _output.file, _output.waiting = None, []
    _noted.clear()


def flush() -> None:
    if _output.file is not None:
        _output.file.flush()


def close() -> None:
    if _output.file is not None:
        _output.file.close()
        _output.file = None
