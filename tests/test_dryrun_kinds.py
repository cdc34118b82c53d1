"""Kinds of training that a dry run takes as they are: buffers that a pass assigns anew, parameters
outside the optimizer or the model, complex ones, counters, loaders that end."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import DEVICE, batches, tiny, training, two_losses  # noqa: E402
from torch import nn  # noqa: E402

from gradaudit.__main__ import main  # noqa: E402
from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.protocol import DryRunError, Training  # noqa: E402
from gradaudit.probe.recipe import Recipe  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def run(made: Training, recipe: Recipe | None = None, steps: int = 12) -> list[Any]:
    lines: list[Any] = []
    torch.manual_seed(0)
    recipe = recipe or Recipe("adamw", {"lr": 1e-2})
    run_dry(
        made, recipe, steps=steps, seed=0, device=DEVICE, write=lines.append,
        about={"program": "t", "unit": "main"},
    )  # fmt: skip
    return lines


def of_kind(lines: list[Any], kind: str) -> list[Any]:
    return [line for line in lines if line["kind"] == kind]


def notes_of(lines: list[Any]) -> str:
    return " ".join(of_kind(lines, "trajectory")[0]["notes"])


# --- state ---


class Averaging(nn.Module):  # type: ignore[misc]
    """Assigns its buffers instead of changing them in place, as many a script does."""

    mean: Any
    last: Any

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("last", None)

    def forward(self, x: Any) -> Any:
        out = self.layer(x)
        self.mean = 0.9 * self.mean + 0.1 * out.detach().mean()
        shift = self.mean if self.last is None else self.mean + 0.1 * self.last
        self.last = out.detach().mean()
        return out - shift


def test_a_buffer_that_a_pass_assigns_anew_is_put_back() -> None:
    """The steps were those of a model whose average had moved twice."""
    plain = Averaging()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-2)
    for batch in batches(12):
        optimizer.zero_grad()
        loss: Any = sum(weight * loss for loss, weight in two_losses(plain, batch).values())
        loss.backward()
        optimizer.step()
    made = Training(Averaging(), batches(200), two_losses)
    lines = run(made)
    assert "keeps something" not in notes_of(lines)
    for name, value in plain.state_dict().items():
        assert torch.equal(made.model.state_dict()[name], value), name


def test_a_counter_in_losses_is_told() -> None:
    """A weight that is annealed by the calls of `losses` runs at twice its pace."""
    calls = [0]

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        calls[0] += 1
        terms = two_losses(model, batch)
        return {**terms, "calib": (terms["calib"][0], calls[0] / 100)}

    said = notes_of(run(Training(tiny(), batches(200), losses)))
    assert "`losses` keeps something between its calls" in said
    assert "at step 1, for the same batch, term `calib` had the weights 0.01 and 0.02" in said
    assert "keeps something" not in notes_of(run(training()))


def test_a_term_that_only_the_other_pass_has_is_told() -> None:
    calls = [0]

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        calls[0] += 1
        terms = two_losses(model, batch)
        if calls[0] % 4 == 0:
            terms["penalty"] = (model(batch[0]).square().mean(), 100.0)
        return terms

    said = notes_of(run(Training(tiny(), batches(200), losses)))
    assert "at step 2, for the same batch, term `penalty` was there only in the pass that" in said


def test_a_counter_in_a_buffer_is_not_told() -> None:
    model: Any = tiny()
    model.register_buffer("calls", torch.zeros(()))

    def losses(model: Any, batch: Any) -> dict[str, Any]:
        model.calls += 1
        terms = two_losses(model, batch)
        return {**terms, "calib": (terms["calib"][0], float(model.calls) / 100)}

    lines = run(Training(model, batches(200), losses))
    assert "keeps something" not in notes_of(lines)
    weights = [line["terms"][1]["weight"] for line in of_kind(lines, "terms")]
    assert weights == [step / 100 for step in range(1, 13)]


# --- parameters ---


def norm_of(tensors: list[Any]) -> float:
    return sqrt(sum(float(t.abs().double().square().sum()) for t in tensors))


class Pair(nn.Module):  # type: ignore[misc]
    """Generator and discriminator in one model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator, self.discriminator = nn.Linear(4, 4), nn.Linear(4, 1)

    def losses(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        made = self.generator(batch[0])
        return {
            "l1": ((made - batch[0]).abs().mean(), 1.0),
            "adv": (-self.discriminator(made).mean(), 2.0),
        }


def test_norms_of_terms_are_of_what_the_optimizer_trains() -> None:
    """A generator's adversarial term had the gradient of the discriminator's weights, too."""
    model = Pair()
    found = model.losses(model, batches(1)[0])
    held = list(model.generator.parameters())
    wanted = {
        name: weight * norm_of(list(torch.autograd.grad(loss, held, retain_graph=True)))
        for name, (loss, weight) in found.items()
    }
    lines = run(Training(model, batches(200), model.losses, torch.optim.SGD(held, lr=1e-2)))
    first = {term["name"]: term["gradient_norm"] for term in of_kind(lines, "terms")[0]["terms"]}
    assert first == pytest.approx(wanted, rel=1e-5)
    said = notes_of(lines)
    assert "2 tensors of the model are not in that optimiser (`discriminator.weight`" in said


def test_parameters_outside_the_model_are_measured_and_put_back() -> None:
    """Weights of a loss that learns them; the test of rates left them where it had trained them."""
    model = nn.Linear(4, 1)
    sigma = nn.Parameter(torch.ones(()))

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        error = (model(batch[0]).squeeze(-1) - batch[1]).square().mean()
        return {"mse": (torch.exp(-sigma) * error + sigma, 1.0)}

    made = Training(model, batches(200), losses)
    made.optimizer = torch.optim.SGD([*model.parameters(), sigma], lr=0.05)
    lines = run(made, steps=5)
    for terms, step in zip(of_kind(lines, "terms"), of_kind(lines, "step"), strict=True):
        assert terms["terms"][0]["gradient_norm"] == pytest.approx(step["pre_clip_norm"], rel=1e-5)
    (tested,) = of_kind(lines, "rate_test")
    firsts = {losses[0] for losses in tested["losses"]}
    assert len(firsts) == 1  # the same weights, whatever the rate


def test_complex_parameters_have_an_imaginary_part() -> None:
    class Spectral(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.weight = nn.Parameter(torch.randn(4, 3, dtype=torch.cfloat))
            self.out = nn.Linear(3, 1)

        def forward(self, x: Any) -> Any:
            return self.out((x.to(torch.cfloat) @ self.weight).abs())

    lines = run(Training(Spectral(), batches(200), two_losses), steps=5)
    steps = [line["pre_clip_norm"] for line in of_kind(lines, "step")]
    assert [line["total_norm"] for line in of_kind(lines, "terms")] == pytest.approx(steps)


# --- how it ends ---


def test_of_a_loader_without_a_batch_left_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = training()
    made.batches = iter(batches(5))
    lines = run(made)
    (stop,) = of_kind(lines, "stop")
    assert stop["why"] == "loader_ended"
    why = "the steps took every batch that the loader has"
    assert of_kind(lines, "noise")[0]["refused"] == why
    assert of_kind(lines, "frozen")[0]["why"] == why
    assert why in of_kind(lines, "note")[0]["text"]
    config, record = tmp_path / "c.yaml", tmp_path / "record"
    config.write_text("train:\n  optimizer: adamw\n  learning_rate: 0.01\n")
    record.mkdir()
    (record / "rank-0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    main(["check", str(config), "--record", str(record)])
    said = " ".join(capsys.readouterr().out.split())
    assert "stopped the loader ended, and cannot begin anew" in said


def test_a_page_of_torchs_is_one_sentence() -> None:
    """A clip of sparse gradients, which torch has not, named every backend that has it."""
    model = nn.Embedding(9, 2, sparse=True)
    made = Training(
        model,
        [torch.randint(0, 9, (4,)) for _ in range(9)],
        lambda model, batch: {"mse": (model(batch).square().mean(), 1.0)},
        torch.optim.SGD(model.parameters(), lr=0.1),
    )
    with pytest.raises(DryRunError, match="torch refused: NotImplementedError") as caught:
        run(made, Recipe("sgd", {"lr": 0.1}, clip_norm=1.0))
    assert len(str(caught.value)) < 450
