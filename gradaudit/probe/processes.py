"""Which processes a process has started, also those that have a session of their own."""

from __future__ import annotations

import os
import subprocess


def descendants(pid: int) -> list[int]:
    """The processes below one, its children first; empty where that cannot be found out.

    A signal to a group does not reach them all: torchrun starts each worker in its own session.
    """
    below: dict[int, list[int]] = {}
    for child, parent in _from_proc() or _from_ps():
        below.setdefault(parent, []).append(child)
    found = [*below.get(pid, ())]
    for one in found:
        found.extend(below.get(one, ()))
    return found


def _from_proc() -> list[tuple[int, int]]:
    """(process, its parent) of each, as Linux has it; empty elsewhere."""
    pairs = []
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for name in names:
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()  # a name may hold blanks
            pairs.append((int(name), int(fields[1])))
        except (OSError, IndexError, ValueError):  # it has just ended
            continue
    return pairs


def _from_ps() -> list[tuple[int, int]]:
    """The same from `ps`, for other systems."""
    try:
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False
        )
    except OSError:
        return []
    pairs = [line.split() for line in listed.stdout.splitlines()]
    return [(int(pair[0]), int(pair[1])) for pair in pairs if len(pair) == 2]
