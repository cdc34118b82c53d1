"""The first sentences, for a tired person: what stands out, what is known, what comes first."""

from __future__ import annotations

from gradaudit.findings import INFO
from gradaudit.plan.schedule import rate_at
from gradaudit.render.recorded import figures_of
from gradaudit.render.report.analyses import clip_arithmetic, observed_text
from gradaudit.render.report.causes import WARMUP, Cause, causes, title
from gradaudit.render.report.fixes import Fixes
from gradaudit.render.report.part import STEPS, Part, derived
from gradaudit.render.report.snippets import Snippets
from gradaudit.render.report.words import code, line_of, prose, sentence, strength
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import TrainingUnit


def summary(result: FileResult, parts: list[Part], command: str) -> list[str]:
    if result.skipped:
        return [f"Not judged: {prose(result.skipped)}."]
    if result.tree is None:
        return _unparsable(result)
    if not parts:
        return _clean(result, command)
    return [f"- {text}" for text in _sentences(result, parts)]


def _unparsable(result: FileResult) -> list[str]:
    lines = []
    for finding in result.findings:
        lines.append(
            f"The file cannot be parsed ({finding.rule.code}), line {finding.place.line}: "
            f"{sentence(finding.message)} {' '.join(sentence(text) for text in finding.why)}"
        )
    lines = lines or ["The file cannot be parsed; the finding that says where is suppressed."]
    return [*lines, "", "First: mend that line, then print this report again."]


def _clean(result: FileResult, command: str) -> list[str]:
    known = [unit for unit in result.units if unit.settings or unit.loss_terms]
    if not known:
        return [
            (
                "There is no training in this file that gradaudit knows: no learning rate, "
                "optimiser, batch size or loss weights under a name that it reads."
            ),
            "",
            (
                f"If there should be, {code(derived(result.path, command, 'show'))} prints what "
                "was understood."
            ),
        ]
    lines = ["**No findings:** no rule objects to anything in this file."]
    rules = {rule.code for items in result.not_judged.values() for rule, _ in items}
    if rules:
        many = "it" if len(known) == 1 else "one unit or more"
        lines[0] += (
            f" {len(rules)} rules could not judge {many}, because a setting is not named: see "
            "below."
        )
    lines[0] += " That is no proof that it trains well: much depends on data and model."
    for unit in known:
        if unit.observed is not None:
            lines += ["", _observed(unit)]
    return lines


def _sentences(result: FileResult, parts: list[Part]) -> list[str]:
    ranked = [(part, cause) for part in parts for cause in causes(part)]
    ranked.sort(key=lambda pair: pair[1].rank)
    ranked = [pair for pair in ranked if pair[1].key != WARMUP]
    said = []
    if ranked:
        fault = ranked[0][1].lead.severity != INFO
        opening = "What stands out most" if fault else "No likely harm; first to look at"
        said.append(_cause(opening, *ranked[0], result, parts))
        if len(ranked) > 1 and strength(ranked[1][1].lead)[0] > 0:
            said.append(_cause("Next", *ranked[1], result, parts))
    else:
        said.append(_no_cause(parts))
    observed = next((p.unit for p in parts if p.unit is not None and p.unit.observed), None)
    measured = [one for p in parts if p.unit is not None for one in p.unit.measured]
    if measured:
        said.append(_measured(measured[0]))
    elif observed is None:
        said.append("**Not measured:** no gradient norm was given; all of this is from the file.")
    if observed is not None:
        said.append(f"**Evidence:** {_observed(observed)}")
    said.append(_first(parts))
    return said


def _cause(opening: str, part: Part, cause: Cause, result: FileResult, parts: list[Part]) -> str:
    where = ""
    named = part.unit is not None and len(result.units) > 1
    if named and (opening != "Next" or len(parts) > 1):
        where = f" in {code(part.name)}"
    lead = cause.lead
    return (
        f"**{opening}{where}:** {title(part, cause)}. {sentence(lead.message)[:-1]} "
        f"({lead.rule.code}, {line_of(lead, part.source)})."
    )


def _no_cause(parts: list[Part]) -> str:
    """Where nothing is a cause, a warning of another kind still comes first."""
    found = [(part, finding) for part in parts for finding in part.findings]
    part, first = max(found, key=lambda pair: strength(pair[1])[0])
    if first.severity == INFO:
        return "**Nothing in the file stands out** as a fault."
    where = f"{first.rule.code}, {line_of(first, part.source)}"
    return f"**What stands out most:** {first.rule.name} ({where}); the section below says why."


def _observed(unit: TrainingUnit) -> str:
    """What the observed norm says, and what it does not."""
    observed = unit.observed
    assert observed is not None
    clip = unit.number("clip_norm")
    if clip and clip > 0:
        fact = clip_arithmetic(unit)
        if observed.grad_norm > clip:
            fact += ": a clip at work, not one that failed"
    else:
        said = observed_text(unit)
        fact = f"{said} is one norm, with no positive threshold in the file to set it against"
    rate = rate_at(unit, observed.epoch, observed.step)
    early = ", from inside the warm-up," if rate is not None and rate.inside_warmup else ""
    return (
        f"{fact}. One norm{early} is not a series: it shows neither that gradients explode nor "
        "which term makes them."
    )


def _measured(measured: Measured) -> str:
    """What the record has in numbers; the section on it has the rest."""
    figures = figures_of(measured)
    of = f"{figures.steps} steps of {prose(figures.optimizer)}"
    if not figures.norms:
        return f"**Measured:** {of}, of which none gives a norm that can be judged; see below."
    named = ", ".join(f"{name} {number(value)}" for name, value, _ in figures.quantiles)
    text = f"**Measured:** {of}; pre-clip norm {named}"
    if figures.clip_share is not None and figures.clip_norm is not None:
        what = f"with {figures.clip_compares} " if figures.clip_compares else ""
        text += f"; {percent(figures.clip_share)} of the steps {what}above "
        text += number(figures.clip_norm)
    return f"{text}."


def _first(parts: list[Part]) -> str:
    part = parts[0]
    snippets, fixes = Snippets(part), Fixes(part)
    if snippets.kinds and not part.is_recorded:
        then = f", then {code(part.fix_command())}" if fixes.immediate else ""
        start = f" {part.after_warmup}" if part.after_warmup else ""
        many = "snippets" if len(snippets.kinds) > 1 else "snippet"
        return f"**First:** a baseline of {STEPS} steps{start} with the {many} below{then}."
    if fixes.immediate:
        return f"**First:** {code(part.fix_command())}, which shows the repair."
    return "**First:** go through the findings below, the strongest first."
