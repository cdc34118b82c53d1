"""One loss, two optimizers, one of them for sparse gradients; a group is added on the way."""

import torch
from kept import DEVICE, keep, norms

torch.manual_seed(0)
table, head = torch.nn.Embedding(10, 4, sparse=True), torch.nn.Linear(4, 1)
model = torch.nn.Sequential(table, head).to(DEVICE)
of_table = torch.optim.SparseAdam(table.parameters(), lr=0.01)
of_head = torch.optim.AdamW([head.weight], lr=torch.tensor(0.01), foreach=False)
scheduler = torch.optim.lr_scheduler.ExponentialLR(of_head, 0.9)
sparse, dense = [], []
for step in range(12):
    if step == 5:
        of_head.add_param_group({"params": [head.bias], "lr": 0.1})
        scheduler.base_lrs.append(0.1)
    model.zero_grad()
    model(torch.randint(0, 10, (3,)).to(DEVICE)).pow(2).mean().backward()
    sparse.append([float(table.weight.grad.coalesce().values().norm())])
    of_table.step()
    held = [p for group in of_head.param_groups for p in group["params"]]
    dense.append(sum(n * n for n in norms(held)) ** 0.5)
    torch.nn.utils.clip_grad_norm_(head.parameters(), 0.1)
    of_head.step()
    scheduler.step()
keep(model, sparse=sparse, dense=dense)
