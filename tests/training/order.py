"""Wrong, and odd but right, orders of calls; the second argument says which."""

import sys

import torch
from kept import DEVICE, keep, total
from torch.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)

mode = sys.argv[2]
torch.manual_seed(0)
body = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU())
head = torch.nn.Linear(64, 4)
model = torch.nn.Sequential(body, head).to(DEVICE)
optimizer = torch.optim.Adam(
    [{"params": body.parameters(), "lr": 1e-4}, {"params": head.parameters(), "lr": 1e-3}]
)
before = []
for _ in range(12):
    if mode == "by-hand":
        for p in model.parameters():
            if p.grad is not None:
                p.grad.zero_()
    elif mode != "no-zero":
        model.zero_grad()
    if mode == "clip-first":
        clip_grad_norm_(body.parameters(), 1.0)
    model(torch.randn(8, 32).to(DEVICE)).pow(2).mean().backward()
    before.append(total(model.parameters()))
    if mode == "partial":
        clip_grad_norm_(body.parameters(), 0.01)
    elif mode == "value":
        clip_grad_value_(list(body.parameters()), 0.001)
    elif mode == "with-norm":
        clip_grads_with_norm_(
            model.parameters(), 0.1, get_total_norm([p.grad for p in model.parameters()])
        )
    elif mode == "each":
        for p in model.parameters():
            clip_grad_norm_(p, 0.01)
    elif mode == "max-norm":
        clip_grad_norm_(model.parameters(), 0.01, norm_type=float("inf"))
    optimizer.step()
    if mode == "clip-after":
        clip_grad_norm_(body.parameters(), 0.01)
keep(model, before=before)
