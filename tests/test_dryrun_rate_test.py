"""The rate test of the dry run: its steps are those of the training, at other rates."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import batches, training  # noqa: E402
from torch import nn  # noqa: E402

from gradaudit.probe import frozen  # noqa: E402
from gradaudit.probe.batches import to_device  # noqa: E402
from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.protocol import Training  # noqa: E402
from gradaudit.probe.recipe import Recipe  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def run(made: Training, recipe: Recipe, steps: int) -> list[Any]:
    lines: list[Any] = []
    torch.manual_seed(0)
    run_dry(
        made, recipe, steps=steps, seed=0, device=torch.device("cpu"), write=lines.append, about={}
    )
    return lines


def noisy(calls: list[int] | None = None, elements: int = 2) -> Training:
    """A gradient that is 100 times as large, and now here, now there, in one micro-batch of four as
    in the mean of them."""
    torch.manual_seed(0)
    model = nn.Linear(elements, 1, bias=False)
    turn = [torch.tensor([[sign * 100.0] * elements] * 4) for sign in (1, 1, -1, -1)]
    data = [turn[at % 4] + torch.randn(4, elements) for at in range(400)]

    def losses(own: nn.Module, x: Any) -> dict[str, Any]:
        if calls is not None:
            calls.append(1)
        return {"mean": (own(x).mean() + own(x / 100).square().mean(), 1.0)}

    return Training(model, data, losses)


@pytest.mark.parametrize(("accumulation", "ranks"), [(4, 1), (2, 2)])
def test_a_step_of_the_rate_test_is_one_of_the_training(accumulation: int, ranks: int) -> None:
    """The losses at the rate itself are those of the next steps of a plain loop."""
    recipe = Recipe("sgd", {"lr": 0.1}, accumulation=accumulation, clip_norm=1.0)
    recipe.ranks = ranks
    (line,) = [line for line in run(noisy(), recipe, steps=2) if line["kind"] == "rate_test"]
    assert line["micro_batches"] == 4
    made, expected = noisy(), []
    optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
    for step in range(22):
        of_step = list(made.batches)[4 * step : 4 * step + 4]
        means = [made.losses(made.model, batch)["mean"][0] for batch in of_step]
        optimizer.zero_grad()
        loss = sum(means) / 4
        loss.backward()
        nn.utils.clip_grad_norm_(made.model.parameters(), 1.0)
        optimizer.step()
        expected.append(float(loss.detach()))
    assert line["losses"][1] == pytest.approx(expected[2:], rel=1e-4, abs=1e-5)
    assert all(len(losses) == 20 for losses in line["losses"])
    alone = run(noisy(), Recipe("sgd", {"lr": 0.1}, clip_norm=1.0), steps=8)
    (line,) = [line for line in alone if line["kind"] == "rate_test"]
    assert line["micro_batches"] == 1
    assert max(map(abs, line["losses"][1])) > 10 * max(map(abs, expected))


def test_of_many_micro_batches_the_rate_test_takes_what_its_bounds_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def took(accumulation: int, steps: int) -> int:
        recipe = Recipe("sgd", {"lr": 1e-3}, accumulation=accumulation)
        lines = run(noisy(), recipe, steps=steps)
        (line,) = [line for line in lines if line["kind"] == "rate_test"]
        assert all(len(losses) == 20 for losses in line["losses"])
        return int(line["micro_batches"])

    assert took(3, 2) == 3
    assert took(20, 1) == 16
    monkeypatch.setattr("gradaudit.probe.dryrun.KEPT_BYTES", 32 * 45)  # a batch has 32 bytes
    assert took(4, 2) == 2


def test_what_is_measured_at_fixed_weights_takes_as_many_batches_as_ever() -> None:
    """Those that only the rate test needs cost the rest nothing."""
    calls: list[int] = []
    run(noisy(calls), Recipe("sgd", {"lr": 1e-3}, accumulation=1), steps=1)
    alone = len(calls)
    calls.clear()
    run(noisy(calls), Recipe("sgd", {"lr": 1e-3}, accumulation=8), steps=1)
    assert len(calls) - alone == 7 + 4 * 20 * 7  # of the one step, and of 20 at four rates


def test_the_loss_scale_is_taken_off_all_micro_batches_of_a_step(device: str) -> None:
    losses = []
    for scale in (1.0, 64.0):
        made = noisy()
        made.model.to(device)
        some = [to_device(batch, torch.device(device)) for batch in list(made.batches)[:80]]
        optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
        losses += frozen.rate_test(
            made, optimizer, some, torch.device(device), factors=(1.0,), clip_norm=1.0,
            scale=scale, micro_batches=4, accumulation=4,
        )  # fmt: skip
    assert losses[1] == pytest.approx(losses[0], rel=1e-4, abs=1e-5)


def test_the_rate_test_keeps_the_buffers_of_the_first_device(device: str) -> None:
    """As the steps do: other devices are handed them, and what they make of them goes."""
    made = training(dropout=0.0)
    made.model.to(device)
    seen: list[int] = []
    tracked = next(m for m in made.model.modules() if isinstance(m, nn.BatchNorm1d))
    tracked.register_forward_pre_hook(lambda *_: seen.append(int(tracked.num_batches_tracked)))
    some = [to_device(batch, torch.device(device)) for batch in batches(8)]
    optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
    frozen.rate_test(
        made, optimizer, some, torch.device(device), factors=(1.0,), clip_norm=None,
        micro_batches=4, accumulation=2,
    )  # fmt: skip
    assert seen == [0, 1, 2, 3, 2, 3, 4, 5]
