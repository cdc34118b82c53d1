"""Findings of a file that a real, recorded training bears out, and those that it withdraws."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from probe_support import SHIM, TRAINING, assert_faithful, environment, needs, run_both
from support import run_cli

pytestmark = [pytest.mark.torch, needs("torch")]


LARGER = (
    "BatchNorm saw 24 samples at a time (views of a sample, or parts of a series, are counted as "
    "samples)"
)


def checked(config: Path, record: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The findings by code, and the reasons of those that were withdrawn."""
    ran = run_cli("check", str(config), "--record", str(record), "--format", "json")
    (file,) = json.loads(ran.out)["files"]
    found = {finding["code"]: finding for finding in file["findings"]}
    return found, {one["code"]: one["reason"] for one in file["record"]["withdrawn"]}


def trained(folder: Path, mode: str, ranks: int = 1) -> tuple[dict[str, Any], dict[str, str]]:
    """`norm.py` with the recorder and without, and what the check says beside its config."""
    both = run_both(folder, "cpu", "norm.py", mode, ranks=ranks)
    assert_faithful(both)
    config = folder / "norm.yaml"
    shutil.copy(TRAINING / "norm.yaml", config)
    os.utime(config, (0, 0))  # it was there before the run
    return checked(config, folder / "record")


@pytest.mark.parametrize("mode", ["plain", "frozen"])
def test_batch_norm_that_saw_the_tiny_batch(tmp_path: Path, mode: str) -> None:
    """Frozen weights are no frozen statistics."""
    found, withdrawn = trained(tmp_path, mode)
    assert withdrawn == {}
    for code in ("GA301", "GA302"):
        assert (found[code]["severity"], found[code]["confidence"]) == ("warning", "high")
        assert "BatchNorm saw 4 samples at a time" in found[code]["evidence"][-1]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("eval", "BatchNorm ran in eval mode at every step: it took nothing from the batch"),
        ("group", "the model has no BatchNorm layer"),
        ("large", LARGER),
        ("views", LARGER),
    ],
)
def test_batch_norm_that_did_not(tmp_path: Path, mode: str, reason: str) -> None:
    found, withdrawn = trained(tmp_path, mode)
    assert not {"GA301", "GA302"} & set(found)
    assert withdrawn == {"GA301": reason, "GA302": reason}


def test_one_backward_a_step_is_no_accumulation(tmp_path: Path) -> None:
    found, withdrawn = trained(tmp_path, "once")
    assert found["GA301"]["confidence"] == "high"
    assert withdrawn == {"GA302": "backward is called once a step: nothing is accumulated"}


def test_evaluations_of_a_compiled_model_withdraw_nothing(tmp_path: Path) -> None:
    """The training's calls are traced away; those of the evaluation are seen, in eval mode."""
    found, withdrawn = trained(tmp_path, "compiled")
    assert found["GA301"]["confidence"] == "medium"
    assert withdrawn == {}


def test_ranks_with_statistics_of_their_own(tmp_path: Path) -> None:
    found, withdrawn = trained(tmp_path, "ddp", ranks=2)
    assert found["GA301"]["confidence"] == "high"
    assert "GA301" not in withdrawn


def test_ranks_that_share_their_statistics(tmp_path: Path) -> None:
    found, withdrawn = trained(tmp_path, "gathered", ranks=2)
    assert "GA301" not in found
    assert "BatchNorm saw 24 samples at a time" in withdrawn["GA301"]


def dry_run(folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> Path:
    for name in ("terms.py", "terms.yaml"):
        shutil.copy(TRAINING / name, folder)
    monkeypatch.chdir(folder)
    ran = run_cli(
        "dryrun", "terms.yaml", "--entry", f"terms.py:{entry}", "--steps", "60",
        "--output", "record", "--exit-zero",
    )  # fmt: skip
    assert ran.code == 0
    return folder / "record"


def test_penalties_that_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = dry_run(tmp_path, monkeypatch, "leading")
    found, withdrawn = checked(tmp_path / "terms.yaml", record)
    assert withdrawn == {}
    confidences = {code: found[code]["confidence"] for code in ("GA401", "GA402", "GA403")}
    assert confidences == {"GA401": "high", "GA402": "high", "GA403": "medium"}
    assert all(found[code]["severity"] == "warning" for code in confidences)
    for code in ("GA401", "GA402"):
        assert any("of the gradient" in text for text in found[code]["evidence"])
    assert "GA961" not in found  # it is told in GA401, with its weights
    assert {edit["key"].split(".")[-1] for edit in found["GA401"]["fix"]["edits"]} == {
        "calibration",
        "min_variance",
    }
    assert "of the steps with a norm of" in found["GA403"]["evidence"][-1]


def test_penalties_that_are_satisfied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their weight is. The task has most of the gradient, and that is no imbalance."""
    record = dry_run(tmp_path, monkeypatch, "satisfied")
    found, withdrawn = checked(tmp_path / "terms.yaml", record)
    assert not {"GA401", "GA402"} & set(found)
    assert set(withdrawn) == {"GA401", "GA402"}
    # A hinge that was not seen at work in so few steps may still be.
    assert found["GA403"]["severity"] == "info"
    said = found["GA403"]["evidence"][-1]
    assert "`min_variance` had no gradient at any of" in said
    assert "it may still act at up to" in said


SYNCED = """
import torch, torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
from gradaudit_recorder import hooks, state
state.begin()
layer = torch.nn.SyncBatchNorm(3)
hooks.batch_norm_called(layer, (torch.ones(2, 3),))
dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
hooks.batch_norm_called(layer, (torch.ones(2, 3),))
hooks.batch_norm_called(torch.nn.BatchNorm1d(3), (torch.ones(2, 3),))
hooks.batch_norm_called(layer.eval(), (torch.ones(2, 3),))
print(state.current.batch_norm)
"""


def test_the_ranks_of_torchs_own_sync_batch_norm_are_counted(tmp_path: Path) -> None:
    """It refuses to run on a CPU: what is asked of it is its group, of four ranks that are none."""
    given = environment(PYTHONPATH=str(SHIM), GRADAUDIT_PROBE_DIR=str(tmp_path))
    ran = subprocess.run(
        [sys.executable, "-c", SYNCED], env=given, capture_output=True, text=True, check=True
    )
    assert ast.literal_eval(ran.stdout) == {
        ("train", 2, 1, True): 2,
        ("train", 2, 4, True): 1,
        ("eval", 2, 1, True): 1,
    }
