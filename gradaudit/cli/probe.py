"""`gradaudit probe`: run the user's own training, record its first steps, say what was seen."""

from __future__ import annotations

import os
import signal
import sys

from gradaudit.cli.common import UsageError, fault
from gradaudit.cli.records import record_directory, told_where
from gradaudit.probe.launch import CannotRun, Listener, Outcome, Request, run
from gradaudit.probe.prepared import prepared

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
        if arguments.config is not None and not os.path.isfile(arguments.config):
            raise UsageError(f"--config {arguments.config}: no such file")
        with record_directory(arguments.output, "probe") as directory:
            request = Request(
                arguments.command,
                os.path.abspath(directory),
                arguments.steps,
                arguments.skip_steps,
                arguments.cwd,
                arguments.config,
            )
            with prepared(request):
                outcome = _run(request)
    except (UsageError, CannotRun) as error:
        return fault(str(error))
    code = 0
    if outcome.why != "nothing":
        code = _say_what_was_seen(arguments, request)
    if outcome.problem:
        return fault(outcome.problem)
    return 0 if code == 1 and arguments.exit_zero else code


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
    shown = os.path.relpath(request.directory)
    shown = request.directory if shown.startswith("..") else shown
    with told_where(shown):
        return summarise_record(shown, arguments.config, unit=arguments.unit, color=arguments.color)
