"""Run a user's command as it is, with the recorder on its path, until its steps are recorded.

The recorder comes in by PYTHONPATH alone, so it reaches what the command starts: the workers of
torchrun, accelerate and deepspeed, the Python of a shell script. The command's words are passed on
unchanged, its environment but for PYTHONPATH and names that begin with GRADAUDIT_PROBE. Torch is
not imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradaudit.probe.closing import close_records
from gradaudit.probe.configs import config_digests, named_configs
from gradaudit.probe.processes import descendants
from gradaudit.probe.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradaudit.probe.tail import Seen

SHIM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shim")
COMMAND = "command"
"""The word that says which process group the command is, for who finds it when we were killed."""

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 5.0
"""After Ctrl-C with nothing recorded: how long the command has to end by itself."""

SILENT_SECONDS = 30.0
"""Without a Python that has loaded the recorder, which it does as it starts: then a word is due. A
training that is not recorded runs to its end."""


UNREACHED = (
    "it cleared PYTHONPATH, ran isolated (-I, -E, -S) or in a container, or is no Python program"
)


WIPED = (
    "the command deleted {}, where its record was being written, and was ended: nothing is "
    "recorded; name a directory that it does not clean with --output"
)


class CannotRun(Exception):
    """The command cannot be recorded; the message says why and what to do."""


@dataclass
class Request:
    """What to run and how long. directory: absolute, where the record goes. cwd: where it runs.
    config: the one that the user says it trains by."""

    command: list[str]
    directory: str
    steps: int
    skip_steps: int = 0
    cwd: str | None = None
    config: str | None = None


@dataclass
class Outcome:
    """How it ended.

    why        `steps`, `interrupted`, `script_ended`, `error`, `cut_off` (ended here at once),
               `killed` (no end was written), `failed` (the recorder did), or `nothing` (no step was
               recorded)
    exit_code  the command's own, None where it was ended here
    problem    what is wrong, in one line with the mend; empty where there is a usable record
    """

    why: str
    exit_code: int | None
    seen: Seen
    problem: str = ""


@dataclass
class Listener:
    """What the run tells while it goes on. output: a file descriptor for the command's own output,
    by the number of its stream (1, 2) that is to go there instead of where ours goes."""

    progress: Callable[[Seen], None]
    say: Callable[[str], None]
    output: dict[int, int]


def environment(request: Request) -> dict[str, str]:
    """The caller's, with the recorder first on the path."""
    given = dict(os.environ)
    path = given.get("PYTHONPATH")
    given["PYTHONPATH"] = f"{SHIM}{os.pathsep}{path}" if path else SHIM
    given["GRADAUDIT_PROBE_DIR"] = request.directory
    given["GRADAUDIT_PROBE_STEPS"] = str(request.steps)
    given["GRADAUDIT_PROBE_SKIP"] = str(request.skip_steps)
    given["GRADAUDIT_PROBE_WAITS"] = "1"
    configs = config_digests(named_configs(request.command, request.cwd, request.config))
    given["GRADAUDIT_PROBE_CONFIGS"] = json.dumps(configs)
    return given


def run(request: Request, listener: Listener) -> Outcome:
    """Run the command until its steps are recorded, it ends, or the user interrupts it.

    It has a session of its own: Ctrl-C reaches this process, which asks the recorder for the end. A
    second one kills the command.

    Raises: CannotRun: it could not be started.
    """
    tail = Tail(request.directory, request.skip_steps + request.steps)
    try:
        process = subprocess.Popen(
            request.command,
            cwd=request.cwd,
            env=environment(request),
            stdout=listener.output.get(1),
            stderr=listener.output.get(2),
            start_new_session=True,
        )
    except OSError as error:
        raise CannotRun(_not_started(request, error)) from None
    running = _Running(process, request.directory)
    with contextlib.suppress(OSError):  # a full disk: what runs has to be ended all the same
        running.leave(COMMAND, str(process.pid))
    with _ended_by_signals(running):
        try:
            _follow(running, tail, listener)
        except KeyboardInterrupt:  # while the one before it was being answered
            running.interrupts += 1
            running.ended_here = running.cut_off = True
        finally:
            with _undisturbed():
                running.end(signal.SIGKILL)
                if running.cut_off:
                    close_records(request.directory)
    return _outcome(request, running, tail.read())


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """While the command is ended and its record closed. Ctrl-C does nothing: what it asks for is
    being done. Another signal that ends this process (a closed terminal sends one, and whatever
    cleans up after it the next) waits until that is done, or the command would run on or its record
    stay without an end."""
    told: list[int] = []

    def wait(number: int, frame: object) -> None:
        told.append(number)

    ending = (signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in ending if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, wait) for number in heard}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if told:
            raise SystemExit(128 + told[0])


@contextlib.contextmanager
def _ended_by_signals(running: _Running) -> Iterator[None]:
    """When this process is told to end, or its terminal is closed, the command ends with it: it is
    in a session of its own, where no signal would reach it. What is ignored stays so: nohup."""

    def leave(number: int, frame: object) -> None:
        running.cut_off = True
        raise SystemExit(128 + number)

    heard = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _not_started(request: Request, error: OSError) -> str:
    word = request.command[0]
    if word.endswith(".py") and os.path.exists(os.path.join(request.cwd or "", word)):
        return f"{word}: is a script, not a command; run it with `python {word}`"
    if isinstance(error, FileNotFoundError):
        return f"{word}: no such command"
    return f"{word}: {error.strerror}"


@dataclass
class _Running:
    """The command. ended_here: whether this process ended it. interrupts: Ctrl-C so far. cut_off:
    whether it is ended without the recorder's own end."""

    process: subprocess.Popen[bytes]
    directory: str
    ended_here: bool = False
    interrupts: int = 0
    cut_off: bool = False

    def state(self, name: str) -> str | None:
        """What the recorder left for us, None where it has not."""
        try:
            path = os.path.join(self.directory, ".state", name)
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError:
            return None

    def leave(self, name: str, word: str = "") -> None:
        """Leave the recorder, or who comes after us, a word."""
        with open(os.path.join(self.directory, ".state", name), "w", encoding="utf-8") as file:
            file.write(word)

    def is_gone(self) -> bool:
        """Whether the command has deleted the directory of the record."""
        return not os.path.isdir(os.path.join(self.directory, ".state"))

    def fault(self) -> str | None:
        """Why the recorder does not record what is left; None where it does."""
        if self.is_gone():
            return WIPED.format(os.path.relpath(self.directory))
        failed = self.state("failed")
        return self.state("blind") if failed is None else failed

    def all_left(self) -> bool:
        """Whether all ranks on this machine have written their end."""
        try:
            names = os.listdir(os.path.join(self.directory, ".state"))
        except FileNotFoundError:  # see `is_gone`
            return False
        left = [name for name in names if re.fullmatch(r"left-\d+", name)]
        return bool(left) and len(left) >= int(self.state(left[0]) or 1)

    def end(self, how: signal.Signals) -> None:
        """Send a signal to the command and its group; SIGKILL to all that it started besides."""
        apart = descendants(self.process.pid) if how == signal.SIGKILL else []
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, how)
        for pid in apart:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, how)
        if how == signal.SIGKILL:
            self.process.wait()


def _follow(running: _Running, tail: Tail, listener: Listener) -> None:
    until = time.monotonic() + SILENT_SECONDS
    while running.process.poll() is None:
        try:
            listener.progress(tail.read())
            if running.all_left() or running.fault() is not None:
                # At once, with the shell or the launcher around it: nothing of it runs on. Without
                # a recorder nothing would ever end it.
                running.ended_here = True
                running.end(signal.SIGKILL)
                break
            if time.monotonic() >= until:
                until = float("inf")
                if running.state("python") is None:
                    listener.say(
                        f"no Python of the command has loaded the recorder in {SILENT_SECONDS:.0f} "
                        f"s; if it trains already, it is not recorded: {UNREACHED}. Ctrl-C ends it"
                    )
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            _interrupted(running, tail, listener)
    listener.progress(tail.read())


def _interrupted(running: _Running, tail: Tail, listener: Listener) -> None:
    running.interrupts += 1
    running.ended_here = True
    if running.interrupts > 1:
        running.cut_off = True
        running.end(signal.SIGKILL)
    elif tail.read().recorded:
        listener.say("ending after the current step; Ctrl-C again ends it at once")
        running.leave("stop")
    else:
        listener.say("no step was recorded yet: ending the command; Ctrl-C again ends it at once")
        running.end(signal.SIGINT)
        until = time.monotonic() + PATIENCE_SECONDS
        with contextlib.suppress(KeyboardInterrupt):
            while running.process.poll() is None and time.monotonic() < until:
                time.sleep(POLL_SECONDS)
        running.end(signal.SIGKILL)


def _outcome(request: Request, running: _Running, seen: Seen) -> Outcome:
    code = None if running.ended_here else running.process.returncode
    fault = running.fault()
    if fault is not None:
        why = "failed" if seen.recorded and not running.is_gone() else "nothing"
        return Outcome(why, code, seen, fault)
    if not seen.recorded:
        problem = _why_nothing(running, request, code)
        return Outcome("nothing", code, seen, problem)
    why = seen.why_stopped or "killed"
    if why in ("steps", "interrupted") or running.interrupts:
        return Outcome("interrupted" if why == "killed" else why, code, seen)
    if code:
        after = f"after {seen.recorded} recorded steps"
        return Outcome(why, code, seen, f"the command {_ended_with(code)} {after}")
    return Outcome(why, code, seen)


def _ended_with(code: int) -> str:
    if code < 0:
        return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"failed with exit code {code}"


def _why_nothing(running: _Running, request: Request, code: int | None) -> str:
    """Why there is no record, from how far the recorder came, and the mend."""
    if running.interrupts:
        return "interrupted before the first optimizer step: nothing was recorded"
    without = running.state("no-torch")
    if without is not None and running.state("torch") is None:
        return (
            "gradaudit probe needs torch in the environment of the command, and it has none: "
            f"`{without} -m pip install torch`, or run the command with the Python that has it"
        )
    if code:
        return f"the command {_ended_with(code)} before its first optimizer step"
    if running.state("python") is None:
        return (
            f"no Python of the command loaded the recorder: {UNREACHED}; start its Python directly"
        )
    if running.state("torch") is None:
        return "the command never imported torch: is it the training?"
    hidden = running.state("hidden")
    if hidden is not None:
        return f"no optimizer step was recorded: {hidden}; run the command without `fullgraph=True`"
    if request.skip_steps:
        return (
            "no optimizer step was recorded: the command ended within the "
            f"{request.skip_steps} steps of --skip-steps, or never stepped a torch optimizer"
        )
    return (
        "the command never stepped an optimizer of torch.optim: run the part that trains, and for "
        "long enough"
    )
