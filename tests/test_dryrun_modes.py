"""Train and eval mode in a dry run are those of the training."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import DEVICE, batches  # noqa: E402
from torch import nn  # noqa: E402

from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.protocol import Training  # noqa: E402
from gradaudit.probe.recipe import Recipe  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def net() -> Any:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    return nn.ModuleDict({"backbone": backbone, "head": nn.Linear(8, 1)})


def modes_in(model: Any) -> tuple[list[Any], list[Any]]:
    """The lines of a dry run, and the modes of all modules in each of its passes, but for those in
    eval mode as a whole, in which couplings are told."""
    seen: list[Any] = []

    def losses(own: Any, batch: Any) -> Any:
        modes = {name: module.training for name, module in own.named_modules()}
        if any(modes.values()) and modes not in seen:
            seen.append(modes)
        x, y = batch
        out = own["head"](own["backbone"](x)).squeeze(-1)
        return {"mse": ((out - y).square().mean(), 1.0)}

    lines: list[Any] = []
    run_dry(
        Training(model, batches(64), losses), Recipe("sgd", {"lr": 1e-2}), steps=4, seed=0,
        device=DEVICE, write=lines.append, about={},
    )  # fmt: skip
    return lines, seen


def test_a_part_in_eval_mode_stays_so_throughout() -> None:
    """It was put into train mode, and the noise scale refused for its BatchNorm."""
    model = net()
    model["backbone"].eval()
    before = {name: module.training for name, module in model.named_modules()}
    statistics = model["backbone"][1].running_mean.clone()
    lines, seen = modes_in(model)
    assert seen == [before]
    assert {name: module.training for name, module in model.named_modules()} == before
    assert torch.equal(model["backbone"][1].running_mean, statistics)
    steps = [line for line in lines if line["kind"] == "step"]
    assert all(s["batch_norm"] == [{"mode": "eval", "batch": 6, "calls": 1}] for s in steps)
    by_kind = {line["kind"]: line for line in lines}
    assert "refused" not in by_kind["noise"]
    assert "batch_norm_noise" not in by_kind
    assert by_kind["optimizer"]["batch_norm_layers"] == 1
    (note,) = by_kind["trajectory"]["notes"]
    assert note.startswith("in eval mode, as `build` left it: `backbone`; no dropout there")


def test_a_model_in_eval_mode_as_a_whole_was_forgotten() -> None:
    lines, seen = modes_in(net().eval())
    assert all(seen[0].values())
    (about,) = [line for line in lines if line["kind"] == "trajectory"]
    (note,) = about["notes"]
    assert "it was put into train mode" in note
    lines, seen = modes_in(net())
    assert all(seen[0].values())
    (about,) = [line for line in lines if line["kind"] == "trajectory"]
    assert about["notes"] == []
