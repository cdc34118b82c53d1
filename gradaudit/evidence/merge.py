"""Join the files of several ranks into one record, after the run: nothing was exchanged in it.

Replicas (DDP) have the same gradient at the same step: the first rank's numbers are taken, and a
difference is reported. Shards (FSDP2) have parts of it: their norms add up as squares, each divided
by the number of ranks that hold the same piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt

from gradaudit.evidence.statistics import root_sum_of_squares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.record import OptimizerRecord, Record, Step

TOLERANCE = 1e-4
"""Relative difference of two ranks' norms from which they disagree. All-reduced gradients are equal
bit for bit (measured: 0.0 over 12 steps of DDP on gloo); the record has at least six digits."""

SHARDED_TOPICS = {"fsdp1", "zero", "deepspeed", "hsdp"}
"""Notes of the recorder which say that the tensors may be unmarked shards."""


@dataclass
class Disagreement:
    """Ranks that should have the same gradient and have not: the first step at which they differ,
    the norm of each rank there (before the clip, where that made them one), at how many of how many
    steps."""

    optimizer: int
    step: int
    norms: list[float | None]
    steps: int
    of: int
    before_clip: bool = False


def merge(directory: str, ranks: list[tuple[int, Record]]) -> Record:
    """One record of those of all ranks, in the order of the ranks. At least one is given."""
    record = ranks[0][1]
    record.directory = directory
    record.ranks = [rank for rank, _ in ranks]
    for _, other in ranks[1:]:
        record.notes += [note for note in other.notes if note not in record.notes]
        record.remarks += other.remarks
        known = {(entry.get("operation"), entry.get("path")) for entry in record.files}
        record.files += [
            entry
            for entry in other.files
            if (entry.get("operation"), entry.get("path")) not in known
        ]
    missing = sorted(set(range(record.world_size)) - set(record.ranks))
    if missing:
        shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        record.remarks.append(
            f"of {record.world_size} ranks {len(missing)} left no file here ({shown}): runs on "
            "several machines need a directory that all of them share"
        )
    for optimizer in record.optimizers:
        others = [_same(optimizer, other) for _, other in ranks[1:]]
        found = [other for other in others if other is not None]
        _merge_optimizer(record, optimizer, found, bool(missing))
    return record


def _same(optimizer: OptimizerRecord, record: Record) -> OptimizerRecord | None:
    return next((o for o in record.optimizers if o.index == optimizer.index), None)


def _merge_optimizer(
    record: Record, optimizer: OptimizerRecord, others: list[OptimizerRecord], missing: bool
) -> None:
    by_step = [{step.step: step for step in other.steps} for other in others]
    if len(by_step):
        kept = [step for step in optimizer.steps if all(step.step in known for known in by_step)]
        if len(kept) < len(optimizer.steps):
            record.remarks.append(
                f"optimizer {optimizer.index}: {len(optimizer.steps) - len(kept)} steps are not in "
                "the files of all ranks: they are left out"
            )
        optimizer.steps = kept
    differ: list[Disagreement] = []
    apart: list[Step] = []
    for step in optimizer.steps:
        same = [step, *(known[step.step] for known in by_step)]
        _merge_non_finite(step, same)
        if step.layers_are_local:
            _merge_shards(step, same, optimizer.replicas, missing)
        elif len(same) > 1 and _disagree(same, len(optimizer.layers)):
            apart.append(step)
            differ.append(_shown(optimizer.index, same))
    if not differ:
        return
    if record.topics & SHARDED_TOPICS:
        record.remarks.append(
            f"optimizer {optimizer.index}: each rank has a part of the gradient that is not marked "
            "as one; norms that are not of the whole are left out"
        )
        for step in apart:
            step.post_clip_norm = None
            step.layer_norms = []
            if not step.clips:
                step.pre_clip_norm = None
        return
    first = differ[0]
    first.steps, first.of = len(differ), len(optimizer.steps)
    record.disagreements.append(first)


def _disagree(same: list[Step], tensors: int) -> bool:
    """Whether replicas step with different gradients. A clip that acts on all of them makes their
    norms one, and leaves those of the layers apart; of a single tensor only the norm before it
    tells. That alone is no sign else: gradients may be clipped first and averaged then. `tensors`:
    those of the optimizer, which count where the record has no norms of layers."""
    if _differ([step.post_clip_norm for step in same]):
        return True
    layers = [step.layer_norms for step in same]
    if len({len(norms) for norms in layers}) > 1:
        return False
    seen = sum(norm is not None for norm in layers[0]) if layers[0] else tensors
    if seen == 1:
        return _differ([step.pre_clip_norm for step in same])
    whole = max((step.post_clip_norm or 0.0 for step in same), default=0.0)
    return any(_differ(list(norms), whole) for norms in zip(*layers, strict=True))


def _shown(index: int, same: list[Step]) -> Disagreement:
    """With the norms that differ: of the step, or where the clip made them one those before it."""
    first = same[0].step
    norms = [step.post_clip_norm for step in same]
    before = [step.pre_clip_norm for step in same]
    if not _differ(norms) and _differ(before):
        return Disagreement(index, first, before, 1, 1, before_clip=True)
    return Disagreement(index, first, norms, 1, 1)


def _merge_non_finite(step: Step, same: list[Step]) -> None:
    for other in same[1:]:
        step.non_finite += [name for name in other.non_finite if name not in step.non_finite]
        step.skipped = step.skipped or other.skipped


def _merge_shards(step: Step, same: list[Step], replicas: list[int], missing: bool) -> None:
    """The whole's norms from those of its parts; unknown where a rank's file is missing, or where
    it is not known how many ranks hold the same piece."""
    parts = [other.layer_norms for other in same]
    if missing or {len(part) for part in parts} != {len(replicas)}:
        step.layer_norms, step.post_clip_norm, step.update_ratio = [], None, []
        if not step.clips:
            step.pre_clip_norm = None
        return
    step.layer_norms = [
        _joined([part[position] for part in parts], copies)
        for position, copies in enumerate(replicas)
    ]
    whole = root_sum_of_squares(norm for norm in step.layer_norms if norm is not None)
    step.layers_are_local = False
    step.post_clip_norm = whole
    if not step.clips:
        step.pre_clip_norm = whole
    _join_weights(step, same)


def _join_weights(step: Step, same: list[Step]) -> None:
    """The update's size over the weights', from the parts of both."""
    if not step.update_ratio or not step.weight_norms:
        step.update_ratio = []
        return
    ratios: list[float | None] = []
    weights: list[float | None] = []
    for position in range(len(step.update_ratio)):
        pairs = [
            (other.update_ratio[position], other.weight_norms[position])
            for other in same
            if position < min(len(other.update_ratio), len(other.weight_norms))
        ]
        known = [(ratio, weight) for ratio, weight in pairs if ratio is not None and weight]
        whole = root_sum_of_squares(weight for _, weight in known)
        weights.append(whole or None)
        update = root_sum_of_squares(ratio * weight for ratio, weight in known)
        ratios.append(update / whole if whole else None)
    step.update_ratio, step.weight_norms = ratios, weights


def _joined(parts: list[float | None], copies: int) -> float | None:
    known = [part for part in parts if part is not None]
    return root_sum_of_squares(known) / sqrt(copies) if known else None


def _differ(norms: list[float | None], whole: float = 0.0) -> bool:
    """By more than the tolerance of the largest, or of the norm of the whole."""
    known = [norm for norm in norms if norm is not None]
    if len(known) < 2:
        return False
    if not all(map(isfinite, known)):
        return any(map(isfinite, known))
    return max(known) - min(known) > TOLERANCE * max(whole, *map(abs, known))
