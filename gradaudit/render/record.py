"""The panel of a record: after `probe`, and below the findings of `check --record`."""

from __future__ import annotations

import itertools
from math import log

from gradaudit.evidence.statistics import quantile
from gradaudit.plan.measured import section_name
from gradaudit.render.layout import PROSE, clean, display_width, fit, piece, wrap
from gradaudit.render.recorded import TOP, figures_of, files_text, lacking_text, older_text
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.evidence.record import Record
    from gradaudit.plan.measured import Measured
    from gradaudit.render.layout import Line
    from gradaudit.render.recorded import Figures

TOP_OF_SEVERAL = 3
"""Layers of each optimizer where a record has several."""

MOST_OPTIMIZERS = 4
"""That are described one by one: some programs make a new one for each task or epoch."""

BLOCKS = "▁▂▃▄▅▆▇█"
_MARGIN = 12
_STOPPED = {
    "steps": "stopped after the steps that were asked for",
    "interrupted": "interrupted",
    "cut_off": "ended at once, without the steps of the last half second",
    "non_finite": "the loss or a gradient was not finite",
    "script_ended": "the program ended by itself",
    "loader_ended": "the loader ended, and cannot begin anew",
    "error": "the program failed",
    "": "the record has no end: the process was killed",
}


def record_lines(result: FileResult, width: int) -> list[Line]:
    """What the record of a file shows, and what it made of the file's findings."""
    measured = [one for unit in result.units for one in unit.measured]
    if not measured:
        return []
    measured.sort(key=lambda one: one.optimizer.index)
    lines = panel_lines(measured, width, several_units=len(result.units) > 1)
    for finding, reason in result.withdrawn:
        text = f"{finding.rule.code} {finding.rule.name}: {reason}"
        lines += _row("withdrawn", text, width, "ok")
    return [*lines, []]


def panel_lines(measured: list[Measured], width: int, several_units: bool = False) -> list[Line]:
    """The panel of a record. At least one optimizer is given. several_units: whether each says
    which unit of the config it trains."""
    record = measured[0].record
    lines = _heading(record, width)
    for one in measured[:MOST_OPTIMIZERS]:
        if several_units and one.comparable and one.unit.name != section_name(one.optimizer):
            lines += _row("unit", one.unit.name, width)
        lines += _optimizer_lines(one, width)
    more = [one.optimizer.class_name or "an optimizer" for one in measured[MOST_OPTIMIZERS:]]
    if more:
        kinds = ", ".join(f"{more.count(kind)} of {kind}" for kind in dict.fromkeys(more))
        lines += _row("more", f"{kinds}, judged as these are", width)
    if measured[0].older:
        lines += _row("config", older_text(measured[0]), width, "warning")
    for text in files_text(measured[0]):
        lines += _row("files", text, width)
    for text in [text for _, text in record.notes] + record.remarks:
        lines += _row("note", text, width, "warning")
    return lines


def _heading(record: Record, width: int) -> list[Line]:
    parts = [record.program, f"torch {record.torch}" if record.torch else "", record.device]
    if record.world_size > 1:
        parts.append(f"{len(record.ranks)} of {record.world_size} ranks")
    kind = "Dry run" if record.source == "dryrun" else "Recorded"
    about = ", ".join(part for part in parts if part)
    lines: list[Line] = [[piece(f"{kind} ", "heading"), piece(clean(record.directory), "path")]]
    lines += _row("", clean(about), width, "dim") if about else []
    if record.why_stopped != "steps":
        why = _STOPPED.get(record.why_stopped, record.why_stopped)
        if record.non_finite is not None:
            step, what = record.non_finite
            why = f"before step {step}, at which {what}"
        asked = f", {record.steps_asked} steps were asked for" if record.steps_asked else ""
        lines += _row("stopped", f"{why}{asked}", width)
    elif _together(record):
        text = f"enough steps of all optimizers together, none has {record.steps_asked} of its own"
        lines += _row("stopped", text, width)
    return lines


def _together(record: Record) -> bool:
    """Whether the run was ended though no optimizer has the steps asked for: each fold of a cross
    validation has a new one. One in a CUDA graph has steps that are not seen."""
    most = max((len(optimizer.steps) for optimizer in record.optimizers), default=0)
    several = len(record.optimizers) > 1 and "cuda_graph" not in record.topics
    return several and record.source == "probe" and 0 < most < (record.steps_asked or 0)


def _optimizer_lines(measured: Measured, width: int) -> list[Line]:
    figures = figures_of(measured)
    lines = _row("steps", _steps_text(measured, figures), width)
    lines += _norm_lines(figures, width)
    lines += _row("clip", _clip_text(figures), width)
    lines += _row("rate", _rate_text(figures), width)
    batch = []
    if figures.backward_calls is not None:
        calls = figures.backward_calls
        batch.append(f"backward called {'once' if calls == 1 else f'{calls} times'} a step")
    if figures.batch_norm:
        batch.append(f"BatchNorm: {figures.batch_norm}")
    if batch:
        lines += _row("batch", "; ".join(batch), width)
    if figures.precision:
        scale = f", loss scale {number(figures.loss_scale)}" if figures.loss_scale else ""
        lines += _row("precision", figures.precision + scale, width)
    several = len(measured.record.optimizers) > 1
    lines += _layer_lines(figures, width, TOP_OF_SEVERAL if several else TOP)
    for position, text in enumerate(lacking_text(measured)):
        lines += _row("" if position else "too few", text, width, "warning")
    return lines


def _steps_text(measured: Measured, figures: Figures) -> str:
    several = len(measured.record.optimizers) > 1
    which = f"optimizer {measured.optimizer.index}, " if several else ""
    span = f"{which}steps {figures.first} to {figures.last}"
    text = f"{figures.steps} of {figures.optimizer} ({span})"
    if figures.skipped:
        text += f", {figures.skipped} skipped by the scaler"
    if not figures.warmup_over:
        more = figures.warmup_more
        left = f": {more} more to its end" if more else ", whose end is not known"
        return f"{text}, all inside the warm-up{left}; no norm is judged"
    if figures.warmup:
        text += f", {figures.warmup} of them warm-up"
    count = len(figures.norms)
    return f"{text}, {count} norm{'s' if count != 1 else ''} to judge by"


def _norm_lines(figures: Figures, width: int) -> list[Line]:
    """Quantiles and a sparkline on a logarithmic scale; in dim what is inside the warm-up."""
    if not figures.all_norms:
        return _row("norm", "not known as it is before the clip, in true units", width)
    norms = figures.norms or figures.all_norms
    named = "  ".join(f"{name} {number(value)}" for name, value, _ in figures.quantiles)
    largest = f"max {number(max(norms))}"
    text = f"{named}  {largest}" if named else f"{largest}, all inside the warm-up"
    room = min(width, PROSE) - _MARGIN
    beside = room - display_width(text) - 3
    cells = min(len(figures.all_norms), 60, beside if beside >= 20 else room)
    drawn, inside = sparkline(figures.all_norms, cells, figures.warmup)
    curve: Line = [piece(drawn[:inside], "dim"), piece(drawn[inside:], "related")]
    label: Line = [piece("  norm".ljust(_MARGIN), "word"), piece(text)]
    if beside >= 20:
        return [[*label, piece("   "), *curve]]
    return [label, [piece(" " * _MARGIN), *curve]]


def sparkline(values: list[float], cells: int, mark: int = 0) -> tuple[str, int]:
    """The largest value of each cell as a block, on a logarithmic scale; and the cell of `mark`."""
    cells = max(min(cells, len(values)), 1)
    bounds = [round(cell * len(values) / cells) for cell in range(cells + 1)]
    tops = [max(values[a:b]) for a, b in itertools.pairwise(bounds)]
    logs = [log(max(top, 1e-30)) for top in tops]
    low, high = min(logs), max(logs)
    span = high - low
    drawn = "".join(
        BLOCKS[0] if span < 1e-9 else BLOCKS[min(int((value - low) / span * 8), 7)]
        for value in logs
    )
    return drawn, sum(bound <= mark for bound in bounds[1:])


def _clip_text(figures: Figures) -> str:
    if figures.clip_norm is None:
        if figures.clip_value is not None:
            return f"by value, at {number(figures.clip_value)}"
        return "none was called"
    at, passed = number(figures.clip_norm), figures.clip_passed
    if passed is None:
        none = "none was called"
        if figures.clip_value is not None:
            none = f"none by norm was called, but one by value, at {number(figures.clip_value)}"
        return f"at {at} in the file, {none}{_would_have(figures)}"
    differs = abs(passed - figures.clip_norm) > 0.01 * figures.clip_norm
    text = f"at {at} in the file, at {number(passed)} in the run" if differs else f"at {at}"
    if figures.clip_unlike:
        return f"{text}; {figures.clip_unlike}: at how many steps it acted is not judged"
    if figures.clip_acted is None:
        return text
    called, of = figures.clip_calls
    if called < of:
        text += f", called at {called} of {of} steps"
    acted, known, (low, high) = figures.clip_acted
    text += f": {f'{number(passed)} ' if differs else ''}acted at {acted} of {known} steps, "
    text += f"{percent(acted / known)} (95 % interval {percent(low)} to {percent(high)})"
    if figures.clip_compares:
        p90 = quantile(figures.clip_norms, 0.9)
        text += f"; it compares {figures.clip_compares}, p90 {number(p90)}"
    return text + (f"; {at} would have at {figures.clipped}" if differs else "")


def _would_have(figures: Figures) -> str:
    """How often the norm was above a threshold that nothing compared it with."""
    share, (low, high) = figures.clip_share, figures.clip_interval
    if share is None:
        return ""
    return (
        f"; the norm was above it at {figures.clipped} of {len(figures.clip_norms)} steps, "
        f"{percent(share)} (95 % interval {percent(low)} to {percent(high)})"
    )


def _rate_text(figures: Figures) -> str:
    if figures.rates is None:
        return "not known"
    low, high = figures.rates
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def _layer_lines(figures: Figures, width: int, most: int) -> list[Line]:
    """The layers with the largest shares of the squared norm, each with a bar."""
    shown = figures.layers[:most]
    if not shown:
        return []
    lines: list[Line] = []
    room = min(max(max(display_width(layer.name) for layer in shown), 8), max(width - 50, 24))
    bar = min(30, width - _MARGIN - room - 10)
    for position, layer in enumerate(shown):
        label = "  layers" if position == 0 else ""
        name = fit(clean(layer.name), room)
        filled = "█" * max(round(layer.share * bar), layer.share >= 0.005)
        lines.append(
            [
                piece(label.ljust(_MARGIN), "word"),
                piece(name + " " * (room - display_width(name) + 2)),
                piece(percent(layer.share).rjust(6) + "  "),
                piece(filled, "related"),
            ]
        )
    if len(figures.layers) > most:
        rest = sum(layer.share for layer in figures.layers[most:])
        more = len(figures.layers) - most
        have = "tensors have" if more > 1 else "tensor has"
        text = f"{more} more {have} {percent(rest)} of the squared norm"
        lines.append([piece(" " * _MARGIN), piece(text, "dim")])
    return lines


def _row(label: str, text: str, width: int, style: str = "") -> list[Line]:
    """A label in the margin and its text, wrapped beside it."""
    start = f"  {label}".ljust(_MARGIN) if label else " " * _MARGIN
    first, *rest = wrap(clean(text), min(width, PROSE), start, " " * _MARGIN)
    lines: list[Line] = [[piece(start, "word"), piece(first[len(start) :], style)]]
    lines.extend([piece(" " * _MARGIN), piece(line[_MARGIN:], style)] for line in rest)
    return lines
