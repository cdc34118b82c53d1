"""Counts how often numbers are read, one or a list, and how often those lie on a GPU: then it is
waited for."""

import time

import torch
from kept import DEVICE, keep
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

reads = waits = 0


def count(read, args):
    global reads, waits
    if read:
        reads += 1
        waits += args[0].device.type != "cpu"


class Numbers(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        count(function is torch.ops.aten._local_scalar_dense.default, args)
        return function(*args, **(kwargs or {}))


class Lists(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        count(function in (torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy), args)
        return function(*args, **(kwargs or {}))


torch.manual_seed(0)
layers = [layer for _ in range(4) for layer in (torch.nn.Linear(16, 16), torch.nn.BatchNorm1d(16))]
model = torch.nn.Sequential(*layers, torch.nn.Linear(16, 2)).to(DEVICE)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
draws = [torch.randn(8, 16).to(DEVICE) for _ in range(8)]
began = time.monotonic()
with Numbers(), Lists():
    for step in range(120):
        model(draws[step % 8]).pow(2).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
keep(model, reads=reads, waits=waits, seconds=time.monotonic() - began)
