"""One forward under autocast for two optimizers, in one backward or in two, then a forward of a
third alone, without autocast; all of it in a region that is never left where WORDS say `open`."""

import sys

import torch
from kept import DEVICE, keep, norms

torch.manual_seed(0)
body = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU())
heads = torch.nn.ModuleList([torch.nn.Linear(16, 4), torch.nn.Linear(16, 4)])
apart = torch.nn.Linear(8, 4)
model = torch.nn.ModuleList([body, heads, apart]).to(DEVICE)
stranger = torch.ones(3, device=DEVICE, requires_grad=True)
of_body = torch.optim.SGD([*body.parameters(), *heads[0].parameters()], 1e-2)
of_head = torch.optim.AdamW(heads[1].parameters(), 1e-3)
of_apart = torch.optim.AdamW(apart.parameters(), 1e-3)
kinds = {"joint": True, "two": False}
joint, kept = kinds[sys.argv[2]], []
if "open" in sys.argv:
    torch.autocast(DEVICE, torch.bfloat16).__enter__()
for step in range(12):
    for optimizer in (of_body, of_head, of_apart):
        optimizer.zero_grad()
    x = torch.randn(6 + step % 2, 8, device=DEVICE)
    if "open" in sys.argv:
        hidden = body(x)
        losses = [
            head(hidden.detach() if i else hidden).pow(2).mean() for i, head in enumerate(heads)
        ]
    else:
        with torch.autocast(DEVICE, torch.bfloat16):
            hidden = body(x)
            losses = [
                head(hidden.detach() if i else hidden).pow(2).mean() for i, head in enumerate(heads)
            ]
    if joint:
        sum(losses).backward()
        stranger.grad = torch.ones_like(stranger)
        torch.nn.utils.clip_grad_norm_([stranger], 0.5)
        of_body.step()
        of_head.step()
    else:
        for loss, optimizer in zip(losses, (of_body, of_head), strict=True):
            loss.backward()
            optimizer.step()
    apart(x).pow(2).mean().backward()
    kept.append(norms(apart.parameters()))
    of_apart.step()
keep(model, kept=kept)
