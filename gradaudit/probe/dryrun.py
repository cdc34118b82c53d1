"""A whole dry run: the trajectory, then what is measured at the weights where it ended.

Everything goes out as lines of the record (docs/record.md); nothing is judged here.
"""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from gradaudit.evidence import gram
from gradaudit.probe import frozen
from gradaudit.probe.batches import Stream, size_of, why_whole
from gradaudit.probe.coupling import (
    COUPLED,
    RANDOM,
    SUM,
    UNKNOWN,
    Coupling,
    batch_norms,
    couplings,
)
from gradaudit.probe.distinct import Drawn, draw, told_of_repeats
from gradaudit.probe.dry_lines import header_line, optimizer_line, to_json
from gradaudit.probe.entry import LESS_MEMORY, is_out_of_memory, said_of
from gradaudit.probe.fetch import memory_for
from gradaudit.probe.gradients import KEPT_BYTES
from gradaudit.probe.preparing import (
    modes_for,
    optimizer_for,
    precision_for,
    rates_for,
    see_to_ranks,
)
from gradaudit.probe.protocol import DryRunError
from gradaudit.probe.roles import role_of, unknown_primary
from gradaudit.probe.trajectory import Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradaudit.probe.protocol import Training
    from gradaudit.probe.recipe import Recipe

    Write = Callable[[dict[str, Any]], None]

FROZEN_BATCHES = 64
"""Micro-batches for what is measured at fixed weights: 16 large ones of 4."""

TERM_BATCHES = 24
"""Of these, those whose gradients are kept term by term."""

RATE_STEPS = 20
RATE_FACTORS = (0.5, 1.0, 2.0, 4.0)
RATE_MICRO_BATCHES = 16
"""Micro-batches a step of the rate test, at most: 1,280 passes. Beyond that it would take longer
than the steps of many a run."""

COUPLING_BATCHES = 8
NO_MEMORY = (
    "out of memory: it needs a copy of the weights and of the optimizer's state, besides what a "
    f"step does; {LESS_MEMORY}"
)


def device_of(name: str) -> torch.device:
    """Raises: DryRunError where this machine, or this build of torch, has no such device."""
    if name == "cuda" and not torch.cuda.is_available():
        built = "" if torch.version.cuda else ": this torch is a build for the CPU only"
        raise DryRunError(f"--device cuda: no CUDA device{built}; take --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise DryRunError("--device mps: no MPS device on this machine; take --device cpu")
    return torch.device(name)


def run_dry(
    training: Training,
    recipe: Recipe,
    *,
    steps: int,
    seed: int,
    device: torch.device,
    write: Write,
    about: dict[str, Any],
    progress: Callable[[int, float], None] = lambda step, norm: None,
    closing: Callable[[], None] = lambda: None,
) -> Trajectory:
    """Train `steps` steps and measure. `training` is as it was handed over: its passes run in the
    precision of the recipe. `about`: what the lines say of the command (`program`, `unit`,
    `config`, `entry`; in the header alone `configs`, as `configs.config_digests` makes them).

    Ctrl-C (KeyboardInterrupt) ends it with what was measured so far, once a step is done. `closing`
    is called when none of the training's code runs any more, before the last lines are written.

    Raises: DryRunError for what its user can mend, unless it came up after the steps: then these
    are kept, and `failed` of the trajectory says what it was. KeyboardInterrupt before the first
    step is done.
    """
    try:
        return _run(training, recipe, steps, seed, device, write, about, progress, closing)
    except DryRunError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise _too_large(training, device, error) from error
        fault = said_of(error)
        if fault:
            raise DryRunError(fault) from error
        raise


def _run(
    training: Training,
    recipe: Recipe,
    steps: int,
    seed: int,
    device: torch.device,
    write: Write,
    about: dict[str, Any],
    progress: Callable[[int, float], None],
    closing: Callable[[], None],
) -> Trajectory:
    def out(line: dict[str, Any]) -> None:
        write(to_json(line))

    training.model.to(device)
    modes_for(training, recipe)
    optimizer = optimizer_for(training, recipe)
    out(header_line(about, steps, device))
    out(optimizer_line(training, optimizer))
    adaptive = recipe.adaptive and not isinstance(optimizer, torch.optim.SGD)
    stream = Stream(training.batches, device, training.move, recipe.micro_batch or 0)
    rates = rates_for(training, recipe, optimizer, steps)
    precision = precision_for(training, recipe, device)
    see_to_ranks(training, recipe)
    trajectory = Trajectory(
        training, recipe, optimizer, stream, device, rates, out, precision=precision
    )
    trajectory.run(steps, progress)
    if trajectory.interrupted:
        closing()
    notes = [*recipe.notes, *told_of_repeats(stream)]
    if trajectory.unlike:
        notes.append(trajectory.unlike)
    told = {name: value for name, value in about.items() if name != "configs"}
    out({
        "kind": "trajectory", **told, "seed": seed, "steps": trajectory.done,
        "steps_asked": steps, "stopped": trajectory.stopped,
        "optimizer": type(optimizer).__name__,
        "accumulation": recipe.accumulation, "micro_batch": recipe.micro_batch,
        "clip_norm": recipe.clip_norm, "warmup_steps": rates.warmup,
        "total_steps": recipe.clock.steps, "notes": notes, "adaptive": adaptive,
        "elements": sum(p.numel() for p in trajectory.parameters),
        "self_check": trajectory.self_check if trajectory.checks else None,
        "total_checked": trajectory.total_checked,
        "autocast": precision.name or None, "rounding": trajectory.rounding,
        "unchecked": trajectory.unchecked, "skipped": precision.skipped,
        "loss_scale": precision.scale if precision.scales else None, "ranks": recipe.ranks,
    })  # fmt: skip
    drawn = Drawn([], [])
    coupling = Coupling({})
    unknown = unknown_primary(trajectory, out)
    # At weights from which the next step is not finite there is no training to measure.
    if not (trajectory.interrupted or trajectory.failed or trajectory.non_finite):
        with _kept_steps(trajectory, out, closing):
            count = max(FROZEN_BATCHES, RATE_STEPS * _rate_micro_batches(recipe))
            drawn = draw(stream, count, memory_for(device, KEPT_BYTES), FROZEN_BATCHES)
            coupling = couplings(trajectory.plain, drawn.every[:COUPLING_BATCHES], device)
    for name, values in trajectory.values.items():
        out({
            "kind": "term", "name": name, "samples": coupling.kinds.get(name, UNKNOWN),
            "steps": len(values), "without_graph": trajectory.graphless.get(name, 0),
            "median_value": statistics.median(values),
            "role": role_of(name, training.primary, unknown),
        })  # fmt: skip
    if drawn.every and not (trajectory.interrupted or trajectory.failed):
        with _kept_steps(trajectory, out, closing):
            _measure_frozen(trajectory, drawn, coupling, out)
    elif drawn.why and not drawn.every:
        _no_batch_left(trajectory, out)
    closing()
    why = "steps" if trajectory.done == steps else "loader_ended"
    if trajectory.non_finite:
        why = "non_finite"
    if trajectory.interrupted:
        why = "interrupted"
    elif trajectory.failed:
        why = "error"
    out({"kind": "stop", "why": why, "steps": trajectory.done})
    return trajectory


@contextmanager
def _kept_steps(trajectory: Trajectory, out: Write, closing: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, or a failure of the training's code, ends what is measured at the last weights, and
    the record says so: what the steps showed is whole without it."""
    lost = "what is measured at the last weights is not complete"
    try:
        yield
    except KeyboardInterrupt:
        closing()
        trajectory.interrupted = True
        text = f"interrupted after the steps: {lost}"
        out({"kind": "note", "topic": "interrupted", "text": text})
    except (Exception, SystemExit) as error:
        said = said_of(error)
        if not said:
            raise
        trajectory.failed = f"after the {trajectory.done} steps, {said}"
        out({"kind": "note", "topic": "failed", "text": f"{trajectory.failed}; {lost}"})


def _measure_frozen(trajectory: Trajectory, drawn: Drawn, coupling: Coupling, out: Write) -> None:
    batches = drawn.distinct
    training, device = trajectory.training, trajectory.device
    size = size_of(drawn.every[0])
    layers, scale = batch_norms(training.model), trajectory.pass_scale
    few = drawn.too_few(gram.FEWEST_BATCHES)
    found = frozen.Frozen([], [], few)
    if not few:
        found = frozen.frozen_products(
            training, batches[:TERM_BATCHES], trajectory.parameters, device, scale=scale
        )
    if not found.names:  # not one pass had room: none of the pairs of the steps is known
        found = found._replace(names=list(trajectory.values))
    out(_frozen_line(found, size))
    uncut = why_whole(drawn.every[0])
    out(_noise_line(found, size, bool(layers), coupling, uncut))
    if layers and few:
        text = f"no noise of BatchNorm: {few}"
        out({"kind": "note", "topic": "batch_norm_noise", "text": text})
    elif layers:
        try:
            noise = frozen.batch_norm_noise(training, batches, device)
            out({"kind": "batch_norm_noise", "micro_batch": size, "layers": noise})
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            text = f"no noise of BatchNorm: out of memory: {LESS_MEMORY}"
            out({"kind": "note", "topic": "batch_norm_noise", "text": text})
    if layers or COUPLED in coupling.kinds.values():
        out(_bias_line(trajectory, drawn, size, bool(layers)))
    _test_rates(trajectory, drawn.every, out)


def _no_batch_left(trajectory: Trajectory, out: Write) -> None:
    """The steps took all that the loader had: why there is nothing of the last weights."""
    why = "the steps took every batch that the loader has"
    names = list(trajectory.values)
    out(_frozen_line(frozen.Frozen(names, [], why), None))
    out({"kind": "noise", "micro_batch": None, "refused": why})
    out({"kind": "note", "topic": "rate_test", "text": f"no test of other learning rates: {why}"})


def _rate_micro_batches(recipe: Recipe) -> int:
    """How many a step of the rate test is to take: as many as the training's, within bounds."""
    return min(recipe.accumulation * recipe.ranks, RATE_MICRO_BATCHES)


def _test_rates(trajectory: Trajectory, batches: list[Any], out: Write) -> None:
    """The next steps at other rates, each of as many micro-batches as could be kept for it."""
    recipe = trajectory.recipe
    each = min(_rate_micro_batches(recipe), len(batches) // RATE_STEPS)
    losses: list[list[float]] = []
    why = f"it takes {RATE_STEPS} batches of one size, and {len(batches)} could be kept"
    if each:
        why = "gradients overflow at this loss scale in every step"
        try:
            losses = frozen.rate_test(
                trajectory.training, trajectory.optimizer, batches[-RATE_STEPS * each :],
                trajectory.device, factors=RATE_FACTORS, clip_norm=recipe.clip_norm,
                clip_value=recipe.clip_value, scale=trajectory.pass_scale,
                micro_batches=each, accumulation=recipe.accumulation,
            )  # fmt: skip
        except (RuntimeError, MemoryError) as error:  # all else was measured, and is put back
            if not is_out_of_memory(error):
                raise
            why = NO_MEMORY
    if not losses:
        text = f"no test of other learning rates: {why}"
        out({"kind": "note", "topic": "rate_test", "text": text})
    else:
        rate = trajectory.optimizer.param_groups[0]["lr"]
        peak = trajectory.rates.peaks[0]
        out({
            "kind": "rate_test", "learning_rate": rate,
            "share_of_peak": rate / peak if peak else None,
            "micro_batches": each, "factors": list(RATE_FACTORS), "losses": losses,
        })  # fmt: skip


def _frozen_line(found: frozen.Frozen, size: int | None) -> dict[str, Any]:
    """Noise-corrected cosines of the terms, and how far each stands out of its noise."""
    line: dict[str, Any] = {"kind": "frozen", "micro_batch": size, "names": found.names}
    if not found.dots:
        return {**line, "batches": 0, "why": found.why}
    count = len(found.names)
    own = [gram.block(found.dots, count, i, i) for i in range(count)]
    cosines: list[list[Any]] = [[None] * count for _ in range(count)]
    for i in range(count):
        for j in range(i + 1, count):
            cross = gram.block(found.dots, count, i, j)
            cosine = gram.corrected_cosine(own[i], own[j], cross)
            if cosine is not None:
                cosines[i][j] = cosines[j][i] = [cosine.value, cosine.low, cosine.high]
    active = [any(dots[a][a] > 0 for a in range(len(dots))) for dots in own]
    return {
        **line, "batches": len(found.dots) // count, "cosines": cosines,
        "signal_to_noise": [
            gram.signal_to_noise(dots) if on else None for dots, on in zip(own, active, strict=True)
        ],
    }  # fmt: skip


def _noise_line(
    found: frozen.Frozen, size: int | None, has_batch_norm: bool, coupling: Coupling, uncut: str
) -> dict[str, Any]:
    """The gradient noise scale, or why there is none. `uncut`: why a batch has no `size`."""
    kinds = coupling.kinds
    line: dict[str, Any] = {"kind": "noise", "micro_batch": size}
    coupled = sorted(name for name, kind in kinds.items() if kind == COUPLED)
    unknown = sorted(name for name, kind in kinds.items() if kind == UNKNOWN)
    if has_batch_norm:
        return {**line, "refused": "BatchNorm couples the samples of a batch"}
    if coupled:
        names = ", ".join(f"`{name}`" for name in coupled)
        return {**line, "refused": f"{names}: not a mean over independent samples"}
    drawn = ", ".join(f"`{name}`" for name in sorted(kinds) if kinds[name] == RANDOM)
    if drawn:
        why = f"whether {drawn} couples samples is not known: random numbers are drawn in `losses`"
        return {**line, "refused": why}
    if size is None or size < 2:
        why = f"a batch cannot be cut in halves: {uncut if size is None else 'it has one sample'}"
        return {**line, "refused": f"whether the terms couple samples is not known: {why}"}
    if not kinds:  # no pass succeeded, on a half of a batch or without autocast
        why = coupling.why or "the model does not run on half a batch in full precision"
        return {**line, "refused": f"whether the terms couple samples is not known: {why}"}
    if unknown:
        names = ", ".join(f"`{name}`" for name in unknown)
        why = f"{'they were' if len(unknown) > 1 else 'it was'} not active on the batches looked at"
        return {**line, "refused": f"whether {names} couples samples is not known: {why}"}
    if SUM in kinds.values():
        return {**line, "refused": "a term is summed over the batch, so its scale grows with it"}
    if not found.dots:
        return {**line, "refused": found.why}
    dots = gram.summed(found.dots, len(found.names))
    scale = gram.noise_scale(dots, size)
    return {
        **line, "batches": len(dots), "noise_scale": scale.value, "low": scale.low,
        "high": scale.high, "lower_bound_only": scale.low_only,
    }  # fmt: skip


def _bias_line(
    trajectory: Trajectory, drawn: Drawn, size: int | None, has_batch_norm: bool
) -> dict[str, Any]:
    """Where the expected gradient of a micro-batch points beside that of four in one."""
    training, device = trajectory.training, trajectory.device
    batches = drawn.distinct
    line: dict[str, Any] = {
        "kind": "batch_size_bias", "micro_batch": size,
        "large": size * frozen.JOINED if size else None,
    }  # fmt: skip
    few = drawn.too_few(frozen.BIAS_BATCHES)
    if few and size:
        return {**line, "batches": 0, "why": few}
    scale = trajectory.pass_scale
    bias = frozen.size_bias(training, batches, trajectory.parameters, device, scale=scale)
    line["batches"] = bias.small
    if not bias.dots:
        return {**line, "why": bias.why}
    cosine = gram.size_cosine(bias.dots, bias.small, bias.joined)
    line["cosine"] = None if cosine is None else [cosine.value, cosine.low, cosine.high]
    if has_batch_norm:
        without = frozen.size_bias(
            training, batches, trajectory.parameters, device, frozen_norm=True, scale=scale
        )
        if without.dots:
            cosine = gram.size_cosine(without.dots, without.small, without.joined)
            line["cosine_frozen_norm"] = (
                None if cosine is None else [cosine.value, cosine.low, cosine.high]
            )
    return line


def _too_large(training: Training, device: torch.device, error: BaseException) -> DryRunError:
    elements = sum(p.numel() for p in training.model.parameters())
    size = sum(p.numel() * p.element_size() for p in training.model.parameters()) / 2**30
    said = str(error).split("\n")[0][:160]
    return DryRunError(
        f"out of memory on {device.type}: the model has {elements:,} parameters ({size:.1f} GiB), "
        f"and its gradients, the optimiser's state and the activations come on top: {LESS_MEMORY} "
        f"({said})"
    )
