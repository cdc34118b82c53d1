"""The learning rate really in force at a given time."""

from __future__ import annotations

from math import ceil, cos, log, pi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit


def whole_warmup(dialect: str, steps: float) -> float:
    """A warm-up ratio in whole steps, as the framework rounds it; as it is where that is not known.

    transformers rounds up (training_args.py, `get_warmup_steps`). axolotl and kohya hand steps over
    that they have cut down with `int` (axolotl core/builders/base.py, which makes 2 of 1;
    kohya library/train_util.py, `get_scheduler_fix`).
    """
    if dialect in ("hf-trainer", "llama-factory"):
        return float(ceil(steps - 1e-9))
    if dialect in ("axolotl", "kohya"):
        whole = float(int(steps + 1e-9))
        return 2.0 if whole == 1 and dialect == "axolotl" else whole
    return steps


class RateAt:
    """The learning rate at an epoch or step inside (or at the end of) a warm-up.

    low    the rate at the start of the epoch; all through it where the scheduler steps per epoch.
    high   the rate at its end where the scheduler steps per batch. Equal to `low` for a step.
    share  `low` as a share of the peak. shape: how the warm-up rises, in a word.
    """

    __slots__ = ("high", "inside_warmup", "low", "peak", "shape")

    def __init__(
        self, low: float, high: float, peak: float, inside_warmup: bool, shape: str
    ) -> None:
        self.low = low
        self.high = high
        self.peak = peak
        self.inside_warmup = inside_warmup
        self.shape = shape

    @property
    def share(self) -> float:
        return self.low / self.peak


class Rise:
    """The way from the first rate of a warm-up to the peak.

    shape  `linear`, `logarithmic` or `half a wave`.
    start  the factor that it begins at; None where nobody says, and it is taken from 0.
    """

    __slots__ = ("shape", "start")

    def __init__(self, shape: str, start: float | None) -> None:
        self.shape = shape
        self.start = start

    def factor(self, done: float, duration: float) -> float:
        """The share of the peak after `done` of `duration` units, from 0 to `duration`."""
        part = done / duration
        if self.shape == "logarithmic":
            part = min(log(max(done, 1.0)) / log(max(duration, 2.0)), 1.0)
        elif self.shape == "half a wave":
            part = (1 - cos(pi * part)) / 2
        start = self.start or 0.0
        return start + (1 - start) * part


def rate_at(unit: TrainingUnit, epoch: int | None = None, step: int | None = None) -> RateAt | None:
    """The learning rate at an epoch or a step, both counted from 1; None where it is not known.

    A warm-up is taken as linear from `warmup_start_factor` to 1, as torch's `LinearLR` does:
    after k of n units the factor is s + (1 - s) * k / n. Without a start factor it is taken from
    0, as in most trainers. Two frameworks are known to rise otherwise (`rise_of`). After the
    warm-up the rate follows the scheduler, which is not computed here: what is returned then is
    the peak, and `inside_warmup` is False.
    """
    peak = unit.number("learning_rate")
    warmup = unit.warmup
    if peak is None or peak <= 0 or warmup is None or (epoch is None and step is None):
        return None
    per_epoch = unit.number("steps_per_epoch")
    length = unit.length
    duration = warmup.value
    measure = warmup.unit
    if measure == "ratio":
        if length is None:
            return None
        duration, measure = duration * length.value, length.unit
        if measure == "steps":
            duration = whole_warmup(unit.composed.dialect["name"], duration)
    if epoch is not None:
        first, last = float(epoch - 1), float(epoch)
        have = "epochs"
    else:
        assert step is not None
        first = last = float(step - 1)
        have = "steps"
    if have != measure:
        if not per_epoch:
            return None
        scale = per_epoch if measure == "steps" else 1 / per_epoch
        first, last = first * scale, last * scale
    rise = rise_of(unit)
    if duration <= 0 or rise is None:
        return None
    low, high = (rise.factor(min(done, duration), duration) for done in (first, last))
    return RateAt(peak * low, peak * high, peak, first < duration, rise.shape)


def rise_of(unit: TrainingUnit) -> Rise | None:
    """How a unit's warm-up rises; None where that is not known.

    DeepSpeed's `WarmupLR` and `WarmupDecayLR` are logarithmic unless `warmup_type` says linear,
    and begin to count after the first step (deepspeed/runtime/lr_schedules.py). OpenPCDet's
    one-cycle rises by half a wave from 1 / DIV_FACTOR
    (tools/train_utils/optimization/learning_schedules_fastai.py).
    """
    start = unit.number("warmup_start_factor")
    dialect, scheduler = unit.composed.dialect["name"], unit.get("scheduler")
    name = str(scheduler.value).lower() if scheduler else ""
    if dialect == "deepspeed" and name in ("warmuplr", "warmupdecaylr"):
        from gradaudit.plan.arguments import arguments_of, number_in

        arguments = arguments_of(unit)
        peak = unit.number("learning_rate")
        start = (number_in(arguments, "warmup_min_lr") or 0.0) / peak if peak else 0.0
        if str(arguments.get("warmup_type", "log")).lower() != "linear":
            return Rise("logarithmic", start)
    elif dialect == "openpcdet" and name == "onecycle":
        from gradaudit.plan.arguments import arguments_of, number_in

        factor = number_in(arguments_of(unit), "div_factor")
        return Rise("half a wave", 1 / factor) if factor else None
    return Rise("linear", start)
