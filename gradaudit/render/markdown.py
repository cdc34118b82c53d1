"""`--format markdown`: for a pull request's comment or a CI job's summary page."""

from __future__ import annotations

from gradaudit.render.group import grouped
from gradaudit.render.text import fix_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.findings import Finding, Fix
    from gradaudit.render.summary import Summary

_MARKS = {"error": "❌", "warning": "⚠️", "info": "\u2139\ufe0f"}


def escaped(text: str) -> str:
    """Text as Markdown shows it, except code in backticks, which stays code."""
    parts = text.split("`")
    for index in range(0, len(parts), 2):
        for char in "\\*_[]<>|#":
            parts[index] = parts[index].replace(char, "\\" + char)
    return "`".join(parts)


def check_markdown(results: list[FileResult], summary: Summary) -> str:
    lines = ["## gradaudit", ""]
    for path, message in summary.problems:
        lines.append(f"❌ `{path}`: {escaped(message)}")
        lines.append("")
    for path in summary.silent:
        lines += [f"`{path}`: no training settings in it: nothing was judged", ""]
    if not summary.total:
        if summary.files > len(summary.silent):
            lines.append(f"No findings in {summary.where}{summary.aside}.")
    else:
        lines.append(f"Found {summary.counts} in {summary.where}{summary.aside}.")
    for result in results:
        if not result.findings:
            continue
        lines += ["", f"### `{result.path}`", ""]
        lines += ["| | line | rule | finding |", "|---|---|---|---|"]
        lines += [_row(finding) for finding in result.findings]
        for group in grouped(result.findings):
            if group.fixes:
                lines += ["", *_details(group.lead, group.fixes)]
    for step in summary.next_steps:
        lines += ["", escaped(step)]
    return "\n".join(lines)


def _row(finding: Finding) -> str:
    rule = finding.rule
    unit = f"`{finding.unit}`: " if finding.unit and finding.unit != "main" else ""
    path = finding.place.source.path
    code = f'[{rule.code}]({rule.url} "{rule.name}, in {path}")' if rule.url else rule.code
    return (
        f"| {_MARKS[finding.severity]} | {finding.place.line} | {code} | "
        f"{unit}{escaped(finding.message)} |"
    )


def _details(lead: Finding, fixes: list[tuple[Finding, Fix]]) -> list[str]:
    lines = [f"<details><summary>{lead.rule.code}: why, and what to do</summary>", ""]
    lines += [f"- {escaped(text)}" for text in (*lead.why, *lead.evidence)]
    for _, fix in fixes:
        lines += ["", f"**{fix.applicability}**: {escaped(fix.title)}", "", "```diff"]
        source = fix.edits[0].tree.source
        for start, end, new in fix_changes(fix):
            at = source.position(start)[0]
            old = source.line(at)
            first = source.offset(at)
            lines.append(f"-{old}")
            lines.append(f"+{old[: start - first]}{new}{old[end - first :]}".rstrip("\n"))
        lines += ["```", "", *(f"- {escaped(note)}" for note in fix.notes)]
    return [*lines, "", "</details>"]
