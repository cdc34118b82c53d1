"""The end of a recording.

The process leaves by os._exit: no exception, so that no `except`, `finally`, callback or exit
handler of the program runs and saves half a training.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import sys
import time

from gradaudit_recorder import output, state, steps
from gradaudit_recorder.described import called

OTHERS_SECONDS = 20.0
"""How long the other ranks are waited for: one that leaves early breaks the others' collectives."""

PARENT_SECONDS = 3.0
"""How long the waiting `gradaudit probe` has to end the whole command at once, so that a shell
script does not go on with its next line."""

LOOK_SECONDS = 0.1
"""Between two looks for the user's request to end."""

FARTHEST = 5
"""An optimizer with more than this many times the steps asked for, with those left out, ends it,
though another has fewer. The critic of a WGAN steps five times for each step of its generator."""


def begin_in_child() -> None:
    """A forked process may be one that trains: it has a record of its own. One that loads data has
    none, since it never steps."""
    output.forget()
    steps.forget()
    _ending.at, _ending.written = None, False
    state.begin()


class _Ending:
    at: int | None = None
    asked = False
    looked = 0.0
    written = False


_ending = _Ending()


def end_where_due() -> None:
    """End when every optimizer that stepped has its steps, or when the user asked for the end."""
    now = state.current
    # None has more steps than all together: at nearly every step no more need be asked.
    if now.stepped >= now.skip_steps + now.steps_asked and _have_their_steps():
        leave("steps")
    if _ending.at is None and now.stepped:
        clock = time.perf_counter()
        if clock - _ending.looked >= LOOK_SECONDS or _ending.asked:
            _ending.looked = clock
            request = os.path.join(now.directory, ".state", "stop")
            _ending.asked = os.path.exists(request)
            if _ending.asked:
                _ending.at = _agreed_step(now.most_steps(), request)
    if _ending.at is not None and now.most_steps() >= _ending.at:
        leave("interrupted")


def _have_their_steps() -> bool:
    now = state.current
    stepped = [watched for watched in now.optimizers.values() if watched.step]
    seen = [watched for watched in stepped if not watched.blind]
    # One that has not stepped for so long belongs to a phase that is over.
    active = [w.step for w in seen if now.stepped - w.last_of_all <= now.steps_asked]
    wanted = now.skip_steps + now.steps_asked
    farthest = FARTHEST * wanted
    enough = min(active, default=wanted) >= wanted or now.most_steps() > farthest
    one_after_the_other = now.stepped >= farthest * len(stepped)  # each of few steps
    # Where none is seen, all is in CUDA graphs: `graphs` ends it.
    return bool(seen) and (enough or one_after_the_other)


def _agreed_step(step: int, request: str) -> int | None:
    """The step at which all ranks end; None while that is not agreed.

    A rank that left early would leave the others in a collective for ever. On a GPU one may have
    asked for many steps that no other has begun. So each rank that sees the request waits for its
    device after every step from there on; ranks that exchange gradients are then at most one step
    apart. The first to see that all do so sets the end two steps ahead.
    """
    if output.world_size() < 2:
        return step
    folder = os.path.join(state.current.directory, ".state")
    path = os.path.join(folder, "stop-at")
    if not os.path.exists(path):
        steps.flush()
        output.tell(f"in-step-{output.rank()}")
        if not (_all_told(folder, "in-step") or _waited(request)):
            return None
        with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
            file.write(str(step + 2))
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)  # whole or not at all, and only the first
    with open(path, encoding="utf-8") as file:
        return int(file.read())


def _all_told(folder: str, name: str) -> bool:
    """Whether every rank on this machine has left this file."""
    return all(os.path.exists(os.path.join(folder, f"{name}-{rank}")) for rank in _ranks_here())


def _waited(request: str) -> bool:
    """Whether the others had their time: one that never steps never sees the request."""
    return time.time() - os.path.getmtime(request) > OTHERS_SECONDS


def finish(why: str) -> None:
    """Write what waits and the last line. Once."""
    now = state.current
    if _ending.written or not output.is_open() or os.getpid() != now.pid:
        return
    _ending.written = True
    try:
        steps.flush()
    except Exception as error:  # a device that has failed, with the program: the last line yet
        output.note("recorder", f"the last steps could not be read: {error!r}")
    _say_what_was_replayed()
    done, seconds = now.most_steps(), round(now.seconds, 6)
    output.write({"kind": "stop", "why": why, "steps": done, "recorder_seconds": seconds})
    output.close()


def _say_what_was_replayed() -> None:
    """All that is known of steps in a CUDA graph. A replay is asked for: when it was done is not
    known without waiting for the device."""
    for optimizer, watched in state.current.optimizers.items():
        if watched.replayed:
            seconds = watched.replayed_at - watched.replayed_from
            output.note(
                "cuda_graph",
                f"{called(optimizer, watched)}: {watched.replayed} steps were asked for by replays "
                f"of a CUDA graph, from the first to the last in {seconds:.3g} s; not seen: their "
                "norms and rates",
                about=f"{id(watched)} replayed",
            )


def leave(why: str) -> None:
    """Finish, wait for the other ranks, and end the process."""
    now = state.current
    finish(why)
    folder = os.path.join(now.directory, ".state")
    output.tell(f"done-{output.rank()}")
    until = time.monotonic() + OTHERS_SECONDS
    while time.monotonic() < until and not _all_told(folder, "done"):
        time.sleep(0.02)
    for child in multiprocessing.active_children():
        child.terminate()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    output.tell(f"left-{output.rank()}", str(len(_ranks_here())))
    if os.environ.get("GRADAUDIT_PROBE_WAITS"):
        time.sleep(PARENT_SECONDS)
    os._exit(0)


def _ranks_here() -> list[int]:
    """Of this machine, where the launcher says so: another's files may be on another disk."""
    own, world = output.rank(), output.world_size()
    local, count = os.environ.get("LOCAL_RANK", ""), os.environ.get("LOCAL_WORLD_SIZE", "")
    if local.isdigit() and count.isdigit():
        first = own - int(local)
        return list(range(first, first + int(count)))
    return list(range(world))


@atexit.register
def _script_ended() -> None:
    """The program came to its own end before the last step."""
    try:
        # Python sets it when nothing caught an exception.
        finish("error" if hasattr(sys, "last_value") else "script_ended")
    except Exception as error:
        sys.stderr.write(f"gradaudit: the end of the record could not be written: {error!r}\n")
