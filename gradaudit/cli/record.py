"""What `probe` and `dryrun` say at their end: the record's panel and what it shows to be wrong."""

from __future__ import annotations

import sys

from gradaudit.audit import FileResult, audit_path, audit_source
from gradaudit.cli.common import UsageError, fault, quoted
from gradaudit.discover import describe
from gradaudit.evidence.record_reader import BadRecord, read_record
from gradaudit.options import Options
from gradaudit.plan.recorded import as_config
from gradaudit.render.layout import clean, piece, wrap
from gradaudit.render.output import use_color, width_of, write_lines
from gradaudit.render.record import record_lines
from gradaudit.render.summary import Summary, Tally, exit_code
from gradaudit.render.text import closing, concise, full
from gradaudit.rules.recorded import source
from gradaudit.settings import BadSettings, Finder
from gradaudit.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from gradaudit.evidence.record import Record
    from gradaudit.findings import Finding
    from gradaudit.render.layout import Line


MANY = 3
"""Optimizers of which a rule says the same, from which on only the first finding is in full: those
of a GAN are two."""


def summarise_record(
    directory: str,
    config: str | None = None,
    *,
    unit: str | None = None,
    color: str = "auto",
    stream: TextIO | None = None,
) -> int:
    """Print the panel of a record and the findings, beside `config` where the user named one.

    Without a config the run is judged by itself: what it did, written as a config.

    Returns the exit code: 0 clean, 1 findings at or above the level of the settings (warning), 2
    where the record or the config cannot be read.
    """
    stream = stream if stream is not None else sys.stdout
    width = width_of(stream)
    try:
        record = read_record(directory)
        result, finder = _audited(record, config, unit)
    except (BadRecord, BadSettings, UsageError) as error:
        return fault(str(error))
    problems = [(result.path, problem) for problem in result.problems]
    summary = Summary([Tally(result)], problems)
    if config is not None and summary.fixable:
        of = f" --unit {quoted(unit)}" if unit is not None else ""
        command = f"gradaudit fix {quoted(config)} --record {quoted(directory)}{of}"
        summary.next_steps = [f"`{command}` shows the repair, `--write` applies it."]
    shown = _alone(result, width) if config is None else _shown(result, config, width)
    lines = [*record_lines(result, width), *shown, *closing(summary, width)]
    write_lines(lines, use_color(color, stream), stream)
    level = finder.for_file(config).fail_on if config is not None else None
    return exit_code([Tally(result)], problems, {result.path: level or "warning"})


def _alone(result: FileResult, width: int) -> list[Line]:
    """The findings of a run without a config: in full, but of a rule that says one thing of many
    optimizers (the folds of a cross validation) only the first; the others in a line each."""
    spoken: dict[tuple[str, str], list[str | None]] = {}
    for finding in result.findings:
        units = spoken.setdefault((finding.rule.code, finding.severity), [])
        if finding.unit not in units:
            units.append(finding.unit)
    first: list[Finding] = []
    alike: list[Finding] = []
    for finding in result.findings:
        units = spoken[finding.rule.code, finding.severity]
        is_again = len(units) >= MANY and finding.unit != units[0]
        (alike if is_again else first).append(finding)
    lines = full(result, width, first)
    if alike:
        text = "The same of other optimizers:"
        lines += [[piece(text, "dim")], *concise(result, alike), []]
    return lines


def _shown(result: FileResult, config: str, width: int) -> list[Line]:
    """The findings that the record made or spoke of in full, with those of one cause; what the file
    alone shows in a line each: it is no news of this run."""
    runs = {source(one) for unit in result.units for one in unit.measured}
    touched = [
        finding
        for finding in result.findings
        if finding.rule.scope == "record"
        or any(run in text for run in runs for text in finding.evidence)
    ]
    causes = {(finding.unit, finding.cause) for finding in touched if finding.cause}
    of_run = [f for f in result.findings if f in touched or (f.unit, f.cause) in causes]
    of_file = [finding for finding in result.findings if finding not in of_run]
    lines = full(result, width, of_run)
    if of_file:
        text = f"From the file alone (`gradaudit check {quoted(config)}` explains):"
        lines += [[piece(line, "dim")] for line in wrap(clean(text), max(width, 60), "", "  ")]
        lines += [*concise(result, of_file), []]
    return lines


def _audited(record: Record, config: str | None, unit: str | None) -> tuple[FileResult, Finder]:
    """Raises: UsageError, BadSettings."""
    options, finder = Options(), Finder(None, config is None)
    options.record = record
    options.unit = unit
    if config is None:
        options.unit = None
        source = Source(f"{record.directory} (as recorded)", as_config(record))
        result = audit_source(source, options, finder.for_file("recorded.yaml"))
        for finding in result.findings:
            finding.fix, finding.no_fix = None, ""  # there is no such file to mend
        return result, finder
    options.named = (config,)
    try:
        return audit_path(config, options, finder), finder
    except OSError as error:
        raise UsageError(f"{config}: {describe(error, config)}") from None
