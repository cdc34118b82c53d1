"""The screen: a frame a cause, one summary, and the very next command to type."""

from __future__ import annotations

from gradaudit.findings import ERROR, INFO, SPECULATIVE, WARNING
from gradaudit.render.layout import PROSE, clean, display_width, piece, plain, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.findings import Finding, Fix
    from gradaudit.render.group import Group
    from gradaudit.render.layout import Line
    from gradaudit.render.summary import Summary


MAX_SILENT = 5
"""Named files without training settings that are listed one by one."""

MAX_ALSO = 5
"""Findings of one cause that have a line each below the first."""

MAX_FRAMES = 500
"""Causes of one file that are drawn in frames: nobody reads more, and each costs a look around."""


def full(result: FileResult, width: int, findings: list[Finding] | None = None) -> list[Line]:
    """Every finding of a file, or those given, in frames; where there are very many, the rest a
    line each."""
    findings = result.findings if findings is None else findings
    if not findings:
        return []
    from gradaudit.render.group import grouped

    lines: list[Line] = []
    groups = grouped(findings)
    for group in groups[:MAX_FRAMES]:
        lines.extend(group_lines(group, width))
        lines.append([])
    if len(groups) > MAX_FRAMES:
        for group in groups[MAX_FRAMES:]:
            for finding in (group.lead, *group.also):
                lines.append(_concise_line(finding, result))
        lines.append([])
    return lines


def concise(result: FileResult, findings: list[Finding] | None = None) -> list[Line]:
    """One line a finding: `path:line:column: severity[code] message`, `[*]` where it has a fix."""
    findings = result.findings if findings is None else findings
    return [_concise_line(finding, result) for finding in findings]


def _concise_line(finding: Finding, result: FileResult) -> Line:
    source = finding.place.source
    line, column = source.position(finding.place.start)
    unit = f"{finding.unit}: " if finding.unit and len(result.units) > 1 else ""
    return [
        piece(clean(f"{source.path}:{line}:{column}"), "path"),
        piece(": "),
        piece(finding.severity, finding.severity),
        piece("["), piece(finding.rule.code, "code", finding.rule.url), piece("] "),
        piece("[*] " if finding.fix else "", "fix"),
        piece(clean(unit + finding.message)),
    ]  # fmt: skip


def group_lines(group: Group, width: int) -> list[Line]:
    from gradaudit.render.frame import Mark, frame, gutter_width

    lead = group.lead
    lines = _heading(lead, width)
    marks = [Mark(lead.place, lead.label, True, lead.severity)]
    marks += [Mark(related.place, related.message, False, "related") for related in lead.related]
    gutter = gutter_width(marks)
    lines.extend(_where(lead, gutter, width))
    lines.extend(frame(marks, gutter, width))
    lines.append([piece(" " * (gutter + 1) + "|", "gutter")])
    lines.extend(_note("why", " ".join(lead.why), gutter, width))
    for text in lead.evidence:
        lines.extend(_note("known", text, gutter, width))
    lines.extend(_note("next", lead.next, gutter, width))
    for other in group.also[:MAX_ALSO]:
        lines.extend(_also(other, gutter, width))
    if rest := group.also[MAX_ALSO:]:
        codes = ", ".join(dict.fromkeys(one.rule.code for one in rest))
        text = f"{len(rest)} more of this cause ({codes}): `check --format concise` has all"
        lines.extend(_note("also", text, gutter, width))
    said: set[str] = set()
    fixes = group.fixes
    for _, fix in fixes:
        lines.extend(_fix(fix, said, gutter, width))
    if not fixes:
        lines.extend(_note("no fix", lead.no_fix, gutter, width))
    return lines


def _heading(finding: Finding, width: int) -> list[Line]:
    label = f"{finding.severity}[{finding.rule.code}]"
    first, *rest = wrap(f"{label}: {clean(finding.message)}", min(width, PROSE), "", "  ")
    lines: list[Line] = [[
        piece(finding.severity, finding.severity),
        piece("[", finding.severity),
        piece(finding.rule.code, f"{finding.severity} code", finding.rule.url),
        piece("]", finding.severity),
        piece(first[len(label) :], "bold"),
    ]]  # fmt: skip
    lines.extend([piece(line, "bold")] for line in rest)
    return lines


def _where(finding: Finding, gutter: int, width: int) -> list[Line]:
    source = finding.place.source
    line, column = source.position(finding.place.start)
    where = clean(f"{source.path}:{line}:{column}")
    about = finding.rule.name
    if finding.unit and finding.unit != "main":
        about = f"{finding.unit}, {about}"
    if finding.confidence != "high":
        about += f", {finding.confidence} confidence"
    arrow = " " * gutter + "--> "
    together: Line = [piece(arrow, "gutter"), piece(where, "path")]
    if display_width(arrow + where + "  " + about) <= width:
        return [[*together, piece("  " + clean(about), "dim")]]
    return [
        together,
        *([piece(line, "dim")] for line in wrap(clean(about), width, " " * len(arrow))),
    ]


def _note(word: str, text: str, gutter: int, width: int) -> list[Line]:
    return _remark(word, "word", clean(text), [], gutter, width) if text else []


def _also(finding: Finding, gutter: int, width: int) -> list[Line]:
    label: Line = [
        piece(finding.severity + "[", finding.severity),
        piece(finding.rule.code, f"{finding.severity} code", finding.rule.url),
        piece("]", finding.severity),
    ]
    text = f"line {finding.place.line}: {finding.message}"
    return _remark("also", "word", clean(text), label, gutter, width)


def _remark(
    word: str, style: str, text: str, label: Line, gutter: int, width: int, tone: str = ""
) -> list[Line]:
    """`   = word: label text`, wrapped with the text in one column."""
    start = " " * (gutter + 1) + "= "
    head = f"{word}: "
    before = "".join(content for content, _, _ in label)
    full_text = f"{before} {text}" if before else text
    first, *rest = wrap(full_text, min(width, PROSE), start + head)
    lines: list[Line] = [
        [
            piece(start, "gutter"),
            piece(head, style),
            *label,
            piece(first[len(start + head + before) :], tone),
        ]
    ]
    lines.extend([piece(line, tone)] for line in rest)
    return lines


def _fix(fix: Fix, said: set[str], gutter: int, width: int) -> list[Line]:
    """The fix as a small diff with its notes; what another fix of the group `said` is not said
    again."""
    text = f"({fix.applicability}) {clean(fix.title)}"
    tone = "fix" if fix.applicability != SPECULATIVE else ""
    lines = _remark("fix", "fix", text, [], gutter, width, tone)
    changes = fix_changes(fix)
    if changes:
        from gradaudit.render.frame import diff_lines

        lines.extend(diff_lines(fix.edits[0].tree.source, changes, gutter, width))
    for note in fix.notes:
        if note not in said:
            said.add(note)
            lines.extend(
                [piece(line, "dim")]
                for line in wrap(clean(note), min(width, PROSE), " " * (gutter + 3) + "· ")
            )
    return lines


def fix_changes(fix: Fix) -> list[tuple[int, int, str]]:
    """The characters that a fix changes; empty where it will be refused."""
    changes: list[tuple[int, int, str]] = []
    for edit in fix.edits:
        if edit.op == "replace" and edit.new is not None:
            from gradaudit.syntax.tree import content_span

            changes.append((*content_span(edit.node, edit.tree.source.text), edit.new))
            continue
        from gradaudit.fix.splice import Refused, splices

        try:
            changes.extend(splices(edit))
        except Refused:
            return []
    return changes


def closing(summary: Summary, width: int) -> list[Line]:
    """The last lines: what was found, and what to type next."""
    lines: list[Line] = []
    for path, message in summary.problems:
        lines.extend(_problem(path, message, width))
    for path in summary.silent[:MAX_SILENT]:
        text = f"{path}: no training settings in it: nothing was judged"
        lines.extend([piece(line, "warning")] for line in wrap(clean(text), width, "", "  "))
    if len(summary.silent) > MAX_SILENT:
        lines.append([piece(f"... and so in {len(summary.silent) - MAX_SILENT} more files")])
    if summary.total:
        counts: Line = []
        for count, severity in (
            (summary.errors, ERROR), (summary.warnings, WARNING), (summary.infos, INFO),
        ):  # fmt: skip
            if count:
                if counts:
                    counts.append(piece(", "))
                plural = "s" if count != 1 else ""
                counts.append(piece(f"{count} {severity}{plural}", severity))
        lines += _with_aside(
            [piece("Found "), *counts, piece(f" in {summary.where}")], summary, width
        )
    elif summary.files > len(summary.silent):
        said = [piece("No findings", "ok"), piece(f" in {summary.where}")]
        lines += _with_aside(said, summary, width)
    elif not summary.problems and not summary.silent:
        lines += _with_aside([piece("No training config found", "warning")], summary, width)
    for text in summary.next_steps:
        lines.extend([piece(line)] for line in wrap(text, max(width, 60), "", "  "))
    return lines


def _with_aside(said: Line, summary: Summary, width: int) -> list[Line]:
    """The counts, and what was left out: on a line of its own where the first would be too wide."""
    text = f"{summary.aside}."
    if not summary.aside or display_width(plain(said) + text) <= max(width, 60):
        return [[*said, piece(text)]]
    return [said, *([piece(line)] for line in wrap(text, max(width, 60), "  "))]


def _problem(path: str, message: str, width: int) -> list[Line]:
    first, *rest = wrap(f"error: {clean(path)}: {clean(message)}", width, "", "  ")
    return [[piece("error", "error"), piece(first[5:])], *([piece(line)] for line in rest)]


def unjudged_lines(result: FileResult, width: int) -> list[Line]:
    """`--verbose`: which rules could not judge a unit, and what they would need."""
    lines: list[Line] = []
    for unit, rules in result.not_judged.items():
        by_need: dict[str, list[str]] = {}
        for rule, missing in rules:
            if "observed" not in missing:  # an option supplies it, and its absence is no gap
                by_need.setdefault(" and ".join(missing), []).append(rule.code)
        for unmet, codes in by_need.items():
            text = f"{result.path}: {unit}: not judged: {', '.join(codes)} ({unmet} unknown)"
            lines.extend([piece(line, "dim")] for line in wrap(clean(text), width, "", "  "))
    return lines


def skipped_lines(result: FileResult) -> list[Line]:
    """`--verbose`: that a file of a directory was not judged, and why."""
    if not result.skipped:
        return []
    return [[piece(clean(f"{result.path}: skipped: {result.skipped}"), "dim")]]
