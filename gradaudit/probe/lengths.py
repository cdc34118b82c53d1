"""How many steps, epochs and samples a training has: arithmetic on the plan. Knows no torch."""

from __future__ import annotations

from math import ceil, floor
from typing import NamedTuple

from gradaudit.probe.simulated import Batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit

NOMINAL_POINTS = 2000
"""Steps at which a curve is drawn whose real number of steps is not known."""


BEGUN_IS_DONE = ("hf-trainer", "llama-factory", "axolotl")
"""Dialects of transformers' Trainer, which takes a step that an epoch's fraction has begun."""


class Clock(NamedTuple):
    """The length of a training in the units that are known.

    nominal  steps an epoch that the curve is drawn with where the real number is not known.
    """

    steps: int | None
    epochs: float | None
    per_epoch: float | None
    nominal: int

    @property
    def known(self) -> bool:
        return self.steps is not None or self.epochs is not None


def _positive(unit: TrainingUnit, name: str) -> float | None:
    value = unit.number(name)
    return value if value is not None and value > 0 else None


def batch_of(unit: TrainingUnit, per_epoch: float | None = None) -> Batch:
    """Samples, steps and backward calls, as far as the plan knows what they are made of.

    per_epoch  optimiser steps of an epoch as a script knows them; the plan's own go before.
    """
    notes = []
    micro, total = _positive(unit, "micro_batch"), _positive(unit, "global_batch")
    accumulation, world = _positive(unit, "accumulation"), _positive(unit, "world_size")
    product = micro * accumulation * world if micro and accumulation and world else None
    whole = total or product
    agrees = None if product is None or total is None else product == total
    if agrees is False:
        notes.append(
            f"micro_batch x accumulation x world_size is {product:g}, the global batch {total:g}"
        )
    per_epoch = _positive(unit, "steps_per_epoch") or per_epoch
    rounded_up = False
    size = _positive(unit, "dataset_size")
    batch = unit.get("global_batch") or unit.get("micro_batch")
    in_samples = batch is None or not batch.unit or batch.unit == "samples"
    if per_epoch is None and size and whole and in_samples:
        drops = unit.get("drop_last")
        down = drops is not None and drops.value is True
        per_epoch = float((floor if down else ceil)(size / whole))
        notes.append(
            f"steps_per_epoch {per_epoch:g}: dataset_size / global_batch, rounded "
            + ("down (drop_last)" if down else "up")
        )
        per_epoch = per_epoch or None
        rounded_up = not down
    epochs = _positive(unit, "epochs")
    steps, said = end_of(unit, per_epoch)
    if said:
        notes.append(said)
    if steps and per_epoch:
        epochs = steps / per_epoch
    samples = steps * whole if steps and whole and in_samples else None
    if samples and size and epochs and rounded_up:  # the last batch of an epoch is not full
        samples = size * epochs
    calls = steps * accumulation if steps and accumulation else None
    return Batch(
        micro, accumulation, world, whole, agrees, per_epoch, epochs, steps, samples, calls,
        tuple(notes),
    )  # fmt: skip


def end_of(unit: TrainingUnit, per_epoch: float | None) -> tuple[int | None, str]:
    """The optimiser steps of the training, None where they are not known; and, where its length is
    written in steps and in epochs, which of the two ends it. per_epoch: steps of an epoch."""
    epochs, written = _positive(unit, "epochs"), _positive(unit, "total_steps")
    by_epochs = epochs * per_epoch if epochs and per_epoch else None
    if by_epochs and unit.composed.dialect["name"] in BEGUN_IS_DONE:
        by_epochs = ceil(by_epochs - 1e-9)
    ends = [round(end) for end in (written, by_epochs) if end and round(end) > 0]
    if len(set(ends)) < 2:
        return (ends[0] if ends else None), ""
    setting = unit.settings["epochs"]
    if setting.gives_way:
        return ends[0], (
            f"{setting.last_key} {setting.number:g} ({ends[1]:,} steps) {setting.note}: the "
            f"training is {ends[0]:,} steps long"
        )
    return min(ends), f"{max(ends):,} steps in the other unit: the shorter ends the training here"


def clock_of(unit: TrainingUnit, batch: Batch) -> Clock:
    """Steps where they are known; else epochs, and so many steps each that the curve is fine."""
    nominal = 0
    if batch.steps is None and batch.epochs is not None:
        nominal = max(1, ceil(NOMINAL_POINTS / batch.epochs))
    return Clock(batch.steps, batch.epochs, batch.steps_per_epoch, nominal)
