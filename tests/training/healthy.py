"""Small trainings that go well, each of 140 steps; the second argument says which, the third a seed.

Of many kinds, so that a rule on records can be seen to be silent where nothing is wrong.
"""

import itertools
import math
import sys

import torch
from kept import keep
from torch import nn
from torch.nn import functional as F

kind, seed, steps = sys.argv[2], int(sys.argv[3]), 140
torch.manual_seed(seed)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.wide = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        y = self.norm(x)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.wide(x)


def mlp(*widths):
    layers = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def classes(width=16, count=5, noise=1.0):
    centres = torch.randn(count, width, generator=torch.Generator().manual_seed(1))

    def batch(size=32):
        y = torch.randint(0, count, (size,))
        return centres[y] + noise * torch.randn(size, width), y

    return batch


def text(batch=16, length=24):
    """Words of a small grammar: the next is the last plus 1 or 2."""
    step = torch.randint(1, 3, (batch, length + 1)).cumsum(1)
    words = (step + torch.randint(0, 32, (batch, 1))) % 32
    return words[:, :-1], words[:, 1:]


def images(size=32):
    y = torch.randint(0, 4, (size,))
    grid = torch.linspace(0, 2 * math.pi, 12)
    waves = torch.stack([torch.sin((k + 1) * grid) for k in range(4)])
    return (waves[y][:, None, None, :] + 0.5 * torch.randn(size, 1, 12, 12)), y


def train(model, loss_of, optimizer, scheduler=None, clip=None, accumulated=1):
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(accumulated):
            (loss_of() / accumulated).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if scheduler:
            scheduler.step()
    return model


def warmup(optimizer, count):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) / count, 1.0))


def of_classes(model, optimizer, noise=1.0, size=32, **more):
    batch = classes(noise=noise)

    def loss():
        x, y = batch(size)
        return F.cross_entropy(model(x), y)

    return train(model, loss, optimizer, **more)


def mlp_adamw():
    model = mlp(16, 64, 64, 5)
    return of_classes(model, torch.optim.AdamW(model.parameters(), 1e-3))


def mlp_sgd():
    model = mlp(16, 64, 5)
    return of_classes(model, torch.optim.SGD(model.parameters(), 0.05, momentum=0.9))


def mlp_noisy():
    """Labels that can hardly be told, four samples a step: a loss that hardly falls."""
    model = mlp(16, 64, 5)
    return of_classes(model, torch.optim.AdamW(model.parameters(), 3e-4), noise=6.0, size=4)


def mlp_rmsprop():
    model = mlp(16, 64, 5)
    return of_classes(model, torch.optim.RMSprop(model.parameters(), 1e-3))


def mlp_accumulated():
    model = mlp(16, 64, 5)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    return of_classes(model, optimizer, size=8, accumulated=4, clip=1.0)


def fine_tuning():
    """A trained body, a new head, a low rate."""
    model = mlp(16, 64, 64, 5)
    batch = classes()
    for _ in range(100):  # by hand, so that the record begins with what is tuned
        x, y = batch()
        gradients = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
        with torch.no_grad():
            for p, gradient in zip(model.parameters(), gradients, strict=True):
                p.sub_(0.1 * gradient)
    model[-1] = nn.Linear(64, 5)
    return of_classes(model, torch.optim.AdamW(model.parameters(), 1e-4))


def converged():
    """Nothing is left to learn."""
    model = nn.Linear(8, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.zero_()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def loss():
        x = torch.randn(32, 8)
        return (model(x) - x.sum(1, keepdim=True) - 0.3 * torch.randn(32, 1)).pow(2).mean()

    return train(model, loss, optimizer)


def transformer(half=False):
    embed, head = nn.Embedding(32, 32), nn.Linear(32, 32)
    model = nn.Sequential(embed, Attention(32), Attention(32), nn.LayerNorm(32), head)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def loss():
        x, y = text()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            return F.cross_entropy(model(x).flatten(0, 1), y.flatten())

    return train(model, loss, optimizer, warmup(optimizer, 20), clip=1.0)


def transformer_bf16():
    return transformer(half=True)


def recurrent():
    embed, cell, head = nn.Embedding(32, 32), nn.LSTM(32, 32, batch_first=True), nn.Linear(32, 32)
    model = nn.ModuleList([embed, cell, head])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)

    def loss():
        x, y = text()
        return F.cross_entropy(head(cell(embed(x))[0]).flatten(0, 1), y.flatten())

    return train(model, loss, optimizer, clip=1.0)


def convolutions(norm=nn.BatchNorm2d, optimizer=None):
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), norm(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False), norm(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip
    optimizer = optimizer or torch.optim.SGD(
        model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
    )

    def loss():
        x, y = images()
        return F.cross_entropy(model(x), y)

    return train(
        model, loss, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    )


def convolutions_group():
    return convolutions(lambda width: nn.GroupNorm(4, width))


def autoencoder(beta=0.0):
    encoder, decoder = mlp(16, 32, 8), mlp(4, 32, 16)
    model = nn.ModuleList([encoder, decoder])
    batch = classes()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)

    def loss():
        x, _ = batch()
        mean, log = encoder(x).chunk(2, 1)
        out = decoder(mean + torch.randn_like(mean) * (0.5 * log).exp())
        divergence = 0.5 * (mean.pow(2) + log.exp() - 1 - log).sum(1).mean()
        return (out - x).pow(2).sum(1).mean() + beta * divergence

    return train(model, loss, optimizer)


def variational():
    return autoencoder(1.0)


def contrastive():
    model = mlp(16, 64, 16)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    batch = classes(count=64)

    def loss():
        x, _ = batch(64)
        a, b = (F.normalize(model(x + 0.3 * torch.randn_like(x)), dim=1) for _ in range(2))
        return F.cross_entropy(a @ b.T / 0.1, torch.arange(64))

    return train(model, loss, optimizer)


def diffusion():
    model = mlp(17, 64, 64, 16)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    batch = classes(noise=0.1)

    def loss():
        x, _ = batch(64)
        t, noise = torch.rand(64, 1), torch.randn(64, 16)
        out = model(torch.cat([(1 - t).sqrt() * x + t.sqrt() * noise, t], 1))
        return (out - noise).pow(2).mean()

    return train(model, loss, optimizer)


def regression_huber():
    model = mlp(8, 64, 1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def loss():
        x = torch.randn(32, 8)
        y = x.sum(1, keepdim=True) + torch.distributions.StudentT(2.0).sample((32, 1))
        return F.huber_loss(model(x), y)

    return train(model, loss, optimizer)


def adversarial():
    generator, critic = mlp(4, 32, 8), mlp(8, 32, 1)
    of_g = torch.optim.Adam(generator.parameters(), 1e-4, betas=(0.5, 0.999))
    of_d = torch.optim.Adam(critic.parameters(), 2e-4, betas=(0.5, 0.999))
    for _ in range(steps):
        x, z = torch.randn(64, 8) + 1, torch.randn(64, 4)
        of_d.zero_grad()
        (
            F.softplus(-critic(x)).mean() + F.softplus(critic(generator(z).detach())).mean()
        ).backward()
        of_d.step()
        of_g.zero_grad()
        F.softplus(-critic(generator(z))).mean().backward()
        of_g.step()
    return nn.ModuleList([generator, critic])


def policy():
    """REINFORCE with a baseline: a loss whose value says nothing."""
    model = mlp(4, 32, 3)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)

    def loss():
        x = torch.randn(64, 4)
        choice = torch.distributions.Categorical(logits=model(x))
        action = choice.sample()
        reward = (action == x[:, :3].argmax(1)).float()
        return -(choice.log_prob(action) * (reward - reward.mean())).mean()

    return train(model, loss, optimizer)


def adapters():
    """Low rank beside frozen weights."""
    body = mlp(16, 64, 5).requires_grad_(False)
    down, up = nn.Linear(16, 4, bias=False), nn.Linear(4, 5, bias=False)
    nn.init.zeros_(up.weight)
    model = nn.ModuleList([body, down, up])
    optimizer = torch.optim.AdamW([*down.parameters(), *up.parameters()], 5e-3)
    batch = classes()

    def loss():
        x, y = batch()
        return F.cross_entropy(body(x) + up(down(x)), y)

    return train(model, loss, optimizer)


KINDS = [
    mlp_adamw, mlp_sgd, mlp_noisy, mlp_rmsprop, mlp_accumulated, fine_tuning, converged,
    transformer, transformer_bf16, recurrent, convolutions, convolutions_group, autoencoder,
    variational, contrastive, diffusion, regression_huber, adversarial, policy, adapters,
]  # fmt: skip
keep({function.__name__: function for function in KINDS}[kind]())
