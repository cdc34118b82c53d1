"""What torch's optimisers do with the numbers that GA220, GA601, GA604 and GA606 warn of.

    python benchmarks/optimiser_facts.py        # needs torch, and prodigyopt for the last table

Prints the numbers of docs/measurements.md, "What optimisers make of odd numbers", on the CPU.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch


def silent_weight(betas: tuple[float, float]) -> list[float]:
    """Adam's step of a weight (rate 1e-3) whose gradient is 1 for 200 steps, then 0."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=1e-3, betas=betas)
    steps = []
    for step in range(400):
        before = weight.item()
        weight.grad = torch.full_like(weight, float(step < 200))
        optimizer.step()
        steps.append(abs(weight.item() - before))
    return [steps[at] for at in (199, 219, 299, 399)]


def pure_fp16(**implementation: bool) -> int:
    """How many of 1,000 fp16 weights are not finite after one step of AdamW with eps 1e-8."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter((torch.randn(1000) * 0.02).half())
    optimizer = torch.optim.AdamW([weight], lr=1e-4, eps=1e-8, **implementation)
    weight.grad = (torch.randn(1000) * 1e-3).half()
    optimizer.step()
    return int((~torch.isfinite(weight)).sum())


def classes(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """2,048 points in 32 dimensions, and which of ten classes a random network gives them."""
    noise = torch.Generator().manual_seed(seed)
    points = torch.randn(2048, 32, generator=noise)
    hidden = torch.randn(32, 64, generator=noise) / 32**0.5
    last = torch.randn(64, 10, generator=noise)
    return points, (torch.tanh(points @ hidden * 2) @ last).argmax(1)


def eps_in_fp16(eps: float, dtype: torch.dtype, seed: int) -> tuple[int, float, float]:
    """600 steps of AdamW (rate 1e-3) on a small classifier whose weights are of `dtype`.

    Returns the weights that are not finite, the held-out loss (NaN where there are some) and the
    largest change of a weight at the 101st step, in rates.
    """
    points, labels = classes(seed)
    points = points.to(dtype)
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(32, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128),
        torch.nn.LayerNorm(128), torch.nn.ReLU(), torch.nn.Linear(128, 10),
    ).to(dtype)  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=eps)
    order = torch.Generator().manual_seed(seed + 1)
    longest = 0.0
    for step in range(600):
        batch = torch.randint(0, 1536, (64,), generator=order)
        loss = torch.nn.functional.cross_entropy(model(points[batch]).float(), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        before = [weight.detach().clone() for weight in model.parameters()]
        optimizer.step()
        spoilt = sum(int((~torch.isfinite(w)).sum()) for w in model.parameters())
        if spoilt:
            return spoilt, float("nan"), float("nan")
        if step == 100:
            now = model.parameters()
            longest = max(
                float((w - b).detach().abs().max()) for w, b in zip(now, before, strict=True)
            )
    with torch.no_grad():
        held_out = model(points[1536:]).float()
    return 0, float(torch.nn.functional.cross_entropy(held_out, labels[1536:])), longest / 1e-3


def decayed(optimizer: str, steps: int, **settings: float) -> float:
    """What is left of a weight of 1 without gradients."""
    weight = torch.nn.Parameter(torch.ones(1))
    made = getattr(torch.optim, optimizer)([weight], **settings)
    for _ in range(steps):
        weight.grad = torch.zeros(1)
        made.step()
    return float(weight.item())


def prodigy(rate: float, steps: int) -> tuple[float, float]:
    """Loss on 512 points of a small regression after so many steps, and Prodigy's estimate."""
    made: Any = importlib.import_module("prodigyopt")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    inputs = torch.randn(512, 20)
    targets = torch.sin(inputs[:, :1]) + inputs[:, 1:2]
    optimizer = made.Prodigy(model.parameters(), lr=rate)
    for _ in range(steps):
        batch = torch.randint(0, 512, (64,))
        optimizer.zero_grad()
        ((model(inputs[batch]) - targets[batch]) ** 2).mean().backward()
        optimizer.step()
    loss = ((model(inputs) - targets) ** 2).mean().item()
    return loss, optimizer.param_groups[0]["d"]


def main() -> None:
    print("betas, last step with a gradient, then 20, 100 and 200 steps later")
    for betas in ((0.9, 0.999), (0.95, 0.91), (0.999, 0.9)):
        print(betas, *(f"{step:.1e}" for step in silent_weight(betas)))
    print("fp16 weights that are not finite after a step of AdamW, eps 1e-8")
    for name in ("plain", "foreach", "fused"):
        flags = {"foreach": False} if name == "plain" else {name: True}
        print(name, pure_fp16(**flags))
    print("eps, held-out loss and longest step of a small classifier, three seeds each")
    for dtype, eps in (
        (torch.float32, 1e-8), (torch.float16, 1e-8), (torch.float16, 1e-6),
        (torch.float16, 1e-5), (torch.float16, 1e-4),
    ):  # fmt: skip
        runs = [eps_in_fp16(eps, dtype, seed) for seed in range(3)]
        print(dtype, eps, *("{} {:.3f} {:.1f}".format(*run) for run in runs), sep="; ")
    print("left of a weight after 69 steps without gradients")
    print("AdamW, 1e-3 x 10:", f"{decayed('AdamW', 69, lr=1e-3, weight_decay=10.0):.2f}")
    sgd = decayed("SGD", 69, lr=0.1, momentum=0.9, weight_decay=0.01)
    print("SGD, 0.1 x 0.01, momentum 0.9:", f"{sgd:.2f}")
    print("Prodigy: rate, loss and estimate after 100, 500 and 2,000 steps")
    for rate in (1.0, 0.1, 0.01, 1e-4):
        print(rate, *("{:.4f} {:.1e}".format(*prodigy(rate, n)) for n in (100, 500, 2000)))


if __name__ == "__main__":
    main()
