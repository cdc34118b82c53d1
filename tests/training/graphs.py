"""What lies in a CUDA graph, by the second argument:

forward    the model, by `torch.compile(mode="reduce-overhead")`
callables  the model's forward and backward, by `torch.cuda.make_graphed_callables`
backward   forward and backward, by `torch.cuda.graph`
step       all of a training step
one        all of the first of two optimizers' steps; the second is a plain loop
"""

import sys

import torch
from kept import DEVICE, keep

mode = sys.argv[2]
torch.manual_seed(0)


def small():
    return torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 4)).to(
        DEVICE
    )


def loss_of(model, x):
    return model(x).pow(2).mean()


model, second = small(), small()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, capturable=mode in ("step", "one"))
x = torch.randn(8, 32, device=DEVICE)
if mode == "forward":
    forward = torch.compile(model, mode="reduce-overhead")
elif mode == "callables":
    forward = torch.cuda.make_graphed_callables(model, (torch.randn_like(x),))


def whole():
    optimizer.zero_grad(set_to_none=True)
    loss_of(model, x).backward()
    if mode != "backward":
        optimizer.step()


if mode in ("backward", "step", "one"):  # as torch's notes on CUDA graphs do it
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            whole()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss_of(model, x).backward()
        if mode != "backward":
            optimizer.step()

other = torch.optim.SGD(second.parameters(), lr=0.1)
before = []
for _ in range(12):
    x.copy_(torch.randn(8, 32))
    if mode in ("forward", "callables"):
        optimizer.zero_grad()
        loss_of(forward, x).backward()
    else:
        graph.replay()
    if mode not in ("step", "one"):
        before.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)))
        optimizer.step()
    if mode == "one":
        other.zero_grad()
        loss_of(second, x).backward()
        before.append(float(torch.nn.utils.clip_grad_norm_(second.parameters(), 0.1)))
        other.step()
keep(torch.nn.ModuleList([model, second]), before=before)
