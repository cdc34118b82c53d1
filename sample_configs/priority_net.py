"""Train a small priority network on synthetic strain, as `priority_net` in a YAML file says.

Overlapping gravitational-wave signals are ranked by the order in which to subtract them. The
shape of the training is that of the run in `enhanced_training.yaml`: a BatchNorm1d encoder, a
pairwise ranking loss, six loss terms in one unnormalised sum, and a clip whose return value, the
norm *before* clipping, is what gets logged. Model and data are small; only that shape is meant
to carry over, not absolute norms. Keys of validation and curriculum are not read.

    python sample_configs/priority_net.py --config sample_configs/enhanced_training.yaml
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

Config = Mapping[str, Any]

STRAIN_LENGTH = 128
OPTIMIZERS = {"AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam}


class StepRecord(NamedTuple):
    """What one optimiser step logs; steps and epochs count from 1."""

    step: int
    epoch: int
    lr: float
    loss: float
    pre_clip_norm: float


class PriorityNet(nn.Module):
    """Strain of two detectors -> priority in (0, 1) and its predicted absolute error."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 2
        for width in config["encoder_channels"]:
            conv = nn.Conv1d(channels, width, kernel_size=7, stride=2, padding=3)
            blocks += [conv, nn.BatchNorm1d(width), nn.ReLU()]
            channels = width
        self.conv_blocks = nn.Sequential(*blocks)
        wide, narrow = config["hidden_dims"]
        self.head = nn.Sequential(
            nn.Linear(channels, wide),
            nn.BatchNorm1d(wide),
            nn.ReLU(),
            nn.Dropout(config["dropout"]),
            nn.Linear(wide, narrow),
            nn.ReLU(),
        )
        self.priority = nn.Linear(narrow, 1)
        self.sigma = nn.Linear(narrow, 1)

    def forward(self, strain: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.head(self.conv_blocks(strain).mean(dim=-1))
        priority = torch.sigmoid(self.priority(hidden)).squeeze(-1)
        return priority, F.softplus(self.sigma(hidden)).squeeze(-1)


class AdaptiveRankingLoss(nn.Module):
    """Hinge over all pairs of the batch; the margin grows with the difference of the targets."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        i, j = torch.triu_indices(len(pred), len(pred), offset=1)
        pred_diff, target_diff = pred[i] - pred[j], target[i] - target[j]
        margin = target_diff.abs().clamp(min=0.02)
        # The mean, not the sum: otherwise the term would grow with batch_size squared.
        return F.relu(margin - target_diff.sign() * pred_diff).mean()


class PriorityLoss(nn.Module):
    """Six terms in one sum. Calibration and variance are ratios of statistics of *this* batch."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ranking_loss_fn = AdaptiveRankingLoss()
        self.ranking_weight = config["ranking_weight"]
        self.mse_weight = config["mse_weight"]
        self.uncertainty_weight = config["uncertainty_weight"]
        self.calib_mean_weight = config["calib_mean_weight"]
        self.calib_max_weight = config["calib_max_weight"]
        self.calib_range_weight = config["calib_range_weight"]
        self.min_variance_weight = config["min_variance_weight"]
        self.variance_floor = config["variance_floor"]

    def terms(self, pred: Tensor, sigma: Tensor, target: Tensor) -> dict[str, tuple[Tensor, float]]:
        """Every term without its weight, and the weight; named as the YAML names the weights."""
        mse_loss = F.mse_loss(pred, target)
        ranking_loss = self.ranking_loss_fn(pred, target)
        uncertainty_loss = F.mse_loss(sigma, (pred - target).abs().detach())

        # Keeps the predicted sigma within [0.01, 0.5]; the YAML has no key for its weight.
        out_of_bounds = F.relu(0.01 - sigma) + F.relu(sigma - 0.5)

        target_range = (target.max() - target.min()).clamp(min=1e-3)
        range_ratio = (pred.max() - pred.min()) / target_range
        mean_gap = (pred.mean() - target.mean()).abs() / target.mean()
        max_gap = F.relu(target.max() - pred.max()) / target.max()
        variance_ratio = pred.var() / target.var().clamp(min=self.variance_floor)
        return {
            "mse": (mse_loss, self.mse_weight),
            "ranking": (ranking_loss, self.ranking_weight),
            "uncertainty": (uncertainty_loss, self.uncertainty_weight),
            "uncertainty_bounds": (out_of_bounds.mean(), 0.5),
            "calib_mean": (mean_gap, self.calib_mean_weight),
            "calib_max": (max_gap, self.calib_max_weight),
            "calib_range": (F.relu(1.0 - range_ratio), self.calib_range_weight),
            "min_variance": (torch.relu(0.5 - variance_ratio), self.min_variance_weight),
        }

    def forward(self, pred: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
        terms = self.terms(pred, sigma, target)

        def weighted(name: str) -> Tensor:
            loss, weight = terms[name]
            return weight * loss

        uncertainty_bounds_loss = weighted("uncertainty_bounds")
        calib_loss = weighted("calib_mean") + weighted("calib_max") + weighted("calib_range")
        min_variance_penalty = weighted("min_variance")
        return (
            weighted("mse")
            + weighted("ranking")
            + weighted("uncertainty")
            + uncertainty_bounds_loss
            + calib_loss
            + min_variance_penalty
        )


def load(path: Path | str) -> dict[str, Any]:
    """The `priority_net` section of a YAML file."""
    section: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["priority_net"]
    return section


def build_model(config: Config, seed: int = 0) -> PriorityNet:
    torch.manual_seed(seed)
    return PriorityNet(config)


def make_batch(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy chirps, each under a fainter one, and their priorities (loud and high first)."""
    time = torch.linspace(0.0, 1.0, STRAIN_LENGTH)
    # Log-normal: most signals are faint, a few are loud.
    snr = torch.exp(0.7 * torch.randn(size, generator=generator))
    frequency = 2 + 10 * torch.rand(2, size, generator=generator)
    chirp = torch.sin(2 * math.pi * frequency[..., None] * time * (1 + 0.5 * time))
    signal = snr[:, None] * (chirp[0] + 0.3 * chirp[1])
    noise = torch.randn(size, 2, STRAIN_LENGTH, generator=generator)
    # The second detector sees the signal fainter and inverted.
    strain = torch.stack([signal, -0.7 * signal], dim=1) + noise
    logit = 1.2 * torch.log(snr) + 0.15 * (frequency[0] - 7)
    scatter = 0.3 * torch.randn(size, generator=generator)
    return strain, torch.sigmoid(logit + scatter)


def lr_factor(config: Config, epoch: int) -> float:
    """Share of `learning_rate` in force after `epoch` whole epochs: linear warm-up, then decay."""
    warmup, start = config["warmup_epochs"], config["warmup_start_factor"]
    if epoch < warmup:
        return float(start + (1 - start) * epoch / warmup)
    if config["scheduler"] == "constant":
        return 1.0
    floor = config["min_lr"] / config["learning_rate"]
    progress = min((epoch - warmup) / max(config["epochs"] - warmup, 1), 1.0)
    return float(floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)


def train(
    config: Config,
    steps: int = 60,
    seed: int = 0,
    *,
    steps_per_epoch: int = 10,
    model: PriorityNet | None = None,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> list[StepRecord]:
    """Train for `steps` optimiser steps; `model` (from `build_model`) is what is trained."""
    if config["scheduler"] not in ("cosine", "constant"):
        raise ValueError(f"unknown scheduler {config['scheduler']!r}")
    if config["batch_size"] < 2:
        raise ValueError("batch_size must be at least 2: the ranking loss compares pairs")
    model = model or build_model(config, seed)
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator().manual_seed(seed)  # data
    loss_fn = PriorityLoss(config)
    optimizer = OPTIMIZERS[config["optimizer"]](
        model.parameters(),
        lr=config["learning_rate"],
        betas=tuple(config["betas"]),
        weight_decay=config["weight_decay"],
    )
    # Stepped once an epoch, so the rate is a staircase.
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: lr_factor(config, epoch))
    accumulation = config.get("gradient_accumulation_steps", 1)

    records: list[StepRecord] = []
    model.train()
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        step_loss = 0.0
        for _ in range(accumulation):
            strain, target = make_batch(config["batch_size"], generator)
            loss = loss_fn(*model(strain), target) / accumulation
            loss.backward()
            step_loss += loss.item()
        pre_clip_norm = nn.utils.clip_grad_norm_(model.parameters(), config["gradient_clip_norm"])
        optimizer.step()
        epoch = (step - 1) // steps_per_epoch + 1
        lr = optimizer.param_groups[0]["lr"]
        records.append(StepRecord(step, epoch, lr, step_loss, pre_clip_norm.item()))
        on_step(records[-1])
        if step % steps_per_epoch == 0:
            scheduler.step()
    return records


def build(config: Config) -> Any:
    """For `gradaudit dryrun --entry`: the model, its batches, and the loss term by term.

    `config` is the whole YAML file; the seed is that of the command.
    """
    from gradaudit.probe.protocol import Training  # training itself does not need gradaudit

    section = config["priority_net"]
    generator = torch.Generator().manual_seed(torch.initial_seed() % 2**32)
    loss_fn = PriorityLoss(section)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield make_batch(section["batch_size"], generator)

    def losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, tuple[Tensor, float]]:
        strain, target = batch
        return loss_fn.terms(*model(strain), target)

    def total(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        strain, target = batch
        loss: Tensor = loss_fn(*model(strain), target)
        return loss

    model = PriorityNet(section)
    return Training(model, batches(), losses, total=total, steps_per_epoch=10)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the priority network.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--steps-per-epoch", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, help="instead of the file's learning_rate")
    parser.add_argument("--log", type=Path, help="also write the steps here, as JSON lines")
    args = parser.parse_args()

    config = load(args.config)
    if args.lr is not None:
        config["learning_rate"] = args.lr
    with args.log.open("w", encoding="utf-8") if args.log else nullcontext() as log:

        def report(record: StepRecord) -> None:
            print(
                f"step {record.step:4d}  epoch {record.epoch:3d}  lr {record.lr:.4e}  "
                f"loss {record.loss:8.4f}  pre_clip_norm {record.pre_clip_norm:9.3f}"
            )
            if log:
                print(json.dumps(record._asdict()), file=log, flush=True)

        records = train(
            config, args.steps, args.seed, steps_per_epoch=args.steps_per_epoch, on_step=report
        )
    norms = torch.tensor([record.pre_clip_norm for record in records])
    clipped = (norms > config["gradient_clip_norm"]).float().mean().item()
    print(
        f"pre_clip_norm over {len(norms)} steps: median {norms.quantile(0.5):.2f}, "
        f"p95 {norms.quantile(0.95):.2f}, max {norms.max():.2f}; clipped {clipped:.0%}"
    )


if __name__ == "__main__":
    main()
