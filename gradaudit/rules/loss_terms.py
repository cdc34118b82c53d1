"""GA4: single terms of a loss, and what stands beside their weights."""

from __future__ import annotations

from gradaudit.dialects import GENERIC
from gradaudit.findings import INFO, LOW, MEDIUM, SPECULATIVE, WARNING, Finding, Fix, Related
from gradaudit.plan.model import DEFAULT
from gradaudit.rules import rule
from gradaudit.rules.optimisers import decays_in_gradient, forgets_scale, steps_with_gradient
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import listed, number, optimizer_name, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

_WORDS = GENERIC["loss_terms"]

_SUBTRACTED = frozenset((
    *_WORDS["adversarial"], "entropy", "ent", "reward", "bonus", "diversity", "mi", "mutual",
    "information", "domain", "grl", "confusion", "reverse", "return", "similarity", "cosine", "sim",
    "ssim", "likelihood", "advantage", "exploration", "elbo", "score", "iou", "acc", "accuracy",
))  # fmt: skip
"""Words of terms that are maximised on purpose, or whose sign is a convention."""


FAR = 1000
"""A ratio of weights that no published recipe of several tasks comes near (pix2pix: 100 to 1)."""


@rule(
    "GA404",
    "loss-weights-far-apart",
    scope="unit",
    needs=("loss_terms",),
    severities=(INFO,),
    confidence=LOW,
    limits={"spread": FAR},
    references=(
        "https://arxiv.org/abs/1711.02257 (Chen et al. 2018, GradNorm)",
        "https://arxiv.org/abs/1705.07115 (Kendall et al. 2018: uncertainty to weigh losses)",
        (
            "https://arxiv.org/abs/1611.07004 (Isola et al. 2017, pix2pix: 100 to 1, wide for a "
            "published recipe)"
        ),
    ),
)
def loss_weights_far_apart(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The weights of two tasks differ a thousand times.

    Why:
        Such a ratio says that one term is next to nothing, or that the terms have very different
        units: a sum over pixels beside a mean, metres beside millimetres. Both are worth a look,
        because a change of the units, the resolution or the reduction then shifts the balance by
        as much. No optimiser evens out the ratio of terms inside one sum.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        loss_weights:
          ce: 1.0
          mse: 0.0005

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        loss_weights:
          ce: 1.0
          mse: 0.5

    Tell:
        Log each weighted term's gradient norm for 100 steps. A term whose share stays below one in
        a thousand can go; one that is a fair share in spite of its weight has other units.

    Symptoms:
        one loss term drowns the others

    Fix:
        None: which ratio is right is a matter of measurement.

    Limits:
        spread: largest weight over the smallest, from which it is reported.

    False positives:
        Weights that undo the units of their terms, and they often do: an info of low confidence.
        Only terms that are a task by their name are counted (mse, ce, dice, bbox, ...): penalties,
        a KL and regularisers are small by nature, and the style and content of a picture have units
        far apart (1e10 to 1e5 in PyTorch's example of style transfer). Nor are games between two
        networks, the weights of a framework's own recipe, and losses that a scheme balances.
    """
    if unit.terms_by_design or _is_balanced(unit):
        return
    apart = {*_WORDS["apart"], *_WORDS["adversarial"]}
    terms = [
        term
        for term in unit.loss_terms
        if term.weight > 0 and term.role == "primary" and apart.isdisjoint(term.tokens)
    ]
    if len(terms) < 2:
        return
    smallest = min(terms, key=lambda term: term.weight)
    largest = max(terms, key=lambda term: term.weight)
    ratio = largest.weight / smallest.weight
    if ratio < limits["spread"]:
        return
    yield Finding(
        place_of(smallest.setting, unit),
        f"`{largest.name}` has {times(ratio)} the weight of `{smallest.name}`",
        severity=INFO,
        confidence=LOW,
        key=smallest.setting.key,
        label="the smallest weight",
        related=[
            Related(place_of(largest.setting, unit), f"the largest, {number(largest.weight)}")
        ],
        why=[
            (
                "Either the small term hardly counts, or the units of the two differ as much; no "
                "optimiser evens out the ratio."
            )
        ],
        next=f"Log the gradient norms of `{smallest.name}` and `{largest.name}` for 100 steps.",
        no_fix="which ratio is right must be measured",
        cause="loss-weights",
    )


def _is_far_from_others(weight: float, unit: TrainingUnit) -> bool:
    """Whether a weight would be what loss-weights-far-apart speaks of."""
    others = [term.weight for term in unit.loss_terms if term.weight > 0]
    return any(max(weight / other, other / weight) >= FAR for other in others)


def _is_balanced(unit: TrainingUnit) -> bool:
    setting = unit.get("loss_balancing")
    return setting is not None and setting.value not in (None, False, "none", "static", "fixed")


@rule(
    "GA405",
    "negative-loss-weight",
    scope="unit",
    needs=("loss_terms",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    references=(
        (
            "https://arxiv.org/abs/1505.07818 (Ganin et al. 2016: a reversed gradient, where a "
            "term is maximised on purpose)"
        ),
    ),
)
def negative_loss_weight(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A loss term has a negative weight: it is maximised.

    Why:
        The optimiser minimises the weighted sum, so that a negative weight drives its term up. Most
        losses have no upper bound: sooner or later the term grows without limit, takes over the
        sum, and the training diverges. Adam and SGD differ in how soon.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        loss_weights:
          ce: 1.0
          mse: -0.5

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        loss_weights:
          ce: 1.0
          mse: 0.5

    Tell:
        Log the term by itself: it rises while the total falls, below zero in the end.

    Symptoms:
        loss rises, from the start or after falling
        one loss term drowns the others

    Fix:
        Speculative: the same number without its sign. None where the weights would then be far
        apart.

    False positives:
        What is maximised on purpose: an entropy, a reward, a diversity, mutual information, a
        similarity, an adversary's loss. Terms with such a word in their name are not reported.
        -1 is an info: some trainers read it as "off".
    """
    if unit.terms_by_design:
        return
    for term in unit.loss_terms:
        weight = term.weight
        if weight >= 0 or not _SUBTRACTED.isdisjoint(term.tokens):
            continue
        edit = change(term.setting, -weight, term.setting.raw.lstrip("-"))
        fix, no_fix = None, ""
        if weight == -1:
            no_fix = "-1 may be this trainer's way to turn the term off"
        elif _is_far_from_others(-weight, unit):
            no_fix = f"without its sign it is {number(FAR)} times and more from another weight"
        elif edit is not None:
            fix = Fix(
                SPECULATIVE,
                f"drop the sign of `{term.setting.last_key}`: {edit.new}",
                [edit],
                ["right if the sign is a slip of the pen; changes the objective"],
            )
        yield Finding(
            place_of(term.setting, unit),
            f"`{term.name}` has the weight {number(weight)}: the training drives it up",
            severity=INFO if weight == -1 else WARNING,
            confidence=MEDIUM if term.role != "unknown" else LOW,
            key=term.setting.key,
            label="maximised",
            why=[
                (
                    "The sum is minimised, so a term with a negative weight grows; without an "
                    "upper bound it takes over the sum."
                )
            ],
            next="Some trainers read -1 as off: look for a test of the weight."
            if weight == -1
            else f"If `{term.name}` is to be maximised, bound it; otherwise drop the sign.",
            fix=fix,
            no_fix=no_fix,
        )


@rule(
    "GA406",
    "loss-summed-over-batch",
    scope="unit",
    needs=("loss_reduction", "optimizer"),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html (reduction)",
        "https://arxiv.org/abs/1706.02677 (Goyal et al. 2017: the rate follows the batch)",
    ),
)
def loss_summed_over_batch(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The loss is a sum over the batch, so that its gradient grows with the batch.

    Why:
        With `sum`, twice the samples (or pixels, or tokens) are about twice the gradient. Under
        SGD the step grows with it: the learning rate holds for this batch size alone, and a last,
        smaller batch takes a smaller step. Under Adam the factor cancels, but not in a clip
        threshold, nor in a weight decay that is added to the gradient.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        loss_reduction: sum

    Good:
        optimizer: sgd
        learning_rate: 0.1
        loss_reduction: mean

    Tell:
        Log the gradient norm at two batch sizes: with a mean it stays or falls, with a sum it
        grows with the batch.

    Symptoms:
        loss is nan
        loss spikes
        works on one GPU, not on eight

    Fix:
        None: a mean wants a learning rate as many times larger as there are elements in the sum.

    False positives:
        A trainer that divides the sum by a count afterwards (tokens, boxes), or a variational
        bound, which is a sum by definition. Under Adam and its kin it is an info, and only where a
        clip norm or a coupled weight decay makes the factor matter.
    """
    reduction = unit.settings["loss_reduction"]
    if reduction.value != "sum" or reduction.origin == DEFAULT:
        return
    name = optimizer_name(unit)
    related = []
    if steps_with_gradient(unit):
        severity = WARNING
        effect = f"{name}'s step grows with it: the learning rate holds for this batch size alone."
    elif forgets_scale(unit):
        severity = INFO
        touched = []
        clip = unit.get("clip_norm")
        if clip is not None and clip.number and clip.number > 0:
            touched.append(f"the clip norm {number(clip.number)} holds for this batch size alone")
            related.append(Related(place_of(clip, unit), "the threshold for the sum's gradient"))
        if decays_in_gradient(unit):
            touched.append("the weight decay weighs less, the larger the batch")
        if not touched:
            return
        effect = f"{name} takes the factor out of the step, but {listed(touched)}."
    else:
        return
    yield Finding(
        place_of(reduction, unit),
        "the loss is summed, not averaged: its gradient grows with the batch",
        severity=severity,
        confidence=MEDIUM,
        key=reduction.key,
        label="a sum over the batch",
        related=related,
        why=[f"Twice the samples are about twice the gradient. {effect}"],
        next="Look in the trainer: is the sum divided by a count before `backward()`? Otherwise "
        "take `mean`, and a learning rate (SGD) or a clip norm to match.",
        no_fix="with a mean, the learning rate or the clip has to change too",
    )
