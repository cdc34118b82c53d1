"""The screen of `show`: each setting with its value, its origin and its place."""

from __future__ import annotations

from gradaudit.dialects.loaders import LOADERS
from gradaudit.plan.model import DEFAULT, INHERITED
from gradaudit.render.dialect import chain_of, reasons
from gradaudit.render.layout import clean, display_width, piece, wrap
from gradaudit.render.plan import is_shown, known, note_of, unknown
from gradaudit.syntax.tree import Mapping, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.render.layout import Line


def show_lines(results: list[FileResult], width: int) -> list[Line]:
    lines: list[Line] = []
    for result in results:
        lines.append([piece(clean(result.path), "path")])
        if result.tree is None:
            for finding in result.findings:
                text = f"cannot be read: line {finding.place.line}: {finding.message}"
                lines.extend([piece(line, "error")] for line in wrap(clean(text), width, "  "))
        elif result.part_of:
            lines.append([piece(f"  its settings are shown with {clean(result.part_of)}")])
        elif not result.units and any(type(resolve(r)) is Mapping for r in result.tree.roots):
            lines.append([piece("  a file of another tool: no training settings")])
        elif not result.units:
            lines.append([piece("  no mapping at the top: no training settings")])
        if result.tree is not None:
            lines.extend(_dialect(result, width))
        for unit in result.units:
            lines.extend(_unit(unit, result, width))
        lines.append([])
    if not results:
        lines.append([piece("No training config found.", "warning")])
    return lines


def _dialect(result: FileResult, width: int) -> list[Line]:
    """What the file was taken for and why, and the files that it is built on."""
    assert result.composed is not None
    dialect = result.composed.dialect
    said = reasons(result)
    shown = ", ".join(said[:4]) + (f" and {len(said) - 4} more" if len(said) > 4 else "")
    loader = LOADERS[dialect["loader"]][1]
    said = [f"dialect {dialect['name']} ({dialect['title']}): {shown}", f"read by {loader}"]
    chain = chain_of(result)
    if len(chain) > 1:
        how = "read in one run with " if result.composed.is_run else "built on "
        said.append(how + ", then ".join(chain[1:]))
    said += [f"not read: {missing.path} ({missing.reason})" for missing in result.composed.missing]
    return [
        [piece(line, "dim")] for text in said for line in wrap(clean(text), width, "  ", "    ")
    ]


def _unit(unit: TrainingUnit, result: FileResult, width: int) -> list[Line]:
    lines: list[Line] = [[], [piece(f"  {clean(unit.name)}", "heading")]]
    framework = unit.composed.dialect["title"]
    rows = [_row(name, setting, framework) for name, setting in known(unit).items()]
    rows += [(name, "?", f"not known: {reason}") for name, reason in unknown(unit).items()]
    if not rows:
        lines.append([piece("    no training settings")])
    left = max((len(name) for name, _, _ in rows), default=0)
    middle = min(max((display_width(value) for _, value, _ in rows), default=0), 24)
    for name, value, about in rows:
        head = f"    {name:<{left}}  "
        pad = " " * max(middle - display_width(value), 0)
        first, *rest = wrap(clean(about), width, head + value + pad + "  ", " " * (left + 8))
        lines.append([piece(head), piece(value, "bold"), piece(first[len(head + value) :], "dim")])
        lines.extend([piece(line, "dim")] for line in rest)
    for name, others in unit.others.items():
        for other in others if is_shown(name) else ():
            _, value, about = _row(name, other, framework)
            text = f"    {name:<{left}}  {value} also: {about}"
            lines.extend(
                [piece(line, "dim")] for line in wrap(text, width, "    ", " " * (left + 8))
            )
    if unit.loss_terms:
        lines += [[], [piece("    loss terms", "heading")]]
        size = max(len(term.name) for term in unit.loss_terms)
        lines.extend(
            [
                piece(f"    {clean(term.name):<{size}}  "),
                piece(f"{term.weight:<8g}", "bold"),
                piece(f"  {term.role:<11}  line {term.setting.place.line}", "dim")
                if term.setting.place
                else piece(f"  {term.role}", "dim"),
            ]
            for term in unit.loss_terms
        )
    missing = result.not_judged.get(unit.name, [])
    by_need: dict[str, list[str]] = {}
    for rule, needs in missing:
        if "observed" not in needs:
            by_need.setdefault(", ".join(needs), []).append(rule.code)
    if by_need:
        lines += [[], [piece("    not judged", "heading")]]
        for unmet, codes in by_need.items():
            text = f"{', '.join(codes)}: {unmet} unknown"
            lines.extend([piece(line, "dim")] for line in wrap(text, width, "    ", "      "))
    return lines


def _row(name: str, setting: Setting, framework: str) -> tuple[str, str, str]:
    value = setting.value
    if value is None:
        shown = "off" if "off" in setting.note else "null"
    elif isinstance(value, tuple):
        shown = (
            "["
            + ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
            + "]"
        )
    elif isinstance(value, bool):
        shown = str(value).lower()
    else:
        shown = f"{value:g}" if isinstance(value, float) else str(value)
    if setting.unit:
        shown += f" {setting.unit}"
    if setting.origin == DEFAULT:
        # The framework is named above: here, only where in it the default stands.
        note = setting.note.replace(f"default of {framework}", "default", 1)
        return name, clean(shown), note
    about = setting.origin
    if setting.place is not None:
        line = setting.place.line
        own = setting.tree is not None and setting.origin != INHERITED
        where = f"line {line}" if own else f"{setting.place.source.path}:{line}"
        about += f", {where}"
        if setting.key and setting.tree is not None:
            about += f", {setting.key}"
    if setting.is_text:
        about += f"; {setting.raw!r} is text to PyYAML"
    note = note_of(setting)
    if note:
        about += f"; {note}"
    return name, clean(shown), about
