"""GA806: a config that resumes, against the one that was saved beside the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import run_cli

PLAIN = "optimizer: adamw\nlearning_rate: {}\nbatch_size: 32\nepochs: 50\n"


@pytest.fixture(autouse=True)
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def found(*paths: str) -> list[dict[str, Any]]:
    ran = run_cli("check", "--format", "json", *(paths or ("train.yaml",)))
    findings = [f for file in json.loads(ran.out)["files"] for f in file["findings"]]
    return [f for f in findings if f["code"] == "GA806"]


def resumes(path: str, rate: str = "1.0e-4", more: str = "") -> None:
    write("train.yaml", f"{PLAIN.format(rate)}resume_from: {path}\n{more}")


@pytest.mark.parametrize(
    ("checkpoint", "saved"),
    [
        ("runs/first/last.ckpt", "runs/first/config.yaml"),
        ("runs/first/checkpoints/epoch=1.ckpt", "runs/first/hparams.yaml"),
        ("runs/first/version_0/checkpoints/last.ckpt", "runs/first/args.yaml"),
        ("out/checkpoint-500", "out/checkpoint-500/config.yml"),
        ("out/checkpoint-500/", "out/training_args.yaml"),
        ("outputs/day/last.pt", "outputs/day/.hydra/config.yaml"),
    ],
)
def test_the_saved_config_is_found(checkpoint: str, saved: str) -> None:
    write(saved, PLAIN.format("2.0e-4"))
    resumes(checkpoint)
    [finding] = found()
    assert (finding["severity"], finding["key"]) == ("warning", "learning_rate")
    assert "0.0001; the run that this one resumes had 0.0002" in finding["message"]
    assert {place["path"] for place in finding["related"]} == {saved, "train.yaml"}
    resumes(checkpoint, "2.0e-4")
    assert not found()


def test_what_is_no_saved_config_is_not_read(tmp_path: Path) -> None:
    write("runs/first/notes.yaml", PLAIN.format("2.0e-4"))
    resumes("runs/first/last.ckpt")
    assert not found()
    write("config.yaml", PLAIN.format("2.0e-4"))  # another config of the same directory
    resumes("last.ckpt")
    assert not found()
    resumes("./last.ckpt")
    assert not found()
    write("conf/config.yaml", PLAIN.format("2.0e-4"))  # above the config that resumes
    write("conf/exp/train.yaml", PLAIN.format("1.0e-4") + "resume_from: ../last.ckpt\n")
    assert not found("conf/exp/train.yaml")
    for path in ("/etc/last.ckpt", "../outside/last.ckpt", "${dir}/last.ckpt", "true", "null"):
        resumes(path)
        assert not found()
    write("broken/config.yaml", "a: [\n")
    resumes("broken/last.ckpt")
    assert not found()


def test_weights_alone_are_no_state() -> None:
    write("runs/config.yaml", PLAIN.format("2.0e-4"))
    resumes("runs/last.ckpt", more="reset_optimizer: true\n")
    assert not found()


def test_what_is_compared_and_how_loudly() -> None:
    saved = (
        "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 64\nepochs: 50\nscheduler: cosine\n"
    )
    write("runs/config.yaml", saved + "weight_decay: 0.1\nwarmup_steps: 100\n")
    write(
        "train.yaml",
        "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 32\nepochs: 100\nscheduler: linear\n"
        "weight_decay: 0.01\nwarmup_steps: 100\nresume_from: runs/last.ckpt\n",
    )
    assert {(f["key"], f["severity"]) for f in found()} == {
        ("batch_size", "info"), ("scheduler", "warning"), ("weight_decay", "warning"),
    }  # fmt: skip
    write("train.yaml", "optimizer: sgd\nlearning_rate: 0.1\nresume_from: runs/last.ckpt\n")
    assert [f["key"] for f in found()] == ["optimizer"]


def test_a_default_is_not_compared() -> None:
    write("out/checkpoint-5/config.yaml", "learning_rate: 1.0e-5\noptimizer: adamw\nlr: 1.0e-5\n")
    write(
        "train.yaml",
        "model_name_or_path: a/b\noutput_dir: out\nper_device_train_batch_size: 4\n"
        "num_train_epochs: 3\nresume_from_checkpoint: out/checkpoint-5\n",
    )
    assert not found()
