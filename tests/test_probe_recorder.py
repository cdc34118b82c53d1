"""The recorder on real scripts: it changes nothing, and says what they measure themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from probe_support import Lines, assert_faithful, needs, read, run_both, run_recorded
from support import needs_gpus

pytestmark = [pytest.mark.torch, needs("torch")]


def settled(record: Lines, name: str) -> set[Any]:
    """The values of a column from step 2 on."""
    return {step[name] for step in record.steps[1:]}


def clips_of(record: Lines) -> list[dict[str, Any]]:
    """The one clip of each step from step 2 on."""
    return [clip for step in record.steps[1:] for clip in step["clips"]]


def test_a_plain_loop(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "plain.py")
    assert_faithful(both)
    record, kept = both.record, both.kept
    header, (optimizer,) = record.header, record.optimizers
    assert (header["schema"], header["program"], header["device"]) == (1, "plain.py", device)
    assert optimizer["class"] == "AdamW"
    assert optimizer["layers"] == ["0.weight", "4.weight", "0.bias", "1.weight", "1.bias", "4.bias"]
    assert optimizer["shapes"][:2] == [[8, 3, 3, 3], [10, 128]]
    assert [g["tensors"] for g in optimizer["groups"]] == [2, 4]
    assert [g["elements"] for g in optimizer["groups"]] == [216 + 1280, 8 + 8 + 8 + 10]
    assert [g["weight_decay"] for g in optimizer["groups"]] == [0.1, 0.0]
    assert optimizer["groups"][0]["betas"] == [0.9, 0.95]
    assert optimizer["groups"][0]["initial_learning_rate"] == 1e-2
    assert optimizer["model_tensors"] == 7
    assert optimizer["not_in_optimizer"] == ["unused"]
    assert optimizer["batch_norm_layers"] == 1
    assert optimizer["bias_before_batch_norm"] == [2]
    assert record.column("step") == list(range(1, 17))
    assert record.column("learning_rate") == both.near(kept["rates"])
    assert record.column("pre_clip_norm") == both.near(kept["before"])
    assert record.column("post_clip_norm") == both.near(kept["after"])
    assert record.column("layer_norms") == both.near(kept["layers"])
    roots = [root for step in record.steps for root in step["backward_roots"]]
    assert roots == both.near(kept["losses"])
    assert settled(record, "events") == {"LZBBCS"}
    assert settled(record, "backward_calls") == {2}
    assert settled(record, "stale_gradients") == {0}
    assert clips_of(record)[0] == {
        "what": "norm", "clip_norm": 0.5, "norm_type": 2.0, "covered": 6, "of": 6,
        "with_gradient": 6, "pre_clip_norm": both.near(kept["before"][1]),
    }  # fmt: skip
    assert record.steps[3]["batch_norm"] == [
        {"mode": "train", "batch": 16, "calls": 2, "synced_over": 1}
    ]
    looked = [step["step"] for step in record.steps if "update_ratio" in step]
    assert looked == [10]
    assert record.steps[9]["update_ratio"] == both.near(kept["updates"][9], 1e-4)
    assert "non_finite" not in record.steps[0]


def test_two_optimizers(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "gan.py")
    assert_faithful(both)
    of_d, of_g = both.record.steps_of(0), both.record.steps_of(1)
    assert [len(of_d), len(of_g)] == [20, 10]
    assert [step["layer_norms"] for step in of_d] == both.near(both.kept["d"])
    assert [step["layer_norms"] for step in of_g] == both.near(both.kept["g"])
    # The generator's backward also reaches the discriminator, which zeroes that again.
    assert {step["backward_calls"] for step in of_d} == {2}
    assert {step["backward_calls"] for step in of_g} == {1}
    assert {step["stale_gradients"] for step in of_d[1:]} == {0}
    assert {step["events"] for step in of_g} == {"ZBS"}
    assert [step["events"] for step in of_d[:4]] == ["ZBBS", "ZBBS", "BZBBS", "ZBBS"]
    groups = [optimizer["groups"][0] for optimizer in both.record.optimizers]
    assert [group["fused"] for group in groups] == [True, None]
    assert [group["foreach"] for group in groups] == [None, True]


def test_one_backward_for_two_optimizers(tmp_path: Path, device: str) -> None:
    """Each has its own calls: the second clip is not one before any backward. Sparse gradients, a
    rate that is a tensor, a group that comes later."""
    both = run_both(tmp_path, device, "joint.py")
    assert_faithful(both)
    sparse, dense = both.record.steps_of(0), both.record.steps_of(1)
    assert {step["events"] for step in sparse[1:]} == {"ZBS"}
    assert {step["events"] for step in dense[1:]} == {"LZBCS"}
    assert [step["layer_norms"] for step in sparse] == both.near(both.kept["sparse"])
    assert [step["pre_clip_norm"] for step in dense] == both.near(both.kept["dense"])
    assert {step["stale_gradients"] for step in both.record.all_steps[2:]} == {0}
    described = [o["layers"] for o in both.record.optimizers if o["optimizer"] == 1]
    assert described == [["1.weight"], ["1.weight", "1.bias"]]
    assert [len(step["layer_norms"]) for step in dense] == [1] * 5 + [2] * 7


def test_a_closure(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "lbfgs.py")
    assert_faithful(both)
    assert both.record.column("layer_norms") == both.near(both.kept["last"])
    assert both.record.column("closure_calls") == both.kept["calls"]
    assert settled(both.record, "backward_calls") == {1}
    # The change over the whole step: the weights are kept before the first evaluation.
    assert all(ratio > 0 for ratio in both.record.steps[9]["update_ratio"])


def test_autocast(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "amp.py")
    assert_faithful(both)
    assert both.record.column("pre_clip_norm") == both.near(both.kept["before"])
    assert both.record.column("layer_norms") == both.near(both.kept["layers"])
    assert both.record.steps[4]["autocast"] == [{"device": device, "dtype": "bfloat16"}]
    assert both.record.optimizers[0]["groups"][0]["nesterov"] is True


def test_halves_are_summed_in_single_precision(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "half.py")
    assert_faithful(both)
    assert both.record.optimizers[0]["dtypes"] == {"torch.bfloat16": 4}
    assert both.record.column("layer_norms") == both.near(both.kept["layers"])
    assert both.record.column("pre_clip_norm") == both.record.column("post_clip_norm")


@pytest.mark.parametrize("fused", [[], ["fused"]])
@pytest.mark.parametrize(
    ("order", "plain", "when_fused"),
    [("right", "ZBUCS", "ZBUCS"), ("early", "ZBCUS", "ZBCS"), ("after", "CZBUS", "CZBS")],
)
def test_a_loss_scale(
    tmp_path: Path, device: str, order: str, plain: str, when_fused: str, fused: list[str]
) -> None:
    both = run_both(tmp_path, device, "scaler.py", order, *fused)
    assert_faithful(both)
    record, kept = both.record, both.kept
    events = when_fused if fused else plain
    wanted = [events[:-1] + "K" if step == 7 else events for step in range(2, 13)]
    assert record.column("events")[1:] == wanted
    assert [step["step"] for step in record.steps if step["skipped"]] == [7]
    assert record.column("loss_scale") == kept["scales"]
    finite = [step for step in record.steps if not step["skipped"]]
    at = [step["step"] - 1 for step in finite]
    # Divided by the scale, whenever the clip came.
    before = [step["pre_clip_norm"] for step in finite]
    true = [sum(n * n for n in kept["layers"][i]) ** 0.5 for i in at]
    assert before == both.near(true, 1e-3)  # bf16 and fp16 gradients: unscaling rounds
    raw = [clip["pre_clip_norm"] for step in finite[1:] for clip in step["clips"]]
    unscaled = {clip.get("unscaled", True) for step in finite[1:] for clip in step["clips"]}
    if order == "right":
        assert raw == both.near([kept["before"][i] for i in at[1:]])
        assert unscaled == {True}
        assert all(step["post_clip_norm"] <= 0.1001 for step in finite)
    elif order == "early":
        assert raw == both.near([kept["before"][i] for i in at[1:]])
        assert raw[0] > 100 * before[1]
        assert unscaled == {False}
        assert all(step["post_clip_norm"] < 1e-4 for step in finite)
    else:
        assert unscaled == {True}
        assert [step["post_clip_norm"] for step in finite] == both.near(before)
    (skipped,) = [step for step in record.steps if step["skipped"]]
    assert skipped["non_finite"][0] == "0.weight"
    assert "update_ratio" not in skipped


@pytest.mark.parametrize(
    ("mode", "events", "covered", "of"),
    [
        ("no-zero", "BS", None, None),
        ("by-hand", "BS", None, None),
        ("clip-first", "ZCBS", 2, 4),
        ("clip-after", "CZBS", 2, 4),
        ("partial", "ZBCS", 2, 4),
        ("value", "ZBCS", 2, 4),
        ("with-norm", "ZBCS", 4, 4),
        ("max-norm", "ZBCS", 4, 4),
        ("each", "ZBCCCCS", 1, 4),
    ],
)
def test_orders(
    tmp_path: Path, device: str, mode: str, events: str, covered: int | None, of: int
) -> None:
    both = run_both(tmp_path, device, "order.py", mode)
    assert_faithful(both)
    record = both.record
    assert settled(record, "events") == {events}
    assert settled(record, "stale_gradients") == {4 if mode == "no-zero" else 0}
    assert record.column("pre_clip_norm") == both.near(both.kept["before"])
    clips = clips_of(record)
    if covered is None:
        assert clips == []
        return
    assert {(clip["covered"], clip["of"]) for clip in clips} == {(covered, of)}
    changed = [s["post_clip_norm"] < s["pre_clip_norm"] * 0.999 for s in record.steps]
    assert any(changed) == (mode not in ("clip-first", "clip-after"))
    if mode == "clip-first":
        assert {clip["with_gradient"] for clip in clips} == {0}
    if mode == "value":
        assert clips[0]["clip_value"] == 0.001
    if mode == "max-norm":
        assert {clip["norm_type"] for clip in clips} == {"inf"}


def test_what_must_not_notice(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "odd.py")
    assert_faithful(both)
    assert both.kept["named"] is False
    record = both.record
    assert record.column("step") == [1, 2, 3, 4, 5, 6, 7]  # one of eight raised
    # A backward inside of a backward is part of it.
    assert {step["events"] for step in record.steps} == {"ZBCS", "ZBCZBCS"}
    assert settled(record, "backward_calls") == {1}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["model", "optimizer", "both", "whole"])
def test_compiled(tmp_path: Path, device: str, mode: str) -> None:
    both = run_both(tmp_path, device, "compiled.py", mode)
    assert_faithful(both)
    assert both.record.column("pre_clip_norm") == both.near(both.kept["before"])
    assert settled(both.record, "events") == {"ZBCS"}
    seen = both.record.steps[3]["batch_norm"]
    if mode == "optimizer":
        assert seen == [{"mode": "train", "batch": 8, "calls": 1, "synced_over": 1}]
    else:
        assert seen == []
        assert "compiled" in both.record.notes["batch_norm_unseen"]


@pytest.mark.slow
def test_two_replicas(tmp_path: Path, device: str) -> None:
    needs_gpus(2, device)
    both = run_both(tmp_path, device, "ddp.py", ranks=2)
    assert_faithful(both)
    for rank, record in enumerate(both.ranks):
        assert (record.header["rank"], record.header["world_size"]) == (rank, 2)
        assert record.column("pre_clip_norm") == both.near(both.recorded[rank]["before"])
        assert record.column("layer_norms") == both.near(both.recorded[rank]["layers"])
        assert settled(record, "events") == {"ZBBCS"}
        assert record.optimizers[0]["layers"][0] == "0.weight"
    first, second = both.ranks
    assert first.column("layer_norms") == second.column("layer_norms")
    assert first.column("backward_roots") != second.column("backward_roots")


@pytest.mark.slow
@pytest.mark.gpu
def test_one_replica_on_nccl(tmp_path: Path) -> None:
    """Where there is one GPU: two ranks of nccl cannot share it."""
    needs_gpus(1)
    both = run_both(tmp_path, "cuda", "ddp.py", launched=True)
    assert_faithful(both)
    assert both.record.column("pre_clip_norm") == both.near(both.kept["before"])
    assert settled(both.record, "events") == {"ZBBCS"}


@pytest.mark.slow
def test_two_shards(tmp_path: Path, device: str) -> None:
    needs_gpus(2, device)
    both = run_both(tmp_path, device, "fsdp2.py", ranks=2)
    assert_faithful(both)
    whole = both.kept["whole"]
    for record in both.ranks:
        assert record.optimizers[0]["sharded"] is True
        assert set(record.optimizers[0]["replicas"]) == {1}
        assert record.optimizers[0]["shapes"][0] == [33, 32]
        assert settled(record, "layer_norms_are") == {"local"}
        assert record.steps[0]["pre_clip_norm"] == both.near(whole)
    parts = zip(*(record.steps[0]["layer_norms"] for record in both.ranks), strict=True)
    joined = [(a * a + b * b) ** 0.5 for a, b in parts]
    assert joined == both.near(both.kept["whole_layers"], 1e-5)


@pytest.mark.slow
@needs("transformers", "accelerate")
def test_hugging_face_trainer(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "hf.py")
    assert_faithful(both)
    assert both.record.column("pre_clip_norm") == both.near(both.kept["before"])
    assert {clip["clip_norm"] for clip in clips_of(both.record)} == {0.5}
    assert settled(both.record, "events") == {"LZBBCS"}
    assert settled(both.record, "backward_calls") == {2}


@pytest.mark.slow
@needs("lightning")
@pytest.mark.parametrize(("mode", "events"), [("automatic", "ZBBCS"), ("manual", "ZBCS")])
def test_lightning(tmp_path: Path, device: str, mode: str, events: str) -> None:
    both = run_both(tmp_path, device, "lit.py", mode)
    assert_faithful(both)
    assert settled(both.record, "events") == {events}
    assert settled(both.record, "closure_calls") == {1}
    assert {clip["clip_norm"] for clip in clips_of(both.record)} == {0.3}
    assert both.record.steps[2]["batch_norm"] == [
        {
            "mode": "train", "batch": 8, "calls": 2 if mode == "automatic" else 1,
            "synced_over": 1,
        }
    ]  # fmt: skip
    assert all(step["post_clip_norm"] <= 0.3001 for step in both.record.steps)


@pytest.mark.slow
@needs("accelerate")
def test_accelerate(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "acc.py")
    assert_faithful(both)
    assert both.record.column("pre_clip_norm") == both.near(both.kept["before"])
    assert settled(both.record, "events") == {"LZBBBBCS"}
    assert settled(both.record, "backward_calls") == {4}
    assert both.record.steps[2]["autocast"] == [{"device": device, "dtype": "bfloat16"}]


FROZEN = """
import torch
body, head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)
body.requires_grad_(False)
optimizer = torch.optim.AdamW([*body.parameters(), *head.parameters()])
for step in range(3):
    optimizer.zero_grad()
    head(body(torch.ones(2, 4))).sum().backward()
    optimizer.step()
"""


def test_tensors_that_ask_for_no_gradient_are_named(tmp_path: Path) -> None:
    run_recorded(tmp_path, FROZEN)
    record = read(tmp_path / "record" / "rank-0.jsonl")
    assert record.optimizers[0]["frozen"] == [0, 1]
    assert {step["with_gradient"] for step in record.steps} == {2}


BESIDE = """
import torch
body = torch.nn.Sequential(torch.nn.Linear(4, 3))
policy, value = torch.nn.Linear(3, 2), torch.nn.Linear(3, 1)
parameters = [p for module in (body, policy, value) for p in module.parameters()]
optimizer = torch.optim.AdamW(parameters)
for step in range(3):
    optimizer.zero_grad()
    hidden = body(torch.ones(2, 4))
    (policy(hidden).sum() + value(hidden).sum()).backward()
    optimizer.step()
"""


def test_models_beside_each_other_with_one_name_are_told_apart(tmp_path: Path) -> None:
    run_recorded(tmp_path, BESIDE)
    record = read(tmp_path / "record" / "rank-0.jsonl")
    assert record.optimizers[0]["layers"] == [
        "0.weight", "0.bias", "Linear.weight", "Linear.bias", "Linear#2.weight", "Linear#2.bias",
    ]  # fmt: skip
