"""Two optimizers, one of them foreach and one fused; two steps of one for each of the other."""

import torch
from kept import DEVICE, keep, norms

torch.manual_seed(0)
G = torch.nn.Sequential(
    torch.nn.Linear(8, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU(), torch.nn.Linear(32, 16)
)
D = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.LeakyReLU(0.2), torch.nn.Linear(32, 1))
G, D = G.to(DEVICE), D.to(DEVICE)
of_g = torch.optim.Adam(G.parameters(), 1e-4, betas=(0.5, 0.999), foreach=True)
of_d = torch.optim.Adam(D.parameters(), 4e-4, betas=(0.5, 0.999), fused=True)
loss = torch.nn.functional.binary_cross_entropy_with_logits
real, fake = torch.ones(16, 1).to(DEVICE), torch.zeros(16, 1).to(DEVICE)
seen = {"g": [], "d": []}
for step in range(20):
    x, z = torch.randn(16, 16).to(DEVICE), torch.randn(16, 8).to(DEVICE)
    of_d.zero_grad()
    loss(D(x), real).backward()
    loss(D(G(z).detach()), fake).backward()
    seen["d"].append(norms(D.parameters()))
    of_d.step()
    if step % 2:
        of_g.zero_grad()
        loss(D(G(z)), real).backward()
        seen["g"].append(norms(G.parameters()))
        of_g.step()
keep(torch.nn.ModuleList([G, D]), **seen)
