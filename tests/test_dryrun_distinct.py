"""Batches that repeat are not independent: at fixed weights each is taken once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
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


def with_texts(kind: Any) -> list[tuple[Any, Any]]:
    """64 batches of 8 texts of their own and labels of 0 and 1, which repeat."""
    generator = torch.Generator().manual_seed(1)
    return [
        (
            kind([f"text {number * 8 + at}" for at in range(8)]),
            torch.randint(0, 2, (8,), generator=generator),
        )
        for number in range(64)
    ]


def array(values: Any, **kinds: Any) -> Any:
    return pytest.importorskip("numpy").array(values, **kinds)


KINDS: dict[str, Any] = {
    "list": list,
    "tuple": tuple,
    "paths": lambda texts: [PurePath(text) for text in texts],
    "numbers": lambda texts: [int(text.split()[1]) for text in texts],
    "strings": array,
    "objects": lambda texts: array(texts, dtype=object),
    "pairs": lambda texts: array([[text, "of all"] for text in texts]),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_texts_tell_batches_apart_as_tensors_do(kind: Any) -> None:
    """By the labels alone nearly all of them were one."""
    whole = with_texts(kind)
    drawn = draw(Stream(whole, DEVICE), 64, 2**30, 24)
    assert (len(drawn.distinct), drawn.too_few(3)) == (24, "")
    assert len(without_repeats([*whole, *with_texts(kind)], 200)) == 64
    assert len(without_repeats([{"text": a, "label": b} for a, b in whole], 200)) == 64


def test_one_text_for_a_whole_batch_tells_it_apart() -> None:
    label = torch.tensor([1])
    assert len(without_repeats([("a cat", label), ("a dog", label), ("a cat", label)], 9)) == 2


def test_numbers_beside_each_other_are_not_taken_for_one_another() -> None:
    """Nor are those for which Python has one hash."""
    rows = torch.zeros(4)
    batches = [([3, 3, 3, 3], [0] * 4), ([0] * 4, [1] * 4), ([1] * 4, [0] * 4), ([-1] * 4, [0] * 4)]
    batches.append(([-2] * 4, [0] * 4))
    assert len(without_repeats([(*pair, rows) for pair in batches], 9)) == 5
    unknown = [([float("nan")] * 4, rows) for _ in range(2)]
    assert len(without_repeats(unknown, 9)) == 1


def test_labels_do_not_stand_for_what_has_no_number() -> None:
    """A graph, a picture: what is not looked into may differ."""
    labels = torch.ones(8)
    for part in (object, lambda: array([{"width": 1}] * 8), lambda: [object()] * 8):
        assert len(without_repeats([(part(), labels), (part(), labels)], 9)) == 2
