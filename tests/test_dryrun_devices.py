"""What a dry run asks of a device: few waits, bounded memory, and a check that knows its digits."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import batches, level, training, two_losses  # noqa: E402
from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from gradaudit.probe import dryrun, fetch, frozen, gradients  # noqa: E402
from gradaudit.probe.batches import Stream  # noqa: E402
from gradaudit.probe.distinct import draw  # noqa: E402
from gradaudit.probe.fetch import memory_for, norms_of, numbers_of  # noqa: E402
from gradaudit.probe.protocol import DryRunError, Training  # noqa: E402
from gradaudit.probe.recipe import Recipe, make_optimizer  # noqa: E402
from gradaudit.probe.trajectory import Trajectory  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


class Waits(TorchDispatchMode):  # type: ignore[misc]
    """Counts what waits for a device: each number that is read by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, words: Any = (), named: Any = None
    ) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*words, **(named or {}))


class NoDoubles(TorchDispatchMode):  # type: ignore[misc]
    """A device that has no float64, as MPS has none."""

    def __torch_dispatch__(
        self, function: Any, types: Any, words: Any = (), named: Any = None
    ) -> Any:
        result = function(*words, **(named or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, torch.Tensor) and one.dtype == torch.float64:
                raise TypeError(f"{function} makes a float64")
        return result


def run(made: Training, device: str, steps: int = 4) -> list[Any]:
    lines: list[Any] = []
    torch.manual_seed(0)
    dryrun.run_dry(
        made, Recipe("adamw", {"lr": 1e-2}), steps=steps, seed=0, device=torch.device(device),
        write=lines.append, about={"program": "t", "unit": "main"},
    )  # fmt: skip
    return lines


def waits_of_a_step(layers: int, device: str) -> int:
    """Of the steps 10 and 11, the update's size with them; of what is ours and of the clip."""
    made = training(norm=False)
    torch.manual_seed(0)
    hidden = [layer for _ in range(layers) for layer in (nn.Linear(8, 8), nn.ReLU())]
    made.model = nn.Sequential(nn.Linear(4, 8), *hidden, nn.Linear(8, 1)).to(device)
    optimizer = torch.optim.SGD(made.model.parameters(), lr=1e-3, foreach=True)
    on = torch.device(device)
    recipe = Recipe("sgd", {"lr": 1e-3}, clip_norm=1.0)
    trajectory = Trajectory(
        made, recipe, optimizer, Stream(made.batches, on), on, level(recipe), lambda line: None
    )
    trajectory.run(9, lambda step, norm: None)
    with Waits() as waits:
        for step in (10, 11):
            trajectory._step(step, [trajectory.stream.take()])
    return int(waits.count)


def test_a_step_waits_as_often_whatever_the_number_of_layers(device: str) -> None:
    few, many = waits_of_a_step(1, device), waits_of_a_step(12, device)
    assert few == many
    assert many <= 4


def test_every_double_goes_through_the_one_function_that_knows_mps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With that one replaced, a whole dry run makes none: on MPS each would be an error."""
    monkeypatch.setattr(gradients, "wide", lambda tensor: tensor)
    with NoDoubles():
        lines = run(training(), "cpu", steps=12)
    assert lines
    with pytest.raises(TypeError, match="makes a float64"), NoDoubles():
        fetch.wide(torch.zeros(2))


def test_mps_has_its_doubles_on_the_cpu() -> None:
    with FakeTensorMode():
        wide = fetch.wide(torch.zeros(2, device="mps"))
    assert (wide.device.type, wide.dtype) == ("cpu", torch.float64)


def autocast(model: nn.Module, batch: Any) -> dict[str, Any]:
    with torch.autocast(batch[0].device.type, dtype=torch.bfloat16):
        return two_losses(model, batch)


def test_autocast_in_the_losses_is_no_fault(device: str) -> None:
    """The terms' gradients are rounded to bf16 one by one, that of their sum once."""
    made = training()
    made.losses = autocast
    (about,) = [line for line in run(made, device) if line["kind"] == "trajectory"]
    assert 1e-4 < about["self_check"] < 3e-2


def test_a_missing_term_is_caught_under_autocast_too(device: str) -> None:
    made = training()
    made.losses = lambda model, batch: {"mse": autocast(model, batch)["mse"]}
    made.total = lambda model, batch: sum(w * t for t, w in autocast(model, batch).values())
    with pytest.raises(DryRunError, match="do not add up to `total`"):
        run(made, device)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_another_dtype(device: str, dtype: Any) -> None:
    made = training(norm=False)
    made.model.to(dtype)
    made.losses = lambda model, batch: two_losses(model, tuple(part.to(dtype) for part in batch))
    (about,) = [line for line in run(made, device) if line["kind"] == "trajectory"]
    assert about["self_check"] < (1e-8 if dtype == torch.float64 else 3e-2)


def test_numbers_of_several_dtypes_and_places(device: str) -> None:
    values = [torch.tensor(1.5), torch.tensor([2.5], dtype=torch.float64, device=device),
              torch.tensor(3.5, dtype=torch.bfloat16, device=device)]  # fmt: skip
    assert numbers_of(values) == [1.5, 2.5, 3.5]
    assert numbers_of([]) == []
    half = torch.full((9,), 6e4, dtype=torch.float16, device=device)
    assert norms_of([half, torch.ones(4)]) == [pytest.approx(1.8e5, rel=1e-3), 2.0]


def test_memory_is_a_share_of_what_a_gpu_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradaudit.probe.fetch.LEAST", 100)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 500)
    assert memory_for(torch.device("cuda"), 5000) == 1000
    assert memory_for(torch.device("cuda"), 700) == 700
    assert memory_for(torch.device("cpu"), 5000) == 5000


def test_no_more_batches_are_kept_than_fit() -> None:
    size = sum(part.numel() * 4 for part in batches(1)[0])
    stream = Stream(batches(40), torch.device("cpu"))
    assert len(draw(stream, 30, 10 * size, 30).every) == 11
    assert len(draw(stream, 30, 100 * size, 30).every) == 30


def test_without_memory_for_the_last_measurement_the_others_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*words: Any, **named: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(frozen, "rate_test", full)
    lines = run(training(), "cpu")
    assert [line["topic"] for line in lines if line["kind"] == "note"] == ["rate_test"]
    assert {"frozen", "noise"} <= {line["kind"] for line in lines}
    assert lines[-1]["kind"] == "stop"


def test_the_scripts_optimizer_may_be_made_before_the_model_is_moved(device: str) -> None:
    made = training()
    made.optimizer = make_optimizer(Recipe("adamw", {"lr": 1e-2}), list(made.model.parameters()))
    steps = [line for line in run(made, device) if line["kind"] == "step"]
    assert len(steps) == 4
    assert all(norm is not None for norm in steps[-1]["layer_norms"])
