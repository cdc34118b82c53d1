"""Reading a record: its form, its faults, several ranks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_support import HEADER, record_of, write_record

from gradaudit.evidence.record_reader import BadRecord, read_record

OPTIMIZER: dict[str, Any] = {
    "kind": "optimizer", "optimizer": 0, "class": "AdamW", "module": "torch.optim.adamw",
    "groups": [{"tensors": 2, "learning_rate": 1e-3, "initial_learning_rate": None}],
    "layers": ["a.weight", "b.weight"], "shapes": [[4, 4], [4, 4]],
    "dtypes": {"torch.float32": 2}, "batch_norm_layers": 0, "bias_before_batch_norm": [],
    "sharded": False,
}  # fmt: skip


def step(number: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": "step", "optimizer": 0, "step": number, "events": "ZBCS", "backward_calls": 1,
        "learning_rate": [1e-3], "pre_clip_norm": 2.0, "post_clip_norm": 1.0, "skipped": False,
        "clips": [{"what": "norm", "clip_norm": 1.0, "pre_clip_norm": 2.0, "covered": 2, "of": 2}],
        **more,
    }  # fmt: skip


def test_a_record_as_the_recorder_writes_it(tmp_path: Path) -> None:
    entries = [
        OPTIMIZER,
        *(step(number, batch_norm=[{"mode": "train", "batch": 6, "calls": 2}]) for number in
          range(1, 5)),
        {"kind": "file", "operation": "write", "path": "out/last.ckpt", "step": 0},
        {"kind": "note", "topic": "compiled_step", "text": "the step is compiled"},
        {"kind": "a kind of tomorrow", "value": 1},
        {"kind": "stop", "why": "steps", "steps": 4},
    ]  # fmt: skip
    record = read_record(str(write_record(tmp_path / "probe", entries, ranks=1)))
    (optimizer,) = record.optimizers
    assert (optimizer.class_name, len(optimizer.steps)) == ("AdamW", 4)
    assert optimizer.clip_norm == 1.0
    assert optimizer.backward_calls == 1
    assert optimizer.batch_norm_batch == 6
    assert optimizer.precision == "fp32"
    assert record.why_stopped == "steps"
    assert record.topics == {"compiled_step"}
    assert record.files[0]["path"] == "out/last.ckpt"
    assert record.others["a kind of tomorrow"][0]["value"] == 1
    assert record.remarks == []


def test_numbers_that_json_has_not() -> None:
    record = record_of([OPTIMIZER, step(1, pre_clip_norm="nan", post_clip_norm="-inf"), step(2)])
    first = record.optimizers[0].steps[0]
    assert first.pre_clip_norm is not None
    assert math.isnan(first.pre_clip_norm)
    assert first.post_clip_norm == -math.inf


@pytest.mark.parametrize(
    ("recorded", "written"),
    [(0.100000001, 0.1), (0.10000000149011612, 0.1), (9.80000012e-4, 9.8e-4), (0.0, 0.0),
     (0.1000001, 0.1000001), (0.123456789, 0.123456789), (1e300, 1e300)],
)  # fmt: skip
def test_a_rate_in_single_precision_is_the_one_that_was_written(
    recorded: float, written: float
) -> None:
    """`lr=torch.tensor(0.1)`: it is not above 0.1."""
    group = {"learning_rate": recorded, "initial_learning_rate": recorded, "eps": 0.100000001}
    record = record_of([{**OPTIMIZER, "groups": [group]}, step(1, learning_rate=[recorded])])
    (optimizer,) = record.optimizers
    assert optimizer.steps[0].learning_rate == [written]
    assert optimizer.groups == [
        {"learning_rate": written, "initial_learning_rate": written, "eps": 0.100000001}
    ]


def test_a_cut_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    path = write_record(tmp_path, [OPTIMIZER, step(1), step(2)]) / "rank-0.jsonl"
    text = path.read_text()
    path.write_text(text[: len(text) - 30])
    record = read_record(str(tmp_path))
    assert [one.step for one in record.optimizers[0].steps] == [1]
    assert "cut off" in record.remarks[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ('{"kind": "step"}\n', "does not begin with a header"),
        ('{"kind": "header"}\n', "has no schema"),
        ('{"kind": "header", "schema": 2}\n', "update gradaudit"),
        ('{"kind": "header", "schema": 0}\n', "record again"),
        ('{"kind": "header", "schema": 1}\n{"kind": \n{"kind": "stop"}\n', "line 2"),
        ('{"kind": "header", "schema": 1}\n[1]\n{"kind": "stop"}\n', "line 2"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_mend(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rank-0.jsonl").write_text(text)
    with pytest.raises(BadRecord, match=said):
        read_record(str(tmp_path))


def test_no_record_where_one_was_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match="does not exist"):
        read_record(str(tmp_path / "gone"))
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRecord, match="is a file"):
        read_record(str(tmp_path / "file"))
    with pytest.raises(BadRecord, match="holds no record"):
        read_record(str(tmp_path))
    write_record(tmp_path / "20261127-200000", [OPTIMIZER, step(1)])
    with pytest.raises(BadRecord, match=r"did you mean .*20261127-200000"):
        read_record(str(tmp_path))


@pytest.mark.parametrize("value", [None, "x", [], {}, True, 1e999, -1, [[]], "nan"])
def test_values_of_another_type_are_unknown_not_a_fault(value: Any) -> None:
    """Of every key of a step; the file may come from anywhere."""
    keys = [key for key in step(1, layer_norms=[], batch_norm=[], non_finite=[]) if key != "kind"]
    for key in keys:
        if key in ("step", "optimizer"):
            continue
        text = json.dumps([HEADER, OPTIMIZER, step(1, **{key: value})])
        entries = json.loads(text)[1:]
        record = record_of(entries)
        assert len(record.optimizers) == 1
        record.optimizers[0].series()


def test_a_second_process_of_a_rank_is_named_not_merged(tmp_path: Path) -> None:
    write_record(tmp_path, [OPTIMIZER, step(1), step(2)])
    (tmp_path / "rank-0.4711.jsonl").write_text("anything")
    record = read_record(str(tmp_path))
    assert len(record.optimizers[0].steps) == 2
    assert "rank-0.4711.jsonl" in record.remarks[0]


def test_groups_that_changed_replace_the_earlier_ones() -> None:
    later = {**OPTIMIZER, "groups": [{"weight_decay": 0.1}]}
    record = record_of([OPTIMIZER, step(1), later])
    assert record.optimizers[0].groups == [{"weight_decay": 0.1}]
    assert len(record.optimizers[0].steps) == 1


# Several ranks


def test_replicas_that_agree_are_one() -> None:
    record = record_of([OPTIMIZER, *(step(n) for n in range(1, 9))], ranks=2)
    assert record.ranks == [0, 1]
    assert len(record.optimizers[0].steps) == 8
    assert record.disagreements == []


def test_replicas_that_differ_are_a_disagreement() -> None:
    steps = [step(1), step(2, post_clip_norm=[1.0, 1.1]), step(3, post_clip_norm=[1.0, 1.1])]
    (found,) = record_of([OPTIMIZER, *steps], ranks=2).disagreements
    assert (found.step, found.steps, found.of) == (2, 2, 3)
    assert found.norms == [1.0, 1.1]


def test_rounding_is_no_disagreement_and_nan_is_one() -> None:
    near = step(1, post_clip_norm=[1.0, 1.00001])
    assert record_of([OPTIMIZER, near], ranks=2).disagreements == []
    both = step(1, post_clip_norm=["nan", "nan"])
    assert record_of([OPTIMIZER, both], ranks=2).disagreements == []
    one = step(1, post_clip_norm=["nan", 1.0])
    assert len(record_of([OPTIMIZER, one], ranks=2).disagreements) == 1


@pytest.mark.parametrize(
    ("layers", "norms", "differ"),
    [
        (["a", "b"], [], False),
        ([], [], False),
        (["a"], [], True),
        (["a"], [1.0], True),
        (["a", "b"], [1.0, None], True),
        (["a", "b"], [0.8, 0.6], False),
        (["a", "b"], [None, None], False),
    ],
)
def test_the_norm_before_the_clip_tells_of_a_single_tensor_only(
    layers: list[str], norms: list[float | None], differ: bool
) -> None:
    """Ranks that clip first and average then have another norm before it, and one gradient."""
    lines = [step(n, pre_clip_norm=[2.0, 3.0], layer_norms=[norms, norms]) for n in range(1, 9)]
    record = record_of([{**OPTIMIZER, "layers": layers}, *lines], ranks=2)
    assert bool(record.disagreements) == differ


def test_unmarked_shards_are_said_and_never_added_up() -> None:
    note = {"kind": "note", "topic": "fsdp1", "text": "FSDP1: partial"}
    differ = step(1, post_clip_norm=[0.0766, 0.0643], clips=[])
    record = record_of([OPTIMIZER, differ, note], ranks=2)
    assert record.disagreements == []
    only = record.optimizers[0].steps[0]
    assert only.post_clip_norm is None
    assert only.pre_clip_norm is None
    assert any("a part of the gradient" in remark for remark in record.remarks)


def test_steps_that_a_rank_lacks_are_left_out(tmp_path: Path) -> None:
    write_record(tmp_path, [OPTIMIZER, *(step(n) for n in range(1, 6))], ranks=2)
    path = tmp_path / "rank-1.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    record = read_record(str(tmp_path))
    assert [one.step for one in record.optimizers[0].steps] == [1, 2, 3]
    assert any("2 steps are not in" in remark for remark in record.remarks)


def test_a_missing_rank_is_said(tmp_path: Path) -> None:
    write_record(tmp_path, [OPTIMIZER, step(1)], ranks=3)
    (tmp_path / "rank-1.jsonl").unlink()
    record = read_record(str(tmp_path))
    assert record.ranks == [0, 2]
    assert any("of 3 ranks 1 left no file here (1)" in remark for remark in record.remarks)


vectors = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12), min_size=1, max_size=4)


def norm(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values))


def sharded(parts: list[list[list[float]]], replicas: list[int]) -> list[dict[str, Any]]:
    """The lines of each rank: `parts[rank][layer]` are the elements that it holds."""
    lines = []
    for own in parts:
        norms = [norm(layer) for layer in own]
        lines.append(
            step(1, layer_norms=norms, post_clip_norm=norm(norms), clips=[], pre_clip_norm=None,
                 layer_norms_are="local")
        )  # fmt: skip
    assert len(replicas) == len(parts[0])
    return lines


def write_ranks(folder: Path, optimizer: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    for rank, line in enumerate(lines):
        head = {**HEADER, "rank": rank, "world_size": len(lines)}
        text = "".join(json.dumps(entry) + "\n" for entry in (head, optimizer, line))
        (folder / f"rank-{rank}.jsonl").write_text(text)


@given(vectors, st.integers(1, 4), st.booleans())
def test_shards_add_up_to_the_norm_of_the_whole(
    layers: list[list[float]], ranks: int, twice: bool
) -> None:
    """However elements are dealt out to ranks, and where each piece lies on two of them."""
    from tempfile import TemporaryDirectory

    pieces = [[layer[rank::ranks] for layer in layers] for rank in range(ranks)]
    copies = 2 if twice else 1
    optimizer = {**OPTIMIZER, "sharded": True, "layers": [f"l{i}" for i in range(len(layers))],
                 "replicas": [copies] * len(layers)}  # fmt: skip
    with TemporaryDirectory() as name:
        write_ranks(Path(name), optimizer, sharded(pieces * copies, [copies] * len(layers)))
        record = read_record(name)
    (only,) = record.optimizers[0].steps
    whole = norm([norm(layer) for layer in layers])
    assert only.post_clip_norm == pytest.approx(whole, rel=1e-9, abs=1e-12)
    assert only.pre_clip_norm == only.post_clip_norm
    for merged, layer in zip(only.layer_norms, layers, strict=True):
        assert merged == pytest.approx(norm(layer), rel=1e-9, abs=1e-12)
    assert record.disagreements == []


def test_a_shard_without_its_others_has_no_norm(tmp_path: Path) -> None:
    optimizer = {**OPTIMIZER, "sharded": True, "replicas": [1, 1]}
    lines = sharded([[[1.0], [2.0]], [[3.0], [4.0]]], [1, 1])
    write_ranks(tmp_path, optimizer, lines)
    (tmp_path / "rank-1.jsonl").unlink()
    (only,) = read_record(str(tmp_path)).optimizers[0].steps
    assert only.post_clip_norm is None
    assert only.layer_norms == []


def test_shards_of_unknown_copies_have_no_norm(tmp_path: Path) -> None:
    lines = sharded([[[1.0], [2.0]], [[3.0], [4.0]]], [1, 1])
    write_ranks(tmp_path, {**OPTIMIZER, "sharded": True}, lines)
    (only,) = read_record(str(tmp_path)).optimizers[0].steps
    assert only.post_clip_norm is None


def test_updates_of_shards_are_joined(tmp_path: Path) -> None:
    optimizer = {**OPTIMIZER, "sharded": True, "replicas": [1, 1]}
    lines = sharded([[[3.0], [0.0]], [[4.0], [0.0]]], [1, 1])
    for line, ratio, weight in zip(lines, (0.1, 0.2), (3.0, 4.0), strict=True):
        line |= {"update_ratio": [ratio, None], "weight_norms": [weight, None]}
    write_ranks(tmp_path, optimizer, lines)
    (only,) = read_record(str(tmp_path)).optimizers[0].steps
    assert only.weight_norms == [pytest.approx(5.0), None]
    assert only.update_ratio == [pytest.approx(norm([0.3, 0.8]) / 5), None]
