"""fp16 with a GradScaler; the second argument says in which order, the third may be `fused`."""

import sys

import torch
from kept import DEVICE, keep, norms

order, fused = sys.argv[2], "fused" in sys.argv
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 4))
model.to(DEVICE)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=fused or None)
scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**12, growth_interval=5)
clip = torch.nn.utils.clip_grad_norm_
before, layers, scales = [], [], []
for step in range(12):
    optimizer.zero_grad()
    with torch.autocast(DEVICE, dtype=torch.float16):
        loss = (
            model(torch.randn(8, 32).to(DEVICE) * (1e5 if step == 6 else 1)).float().pow(2).mean()
        )
    scaler.scale(loss).backward()
    scales.append(scaler.get_scale())
    layers.append([None if n is None else n / scales[-1] for n in norms(model.parameters())])
    if order == "right":
        scaler.unscale_(optimizer)
    if order != "after":
        before.append(float(clip(model.parameters(), 0.1)))
    scaler.step(optimizer)
    scaler.update()
    if order == "after":
        clip(model.parameters(), 0.1)
keep(model, before=before, layers=layers, scales=scales)
