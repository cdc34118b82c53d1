"""GA1: which kind of clipping there is, and whether it acts."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, MEDIUM, WARNING, Finding, Related
from gradaudit.plan.model import COMPUTED, DEFAULT, MEASURED
from gradaudit.rules import rule
from gradaudit.rules.optimisers import forgets_scale, steps_with_gradient, why_scale_cancels
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

_KINDS = (("clip_norm", "by norm"), ("clip_value", "by value"), ("clip_agc", "by AGC"))

_KEEPS_DIRECTION = frozenset(("lars", "novograd", "muon", "dadaptsgd"))
"""They forget the gradient's size by layer or as a whole, and follow its direction."""


def _is_on(setting: Setting | None) -> bool:
    return setting is not None and setting.number is not None and setting.number > 0


def _is_written(setting: Setting) -> bool:
    return setting.origin not in (DEFAULT, COMPUTED)


@rule(
    "GA104",
    "clip-norm-never-acts",
    scope="unit",
    needs=("clip_norm",),
    severities=(INFO,),
    confidence=MEDIUM,
    limits={"never_acts": 1000},
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html",
        (
            "https://github.com/facebookresearch/detr/issues/198 (norms of 10 to 100, which is "
            "high, under a clip of 0.1)"
        ),
        "docs/measurements.md",
    ),
)
def clip_norm_never_acts(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The clip norm is so large that it hardly ever acts.

    Why:
        Clipping leaves a gradient below the threshold as it is. Norms in the thousands mostly come
        from a loss that is summed over its elements or from a training that is already lost. A
        threshold of 1000 and more stops neither a spike of 50 nor one of 500, under any optimiser.
        It is often written on purpose, to have the norm computed and logged.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: 5000.0

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: 5.0

    Tell:
        Log the value that `clip_grad_norm_` returns: it is the norm before clipping. If the
        largest of a whole epoch is below the threshold, the clip never acted.

    Symptoms:
        gradient norm spikes
        loss spikes

    Fix:
        None: the threshold that would act is a matter of the norms that are measured, for example
        their 90th percentile after the warm-up.

    Limits:
        never-acts: clip norms from this on are reported.

    False positives:
        A loss reduced by `sum` has norms of this size, and is left alone where the config says so;
        so is a threshold below an observed norm. Of 418 published clip norms 7 are 1000
        (docs/measurements.md, How published configs clip), none is between 100 and that. A
        framework's own default and an infinite threshold, which says what it does, are not
        reported.
    """
    clip = unit.settings["clip_norm"]
    threshold = clip.number
    if threshold is None or threshold < limits["never_acts"] or not _is_written(clip):
        return
    reduction = unit.get("loss_reduction")
    if reduction is not None and reduction.value == "sum":
        return
    observed = unit.observed
    if observed is not None and observed.grad_norm >= threshold:
        return
    yield Finding(
        place_of(clip, unit),
        f"clip norm {number(threshold)} acts on no gradient of a usual size",
        severity=INFO,
        confidence=MEDIUM,
        key=clip.key,
        label="as good as no clip",
        why=[
            (
                f"Every norm below {number(threshold)} passes unchanged, which is most spikes too. "
                "As a way to have the norm computed and logged it is fine."
            )
        ],
        next="Log the pre-clip norm for 100 steps after the warm-up; to limit spikes, set the "
        "threshold to its 90th percentile.",
        no_fix="the threshold that would act depends on the norms, which must be measured",
    )


@rule(
    "GA105",
    "two-clips",
    scope="unit",
    needs=(("clip_norm", "clip_agc"), ("clip_value", "clip_agc")),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html",
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_value_.html",
        "https://keras.io/api/optimizers/ (only one of clipnorm, clipvalue, global_clipnorm)",
        (
            "https://lightning.ai/docs/pytorch/stable/advanced/training_tricks.html (one "
            "`gradient_clip_algorithm` at a time)"
        ),
    ),
)
def two_clips(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Gradients are clipped in two ways.

    Why:
        What is left of a gradient depends on which clip comes first, and that stands in the code.
        After a clip to norm c no entry is larger than c: a bound by value at c or above then never
        acts. In the other order the bound by value changes the direction before the norm is taken.
        Some trainers apply the one and read over the other (SlowFast takes the value); Keras and
        JoeyNMT refuse both. The optimiser makes no difference to which is in force.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: 1.0
        gradient_clip_value: 0.5

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: 1.0

    Tell:
        Look for `clip_grad_norm_` and `clip_grad_value_` in the trainer: are both called, in which
        order, or does an `elif` choose one?

    Symptoms:
        loads other values than the file seems to say

    Fix:
        None: which of the two is meant is not known. The clip by norm keeps the direction of the
        gradient.

    False positives:
        A trainer that applies both on purpose. Only clips that are written are counted, never a
        framework's default or what a recorded run called (GA902 holds that against the file), and
        those of one training: a generator's and a discriminator's are not set side by side.
    """
    on = [
        (setting, how)
        for name, how in _KINDS
        if (setting := unit.get(name)) is not None
        and _is_on(setting)
        and _is_written(setting)
        and setting.origin != MEASURED
    ]
    if len(on) < 2:
        return
    (first, how), (second, other) = on[:2]
    values = f"{number(first.number or 0)} {how} and {number(second.number or 0)} {other}"
    idle = (
        first.name == "clip_norm"
        and second.name == "clip_value"
        and (first.number or 0) <= (second.number or 0)
    )
    effect = (
        f" Clipped to norm {number(first.number or 0)} first, no entry exceeds it: the bound of "
        f"{number(second.number or 0)} would never act."
        if idle
        else ""
    )
    yield Finding(
        place_of(second, unit),
        f"gradients are clipped in two ways, {values}: the code decides which acts",
        severity=INFO if idle else WARNING,
        confidence=MEDIUM,
        key=second.key,
        label=f"clips {other}",
        related=[Related(place_of(first, unit), f"clips {how}")],
        why=[
            (
                "Trainers apply one and skip the other, apply both in their own order, or "
                f"refuse both.{effect}"
            )
        ],
        next="Look in the trainer which one is called, and take the other out of the config.",
        no_fix="which of the two is meant is not known",
    )


@rule(
    "GA106",
    "clip-by-value",
    scope="unit",
    needs=("clip_value",),
    severities=(INFO,),
    confidence=HIGH,
    profile="strict",
    references=(
        "https://arxiv.org/abs/1211.5063 (Pascanu et al. 2013: clip the norm, and why)",
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_value_.html",
    ),
)
def clip_by_value(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Gradients are clipped entry by entry, which changes their direction.

    Why:
        A clip by norm shortens a gradient and keeps its direction. A clip by value cuts each entry
        at the bound: the large ones shrink, the small ones stay, and under SGD the step points
        elsewhere than down the loss. The same bound holds for every layer, whatever its size.
        Under Adam and its kin each entry is divided by its own running size anyway, so that the
        direction of one gradient counts for less; the bound then limits what a spike weighs in
        each entry's moments.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        gradient_clip_value: 0.5

    Good:
        optimizer: sgd
        learning_rate: 0.1
        gradient_clip_norm: 0.5

    Tell:
        Log the share of entries at the bound after clipping: where it is above a few per cent, the
        direction is no longer the gradient's. The cosine of the gradient before and after says
        how far it turned.

    Symptoms:
        None: a turned gradient still goes down; the training is a little slower or not at all.

    Fix:
        None: a bound for entries says nothing about the norm that would do the same.

    False positives:
        Many trainings do well with it, and it is what Detectron2 does where clipping is turned on
        and nothing else is said. For that reason the rule runs in the strict profile only. The
        clipping of WGAN's weights is another setting, and not read as this one.
    """
    clip = unit.settings["clip_value"]
    bound = clip.number
    if bound is None or bound <= 0 or not _is_written(clip):
        return
    name = optimizer_name(unit)
    if steps_with_gradient(unit):
        effect = f"Under {name} the step then no longer points down the gradient."
    elif unit.optimizer in _KEEPS_DIRECTION:
        effect = (
            f"{name} drops the gradient's length and keeps its direction: that is what changes."
        )
    elif forgets_scale(unit):
        because, _ = why_scale_cancels(unit)
        effect = f"Under {name} it counts for less, because {because}."
    else:
        effect = "Under SGD the step then points elsewhere; under Adam that counts for less."
    yield Finding(
        place_of(clip, unit),
        f"each entry of the gradient is cut at {number(bound)}, which changes its direction",
        severity=INFO,
        confidence=HIGH,
        key=clip.key,
        label="cut entry by entry",
        why=[f"Large entries shrink and small ones stay, in every layer alike. {effect}"],
        next="Measure the norm for 100 steps after the warm-up and clip by norm at its 90th "
        "percentile.",
        no_fix="a bound for entries says nothing about the norm that would do the same",
    )
