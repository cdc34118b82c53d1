"""The analyses of clipping and of normalisation: settings, status, reasoning."""

from __future__ import annotations

from gradaudit.findings import ERROR, LOW, WARNING
from gradaudit.render.report.part import CLIPPING, NORMALISATION
from gradaudit.render.report.words import (
    code,
    finding_lines,
    graded,
    place_text,
    rule_link,
    sentence,
    settings_lines,
    strength,
    table,
)  # fmt: skip
from gradaudit.rules.optimisers import effect_of_clip, forgets_scale
from gradaudit.rules.text import number, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.findings import Finding
    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.render.report.part import Part

FINE, LOOK, HARM = "fine", "look at it", "likely harm"
UNKNOWN = "cannot be judged, because"
NO_OBJECTION = f"{FINE}: no rule objects"


class Analysis:
    """One analysis: its title, its status in words, its lines below the settings."""

    def __init__(self, title: str, settings: list[str], status: str, lines: list[str]) -> None:
        self.title = title
        self.settings = settings
        self.status = status
        self.lines = lines

    def render(self) -> list[str]:
        settings = self.settings or ["- none in the file"]
        body = ["**Current settings**", "", *settings, "", f"**Status:** {self.status}"]
        lines = "\n".join(self.lines).strip("\n")
        return [*body, "", lines] if lines else body


def judged(findings: Iterable[Finding], otherwise: str, *, at_most: str = HARM) -> str:
    """The status that findings amount to, with the strongest of them."""
    ordered = sorted(findings, key=lambda f: (*(-x for x in strength(f)), f.rule.code))
    if not ordered:
        return otherwise
    first = ordered[0]
    harmful = first.severity == ERROR or (first.severity == WARNING and first.confidence != LOW)
    status = HARM if harmful and at_most == HARM else LOOK
    return f"{status}: {rule_link(first.rule)} ({graded(first)})"


def observed_text(unit: TrainingUnit) -> str:
    """`28.9 at epoch 3`; only for a unit that has an observation."""
    observed = unit.observed
    assert observed is not None
    return f"{number(observed.grad_norm)}{observed.when}"


def clip_arithmetic(unit: TrainingUnit) -> str:
    """What the observed norm and the threshold make together, as one sentence."""
    threshold = unit.number("clip_norm")
    observed = unit.observed
    assert observed is not None
    assert threshold
    norm, limit = number(observed.grad_norm), number(threshold)
    said = observed_text(unit)
    if not unit.observed_here:
        said = f"if it is of {code(unit.name)}, {said}"
    if observed.grad_norm <= threshold:
        return f"{said} is not above the threshold {limit}: the clip did not act on that step"
    ratio, scale = times(observed.grad_norm / threshold), f"{threshold / observed.grad_norm:.2g}"
    return (
        f"{said} is {ratio} the threshold {limit}, so the gradient was multiplied by "
        f"{limit} / {norm} = {scale}"
    )


def clipping(part: Part) -> Analysis:
    unit = part.unit
    assert unit is not None
    findings = part.about(CLIPPING)
    settings = settings_lines(unit, ("clip_norm", "clip_value", "clip_agc", "optimizer"))
    threshold = unit.number("clip_norm")
    lines: list[str] = []
    if unit.observed is not None:
        lines += [_observed(unit, threshold), ""]
    if threshold and threshold > 0:
        lines += _reasons(unit, threshold)
    said = [text for finding in part.by_code("GA101") for text in (*finding.why, *finding.evidence)]
    for finding in findings:
        own = _tight(part, finding) if finding.rule.code == "GA101" and threshold else ""
        lines += finding_lines(finding, part.source, message=own, said=said)
    # Where a constant scale cancels, a tight clip is no harm shown.
    tight = [f for f in findings if f.rule.code == "GA101"]
    if tight and findings == tight and forgets_scale(unit):
        status = judged(findings, NO_OBJECTION, at_most=LOOK)
    else:
        status = judged(findings, _without_findings(unit))
    return Analysis("Clipping", settings, status, lines)


def _tight(part: Part, finding: Finding) -> str:
    """GA101 in words that do not repeat the observed norm, which stands above."""
    unit = part.unit
    assert unit is not None
    if unit.observed is None:
        return ""
    said = "the observed norm is set against the threshold above."
    if finding.cause:
        total = sum(term.weight for term in part.terms)
        said += f" Behind it stand {len(part.terms)} loss terms, weights {number(total)} in sum."
    return sentence(said)


def _without_findings(unit: TrainingUnit) -> str:
    for name in ("clip_norm", "clip_value", "clip_agc"):
        setting = unit.get(name)
        if setting is None:
            continue
        if setting.value is None:
            return f"{FINE}: clipping is {setting.note or 'off'}"
        if name == "clip_norm":
            return NO_OBJECTION
        return f"{FINE} as far as it is judged: of `{name}` only the sign is"
    if "clip_norm" in unit.unknown:
        return f"{UNKNOWN} the clip norm {unit.unknown['clip_norm']}"
    return (
        f"{UNKNOWN} the file names no clip norm. Absent is not off: some trainers clip by default "
        "(`--assume clip_norm=N` if yours does)"
    )


def _observed(unit: TrainingUnit, threshold: float | None) -> str:
    given = f"**Observed:** gradient norm {observed_text(unit)}, taken as the norm before clipping."
    if not unit.observed_here:
        given += " Which unit it was measured on is not known: say so with `--unit`."
    if threshold and threshold > 0:
        return f"{given} {sentence(clip_arithmetic(unit))}"
    return f"{given} There is no positive threshold in the file to set it against."


def _reasons(unit: TrainingUnit, threshold: float) -> list[str]:
    limit = number(threshold)
    return [
        (
            "- `clip_grad_norm_` returns the norm before clipping, and that is what trainers log: "
            "a reported norm above the threshold is what a working clip looks like."
        ),
        f"- {effect_of_clip(unit, threshold)}",
        (
            f"- Neither {limit} nor a new threshold bounds the reported norm, because it is taken "
            "before the clip acts. A norm below the threshold is therefore no goal to check for."
        ),
        f"- {_coverage(unit)}",
    ]


def _coverage(unit: TrainingUnit) -> str:
    """Whether the clip is given all parameters: as a recorded run shows, else not known."""
    for measured in unit.measured:
        if measured.comparable and measured.record.source == "probe":
            clips = [step.norm_clip for step in measured.optimizer.settled_steps]
            known = [(clip.covered, clip.of) for clip in clips if clip is not None and clip.of]
            if known:
                covered, of = max(known, key=known.count)
                which = f"all {of}" if covered == of else f"{covered} of {of}"
                return f"In the recorded run the call is given {which} tensors with a gradient."
    return "Whether the trainer's call covers all parameters cannot be seen in this file."


def normalisation(part: Part) -> Analysis:
    unit = part.unit
    assert unit is not None
    names = ("micro_batch", "accumulation", "world_size", "global_batch")
    settings = settings_lines(unit, names if unit.norms else ("norm", *names))
    lines: list[str] = []
    if unit.norms:
        lines += [*_layers(unit.norms), ""]
    reasons = _batch_reasons(part)
    lines += reasons
    findings = part.about(NORMALISATION)
    said = [text for finding in part.by_code("GA301") for text in finding.why] if reasons else []
    for finding in findings:
        lines += finding_lines(finding, part.source, said=said)
    otherwise = _norm_without_findings(part)
    status = judged(findings, otherwise)
    if findings and otherwise.startswith(UNKNOWN):
        status += f". BatchNorm itself {otherwise}"
    return Analysis("Normalisation and batch", settings, status, lines)


def _layers(norms: list[Setting]) -> list[str]:
    """What the Python source makes, with the lines; a loop may make several at one line."""
    rows = []
    for layer in norms:
        at = place_text(layer.place) if layer.place else ""
        rows.append([code(layer.raw), str(layer.value).replace("_", " "), at])
    return [
        (
            "Normalisation layers in the Python source, which was read and not run; a line in a "
            "loop makes several:"
        ),
        "",
        *table(("layer", "kind", "where"), rows),
    ]


def _batch_reasons(part: Part) -> list[str]:
    unit = part.unit
    assert unit is not None
    seen = unit.norm_batch
    if not part.has_batch_norm or seen is None:
        return []
    enough = part.limit("GA301", "info")
    across = " on all devices together" if unit.norm == "sync_batch" else ""
    lines = [
        f"- BatchNorm takes mean and variance of each channel from {seen} "
        f"sample{'s' if seen != 1 else ''} at a time{across}: they change from batch to batch, and "
        "every gradient with them. A layer over images or series averages their positions too, one "
        "after pooling or a linear layer has the samples alone: the snippet below prints how many "
        "values each really has."
        if seen < enough
        else f"- BatchNorm sees {seen} samples at a time{across}: {number(enough)} or more, from "
        "which on its statistics are taken as reliable."
    ]
    if seen < enough:
        steps = unit.number("accumulation")
        now = f" (now {number(steps)})" if steps and steps > 1 else ""
        lines.append(
            f"- Accumulating gradients{now} would not help: it enlarges the batch of the optimiser "
            f"step, while each forward pass still normalises {seen} samples alone. It lowers the "
            "noise of the gradient only."
        )
    return lines


def _norm_without_findings(part: Part) -> str:
    unit = part.unit
    assert unit is not None
    if unit.norm is None:
        if part.recorded_without_batch_norm:
            return (
                f"{FINE}: the recorded model has no BatchNorm; nothing else normalises over a batch"
            )
        return (
            f"{UNKNOWN} the file names no normalisation layer: "
            f"`--source {'' if unit.name == 'main' else unit.name + '='}FILE.py`, or "
            "`--assume norm=batch` (or group, layer, none)"
        )
    if not part.has_batch_norm:
        if unit.norm == "frozen_batch":
            return f"{FINE}: frozen BatchNorm takes nothing from the batch"
        if unit.norm == "none":
            return f"{FINE}: there is no normalisation layer"
        return f"{FINE}: {unit.norm} normalisation does not depend on the batch"
    if unit.number("micro_batch") is None:
        return f"{UNKNOWN} the micro-batch is not known: `--assume micro_batch=N`"
    if unit.norm_batch is None:
        return (
            f"{UNKNOWN} SyncBatchNorm joins all devices and their number is not known: "
            "`--assume world_size=N`"
        )
    return NO_OBJECTION


def others(part: Part, topic: str) -> list[str]:
    lines: list[str] = []
    for finding in part.about(topic):
        lines += finding_lines(finding, part.source)
    return lines
