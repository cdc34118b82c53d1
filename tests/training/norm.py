"""BatchNorm under micro-batches; the second argument says what stands between the loader and it."""

import sys

import torch
import torch.distributed as dist
from kept import keep

mode = sys.argv[2]
ranks, rank = 1, 0
if mode in ("ddp", "gathered"):
    dist.init_process_group("gloo")
    ranks, rank = dist.get_world_size(), dist.get_rank()
    sys.argv[1] += f".{rank}"


class Gathered(torch.nn.BatchNorm1d):
    """As SyncBatchNorm, which has no CPU version: the statistics of all ranks' samples."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        parts = [torch.empty_like(x) for _ in range(ranks)]
        dist.all_gather(parts, x.detach())
        parts[rank] = x
        return super().forward(torch.cat(parts))[rank * len(x) : (rank + 1) * len(x)]


kinds = {"group": lambda width: torch.nn.GroupNorm(4, width), "gathered": Gathered}
torch.manual_seed(0)
norm = kinds.get(mode, torch.nn.BatchNorm1d)(32)
body = torch.nn.Sequential(torch.nn.Linear(16, 32), norm, torch.nn.ReLU())
model = torch.nn.Sequential(body, torch.nn.Linear(32, 4))
if mode == "frozen":  # its weights do not train, and it normalises by the batch all the same
    norm.requires_grad_(False)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
wrapped = torch.nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
if mode == "compiled":
    wrapped = torch.compile(model, backend="aot_eager")
centres = torch.randn(4, 16)
torch.manual_seed(rank)
batch = {"large": 24, "gathered": 12}.get(mode, 4)
accumulated = 1 if mode == "once" else 2
for _ in range(30):
    model.eval()
    with torch.no_grad():  # what an evaluation does is no training step
        model(centres)
    model.train()
    if mode == "eval":
        norm.eval()
    optimizer.zero_grad()
    for _ in range(accumulated):
        y = torch.randint(0, 4, (batch,))
        x = centres[y] + torch.randn(batch, 16)
        if mode == "views":  # six views of each sample in one forward
            x, y = x.repeat(6, 1) + 0.1 * torch.randn(6 * batch, 16), y.repeat(6)
        (torch.nn.functional.cross_entropy(wrapped(x), y) / accumulated).backward()
    optimizer.step()
keep(model)
if ranks > 1:
    dist.destroy_process_group()
