"""A dry run that meets NaN or infinity: what is kept, and that it is a finding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ending_support import dryrun, folder_of_a_run, lines_of

torch = pytest.importorskip("torch")

from dry_support import DEVICE, batches, tiny, two_losses  # noqa: E402

from gradaudit.__main__ import main  # noqa: E402
from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.protocol import DryRunError, Training  # noqa: E402
from gradaudit.probe.recipe import Recipe  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]
folder = pytest.fixture(folder_of_a_run)
NAN = "batch = batch * float('nan')"
"""In the script of `ending_support`."""


def run(spoil: Any, call: int) -> dict[str, list[dict[str, Any]]]:
    """A run of nine steps in whose pass `call` (two a step) `spoil` changes the terms."""
    lines: dict[str, list[dict[str, Any]]] = {}
    calls = iter(range(1, 100))

    def losses(model: Any, batch: Any) -> Any:
        found = two_losses(model, batch)
        return spoil(found) if next(calls) == call else found

    run_dry(
        Training(tiny(), batches(40), losses), Recipe("adamw", {"lr": 1e-3}), steps=9, seed=0,
        device=DEVICE, write=lambda line: lines.setdefault(line["kind"], []).append(line),
        about={},
    )  # fmt: skip
    return lines


def with_weight(value: float) -> Any:
    return lambda found: {**found, "calib": (found["calib"][0], value)}


def with_term(change: Any) -> Any:
    return lambda found: {**found, "mse": (change(found["mse"][0]), 1.0)}


SPOILT = [
    (with_term(lambda loss: loss * float("nan")), "term `mse` is nan"),
    (with_weight(float("nan")), "the weight of term `calib` is nan"),
    (with_weight(float("inf")), "the weight of term `calib` is inf"),
    (
        with_term(lambda loss: (loss - loss.detach()).sqrt()),
        "the gradient of `0.weight` is not finite, though the loss is",
    ),
]


@pytest.mark.parametrize(
    ("call", "spoil", "what"),
    [*((7, *one) for one in SPOILT[:3]), *((8, *one) for one in SPOILT)],
)
def test_the_record_says_where_and_counts_the_steps_that_were_taken(
    call: int, spoil: Any, what: str
) -> None:
    """Step 4, seen when it is measured or in the pass that trains."""
    lines = run(spoil, call)
    assert lines["non_finite"] == [{"kind": "non_finite", "step": 4, "what": what}]
    assert [line["step"] for line in lines["step"]] == [1, 2, 3]
    assert [line["step"] for line in lines["terms"]] == [1, 2, 3]
    assert [line["steps"] for line in lines["term"]] == [3, 3]
    assert (lines["stop"][0]["why"], lines["stop"][0]["steps"]) == ("non_finite", 3)
    said = f"step 4: {what}; the 3 steps before it were recorded"
    assert lines["trajectory"][0]["stopped"] == said


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (with_weight(float("nan")), "the weight of term `calib` is nan, .*look at where `losses`"),
        (with_term(lambda loss: loss / 0), "term `mse` is inf, .*look at its inputs"),
    ],
)
def test_in_the_first_step_it_is_no_measurement(spoil: Any, said: str) -> None:
    with pytest.raises(DryRunError, match=f"^step 1: {said}"):
        run(spoil, 1)


def test_it_is_a_finding_of_the_dry_run_and_of_the_check(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dryrun(folder, NAN, 8) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "3 of 6 steps" in said
    assert "Loss terms, step 3" in said  # after a warm-up of 2
    assert "first of all step 4, where term `task` is nan: look at what makes it in" in said
    assert lines_of(folder)["stop"][0]["why"] == "non_finite"
    assert main(["check", "c.yaml", "--record", "record"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "error[GA951]: at step 4 term `task` is nan: the dry run stopped before it" in said
    assert "detect_anomaly" not in said  # sees gradients alone
    assert "stopped before step 4, at which term `task` is nan, 6 steps were asked for" in said


def test_exit_zero_is_for_that_too(folder: Path) -> None:
    assert dryrun(folder, NAN, 8, "--exit-zero") == 0


def test_a_loader_that_ends_is_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dryrun(folder, "pass", 0) == 0
    assert main(["check", "c.yaml", "--record", "record"]) == 0
    assert "GA951" not in capsys.readouterr().out


def test_nothing_is_measured_after_it_whatever_the_name() -> None:
    """A name with `loader` in it was taken for a loader that ended."""
    model = torch.nn.Sequential()
    model.add_module("dataloader_proj", torch.nn.Linear(4, 1))
    calls = iter(range(1, 1000))

    def losses(own: Any, batch: Any) -> Any:
        loss = own(batch[0]).square().mean()
        return {"mse": ((loss - loss.detach()).sqrt() if next(calls) == 8 else loss, 1.0)}

    given: list[int] = []

    def loader() -> Any:
        for number, batch in enumerate(batches(400)):
            given.append(number)
            yield batch

    lines: list[Any] = []
    run_dry(
        Training(model, loader(), losses), Recipe("sgd", {"lr": 1e-3}), steps=9, seed=0,
        device=DEVICE, write=lines.append, about={},
    )  # fmt: skip
    kinds = [line["kind"] for line in lines]
    assert "dataloader_proj.weight" in lines[kinds.index("trajectory")]["stopped"]
    assert not {"frozen", "noise", "rate_test", "note"} & {*kinds}
    assert len(given) == 4
    assert next(calls) == 9  # none of the training's code ran any more
