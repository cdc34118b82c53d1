"""Read the directory that a probe or a dry run wrote: one file of JSON lines a process.

The lines are data, nothing in them is executed. Kinds and keys that are not known are passed over,
so that a newer recorder of the same schema can be read.
"""

from __future__ import annotations

import json
import os
import re
from math import isfinite
from pathlib import Path

from gradaudit.evidence.merge import merge
from gradaudit.evidence.record import (
    BatchNormSeen,
    Clip,
    Config,
    LastUpdate,
    OptimizerRecord,
    Record,
    Step,
    Terms,
    number_of,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA = 1
MAX_BYTES = 1 << 30
"""A record of 200 steps and 300 tensors has 1 MB; beyond this it is not one."""

UNFINISHED = "unfinished.jsonl"
"""What a dry run writes until it has its end: without the lines of its end neither the warm-up nor
the roles of the terms are known, and it is no record."""

RATES = ("learning_rate", "initial_learning_rate")

SINGLE = 2.0**-24 + 5e-9
"""How far, relatively, a number in single precision with 9 digits may be from what was written."""

_FILE = re.compile(r"rank-(\d+)\.jsonl\Z")
_SECOND = re.compile(r"rank-(\d+)\.(\d+)\.jsonl\Z")


class BadRecord(Exception):
    """A directory that holds no record that can be read; the message says what to do."""


def read_record(directory: str) -> Record:
    """Read and merge the files of a record.

    Raises:
        BadRecord: there is none, it is empty or damaged, or of a newer schema.
    """
    folder = Path(directory)
    if not folder.is_dir():
        what = "is a file, not the directory of a record" if folder.exists() else "does not exist"
        raise BadRecord(
            f"{directory}: {what}; `gradaudit probe --output DIR -- COMMAND` makes a record"
        )
    names = sorted(entry.name for entry in folder.iterdir())
    numbered = sorted((int(m.group(1)), name) for name in names if (m := _FILE.match(name)))
    if not numbered and UNFINISHED in names:
        raise BadRecord(
            f"{directory}: holds no whole record: a dry run is still writing it, or was killed "
            "before its end: run it again"
        )
    if not numbered:
        inner = sorted(path.parent.name for path in folder.glob("*/rank-*.jsonl"))
        hint = (
            f"did you mean {directory.rstrip('/')}/{inner[-1]}?"
            if inner
            else "no optimizer stepped, or it is another directory; `gradaudit probe` makes one"
        )
        raise BadRecord(f"{directory}: holds no record (rank-0.jsonl): {hint}")
    ranks = [(rank, _read_file(folder / name)) for rank, name in numbered]
    record = merge(directory, ranks)
    for name in names:
        second = _SECOND.match(name)
        if second:
            record.remarks.append(
                f"{name}: a second process said that it is rank {second.group(1)}; it is left out"
            )
    return record


def refuse_taken(directory: str) -> None:
    """A record is never written into another, nor over it.

    Raises: BadRecord where the directory holds one.
    """
    if any(name.startswith("rank-") for name in os.listdir(directory)):
        raise BadRecord(
            f"{directory}: holds a record already; name another directory with --output, or "
            "delete it"
        )


def _read_file(path: Path) -> Record:
    """One rank's file. Raises: BadRecord."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadRecord(f"{path}: is larger than {MAX_BYTES >> 20} MiB, and no record")
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise BadRecord(f"{path}: {error.strerror}") from None
    whole = lines[-1] == b""
    if whole:
        lines.pop()
    record = Record(str(path.parent))
    seen_header = False
    optimizers: dict[int, OptimizerRecord] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _parse(line)
        if entry is None:
            if number == len(lines):
                record.remarks.append(
                    f"{path.name}: the last line is cut off (the run was killed): it is left out"
                )
                break
            raise BadRecord(
                f"{path}: line {number} is not a JSON object: the file is damaged, record again"
            )
        if not seen_header:
            _take_header(entry, record, path)
            seen_header = True
            continue
        _take(entry, record, optimizers)
    if not seen_header:
        raise BadRecord(
            f"{path}: is empty: the run ended before its first optimizer step, record again"
        )
    record.optimizers = [optimizers[index] for index in sorted(optimizers)]
    for optimizer in record.optimizers:
        optimizer.casts_unseen = optimizer.sharded or "deepspeed" in record.topics
    _drop_unfinished(record)
    return record


def _drop_unfinished(record: Record) -> None:
    """Leave out the terms of a step that was not done: they are measured before it, and Ctrl-C or
    a gradient that is not finite may come between."""
    last = max((one.steps[-1].step for one in record.optimizers if one.steps), default=None)
    if last is not None:
        record.terms = [terms for terms in record.terms if terms.step <= last]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _take_header(entry: dict[str, Any], record: Record, path: Path) -> None:
    if entry.get("kind") != "header":
        raise BadRecord(f"{path}: does not begin with a header: it is no record of gradaudit")
    schema = entry.get("schema")
    if not isinstance(schema, int):
        raise BadRecord(f"{path}: its header has no schema: it is no record of gradaudit")
    if schema != SCHEMA:
        mend = "update gradaudit" if schema > SCHEMA else "record again"
        raise BadRecord(f"{path}: has schema {schema}, this gradaudit reads {SCHEMA}: {mend}")
    record.source = _text(entry.get("source")) or "probe"
    record.world_size = _integer(entry.get("world_size")) or 1
    record.torch = _text(entry.get("torch"))
    record.device = _text(entry.get("device"))
    record.program = _text(entry.get("program"))
    record.started = _text(entry.get("started"))
    record.steps_asked = _integer(entry.get("steps_asked"))
    record.skip_steps = _integer(entry.get("skip_steps")) or 0
    record.configs = [
        Config(
            _text(config.get("path")),
            _text(config.get("sha256")),
            _text(config.get("base_of")) or None,
        )
        for config in _list(entry.get("configs"))
        if isinstance(config, dict)
    ]


def _take(entry: dict[str, Any], record: Record, optimizers: dict[int, OptimizerRecord]) -> None:
    kind = entry.get("kind")
    if kind == "optimizer":
        _take_optimizer(entry, optimizers)
    elif kind == "step":
        index = _integer(entry.get("optimizer")) or 0
        optimizers.setdefault(index, OptimizerRecord(index)).steps.append(step_of(entry))
    elif kind == "note":
        note = (_text(entry.get("topic")), _text(entry.get("text")))
        if note not in record.notes:
            record.notes.append(note)
    elif kind == "file":
        record.files.append(entry)
    elif kind == "terms":
        record.terms.append(_terms(entry))
    elif kind == "stop":
        record.why_stopped = _text(entry.get("why"))
    elif kind == "non_finite":
        record.non_finite = (_integer(entry.get("step")) or 0, _text(entry.get("what")))
    elif isinstance(kind, str):
        record.others.setdefault(kind, []).append(entry)


def _take_optimizer(entry: dict[str, Any], optimizers: dict[int, OptimizerRecord]) -> None:
    """The optimizer's line; a later one with changed groups replaces what it says."""
    index = _integer(entry.get("optimizer")) or 0
    found = optimizers.setdefault(index, OptimizerRecord(index))
    found.class_name = _text(entry.get("class")) or found.class_name
    found.module = _text(entry.get("module")) or found.module
    groups = [_group(group) for group in _list(entry.get("groups")) if isinstance(group, dict)]
    found.groups = groups or found.groups
    found.layers = [str(name) for name in _list(entry.get("layers"))] or found.layers
    shapes = _list(entry.get("shapes"))
    found.shapes = [[_integer(n) or 0 for n in _list(shape)] for shape in shapes] or found.shapes
    dtypes = entry.get("dtypes")
    if isinstance(dtypes, dict):
        found.dtypes = {str(name): _integer(count) or 0 for name, count in dtypes.items()}
    found.model_tensors = _integer(entry.get("model_tensors"))
    found.not_in_optimizer = [str(name) for name in _list(entry.get("not_in_optimizer"))]
    found.batch_norm_layers = _integer(entry.get("batch_norm_layers"))
    biases = [_integer(position) for position in _list(entry.get("bias_before_batch_norm"))]
    found.bias_before_batch_norm = [position for position in biases if position is not None]
    if isinstance(entry.get("frozen"), list):
        positions = [_integer(position) for position in entry["frozen"]]
        found.frozen = [position for position in positions if position is not None]
    found.shared_tensors = _integer(entry.get("shared_tensors")) or 0
    found.sharded = entry.get("sharded") is True
    replicas = [_integer(count) for count in _list(entry.get("replicas"))]
    found.replicas = [count for count in replicas if count]


def _group(group: dict[str, Any]) -> dict[str, Any]:
    """A group's hyperparameters; one that is no finite number is not known."""
    return {
        str(name): (_rate if name in RATES else _finite)(value)
        if isinstance(value, float)
        else value
        for name, value in group.items()
    }


def step_of(entry: dict[str, Any]) -> Step:
    """A line of kind `step`."""
    rates = []
    for rate in _list(entry.get("learning_rate")):
        if (known := _rate(rate)) is None:
            break  # a rate stands at the position of its group
        rates.append(known)
    unscaled = entry.get("unscaled")
    return Step(
        step=_integer(entry.get("step")) or 0,
        events=_text(entry.get("events")),
        backward_calls=_integer(entry.get("backward_calls")),
        backward_roots=_floats(entry.get("backward_roots")),
        learning_rate=rates,
        pre_clip_norm=number_of(entry.get("pre_clip_norm")),
        post_clip_norm=number_of(entry.get("post_clip_norm")),
        clips=[_clip(clip) for clip in _list(entry.get("clips")) if isinstance(clip, dict)],
        with_gradient=_integer(entry.get("with_gradient")),
        layer_norms=_floats(entry.get("layer_norms")),
        layers_are_local=entry.get("layer_norms_are") == "local",
        batch_norm=[
            BatchNormSeen(
                _text(seen.get("mode")), _integer(seen.get("batch")),
                _integer(seen.get("calls")) or 1, _integer(seen.get("synced_over")),
                seen.get("no_grad") is True,
            )
            for seen in _list(entry.get("batch_norm"))
            if isinstance(seen, dict)
        ],
        update_ratio=_floats(entry.get("update_ratio")),
        weight_norms=_floats(entry.get("weight_norms")),
        last_update=_last_update(entry.get("last_update")),
        autocast=[
            _text(cast.get("dtype"))
            for cast in _list(entry.get("autocast"))
            if isinstance(cast, dict)
        ],
        loss_scale=_finite(entry.get("loss_scale")),
        unscaled=unscaled if isinstance(unscaled, bool) else None,
        skipped=entry.get("skipped") is True,
        closure_calls=_integer(entry.get("closure_calls")),
        stale_gradients=_integer(entry.get("stale_gradients")),
        non_finite=[str(name) for name in _list(entry.get("non_finite"))],
    )  # fmt: skip


def _last_update(entry: object) -> LastUpdate | None:
    if not isinstance(entry, dict):
        return None
    counts = [_integer(entry.get(name)) or 0 for name in ("looked", "moved", "kept", "back")]
    clamped = _integer(entry.get("clamped")) or 0
    return LastUpdate(
        counts[0], counts[1], counts[2], counts[3], _finite(entry.get("left")), clamped
    )


def _clip(entry: dict[str, Any]) -> Clip:
    limit = entry.get("clip_value") if "clip_value" in entry else entry.get("clip_norm")
    unscaled = entry.get("unscaled")
    return Clip(
        what=_text(entry.get("what")),
        limit=_finite(limit),
        pre_clip_norm=number_of(entry.get("pre_clip_norm")),
        covered=_integer(entry.get("covered")),
        of=_integer(entry.get("of")),
        with_gradient=_integer(entry.get("with_gradient")),
        unscaled=unscaled if isinstance(unscaled, bool) else None,
        norm_type=number_of(entry.get("norm_type")),
    )


def _terms(entry: dict[str, Any]) -> Terms:
    found = [term for term in _list(entry.get("terms")) if isinstance(term, dict)]
    norms = [
        None if term.get("active") is False else number_of(term.get("gradient_norm"))
        for term in found
    ]  # fmt: skip
    return Terms(
        step=_integer(entry.get("step")) or 0,
        names=[_text(term.get("name")) for term in found],
        weights=[_finite(term.get("weight")) for term in found],
        norms=norms,
        cosines=[_floats(row) for row in _list(entry.get("cosines"))],
        total_norm=number_of(entry.get("total_norm")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _finite(value: object) -> float | None:
    number = number_of(value)
    return number if number is not None and isfinite(number) else None


def _rate(value: object) -> float | None:
    """A learning rate as it was written: one that is a tensor is held in single precision, where
    0.1 is 0.100000001, and above a limit of 0.1."""
    rate = _finite(value)
    if rate is None:
        return None
    short = float(f"{rate:.6g}")
    return short if abs(short - rate) <= SINGLE * abs(rate) else rate


def _floats(value: object) -> list[float | None]:
    return [number_of(item) for item in _list(value)]
