"""FullyShardedDataParallel on gloo or nccl, beside the whole model; `own` clips by its method,
`torch` by torch's function, each of which has a norm of its own. Run by torchrun."""

import copy
import os
import sys

import torch
import torch.distributed as dist
from kept import DEVICE, keep, norms, total
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

clip, original = sys.argv[2], "original" in sys.argv
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
model = FullyShardedDataParallel(
    model,
    device_id=torch.device(DEVICE, torch.cuda.current_device() if DEVICE == "cuda" else None),
    auto_wrap_policy=ModuleWrapPolicy({torch.nn.Linear}),
    sharding_strategy=ShardingStrategy.FULL_SHARD,
    use_orig_params=original,
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
draws = [torch.randn(8, 32, generator=torch.Generator().manual_seed(i)) for i in range(2)]
batches = [batch.to(DEVICE) for batch in draws]
for batch in batches:
    (whole(batch).pow(2).mean() / 2).backward()
reference = {"whole": total(whole.parameters()), "whole_layers": norms(whole.parameters())}
own, local = [], []
for _ in range(12):
    model(batches[rank]).pow(2).mean().backward()
    local.append(total(model.parameters()))
    if clip == "own":
        own.append(float(model.clip_grad_norm_(0.01)))
    else:
        own.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)))
    optimizer.step()
    optimizer.zero_grad()
pieces = torch.nn.ParameterList([torch.nn.Parameter(p.detach()) for p in model.parameters()])
keep(pieces, own=own, local=local, **reference)
dist.destroy_process_group()
