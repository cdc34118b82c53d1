"""Root causes, ranked, each with what supports it and what would settle it."""

from __future__ import annotations

from gradaudit.render.report.analyses import clip_arithmetic, observed_text
from gradaudit.render.report.part import LOSS, PROBES, STEPS
from gradaudit.render.report.snippets import LAYERS, TERMS
from gradaudit.render.report.words import (
    code,
    code_list,
    graded,
    line_of,
    sentence,
    strength,
)  # fmt: skip
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.findings import Finding
    from gradaudit.render.report.part import Part
    from gradaudit.render.report.snippets import Snippets

LOSS_WEIGHTS, MICRO_BATCH, WARMUP = "loss-weights", "micro-batch", "GA206"
NEVER = ("GA101",)
"""A clip acts after the backward pass: a tight one makes no gradient, so it is no root cause."""
CRAWL = "GA103"
"""A threshold so low that nothing moves: a fault of its own, and no cause of a large norm."""


class Cause:
    """Findings with one cause, the strongest first.

    observed  whether one of them rests on the observed norm, and not on the file alone.
    """

    def __init__(self, key: str, findings: list[Finding], observed: bool) -> None:
        self.key = key
        self.findings = sorted(  # what a comment says of a weight supports, it does not lead
            findings,
            key=lambda f: (f.rule.code == "GA704", *(-x for x in strength(f)), f.rule.code),
        )
        self.observed = observed

    @property
    def lead(self) -> Finding:
        return self.findings[0]

    @property
    def rank(self) -> tuple[int, int, int, int, int]:
        severity, confidence = strength(self.lead)
        when = 0 if self.key != WARMUP else 1  # an explanation of the time, after those of the file
        return when, -severity, -confidence, -self.observed, -len(self.findings)


def causes(part: Part) -> list[Cause]:
    """The most likely first: by severity, confidence, evidence, number of findings."""
    groups: dict[str, list[Finding]] = {}
    observed: set[str] = set()
    seen = part.unit is not None and part.unit.observed is not None and part.unit.observed_here
    named = {finding.cause for finding in part.findings}
    for finding in part.findings:
        key = finding.cause or finding.rule.code
        if finding.rule.code == "GA704" and part.topic(finding) == LOSS and LOSS_WEIGHTS in named:
            key = LOSS_WEIGHTS
        if finding.rule.code in NEVER:
            if seen and finding.cause:
                observed.add(finding.cause)
            continue
        groups.setdefault(key, []).append(finding)
    found = [Cause(key, findings, key in observed) for key, findings in groups.items()]
    return sorted(found, key=lambda cause: cause.rank)


def title(part: Part, cause: Cause) -> str:
    unit = part.unit
    if cause.key == LOSS_WEIGHTS and (part.terms or cause.lead.rule.code != "GA931"):
        heavy = [term.name for term in part.terms if term.is_auxiliary][:1]
        return "the balance of the loss" + (f", {code(heavy[0])} first" if heavy else "")
    if cause.key == MICRO_BATCH and unit is not None and unit.number("micro_batch"):
        return f"the micro-batch of {number(unit.number('micro_batch') or 0)}"
    if cause.key == WARMUP:
        return "the time of the observation, inside the warm-up"
    key = cause.lead.key
    last = key.rsplit(".", 1)[-1] if key else ""
    return f"{code(last)} ({cause.lead.rule.name})" if last else cause.lead.rule.name


def cause_lines(part: Part, found: list[Cause], snippets: Snippets) -> list[str]:
    unit = part.unit
    given = "the file alone"
    symptom = ""
    if unit is not None and unit.observed is not None:
        given = "the file and one norm alone"
        of = "" if unit.observed_here else f", if it is of {code(unit.name)}"
        symptom = f" The symptom given is a gradient norm of {observed_text(unit)}{of}."
    lines = [
        (
            f"Candidates for what goes wrong, the most likely first.{symptom} The ranks come from "
            "severity, confidence, evidence and the number of findings: from "
            f"{given}, until measured."
        )
    ]
    lines.append("")
    if not found:
        lines += ["None in the file.", ""]
    for index, cause in enumerate(found, 1):
        lines += [*_cause(part, index, cause, snippets), ""]
    clip = _no_cause(part)
    return [*lines, clip] if clip else lines[:-1]


def _cause(part: Part, index: int, cause: Cause, snippets: Snippets) -> list[str]:
    name = title(part, cause)
    lines = [f"{index}. **{name[:1].upper()}{name[1:]}** ({graded(cause.lead)})"]
    for finding in cause.findings:
        if finding.rule.code == "GA704" and cause.key == LOSS_WEIGHTS:
            continue
        lines.append(
            f"   - Supported by {finding.rule.code}, {line_of(finding, part.source)}: "
            f"{sentence(finding.message)}"
        )
    raised = [f for f in cause.findings if f.rule.code == "GA704" and cause.key == LOSS_WEIGHTS]
    if raised:
        keys = code_list((f.key or "").rsplit(".", 1)[-1] for f in raised)
        where = ", ".join(str(f.place.line) for f in raised)
        lines.append(
            f"   - Supported by {raised[0].rule.code}, line{'s' if len(raised) > 1 else ''} "
            f"{where}: {keys} {'were' if len(raised) > 1 else 'was'} raised, by "
            f"{'their' if len(raised) > 1 else 'its'} own comment{'s' if len(raised) > 1 else ''}."
        )
    if cause.observed and part.unit is not None:
        lines.append(
            f"   - Evidence: {observed_text(part.unit)} fits it, but one number does not single "
            "it out."
        )
    if cause.key == CRAWL:
        lines.append("   - It explains steps that are too short, never a large norm.")
    lines.append(f"   - What would settle it: {_settle(part, cause, snippets)}")
    return lines


def _settle(part: Part, cause: Cause, snippets: Snippets) -> str:
    unit = part.unit
    if cause.key == LOSS_WEIGHTS and TERMS in snippets.kinds:
        names = code_list(term.name for term in part.terms if term.is_auxiliary)
        return (
            f"{snippets.ref(TERMS)}, on {PROBES} steps. If {names} together have more than half of "
            "the sum of the gradient norms, the norm comes from them; if their share is small, it "
            "does not."
        )
    if cause.key == MICRO_BATCH:
        from gradaudit.render.report.fixes import Fixes, micro_batch_after

        larger = micro_batch_after(unit, Fixes(part)) if unit is not None else None
        size = f"a micro-batch of {larger}" if larger else "a larger micro-batch"
        first = ""
        if LAYERS in snippets.kinds:
            first = f"{snippets.ref(LAYERS)} for what BatchNorm really sees; then "
        return (
            f"{first}{STEPS} steps with {size} against {STEPS} as it is, same seeds, nothing else "
            "changed: does the 90th percentile of the norm fall? Accumulation is the control: it "
            "lowers noise without enlarging what the layers and pairs see."
        )
    if cause.key == WARMUP:
        return f"the norm of {STEPS} steps, {part.after_warmup}."
    return sentence(cause.lead.next or "the change alone, nothing else changed")


def _no_cause(part: Part) -> str:
    """That the clip is none, said where somebody may think it is."""
    unit = part.unit
    clip = unit.number("clip_norm") if unit is not None else None
    if unit is None or not clip or clip <= 0:
        return ""
    if unit.observed is None and not part.by_code(*NEVER, CRAWL):
        return ""
    lines = (
        f"Not a cause: the clip norm {number(clip)}. Clipping acts after the backward pass: it "
        "can scale a gradient down, never make one."
    )
    if unit.observed is not None and unit.observed.grad_norm > clip:
        lines += f" {sentence(clip_arithmetic(unit))}"
    return lines
