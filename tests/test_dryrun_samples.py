"""Batches that are dataclasses or lists of samples: told apart, cut in halves and joined."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import DEVICE, batches  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from gradaudit.probe.batches import Stream, cut, join, size_of, why_whole  # noqa: E402
from gradaudit.probe.distinct import draw, without_repeats  # noqa: E402
from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.protocol import Training  # noqa: E402
from gradaudit.probe.recipe import Recipe  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@dataclass(frozen=True)
class Record:
    x: Any
    y: Any
    names: list[str] = field(default_factory=list)


def test_dataclasses_are_cut_joined_and_told_apart() -> None:
    made = [Record(x, y, ["a"] * 6) for x, y in batches(30)]
    assert size_of(made[0]) == 6
    half = cut(made[0], 0, 2)
    assert (type(half), size_of(half), half.names) == (Record, 2, ["a", "a"])
    assert torch.equal(join(made[:2]).x, torch.cat([made[0].x, made[1].x]))
    assert len(without_repeats([*made, *made], 99)) == 30
    moved = Stream(made, torch.device("meta")).take()
    assert moved.x.is_meta
    assert "`count` is a single number" in why_whole(Counted(torch.zeros(3), 3))


@dataclass
class Counted:
    x: Any
    count: int


def detection(count: int, *, as_tuple: bool, height: int = 3) -> DataLoader[Any]:
    """Images that are as large as each other, or not, each with a dict of its boxes."""
    generator = torch.Generator().manual_seed(0)
    items: Any = [
        (
            torch.randn(3, height + at % 2, 5, generator=generator),
            {"boxes": torch.rand(1 + at % 3, 4, generator=generator)},
        )
        for at in range(count)
    ]

    def collate(rows: list[Any]) -> Any:
        parts = tuple(zip(*rows, strict=True))
        return parts if as_tuple else [list(part) for part in parts]

    return DataLoader(items, batch_size=8, collate_fn=collate)


@pytest.mark.parametrize("as_tuple", [True, False])
def test_a_list_of_images_is_a_batch_of_its_length(as_tuple: bool) -> None:
    loader = detection(240, as_tuple=as_tuple)
    stream = Stream(loader, DEVICE)
    images, targets = batch = stream.take()
    assert isinstance(images, tuple if as_tuple else list)
    assert (size_of(batch), len(cut(batch, 0, 4)[1]), size_of(join([batch, batch]))) == (8, 4, 16)
    assert targets[0].keys() == {"boxes"}
    assert len(draw(Stream(loader, DEVICE), 30, 2**30, 24).distinct) == 24
    assert len(without_repeats([batch, Stream(loader, DEVICE).take()], 9)) == 1


def test_images_alone_are_no_batch_of_their_colours() -> None:
    images = [torch.randn(3, 5, 5) for _ in range(4)]
    assert size_of(Stream([images], DEVICE, samples=4).take()) == 4
    assert size_of(Stream([images], DEVICE, samples=3).take()) == 3  # nothing says otherwise


def test_parts_of_a_batch_are_no_samples() -> None:
    """Two parts of a batch of two, and two fields beside a config's micro-batch of two."""
    pair = (torch.zeros(2, 4), torch.zeros(2, 4))
    assert type(Stream([pair], DEVICE, samples=2).take()) is tuple
    images = ([torch.zeros(3, 4, 4)] * 2, [{"boxes": torch.zeros(1, 4)}] * 2)
    taken = Stream([images], DEVICE, samples=2).take()
    assert type(taken) is tuple
    assert size_of(taken) == 2
    other = (torch.zeros(6, 4), torch.zeros(6, dtype=torch.long))
    assert type(Stream([other], DEVICE, samples=2).take()) is tuple


def test_a_detector_has_a_noise_scale() -> None:
    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        images, targets = batch
        found = torch.stack([model(image.mean((1, 2))) for image in images])
        wanted = torch.stack([target["boxes"].mean(0) for target in targets])
        return {"box": ((found - wanted).square().mean(), 1.0)}

    made = Training(nn.Linear(3, 4), detection(800, as_tuple=True), losses)
    lines: list[Any] = []
    run_dry(
        made, Recipe("adamw", {"lr": 1e-2}), steps=3, seed=0, device=DEVICE, write=lines.append,
        about={},
    )  # fmt: skip
    (term,) = [line for line in lines if line["kind"] == "term"]
    (noise,) = [line for line in lines if line["kind"] == "noise"]
    assert term["samples"] == "mean"
    assert (noise["micro_batch"], "refused" in noise) == (8, False)
