"""The screen of `fix`: the diff, what each change is for, what remains, and what to type next."""

from __future__ import annotations

from gradaudit.findings import INFO, RECOMMENDED, SAFE, SPECULATIVE
from gradaudit.render.layout import PROSE, clean, piece, printable, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from gradaudit.findings import Finding, Fix
    from gradaudit.fixing import Fixed
    from gradaudit.render.layout import Line


def fix_lines(
    files: list[Fixed],
    problems: list[tuple[str, str]],
    *,
    admitted: Collection[str],
    write: bool,
    command: str,
    check: str,
    width: int,
) -> list[Line]:
    """The diffs, what they are for, what was refused and why, and what to type next.

    `admitted` are the applicabilities that were taken, `command` is what was typed but `--write`,
    `check` is the check that explains what is left.
    """
    lines: list[Line] = []
    for file in files:
        if file.changed:
            lines.extend(_diff(file))
            lines.append([])
            lines.extend(_applied(file, width))
            lines.append([])
    for file in files:
        if file.before.tree is None:
            for finding in file.before.findings:
                place = f"{file.before.path}:{finding.place.line}"
                text = f"not fixed: {place}: cannot be read: {finding.message}"
                lines.extend([piece(line, "error")] for line in wrap(clean(text), width, "", "  "))
        if file.outcome is not None:
            for finding, reason in file.outcome.refused:
                text = f"not fixed: {_what(finding)}: {reason}"
                lines.extend(
                    [piece(line, "warning")] for line in wrap(clean(text), width, "", "  ")
                )
            if file.outcome.stopped:
                text = f"{file.before.path}: {file.outcome.stopped}"
                lines.extend([piece(line, "error")] for line in wrap(clean(text), width, "", "  "))
    lines.extend(_left(files, width))
    for path, message in problems:
        text = f"error: {path}: {message}"
        lines.extend([piece(line, "error")] for line in wrap(clean(text), width, "", "  "))
    lines.extend(_closing(files, admitted, write, (command, check), width))
    return lines


MOST_LEFT = 10
"""Findings without a fix whose reason is told: `check` has them all."""


def _left(files: list[Fixed], width: int) -> list[Line]:
    """Why an error or a warning that is left has no fix; a base's fault once for all its users.

    Where what was applied edits the very setting, the fault is mended as far as is known: a weight
    that a record lowers by no more than a hundred times in one round.
    """
    said = dict.fromkeys(
        f"{'mended in part' if finding.key in _edited(file) else 'not fixed'}: "
        f"{_what(finding)}: {finding.no_fix}"
        for file in files if file.after.tree is not None
        for finding in file.after.findings
        if finding.fix is None and finding.no_fix and finding.severity != INFO
    )  # fmt: skip
    shown = [line for text in [*said][:MOST_LEFT] for line in wrap(clean(text), width, "", "  ")]
    if len(said) > MOST_LEFT:
        shown.append(f"... and {len(said) - MOST_LEFT} more without a fix")
    return [[piece(line, "dim")] for line in shown]


def _edited(file: Fixed) -> set[str | None]:
    """The settings that the applied fixes of a file edit, as dotted keys."""
    applied = file.outcome.applied if file.outcome is not None else []
    return {edit.key for one in applied for edit in one.fix.edits}


def _diff(file: Fixed) -> list[Line]:
    from gradaudit.fix.engine import unified_diff

    outcome = file.outcome
    assert outcome is not None
    lines: list[Line] = []
    for line in unified_diff(file.before.path, outcome.original.text, outcome.text):
        style = {"-": "removed", "+": "added", "@": "related"}.get(line[:1], "")
        if line.startswith(("---", "+++")):
            style = "bold"
        lines.append([piece("".join(map(printable, line.rstrip("\r"))), style)])
    return lines


def _applied(file: Fixed, width: int) -> list[Line]:
    outcome = file.outcome
    assert outcome is not None
    by_fix: dict[str, tuple[Fix, list[str]]] = {}
    for applied in outcome.applied:
        by_fix.setdefault(applied.fix.title, (applied.fix, []))[1].append(applied.finding.rule.code)
    lines: list[Line] = []
    for fix, codes in by_fix.values():
        head = f"{', '.join(dict.fromkeys(codes))} ({fix.applicability}): "
        first, *rest = wrap(clean(head + fix.title), min(width, PROSE), "", "  ")
        lines.append([piece(head, "fix"), piece(first[len(head) :])])
        lines.extend([piece(line)] for line in rest)
        for note in fix.notes:
            lines.extend(
                [piece(line, "dim")] for line in wrap(clean(note), min(width, PROSE), "  · ")
            )
    return lines


def _what(finding: Finding) -> str:
    source = finding.place.source
    title = finding.fix.title if finding.fix else finding.message
    return f"{source.path}:{finding.place.line}: {finding.rule.code}: {title}"


def _closing(
    files: list[Fixed],
    admitted: Collection[str],
    write: bool,
    commands: tuple[str, str],
    width: int,
) -> list[Line]:
    command, check = commands
    changed = [file for file in files if file.changed]
    left = [finding for file in files for finding in file.after.findings]
    lines: list[Line] = []
    applied = sum(len(file.outcome.applied) for file in changed if file.outcome)
    names = f"{len(changed)} file" + ("s" if len(changed) != 1 else "")
    findings = f"{applied} finding" + ("s" if applied != 1 else "")
    if write and changed and all(file.written for file in changed):
        lines.append([piece(f"Fixed {findings}", "ok"), piece(f" in {names}.")])
    elif changed:
        lines.append([piece(f"Would fix {findings}", "bold"), piece(f" in {names}.")])
    else:
        lines.append([piece("Nothing to fix.", "ok" if not left else "bold")])
    if left:
        counts = ", ".join(
            f"{count} {severity}{'s' if count != 1 else ''}"
            for severity in ("error", "warning", "info")
            if (count := sum(f.severity == severity for f in left))
        )
        lines.append([piece(f"Left: {counts}.")])
    if unsure := sum(file.after.unsure for file in files):
        lines.append([piece(f"Not looked at: {unsure} below the confidence asked for.")])
    steps = []
    if changed and not write:
        steps.append(f"`{command} --write` applies the diff above.")
    fixable = [finding.fix for finding in left if finding.fix is not None]
    more = sum(fix.applicability == SPECULATIVE for fix in fixable)
    if more and SPECULATIVE not in admitted and RECOMMENDED in admitted:
        steps.append(f"{more} more with `--unsafe`: they may help; measure before you keep them.")
    if RECOMMENDED not in admitted and any(fix.applicability != SAFE for fix in fixable):
        steps.append("Without `--safe-only` there are more.")
    if left and not steps:
        steps.append(f"`{check}` explains what is left.")
    for step in steps:
        lines.extend([piece(line)] for line in wrap(step, max(width, 60), "", "  "))
    return lines
