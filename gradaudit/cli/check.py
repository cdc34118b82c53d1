"""`gradaudit check`."""

from __future__ import annotations

import gc
import sys

from gradaudit.cli.common import UsageError, audit_all, command, fault
from gradaudit.render.output import use_color, width_of, write_lines
from gradaudit.render.summary import Summary, exit_code
from gradaudit.settings import BadSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.audit import FileResult
    from gradaudit.cli.common import Drawn, Run
    from gradaudit.cli.options import CheckArguments
    from gradaudit.render.layout import Line


def run_check(arguments: CheckArguments) -> int:
    on_screen = arguments.format in ("full", "concise")
    width = width_of(sys.stdout)
    try:
        run = audit_all(arguments, drawing(arguments, width) if on_screen else None)
    except (BadSettings, UsageError) as error:
        return fault(str(error))
    gc.freeze()  # all that was read stays until the end: collecting at exit would look at it again
    summary = _summary(run, arguments)
    if arguments.format == "json":
        from gradaudit.render.json import check_document

        sys.stdout.write(check_document(run.results, summary) + "\n")
    elif arguments.format == "markdown":
        from gradaudit.render.markdown import check_markdown

        sys.stdout.write(check_markdown(run.results, summary) + "\n")
    else:
        write_lines(_lines(run, summary, width), use_color(arguments.color, sys.stdout))
    code = exit_code(run.tallies, run.problems, run.fail_on)
    return 0 if arguments.exit_zero and code == 1 else code


def drawing(arguments: CheckArguments, width: int) -> Callable[[FileResult], Drawn]:
    """What turns a result into its lines, and into those that --verbose puts after all others."""
    from gradaudit.render.text import concise, full, skipped_lines, unjudged_lines

    def draw(result: FileResult) -> Drawn:
        lines = concise(result) if arguments.format == "concise" else full(result, width)
        if arguments.record is not None and arguments.format == "full":
            from gradaudit.render.record import record_lines

            lines = lines + record_lines(result, width)
        if not arguments.verbose:
            return lines, []
        return lines, unjudged_lines(result, width) + skipped_lines(result)

    return draw


def _summary(run: Run, arguments: CheckArguments) -> Summary:
    summary = Summary(run.tallies, run.problems)
    summary.since = arguments.since
    summary.next_steps = next_steps(summary, arguments)
    return summary


def _lines(run: Run, summary: Summary, width: int) -> list[Line]:
    from gradaudit.render.text import closing

    lines = [line for drawn, _ in run.drawn for line in drawn]
    lines += [line for _, more in run.drawn for line in more]
    return lines + closing(summary, width)


def screen(arguments: CheckArguments, width: int) -> list[Line]:
    """What `check` shows on a terminal of that width, for the README's picture.

    Raises: UsageError, BadSettings.
    """
    run = audit_all(arguments, drawing(arguments, width))
    return _lines(run, _summary(run, arguments), width)


def _with_fixes(summary: Summary, arguments: CheckArguments) -> CheckArguments:
    """The arguments with the paths that have a fix; all where files may be one run's."""
    kept = [
        path for path in arguments.paths
        if any(fixed == path or fixed.startswith(f"{path.rstrip('/')}/") for fixed in summary.fixed)
    ]  # fmt: skip
    if not kept or len(kept) == len(arguments.paths) or summary.in_one_run:
        return arguments
    from copy import copy

    fewer = copy(arguments)
    fewer.paths = kept
    return fewer


def next_steps(summary: Summary, arguments: CheckArguments) -> list[str]:
    """The very next command, with the paths and the options that change what is found."""
    steps: list[str] = []
    if not summary.fixable and not summary.speculative:
        return steps
    shown = command("fix", _with_fixes(summary, arguments))
    if "-" in arguments.paths or arguments.set:
        return steps
    if summary.fixable:
        many = summary.fixable != 1
        count = f"{summary.fixable} finding" + ("s have" if many else " has")
        them = "them" if many else "it"
        steps.append(f"{count} a fix: `{shown}` shows {them}, `--write` applies {them}.")
        if summary.speculative:
            steps.append(
                f"{summary.speculative} more with `--unsafe`: they may help; measure first."
            )
    else:
        count = f"{summary.speculative} finding" + (
            "s have" if summary.speculative != 1 else " has"
        )
        steps.append(f"{count} a speculative fix: `{shown} --unsafe` shows it.")
    if summary.earlier:
        steps.append("`fix` takes earlier findings too.")
    return steps
