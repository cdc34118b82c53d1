"""Many files on several processors: each process judges a share, and sends words and counts back.

What is sent is what `common.audit_all` keeps of a file that was drawn: a tally and styled lines.
"""

from __future__ import annotations

import os
import sys

from gradaudit.render.summary import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.cli.common import Judged
    from gradaudit.discover import Target

SHARE = 50
"""Files that make a process worth starting."""

MOST = 8
"""Processes at most."""


def possible() -> bool:
    """Whether there is a second processor, and a process for it can be started safely."""
    if not hasattr(os, "fork"):
        return False
    threads = sys.modules.get("threading")
    return _processors() > 1 and (threads is None or threads.active_count() == 1)


def judge_in_parallel(targets: list[Target], judge: Callable[[Target], Judged]) -> list[Judged]:
    """What `judge` says of each target, in their order.

    Files that follow each other are judged together: those of a directory are mostly of one
    framework and built on the same files. Which process takes the next portion is settled by a
    pipe that holds a byte for each, so that none waits for another. Whatever goes wrong in another
    process is met again, and raised, in this one.
    """
    shares = max(min(_processors(), MOST, len(targets) // SHARE), 1)
    portions = _portions(targets, shares)
    queue, filling = os.pipe()
    os.write(filling, bytes(range(len(portions))))
    os.close(filling)
    started = []
    for _ in range(1, shares):
        other = _start(portions, queue, judge)
        if other is None:
            break
        started.append(other)
    found: dict[int, list[Judged]] = {}
    try:
        while number := os.read(queue, 1):
            found[number[0]] = [judge(target) for target in portions[number[0]]]
    finally:
        while os.read(queue, 256):
            pass  # where this process failed, no other need go on
        os.close(queue)
        answers = [_answers(other) for other in started]
    for judged in answers:
        found.update(judged)
    return [
        one
        for number, portion in enumerate(portions)
        for one in found.get(number) or [judge(target) for target in portion]
    ]


def _portions(targets: list[Target], shares: int) -> list[list[Target]]:
    """The targets in portions, in their order, each three quarters of a process's share of what is
    left: large ones first, so that few frameworks and base files are read by more than one process,
    and small ones last, so that all end together."""
    portions = []
    at = 0
    while at < len(targets):
        size = max(3 * (len(targets) - at) // (4 * shares), 1)
        portions.append(targets[at : at + size])
        at += size
    return portions


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(
    portions: list[list[Target]], queue: int, judge: Callable[[Target], Judged]
) -> tuple[int, int] | None:
    """Start a process; returns its id and where its answers come from, or None if none starts."""
    import marshal

    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        return None
    if child:
        os.close(writing)
        return child, reading
    try:
        os.close(reading)
        answers = {}
        while number := os.read(queue, 1):
            packed = [_packed(target, judge) for target in portions[number[0]]]
            if None not in packed:
                answers[number[0]] = packed
        with open(writing, "wb") as file:
            file.write(marshal.dumps(answers))
    finally:
        os._exit(0)  # nothing of this process is this one's: no buffer, no handler at exit


def _packed(target: Target, judge: Callable[[Target], Judged]) -> object:
    try:
        judged = judge(target)
    except Exception:  # whatever it is, it is met again where it can be said
        return None
    if isinstance(judged, str):
        return judged
    tally, drawn = judged
    return tally.pack(), drawn


def _answers(other: tuple[int, int]) -> dict[int, list[Judged]]:
    """What a process found, by portion; nothing if it came to harm."""
    import marshal

    child, reading = other
    with open(reading, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    try:
        answers = marshal.loads(data)
    except (EOFError, ValueError, TypeError):
        return {}
    return {
        number: [one if isinstance(one, str) else (Tally.unpack(one[0]), one[1]) for one in judged]
        for number, judged in answers.items()
    }
