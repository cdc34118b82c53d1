"""Tiny trainings for the tests of the dry run. Imported where torch is."""

from __future__ import annotations

from array import array
from typing import Any

import torch
from torch import nn

from gradaudit.probe.curve import Rates
from gradaudit.probe.protocol import Training
from gradaudit.probe.recipe import Recipe

DEVICE = torch.device("cpu")


def tiny(seed: int = 0, *, norm: bool = True, dropout: float = 0.5) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(4, 8)]
    if norm:
        layers.append(nn.BatchNorm1d(8))
    layers += [nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 1)]
    return nn.Sequential(*layers)


def batches(count: int, size: int = 6, seed: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        x = torch.randn(size, 4, generator=generator)
        found.append((x, x.sum(1) + 0.1 * torch.randn(size, generator=generator)))
    return found


def two_losses(model: nn.Module, batch: Any) -> dict[str, tuple[torch.Tensor, float]]:
    x, y = batch
    out = model(x).squeeze(-1)
    return {
        "mse": (((out - y) ** 2).mean(), 1.0),
        "calib": ((out.mean() - y.mean()).abs(), 3.0),
    }


def training(count: int = 200, **kinds: Any) -> Training:
    return Training(tiny(**kinds), batches(count), two_losses)


def level(recipe: Recipe) -> Rates:
    """The recipe's learning rate at every step."""
    return Rates([array("d", [recipe.arguments["lr"]])], [recipe.arguments["lr"]], 0)
