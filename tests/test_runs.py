"""Several files that one launcher reads side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import run_cli

MODEL = """\
{
  "pipe_parallel_size": 1,
  "model_parallel_size": 1,
  "num_layers": 12,
  "train_micro_batch_size_per_gpu": 4,
  "train_iters": 320000,
  "lr_decay_style": "cosine",
  "optimizer": {"type": "Adam", "params": {"lr": 0.0006, "betas": [0.9, 0.95]}}
}
"""
PATHS = '{\n  "data-path": "data/enwik8",\n  "vocab-file": "v.json",\n  "warmup": 500\n}\n'


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.yml").write_text(MODEL)
    Path("paths.yml").write_text(PATHS)
    Path("other.yml").write_text(MODEL.replace("0.0006", "0.0003"))


def shown(*paths: str) -> list[dict[str, Any]]:
    ran = run_cli("show", "--format", "json", *paths)
    assert ran.code == 0, ran.err
    return list(json.loads(ran.out)["files"])


def test_files_with_different_keys_are_one_run() -> None:
    model, paths = shown("model.yml", "paths.yml")
    assert model["dialect"] == paths["dialect"] == "gpt-neox"
    assert model["chain"] == ["model.yml", "paths.yml"]
    assert paths["units"] == []
    (unit,) = model["units"]
    warmup = unit["settings"]["warmup_ratio"]
    assert (warmup["value"], warmup["origin"], warmup["path"]) == (500, "inherited", "paths.yml")


def test_what_is_wrong_in_one_is_said_with_the_first_at_its_own_place() -> None:
    ran = run_cli("check", "model.yml", "paths.yml")
    assert ran.code == 1
    assert "paths.yml:4:13" in ran.out
    assert "inherited: model.yml -> paths.yml" in ran.out
    assert "nothing was judged" not in ran.out


def test_a_key_of_a_run_is_not_written_a_second_time() -> None:
    """The launcher refuses a key that two of its files have."""
    run_cli("fix", "model.yml", "paths.yml", "--write", "--unsafe")
    assert Path("model.yml").read_text() == MODEL
    assert Path("paths.yml").read_text() == PATHS


def test_files_that_say_the_same_keys_are_alternatives() -> None:
    for one in shown("model.yml", "other.yml"):
        assert one["chain"] == [one["path"]]
        assert one["units"]


def test_files_found_in_a_directory_are_no_run() -> None:
    chains = [one["chain"] for one in shown(".")]
    assert all(len(chain) == 1 for chain in chains)


def test_json_says_where_the_second_files_settings_are() -> None:
    first, second = shown("model.yml", "paths.yml")
    assert not any("one run" in reason for reason in first["why_dialect"])
    assert second["why_dialect"][-1] == "in one run with model.yml, where its settings are shown"
