"""How long a schedule runs, beside how long its training does. Told once, here."""

from __future__ import annotations

from gradaudit.findings import HIGH, MEDIUM
from gradaudit.plan.model import WRITTEN, Duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit

HAS_NO_END = (
    "restart", "cycl", "wsd", "constant", "inverse", "exponential", "noam", "plateau",
    "warmup_stable",
)  # fmt: skip
"""Words in the names of schedules that begin again, go on for ever, or decay at the very end."""

TIMES_EPOCHS = 4
"""Calls up to so many times the epochs are taken for epochs: so few steps make no epoch."""

SHARE_OF_STEPS = 0.2
"""Calls from this share of the steps on are taken for steps; fewer may be epochs."""


def scheduler_name(unit: TrainingUnit) -> str:
    """The schedule's name in lower case; empty where it is not known."""
    scheduler = unit.get("scheduler")
    return scheduler.value.lower() if scheduler and isinstance(scheduler.value, str) else ""


def is_endless(unit: TrainingUnit) -> bool:
    name = scheduler_name(unit)
    return any(word in name for word in HAS_NO_END)


def call_unit(unit: TrainingUnit) -> str:
    """`steps` or `epochs` where it is known what one call of the scheduler follows."""
    setting = unit.get("scheduler_interval")
    said = str(setting.value).lower() if setting else ""
    return {"step": "steps", "epoch": "epochs"}.get(said, "")


def horizon_of(unit: TrainingUnit) -> tuple[Duration, str] | None:
    """How long the schedule runs, and how sure its unit is."""
    for name, measure in (("decay_steps", "steps"), ("decay_epochs", "epochs")):
        setting = unit.get(name)
        if setting and setting.number and setting.number > 0:
            return Duration(setting.number, measure, setting), HIGH
    setting = unit.get("decay_calls")
    if setting is None or not setting.number or setting.number <= 0:
        return None
    interval = call_unit(unit)
    if interval:
        sure = unit.settings["scheduler_interval"].origin == WRITTEN
        return Duration(setting.number, interval, setting), HIGH if sure else MEDIUM
    measure = _likely_unit(unit, setting.number)
    return (Duration(setting.number, measure, setting), MEDIUM) if measure else None


def _likely_unit(unit: TrainingUnit, calls: float) -> str:
    """What a number of calls counts, where no other unit makes sense of it."""
    epochs, steps = unit.number("epochs"), unit.number("total_steps")
    per_epoch = unit.number("steps_per_epoch")
    if epochs and per_epoch and not steps:
        steps = epochs * per_epoch
    if steps and steps > 0 and calls >= SHARE_OF_STEPS * steps:
        return "" if epochs and calls <= TIMES_EPOCHS * epochs else "steps"
    return "epochs" if epochs and calls <= TIMES_EPOCHS * epochs else ""


def in_lengths(unit: TrainingUnit, horizon: Duration) -> tuple[float, Duration, bool] | None:
    """The schedule as a multiple of the training, what ends the training, and whether nothing
    that cannot be compared may end it before."""
    per_epoch = max(0.0, unit.number("steps_per_epoch") or 0.0)
    found: list[tuple[float, Duration]] = []
    complete = True
    for name, measure in (("total_steps", "steps"), ("epochs", "epochs")):
        setting = unit.get(name)
        if setting is None:
            complete = complete and name not in unit.unknown
            continue
        if not setting.number or setting.number <= 0:
            continue
        length = Duration(setting.number, measure, setting)
        share = horizon.share_of(length, per_epoch)
        if share is None:
            complete = False
        else:
            found.append((share, length))
    if not found:
        return None
    share, length = max(found, key=lambda pair: pair[0])
    return share, length, complete


def miscounted(unit: TrainingUnit) -> tuple[str, Duration] | None:
    """The unit in which the scheduler is called, and the length that its number is: the
    training's in the other unit."""
    calls, interval = unit.get("decay_calls"), call_unit(unit)
    if calls is None or not calls.number or not interval or unit.number("steps_per_epoch") == 1:
        return None
    epochs, steps = unit.get("epochs"), unit.get("total_steps")
    same, other = (steps, epochs) if interval == "steps" else (epochs, steps)
    if other is None or other.number != calls.number:
        return None
    if same is not None and same.number == calls.number:
        return None
    return interval, Duration(calls.number, "epochs" if other is epochs else "steps", other)
