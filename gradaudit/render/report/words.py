"""Markdown and the report's wording of settings, places and findings."""

from __future__ import annotations

import re

from gradaudit.findings import CONFIDENCES, SEVERITIES
from gradaudit.plan.model import ASSUMED, COMPUTED, DEFAULT, MEASURED, OVERRIDE, WRITTEN
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gradaudit.findings import Finding, Place
    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Rule
    from gradaudit.source import Source

_BACKTICKS = re.compile(r"`+")
_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
_ORIGINS = {
    WRITTEN: "written",
    ASSUMED: "assumed, not written in any file",
    OVERRIDE: "from `--set`, not from the file",
    COMPUTED: "computed",
    MEASURED: "not in the file; as the recorded run did",
}


def code(text: str) -> str:
    """A code span that holds `text` whatever it contains, on one line."""
    text = " ".join(text.split())
    runs = {len(run) for run in _BACKTICKS.findall(text)}
    ticks = "`" * next(n for n in range(1, len(runs) + 2) if n not in runs)
    pad = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def prose(text: str) -> str:
    """Text of a finding as Markdown: one line, markup escaped, code spans kept."""
    text = " ".join(text.split())
    parts = []
    at = 0
    for span in _CODE_SPAN.finditer(text):
        parts += [_escaped(text[at : span.start()]), span.group()]
        at = span.end()
    return "".join([*parts, _escaped(text[at:])])


def _escaped(text: str) -> str:
    text = re.sub(r"([\\*\[\]<>|`])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # inside a word `_` is no markup


def sentence(text: str) -> str:
    """A finding's words as a sentence: capital letter, full stop."""
    text = prose(text).rstrip()
    if text and text[-1] not in ".!?":
        text += "."
    return text[:1].upper() + text[1:]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [_row(header), _row(["---"] * len(header))]
    return lines + [_row(row) for row in rows]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """GFM splits cells before it reads code spans, so every pipe is escaped, there too."""
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))


def fence(language: str, lines: Sequence[str]) -> list[str]:
    """A fenced block that no line inside can close."""
    longest = max((len(run) for line in lines for run in _BACKTICKS.findall(line)), default=0)
    ticks = "`" * max(3, longest + 1)
    return [f"{ticks}{language}", *lines, ticks]


def place_text(place: Place) -> str:
    """The path as the user typed it, and the line."""
    return f"{code(place.source.path)} line {place.line}"


def line_of(finding: Finding, source: Source | None) -> str:
    """`line 85`; with the path where it is another file than the report's."""
    if finding.place.source is source:
        return f"line {finding.place.line}"
    return place_text(finding.place)


def written(setting: Setting, unit: TrainingUnit) -> str:
    """`gradient_clip_norm: 2.0`: the key inside its unit, the value as it stands."""
    value = setting.raw or _value(setting)
    if setting.name == "norm" and setting.origin == WRITTEN and not setting.tree:
        return code(value)
    named = setting.key and setting.origin not in (ASSUMED, MEASURED)
    before, inside, after = setting.key.partition(f"{unit.name}.")
    key = after if inside and (not before or before.endswith(".")) else setting.key
    return code(f"{key if named else setting.name}: {value}".rstrip())


def _value(setting: Setting) -> str:
    value = setting.number
    if value is not None:
        return number(value)
    return "" if setting.value is None else str(setting.value)


def setting_line(setting: Setting, unit: TrainingUnit) -> str:
    """One bullet: key and value, where it stands, how it is known."""
    if setting.origin == DEFAULT:
        value = "off" if setting.value is None else _value(setting)
        note = setting.note.removeprefix("off: ")
        return f"- {code(f'{setting.name}: {value}')} (not in the file; {prose(note)})"
    known = _ORIGINS.get(setting.origin, setting.origin)
    if setting.name == "norm" and setting.origin == WRITTEN and not setting.tree:
        known = "read from the Python source, which is neither imported nor run"
    elif setting.note and setting.origin not in (ASSUMED, MEASURED):
        known += f"; {prose(setting.note)}"
    at = f"{place_text(setting.place)}, " if setting.place else ""
    return f"- {written(setting, unit)} ({at}{known})"


def settings_lines(unit: TrainingUnit, names: Iterable[str]) -> list[str]:
    """The settings of these names that the unit has, and why others cannot be known."""
    lines = []
    for name in names:
        setting = unit.get(name)
        if setting is not None:
            lines.append(setting_line(setting, unit))
        elif name in unit.unknown:
            lines.append(f"- `{name}`: not known, because {prose(unit.unknown[name])}")
    return lines


def rule_link(rule: Rule) -> str:
    return f"[{rule.code}]({rule.url})" if rule.url else rule.code


def strength(finding: Finding) -> tuple[int, int]:
    """Severity, then confidence; larger is stronger."""
    return SEVERITIES.index(finding.severity), CONFIDENCES.index(finding.confidence)


def graded(finding: Finding) -> str:
    return f"{finding.severity}, {finding.confidence} confidence"


def finding_lines(
    finding: Finding, source: Source | None, *, message: str = "", said: Iterable[str] = ()
) -> list[str]:
    """A finding as a bullet with its reasons below; what `said` has already is left out."""
    head = (
        f"- {rule_link(finding.rule)} `{finding.rule.name}` ({graded(finding)}), "
        f"{line_of(finding, source)}: {message or sentence(finding.message)}"
    )
    lines = [head]
    already = set(said)
    why = [text for text in finding.why if text not in already]
    if why:
        lines.append(f"  - Why: {' '.join(sentence(text) for text in why)}")
    evidence = [text for text in finding.evidence if text not in already]
    if evidence:
        lines.append(f"  - Evidence: {'; '.join(prose(text) for text in evidence)}.")
    if finding.next:
        lines.append(f"  - Next: {sentence(finding.next)}")
    return lines


def code_list(items: Iterable[str]) -> str:
    """`a`, `b` and `c`."""
    marked = [code(item) for item in items]
    return marked[0] if len(marked) == 1 else ", ".join(marked[:-1]) + " and " + marked[-1]
