"""The dry run's measurements on tiny models: exact, without a trace, and clear where they fail."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from math import isclose
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import DEVICE, batches, level, tiny, training, two_losses  # noqa: E402
from support import audit_text  # noqa: E402
from torch import nn  # noqa: E402

from gradaudit.evidence.gram import noise_scale, summed  # noqa: E402
from gradaudit.probe import frozen, gradients  # noqa: E402
from gradaudit.probe.batches import Stream, cut, join, size_of, to_device  # noqa: E402
from gradaudit.probe.coupling import COUPLED, MEAN, SUM, UNKNOWN, couplings  # noqa: E402
from gradaudit.probe.dry_lines import optimizer_line  # noqa: E402
from gradaudit.probe.dryrun import device_of, run_dry  # noqa: E402
from gradaudit.probe.entry import build_training, load_entry  # noqa: E402
from gradaudit.probe.protocol import Config, DryRunError, Training  # noqa: E402
from gradaudit.probe.recipe import Recipe, make_optimizer, recipe_of  # noqa: E402
from gradaudit.probe.state import same_training, take_random  # noqa: E402
from gradaudit.probe.trajectory import Trajectory  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def adamw(**more: Any) -> Recipe:
    return Recipe("adamw", {"lr": 1e-2}, **more)


def state_of(model: nn.Module, optimizer: Any) -> list[Any]:
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
    for state in optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    random = take_random(next(model.parameters()).device)
    generators = [state for state in (random.cpu, random.device) if state is not None]
    return [copy.deepcopy(tensor) for tensor in tensors] + [*generators]


def same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        (a is None and b is None) or torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )


def run(
    made: Training, recipe: Recipe | None = None, steps: int = 12, on: str = "cpu"
) -> list[Any]:
    lines: list[Any] = []
    torch.manual_seed(0)
    run_dry(
        made, recipe or adamw(), steps=steps, seed=0, device=torch.device(on), write=lines.append,
        about={"program": "t", "unit": "main"},
    )  # fmt: skip
    return lines


# --- gradients of terms ---


@pytest.mark.parametrize("kept_bytes", [1 << 20, 64])
def test_products_are_those_of_the_flat_gradients(device: str, kept_bytes: int) -> None:
    model = tiny(dropout=0.0).double().to(device)
    batch = tuple(part.double().to(device) for part in batches(1)[0])
    parameters = list(model.parameters())
    terms = gradients.read_terms(two_losses(model, batch))
    loss = gradients.weighted_sum(terms)
    flat = []
    for term in terms:
        parts = torch.autograd.grad(term.tensor, parameters, retain_graph=True)
        flat.append(term.weight * torch.cat([part.flatten() for part in parts]))
    found = gradients.products(terms, parameters, [loss], kept_bytes)
    for i in range(2):
        assert isclose(found.norm(i), float(flat[i].norm()), rel_tol=1e-12)
        for j in range(2):
            assert isclose(found.gram[i][j], float(flat[i] @ flat[j]), rel_tol=1e-9)
    assert isclose(found.total_norm, float((flat[0] + flat[1]).norm()), rel_tol=1e-12)
    assert found.difference[0] < 1e-14
    cosine = found.cosines()[0][1]
    assert cosine is not None
    assert isclose(cosine, float(nn.functional.cosine_similarity(flat[0], flat[1], dim=0)))


def test_large_tensors_are_cut_and_small_ones_share_a_block() -> None:
    tensors = [torch.zeros(size) for size in (3, 5, 20, 4, 0, 30)]
    found = gradients.blocks(tensors, 2, 8 * 12)  # 12 elements a block
    assert found == [
        [(0, 0, 3), (1, 0, 5)], [(2, 0, 12)], [(2, 12, 20), (3, 0, 4), (4, 0, 0)],
        [(5, 0, 12)], [(5, 12, 24)], [(5, 24, 30)],
    ]  # fmt: skip
    assert gradients.blocks(tensors, 2, 10**6) == [
        [(at, 0, len(tensor)) for at, tensor in enumerate(tensors)]
    ]


@pytest.mark.parametrize("most", [8 * 3 * 2, 1 << 20])
def test_products_do_not_depend_on_how_they_are_cut(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(gradients, "DOUBLE_BYTES", most)
    model = tiny(dropout=0.0)
    made = Training(model, [], two_losses)
    (batch,) = batches(1)
    parameters = list(model.parameters())
    found = []
    for kept_bytes in (1 << 20, 40):
        terms = gradients.read_terms(made.losses(model, batch))
        loss = [gradients.weighted_sum(terms)]
        found.append(gradients.products(terms, parameters, loss, kept_bytes))
    whole, cut_up = found
    for before, after in ((whole.gram, cut_up.gram), (whole.layers, cut_up.layers)):
        for a, b in zip(before, after, strict=True):
            assert a == pytest.approx(b, rel=1e-12, abs=1e-15)
    assert len(whole.layers[0]) == len(parameters)
    assert whole.total_norm == pytest.approx(cut_up.total_norm, rel=1e-12)
    some = [torch.randn(2, 50, generator=torch.Generator().manual_seed(at)) for at in range(3)]
    together = torch.cat(some).double()
    assert torch.allclose(torch.tensor(gradients.dots_of(some)).double(), together @ together.T)


PEAK = """
import resource, torch
from gradaudit.probe import gradients

weight = torch.zeros(2**24, requires_grad=True)
terms = [gradients.Term(str(at), (weight * (at + 1.0)).sum(), 1.0) for at in range(5)]
loss = gradients.weighted_sum(terms)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = gradients.products(terms, [weight], [loss], 2**26)
assert found.norm(1) == 2 * 2**12, found.norm(1)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**16)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kilobytes on Linux only")
def test_no_more_of_a_large_gradient_is_held_than_was_said() -> None:
    """In times of one gradient of 64 MiB, of which so much may be kept: all six at once were 16."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert float(done.stdout) < 6


def test_a_term_without_graph_has_no_gradient_and_no_cosine() -> None:
    model = tiny()
    x, y = batches(1)[0]
    terms = gradients.read_terms({
        "mse": (((model(x).squeeze() - y) ** 2).mean(), 1.0), "off": (torch.zeros(()), 2.0),
        "number": (0.0, 1.0),
    })  # fmt: skip
    found = gradients.products(terms, list(model.parameters()))
    assert found.norm(1) == found.norm(2) == 0
    assert found.cosines()[0] == [pytest.approx(1), None, None]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (torch.zeros(()), "must return {name: (tensor, weight)}"),
        ({}, "must return {name: (tensor, weight)}"),
        ({"mse": torch.zeros(())}, "term `mse`: takes (tensor, weight)"),
        ({"mse": (torch.zeros(3), 1.0)}, "has the shape (3,)"),
    ],
)
def test_what_losses_must_not_return(returned: Any, said: str) -> None:
    with pytest.raises(DryRunError) as caught:
        gradients.read_terms(returned)
    assert said in str(caught.value)


# --- nothing is left behind ---


def test_measuring_changes_no_bit_of_the_training(device: str) -> None:
    """Weights, buffers, dropout, optimiser: with and without a measurement before each step."""
    ends = []
    for measure in (True, False):
        made = training()
        on = torch.device(device)
        made.model.to(on)
        torch.manual_seed(3)
        optimizer = make_optimizer(adamw(), list(made.model.parameters()))
        trajectory = Trajectory(
            made, adamw(clip_norm=0.5), optimizer, Stream(made.batches, on), on,
            level(adamw()), lambda line: None, measure=measure,
        )  # fmt: skip
        trajectory.run(15, lambda step, norm: None)
        ends.append(state_of(made.model, optimizer))
    assert same(*ends)


def test_everything_at_fixed_weights_is_put_back(device: str) -> None:
    made, on = training(), torch.device(device)
    made.model.to(on)
    optimizer = make_optimizer(adamw(), list(made.model.parameters()))
    trajectory = Trajectory(
        made, adamw(), optimizer, Stream(made.batches, on), on, level(adamw()),
        lambda line: None,
    )  # fmt: skip
    trajectory.run(3, lambda step, norm: None)
    before = state_of(made.model, optimizer)
    some = [to_device(batch, on) for batch in batches(24, seed=9)]
    parameters = list(made.model.parameters())
    for _ in range(2):
        assert frozen.frozen_products(made, some, parameters, on).dots
        assert same(before, state_of(made.model, optimizer))
        assert frozen.size_bias(made, some, parameters, on, frozen_norm=True).dots
        assert same(before, state_of(made.model, optimizer))
        assert frozen.batch_norm_noise(made, some, on)
        assert couplings(made, some, on).kinds
        assert same(before, state_of(made.model, optimizer))
        frozen.rate_test(made, optimizer, some, on, factors=(1.0, 4.0), clip_norm=1.0)
        assert same(before, state_of(made.model, optimizer))
    assert optimizer.param_groups[0]["lr"] == 1e-2
    assert made.model.training


def test_a_state_that_is_wider_than_its_weights_keeps_its_digits() -> None:
    """Of an optimizer that keeps float32 beside bfloat16. Loading makes it of the weights' type."""
    model = torch.nn.Linear(3, 3).to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    before = torch.full((3, 3), 0.1234567)
    optimizer.state[model.weight]["mean"] = before.clone()
    with same_training(model, optimizer, torch.device("cpu")):
        optimizer.state[model.weight]["mean"].zero_()
    after = optimizer.state[model.weight]["mean"]
    assert after.dtype == torch.float32
    assert torch.equal(after, before)


def test_same_training_restores_even_after_an_error(device: str) -> None:
    made = training()
    made.model.to(device)
    optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1, momentum=0.9)
    before = state_of(made.model, optimizer)

    def fails() -> None:
        with same_training(made.model, optimizer, torch.device(device)):
            made.model(torch.randn(6, 4).to(device)).sum().backward()
            optimizer.step()
            made.model.eval()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert same(before, state_of(made.model, optimizer))
    assert made.model.training


def test_model_tensors_are_those_that_ask_for_a_gradient() -> None:
    """As the recorder counts them, and docs/record.md says."""
    made = training()
    next(made.model.children()).requires_grad_(False)
    optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
    assert len(list(made.model.parameters())) == 6
    assert optimizer_line(made, optimizer)["model_tensors"] == 4


def test_two_runs_with_one_seed_are_one(device: str) -> None:
    first, second = run(training(), on=device), run(training(), on=device)
    for line in (*first, *second):
        for key in ("time", "started", "pid"):
            line.pop(key, None)
    assert first == second


# --- the self-check ---


@pytest.mark.parametrize("factor", [0.0, 2.9])
def test_a_term_that_is_missing_or_weighed_otherwise_is_caught(device: str, factor: float) -> None:
    made = training()

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        terms = two_losses(model, batch)
        return {"mse": terms["mse"], "calib": (terms["calib"][0], factor)}

    def total(model: nn.Module, batch: Any) -> Any:
        return sum(weight * tensor for tensor, weight in two_losses(model, batch).values())

    made.losses, made.total = losses, total
    with pytest.raises(DryRunError, match="do not add up to `total`"):
        run(made, on=device)
    made.losses = two_losses
    lines = run(made, on=device)  # the same random numbers for both: dropout is no difference
    (about,) = [line for line in lines if line["kind"] == "trajectory"]
    assert about["total_checked"]
    assert about["self_check"] < 1e-5


# --- noise ---


def test_noise_scale_against_every_sample() -> None:
    """Linear regression on 512 samples: tr(Sigma) and |G|^2 from each sample's own gradient."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 5, generator=generator)
    y = x @ torch.arange(1.0, 6.0) + torch.randn(512, generator=generator)
    model = nn.Linear(5, 1)
    with torch.no_grad():
        error = model(x).squeeze() - y
    each = torch.cat([2 * error[:, None] * x, 2 * error[:, None]], dim=1)
    truth = float(each.var(0).sum() / each.mean(0).square().sum())
    hits, order = 0, torch.Generator().manual_seed(1)
    for _ in range(12):
        picks = [torch.randint(512, (8,), generator=order) for _ in range(24)]
        some = [(x[at], y[at]) for at in picks]
        made = Training(
            model, some,
            lambda m, batch: {"mse": (((m(batch[0]).squeeze() - batch[1]) ** 2).mean(), 1.0)},
        )  # fmt: skip
        found = frozen.frozen_products(made, some, list(model.parameters()), DEVICE)
        scale = noise_scale(summed(found.dots, 1), 8)
        hits += scale.low <= truth <= scale.high
        assert scale.value == pytest.approx(truth, rel=0.8)
    assert hits >= 9


def test_noise_scale_is_refused_where_samples_are_not_independent(device: str) -> None:
    kinds = {"norm": {}, "pairs": {"norm": False}}
    said = {}
    for name, kind in kinds.items():
        lines = run(training(**kind), steps=3, on=device)
        said[name] = [line for line in lines if line["kind"] == "noise"]
    assert "BatchNorm" in said["norm"][0]["refused"]
    assert "`calib`" in said["pairs"][0]["refused"]
    alone = training(norm=False, dropout=0.0)
    alone.losses = lambda model, batch: {"mse": two_losses(model, batch)["mse"]}
    (line,) = [line for line in run(alone, steps=3, on=device) if line["kind"] == "noise"]
    assert "refused" not in line
    assert 0 <= float(line["low"]) <= float(line["noise_scale"])


def test_how_terms_treat_samples_is_measured() -> None:
    model = tiny(norm=False)

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        x, y = batch
        out = model(x).squeeze(-1)
        return {
            "mean": ((out - y).square().mean(), 1.0), "sum": ((out - y).square().sum(), 1.0),
            "pairs": ((out[:, None] - out[None]).abs().mean(), 1.0),
            "hinge": (torch.relu(out.mean() - 1e6), 1.0),
        }  # fmt: skip

    found = couplings(Training(model, [], losses), batches(3), DEVICE)
    assert found.kinds == {"mean": MEAN, "sum": SUM, "pairs": COUPLED, "hinge": UNKNOWN}


def test_a_small_batch_that_turns_the_gradient_is_told_from_noise() -> None:
    """A penalty on the spread of 2 samples points elsewhere than on that of 8; a mean does not."""
    from gradaudit.evidence.gram import size_cosine

    model = nn.Linear(4, 1)

    def losses(coupled: bool) -> Any:
        def of(model: nn.Module, batch: Any) -> dict[str, Any]:
            x, y = batch
            out = model(x).squeeze(-1)
            gap = (out.var() / y.var() - 1).square() if coupled else (out - y).square().mean()
            return {"loss": (gap, 1.0)}

        return of

    some = batches(64, size=4)
    found = {}
    for coupled in (True, False):
        bias = frozen.size_bias(
            Training(model, some, losses(coupled)), some, list(model.parameters()), DEVICE
        )
        found[coupled] = size_cosine(bias.dots, bias.small, bias.joined)
    honest = found[False]
    assert honest is not None
    assert honest.high > 0.97
    turned = found[True]
    assert turned is None or turned.low < honest.low


@pytest.mark.parametrize(("size", "turns"), [(2, True), (16, False)])
def test_batch_norm_at_two_samples_turns_the_gradient(size: int, turns: bool) -> None:
    """A loss that is a mean over samples: with BatchNorm on its running statistics the expected
    gradient is the same at any batch; on those of two samples it is another one."""
    from gradaudit.evidence.gram import size_cosine

    made = training(dropout=0.0)
    made.losses = lambda model, batch: {"mse": two_losses(model, batch)["mse"]}
    for x, _ in batches(50, size=64, seed=5):
        made.model(x)  # settles the running statistics
    some, found = batches(96, size=size, seed=20), []
    for frozen_norm in (False, True):
        bias = frozen.size_bias(
            made, some, list(made.model.parameters()), DEVICE, frozen_norm=frozen_norm
        )
        found.append(size_cosine(bias.dots, bias.small, bias.joined))
    own, without = found
    assert own is not None
    assert without is not None
    assert without.low > 0.99
    assert own.value < 0.9 if turns else own.low > 0.98


def test_what_does_not_fit_is_done_in_part_or_left_out() -> None:
    assert frozen.kept_batches(1000, 4, 24, kept_bytes=4 * 1000 * 4 * 5) == 5
    made, some = training(), batches(24)
    parameters = list(made.model.parameters())
    assert "too many to keep" in frozen.frozen_products(made, some, parameters, DEVICE, 100).why
    assert "too many parameters" in frozen.size_bias(
        made, some, parameters, DEVICE, kept_bytes=100
    ).why  # fmt: skip


def test_a_rate_that_diverges_is_seen(device: str) -> None:
    made = training(norm=False, dropout=0.0)
    made.model.to(device)
    some = [to_device(batch, torch.device(device)) for batch in batches(20)]
    made.losses = lambda model, batch: {"mse": two_losses(model, batch)["mse"]}
    optimizer = torch.optim.SGD(made.model.parameters(), lr=0.05)
    found = frozen.rate_test(
        made, optimizer, some, torch.device(device), factors=(1.0, 1e6), clip_norm=None
    )
    assert len(found[0]) == 20
    assert found[1][-1] > 1e6 * found[0][-1] or found[1][-1] != found[1][-1]


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_other_rates_are_clipped_by_value_as_the_steps_are(clip_norm: float | None) -> None:
    """A gradient of (1000, 1) cut to (0.1, 0.1), and then to the norm: so far goes a step."""
    model = nn.Linear(2, 1, bias=False)
    data = [torch.tensor([[1000.0, 1.0]] * 4) for _ in range(120)]
    lines: list[Any] = []
    recipe = Recipe("sgd", {"lr": 0.01}, clip_value=0.1, clip_norm=clip_norm)
    made = Training(model, data, lambda own, x: {"mean": (own(x).mean(), 1.0)})
    run_dry(made, recipe, steps=2, seed=0, device=torch.device("cpu"), write=lines.append, about={})
    (line,) = [line for line in lines if line["kind"] == "rate_test"]
    for factor, losses in zip(line["factors"], line["losses"], strict=True):
        element = 0.1 if clip_norm is None else clip_norm / 2**0.5
        step = 1001.0 * 0.01 * element * factor
        moved = [before - after for before, after in pairwise(losses)]
        assert moved == pytest.approx([step] * 19, rel=1e-3)


# --- messages ---


def nan_at(step: int) -> Training:
    made = training()
    calls = iter(range(1, 10_000))

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        call = next(calls)
        terms = two_losses(model, batch)
        bad = float("nan") if call >= 2 * step - 1 else 1.0  # two forward passes a step
        return {"mse": terms["mse"], "calib": (terms["calib"][0] * bad, 3.0)}

    made.losses = losses
    return made


def test_nan_in_the_first_step_names_its_term(device: str) -> None:
    with pytest.raises(DryRunError, match=r"step 1: term `calib` is nan, before anything"):
        run(nan_at(1), on=device)


def test_nan_later_keeps_what_was_measured(device: str) -> None:
    lines = run(nan_at(4), on=device)
    assert sum(line["kind"] == "step" for line in lines) == 3
    (about,) = [line for line in lines if line["kind"] == "trajectory"]
    assert about["stopped"].startswith("step 4: term `calib` is nan")


def test_a_loader_that_ends_says_so_and_one_that_can_begins_anew() -> None:
    made = training()
    made.batches = iter(batches(5))
    (about,) = [line for line in run(made) if line["kind"] == "trajectory"]
    assert about["steps"] == 5
    assert "the loader ended after 5 batches" in about["stopped"]
    made = training(count=5)
    (about,) = [line for line in run(made) if line["kind"] == "trajectory"]
    assert about["steps"] == 12
    assert not about["stopped"]
    made = training(count=0)
    with pytest.raises(DryRunError, match="`batches` is empty"):
        run(made)


def test_no_term_with_a_graph() -> None:
    made = training()
    made.losses = lambda model, batch: {"mse": (two_losses(model, batch)["mse"][0].detach(), 1.0)}
    with pytest.raises(DryRunError, match="no term of the loss has a graph"):
        run(made)


def test_a_term_that_is_always_detached_is_counted() -> None:
    made = training()

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        terms = two_losses(model, batch)
        return {"mse": terms["mse"], "calib": (terms["calib"][0].detach(), 3.0)}

    made.losses = losses
    (line,) = [x for x in run(made) if x["kind"] == "term" and x["name"] == "calib"]
    assert line["without_graph"] == line["steps"] == 12


def test_out_of_memory_says_what_to_do() -> None:
    made = training()

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    made.losses = losses
    with pytest.raises(DryRunError, match=r"out of memory on cpu: the model has 65 parameters"):
        run(made)


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there(name: str) -> None:
    there = torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()
    if there:
        assert device_of(name).type == name
        return
    with pytest.raises(DryRunError, match=f"--device {name}: no"):
        device_of(name)


def test_entries_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "lacking_one.py").write_text("import no_such_package\n")
    (tmp_path / "broken_one.py").write_text("1 / 0\n")
    (tmp_path / "fine_one.py").write_text("def build(config): return 3\nnumber = 4\n")
    for text, said in {
        "fine_one": "takes MODULE:FUNCTION",
        "nowhere_at_all:build": "there is no module `nowhere_at_all`",
        "gone.py:build": "there is no such file",
        "lacking_one:build": "it imports `no_such_package`, which is missing",
        "broken_one:build": "ZeroDivisionError: division by zero (broken_one.py:1)",
        "fine_one:biuld": "has no `biuld`; did you mean `build`?",
        "fine_one:number": "is a int, not a function",
    }.items():
        with pytest.raises(DryRunError) as caught:
            load_entry(text)
        assert said in str(caught.value), text
    build = load_entry("fine_one.py:build")
    with pytest.raises(DryRunError, match="returned a int without model, batches, losses"):
        build_training(build, Config({}, {}, "main"), "fine_one.py:build")


def returns(made: Any, config: Config) -> Any:
    return made


def test_what_the_users_code_raises_is_said_with_its_line() -> None:
    made = training()
    made.losses = lambda model, batch: model(batch[7])
    with pytest.raises(DryRunError, match=r"your code failed: IndexError: .*test_dryrun_probe.py:"):
        run(made)


def test_an_interrupt_keeps_what_was_measured() -> None:
    made = training()
    calls = iter(range(1, 10_000))

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        if next(calls) == 9:
            raise KeyboardInterrupt
        return two_losses(model, batch)

    made.losses = losses
    lines = run(made)
    (about,) = [line for line in lines if line["kind"] == "trajectory"]
    assert about["stopped"] == "interrupted: 4 of 12 steps"
    assert lines[-1]["kind"] == "stop"


def test_what_build_must_not_return() -> None:
    good = training()
    for change, said in (
        ({"model": 3}, "`model` is a int"), ({"losses": None}, "`losses` is not a function"),
        ({"batches": 4}, "`batches` is a int, which cannot be iterated"),
        ({"optimizer": "adamw"}, "`optimizer` is a str"),
    ):  # fmt: skip
        made = SimpleNamespace(**{**vars(good), **change})
        with pytest.raises(DryRunError) as caught:
            build_training(partial(returns, made), Config({}, {}, "main"), "x:build")
        assert said in str(caught.value)

    def build(config: Config) -> Any:
        return config["missing"]

    with pytest.raises(DryRunError, match=r"KeyError: 'missing'.*`config.unit` the section"):
        build_training(build, Config({"a": 1}, {}, "net"), "x:build")


def test_an_optimiser_gets_what_its_class_takes() -> None:
    """The table and the arguments are the simulation's: AMSGrad and NAdamW are classes of torch."""
    said = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "betas": (0.8, 0.9), "eps": 1e-6}
    for family, expected in (
        ("sgd", {"momentum": 0.9, "nesterov": True}),
        ("adam", {"betas": (0.8, 0.9), "eps": 1e-6, "amsgrad": False}),
        ("amsgrad", {"betas": (0.8, 0.9), "amsgrad": True}),
        ("nadamw", {"decoupled_weight_decay": True}),
        ("rmsprop", {"momentum": 0.9, "eps": 1e-6}),
        ("asgd", {"lr": 0.1}),
    ):
        optimizer = make_optimizer(Recipe(family, dict(said)), list(tiny().parameters()))
        assert optimizer.defaults.items() >= expected.items(), family


def test_optimisers_that_torch_has_not() -> None:
    held = list(tiny().parameters())
    for recipe, said in (
        (Recipe(None), "names no optimiser"), (Recipe("lion", {"lr": 1.0}), "none of torch's"),
        (Recipe("adamw"), "no learning rate"), (Recipe("adamw", {"lr": -1.0}), "refused"),
        (Recipe("muon", {"lr": 1.0}), "cannot be made from the config alone"),
    ):  # fmt: skip
        with pytest.raises(DryRunError, match=said):
            make_optimizer(recipe, held)
    made = training()
    made.optimizer = torch.optim.LBFGS(made.model.parameters())
    with pytest.raises(DryRunError, match="gradaudit probe"):
        run(made)


# --- the trajectory ---


def test_clip_warm_up_and_accumulation_are_those_of_the_recipe(device: str) -> None:
    text = (
        "optimizer: adamw\nlearning_rate: 0.01\ngradient_clip_norm: 0.1\nwarmup_steps: 4\n"
        "warmup_start_factor: 0.2\nscheduler: cosine\nmax_steps: 12\n"
        "gradient_accumulation_steps: 3\n"
    )
    recipe = recipe_of(audit_text(text).units[0])
    steps = [line for line in run(training(), recipe, on=device) if line["kind"] == "step"]
    assert [s["learning_rate"][0] for s in steps[:5]] == pytest.approx(
        [0.002, 0.004, 0.006, 0.008, 0.01]
    )
    assert steps[-1]["learning_rate"][0] < 1e-3
    assert all(s["events"] == "ZBBBCS" and s["backward_calls"] == 3 for s in steps)
    assert all(s["post_clip_norm"] <= 0.1001 < s["pre_clip_norm"] for s in steps[:3])
    assert steps[0]["batch_norm"] == [{"mode": "train", "batch": 6, "calls": 3}]
    assert "update_ratio" in steps[9]
    assert "update_ratio" not in steps[8]


def test_accumulation_is_the_mean_of_the_micro_batches(device: str) -> None:
    """Without BatchNorm and dropout three micro-batches are one batch three times as large."""
    ends = []
    for size, accumulation in ((6, 3), (18, 1)):
        made = training(norm=False, dropout=0.0)
        made.losses = lambda model, batch: {"mse": two_losses(model, batch)["mse"]}
        some = batches(30)
        made.batches = some if size == 6 else [join(some[at : at + 3]) for at in range(0, 30, 3)]
        run(made, adamw(accumulation=accumulation), steps=8, on=device)
        ends.append([p.detach() for p in made.model.parameters()])
    for first, second in zip(*ends, strict=True):
        assert torch.allclose(first, second, atol=1e-6)


def test_the_record_is_read_by_the_reader(device: str, tmp_path: Path) -> None:
    from gradaudit.evidence.dry_run import read_dry_run
    from gradaudit.evidence.record_reader import read_record

    lines = run(training(), adamw(clip_norm=1.0), steps=40, on=device)
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    (tmp_path / "rank-0.jsonl").write_text(text)
    record = read_record(str(tmp_path))
    assert record.source == "dryrun"
    assert record.device == device
    assert record.why_stopped == "steps"
    assert not record.remarks
    found = read_dry_run(record, {"mse": "primary", "calib": "auxiliary"})
    assert found.norm is not None
    assert found.norm.count == 40
    assert {term.name for term in found.terms} == {"mse", "calib"}
    assert found.rates
    assert found.batch_norm["layers"][0]["values"] == 6


def test_a_term_that_acts_at_one_step_in_a_hundred_is_found_and_lowered(tmp_path: Path) -> None:
    """A hinge that one batch in a hundred touches, with a gradient fifty times the rest."""
    from gradaudit.evidence.dry_run import read_dry_run
    from gradaudit.evidence.record_reader import read_record

    made = training(norm=False, dropout=0.0)
    some = batches(100)
    some[42] = (some[42][0], some[42][1] + 1000.0)  # the only targets above 500
    usual = 5.0
    made.batches = some

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        x, y = batch
        out = model(x).squeeze(-1)
        outlier = y.mean() > 500
        mse = (out - torch.where(outlier, y - 1000.0, y)).square().mean()
        hinge = 50 * usual * out.mean() if outlier else torch.relu(out.mean() - 1e6)
        return {"mse": (mse, 1.0), "penalty": (hinge, 1.0)}

    made.losses = losses
    lines = run(made, Recipe("sgd", {"lr": 1e-6}), steps=100)
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    (tmp_path / "rank-0.jsonl").write_text(text)
    found = read_dry_run(read_record(str(tmp_path)), {"mse": "primary", "penalty": "auxiliary"})
    (advice,) = found.balance.to_apply
    assert (advice.name, advice.few) == ("penalty", 1)
    assert not found.balance.dominated
    assert found.norm is not None
    assert found.norm_after is not None
    assert found.norm.max > 30 * found.norm.median
    assert found.norm_after.max < 4 * found.norm_after.median


# --- batches ---


def test_batches_of_all_kinds() -> None:
    from collections import UserDict, namedtuple

    Pair = namedtuple("Pair", "x y")
    x = torch.arange(6.0).reshape(6, 1)
    for batch in (x, [x, x], (x, {"y": x}), Pair(x, x), {"a": x, "b": [x]}, UserDict(a=x)):
        moved = to_device(batch, DEVICE)
        assert type(moved) is type(batch)
        assert size_of(batch) == 6
        assert size_of(cut(batch, 0, 2)) == 2
        assert size_of(join([batch, batch])) == 12
    assert size_of((x, torch.zeros(()))) is None


def test_lists_of_texts_and_arrays_are_cut_and_joined_too() -> None:
    numpy = pytest.importorskip("numpy")
    x = torch.arange(6.0).reshape(6, 1)
    names = [f"{at}.png" for at in range(6)]
    batch = {"x": x, "path": names, "id": tuple(range(6)), "set": "train", "mask": None,
             "y": numpy.arange(6)}  # fmt: skip
    assert size_of(batch) == 6
    part = cut(batch, 1, 3)
    assert (part["path"], part["id"], part["set"], part["mask"]) == (
        ["1.png", "2.png"], (1, 2), "train", None,
    )  # fmt: skip
    assert part["y"].tolist() == [1, 2]
    both = join([part, cut(batch, 4, 6)])
    assert both["path"] == ["1.png", "2.png", "4.png", "5.png"]
    assert both["id"] == (1, 2, 4, 5)
    assert both["y"].tolist() == [1, 2, 4, 5]
    assert both["set"] == "train"
    assert size_of(both) == 4
    with pytest.raises(RuntimeError, match="differs from batch to batch"):
        join([part, {**part, "set": "test"}])
    with pytest.raises(RuntimeError):
        join([{"y": numpy.ones((2, 3))}, {"y": numpy.ones((2, 4))}])


class Own:
    """A batch of a class that only the user's code can take apart."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: {"x": x, "y": y, "id": 3}, "`id` is a single number"),
        (lambda x, y: (x, y, torch.tensor(3)), "`[2]` is a tensor of a single number"),
        (lambda x, y: {"x": x, "y": {"z": [y, y[:2]]}}, "`x` has a length of 6, `y.z[1]` of 2"),
        (lambda x, y: {"x": x, "names": ["a", "b"]}, "`x` has a length of 6, `names` of 2"),
        (Own, "it is a Own"),
        (lambda x, y: {"x": x[:1], "y": y[:1]}, "it has one sample"),
    ],
)
def test_of_a_batch_that_cannot_be_cut_it_is_said_why(change: Any, said: str) -> None:
    """Not that the model does not run on half of it."""
    made = training(norm=False)
    made.batches = [change(*old) for old in batches(30)]

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        held = vars(batch) if isinstance(batch, Own) else batch
        x = held["x"] if isinstance(held, dict) else held[0]
        return {"mse": (model(x).square().mean(), 1.0)}

    made.losses = losses
    (line,) = [line for line in run(made, steps=2) if line["kind"] == "noise"]
    assert line["refused"] == (
        f"whether the terms couple samples is not known: a batch cannot be cut in halves: {said}"
    )


def test_a_term_that_was_not_active_is_named() -> None:
    made = training(norm=False)

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        out = model(batch[0])
        hinge = torch.relu(out.mean() - 1e6)
        return {"mse": (out.square().mean(), 1.0), "hinge": (hinge, 1.0)}

    made.losses = losses
    (line,) = [line for line in run(made, steps=2) if line["kind"] == "noise"]
    assert line["refused"] == (
        "whether `hinge` couples samples is not known: it was not active on the batches looked at"
    )


class Endless:
    """A loader that can begin anew, but gives nothing the second time."""

    def __init__(self) -> None:
        self.begun = 0

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        yield from batches(2) if self.begun == 1 else ()


def test_a_loader_that_is_empty_the_second_time_ends() -> None:
    made = training()
    made.batches = Endless()
    (about,) = [line for line in run(made, steps=5) if line["kind"] == "trajectory"]
    assert about["steps"] == 2
