"""DeepSpeed: second argument the ZeRO stage, third fp32 or bf16, fourth `parts`: groups that stage 3
divides. Two groups, with a decay and a rate of their own; beside it the first gradient of the whole
model. Run by torchrun or deepspeed's launcher."""

import contextlib
import copy
import os
import sys

import torch
from kept import DEVICE, keep, total

if DEVICE == "cpu":
    os.environ["DS_ACCELERATOR"] = "cpu"
import deepspeed

words = [word for word in sys.argv if not word.startswith("--local_rank")]
stage, precision = int(words[2]), words[3]
rank = int(os.environ["RANK"])
sys.argv[1] = f"{words[1]}.{rank}"
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 4))
whole = copy.deepcopy(model)


def batches(of):
    draw = torch.Generator().manual_seed(of)
    return [torch.randn(8, 32, generator=draw) for _ in range(24)]


for batch in batches(0)[:2] + batches(1)[:2]:
    (whole(batch).pow(2).mean() / 4).backward()
config = {
    "train_micro_batch_size_per_gpu": 8,
    "gradient_accumulation_steps": 2,
    "gradient_clipping": 0.1,
    "zero_optimization": {"stage": stage},
    "bf16": {"enabled": precision == "bf16"},
}
if "parts" in words:
    config["zero_optimization"]["sub_group_size"] = 100
optimizer = torch.optim.AdamW(
    [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0, "lr": 2e-3},
    ],
    lr=1e-3,
)
engine, optimizer, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
before = []
for count, batch in enumerate(batches(rank), 1):
    batch = batch.to(engine.device).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    engine.backward(engine(batch).float().pow(2).mean())
    engine.step()
    if count % 2 == 0:
        norm = engine.get_global_grad_norm()
        before.append(None if norm is None else float(norm))
parameters = list(engine.module.parameters())
pieces = deepspeed.zero.GatheredParameters(parameters) if stage == 3 else contextlib.nullcontext()
with pieces:
    keep(engine.module, before=before, whole=total(whole.parameters()))
