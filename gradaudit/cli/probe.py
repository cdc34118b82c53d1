"""`gradaudit probe`: run the user's own training, record its first steps, say what was seen."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time

from gradaudit.cli.common import UsageError, fault, quoted
from gradaudit.probe.launch import CannotRun, Listener, Outcome, Request, prepare, run
from gradaudit.render.output import use_color, width_of, write_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.probe.terminal import Terminal
    from gradaudit.render.live import BarProgress, PlainProgress

RECORDS = os.path.join(".gradaudit", "probe")


class ProbeArguments:
    """The command line of `probe`; names and defaults as in docs/probe.md."""

    def __init__(self) -> None:
        self.command: list[str] = []
        self.steps = 100
        self.skip_steps = 0
        self.config: str | None = None
        self.output: str | None = None
        self.cwd: str | None = None
        self.color = "auto"


def run_probe(arguments: ProbeArguments) -> int:
    """Exit code: 0, or 2 where the command failed or nothing was recorded."""
    try:
        if arguments.config is not None and not os.path.isfile(arguments.config):
            raise UsageError(f"--config {arguments.config}: no such file")
        request = Request(
            arguments.command,
            os.path.abspath(arguments.output or _default_directory()),
            arguments.steps,
            arguments.skip_steps,
            arguments.cwd,
        )
        prepare(request)
        try:
            outcome = _run(request)
        finally:
            shutil.rmtree(os.path.join(request.directory, ".state"), ignore_errors=True)
            with contextlib.suppress(OSError):  # empty: nothing was recorded
                os.rmdir(request.directory)
    except (UsageError, CannotRun) as error:
        return fault(str(error))
    if outcome.why != "nothing":
        _say_what_was_seen(arguments, request, outcome)
    return fault(outcome.problem) if outcome.problem else 0


def _default_directory() -> str:
    """A new one under .gradaudit, which keeps itself out of git."""
    folder = os.path.join(RECORDS, time.strftime("%Y%m%d-%H%M%S"))
    try:
        os.makedirs(RECORDS, exist_ok=True)
        with open(os.path.join(".gradaudit", ".gitignore"), "x", encoding="utf-8") as file:
            file.write("*\n")
    except FileExistsError:
        pass
    except OSError as error:
        raise UsageError(f"{RECORDS}: {error.strerror}; name a directory with --output") from None
    return folder


def _run(request: Request) -> Outcome:
    progress, terminal, output = _progress(request.skip_steps)
    try:
        return run(request, Listener(progress.show, progress.say, output))
    finally:
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
        terminal = Terminal(bar.line)
    except (OSError, ImportError):
        bar.close()
        return PlainProgress(), None, {}
    streams = [number for number, stream in ((1, sys.stdout), (2, sys.stderr)) if stream.isatty()]
    return bar, terminal, dict.fromkeys(streams, terminal.end)


def _say_what_was_seen(arguments: ProbeArguments, request: Request, outcome: Outcome) -> None:
    from gradaudit.render.layout import piece
    from gradaudit.render.live import seen_lines

    shown = os.path.relpath(request.directory)
    shown = request.directory if shown.startswith("..") else shown
    lines = seen_lines(outcome.seen, outcome.why, width_of(sys.stdout))
    lines.append([piece(f"{'record':<18}", "dim"), piece(quoted(shown), "path")])
    sys.stderr.flush()
    write_lines(lines, use_color(arguments.color, sys.stdout))
    sys.stdout.flush()
