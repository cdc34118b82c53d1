"""What the config alone allows: everything constructed for real, nothing measured.

The flow on one page. torch is imported inside `simulate`.
"""

from __future__ import annotations

from math import exp

from gradaudit.audit import audit_path
from gradaudit.plan.model import ASSUMED
from gradaudit.probe.bounds import bounds_of
from gradaudit.probe.lengths import batch_of, clock_of
from gradaudit.probe.schedule_terms import plan_schedule
from gradaudit.probe.simulated import Fact, Missing, Schedule, Simulation
from gradaudit.rules.text import listed
from gradaudit.settings import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.options import Options
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.probe.lengths import Clock
    from gradaudit.probe.simulated import Batch, Group
    from gradaudit.settings import Finder


class NoUnit(ValueError):
    """The file has no such unit, or none that can be simulated. The message is for users."""


def run_simulation(
    path: str, unit: str | None, options: Options, finder: Finder
) -> list[Simulation]:
    """Audit a file and simulate one of its units, or all.

    Raises:
        OSError: it cannot be read. settings.BadSettings: its settings cannot be used.
        NoUnit: it cannot be parsed, is no training config, or has no unit of that name.
        ModuleNotFoundError: torch is not installed.
    """
    result = audit_path(path, options, finder)
    if result.tree is None:
        said = "; ".join(f"line {f.place.line}: {f.message}" for f in result.findings)
        raise NoUnit(f"{path} cannot be read: {said or 'it does not parse'}")
    if result.part_of:
        raise NoUnit(f"{path} is read together with {result.part_of}: name that one")
    if not result.units:
        raise NoUnit(f"{path} holds no training settings")
    names = tuple(found.name for found in result.units)
    if unit is not None and unit not in names:
        hint = did_you_mean(unit, names) or f"; units: {', '.join(names)}"
        raise NoUnit(f"{path} has no unit `{unit}`{hint}")
    chosen = [found for found in result.units if unit is None or found.name == unit]
    problems = tuple(result.problems)
    return [simulate(found, path)._replace(problems=problems) for found in chosen]


def simulate(unit: TrainingUnit, path: str = "") -> Simulation:
    """Construct and step what the plan of one unit describes.

    Nothing is raised for what the config says: what torch refuses and what is not known are in
    the result.

    Raises:
        ModuleNotFoundError: torch is not installed.
    """
    import torch

    from gradaudit.probe.construct import build, is_decoupled
    from gradaudit.probe.curve import step_through
    from gradaudit.probe.scaler import scaler_of

    batch = batch_of(unit)
    clock = clock_of(unit, batch)
    missing = _of_batch(unit, batch)
    built = build(unit)
    groups = built.groups
    planned = plan_schedule(unit, clock)
    setting = unit.get("scheduler")
    schedule = Schedule(str(setting.value) if setting and setting.value is not None else "")
    if isinstance(planned, Missing):
        missing.append(planned)
    else:
        rates = tuple(
            planned.terms.peak if group.learning_rate is None else group.learning_rate
            for group in groups
        )
        decoupled = is_decoupled(built.said.family)
        decays = tuple(group.weight_decay or 0.0 for group in groups) if decoupled else ()
        stepped = step_through(planned, clock, rates, decays)
        if isinstance(stepped, Missing):
            missing.append(stepped)
        else:
            schedule = stepped.said
            groups = _with_ends(groups, stepped.ends, stepped.decay_logs if decays else None)
            missing += _of_steps(clock, schedule)
    assumed = tuple(
        Fact(name, found.value, ASSUMED)
        for name, found in unit.settings.items()
        if found.origin == ASSUMED
    )
    return Simulation(
        path, unit.name, torch.__version__, assumed, built.said, groups, schedule, batch,
        scaler_of(unit), bounds_of(unit, _peak(schedule)), tuple(missing),
    )  # fmt: skip


def _peak(schedule: Schedule) -> float | None:
    """The highest rate, where every step was drawn."""
    curve = schedule.curve
    return curve.peak if curve is not None and not curve.nominal else None


def _with_ends(
    groups: tuple[Group, ...], ends: tuple[float, ...], logs: tuple[float, ...] | None
) -> tuple[Group, ...]:
    if not ends:
        return groups
    kept = [exp(log) for log in logs] if logs else [None] * len(groups)
    return tuple(
        group._replace(end=end, kept_by_decay=share if group.weight_decay else None)
        for group, end, share in zip(groups, ends, kept, strict=True)
    )


def _of_batch(unit: TrainingUnit, batch: Batch) -> list[Missing]:
    """What the arithmetic of batches lacks, and the settings that would complete it."""
    lacks = [
        name
        for name in ("micro_batch", "accumulation", "world_size")
        if getattr(batch, name) is None
    ]
    if batch.global_batch is None and lacks:
        named = listed(lacks)
        why = f"{named} {'is' if len(lacks) == 1 else 'are'} not known"
        return [Missing("samples per step", why, tuple(lacks))]
    return []


def _of_steps(clock: Clock, schedule: Schedule) -> list[Missing]:
    if schedule.curve is None or clock.steps is not None:
        return []
    return [Missing(
        "number of steps", "epochs are known, steps_per_epoch is not: the curve is over epochs",
        ("steps_per_epoch",),
    )]  # fmt: skip
