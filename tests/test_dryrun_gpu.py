"""The dry run where only a GPU will do: a GPU's own memory, and the sample as on the CPU."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import training, two_losses  # noqa: E402
from support import needs_gpus  # noqa: E402

from gradaudit.__main__ import main  # noqa: E402
from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.protocol import DryRunError  # noqa: E402
from gradaudit.probe.recipe import Recipe  # noqa: E402

SAMPLES = Path(__file__).resolve().parent.parent / "sample_configs"
pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.gpu]


@pytest.fixture(autouse=True)
def one_gpu() -> None:
    needs_gpus(1)


def test_what_does_not_fit_is_said_with_the_mend() -> None:
    """A tensor larger than any GPU: the allocator itself refuses it."""
    made = training()

    def losses(model: Any, batch: Any) -> Any:
        torch.empty(2**46, device="cuda")
        return two_losses(model, batch)

    made.losses = losses
    how = Recipe("adamw", {"lr": 1e-3})
    with pytest.raises(DryRunError, match=r"out of memory on cuda: .* smaller batches"):
        run_dry(
            made, how, steps=2, seed=0, device=torch.device("cuda"), write=lambda line: None,
            about={"program": "t", "unit": "main"},
        )  # fmt: skip


def dry_run(device: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The lines of the sample's record, with the priority net at a rate that moves it."""
    folder.mkdir()
    for name in ("enhanced_training.yaml", "priority_net.py"):
        shutil.copy(SAMPLES / name, folder / name)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "priority_net", raising=False)
    words = ["--device", device, "--steps", "60", "-o", "record", "--assume", "steps_per_epoch=2"]
    words += ["--set", "priority_net.learning_rate=2e-3", "--entry", "priority_net.py:build"]
    words += ["--set", "priority_net.dropout=0"]  # each device draws its own masks
    assert main(["dryrun", "enhanced_training.yaml", *words]) == 1
    text = (folder / "record" / "rank-0.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_sample_is_measured_as_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same batches and first weights: the first step's terms are equal to rounding."""
    first = [
        next(line for line in dry_run(device, tmp_path / device, monkeypatch) if "terms" in line)
        for device in ("cpu", "cuda")
    ]
    names = [[term["name"] for term in line["terms"]] for line in first]
    norms = [[term["gradient_norm"] for term in line["terms"]] for line in first]
    assert names[0] == names[1]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
