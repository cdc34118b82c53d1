"""torch.compile of the model, the optimizer's step, both, or the whole step: second
argument. The third is the back end."""

import sys

import torch
from kept import DEVICE, keep

mode = sys.argv[2]
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(32, 64), torch.nn.BatchNorm1d(64), torch.nn.GELU(), torch.nn.Linear(64, 4)
).to(DEVICE)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
backend = sys.argv[3] if len(sys.argv) > 3 else "aot_eager"  # only traces: quick
forward = (
    torch.compile(model, backend=backend, fullgraph=True) if mode in ("model", "both") else model
)
update = (
    torch.compile(optimizer.step, backend=backend)
    if mode in ("optimizer", "both")
    else optimizer.step
)
before = []


def train(x):
    forward(x).pow(2).mean().backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    update()
    optimizer.zero_grad()
    return norm


if mode == "whole":
    train = torch.compile(train, backend=backend)
for _ in range(6):
    before.append(float(train(torch.randn(8, 32).to(DEVICE))))
keep(model, before=before)
