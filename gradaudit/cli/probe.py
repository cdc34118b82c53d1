"""`gradaudit probe`: run the user's own training, record its first steps, say what was seen."""

from __future__ import annotations

import os
import signal
import sys

from gradaudit.audit import audit_path
from gradaudit.cli.common import UsageError, fault, unknown_unit
from gradaudit.cli.records import record_directory, told_if_ended, told_where
from gradaudit.discover import describe
from gradaudit.options import Options
from gradaudit.probe.launch import CannotRun, Listener, Outcome, Request, run
from gradaudit.probe.prepared import prepared
from gradaudit.settings import BadSettings, Finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.probe.terminal import Terminal
    from gradaudit.render.live import BarProgress, PlainProgress


class ProbeArguments:
    """The command line of `probe`; names and defaults as in docs/probe.md."""

    def __init__(self) -> None:
        self.command: list[str] = []
        self.steps = 100
        self.skip_steps = 0
        self.config: str | None = None
        self.output: str | None = None
        self.unit: str | None = None
        self.cwd: str | None = None
        self.exit_zero = False
        self.color = "auto"


def run_probe(arguments: ProbeArguments) -> int:
    """Exit code: as `check` judges what was recorded; 2 where the command failed or nothing was."""
    try:
        _check_config(arguments)
        with record_directory(arguments.output, "probe") as directory:
            request = Request(
                arguments.command,
                os.path.abspath(directory),
                arguments.steps,
                arguments.skip_steps,
                arguments.cwd,
                arguments.config,
            )
            with prepared(request), told_if_ended(_shown(request)):
                outcome = _run(request)
    except (UsageError, CannotRun) as error:
        return fault(str(error))
    code = 0
    if outcome.why != "nothing":
        code = _say_what_was_seen(arguments, request)
    if outcome.problem:
        return fault(outcome.problem)
    return 0 if code == 1 and arguments.exit_zero else code


def _check_config(arguments: ProbeArguments) -> None:
    """Before the training runs, which may take long, and not after it.

    Raises: UsageError.
    """
    path = arguments.config
    if path is None:
        if arguments.unit is not None:
            raise UsageError("--unit says which training of a config is recorded: add --config")
        return
    if not os.path.isfile(path):
        raise UsageError(f"--config {path}: no such file")
    options = Options()
    options.named = (path,)
    try:
        result = audit_path(path, options, Finder(None, False))
    except OSError as error:
        raise UsageError(f"--config {path}: {describe(error, path)}") from None
    except BadSettings as error:
        raise UsageError(str(error)) from None
    if result.tree is None:
        said = "; ".join(f"line {f.place.line}: {f.message}" for f in result.findings)
        raise UsageError(f"--config {path}: cannot be read: {said or 'it does not parse'}")
    problem = unknown_unit(arguments.unit, tuple(unit.name for unit in result.units))
    if problem:
        raise UsageError(f"{path}: {problem}")


def _run(request: Request) -> Outcome:
    progress, terminal, output = _progress(request.skip_steps)
    resized = getattr(signal, "SIGWINCH", None)
    if terminal is not None and resized is not None:
        signal.signal(resized, lambda number, frame: terminal.copy_size())
    try:
        return run(request, Listener(progress.show, progress.say, output))
    finally:
        if terminal is not None and resized is not None:
            signal.signal(resized, signal.SIG_DFL)
        if terminal is not None:
            terminal.close()
        progress.close()


def _progress(
    left_out: int,
) -> tuple[BarProgress | PlainProgress, Terminal | None, dict[int, int]]:
    """A bar where standard error is a terminal, with the command's output led above it."""
    from gradaudit.render.live import BarProgress, PlainProgress

    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return PlainProgress(), None, {}
    from gradaudit.probe.terminal import Terminal

    bar = BarProgress(left_out)
    try:
        terminal = Terminal(bar.line, bar.unfinished)
    except (OSError, ImportError):
        bar.close()
        return PlainProgress(), None, {}
    streams = [number for number, stream in ((1, sys.stdout), (2, sys.stderr)) if stream.isatty()]
    return bar, terminal, dict.fromkeys(streams, terminal.end)


def _say_what_was_seen(arguments: ProbeArguments, request: Request) -> int:
    """The panel of the record and its findings; returns the exit code."""
    from gradaudit.cli.record import summarise_record

    sys.stderr.flush()
    shown = _shown(request)
    with told_where(shown):
        return summarise_record(shown, arguments.config, unit=arguments.unit, color=arguments.color)


def _shown(request: Request) -> str:
    """The record's directory as a message names it."""
    shown = os.path.relpath(request.directory)
    return request.directory if shown.startswith("..") else shown
