"""What some programs do to the weights between two steps; the second argument says what."""

import copy
import sys

import torch
from kept import keep
from torch.nn.utils import prune

mode = sys.argv[2]
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
if mode == "pruned":
    prune.l1_unstructured(model[0], "weight", 0.5)
if mode == "spectral":
    torch.nn.utils.parametrizations.spectral_norm(model[0])
weights = list(model.parameters())
optimizer = torch.optim.AdamW(weights, lr=1e-2)
outer = torch.optim.SGD(weights, lr=1e-3) if mode == "meta" else None
saved = copy.deepcopy(model.state_dict())
before = [p.detach().clone() for p in weights]
average = [p.detach().clone() for p in weights]
slow = [p.detach().clone() for p in weights]
x = torch.randn(256, 8)
y = x.sum(1, keepdim=True).sin()


def put(values):
    for p, value in zip(weights, values, strict=True):
        p.data.copy_(value)


for step in range(1, 61):
    rows = torch.randint(0, 256, (32,))
    optimizer.zero_grad()
    (model(x[rows]) - y[rows]).pow(2).mean().backward()
    if mode == "perturbed":  # as SAM: away, a second gradient there, and back before the step
        there = [p.detach().clone() for p in weights]
        put([p + 1e-2 * torch.sign(p.grad) for p in weights])
        optimizer.zero_grad()
        (model(x[rows]) - y[rows]).pow(2).mean().backward()
        put(there)
    optimizer.step()
    with torch.no_grad():
        for a, p in zip(average, weights, strict=True):
            a.lerp_(p, 1e-3)
        if mode == "restored":
            model.load_state_dict(saved)
        elif mode == "averaged":
            put(average)
        elif mode == "inner" and step % 5 == 0:  # five steps, undone: the inner loop of Reptile
            put([b + 0.1 * (p - b) for b, p in zip(before, weights, strict=True)])
            before = [p.detach().clone() for p in weights]
        elif mode == "swapped":  # an average for the evaluation, and back
            own = [p.detach().clone() for p in weights]
            put(average)
            model(x)
            put(own)
        elif mode == "clipped":  # as the critic of a WGAN
            for p in weights:
                p.clamp_(-0.05, 0.05)
        elif mode == "lookahead" and step % 6 == 0:
            slow = [s.lerp(p, 0.5) for s, p in zip(slow, weights, strict=True)]
            put(slow)
        elif mode == "sphere":
            weights[0].div_(weights[0].norm())
        elif mode == "meta":
            put(before)
            outer.step()
            before = [p.detach().clone() for p in weights]
keep(model)
