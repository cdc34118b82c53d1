"""The recorder where only a GPU will do: CUDA graphs, its compiler, the command itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from probe_support import (
    PYTHON,
    TRAINING,
    assert_faithful,
    needs,
    on_device,
    probe,
    read,
    run_both,
)
from support import needs_gpus
from test_probe_recorder import settled

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.gpu, needs("torch")]


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_gpus(1)
    for name, value in on_device("cuda", 1).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("mode", ["forward", "callables"])
def test_a_model_in_a_cuda_graph(tmp_path: Path, mode: str) -> None:
    """Gradients lie where the graph puts them; backward is called from Python, and seen."""
    both = run_both(tmp_path, "cuda", "graphs.py", mode)
    assert_faithful(both)
    assert both.record.column("pre_clip_norm") == both.near(both.kept["before"])
    assert settled(both.record, "events") == {"ZBCS"}


def test_a_captured_backward(tmp_path: Path) -> None:
    """Its replays pass Python by: each counts as the backward call that was captured."""
    both = run_both(tmp_path, "cuda", "graphs.py", "backward")
    assert_faithful(both)
    assert both.record.column("pre_clip_norm") == both.near(both.kept["before"])
    assert {step["events"] for step in both.record.steps[1:]} == {"BCS"}


def test_a_captured_step_of_one_optimizer(tmp_path: Path) -> None:
    """The other's steps are recorded as ever."""
    both = run_both(tmp_path, "cuda", "graphs.py", "one")
    assert_faithful(both)
    of_second = [step for step in both.record.all_steps if step["optimizer"] == 1]
    assert [step["pre_clip_norm"] for step in of_second] == both.near(both.kept["before"])
    assert {step["events"] for step in of_second[1:]} == {"ZBCS"}
    assert "12" in both.record.notes["cuda_graph"]


@pytest.mark.parametrize("mode", ["forward", "callables", "backward"])
def test_no_finding_comes_of_a_graph(tmp_path: Path, mode: str) -> None:
    """What a replay hides is no fault of the script: no call that was not seen is missed."""
    script = str(TRAINING / "graphs.py")
    ran = probe(tmp_path, "-o", "r", "--", PYTHON, script, str(tmp_path / "kept"), mode)
    assert ran.code == 0, ran.out + ran.err


def test_a_captured_step_ends_the_run_and_is_said(tmp_path: Path) -> None:
    """Nothing of ours is in the graph, and the training is not waited for: it would not end."""
    script = str(TRAINING / "graphs.py")
    ran = probe(tmp_path, "-o", "r", "--", PYTHON, script, str(tmp_path / "kept"), "step")
    assert ran.code == 2
    assert "are replayed in a CUDA graph" in ran.err
    assert "CUDA graph" in read(tmp_path / "r" / "rank-0.jsonl").notes["cuda_graph"]


def test_compiled_for_the_gpu(tmp_path: Path) -> None:
    """By the compiler that users have, not by a back end that only traces."""
    both = run_both(tmp_path, "cuda", "compiled.py", "both", "inductor")
    assert_faithful(both)
    assert both.record.column("pre_clip_norm") == both.near(both.kept["before"])
    assert settled(both.record, "events") == {"ZBCS"}


def test_the_command(tmp_path: Path) -> None:
    script = str(TRAINING / "plain.py")
    words = ("--exit-zero", "-o", "r", "--", PYTHON, script, str(tmp_path / "kept"))
    ran = probe(tmp_path, *words)
    assert ran.code == 0, ran.err
    record = read(tmp_path / "r" / "rank-0.jsonl")
    assert record.header["device"] == "cuda"
    assert record.column("step") == list(range(1, 17))
