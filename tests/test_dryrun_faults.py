"""What a script can do wrong ends in a message of one line, never as a fault of gradaudit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import DEVICE, batches, tiny, two_losses  # noqa: E402

from gradaudit.probe.coupling import RANDOM, couplings  # noqa: E402
from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.entry import build_training, load_entry  # noqa: E402
from gradaudit.probe.gradients import read_terms  # noqa: E402
from gradaudit.probe.protocol import Config, DryRunError, Training  # noqa: E402
from gradaudit.probe.recipe import Recipe  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]
CONFIG = Config({}, {}, "main")


def built(**more: Any) -> Training:
    made = Training(tiny(), batches(4), two_losses, **more)
    return build_training(lambda config: made, CONFIG, "t.py:build")


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (None, "its weight None is not a number"),
        ("heavy", "its weight 'heavy' is not a number"),
        (torch.ones(2), "is not a number"),
        (torch.ones((), requires_grad=True), "multiply it into the tensor"),
    ],
)
def test_a_weight_that_is_no_number(weight: Any, said: str) -> None:
    with pytest.raises(DryRunError, match="term `mse`") as caught:
        read_terms({"mse": (torch.zeros(()), weight)})
    assert said in str(caught.value)


def test_a_swapped_pair_is_called_that() -> None:
    loss = torch.ones((), requires_grad=True) * 2
    with pytest.raises(DryRunError, match="term `mse`: tensor and weight are swapped"):
        read_terms({"mse": (1.0, loss)})


def test_an_empty_result_is_called_that() -> None:
    with pytest.raises(DryRunError, match="returned a dict with nothing in it: it must return"):
        read_terms({})


class NoIterator:
    def __iter__(self) -> Any:
        return 5


def one(batch: Any) -> Any:
    return batch


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"losses": lambda model, batch, extra: {}},
            r"yours takes \(model, batch, extra\): missing .* 'extra' \(.*_faults.py:\d+\)",
        ),
        ({"losses": partial(two_losses, None)}, r"and yours takes \(batch\): too many"),
        ({"losses": torch.nn.Identity()}, r"and yours takes \(input\): too many"),
        ({"losses": {}}, r"`losses` is not a function of \(model, batch\)$"),
        ({"total": one}, r"`total` is called as total\(model, batch\), and yours takes \(batch\)"),
        ({"total": 1.0}, r"`total` is not a function of \(model, batch\) but a float"),
        ({"move": one}, r"`move` is called as move\(batch, device\), and yours takes \(batch\)"),
        ({"primary": 3}, "`primary` holds 3: it takes the names of the terms"),
        ({"primary": ["mse", 3]}, "`primary` holds 3"),
        ({"steps_per_epoch": "64"}, "`steps_per_epoch` is '64': it takes a number above 0"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` is 0: it takes a number above 0"),
    ],
)
def test_a_field_that_cannot_be_used_is_told_at_the_start(more: dict[str, Any], said: str) -> None:
    made = Training(**{"model": tiny(), "batches": batches(4), "losses": two_losses, **more})
    with pytest.raises(DryRunError, match=f"^t.py:build: .*{said}"):
        build_training(lambda config: made, CONFIG, "t.py:build")


@pytest.mark.parametrize(
    "more",
    [
        {"losses": lambda *given: two_losses(*given)},
        {"losses": lambda model, batch, scale=1.0: two_losses(model, batch)},
        {"total": lambda m, b: sum(w * t for t, w in two_losses(m, b).values())},
        {"move": max},  # of C: it does not tell its arguments
        {"primary": None},
        {"primary": {"mse": 1}.keys()},
        {"steps_per_epoch": 64.0},
    ],
)
def test_what_can_be_used_is_not_refused(more: dict[str, Any]) -> None:
    made = Training(**{"model": tiny(), "batches": batches(4), "losses": two_losses, **more})
    assert build_training(lambda config: made, CONFIG, "t.py:build") is made


def run(**more: Any) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    made = Training(**{"model": tiny(), "batches": batches(40), "losses": two_losses, **more})
    run_dry(
        made, Recipe("adamw", {"lr": 1e-3}, clip_norm=1.0), steps=9, seed=0, device=DEVICE,
        write=lines.append, about={},
    )  # fmt: skip
    return lines


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"total": lambda m, b: 1.0}, "`total` returned a float: it must return the loss"),
        ({"total": lambda m, b: m(b[0])}, r"`total` returned a tensor of the shape \(6, 1\)"),
        ({"total": lambda m, b: m(b[0]).mean().detach()}, "returned a tensor without a graph"),
        ({"batches": NoIterator()}, "`batches` cannot be iterated over: TypeError: iter"),
        ({"move": len}, r"`move` cannot be called as move\(batch, device\): .*one argument"),
        (
            {"model": torch.nn.EmbeddingBag(9, 4, sparse=True),
             "batches": [torch.zeros(2, 3, dtype=torch.int64)] * 9,
             "losses": lambda m, b: {"mse": (m(b).square().mean(), 1.0)}},
            r"torch refused: NotImplementedError: [^\n]*\Z",
        ),
    ],
)  # fmt: skip
def test_what_shows_only_in_a_call_is_no_fault_of_gradaudit(
    more: dict[str, Any], said: str
) -> None:
    with pytest.raises(DryRunError, match=said):
        run(**more)


def test_a_fault_of_gradaudit_in_a_call_is_not_the_scripts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradaudit.probe import trajectory

    monkeypatch.setattr(trajectory, "read_terms", lambda: None)
    with pytest.raises(TypeError):
        run()


@pytest.mark.parametrize("call", [7, 8])
def test_an_error_in_a_step_names_the_step(call: int) -> None:
    """Calls 7 and 8 are the two passes of step 4: measured, and trained."""
    calls = iter(range(1, 100))

    def losses(model: Any, batch: Any) -> Any:
        if next(calls) == call:
            raise RuntimeError("shapes cannot be multiplied")
        return two_losses(model, batch)

    with pytest.raises(DryRunError, match=r"^step 4: your code failed: RuntimeError: shapes"):
        run(losses=losses)


def test_one_primary_term_may_be_said_without_a_list() -> None:
    assert list(built(primary="mse").primary) == ["mse"]


def test_an_optimiser_of_another_model() -> None:
    with pytest.raises(DryRunError, match="holds no trainable parameter of `model`"):
        built(optimizer=torch.optim.SGD(tiny().parameters(), lr=0.1))


def test_a_script_that_ends_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends_at_import.py").write_text("import sys\nsys.exit(5)\n")
    (tmp_path / "ends_in_build.py").write_text("def build(config):\n    raise SystemExit(5)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    with pytest.raises(DryRunError, match=r"SystemExit: 5 \(ends_at_import.py:2\)"):
        load_entry("ends_at_import.py:build")
    function = load_entry("ends_in_build.py:build")
    with pytest.raises(DryRunError, match=r"SystemExit: 5 \(ends_in_build.py:2\)"):
        build_training(function, CONFIG, "ends_in_build.py:build")


def test_a_term_that_draws_its_own_noise_is_not_said_to_couple_samples() -> None:
    """A generator's noise, a diffusion's time step: halves of a batch get other draws."""
    model = torch.nn.Linear(4, 1)

    def losses(own: Any, batch: Any) -> Any:
        (x,) = batch
        return {
            "noisy": ((own(x) + torch.randn(len(x), 1)).square().mean(), 1.0),
            "plain": (own(x).square().mean(), 1.0),
            "coupled": (own(x).var(), 1.0),
        }

    data = [(torch.randn(8, 4),) for _ in range(4)]
    before = torch.get_rng_state()
    kinds = couplings(Training(model, data, losses), data, DEVICE)
    assert kinds == ({"noisy": RANDOM, "plain": "mean", "coupled": "coupled"}, "")
    assert torch.equal(before, torch.get_rng_state())


def test_biases_that_a_batch_norm_subtracts_are_named() -> None:
    """By construction they have no gradient: no vanishing layer, and no dead one."""
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.ReLU(), torch.nn.Linear(3, 1)
    )
    lines: list[Any] = []
    data = [torch.randn(8, 4) for _ in range(4)]
    made = Training(model, data, lambda own, x: {"mse": (own(x).square().mean(), 1.0)})
    run_dry(
        made, Recipe("adamw", {"lr": 1e-3}), steps=2, seed=0, device=DEVICE, write=lines.append,
        about={},
    )  # fmt: skip
    (line,) = [line for line in lines if line["kind"] == "optimizer"]
    assert [line["layers"][at] for at in line["bias_before_batch_norm"]] == ["0.bias"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 3 bytes"),
    ],
)
def test_a_model_that_does_not_fit_when_it_is_built(error: Exception) -> None:
    def build(config: Config) -> Any:
        raise error

    with pytest.raises(DryRunError, match="build a smaller copy of the model"):
        build_training(build, CONFIG, "t.py:build")


def out_of_memory() -> None:
    """Torch's own error: no machine has an exbibyte."""
    torch.empty(2**60)


@pytest.mark.parametrize("where", ["couplings", "large batches", "terms", "BatchNorm"])
def test_memory_that_runs_out_after_the_steps_is_said_and_loses_nothing(where: str) -> None:
    """Not as batches that cannot be joined, nor as a model that does not run on half a batch."""
    calls = iter(range(1, 10_000))

    def losses(model: Any, batch: Any) -> Any:
        call = next(calls)
        if where == "couplings" and not model.training:
            out_of_memory()
        if where == "large batches" and len(batch[0]) > 6:
            out_of_memory()
        if where in ("terms", "BatchNorm") and call > 4 + 8 * 4 + 1:
            out_of_memory()
        return two_losses(model, batch)

    lines: list[Any] = []
    made = Training(tiny(norm=where == "BatchNorm"), batches(40), losses)
    run_dry(
        made, Recipe("adamw", {"lr": 1e-3}), steps=2, seed=0, device=DEVICE, write=lines.append,
        about={},
    )  # fmt: skip
    kinds = [line["kind"] for line in lines]
    assert kinds.count("step") == 2
    assert kinds[-1] == "stop"
    by_kind = {line["kind"]: line for line in lines}
    assert by_kind["frozen"]["names"] == ["mse", "calib"]
    said = {
        "couplings": by_kind["noise"].get("refused"),
        "large batches": by_kind.get("batch_size_bias", {}).get("why"),
        "terms": by_kind["frozen"].get("why"),
        "BatchNorm": by_kind["note"]["text"] if "note" in by_kind else None,
    }[where]
    assert "out of memory" in said
    assert "take smaller batches or a smaller copy of the model in `build`" in said


def primary_of(primary: list[str], steps: int, change: Any = dict) -> tuple[list[Any], str]:
    """The lines of a run in whose pass `number` the terms are `change(terms, number)`, and what
    failed behind its steps."""
    calls = iter(range(1, 10_000))

    def losses(model: Any, batch: Any) -> Any:
        found = two_losses(model, batch)
        return found if change is dict else change(found, next(calls))

    lines: list[Any] = []
    made = Training(tiny(norm=False), batches(40), losses, primary=primary)
    ran = run_dry(
        made, Recipe("sgd", {"lr": 1e-3}), steps=steps, seed=0, device=DEVICE, write=lines.append,
        about={},
    )  # fmt: skip
    return lines, ran.failed


def test_a_primary_that_is_no_term_keeps_the_steps() -> None:
    """And what `primary` does not name is not taken for auxiliary: it may be what was meant."""
    lines, failed = primary_of(["mes", "calib"], 3)
    said = "after the 3 steps, `primary` names 'mes', which was no term in them; terms: mse, calib"
    assert failed.startswith(said)
    by_kind = {line["kind"]: line for line in lines}
    assert by_kind["note"]["topic"] == "failed"
    assert by_kind["note"]["text"].startswith(said)
    assert by_kind["stop"] == {"kind": "stop", "why": "error", "steps": 3}
    assert "frozen" not in by_kind
    roles = {line["name"]: line["role"] for line in lines if line["kind"] == "term"}
    assert roles == {"mse": "", "calib": "primary"}


def test_a_primary_term_may_come_in_a_later_step() -> None:
    def late(terms: Any, number: int) -> Any:
        return terms if number > 2 else {"mse": terms["mse"]}  # two passes a step

    lines, failed = primary_of(["calib"], 2, late)
    assert failed == ""
    roles = {line["name"]: line["role"] for line in lines if line["kind"] == "term"}
    assert roles == {"mse": "auxiliary", "calib": "primary"}


def test_where_the_run_was_cut_short_a_primary_that_is_no_term_hides_nothing() -> None:
    def spoilt(terms: Any, number: int) -> Any:
        if number == 5:
            terms["mse"] = (terms["mse"][0] * float("nan"), 1.0)
        return terms

    lines, failed = primary_of(["later"], 9, spoilt)
    assert failed == ""
    assert lines[-1] == {"kind": "stop", "why": "non_finite", "steps": 2}
    (note,) = [line for line in lines if line["kind"] == "note"]
    assert "`primary` names 'later', which was no term in them" in note["text"]
