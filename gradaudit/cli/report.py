"""`gradaudit report`: the diagnosis of one config as a document."""

from __future__ import annotations

import os
import sys

from gradaudit.cli.common import UsageError, audit_all, fault, quoted
from gradaudit.settings import BadSettings, Finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.cli.options import CheckArguments


def run_report(arguments: CheckArguments, output: str | None, words: list[str]) -> int:
    path = arguments.paths[0]
    if path != "-" and os.path.isdir(path):
        return fault(f"{path}: is a directory; a report is of one config")
    if output and path != "-" and _same(path, output):
        return fault(f"-o {output}: is the config itself; nothing was written")
    try:
        run = audit_all(arguments)
    except (BadSettings, UsageError) as error:
        return fault(str(error))
    for where, message in run.problems:
        fault(f"{where}: {message}")
    if run.problems or not run.results:
        return 2
    from gradaudit.render.report import render_report

    command = "gradaudit " + " ".join(map(quoted, _without_output(words)))
    limits = Finder(arguments.config, arguments.isolated).for_file(path).limits
    text = render_report(run.results[0], command=command, limits=limits)
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        with open(output, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        return fault(f"{output}: {error.strerror}")
    sys.stderr.write(f"Wrote {output}.\n")
    return 0


def _same(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False


def _without_output(words: list[str]) -> list[str]:
    """The command that reprints the report, whatever file it went to."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("-o", "--output"):
            skip = True
        elif not word.startswith(("--output=", "-o")) or word == "-":
            kept.append(word)
    return kept
