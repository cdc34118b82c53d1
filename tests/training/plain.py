"""A plain loop: convolution and BatchNorm, accumulation of two, a clip that is imported by name."""

import os
import sys

import torch
from kept import DEVICE, keep, norms, total
from torch.nn.utils import clip_grad_norm_

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
    torch.nn.Flatten(), torch.nn.Linear(8 * 16, 10),
)  # fmt: skip
outside = torch.nn.Parameter(torch.zeros(3))
model.register_parameter("unused", outside)
model.to(DEVICE)
optimizer = torch.optim.AdamW(
    [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1 and p is not outside]},
    ],
    lr=1e-2,
    betas=(0.9, 0.95),
    weight_decay=0.0,
)
held = [p for group in optimizer.param_groups for p in group["params"]]
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
data = torch.utils.data.TensorDataset(torch.randn(512, 3, 4, 4), torch.randint(0, 10, (512,)))
loader = torch.utils.data.DataLoader(data, batch_size=16, num_workers=1, shuffle=True)
seen = {"before": [], "after": [], "layers": [], "rates": [], "losses": [], "updates": []}
try:
    for count, (x, y) in enumerate(loader, 1):
        x, y = x.to(DEVICE), y.to(DEVICE)
        loss = torch.nn.functional.cross_entropy(model(x), y) / 2
        loss.backward()
        seen["losses"].append(float(loss.detach()))
        if count % 2 == 0:
            seen["before"].append(float(clip_grad_norm_(model.parameters(), 0.5)))
            seen["after"].append(total(held))
            seen["layers"].append(norms(held))
            seen["rates"].append([group["lr"] for group in optimizer.param_groups])
            weights = [p.detach().clone() for p in held]
            optimizer.step()
            changes = zip(held, weights, strict=True)
            ratios = [float((p.detach() - w).norm() / w.norm()) for p, w in changes]
            seen["updates"].append([r if r < float("inf") else None for r in ratios])
            scheduler.step()
            optimizer.zero_grad()
            print("step", count // 2, flush=True)
except Exception as error:
    print("caught", error)
finally:
    if len(sys.argv) > 2:
        torch.save(model.state_dict(), os.path.join(sys.argv[2], "final.pt"))
keep(model, **seen)
