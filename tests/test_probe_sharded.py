"""Gradients in pieces: DeepSpeed, FSDP1 and HSDP. What is known is exact, the rest is said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from probe_support import (
    LOOP,
    PYTHON,
    TRAINING,
    assert_faithful,
    needs,
    probe,
    read,
    run_both,
    run_recorded,
)
from support import needs_gpus

from gradaudit.evidence.record_reader import read_record

COMPILES = pytest.mark.skipif(
    shutil.which("c++") is None, reason="DeepSpeed compiles an operation: no C++ compiler"
)
pytestmark = [pytest.mark.torch, pytest.mark.slow, needs("torch")]


@needs("deepspeed")
@COMPILES
@pytest.mark.parametrize(
    ("stage", "precision", "more"),
    [(0, "fp32", ""), (1, "bf16", ""), (2, "fp32", ""), (3, "fp32", ""), (3, "fp32", "parts")],
)
def test_deepspeed(tmp_path: Path, device: str, stage: int, precision: str, more: str) -> None:
    """Two groups of parameters: ZeRO steps the optimizer of torch for each of them, or for each
    part of one."""
    needs_gpus(2, device)
    both = run_both(tmp_path, device, "zero.py", str(stage), precision, more, ranks=2)
    assert_faithful(both)
    for rank, record in enumerate(both.ranks):
        assert record.column("step") == list(range(1, 13))
        assert {step["events"] for step in record.steps[1:]} == {"BBCS"}
        assert {step["backward_calls"] for step in record.steps[1:]} == {2}
        before = record.column("pre_clip_norm")
        assert before[0] == both.near(both.kept["whole"], 1e-2 if precision == "bf16" else 1e-5)
        if stage:
            assert before == both.near(both.recorded[rank]["before"])
        clips = [clip for step in record.steps for clip in step["clips"]]
        assert [clip["clip_norm"] for clip in clips] == [0.1] * 12
        assert [clip["pre_clip_norm"] for clip in clips] == both.near(before)
        (optimizer,) = record.optimizers
        assert optimizer["sharded"] is (stage > 0)
        assert {step["layer_norms_are"] for step in record.steps} == {
            "local" if stage else "global"
        }
        assert [group["weight_decay"] for group in optimizer["groups"]] == [0.1, 0.0]
        assert {tuple(step["learning_rate"]) for step in record.steps} == {(1e-3, 2e-3)}
        tensors = [group["tensors"] for group in optimizer["groups"]]
        layers = optimizer["layers"]
        if not stage:
            assert layers == ["0.weight", "2.weight", "0.bias", "2.bias"]
        else:
            assert layers == [f"?{i}" for i in range(sum(tensors))]
            assert tensors == ([2, 1] if more else [1, 1])
        assert {step["with_gradient"] for step in record.steps} == {len(layers)}
        assert all(clip["covered"] == clip["of"] == len(layers) for clip in clips)
        (tenth,) = [step for step in record.steps if "update_ratio" in step]
        assert tenth["step"] == 10
        for name in ("layer_norms", "weight_norms", "update_ratio"):
            assert len(tenth[name]) == len(layers)
            assert all(value > 0 for value in tenth[name])
        (looked,) = [step["last_update"] for step in record.steps if "last_update" in step]
        assert (looked["looked"], looked["moved"], looked["kept"]) == (len(layers),) * 3
        said = "have no names" if stage else "is not seen"
        assert record.notes["deepspeed"].endswith(said)
    joined = sum(record.steps[0]["post_clip_norm"] ** 2 for record in both.ranks) ** 0.5
    if stage:  # all groups of all ranks are the whole: after the clip of 0.1 it has this norm
        assert joined == both.near(0.1, 1e-2 if precision == "bf16" else 1e-4)


@needs("deepspeed")
@COMPILES
def test_deepspeeds_launcher(tmp_path: Path) -> None:
    """It is ended with all its ranks; the precision of its engine is not guessed."""
    launcher = [PYTHON, "-m", "deepspeed.launcher.runner", "--num_accelerators", "2"]
    words = [*launcher, str(TRAINING / "zero.py"), str(tmp_path / "kept"), "2", "bf16"]
    given = {
        "DS_ACCELERATOR": "cpu",
        "PATH": f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}",
    }
    ran = probe(tmp_path, "--exit-zero", "--steps", "4", "-o", "r", "--", *words, **given)
    assert ran.code == 0, ran.err
    for rank in range(2):
        record = read(tmp_path / "r" / f"rank-{rank}.jsonl")
        assert record.column("step") == [1, 2, 3, 4]
        assert record.stop is not None
        assert record.stop["why"] == "steps"
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    assert "2 of 2 ranks" in ran.out
    assert "0.1" in next(line for line in ran.out.splitlines() if line.startswith("  clip"))
    assert "precision" not in ran.out.replace("the precision", "")


@pytest.mark.parametrize("pieces", ["flat", "original"])
@pytest.mark.parametrize("clip", ["own", "torch"])
def test_fsdp1(tmp_path: Path, device: str, clip: str, pieces: str) -> None:
    """Its own clip has the norm of the whole. Torch's has that of one rank's pieces, by which each
    rank would clip otherwise: it is the clip's number, and no norm of the gradient."""
    needs_gpus(2, device)
    both = run_both(tmp_path, device, "fsdp1.py", clip, pieces, ranks=2)
    assert_faithful(both)
    whole = both.kept["whole"]
    for rank, record in enumerate(both.ranks):
        kept = both.recorded[rank]
        assert "FSDP1" in record.notes["fsdp1"]
        assert record.optimizers[0]["sharded"] is True
        assert "replicas" not in record.optimizers[0]
        assert {step["layer_norms_are"] for step in record.steps} == {"local"}
        (first, *_) = record.steps[0]["clips"]
        assert (first["what"], first["clip_norm"]) == ("fsdp" if clip == "own" else "norm", 0.01)
        assert [step["clips"][0]["pre_clip_norm"] for step in record.steps] == both.near(
            kept["own"]
        )
        if clip == "own":
            assert record.steps[0]["pre_clip_norm"] == both.near(whole, 1e-5)
        else:
            assert first["pre_clip_norm"] == both.near(kept["local"][0])
            assert set(record.column("pre_clip_norm")) == {None}
    joined = sum(record.steps[0]["post_clip_norm"] ** 2 for record in both.ranks) ** 0.5
    if clip == "own":
        assert joined == both.near(0.01, 1e-4)


def test_pieces_that_two_ranks_hold(tmp_path: Path, device: str) -> None:
    """HSDP, two by two: joined over all four, each piece is counted once."""
    needs_gpus(4, device)
    both = run_both(tmp_path, device, "fsdp2.py", "hsdp", ranks=4)
    assert_faithful(both)
    for record in both.ranks:
        assert set(record.optimizers[0]["replicas"]) == {2}
        assert record.steps[0]["pre_clip_norm"] == both.near(both.kept["whole"], 1e-5)
        assert "`replicas`" in record.notes["hsdp"]
    merged = read_record(str(tmp_path / "record"))
    assert merged.optimizers[0].steps[0].post_clip_norm == both.near(both.kept["whole"], 1e-5)
    assert merged.optimizers[0].steps[0].layer_norms == both.near(both.kept["whole_layers"], 1e-5)
    assert not merged.disagreements


@needs("deepspeed")
def test_a_deepspeed_that_is_only_imported_changes_nothing(tmp_path: Path) -> None:
    """Trainers import it where it is installed."""
    (tmp_path / "loop.py").write_text("import deepspeed" + LOOP, encoding="utf-8")
    words = ("--exit-zero", "--steps", "3", "-o", "r", "--", PYTHON, "loop.py", "0")
    ran = probe(tmp_path, *words, DS_ACCELERATOR="cpu")
    assert ran.code == 0, ran.err
    record = read(tmp_path / "r" / "rank-0.jsonl")
    assert record.notes == {}
    assert all(step["pre_clip_norm"] > 0 for step in record.steps)


RAISES = """
import sys, types, torch
module = types.ModuleType("deepspeed.runtime.zero.stage_1_and_2")
class DeepSpeedZeroOptimizer:
    def __init__(self, optimizer, pieces):
        self.optimizer, self.pieces = optimizer, pieces
    def step(self, raises=False):
        for piece in self.pieces:
            self.optimizer.param_groups[0]["params"] = [piece]
            self.optimizer.step()
            if raises:
                raise RuntimeError("out of memory")
module.DeepSpeedZeroOptimizer = DeepSpeedZeroOptimizer
sys.modules[module.__name__] = module

pieces = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]
zero = DeepSpeedZeroOptimizer(torch.optim.SGD(pieces, lr=0.1), pieces)
for step in range(4):
    sum(piece.pow(2).sum() for piece in pieces).backward()
    try:
        zero.step(raises=step == 1)
    except RuntimeError:
        pass
    for piece in pieces:
        piece.grad = None
"""


def test_a_step_in_pieces_that_raised_leaves_none_of_them_to_the_next(tmp_path: Path) -> None:
    run_recorded(tmp_path, RAISES)
    steps = read(tmp_path / "record" / "rank-0.jsonl").steps
    assert [len(step["layer_norms"]) for step in steps] == [2, 2, 2]
