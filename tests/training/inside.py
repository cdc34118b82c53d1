"""An optimizer for each tensor, which clips and steps in a hook, while backward goes on."""

import torch
from kept import DEVICE, keep

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 4)
)
model = model.to(DEVICE)
optimizers = {tensor: torch.optim.SGD([tensor], 1e-2) for tensor in model.parameters()}


def step(tensor: torch.Tensor) -> None:
    torch.nn.utils.clip_grad_norm_([tensor], 0.1)
    optimizers[tensor].step()
    optimizers[tensor].zero_grad()


for tensor in model.parameters():
    tensor.register_post_accumulate_grad_hook(step)
losses = []
for _ in range(12):
    with torch.autocast(DEVICE, torch.bfloat16):
        loss = model(torch.randn(6, 8, device=DEVICE)).pow(2).mean()
    losses.append(float(loss))
    loss.backward()
keep(model, losses=losses)
