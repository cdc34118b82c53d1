"""Give a record to the units that it is of, and to their plans what no file says."""

from __future__ import annotations

from datetime import UTC, datetime
from os import stat

from gradaudit.evidence.record import content_digest
from gradaudit.plan.measured import PARTIAL, Measured, match, section_name
from gradaudit.plan.model import MEASURED, Setting
from gradaudit.syntax.scalars import yaml_float

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.record import OptimizerRecord, Record
    from gradaudit.plan.model import SettingValue, TrainingUnit
    from gradaudit.syntax.tree import Tree


def add_record(
    units: list[TrainingUnit], path: str, record: Record, chosen: str | None, edited: bool
) -> list[str]:
    """Attach a record to the units of the file at `path`; returns what cannot be told.

    A setting that nobody speaks of is taken from the record: it is what the run did.
    """
    found, problem = match(units, record, chosen)
    if problem:
        return [problem]
    older, unsure = (
        ("it is a fix of what was recorded", False)
        if edited
        else (_why_older(record, path, units[0].composed.trees if units else []))
    )
    for unit, optimizer, comparable in found:
        measured = Measured(unit, record, optimizer, comparable, older, unsure)
        unit.measured.append(measured)
        if comparable and not any(other.comparable for other in unit.measured[:-1]):
            _complete(unit, measured)
    return []


def _why_older(record: Record, path: str, trees: list[Tree]) -> tuple[str, bool]:
    """Why the file is taken as changed since the run began, and whether that is only possible;
    empty where it is not. `trees` are the files that it is made of.

    By its content where the record holds that of a file of this name, else by its time; then by
    those of the files that it is built on.
    """
    content = _content(path)
    if content is None:
        return "", False
    had = record.had_config(path, content)
    if had is None:
        return (_BY_TIME if _is_younger(path, record) else ""), False
    if not had:
        return "its content is not that which the run had", False
    younger = ""
    now = {}
    for tree in trees:
        base = tree.source.path
        if base == path or (below := _content(base)) is None:
            continue
        now[base] = content_digest(below)
        same = record.had_config(base, below)
        if same is False:
            return (
                f"the content of {base}, which it is built on, is not that which the run had",
                False,
            )
        if same is None and not younger and _is_younger(base, record):
            younger = f"{base}, which it is built on, {_BY_TIME}"
    if younger:
        return younger, False
    for known in record.bases_of(content):
        if known.digest not in now.values():
            return f"{known.path}, which it was built on, is not found from here", True
    return "", False


_BY_TIME = "by its time alone, which a fresh checkout changes too; the record has not its content"


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError):
        return None


def _is_younger(path: str, record: Record) -> bool:
    """Whether a file was written after the run began."""
    try:
        started = datetime.fromisoformat(record.started.replace("Z", "+00:00"))
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
        synced = optimizer.batch_norm_synced
        if synced is not None or measured.record.world_size == 1:  # else the record is silent
            seen["norm"] = "sync_batch" if synced and synced > 1 else "batch"
    is_run = measured.record.source == "probe"  # one process of a dry run stands for any number
    if is_run and len(measured.record.ranks) == measured.record.world_size:
        seen["world_size"] = measured.record.world_size
    for name, value in seen.items():
        if value is not None and name not in unit.settings:
            unit.settings[name] = Setting(
                name, value, origin=MEASURED, raw=str(value), key="--record",
                note="as the recorded run did",
            )  # fmt: skip
            unit.unknown.pop(name, None)
            unit.unknown_nodes.pop(name, None)


def as_config(record: Record) -> str:
    """What a recorded run did, written as a config: for a run of which no config is named.

    Of several optimizers each has a section, named as `match` finds it again. Empty text where
    nothing is known.
    """
    optimizers = [optimizer for optimizer in record.optimizers if optimizer.steps]
    if len(optimizers) == 1:
        return _section(optimizers[0], "")
    return "".join(
        f"{section_name(optimizer)}:\n{_section(optimizer, '  ')}" for optimizer in optimizers
    )


def _section(optimizer: OptimizerRecord, indent: str) -> str:
    group = optimizer.groups[0] if optimizer.groups else {}
    entries: list[tuple[str, object]] = [
        ("optimizer", optimizer.class_name or None),
        ("learning_rate", optimizer.peak_rate),
        ("weight_decay", group.get("weight_decay")),
        ("momentum", group.get("momentum")),
        ("eps", group.get("eps")),
        ("gradient_clip_norm", optimizer.clip_norm),
        ("batch_size", optimizer.batch_norm_batch),
        ("gradient_accumulation_steps", optimizer.backward_calls),
        ("precision", optimizer.precision),
    ]
    known = [(name, value) for name, value in entries if value is not None]
    return "".join(f"{indent}{name}: {_spelt(value)}\n" for name, value in known)


def _spelt(value: object) -> str:
    """As YAML 1.1 and 1.2 both read it: a float has a dot."""
    if isinstance(value, float):
        return yaml_float(value)
    return str(value)
