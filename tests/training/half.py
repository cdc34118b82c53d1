"""All weights in bf16 and no autocast: norms must not be rounded to bf16."""

import torch
from kept import DEVICE, keep

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Linear(64, 4)).bfloat16().to(DEVICE)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
layers = []
for _ in range(5):
    model(torch.randn(8, 32).bfloat16().to(DEVICE)).float().pow(2).mean().backward()
    layers.append([float(p.grad.float().norm()) for p in model.parameters()])
    optimizer.step()
    optimizer.zero_grad()
keep(model, layers=layers)
