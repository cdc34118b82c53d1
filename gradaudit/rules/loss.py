"""GA4: the balance of a loss that is a sum of terms."""

from __future__ import annotations

from gradaudit.dialects import GENERIC
from gradaudit.findings import INFO, LOW, MEDIUM, RECOMMENDED, WARNING, Finding, Fix, Related
from gradaudit.rules import rule
from gradaudit.rules.optimisers import dividing_equals, forgets_scale
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import listed, median, number, optimizer_name, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Edit
    from gradaudit.plan.model import LossTerm, TrainingUnit
    from gradaudit.rules import Limits

_WORDS = GENERIC["loss_terms"]


def _comparable(unit: TrainingUnit) -> tuple[list[LossTerm], list[LossTerm]] | None:
    """Primary and auxiliary terms with a weight, or None where weights say nothing.

    A game between two networks is not a sum to balance, a gradient penalty of 10 is large by
    design, and so are the weights that come with a framework's own recipe.
    """
    if unit.terms_by_design:
        return None
    apart = set(_WORDS["apart"])
    adversarial = set(_WORDS["adversarial"])
    terms = []
    for term in unit.loss_terms:
        if not adversarial.isdisjoint(term.tokens):
            return None
        if term.weight > 0 and term.name not in apart and apart.isdisjoint(term.tokens):
            terms.append(term)
    primary = [term for term in terms if not term.is_auxiliary]
    auxiliary = [term for term in terms if term.is_auxiliary]
    return (primary, auxiliary) if primary and auxiliary else None


@rule(
    "GA401",
    "auxiliary-weight-dominates",
    scope="unit",
    needs=("loss_terms",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"terms": 3, "warning": 5, "info": 3, "heaviest": 2},
    references=(
        "https://arxiv.org/abs/1711.02257 (Chen et al. 2018, GradNorm)",
        "https://arxiv.org/abs/1705.07115 (Kendall et al. 2018: uncertainty to weigh losses)",
        "docs/measurements.md",
    ),
)
def auxiliary_weight_dominates(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Auxiliary terms (calibration, penalties, regularisers) outweigh the task.

    Why:
        The gradient is the weighted sum of the terms' gradients. Where auxiliary weights add up to
        several times the primary ones, most of it may point at the penalties. No optimiser evens
        this out: Adam is indifferent to the scale of the whole sum, not to the ratios inside it.
        Weights are not gradients, though: a penalty that is satisfied has none, whatever its
        weight. Only a measurement of each term's gradient norm settles it.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        loss_weights:
          ce: 1.0
          calibration: 6.0
          consistency: 0.5

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        loss_weights:
          ce: 1.0
          calibration: 1.0
          consistency: 0.5

    Tell:
        On one step in ten compute the gradient of each weighted term alone
        (`torch.autograd.grad(w * term, parameters, retain_graph=True)`) and log its norm; average
        over the steps on which the term is active. An auxiliary share above one half dominates.

    Symptoms:
        one loss term drowns the others

    Fix:
        Recommended: lower each auxiliary weight that exceeds the largest primary weight to that
        weight, and leave the others alone. Measured on the reconstructed training: the 95th
        percentile of the norm falls five times, but the held-out error does not improve by that
        alone (measurements#weights); together with a batch of 24 it does
        (measurements#batch-24-weights). It changes the objective. With measured gradient norms,
        set the weights from those.

    Limits:
        terms: fewest terms with a weight.
        warning: auxiliary weights over primary ones, from which it is a warning.
        info: the same, from which it is an info.
        heaviest: heaviest auxiliary weight over the largest primary one; below it stays an info.

    False positives:
        Terms of different units: a KL in nats summed over dimensions, a mel loss at 45 (VITS), L1
        at 100 (pix2pix). Units with adversarial terms are not judged, gradient penalties not
        counted. A term whose name has no known role counts as primary.
    """
    split = _comparable(unit)
    if split is None:
        return
    primary, auxiliary = split
    if len(primary) + len(auxiliary) < limits["terms"]:
        return
    sum_primary = sum(term.weight for term in primary)
    sum_auxiliary = sum(term.weight for term in auxiliary)
    ratio = sum_auxiliary / sum_primary
    largest = max(primary, key=lambda term: term.weight)
    heaviest = max(auxiliary, key=lambda term: term.weight)
    if ratio < limits["info"]:
        return
    dominates = ratio >= limits["warning"] and (
        heaviest.weight >= limits["heaviest"] * largest.weight
    )
    over = [term for term in auxiliary if term.weight > largest.weight]
    what = (
        f"auxiliary weights add up to {number(sum_auxiliary)}, {times(ratio)} the primary ones "
        f"({number(sum_primary)})"
    )
    steady = (
        f"{optimizer_name(unit)} is indifferent to the scale of the sum, not to the ratios inside "
        "it."
        if forgets_scale(unit)
        else "No optimiser evens out the ratios inside the sum."
    )
    yield Finding(
        place_of(heaviest.setting, unit),
        f"{what}; `{heaviest.name}` alone has {number(heaviest.weight)}",
        severity=WARNING if dominates else INFO,
        confidence=MEDIUM,
        key=heaviest.setting.key,
        label=f"{times(heaviest.weight / largest.weight)} the largest primary weight"
        if heaviest.weight > largest.weight
        else "the heaviest auxiliary weight",
        related=[
            Related(
                place_of(largest.setting, unit),
                f"largest primary weight, `{largest.name}`",
            )
        ],
        why=[
            "Most of the gradient may come from terms that are not the task. " + steady,
            (
                "Weights are not gradients: a penalty that is satisfied has none. Only a "
                "measurement of each term's gradient norm settles it."
            ),
        ],
        next="Log the gradient norm of each weighted term on one step in ten; an auxiliary share "
        "above one half dominates.",
        fix=_lower(over, largest) if dominates else None,
        no_fix="" if dominates else "no single weight stands out; measure before changing any",
        cause="loss-weights",
    )


def _lower(over: list[LossTerm], largest: LossTerm) -> Fix | None:
    edits: list[Edit] = []
    lowered: list[LossTerm] = []
    for term in over:
        spelled = largest.setting.raw if not largest.setting.is_text else None
        edit = change(term.setting, largest.weight, spelled)
        if edit is not None:
            edits.append(edit)
            lowered.append(term)
    if not edits:
        return None
    names = listed([f"`{term.setting.last_key}`" for term in lowered])
    return Fix(
        RECOMMENDED,
        f"lower {names} to {edits[0].new}",
        edits,
        [
            f"{edits[0].new} is the largest primary weight, `{largest.name}`; other weights stay",
            "changes the objective: compare the task's own metric before and after",
        ],
    )


@rule(
    "GA402",
    "unbalanced-multi-term-loss",
    scope="unit",
    needs=("loss_terms",),
    severities=(WARNING,),
    confidence=LOW,
    limits={"terms": 4, "spread": 5, "sum_low": 0.5, "sum_high": 2},
    references=(
        "https://arxiv.org/abs/1711.02257 (Chen et al. 2018, GradNorm)",
        "https://arxiv.org/abs/1705.07115 (Kendall et al. 2018: uncertainty to weigh losses)",
        "https://arxiv.org/abs/1711.05101 (Loshchilov & Hutter 2019: decoupled weight decay)",
    ),
)
def unbalanced_multi_term_loss(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A plain sum of many terms whose weights differ widely, the heaviest an auxiliary one.

    Why:
        Without normalisation or balancing, each term pulls in proportion to its weight and to its
        own scale, which nobody has set side by side. Dividing the sum by the number of terms K
        balances nothing: the ratios stay. Under Adam with decoupled decay (AdamW) it equals
        clip_norm x K and eps x K; where weight decay is added to the gradient, weight_decay x K
        too. Under SGD it equals clip_norm x K, weight_decay x K and a learning rate divided by K.
        The logged norm falls K times, and no ratio improves.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        loss_weights:
          ce: 0.5
          mse: 0.5
          dice: 0.5
          calibration: 4.0

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        loss_weights:
          ce: 0.5
          mse: 0.5
          dice: 0.5
          calibration: 0.5

    Tell:
        Log each weighted term's gradient norm: the largest share is above 80 %, or the largest
        root mean square above a hundred times the smallest.

    Symptoms:
        one loss term drowns the others

    Fix:
        None of its own: which ratio is right is a matter of measurement. Lowering what dominates
        (auxiliary-weight-dominates) usually silences it too.

    Limits:
        terms: fewest terms with a weight.
        spread: heaviest weight, over the median one. The heaviest must be an auxiliary one.
        sum-low: weights that add up to this or more, and to sum-high or less, count as normalised.
        sum-high: the upper end.

    False positives:
        Weights that undo the units of their terms. Silent where a balancing scheme is configured
        (GradNorm, uncertainty weighting, DWA), and where the weights add up to about one.
    """
    split = _comparable(unit)
    if split is None or _balanced_elsewhere(unit):
        return
    primary, auxiliary = split
    terms = primary + auxiliary
    weights = [term.weight for term in terms]
    total = sum(weights)
    heaviest = max(terms, key=lambda term: term.weight)
    spread = heaviest.weight / median(weights)
    if (
        len(terms) < limits["terms"]
        or spread < limits["spread"]
        or not heaviest.is_auxiliary
        or limits["sum_low"] <= total <= limits["sum_high"]
    ):
        return
    count = len(terms)
    yield Finding(
        place_of(heaviest.setting, unit),
        f"{count} terms are summed as they are; `{heaviest.name}` has {times(spread)} the median "
        f"weight, {percent(heaviest.weight / total)} of the sum",
        severity=WARNING,
        confidence=LOW,
        key=heaviest.setting.key,
        label=f"{times(spread)} the median weight",
        why=[
            (
                f"Dividing the sum by {count} would balance nothing: the ratios stay, and "
                f"{dividing_equals(unit, count)}. Only the logged norm falls."
            )
        ],
        next="Balance the ratios by measured gradient norms, not the sum.",
        no_fix="which ratio is right must be measured",
        cause="loss-weights",
    )


def _balanced_elsewhere(unit: TrainingUnit) -> bool:
    setting = unit.get("loss_balancing")
    return setting is not None and setting.value not in (None, False, "none", "static", "fixed")


@rule(
    "GA403",
    "steep-hinge-penalty",
    scope="unit",
    needs=("loss_terms",),
    severities=(WARNING, INFO),
    confidence=LOW,
    limits={"weight": 5, "over_primary": 5},
    references=("docs/measurements.md",),
)
def steep_hinge_penalty(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A penalty that switches on at a bound has a large weight: its gradient jumps.

    Why:
        k x relu(bound - x) is zero on one side of the bound and has slope k on the other. Its
        value may stay small (10 x relu(0.5 - ratio) is at most 5), but on the steps on which it
        switches on the gradient jumps from nothing to k x the slope of x. Adam's second moment
        remembers each jump for about 1 / (1 - beta2) steps, during which all other steps are
        shorter; SGD takes the jump as it is.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        mse_weight: 1.0
        min_variance_weight: 10.0

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        mse_weight: 1.0
        min_variance_weight: 1.0

    Tell:
        Log on which steps the penalty is above zero, and the pre-clip norm on those steps and on
        the others.

    Symptoms:
        loss spikes
        gradient norm spikes

    Fix:
        None of its own; auxiliary-weight-dominates lowers the weight where it applies. A smooth
        hinge (softplus, squared relu) or a ramp also removes the jump. On the reconstructed
        training one such weight made the largest spikes: lowered alone it halved the 95th
        percentile of the norm, without a gain in held-out error (measurements#single-weights).

    Limits:
        weight: smallest weight that is reported.
        over-primary: the weight, over the largest primary one.

    False positives:
        Gradient penalties and R1 at 10, which are large by design (not counted). That the term is
        a hinge is read from its name (`min_`, `max_`, `hinge`, `bound`, `penalty`): confidence
        is low for that reason.
    """
    split = _comparable(unit)
    if split is None:
        return
    primary, auxiliary = split
    largest = max(primary, key=lambda term: term.weight)
    for term in auxiliary:
        if (
            set(_WORDS["hinge"]).isdisjoint(term.tokens)
            or term.weight < limits["weight"]
            or term.weight < limits["over_primary"] * largest.weight
        ):
            continue
        yield Finding(
            place_of(term.setting, unit),
            f"`{term.name}` has weight {number(term.weight)}, "
            f"{times(term.weight / largest.weight)} the largest primary weight: if it is a hinge, "
            "its gradient jumps",
            severity=WARNING,
            confidence=LOW,
            key=term.setting.key,
            label="a hinge, by its name",
            why=[
                (
                    f"{number(term.weight)} x relu(bound - x) is zero on one side and has slope "
                    f"{number(term.weight)} on the other: the steps on which it switches on are "
                    "spikes."
                )
            ],
            next="Log on which steps it is above zero, and the pre-clip norm on those.",
            no_fix="a smaller weight changes the objective; measure its share first",
            cause="loss-weights",
        )
