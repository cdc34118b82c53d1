"""`compare` on the screen, in JSON and in Markdown."""

from __future__ import annotations

from gradaudit import __version__
from gradaudit.compare.model import (
    ADDED,
    NEUTRAL,
    NO_LONGER_WRITTEN,
    NOW_WRITTEN,
    REMOVED,
    RISKIER,
    SAFER,
    UNKNOWN,
    is_unknown,
)
from gradaudit.compare.scale import grown
from gradaudit.render.dialect import dialect_of
from gradaudit.render.layout import PROSE, clean, display_width, piece, wrap
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.compare.model import Change, Comparison, UnitChanges
    from gradaudit.findings import Finding
    from gradaudit.plan.model import Setting
    from gradaudit.render.layout import Line

ORDER = (RISKIER, UNKNOWN, SAFER, NEUTRAL)
_STYLES = {RISKIER: "warning", UNKNOWN: "info", SAFER: "ok", NEUTRAL: "dim"}
_MARKS = {RISKIER: "⚠️", UNKNOWN: "❔", SAFER: "✅", NEUTRAL: "➖"}
_RESTATED = {
    NOW_WRITTEN: "now written, with the value that was the default",
    NO_LONGER_WRITTEN: "no longer written, the default has that value",
}


def compare_lines(found: Comparison, check: str, width: int) -> list[Line]:
    """The screen; `check` is the command that explains the findings of the new file, or empty."""
    lines: list[Line] = [
        [piece(clean(found.old.path), "path"), piece(" -> "), piece(clean(found.new.path), "path")]
    ]
    lines.extend(
        [piece(line, "warning")] for text in _dialects(found) for line in wrap(text, width, "  ")
    )
    for one in found.units:
        lines += [[], *_unit(one, width)]
    if not found.units:
        lines += [[], [piece("No setting changed.", "ok")]]
    lines += [[], *_findings(found, width)]
    if found.brought and check:
        text = f"`{check}` explains what is found."
        lines.extend([piece(line)] for line in wrap(clean(text), max(width, 60), "", "  "))
    return lines


def _dialects(found: Comparison) -> list[str]:
    before, after = dialect_of(found.old), dialect_of(found.new)
    if before == after:
        return []
    return [f"read as {before}, then as {after}: what a key means may differ"]


def _unit(one: UnitChanges, width: int) -> list[Line]:
    lines: list[Line] = [[piece(clean(_heading(one)), "heading")]]
    shown, restated = _sorted(one)
    names = [_name(change) for change in shown]
    left = min(max(map(display_width, names), default=0), 28)
    said: set[str] = set()
    for change, name in zip(shown, names, strict=True):
        lines.extend(_change(change, name, left, said, width))
    for kind, words in _RESTATED.items():
        same = [_name(change) for change in restated if change.kind == kind]
        if same:
            text = f"{words}: {', '.join(same)}"
            lines.extend([piece(line, "dim")] for line in wrap(clean(text), width, "  ", "    "))
    if one.several:
        text = f"{one.several[:1].upper()}{one.several[1:]}."
        lines.extend([piece(line, "bold")] for line in wrap(text, min(width, PROSE), "  "))
    return lines


def _heading(one: UnitChanges) -> str:
    if one.old is None:
        return f"{one.name} (only in the new file)"
    if one.new is None:
        return f"{one.name} (only in the old file)"
    return one.name if one.old.name == one.name else f"{one.name} (was {one.old.name})"


def _sorted(one: UnitChanges) -> tuple[list[Change], list[Change]]:
    """Changes by verdict, the large ones first; and those of the spelling only."""
    restated = [change for change in one.changes if change.kind in _RESTATED]
    shown = [change for change in one.changes if change.kind not in _RESTATED]
    shown.sort(key=lambda change: (ORDER.index(change.verdict), not change.large))
    return shown, restated


def _change(change: Change, name: str, left: int, said: set[str], width: int) -> list[Line]:
    """A change and its reason, of which a sentence that others `said` is not said again."""
    pad = " " * max(left - display_width(name), 0)
    head: Line = [
        piece("  "), piece(f"{change.verdict:<7}", _STYLES[change.verdict]),
        piece(f"  {clean(name)}{pad}  "), piece(clean(moved(change)), "bold"),
    ]  # fmt: skip
    used = sum(display_width(text) for text, _, _ in head)
    where = places(change)
    indent = " " * 11
    lines = [head]
    if where and used + 2 + display_width(where) <= width:
        head.append(piece(f"  {where}", "dim"))
    elif where:
        lines.extend([piece(line, "dim")] for line in wrap(where, width, indent))
    if change.reason:
        first, *more = _sentence(change.reason).split(". ")
        text = clean(". ".join([first, *(one for one in more if one not in said)]))
        text += "" if text[-1] == "." else "."
        said.update(more)
        lines.extend([piece(line)] for line in wrap(text, min(width, PROSE), indent))
    return lines


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in ".!?" else f"{text}."


def _name(change: Change) -> str:
    if change.is_term:
        return f"weight of {change.name}"
    return f"{change.name} ({change.key})" if change.key else change.name


def moved(change: Change) -> str:
    """`0.75 -> 2.5, 3.3 x`."""
    before, after = shown_values(change)
    if change.kind == ADDED:
        return f"{after}, new"
    if change.kind == REMOVED:
        return f"{before}, gone"
    text = f"{before} -> {after}"
    return text if change.factor is None else f"{text}, {grown(change.factor)}"


def shown_values(change: Change) -> tuple[str, str]:
    """Both values, with as many digits as tell them apart."""
    before, after = _value(change.old, short=True), _value(change.new, short=True)
    if before == after:
        return _value(change.old, short=False), _value(change.new, short=False)
    return before, after


def _value(setting: Setting | None, short: bool) -> str:
    if setting is None:
        return "not said"
    if is_unknown(setting):
        return f"{setting.raw} (not known)"
    value = setting.value
    if value is None:
        return "off"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return f"[{', '.join(_number(part, short) for part in value)}]"
    if isinstance(value, (int, float)):
        text = _number(value, short)
        return f"{text} {setting.unit}" if setting.unit else text
    return str(value)


def _number(value: float | None, short: bool) -> str:
    if value is None:
        return "?"
    finite = value - value == 0
    return number(value) if short and finite else repr(value)


def places(change: Change) -> str:
    """Where both values stand: `line 42, was 40`; other files by their path."""
    said = []
    for setting, words in ((change.new, ""), (change.old, "was ")):
        if setting is None:
            continue
        place = setting.place
        if place is None:
            said.append(words + setting.origin)
        elif setting.tree is None or setting.origin == "inherited":
            said.append(f"{words}{place.source.path}:{place.line}")
        else:
            said.append(f"{words}line {place.line}")
    if len(said) == 2 and said[0] == said[1].removeprefix("was "):
        return said[0]
    return ", ".join(said)


def _counts(found: Comparison) -> str:
    return f"{len(found.brought)} new, {len(found.gone)} gone, {len(found.kept)} in both."


def _findings(found: Comparison, width: int) -> list[Line]:
    lines: list[Line] = [[piece("Findings: ", "heading"), piece(_counts(found))]]
    for word, findings in (("new", found.brought), ("gone", found.gone)):
        for finding in findings:
            lines.extend(_finding(word, finding, found, width))
    return lines


def _finding(word: str, finding: Finding, found: Comparison, width: int) -> list[Line]:
    label = f"{finding.severity}[{finding.rule.code}]"
    style = finding.severity if word == "new" else "dim"
    text = clean(f"{label} {finding_text(finding, found)}")
    first, *rest = wrap(text, min(width, PROSE), "        ")
    return [
        [piece(f"  {word:<4}  "), piece(label, style), piece(first[8 + len(label) :])],
        *([piece(line)] for line in rest),
    ]


def finding_text(finding: Finding, found: Comparison) -> str:
    source = finding.place.source
    line = f"line {finding.place.line}"
    if source.path not in (found.old.path, found.new.path):
        line = f"{source.path}:{finding.place.line}"
    unit = f"{finding.unit}: " if finding.unit and finding.unit != "main" else ""
    return f"{line}: {unit}{finding.message}"


def compare_markdown(found: Comparison) -> str:
    """For a pull request's comment: a table a training."""
    lines = ["## gradaudit compare", "", f"`{clean(found.old.path)}` → `{clean(found.new.path)}`"]
    lines += [line for text in _dialects(found) for line in ("", f"⚠️ {_cell(text)}")]
    for one in found.units:
        lines += ["", f"### {_cell(_heading(one))}"]
        shown, restated = _sorted(one)
        if shown:
            lines += ["", "| | setting | before | after | | why |", "|---|---|---|---|---|---|"]
        lines += [_row(change) for change in shown]
        for kind, words in _RESTATED.items():
            same = [_cell(_name(change)) for change in restated if change.kind == kind]
            if same:
                lines += ["", f"{_sentence(words)[:-1]}: {', '.join(same)}"]
        if one.several:
            lines += ["", f"**{_cell(_sentence(one.several))}**"]
    if not found.units:
        lines += ["", "No setting changed."]
    lines += ["", f"Findings: {_counts(found)}"]
    for word, findings in (("new", found.brought), ("gone", found.gone)):
        if findings:
            lines.append("")
        lines += [
            f"- {word}: {finding.severity} [{finding.rule.code}]({finding.rule.url}), "
            f"{_cell(finding_text(finding, found))}"
            for finding in findings
        ]
    return "\n".join(lines)


def _row(change: Change) -> str:
    before, after = shown_values(change)
    step = grown(change.factor) if change.factor is not None else change.kind
    cells = [
        f"{_MARKS[change.verdict]} {change.verdict}", _cell(_name(change)), _cell(before),
        _cell(after), step, _cell(_sentence(change.reason) if change.reason else ""),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text as Markdown shows it, in a table too, where a `|` in code would end the cell."""
    from gradaudit.render.markdown import escaped

    said = clean(text)
    return escaped(said.replace("`", "'") if "|" in said else said)


def compare_document(found: Comparison) -> str:
    from gradaudit.render.json import finding_object, written

    changes = [change for one in found.units for change in one.changes]
    return written({
        "schema": 1,
        "version": __version__,
        "old": {"path": found.old.path, "dialect": dialect_of(found.old)},
        "new": {"path": found.new.path, "dialect": dialect_of(found.new)},
        "units": [
            {
                "name": one.name,
                "old_name": one.old.name if one.old is not None else None,
                "in": "both" if one.old and one.new else "new" if one.new else "old",
                "changes": [_change_object(change) for change in one.changes],
                "several": one.several or None,
            }
            for one in found.units
        ],
        "findings": {
            "new": [finding_object(finding) for finding in found.brought],
            "gone": [finding_object(finding) for finding in found.gone],
            "in_both": len(found.kept),
        },
        "summary": {
            "changes": len(changes),
            **{word: sum(change.verdict == word for change in changes) for word in ORDER},
            "large": sum(change.large for change in changes),
        },
    })  # fmt: skip


def _change_object(change: Change) -> dict[str, Any]:
    from gradaudit.render.plan import setting_object

    return {
        "name": change.name,
        "loss_term": change.role or None,
        "kind": change.kind,
        "old": setting_object(change.old) if change.old is not None else None,
        "new": setting_object(change.new) if change.new is not None else None,
        "factor": change.factor,
        "verdict": change.verdict,
        "reason": change.reason,
        "large": change.large,
        "computed": change.computed,
    }
