"""`gradaudit show`: the plan as understood."""

from __future__ import annotations

import sys

from gradaudit.cli.common import UsageError, audit_all, fault
from gradaudit.render.output import use_color, width_of, write_lines
from gradaudit.settings import BadSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.cli.options import CheckArguments


def run_show(arguments: CheckArguments) -> int:
    try:
        run = audit_all(arguments)
    except (BadSettings, UsageError) as error:
        return fault(str(error))
    judged = [result for result in run.results if not result.skipped]
    for where, message in run.problems:
        fault(f"{where}: {message}")
    if arguments.format == "json":
        from gradaudit.render.json import show_document

        sys.stdout.write(show_document(judged) + "\n")
    else:
        from gradaudit.render.show import show_lines

        width = width_of(sys.stdout)
        if judged or not run.problems:
            write_lines(show_lines(judged, width), use_color(arguments.color, sys.stdout))
    return 2 if run.problems else 0
