"""Two replicas on gloo or nccl, with accumulation under no_sync. Run by torchrun."""

import contextlib
import os
import sys

import torch
import torch.distributed as dist
from kept import DEVICE, keep, norms
from torch.nn.parallel import DistributedDataParallel

if DEVICE == "cuda":
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl" if DEVICE == "cuda" else "gloo")
rank = dist.get_rank()
sys.argv[1] += f".{rank}"
torch.manual_seed(0)
layers = [torch.nn.Linear(32, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 4)]
model = DistributedDataParallel(torch.nn.Sequential(*layers).to(DEVICE))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
torch.manual_seed(100 + rank)
before, seen = [], []
for _ in range(8):
    for micro in range(2):
        with model.no_sync() if micro == 0 else contextlib.nullcontext():
            model(torch.randn(8, 32).to(DEVICE)).pow(2).mean().backward()
    before.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)))
    seen.append(norms(model.parameters()))
    optimizer.step()
    optimizer.zero_grad()
keep(model, before=before, layers=seen)
dist.destroy_process_group()
