"""GA5: the scale that keeps small gradients of fp16 from becoming 0."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, MEDIUM, RECOMMENDED, WARNING, Finding, Fix, Related
from gradaudit.rules import load, rule
from gradaudit.rules.repair import change, place_of, switch
from gradaudit.rules.text import number
from gradaudit.syntax.scalars import to_number
from gradaudit.syntax.tree import Mapping, Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

MIXED = (
    "https://arxiv.org/abs/1710.03740 (Micikevicius et al. 2018, Mixed Precision Training: loss "
    "scaling keeps small gradients)"
)
AMP = "https://docs.pytorch.org/docs/stable/amp.html (gradient scaling)"

_HALF = ("fp16-mixed", "fp16")


@rule(
    "GA501",
    "fp16-without-loss-scaling",
    scope="unit",
    needs=("precision", "grad_scaler"),
    severities=(WARNING,),
    confidence=HIGH,
    references=(MIXED, AMP),
)
def fp16_without_loss_scaling(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Gradients are computed in fp16 and the loss is not scaled.

    Why:
        The smallest number that fp16 can hold is 6e-8. Gradients below it become exactly 0 in the
        backward pass, before any optimiser sees them, so that Adam cannot rescale them either.
        Scaling the loss lifts them into range; bf16 has the range of fp32 and needs no scaling.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: fp16
        use_grad_scaler: false

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: fp16
        use_grad_scaler: true

    Tell:
        Count the zeros in the gradients of one step, in fp16 and in fp32: many more in fp16 is
        underflow.

    Symptoms:
        works in fp32, not in fp16
        gradient norm is tiny
        loss is flat

    Fix:
        Recommended: turn the scaler on (Micikevicius et al. 2018). None where the weights too are
        in fp16 (Lightning's `16-true`): torch's scaler refuses gradients of fp16 weights, and
        `16-mixed` and `bf16-true` differ in memory.

    False positives:
        Trainers that add the scaler themselves have no key for it, and its absence is never
        reported. A loss that is multiplied by hand keeps small gradients too.
    """
    precision, scaler = unit.settings["precision"], unit.settings["grad_scaler"]
    if precision.value not in _HALF or scaler.value is not False:
        return
    edit = switch(scaler, True) if precision.value == "fp16-mixed" else None
    whole = scaler.key == precision.key
    yield Finding(
        place_of(scaler, unit),
        "fp16 training without loss scaling: small gradients become 0",
        severity=WARNING,
        confidence=HIGH,
        key=scaler.key,
        label="no gradient scaler" if whole else "the scaler is off",
        related=() if whole else [Related(place_of(precision, unit), "in fp16")],
        why=[
            (
                "fp16 holds nothing below 6e-8: smaller gradients are 0 before the optimiser sees "
                "them, and Adam cannot bring them back."
            )
        ],
        next="Use bf16 where the GPU has it, or loss scaling with fp32 weights.",
        fix=Fix(RECOMMENDED, f"turn `{scaler.last_key}` on", [edit]) if edit else None,
        no_fix="" if edit else "what could take its place differs in memory and hardware",
    )


@rule(
    "GA503",
    "loss-scale-out-of-range",
    scope="unit",
    needs=("precision", ("loss_scale", "loss_scale_power", "loss_scale_window")),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"static": 2**24, "power": 32, "window": 10},
    references=(
        MIXED,
        "https://docs.pytorch.org/docs/stable/amp.html (GradScaler: 65536, growth every 2000)",
        "https://www.deepspeed.ai/docs/config-json/#fp16-training-options",
    ),
)
def loss_scale_out_of_range(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The loss scale of an fp16 training overflows, or is raised so often that it does.

    Why:
        fp16 ends at 65504. A static scale far above it makes gradients overflow, and each such
        step is skipped, or spoils the weights where nothing checks it. A dynamic scale is doubled
        after each window of good steps until a step overflows and is skipped: a window of a few
        steps throws away a share of the training. A dynamic scale that begins too high is halved
        by a skipped step each time, while the schedule may go on.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: fp16
        loss_scale_window: 2

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: fp16
        loss_scale_window: 1000

    Tell:
        Look for skipped steps in the log (`overflow`, `Attempted loss scale`): more than one in
        a few hundred after the start is too many.

    Symptoms:
        works in fp32, not in fp16
        slow or wasted training

    Fix:
        Recommended: a window of 1000 steps, DeepSpeed's default (torch has 2000); a dynamic scale
        in place of a static one, and one that begins at 2^16, as torch and DeepSpeed do. None for a
        static scale where it is not known how a dynamic one is written.

    Limits:
        static: a static scale above this.
        power: a dynamic scale that begins above 2 to this power.
        window: a window of fewer steps than this.

    False positives:
        A loss that is tiny by design stands a large static scale. Megatron and old versions of
        DeepSpeed begin at 2^32: not reported.
    """
    if unit.settings["precision"].value not in _HALF:
        return
    yield from _static_scale(unit, limits)
    yield from _first_scale(unit, limits["power"])
    yield from _window(unit, limits["window"])


_ZERO_IS_DYNAMIC = ("deepspeed", "gpt-neox")
"""Dialects whose `fp16.loss_scale` DeepSpeed reads: to it 0 is a dynamic scale."""


def _numbers_beside(setting: Setting) -> dict[str, float]:
    """The numbers of the section that a setting stands in: a static scale leaves them unread."""
    section = setting.node.parent if setting.node is not None else None
    found = {}
    for key, value in section.pairs if type(section) is Mapping else ():
        read = to_number(value.value) if type(value) is Scalar else None
        if type(key) is Scalar and read is not None:
            found[key.value] = read
    return found


def _made_dynamic(unit: TrainingUnit, scale: Setting, limits: Limits) -> Fix | None:
    if unit.composed.dialect["name"] not in _ZERO_IS_DYNAMIC or scale.last_key != "loss_scale":
        return None
    beside = _numbers_beside(scale)
    power, window = beside.get("initial_scale_power"), beside.get("loss_scale_window")
    usual = load()["GA805"].limits["power"]
    if (power is not None and not usual <= power <= limits["power"]) or (
        window is not None and window < limits["window"]
    ):
        return None  # what a dynamic scale begins with would be the next finding
    edit = change(scale, 0)
    return Fix(RECOMMENDED, f"set `{scale.last_key}` to 0", [edit], [_DYNAMIC]) if edit else None


_DYNAMIC = "to DeepSpeed 0 is a dynamic scale, which finds what fits"


def _static_scale(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    scale = unit.get("loss_scale")
    if scale is None or scale.number is None or scale.number <= limits["static"]:
        return
    fix = _made_dynamic(unit, scale, limits)
    yield Finding(
        place_of(scale, unit),
        f"static loss scale {number(scale.number)}: gradients overflow in fp16",
        severity=WARNING,
        confidence=MEDIUM,
        key=scale.key,
        label="fp16 ends at 65504",
        why=["A static scale is not lowered: every step that overflows is skipped or spoilt."],
        next="Use a dynamic scale.",
        fix=fix,
        no_fix="" if fix else "what fits depends on the loss; a dynamic scale finds it",
    )


def _first_scale(unit: TrainingUnit, largest: float) -> Iterator[Finding]:
    power, static = unit.get("loss_scale_power"), unit.get("loss_scale")
    if power is None or power.number is None or power.number <= largest:
        return
    if static is not None and static.number:
        return
    skipped = power.number - 16
    edit = change(power, 16)
    yield Finding(
        place_of(power, unit),
        f"the loss scale begins at 2^{number(power.number)}",
        severity=INFO,
        confidence=MEDIUM,
        key=power.key,
        label=f"about {number(skipped)} halvings from a usual scale",
        why=["Each halving costs a skipped step; the schedule may go on meanwhile."],
        next="Begin at 2^16, as torch and transformers do.",
        fix=Fix(RECOMMENDED, f"set `{power.last_key}` to 16", [edit]) if edit else None,
    )


def _window(unit: TrainingUnit, smallest: float) -> Iterator[Finding]:
    window, static = unit.get("loss_scale_window"), unit.get("loss_scale")
    if window is None or window.number is None or not 0 < window.number < smallest:
        return
    if static is not None and static.number:
        return  # a static scale has no window
    edit = change(window, 1000)
    steps = number(window.number)
    yield Finding(
        place_of(window, unit),
        f"the loss scale is doubled every {steps} step{'' if window.number == 1 else 's'}: "
        "about as often a step overflows and is skipped",
        severity=WARNING,
        confidence=MEDIUM,
        key=window.key,
        label="usual: 1000 to 2000 steps",
        why=["Once the scale is at the edge, each doubling ends in a step that is thrown away."],
        next="Count the skipped steps in the log.",
        fix=Fix(RECOMMENDED, f"set `{window.last_key}` to 1000", [edit]) if edit else None,
    )
