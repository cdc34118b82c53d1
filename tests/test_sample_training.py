"""The reconstructed config is what the docs say it is, and `priority_net.py` trains as it says."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

SAMPLES = Path(__file__).resolve().parent.parent / "sample_configs"
CONFIG = SAMPLES / "enhanced_training.yaml"

AS_REPORTED = {
    "optimizer": "AdamW",
    "learning_rate": 8.0e-5,
    "weight_decay": 1.0e-4,
    "betas": [0.9, 0.999],
    "batch_size": 6,
    "epochs": 80,
    "warmup_epochs": 6,
    "warmup_start_factor": 0.02,
    "scheduler": "cosine",
    "gradient_clip_norm": 2.0,
    "ranking_weight": 0.70,
    "mse_weight": 0.20,
    "uncertainty_weight": 0.35,
    "calib_mean_weight": 0.30,
    "calib_max_weight": 2.50,
    "calib_range_weight": 2.00,
    "min_variance_weight": 10.0,
}

# Another value for every key that the training reads.
CHANGES: dict[str, Any] = {
    "encoder_channels": [16, 32, 24],
    "hidden_dims": [64, 24],
    "dropout": 0.2,
    "optimizer": "Adam",
    "learning_rate": 1.0e-4,
    "weight_decay": 0.1,
    "betas": [0.8, 0.999],
    "batch_size": 8,
    "gradient_accumulation_steps": 2,
    "epochs": 40,
    "warmup_epochs": 3,
    "warmup_start_factor": 0.1,
    "scheduler": "constant",
    "min_lr": 1.0e-5,
    "gradient_clip_norm": 30.0,
    "ranking_weight": 0.80,
    "mse_weight": 0.30,
    "uncertainty_weight": 0.10,
    "calib_mean_weight": 0.40,
    "calib_max_weight": 0.70,
    "calib_range_weight": 0.70,
    "min_variance_weight": 0.70,
    "variance_floor": 10.0,
}

# Past the warm-up of 6 epochs, so that the decay shows.
SHORT = {"steps": 9, "steps_per_epoch": 1}


# --- the file, without torch ---


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (42, "  learning_rate: 8.0e-5"),
        (64, "  uncertainty_weight: 0.35"),
        (85, "  gradient_clip_norm: 2.0"),
    ],
)
def test_reported_settings_stand_on_the_reported_lines(number: int, text: str) -> None:
    line = CONFIG.read_text(encoding="utf-8").splitlines()[number - 1]
    assert line.partition("#")[0].rstrip() == text


def test_reported_values() -> None:
    section = yaml.safe_load(CONFIG.read_bytes())["priority_net"]
    assert {key: section.get(key) for key in AS_REPORTED} == AS_REPORTED


def test_what_must_be_learnt_elsewhere_is_absent() -> None:
    section = yaml.safe_load(CONFIG.read_bytes())["priority_net"]
    assert "norm" not in section  # BatchNorm: known from the Python source only
    assert not [key for key in section if "accum" in key]


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_sample_reads_the_same_everywhere(path: Path) -> None:
    """Two parsers agree, and no number such as `1e-4` (no dot: text to PyYAML) is among them."""
    data = yaml.safe_load(path.read_bytes())
    assert data == YAML(typ="safe", pure=True).load(path.read_bytes())
    assert [text for text in strings(data) if looks_numeric(text)] == []


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


def looks_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_shape_of_the_file() -> None:
    data = CONFIG.read_bytes()
    assert 240 <= data.count(b"\n") <= 260
    assert b"\r" not in data
    assert data.endswith(b"\n")
    assert not data.endswith(b"\n\n")


def test_labelled_as_reconstructed() -> None:
    assert "Reconstructed" in CONFIG.read_text(encoding="utf-8").splitlines()[0]


# --- the training ---


@pytest.fixture(scope="module")
def sample() -> ModuleType:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("priority_net", SAMPLES / "priority_net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(sample: ModuleType) -> dict[str, Any]:
    section: dict[str, Any] = sample.load(CONFIG)
    return section


@pytest.fixture(scope="module")
def as_written(sample: ModuleType) -> list[Any]:
    records: list[Any] = sample.train(sample.load(CONFIG), **SHORT)
    return records


@pytest.mark.torch
def test_same_seed_same_records(sample: ModuleType, config: dict[str, Any]) -> None:
    first = sample.train(config, steps=5, seed=3)
    assert sample.train(config, steps=5, seed=3) == first
    assert sample.train(config, steps=5, seed=4) != first


@pytest.mark.torch
def test_logged_norm_is_the_one_before_the_clip(
    sample: ModuleType, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    clip = torch.nn.utils.clip_grad_norm_
    by_hand: list[tuple[float, float]] = []

    def norm(parameters: list[torch.nn.Parameter]) -> float:
        squares = 0.0
        for parameter in parameters:
            assert parameter.grad is not None
            squares += parameter.grad.double().square().sum().item()
        return math.sqrt(squares)

    def spy(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor:
        clipped = list(parameters)
        before = norm(clipped)
        returned = clip(clipped, max_norm)
        by_hand.append((before, norm(clipped)))
        return returned

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    records = sample.train(config, steps=6)
    assert [record.pre_clip_norm for record in records] == pytest.approx(
        [before for before, _ in by_hand], rel=1e-5
    )
    limit = config["gradient_clip_norm"]
    assert [after for _, after in by_hand] == pytest.approx(
        [min(before, limit) for before, _ in by_hand], rel=1e-5
    )
    assert max(before for before, _ in by_hand) > limit  # or the clip was never put to the test


@pytest.mark.torch
def test_learning_rate_by_epoch(sample: ModuleType, config: dict[str, Any]) -> None:
    records = sample.train(config, steps=16, steps_per_epoch=2)
    rates = {record.epoch: record.lr for record in records}
    assert len({(record.epoch, record.lr) for record in records}) == 8  # constant in an epoch
    assert rates[1] == pytest.approx(1.6e-6)
    assert rates[3] == pytest.approx(2.7733e-5, rel=1e-4)
    assert rates[7] == 8.0e-5
    assert rates[8] < rates[7]


@pytest.mark.torch
def test_learning_rate_ends_at_min_lr(sample: ModuleType, config: dict[str, Any]) -> None:
    last = config["learning_rate"] * sample.lr_factor(config, config["epochs"])
    assert last == pytest.approx(config["min_lr"])


@pytest.mark.torch
@pytest.mark.parametrize("key", CHANGES)
def test_every_key_is_read(
    sample: ModuleType,
    config: dict[str, Any],
    as_written: list[Any],
    key: str,
) -> None:
    assert config.get(key) != CHANGES[key]
    assert sample.train(config | {key: CHANGES[key]}, **SHORT) != as_written


@pytest.mark.torch
def test_accumulation_averages_the_micro_batches(
    sample: ModuleType, config: dict[str, Any]
) -> None:
    """The loss of a step is the mean, not the sum, over its micro-batches."""
    import torch

    accumulated = sample.train(config | {"gradient_accumulation_steps": 3}, steps=1)[0].loss
    model = sample.build_model(config, 0)
    torch.manual_seed(0)  # as `train` does, before the first dropout
    generator = torch.Generator().manual_seed(0)
    loss_fn = sample.PriorityLoss(config)
    parts = []
    for _ in range(3):
        strain, target = sample.make_batch(config["batch_size"], generator)
        parts.append(loss_fn(*model(strain), target).item())
    assert accumulated == pytest.approx(sum(parts) / 3, rel=1e-6)


@pytest.mark.torch
def test_batch_of_one_is_refused(sample: ModuleType, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 2"):
        sample.train(config | {"batch_size": 1}, steps=1)


@pytest.mark.torch
def test_command_line(
    sample: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = tmp_path / "steps.jsonl"
    arguments = ["--config", str(CONFIG), "--steps", "4", "--lr", "1e-3", "--log", str(log)]
    monkeypatch.setattr("sys.argv", ["priority_net.py", *arguments])
    sample.main()
    *steps, summary = capsys.readouterr().out.splitlines()
    assert len(steps) == 4
    assert summary.startswith("pre_clip_norm over 4 steps: median ")
    records = sample.train(sample.load(CONFIG) | {"learning_rate": 1e-3}, steps=4)
    logged = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert logged == [record._asdict() for record in records]
