"""A Wasserstein GAN as in Arjovsky et al. 2017 (Algorithm 1): RMSprop, five steps of the critic for
one of the generator, each weight of the critic clamped to +-0.01 after each of its steps.

`ring`: a critic of three layers. `saturated`: a linear one and data far off, so that all its weights
stand at the bounds before long. `restored`: the first, its weights put back after each step instead.
`late`: the first without a clamp before the first step, as many write it: its first gradient is that of
weights ten times as large.
"""

import sys

import torch
from kept import DEVICE, keep, norms

kind, seed, count = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.manual_seed(seed)
CLAMP, CRITIC_STEPS, RATE = 0.01, 5, 5e-5
far = 5.0 if kind == "saturated" else 0.0
linear, relu = torch.nn.Linear, torch.nn.ReLU
G = torch.nn.Sequential(linear(4, 64), relu(), linear(64, 2)).to(DEVICE)
critic = [linear(2, 64), relu(), linear(64, 64), relu(), linear(64, 1)]
C = torch.nn.Sequential(*([linear(2, 1)] if kind == "saturated" else critic)).to(DEVICE)
of_c = torch.optim.RMSprop(C.parameters(), RATE)
of_g = torch.optim.RMSprop(G.parameters(), RATE)
seen = {"c": [], "g": []}
with torch.no_grad():
    for weight in C.parameters() if kind != "late" else ():
        weight.clamp_(-CLAMP, CLAMP)
for step in range(count):
    angle = torch.randint(0, 8, (64,)) * (torch.pi / 4)
    real = torch.stack([angle.cos(), angle.sin()], 1) * 2 + far + torch.randn(64, 2) * 0.02
    noise = torch.randn(64, 4).to(DEVICE)
    before = [weight.detach().clone() for weight in C.parameters()]
    of_c.zero_grad()
    (C(G(noise).detach()).mean() - C(real.to(DEVICE)).mean()).backward()
    seen["c"].append(norms(C.parameters()))
    of_c.step()
    with torch.no_grad():
        for weight, old in zip(C.parameters(), before, strict=True):
            if kind == "restored":
                weight.copy_(old)
            else:
                weight.clamp_(-CLAMP, CLAMP)
    if step % CRITIC_STEPS == CRITIC_STEPS - 1:
        of_g.zero_grad()
        (-C(G(noise)).mean()).backward()
        seen["g"].append(norms(G.parameters()))
        of_g.step()
keep(torch.nn.ModuleList([G, C]), **seen)
