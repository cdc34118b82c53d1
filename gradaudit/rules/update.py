"""GA6: what Adam makes of a gradient: its two moments."""

from __future__ import annotations

from gradaudit.edits import replace_value
from gradaudit.findings import HIGH, INFO, LOW, MEDIUM, RECOMMENDED, WARNING, Finding, Fix, Related
from gradaudit.plan.model import WRITTEN
from gradaudit.rules import rule
from gradaudit.rules.optimisers import PER_WEIGHT
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, percent
from gradaudit.syntax.scalars import to_number
from gradaudit.syntax.tree import Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Edit
    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

ADAM = "https://arxiv.org/abs/1412.6980 (Kingma & Ba 2015: betas 0.9 and 0.999, eps 1e-8)"

TWO_MOMENTS = (PER_WEIGHT - {"adabelief"}) | {"galore_adamw", "lamb"}
"""A running mean over the root of a running mean of squares. Not NovoGrad (second beta 0.25 to
0.5, a norm per layer), Lion (both are of the mean), Adan (three), Adamax (a maximum), AdaBelief
(squares of what the mean does not foresee), Apollo (the moments only scale the gradient) or
Schedule-Free (the first interpolates weights)."""

_FORGETS = TWO_MOMENTS - {"amsgrad"}
"""Those whose denominator falls again; AMSGrad's is the largest that it has been."""


def _betas(unit: TrainingUnit) -> tuple[float, float, Setting] | None:
    setting = unit.get("betas")
    if setting is None or not isinstance(setting.value, tuple):
        return None
    first, second = setting.value
    return first, second, setting


@rule(
    "GA601",
    "betas-out-of-order",
    scope="unit",
    needs=("betas", "optimizer"),
    severities=(WARNING, INFO),
    confidence=HIGH,
    references=(
        ADAM,
        "https://arxiv.org/abs/1904.09237 (Reddi et al. 2018: beta1 / root of beta2 below 1)",
        "https://arxiv.org/abs/2010.05646 (Kong et al. 2020, HiFi-GAN: 0.8 and 0.99)",
        "docs/measurements.md",
    ),
)
def betas_out_of_order(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Adam's second beta is below the first.

    Why:
        A step of Adam is a running mean of gradients over the root of a running mean of their
        squares. Where a weight's gradient falls silent, the first shrinks by beta1 a step, the
        second by the root of beta2: if beta1 is above that root, the step grows while there is no
        gradient at all, until eps stops it. With (0.999, 0.9) it doubles every 13 steps
        (measurements#what-optimisers-make-of-odd-numbers). Most often the two numbers are swapped.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        betas: [0.999, 0.9]

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        betas: [0.9, 0.999]

    Tell:
        Log the largest update of an embedding or another sparse layer: it grows between its
        gradients.

    Symptoms:
        loss spikes
        loss rises, from the start or after falling

    Fix:
        Recommended: the two swapped, where that is a published pair, such as Adam's 0.9 and 0.999
        (Kingma & Ba 2015), 0.9 and 0.95 (Brown et al. 2020), 0.9 and 0.98 (Vaswani et al. 2017) or
        0.5 and 0.999 (Radford et al. 2016). None elsewhere: one may be mistyped.

    False positives:
        Equal betas, and beta1 of 0 or 0.5 as GANs use, are in order. A beta2 below beta1, but above
        its square, cannot run away: an info. NovoGrad's second beta is 0.25 to 0.5 as published,
        those of Lion, Adan and Schedule-Free mean other things, and the steps of AMSGrad, AdaBelief
        and Apollo do not grow without a gradient: none of them is judged.
    """
    pair = _betas(unit)
    if pair is None or unit.optimizer not in _FORGETS:
        return
    first, second, setting = pair
    if not (0 <= first < 1 and 0 <= second < 1) or second >= first:  # value-out-of-domain
        return
    runs_away = first * first > second
    fix = _swapped(unit, setting, first, second)
    yield Finding(
        place_of(setting, unit),
        f"betas {number(first)} and {number(second)}: the second is below the first",
        severity=WARNING if runs_away else INFO,
        confidence=HIGH if runs_away else MEDIUM,
        key=setting.key,
        label="usual: 0.9 and 0.95 to 0.999",
        why=[
            f"Where a gradient falls silent, the step grows by {percent(first / second**0.5 - 1)} "
            "at each step, up to what eps allows."
            if runs_away and second > 0
            else "The squares are averaged over fewer steps than the gradients, so that a spike is "
            "forgotten in the denominator while it is still in the numerator."
        ],
        next=f"Swap them, if [{number(second)}, {number(first)}] was meant.",
        fix=fix,
        no_fix="" if fix else "whether they are swapped or one is mistyped is not known",
    )


_PUBLISHED = ((0.9, 0.999), (0.9, 0.95), (0.9, 0.98), (0.9, 0.99), (0.5, 0.999), (0.8, 0.99))


def _swapped(unit: TrainingUnit, setting: Setting, first: float, second: float) -> Fix | None:
    """Each number in the place of the other, as it is spelt."""
    if (second, first) not in _PUBLISHED:
        return None
    edits = _swapped_items(setting) or _swapped_keys(unit, first, second)
    if len(edits) != 2:
        return None
    said = f"[{number(second)}, {number(first)}]"
    return Fix(RECOMMENDED, f"swap the two: {said}", edits, ["a published pair"])


def _swapped_items(setting: Setting) -> list[Edit]:
    """For a pair in one list."""
    place, tree = setting.place, setting.tree
    if (
        setting.origin != WRITTEN
        or place is None
        or tree is None
        or tree.source is not place.source
    ):
        return []
    for mapping in tree.mappings:
        for _, pair in mapping.pairs:
            if pair.start != place.start or type(pair) is not Sequence or len(pair.items) != 2:
                continue
            one, other = pair.items
            if type(one) is not Scalar or type(other) is not Scalar or one.style or other.style:
                return []
            numbers = to_number(one.value), to_number(other.value)
            return [
                replace_value(tree, one, None, numbers[1], other.value),
                replace_value(tree, other, None, numbers[0], one.value),
            ]
    return []


def _swapped_keys(unit: TrainingUnit, first: float, second: float) -> list[Edit]:
    """For two keys, both of which the file writes."""
    one, other = unit.get("beta1"), unit.get("beta2")
    if one is None or other is None or (one.number, other.number) != (first, second):
        return []
    edits = [change(one, second, other.raw), change(other, first, one.raw)]
    return [edit for edit in edits if edit is not None]


@rule(
    "GA602",
    "second-moment-outlasts-training",
    scope="unit",
    needs=("optimizer", "betas", ("total_steps", "epochs")),
    severities=(INFO,),
    confidence=LOW,
    limits={"share": 0.5, "debug_steps": 100},
    references=(
        ADAM,
        (
            "https://github.com/karpathy/nanoGPT/blob/master/config/train_shakespeare_char.py "
            "(5,000 steps with a beta2 of 0.99, where train.py has 0.95)"
        ),
    ),
    profile="strict",
)
def second_moment_outlasts_training(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Adam's running mean of squares never forgets the first steps of so short a training.

    Why:
        The mean of squares covers about 1 / (1 - beta2) steps. Bias correction mends its start,
        not its memory: large gradients of the first steps stay in the denominator and shorten the
        steps until the end.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        betas: [0.9, 0.999]
        max_steps: 1500

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        betas: [0.9, 0.95]
        max_steps: 1500

    Tell:
        Compare the mean of the second moments at a third of the training with that at its end: a
        slow fall is memory of the first steps.

    Symptoms:
        slow or wasted training

    Fix:
        None: 0.95 to 0.99 are worth a try, no more.

    Limits:
        share: the memory, over the number of steps, from which it is reported.
        debug-steps: a training of at most so many steps is taken for a test.

    False positives:
        Many: most short fine-tunings train well with 0.999. It runs in the strict profile only.
        Tests of a few steps are not reported (see few-steps).
    """
    pair = _betas(unit)
    if pair is None or unit.optimizer not in _FORGETS or not 0 <= pair[1] < 1:
        return
    second, setting = pair[1], pair[2]
    length = unit.length
    per_epoch = unit.number("steps_per_epoch")
    if length is None or (length.unit == "epochs" and not per_epoch):
        return
    steps = length.value * ((per_epoch or 1) if length.unit == "epochs" else 1)
    memory = 1 / (1 - second)
    if steps <= limits["debug_steps"] or memory <= limits["share"] * steps:
        return
    where = setting if setting.place is not None else length.setting
    yield Finding(
        place_of(where, unit),
        f"beta2 {number(second)} averages over about {number(round(memory))} steps, the training "
        f"has {number(steps)}",
        severity=INFO,
        confidence=LOW,
        key=where.key,
        label=f"{number(round(memory))} steps of memory"
        if where is setting
        else f"training ends after {length}",
        related=[Related(place_of(length.setting, unit), f"training ends after {length}")]
        if where is setting
        else [],
        why=["What the first steps put into the denominator shortens the steps until the end."],
        next="Where the first gradients are much larger than later ones, try a beta2 of 0.95.",
        no_fix="most short trainings do well with it",
    )
