"""The analysis of the loss: every term with its weight, share and role."""

from __future__ import annotations

from gradaudit.render.report.analyses import NO_OBJECTION, UNKNOWN, Analysis, judged
from gradaudit.render.report.part import LOSS
from gradaudit.render.report.words import code, finding_lines, prose, settings_lines, table
from gradaudit.rules.optimisers import dividing_equals
from gradaudit.rules.text import number, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.findings import Finding
    from gradaudit.plan.model import LossTerm, TrainingUnit
    from gradaudit.render.report.part import Part

_ROLES = ("primary", "unknown", "auxiliary", "regulariser")


def loss(part: Part) -> Analysis:
    unit = part.unit
    assert unit is not None
    settings = settings_lines(unit, ("loss_balancing", "label_smoothing", "loss_scale"))
    terms = sorted(unit.loss_terms, key=lambda term: -term.weight)
    if not terms:
        settings.append("- no weighted loss terms")
        status = f"{UNKNOWN} the file weighs no loss terms: one objective, or weights in the code"
        return Analysis("Loss", settings, status, _findings(part))
    many = "s" if len(terms) != 1 else ""
    settings.append(f"- {len(terms)} weighted term{many}: the table below")
    lines = [*_table(part, terms), "", *_reasons(part), *_findings(part)]
    return Analysis("Loss", settings, judged(part.about(LOSS), NO_OBJECTION), lines)


def _findings(part: Part) -> list[str]:
    lines: list[str] = []
    raised = []
    for finding in part.about(LOSS):
        if finding.rule.code == "GA704":  # the table says which; the reasons are the same for all
            raised.append(finding)
        else:
            said = finding.why if finding.rule.code == "GA402" else ()  # said under the table
            lines += finding_lines(finding, part.source, said=said)
    for index, finding in enumerate(raised):
        said = finding.why if index else ()
        shown = finding_lines(finding, part.source, said=said)
        lines += shown if index == 0 else shown[:1]
    return lines


def _table(part: Part, terms: list[LossTerm]) -> list[str]:
    total = sum(term.weight for term in terms if term.weight > 0)
    comments = {finding.key: finding for finding in part.by_code("GA704")}
    speaks = any(term.setting.key in comments for term in terms)
    header = ["term", "weight", "share of the sum", "role", "line"]
    rows = []
    for term in terms:
        setting = term.setting
        share = percent(max(term.weight, 0) / total) if total else "0 %"
        line = str(setting.place.line) if setting.place else ""
        row = [code(term.name), number(term.weight), share, term.role, line]
        if speaks:
            row.append(_comment(term, comments.get(setting.key)))
        rows.append(row)
    last = ["**sum**", number(total), "100 %" if total else "0 %", "", ""]
    rows.append([*last, ""] if speaks else last)
    return table([*header, "its own comment says"] if speaks else header, rows)


def _comment(term: LossTerm, finding: Finding | None) -> str:
    """The comment on a weight's line, where GA704 says that it names an earlier value."""
    place = term.setting.place
    if finding is None or place is None:
        return ""
    source = place.source
    rest = source.line(place.line)[place.end - source.offset(place.line) :]
    said = rest.partition("#")[2].strip()
    return f"{code(said)}: now {prose(finding.label)}"


def role_sums(terms: list[LossTerm]) -> dict[str, float]:
    """Sum of the weights of each role that occurs."""
    sums = {role: sum(t.weight for t in terms if t.role == role) for role in _ROLES}
    return {role: total for role, total in sums.items() if total}


def _reasons(part: Part) -> list[str]:
    unit, terms = part.unit, part.terms
    assert unit is not None
    total = sum(term.weight for term in terms)
    if not total:
        return ["- All weights are 0."]
    sums = role_sums(terms)
    parts = [f"{role} {number(value)} ({percent(value / total)})" for role, value in sums.items()]
    lines = [f"- Sums by role, taken from the terms' names: {', '.join(parts)}."]
    task = sum(term.weight for term in terms if not term.is_auxiliary)
    aside = total - task
    if task and aside / task >= 0.1:
        counted = ", terms of unknown role counted as primary" if "unknown" in sums else ""
        lines.append(
            f"- Auxiliary weights are {times(aside / task)} the primary ones "
            f"({number(aside)} / {number(task)}{counted})."
        )
    if not part.by_code("GA401"):  # which says it itself
        lines.append(
            "- A weight is not a gradient: a penalty that is satisfied has none, whatever its "
            "weight. Shares of the gradient must be measured."
        )
    lines.append(
        "- Terms that the training code adds without a key in this file are not in the table."
    )
    if len(terms) > 1:
        lines.append(f"- {_dividing(unit, len(terms))}")
    return lines


def _dividing(unit: TrainingUnit, count: int) -> str:
    """What dividing the sum by the number of terms amounts to, by optimiser."""
    return (
        f"Dividing the sum by its {count} terms balances nothing: the ratios inside stay, and "
        f"{dividing_equals(unit, count)}. Only the logged norm falls."
    )
