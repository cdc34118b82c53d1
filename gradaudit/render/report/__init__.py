"""`gradaudit report`: a diagnosis of one file as a Markdown document.

Everything in it is computed from the audit; the same input gives the same text.
"""

from __future__ import annotations

from gradaudit import __version__
from gradaudit.plan.model import ASSUMED, OVERRIDE
from gradaudit.render.dialect import chain_of
from gradaudit.render.plan import known, unknown
from gradaudit.render.report.analyses import (
    Analysis,
    clipping,
    normalisation,
    observed_text,
    others,
)  # fmt: skip
from gradaudit.render.report.budget import loss
from gradaudit.render.report.causes import cause_lines, causes
from gradaudit.render.report.checklist import checklist
from gradaudit.render.report.fixes import Fixes, fix_lines
from gradaudit.render.report.measured import evidence_of, measured_section
from gradaudit.render.report.missing import not_judged
from gradaudit.render.report.order import order_of_work
from gradaudit.render.report.part import OTHER, Part
from gradaudit.render.report.rate import learning_rate
from gradaudit.render.report.snippets import Snippets, snippet_lines
from gradaudit.render.report.summary import summary
from gradaudit.render.report.words import code, code_list, prose, settings_lines, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.render.report.part import Limits

    Section = tuple[str, list[str]]


def render_report(result: FileResult, *, command: str, limits: Limits | None = None) -> str:
    """The report on one audited file.

    command  what was typed: printed, and the commands for the fixes take its options over.
    limits   thresholds that the settings file changes, by rule code.
    """
    parts = _parts(result, limits or {}, command)
    lines = [f"# Training diagnosis: {code(result.path)}{_observed_title(result)}", ""]
    lines += [*_header(result, command), "", "## Summary", ""]
    lines += summary(result, parts, command)
    clean = _clean_units(result, parts)
    if clean:
        lines += ["", clean]
    if not parts:
        for unit in result.units:
            measured = measured_section(result, unit)
            lines += ["", "## What was measured", "", *measured] if measured else []
        lines += _plan(result)
        lines += _not_judged(result, limits or {}, command)
    several = len(parts) > 1
    for part in parts:
        level = 2
        if several:
            lines += ["", f"## {'Unit ' + code(part.name) if part.unit else 'Outside the units'}"]
            level = 3
        for number, (title, body) in enumerate(_sections(part, level), 1):
            lines += ["", f"{'#' * level} {number}. {title}", "", *body]
    return "\n".join(lines).rstrip("\n") + "\n"


def _parts(result: FileResult, limits: Limits, command: str) -> list[Part]:
    """The units with findings, in file order; what is in no unit joins the only one."""
    loose = [finding for finding in result.findings if finding.unit is None]
    parts = []
    for unit in result.units:
        findings = [finding for finding in result.findings if finding.unit == unit.name]
        if findings:
            parts.append(Part(result, unit, findings, limits, command))
    if loose and result.tree is not None:
        if len(parts) == 1:
            parts[0].findings = [f for f in result.findings if f.unit in (None, parts[0].name)]
        else:
            parts.append(Part(result, None, loose, limits, command))
    return parts


def _observed_title(result: FileResult) -> str:
    for unit in result.units:
        if unit.observed is not None:
            return f" (gradient norm {observed_text(unit)})"
    return ""


def _framework(result: FileResult) -> str:
    """What the file was taken for; `show` has the reasons."""
    if result.composed is None or result.composed.dialect["name"] == "generic":
        return "none that is known for certain; keys are read by their names"
    dialect = result.composed.dialect
    return f"{dialect['title']} (dialect {code(dialect['name'])})"


def _header(result: FileResult, command: str) -> list[str]:
    lines = [
        f"- **File:** {code(result.path)}",
        f"- **Audited by:** gradaudit {__version__}",
        f"- **Printed by:** {code(command)}",
        f"- **Framework:** {_framework(result)}",
        f"- **Evidence:** {_evidence(result)}",
    ]
    chain = chain_of(result)
    if len(chain) > 1:
        lines.insert(1, f"- **Built on:** {', then '.join(code(path) for path in chain[1:])}")
    if len(result.units) > 1:
        names = code_list(unit.name for unit in result.units)
        lines.append(f"- **Training units:** {names}")
    if result.suppressed:
        lines.append(
            f"- **Suppressed:** {result.suppressed} "
            f"finding{'s' if result.suppressed != 1 else ''}, by comments or settings; not below"
        )
    if result.unsure:
        lines.append(
            f"- **Less sure than asked for:** {result.unsure} "
            f"finding{'s' if result.unsure != 1 else ''}; not below"
        )
    lines += [f"- **Could not be done:** {prose(problem)}" for problem in result.problems]
    return lines


def _evidence(result: FileResult) -> str:
    found: dict[str, None] = {}
    for unit in result.units:
        if unit.observed is not None:
            norm = f"gradient norm {observed_text(unit)}"
            if len(result.units) > 1:
                norm += f" of {code(unit.name)}" if unit.observed_here else " of a unit not named"
            found[f"{norm}, taken as the norm before clipping"] = None
    for unit in result.units:
        found.update(dict.fromkeys(evidence_of(unit)))
        for layer in unit.norms:
            if layer.place is not None:
                path = code(layer.place.source.path)
                found[f"normalisation layers read from {path}, which was not run"] = None
        for setting in unit.settings.values():
            if setting.origin == ASSUMED:
                found[f"assumed {written(setting, unit)}"] = None
            elif setting.origin == OVERRIDE:
                found[f"`--set` {written(setting, unit)}"] = None
    return "; ".join(found) if found else "none given; all below is from the file alone"


def _clean_units(result: FileResult, parts: list[Part]) -> str:
    dirty = {part.name for part in parts}
    clean = [unit for unit in result.units if unit.name not in dirty]
    if not parts or not clean:
        return ""
    return f"No findings in {code_list(unit.name for unit in clean)}."


def _plan(result: FileResult) -> list[str]:
    """For a file without findings: the plan as understood, unit by unit."""
    lines: list[str] = []
    for unit in result.units:
        names = [*known(unit), *unknown(unit)]
        if names:
            of = f": {code(unit.name)}" if len(result.units) > 1 else ""
            lines += ["", f"## The plan as understood{of}", "", *settings_lines(unit, names)]
    return lines


def _not_judged(result: FileResult, limits: Limits, command: str) -> list[str]:
    """For a file without findings: what each unit lacks for the other rules."""
    lines: list[str] = []
    for unit in result.units:
        missing = not_judged(Part(result, unit, [], limits, command))
        if missing and (unit.settings or unit.loss_terms):
            of = f": {code(unit.name)}" if len(result.units) > 1 else ""
            lines += ["", f"## Not judged{of}", "", *missing]
    return lines


def _sections(part: Part, level: int) -> list[Section]:
    """Title and lines of every section of a part, in order."""
    sections: list[Section] = []
    if part.unit is not None:
        analyses: tuple[Analysis, ...] = (
            clipping(part), learning_rate(part), normalisation(part), loss(part),
        )  # fmt: skip
        sections += [(analysis.title, analysis.render()) for analysis in analyses]
        measured = measured_section(part.result, part.unit)
        if measured:
            sections.append(("What was measured", measured))
    other = others(part, OTHER)
    if other:
        sections.append(("Other findings", other))
    fixes, snippets = Fixes(part), Snippets(part)
    sections.append(("Fixes", fix_lines(part, fixes, level + 1)))
    if part.unit is None:
        return sections
    if snippets.kinds:
        sections.append(("Snippets", snippet_lines(part, snippets, level + 1)))
    sections.append(("Validation checklist", checklist(part, fixes, snippets)))
    sections.append(("Root causes, ranked", cause_lines(part, causes(part), snippets)))
    sections.append(("Order of work", order_of_work(part, fixes, snippets)))
    missing = not_judged(part)
    if missing:
        sections.append(("Not judged", missing))
    return sections
