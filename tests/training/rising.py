"""A loss that goes wrong; the second argument says how."""

import sys

import torch
from kept import keep

mode = sys.argv[2]
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
x = torch.randn(256, 4)
curvature = torch.linalg.eigvalsh(2 * x.T @ x / len(x)).max()
rate = {"rate": 2.04 / float(curvature)}.get(mode, 0.01)
optimizer = torch.optim.SGD([model.weight], lr=rate)
model.bias.requires_grad_(False)
scale = torch.ones(())
for step in range(140):
    optimizer.zero_grad()
    out = model(x if mode == "rate" else x[torch.randint(0, 256, (32,))])
    if mode == "term":  # a penalty whose weight a schedule raises
        scale = torch.tensor(1.0 + 0.1 * step)
    loss = scale * (out - 3).pow(2).mean()
    if mode == "forward" and step == 30:
        loss = loss + (out.mean() - 100).log()
    if mode == "backward" and step == 30:
        loss = loss + (out - out.detach()).abs().sum().sqrt()
    loss.backward()
    optimizer.step()
keep(model)
