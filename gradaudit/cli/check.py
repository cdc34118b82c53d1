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
    from gradaudit.cli.common import Run
    from gradaudit.cli.options import CheckArguments
    from gradaudit.render.layout import Line


def run_check(arguments: CheckArguments) -> int:
    try:
        run = audit_all(arguments)
    except (BadSettings, UsageError) as error:
        return fault(str(error))
    gc.freeze()  # all that was read stays until the end: collecting at exit would look at it again
    summary = Summary(run.results, run.problems)
    summary.next_steps = next_steps(summary, arguments)
    if arguments.format == "json":
        from gradaudit.render.json import check_document

        sys.stdout.write(check_document(run.results, summary) + "\n")
    elif arguments.format == "markdown":
        from gradaudit.render.markdown import check_markdown

        sys.stdout.write(check_markdown(run.results, summary) + "\n")
    else:
        _draw(run, summary, arguments)
    code = exit_code(run.results, run.problems, run.fail_on)
    return 0 if arguments.exit_zero and code == 1 else code


def _draw(run: Run, summary: Summary, arguments: CheckArguments) -> None:
    lines = _lines(run, summary, arguments, width_of(sys.stdout))
    write_lines(lines, use_color(arguments.color, sys.stdout))


def _lines(run: Run, summary: Summary, arguments: CheckArguments, width: int) -> list[Line]:
    from gradaudit.render.text import closing, concise, full, skipped_lines, unjudged_lines

    lines = concise(run.results) if arguments.format == "concise" else full(run.results, width)
    if arguments.verbose:
        lines += unjudged_lines(run.results, width) + skipped_lines(run.results)
    return lines + closing(summary, width)


def screen(arguments: CheckArguments, width: int) -> list[Line]:
    """What `check` shows on a terminal of that width, for the README's picture.

    Raises: UsageError, BadSettings.
    """
    run = audit_all(arguments)
    summary = Summary(run.results, run.problems)
    summary.next_steps = next_steps(summary, arguments)
    return _lines(run, summary, arguments, width)


def next_steps(summary: Summary, arguments: CheckArguments) -> list[str]:
    """The very next command, with the paths and the options that change what is found."""
    steps: list[str] = []
    if not summary.fixable and not summary.speculative:
        return steps
    shown = command("fix", arguments)
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
    return steps
