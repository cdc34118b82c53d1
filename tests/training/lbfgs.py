"""A closure, called several times a step."""

import torch
from kept import DEVICE, keep, norms

torch.manual_seed(0)
model = torch.nn.Linear(16, 1).to(DEVICE)
x = torch.randn(64, 16).to(DEVICE)
y = x.sum(1, keepdim=True)
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
last, calls = [], []
for _ in range(12):
    inside = []

    def closure(inside=inside):
        optimizer.zero_grad()
        loss = (model(x) - y).pow(2).mean()
        loss.backward()
        inside.append(norms(model.parameters()))
        return loss

    optimizer.step(closure)
    last.append(inside[-1])
    calls.append(len(inside))
keep(model, last=last, calls=calls)
