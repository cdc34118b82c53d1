"""Batches that repeat are not independent: at fixed weights each is taken once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import DEVICE, batches, training  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from gradaudit.probe.batches import Stream  # noqa: E402
from gradaudit.probe.distinct import draw, without_repeats  # noqa: E402
from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.protocol import Training  # noqa: E402
from gradaudit.probe.recipe import Recipe  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]

WIDTH = 64


class Point(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.full((WIDTH,), 0.5))


def orthogonal(model: Any, batch: Any) -> dict[str, Any]:
    """Two terms whose expected gradients are orthogonal, and whose noise is one and the same.
    The noise scale: 64 noisy directions over a squared norm of 2, four times for two terms."""
    noise = batch[0].mean(0)
    first, second = torch.eye(WIDTH)[:2]
    return {"task": (model.at @ (first + noise), 1.0), "kl": (model.at @ (second + noise), 1.0)}


def noisy(count: int, seed: int) -> list[tuple[Any]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(8, WIDTH, generator=generator),) for _ in range(count)]


def shuffled(count: int, seed: int) -> Any:
    together = torch.cat([batch[0] for batch in noisy(count, seed)])
    return DataLoader(TensorDataset(together), batch_size=8, shuffle=True)


def inside(count: int, seed: int) -> Iterator[Any]:
    """A generator that begins its loader anew by itself."""
    loader = shuffled(count, seed)
    while True:
        yield from loader


def lines_of(made: Training, steps: int = 20) -> dict[str, dict[str, Any]]:
    lines: list[Any] = []
    torch.manual_seed(0)
    run_dry(
        made, Recipe("sgd", {"lr": 1e-9}), steps=steps, seed=0, device=DEVICE,
        write=lines.append, about={},
    )  # fmt: skip
    return {line["kind"]: line for line in lines}


@pytest.mark.parametrize("kind", [noisy, shuffled, inside])
def test_six_batches_that_repeat_are_six(kind: Any) -> None:
    """24 of them gave a cosine of 0.5 for orthogonal gradients, and a third of the noise scale."""
    held, across = 0, 0
    for seed in range(8):
        found = lines_of(Training(Point(), kind(6, seed), orthogonal), steps=24)
        assert found["frozen"]["batches"] == found["noise"]["batches"] == 6
        cosine = found["frozen"]["cosines"][0][1]
        across += cosine is None or cosine[1] <= 0 <= cosine[2]
        held += float(found["noise"]["low"]) <= 128 <= float(found["noise"]["high"])
    assert min(held, across) >= 7


@pytest.mark.parametrize("count", [1, 5])
def test_of_fewer_nothing_is_said_but_why(count: int) -> None:
    found = lines_of(Training(Point(), noisy(count, 0), orthogonal))
    many = "1 different batch" if count == 1 else "5 different batches"
    why = f"a pass over the loader has only {many}; it takes 6"
    assert found["noise"]["refused"] == found["frozen"]["why"] == why
    assert "cosines" not in found["frozen"]
    (note,) = found["trajectory"]["notes"]
    assert f"went over the same {many.replace(' different', '')} {20 // count} times" in note
    assert len(found["rate_test"]["losses"][0]) == 20  # the next steps repeat them, too


def test_a_batch_of_four_in_one_takes_24_of_one_pass() -> None:
    made = training(count=20)
    found = lines_of(made)
    why = "a pass over the loader has only 20 different batches; it takes 24"
    assert found["batch_size_bias"]["why"] == why
    assert lines_of(training(count=24))["batch_size_bias"]["batches"] == 24


def test_the_pass_that_has_most_is_taken() -> None:
    stream = Stream(batches(30), DEVICE)
    for _ in range(25):
        stream.take()
    drawn = draw(stream, 64, 2**20, 64)
    assert len(drawn.every) == 64
    assert len(drawn.distinct) == 30
    assert drawn.too_few(24) == ""
    assert all(a is b for a, b in zip(drawn.distinct, drawn.every[5:35], strict=True))
    assert "5 different batches left" in draw(Stream(iter(batches(5)), DEVICE), 64, 2**20, 64).why
    assert "3 different batches of one" in draw(Stream(batches(9), DEVICE), 64, 300, 64).why


def test_samples_are_told_apart_whatever_holds_them() -> None:
    x = torch.arange(12.0).reshape(6, 2)
    mixed = x[[3, 1, 5, 0, 2, 4]]
    ids = torch.arange(6, dtype=torch.int64)
    for first, again, other in (
        (x, mixed, x + 1),
        ([x, ids], [x.clone(), ids], [x, ids + 1]),
        ({"x": x.half(), "id": ids > 2}, {"x": x.half(), "id": ids > 2}, {"x": -x, "id": ids > 2}),
        ((x, 3), (x.clone(), 3), (mixed, 3)),  # cannot be cut: told apart as a whole
    ):
        assert len(without_repeats([first, again], 9)) == 1
        assert len(without_repeats([first, other], 9)) == 2
    assert len(without_repeats([None, None, "text"], 9)) == 3
    assert len(without_repeats([x.to_sparse(), x.to_sparse()], 9)) == 2
    assert len(without_repeats([x, x + 20, x + 40], 2)) == 2
