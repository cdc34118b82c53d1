"""Two replicas on gloo, with accumulation under no_sync. Run by torchrun."""

import contextlib
import sys

import torch
import torch.distributed as dist
from kept import keep, norms
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank = dist.get_rank()
sys.argv[1] += f".{rank}"
torch.manual_seed(0)
model = DistributedDataParallel(
    torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 4))
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
torch.manual_seed(100 + rank)
before, layers = [], []
for _ in range(8):
    for micro in range(2):
        with model.no_sync() if micro == 0 else contextlib.nullcontext():
            model(torch.randn(8, 32)).pow(2).mean().backward()
    before.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)))
    layers.append(norms(model.parameters()))
    optimizer.step()
    optimizer.zero_grad()
keep(model, before=before, layers=layers)
dist.destroy_process_group()
