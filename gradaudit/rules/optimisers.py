"""What an optimiser makes of a rate, a clip and a factor on the loss: told once, here.

The rules and the report both speak from these functions, so that they cannot contradict each other.
"""

from __future__ import annotations

from gradaudit.plan.model import ADAPTIVE, DECOUPLED, LEARNING_RATE_FREE, SIGN
from gradaudit.rules.text import listed, number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradaudit.plan.model import TrainingUnit

_SCALE_FREE = ADAPTIVE | SIGN | LEARNING_RATE_FREE | {"lars", "muon"}
_L2 = frozenset((
    "adam", "adamax", "nadam", "radam", "amsgrad", "rmsprop", "adagrad", "adadelta", "lars",
    "dadaptadam", "dadaptsgd",
))  # fmt: skip
"""Weight decay is added to the gradient, at least by default."""

_EPS_IS_SQUARED = frozenset(("adafactor", "adadelta"))
_NO_EPS = frozenset(("dadaptsgd", "dadaptlion"))

LENIENT = frozenset(("adagrad", "novograd", "rmsprop"))
"""Published at 0.02 to 0.1: Adagrad's steps shrink, NovoGrad normalises whole layers, and RMSprop
is used with a large `eps`."""

PER_WEIGHT = frozenset((
    "adam", "adamw", "nadam", "nadamw", "radam", "amsgrad", "adabelief", "adam_mini",
))  # fmt: skip
"""Adam and its nearest kin: a weight moves by about the learning rate a step, and the rate is in
Adam's units. Not Schedule-Free, GaLore and Adan, whose rates are higher by a factor of their own.
"""

RELATIVE = frozenset(("lamb", "adafactor"))
"""The rate multiplies each layer's own size. Adafactor does so by default (`scale_parameter`)."""

_USUAL_EPS = {"adagrad": 1e-10, "adafactor": 1e-30, "adadelta": 1e-6, "lamb": 1e-6}
"""Defaults; 1e-8 for all others."""


def forgets_scale(unit: TrainingUnit) -> bool:
    """Whether a constant factor on every gradient cancels in the step, as in Adam and Lion."""
    return cancels_scale(unit.optimizer)


def cancels_scale(family: str | None) -> bool:
    """The same of a family, for who knows it from elsewhere than the config."""
    return family in _SCALE_FREE


def steps_with_gradient(unit: TrainingUnit) -> bool:
    """Whether the step is as long as the gradient: SGD, but not LARS, which normalises it."""
    return unit.is_sgd and not forgets_scale(unit)


def decays_in_gradient(unit: TrainingUnit) -> bool:
    """Whether weight decay may be L2 in the gradient, so that its factor cancels only in part."""
    return unit.optimizer in _L2 and bool(unit.number("weight_decay"))


def divides_by_eps(unit: TrainingUnit) -> bool:
    """Whether the step is a gradient over its running size + `eps`."""
    return unit.is_adaptive or (
        unit.optimizer in LEARNING_RATE_FREE and unit.optimizer not in _NO_EPS
    )


def eps_of(unit: TrainingUnit) -> tuple[float, str]:
    """What the gradient's running size is compared with, and where that number is from."""
    written = unit.number("eps")
    family = unit.optimizer or ""
    eps = _USUAL_EPS.get(family, 1e-8) if written is None else written
    known = "the usual one" if written is None else "from the file"
    if family in _EPS_IS_SQUARED and eps > 0:
        return eps**0.5, f"{known}, its square root"
    return eps, known


def why_scale_cancels(unit: TrainingUnit) -> tuple[str, str]:
    """Why a constant factor cancels, and what a spike still weighs in ('' where in nothing)."""
    family = unit.optimizer
    if family == "signsgd":
        return "the step is the gradient's sign", ""
    if family in SIGN or family == "dadaptlion":
        return "the step is the sign of an average of gradients", "that average"
    if family == "lars":
        return "each layer's gradient is divided by its own norm", ""
    if family == "muon":
        return "the momentum of each matrix is orthogonalised", "that momentum"
    if family == "dadaptsgd":
        return "the step is divided by the size of the first gradient", "its momentum"
    return "the gradient is divided by its own running size", "that size"


def which_is_unknown(unit: TrainingUnit) -> str:
    return f"`{unit.optimizer}` is not known here" if unit.optimizer else "the file names none"


def effect_of_clip(unit: TrainingUnit, threshold: float) -> str:
    """What a clip by norm does to the steps, in one or two sentences."""
    name = optimizer_name(unit)
    if forgets_scale(unit):
        because, memory = why_scale_cancels(unit)
        decay = (
            " (but for weight decay, where that is added to the gradient)"
            if decays_in_gradient(unit)
            else ""
        )
        rare = (
            f"clipping only rare spikes limits how much they weigh in {memory}"
            if memory
            else "clipping a single spike cancels too"
        )
        return (
            f"Under {name} a scale that is the same at every step cancels{decay}, because "
            f"{because}: as long as every step is clipped, the threshold hardly matters; {rare}."
        )
    if steps_with_gradient(unit):
        rate = unit.number("learning_rate")
        bound = f"{number(rate * threshold)} at the peak rate, " if rate else ""
        return (
            f"Under {name} a clipped step is at most learning rate x {number(threshold)} long "
            f"({bound}before momentum and weight decay), however large the gradient."
        )
    return (
        f"What a clip does depends on the optimiser ({which_is_unknown(unit)}): under SGD it "
        "shortens the step, under Adam a scale that is the same at every step cancels."
    )


def rate_is_factor(unit: TrainingUnit) -> bool:
    """Whether `learning_rate` is multiplied later: Noam's 2.0 or 5.0 is a factor, not a rate."""
    scheduler = unit.get("scheduler")
    return bool(
        scheduler and isinstance(scheduler.value, str) and "noam" in scheduler.value.lower()
    )


_EPS_OF_SCENES = 1e-15
"""Adam's eps where a scene is fitted and no network trained: hash grids, Gaussian splats. Their
rates are in the units of the scene, up to 0.05 for opacities (instant-ngp, Gaussian splatting).
"""


def rate_bounds(unit: TrainingUnit, limits: Mapping[str, float]) -> tuple[float, float] | None:
    """The rates above which GA201 warns and above which it is an error (infinite where never).

    None where a rate is not judged. `limits` are those of GA201.
    """
    family = unit.optimizer
    never = float("inf")
    if rate_is_factor(unit):
        return None
    batch = unit.number("global_batch") or unit.number("micro_batch") or 0
    large = batch >= limits["large_batch"]
    if family in LEARNING_RATE_FREE or family == "adadelta":
        return limits["free_warning"], never
    if family in SIGN:
        return limits["sign_warning"], never
    if family in RELATIVE:
        return limits["relative_warning"], never
    if family in LENIENT:
        return None if large else (limits["adaptive_error"], never)
    if unit.is_adaptive:
        eps = unit.number("eps")
        if eps is not None and 0 < eps <= _EPS_OF_SCENES:
            return limits["adaptive_error"], never
        return limits["adaptive_warning"], limits["adaptive_error"]
    if steps_with_gradient(unit):
        return limits["sgd_error" if large else "sgd_warning"], limits["sgd_error"]
    return None


def dividing_equals(unit: TrainingUnit, count: int) -> str:
    """What dividing the sum of `count` loss terms by their number amounts to."""
    clip = unit.number("clip_norm")
    times_clip = f"a clip norm x {count}"
    if clip and clip > 0:
        times_clip += f" (clip norm {number(clip)} x {count} = {number(clip * count)})"
    changed = [times_clip]
    if steps_with_gradient(unit):
        rate = unit.number("learning_rate")
        lower = f" ({number(rate)} / {count} = {number(rate / count)})" if rate else ""
        changed.insert(0, f"a learning rate / {count}{lower}")
    elif not forgets_scale(unit):
        return (
            f"under Adam it equals {times_clip} and an eps x {count}, under SGD a learning rate "
            f"/ {count} and a clip norm x {count}"
        )
    if divides_by_eps(unit):
        factor = count * count if unit.optimizer in _EPS_IS_SQUARED else count
        changed.append(f"an eps x {factor}")
    coupled = unit.optimizer in _L2 or steps_with_gradient(unit)
    decay = unit.number("weight_decay")
    if coupled and unit.optimizer not in DECOUPLED and decay != 0:
        changed.append(f"{'any' if decay is None else 'a'} weight decay x {count}")
    return f"under {optimizer_name(unit)} it equals {listed(changed)}"
