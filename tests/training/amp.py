"""bf16 under autocast, with SGD and Nesterov momentum."""

import torch
from kept import DEVICE, keep, norms

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 4))
model.to(DEVICE)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
before, layers = [], []
for _ in range(12):
    optimizer.zero_grad()
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        loss = model(torch.randn(8, 32).to(DEVICE)).float().pow(2).mean()
    loss.backward()
    before.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)))
    layers.append(norms(model.parameters()))
    optimizer.step()
keep(model, before=before, layers=layers)
