"""The screen and the JSON of a simulation: first of all, that nothing in it was measured."""

from __future__ import annotations

from math import isfinite

from gradaudit.render.layout import PROSE, clean, display_width, fit, piece, wrap
from gradaudit.render.plot import plot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.probe.simulated import Curve, Missing, Simulation
    from gradaudit.render.layout import Line

    Row = tuple[str, str, str]

SAID = "simulated from the config alone: no gradient was computed"
"""The first line of the screen, and `note` in the JSON."""

CURVE_WIDEST = 100
"""Columns of the curve at most: wider it only gets flatter."""


def simulation_lines(simulations: list[Simulation], width: int) -> list[Line]:
    """One block a unit: a table, the curve, and what could not be simulated."""
    lines: list[Line] = [[piece(SAID, "info")]]
    for simulation in simulations:
        lines.append([])
        lines.extend(_unit(simulation, width))
    return lines


def _unit(simulation: Simulation, width: int) -> list[Line]:
    lines: list[Line] = [[piece(clean(simulation.path), "path")]] if simulation.path else []
    lines.append(
        [
            piece(f"  {clean(simulation.unit)}", "heading"),
            piece(f"  torch {simulation.torch}", "dim"),
        ]
    )
    if simulation.assumed:
        said = ", ".join(f"{fact.name} {_value(fact.value)}" for fact in simulation.assumed)
        lines.extend(_wrapped(f"assumed: {said}", width, "  ", "    "))
    sections = (
        ("optimizer", _optimizer(simulation)), ("parameter groups", _groups(simulation)),
        ("memory", _memory(simulation)), ("batch", _batch(simulation)),
        ("learning rate", _schedule(simulation)),
    )  # fmt: skip
    for title, rows in sections:
        lines.extend(_section(title, rows, width))
    curve = simulation.schedule.curve
    if curve is not None:
        lines.append([])
        lines.extend(_plot(curve, width, simulation.schedule.follows == "epochs"))
    for title, rows in (("loss scale", _scaler(simulation)), ("one step", _bounds(simulation))):
        lines.extend(_section(title, rows, width))
    if simulation.missing:
        lines += [[], [piece("  not simulated", "heading")]]
        for missing in simulation.missing:
            lines.extend(_wrapped(_lacks(missing), width, "  ", "    ", ""))
    return lines


def _section(title: str, rows: list[Row], width: int) -> list[Line]:
    """A heading and its rows: name, value, and more about it."""
    if not rows:
        return []
    lines: list[Line] = [[], [piece(f"  {title}", "heading")]]
    left = max(display_width(name) for name, _, _ in rows)
    for name, value, about in rows:
        head = f"    {name}{' ' * (left - display_width(name))}  "
        if not value:
            lines.extend(_wrapped(about, width, head, " " * len(head)))
            continue
        value = fit(clean(value), width - display_width(head))
        indent, room = " " * (left + 6), min(width, PROSE + len(head))
        first, *rest = wrap(clean(about), room, head + value + "  ", indent)
        if about and display_width(first) > width:  # not one word fits beside it
            first, rest = head + value, wrap(clean(about), room, indent)
        more = first[len(head + value) :]
        lines.append([piece(head), piece(value, "bold"), piece(more, "dim")])
        lines.extend([piece(line, "dim")] for line in rest)
    return lines


def _wrapped(text: str, width: int, first: str, rest: str, style: str = "dim") -> list[Line]:
    room = min(width, PROSE + len(rest))
    return [[piece(line, style)] for line in wrap(clean(text), room, first, rest)]


def _optimizer(simulation: Simulation) -> list[Row]:
    found = simulation.optimizer
    if found.reason:
        return [("not constructed", "", found.reason)]
    rows: list[Row] = []
    if found.refused:
        rows.append(("refused", found.built, f"it says: {found.refused}"))
    else:
        rows.append(("constructed", found.built, ""))
    rows += [(fact.name, _value(fact.value), fact.origin) for fact in found.takes]
    rows += [("note", "", note) for note in found.notes]
    return rows


def _groups(simulation: Simulation) -> list[Row]:
    rows: list[Row] = []
    for group in simulation.groups:
        about = []
        if group.learning_rate is not None:
            about.append(f"learning rate {_number(group.learning_rate)}")
        if group.end is not None:
            about.append(f"at the end {_number(group.end)}")
        if group.weight_decay is not None:
            about.append(f"weight decay {_number(group.weight_decay)}")
        if group.kept_by_decay is not None:
            about.append(
                f"decay alone leaves {_percent(group.kept_by_decay)} of a weight whose gradient "
                "is always 0"
            )
        if about:
            rows.append((group.name, "", "; ".join(about)))
    return rows


def _memory(simulation: Simulation) -> list[Row]:
    memory = simulation.optimizer.memory
    if memory is None:
        return []
    state = " + ".join(f"{name} {size}" for name, size in memory.state.items())
    total = memory.weight + memory.gradient + memory.state_bytes
    about = f"state {state}" if state else "no state of a weight's size"
    return [(
        "a parameter", f"{total} bytes",
        (f"weight {memory.weight} + gradient {memory.gradient} + {about} ({memory.dtype}); before "
        "any sharding, copies of mixed precision and activations"),
    )]  # fmt: skip


def _batch(simulation: Simulation) -> list[Row]:
    batch = simulation.batch
    parts = (
        ("micro_batch", batch.micro_batch), ("accumulation", batch.accumulation),
        ("world_size", batch.world_size),
    )  # fmt: skip
    rows: list[Row] = []
    if any(value is not None for _, value in parts) or batch.global_batch is not None:
        product = " x ".join(_count(value) if value else f"{name} ?" for name, value in parts)
        whole = _count(batch.global_batch) if batch.global_batch else "?"
        rows.append(("global batch", whole, f"{product} (micro_batch x accumulation x world_size)"))
    if batch.steps is not None:
        about = []
        if batch.epochs is not None and batch.steps_per_epoch is not None:
            about.append(f"{batch.epochs:.4g} epochs of {_count(batch.steps_per_epoch)}")
        if batch.samples is not None:
            about.append(f"{_count(batch.samples)} samples")
        if batch.backward_calls is not None:
            about.append(f"{_count(batch.backward_calls)} backward passes a device")
        rows.append(("optimizer steps", _count(batch.steps), ", ".join(about)))
    elif batch.epochs is not None:
        rows.append(("epochs", _count(batch.epochs), ""))
    rows += [("note", "", note) for note in batch.notes]
    return rows


def _schedule(simulation: Simulation) -> list[Row]:
    schedule = simulation.schedule
    rows: list[Row] = []
    if not schedule.built:
        return rows
    how = {
        "torch": "torch's own",
        "framework": f"by the formula of {schedule.formula}",
        "convention": "by convention",
    }[schedule.basis]
    # of a class path the last part: the whole is in the file, and as wide as a screen
    name = schedule.name.rpartition(".")[2] or schedule.name
    rows.append(("scheduler", name, (f"{schedule.built}, {how}; a call after each "
                 f"{schedule.follows[:-1]}")))  # fmt: skip
    if schedule.takes:
        said = ", ".join(f"{fact.name} {_value(fact.value)}" for fact in schedule.takes)
        rows.append(("arguments", "", said))
    if schedule.refused:
        rows.append(("refused", "", f"it says: {schedule.refused}"))
    curve = schedule.curve
    if curve is not None:
        unit = curve.axis[:-1]
        share = f"{_percent(curve.peak_share)} of the training is before it"
        at = f"step {_count(curve.peak_at)}" if unit == "step" else f"after {curve.peak_at:.4g} ep."
        rows.append(("peak", _number(curve.peak), f"first at {at}; {share}"
                     if unit == "step" else f"first {at}; {share}"))  # fmt: skip
        written = simulation.groups[0].learning_rate
        if written is not None and curve.peak < written * (1 - 1e-9):
            rows.append(("not reached", _number(written), "the learning rate that the plan has"))
        rows.append(("first, last", f"{_number(curve.start)}, {_number(curve.end)}", ""))
        about = f"sum over all steps {_number(curve.area)}" if curve.area is not None else ""
        rows.append(("mean", f"{_percent(curve.mean_share)} of the peak", about))
        if curve.zeros and curve.axis == "steps":
            plural = "step changes" if curve.zeros == 1 else "steps change"
            rows.append(("rate of 0", f"{_count(curve.zeros)}", f"{plural} no weight"))
        if curve.nominal:
            said = (
                f"drawn with {curve.nominal} steps an epoch, because the real number is not known"
            )
            rows.append(("note", "", f"{said}: the shape is right, one step's place is not"))
    rows += [("note", "", note) for note in schedule.notes]
    return rows


def _plot(curve: Curve, width: int, held: bool) -> list[Line]:
    label = _number(curve.peak)
    first = 1.0 if curve.axis == "steps" else 0.0
    columns = min(width - len(label) - 8, CURVE_WIDEST)
    drawn = plot(curve.points, first, max(curve.length, first + 1), curve.peak, columns, held)
    blank = " " * len(label)
    lines: list[Line] = []
    for index, row in enumerate(drawn):
        left = label if index == 0 else blank
        if index == len(drawn) - 1:
            left = "0".rjust(len(label))
        lines.append([piece(f"    {left} │", "dim"), piece(row, "word")])
    lines.append([piece(f"    {blank} └{'─' * columns}", "dim")])
    ends = (f"{curve.axis[:-1]} {first:g}", f"{curve.length:,.6g}")
    middle = f"{(first + curve.length) / 2:,.6g}" if curve.axis == "epochs" else (
        f"{round((first + curve.length) / 2):,}"
    )  # fmt: skip
    gap = columns - len(ends[0]) - len(ends[1])
    before = max(columns // 2 - len(ends[0]) - len(middle) // 2, 1)
    after = max(gap - before - len(middle), 1)
    axis = f"{ends[0]}{' ' * before}{middle}{' ' * after}{ends[1]}"
    lines.append([piece(f"    {blank}  {axis}", "dim")])
    return lines


def _scaler(simulation: Simulation) -> list[Row]:
    scaler = simulation.scaler
    if scaler is None:
        return []
    rows: list[Row] = [(
        "scaler", f"{scaler.initial:g}",
        (f"at first; halved after an overflow, doubled after {scaler.growth_interval:,} steps "
        "without one"),
    )]  # fmt: skip
    for found in scaler.tries:
        skipped = f"{found.skipped} step{'' if found.skipped == 1 else 's'} skipped"
        rows.append((f"largest {found.largest:g}", skipped, f"then the scale is {found.settles:g}"))
    later = f"at the limit one step in {scaler.again:,} is skipped, trying the doubled scale"
    rows.append(("later", "", f"{later}; sizes are of the largest gradient element"))
    rows += [("note", "", note) for note in scaler.notes]
    return rows


def _bounds(simulation: Simulation) -> list[Row]:
    return [
        (bound.unit, _number(bound.value) if bound.value is not None else "", bound.what)
        for bound in simulation.bounds
    ]


def _lacks(missing: Missing) -> str:
    text = f"{missing.what}: {missing.why}"
    if not missing.assume:
        return text
    options = [f"`--assume {name}=...`" for name in missing.assume]
    said = " or ".join(options) if missing.what != "samples per step" else " ".join(options)
    return f"{text}. Say it with {said}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _count(value: float) -> str:
    return f"{value:,.6g}" if value != int(value) else f"{int(value):,}"


def _percent(share: float) -> str:
    if 0.99 < share < 1:
        return f"{100 * share:.6g} %"
    return f"{100 * share:.3g} %"


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        shown = [_value(part) for part in value[:6]]
        return "[" + ", ".join(shown) + (", ..." if len(value) > 6 else "") + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_json(simulation: Simulation) -> dict[str, Any]:
    """A simulation as plain data for `json`: spelt-out names, null for what is not known."""
    found: dict[str, Any] = _plain(simulation)
    memory = found["optimizer"]["memory"]
    if memory is not None and simulation.optimizer.memory is not None:
        memory["state_bytes"] = simulation.optimizer.memory.state_bytes
    curve = found["schedule"]["curve"]
    if curve is not None:
        curve["points"] = [list(point) for point in curve["points"]]
    return {"note": SAID, **found}


def _plain(value: object) -> Any:
    fields = getattr(value, "_fields", None)
    if fields is not None:
        return {name: _plain(getattr(value, name)) for name in fields}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
