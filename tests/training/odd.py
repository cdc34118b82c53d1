"""What must not notice the recorder: TorchScript, a pickled model, checkpointing, an OOM that is caught."""

import io
import pickle

import torch
from kept import DEVICE, keep
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
layers = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))
head = torch.nn.Linear(8, 1)
model = torch.nn.Sequential(layers, head).to(DEVICE)


class Failing(torch.optim.SGD):
    """Its third step raises, as an optimizer that is out of memory does."""

    calls = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        if self.calls == 3:
            raise RuntimeError("out of memory")
        return super().step(closure)


optimizer = Failing(model.parameters(), lr=0.1)
for _ in range(8):
    optimizer.zero_grad()
    x = torch.randn(4, 8).to(DEVICE).requires_grad_()
    head(checkpoint(layers, x, use_reentrant=True)).pow(2).mean().backward()
    torch.nn.utils.clip_grad_norm_((p for p in model.parameters()), 1.0)
    try:
        optimizer.step()
    except RuntimeError as error:
        print(error)
torch.jit.script(layers.eval())
saved = io.BytesIO()
torch.save(model, saved)
pickle.dumps((model, optimizer, torch.save, torch.nn.utils.clip_grad_norm_))
named = b"gradaudit" in saved.getvalue()
keep(model, named=named)
