"""Give a record to the units that it is of, and to their plans what no file says."""

from __future__ import annotations

from datetime import UTC, datetime
from os import stat

from gradaudit.plan.measured import Measured, match
from gradaudit.plan.model import MEASURED, Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.record import Record
    from gradaudit.plan.model import SettingValue, TrainingUnit

PARTIAL = frozenset(("deepspeed", "zero", "fsdp1"))
"""Notes of the recorder: what it sees of batch, accumulation and clip is not the whole."""


def add_record(
    units: list[TrainingUnit], path: str, record: Record, chosen: str | None, edited: bool
) -> list[str]:
    """Attach a record to the units of the file at `path`; returns what cannot be told.

    A setting that nobody speaks of is taken from the record: it is what the run did.
    """
    found, problem = match(units, record, chosen)
    if problem:
        return [problem]
    older = edited or _is_older(record, path)
    for unit, optimizer, comparable in found:
        measured = Measured(unit, record, optimizer, comparable, older)
        unit.measured.append(measured)
        if comparable and not any(other.comparable for other in unit.measured[:-1]):
            _complete(unit, measured)
    return []


def _is_older(record: Record, path: str) -> bool:
    """Whether the file was changed after the run began."""
    try:
        started = datetime.fromisoformat(record.started)
        changed = datetime.fromtimestamp(stat(path).st_mtime, UTC)
    except (OSError, ValueError):
        return False
    if started.tzinfo is None:
        started = started.astimezone()
    return changed > started


def _complete(unit: TrainingUnit, measured: Measured) -> None:
    optimizer = measured.optimizer
    seen: dict[str, SettingValue] = {}
    if optimizer.class_name:
        seen["optimizer"] = measured.family
    if measured.warmup.over or optimizer.initial_rate:
        seen["learning_rate"] = optimizer.peak_rate
    if not measured.record.topics & PARTIAL:
        seen["clip_norm"] = optimizer.clip_norm
        seen["clip_value"] = optimizer.clip_value
        seen["accumulation"] = optimizer.backward_calls
        seen["precision"] = None if optimizer.sharded else optimizer.precision
    if optimizer.batch_norm_batch is not None:
        seen["micro_batch"] = optimizer.batch_norm_batch
        if measured.record.world_size == 1:  # else it may be SyncBatchNorm: the record is silent
            seen["norm"] = "batch"
    if len(measured.record.ranks) == measured.record.world_size:
        seen["world_size"] = measured.record.world_size
    for name, value in seen.items():
        if value is not None and name not in unit.settings:
            unit.settings[name] = Setting(
                name, value, origin=MEASURED, raw=str(value), key="--record",
                note="as the recorded run did",
            )  # fmt: skip
            unit.unknown.pop(name, None)
            unit.unknown_nodes.pop(name, None)
