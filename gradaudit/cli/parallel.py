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

    Whatever goes wrong in another process is met again, and raised, in this one.
    """
    shares = max(min(_processors(), MOST, len(targets) // SHARE), 1)
    started = []
    for share in range(1, shares):
        pipe = _start(targets[share::shares], judge)
        if pipe is None:
            break
        started.append((pipe, range(share, len(targets), shares)))
    found: dict[int, Judged] = {}
    elsewhere = {index for _, indices in started for index in indices}
    try:
        for index, target in enumerate(targets):
            if index not in elsewhere:
                found[index] = judge(target)
    finally:
        answers = [(indices, _answers(pipe, len(indices))) for pipe, indices in started]
    for indices, judged in answers:
        for index, one in zip(indices, judged, strict=True):
            found[index] = judge(targets[index]) if one is None else one
    return [found[index] for index in range(len(targets))]


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(targets: list[Target], judge: Callable[[Target], Judged]) -> tuple[int, int] | None:
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
        answers = [_packed(target, judge) for target in targets]
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


def _answers(pipe: tuple[int, int], count: int) -> list[Judged | None]:
    """A process's answers; none of them if it came to harm."""
    import marshal

    child, reading = pipe
    with open(reading, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    try:
        answers = marshal.loads(data)
    except (EOFError, ValueError, TypeError):
        return [None] * count
    return [
        one if one is None or isinstance(one, str) else (Tally.unpack(one[0]), one[1])
        for one in answers
    ]
