"""Five terms of one loss, with the weights of the config: for `gradaudit dryrun --entry`.

In `leading` the penalties pull, one of them not at every step; in `satisfied` they have what they want, whatever
their weight is.
"""

from types import SimpleNamespace

import torch


def training(config, penalties):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    weights = {name: float(weight) for name, weight in config.unit["loss_weights"].items()}
    batches = []
    for _ in range(60):
        spread = 1.0 if torch.rand(()) < 0.7 else 0.3  # of some batches the samples are alike
        x = spread * torch.randn(int(config.unit["batch_size"]), 8)
        batches.append((x, x.sum(1) + torch.randn(len(x))))

    def losses(model, batch):
        x, y = batch
        out = model(x).squeeze(-1)
        apart = out - y
        terms = {"mse": apart.pow(2).mean(), "l1": apart.abs().mean(), **penalties(out, y)}
        return {name: (term, weights[name]) for name, term in terms.items()}

    return SimpleNamespace(model=model, batches=batches, losses=losses)


def leading(config):
    def penalties(out, y):
        return {
            "calibration": (out.mean() - 3).abs(),
            "consistency": (out[1:] - out[:-1]).abs().mean(),
            "min_variance": torch.relu(2 - out.std()),
        }

    return training(config, penalties)


def satisfied(config):
    def penalties(out, y):
        return {
            "calibration": torch.relu((out.mean() - y.mean()).abs() - 5),
            "consistency": (out[1:] - out[:-1]).abs().mean(),
            "min_variance": torch.relu(1e-3 - out.std()),
        }

    return training(config, penalties)
