"""Shards on gloo or nccl (fully_shard), beside the whole model on each rank. With `hsdp` each piece
is held by two ranks. Run by torchrun."""

import copy
import os
import sys

import torch
import torch.distributed as dist
from kept import DEVICE, keep, norms, total
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

if DEVICE == "cuda":
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl" if DEVICE == "cuda" else "gloo")
rank = dist.get_rank()
sys.argv[1] += f".{rank}"
torch.manual_seed(0)
blocks = [
    torch.nn.Sequential(torch.nn.Linear(32, 33), torch.nn.GELU(), torch.nn.Linear(33, 32))
    for _ in range(2)
]
model = torch.nn.Sequential(*blocks).to(DEVICE)
whole = copy.deepcopy(model)
world = dist.get_world_size()
if "hsdp" in sys.argv:
    mesh = init_device_mesh(DEVICE, (2, world // 2), mesh_dim_names=("replicate", "shard"))
else:
    mesh = init_device_mesh(DEVICE, (world,))
for block in model:
    fully_shard(block, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
draws = [torch.randn(8, 32, generator=torch.Generator().manual_seed(i)) for i in range(world)]
batches = [batch.to(DEVICE) for batch in draws]
for batch in batches:
    (whole(batch).pow(2).mean() / world).backward()
reference = {"whole": total(whole.parameters()), "whole_layers": norms(whole.parameters())}
for _ in range(12):
    model(batches[rank]).pow(2).mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e3)
    optimizer.step()
    optimizer.zero_grad()
local = torch.nn.ParameterList([torch.nn.Parameter(p.to_local()) for p in model.parameters()])
keep(local, **reference)
dist.destroy_process_group()
