"""Accelerate: bf16, accumulation of four, clip at the synchronising step."""

import torch
from accelerate import Accelerator
from kept import DEVICE, keep

torch.manual_seed(0)
accelerator = Accelerator(
    gradient_accumulation_steps=4, cpu=DEVICE == "cpu", mixed_precision="bf16"
)
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
data = torch.utils.data.TensorDataset(torch.randn(320, 16), torch.randint(0, 2, (320,)))
loader = torch.utils.data.DataLoader(data, batch_size=8)
model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
before = []
for x, y in loader:
    with accelerator.accumulate(model):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        accelerator.backward(loss)
        if accelerator.sync_gradients:
            before.append(float(accelerator.clip_grad_norm_(model.parameters(), 0.5)))
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
keep(model, before=before)
