"""A script's own scheduler: its real rates, and nothing of it changed."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dry_support import DEVICE, batches, tiny, two_losses  # noqa: E402
from support import audit_text  # noqa: E402
from torch.optim import lr_scheduler as of  # noqa: E402

from gradaudit.__main__ import main  # noqa: E402
from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.entry import build_training  # noqa: E402
from gradaudit.probe.gradients import read_terms, weighted_sum  # noqa: E402
from gradaudit.probe.lengths import Clock  # noqa: E402
from gradaudit.probe.own_schedule import own_rates  # noqa: E402
from gradaudit.probe.protocol import Config, DryRunError, Training  # noqa: E402
from gradaudit.probe.recipe import NO_SCHEDULER, Recipe, recipe_for  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]

STEPS = 14
NONE = Clock(None, None, None, 0)


def sgd(model: Any) -> Any:
    body, head = list(model[0].parameters()), list(model[2:].parameters())
    groups = [{"params": body}, {"params": head, "lr": 0.001}]
    return torch.optim.SGD(groups, lr=0.01, momentum=0.9)


def adamw(model: Any) -> Any:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def linear_then_cosine(optimizer: Any) -> Any:
    rise = of.LinearLR(optimizer, start_factor=0.1, total_iters=4)
    return of.SequentialLR(optimizer, [rise, of.CosineAnnealingLR(optimizer, 20)], [4])


class Halving:
    """A factor that is an object with a state, which torch keeps too."""

    def __init__(self) -> None:
        self.factor = 1.0

    def __call__(self, call: int) -> float:
        self.factor *= 0.9
        return self.factor


MADE: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "lambda": (sgd, lambda o: of.LambdaLR(o, lambda call: 1 / (1 + call))),
    "stateful": (sgd, lambda o: of.MultiplicativeLR(o, Halving())),
    "sequential": (sgd, linear_then_cosine),
    "chained": (sgd, lambda o: of.ChainedScheduler([of.LinearLR(o), of.ExponentialLR(o, 0.9)])),
    "restarts": (adamw, lambda o: of.CosineAnnealingWarmRestarts(o, T_0=3)),
    "milestones": (adamw, lambda o: of.MultiStepLR(o, [3, 6])),
    "cyclic": (sgd, lambda o: of.CyclicLR(o, 0.001, 0.1, step_size_up=3)),
    "one cycle, momentum": (sgd, lambda o: of.OneCycleLR(o, [0.1, 0.01], total_steps=20)),
    "one cycle, betas": (adamw, lambda o: of.OneCycleLR(o, 0.1, total_steps=20)),
}


def made_with(name: str, **more: Any) -> Training:
    optimizer_of, scheduler_of = MADE[name]
    model = tiny(norm=False, dropout=0.0)
    optimizer = optimizer_of(model)
    return Training(
        model, batches(60), two_losses, optimizer, scheduler=scheduler_of(optimizer), **more
    )


def by_hand(name: str, every: int) -> tuple[list[list[float]], Any]:
    """The user's own loop: its rates and its weights."""
    training = made_with(name)
    optimizer, scheduler = training.optimizer, training.scheduler
    assert optimizer is not None
    assert scheduler is not None
    rates = []
    for step, batch in enumerate(list(training.batches)[:STEPS], 1):
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.zero_grad()
        weighted_sum(read_terms(two_losses(training.model, batch))).backward()
        optimizer.step()
        if step % every == 0:
            scheduler.step()
    return rates, training.model.state_dict()


def run(training: Training, clock: Clock = NONE) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    run_dry(
        training, Recipe(clock=clock), steps=STEPS, seed=0, device=DEVICE, write=lines.append,
        about={},
    )  # fmt: skip
    return lines


@pytest.mark.parametrize("follows", ["step", "epoch"])
@pytest.mark.parametrize("name", MADE)
def test_rates_and_weights_are_those_of_the_users_own_loop(name: str, follows: Any) -> None:
    """Bit by bit, with what else it changes: OneCycleLR has the momentum go against the rate."""
    training = made_with(name, scheduler_step=follows)
    assert training.scheduler is not None
    state = copy.deepcopy(training.scheduler.state_dict())
    every = 1 if follows == "step" else 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = run(training, NONE if follows == "step" else Clock(None, None, 4.0, 0))
    rates, weights = by_hand(name, every)
    assert [line["learning_rate"] for line in lines if line["kind"] == "step"] == rates
    for key, value in training.model.state_dict().items():
        assert torch.equal(value, weights[key]), key
    assert training.scheduler.state_dict() == state


@pytest.mark.parametrize("name", MADE)
def test_a_scheduler_that_was_called_ahead_is_as_it_was(name: str) -> None:
    """Also where it was called some way already, as after a resumed checkpoint."""
    training, other = made_with(name), made_with(name)
    found = []
    for one in (training, other):
        assert one.optimizer is not None
        assert one.scheduler is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.scheduler.step()
            if one is training:
                own_rates(one, one.optimizer, NONE, STEPS)
            for _ in range(8):
                one.scheduler.step()
        groups = one.optimizer.param_groups
        found.append([{k: v for k, v in group.items() if k != "params"} for group in groups])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("made", "follows", "expected"),
    [
        (lambda o: of.LinearLR(o, 0.1, total_iters=40), "step", 40),  # ends after the run
        (linear_then_cosine, "step", 4),
        (linear_then_cosine, "epoch", 200),  # the whole run is within its first call
        (lambda o: of.ConstantLR(o, 0.1, total_iters=6), "step", 6),
        (lambda o: of.ExponentialLR(o, 0.9), "step", 0),
        (lambda o: of.LambdaLR(o, lambda call: 1.0), "step", 0),
        (lambda o: of.OneCycleLR(o, 0.1, total_steps=100, pct_start=0.3), "step", 29),
    ],
)
def test_its_rise_is_the_warmup(made: Any, follows: Any, expected: int) -> None:
    """No weight is recommended from within it."""
    optimizer = adamw(tiny())
    training = Training(
        tiny(), [], two_losses, optimizer, scheduler=made(optimizer), scheduler_step=follows
    )
    rates, _ = own_rates(training, optimizer, Clock(None, None, 50.0, 0), 20)
    assert rates.warmup == expected
    highest = 0.1 if isinstance(training.scheduler, of.OneCycleLR) else 0.01
    assert rates.peaks == pytest.approx([highest])


@pytest.mark.parametrize(
    ("rates", "first", "second", "expected"),
    [
        ((0.01, 0.001), lambda c: 1.0, lambda c: min((c + 1) / 40, 1.0), 39),
        ((0.0, 0.001), lambda c: 1.0, lambda c: min((c + 1) / 40, 1.0), 39),
        ((0.01, 0.001), lambda c: min((c + 1) / 10, 1.0), lambda c: min((c + 1) / 40, 1.0), 39),
        ((0.01, 0.001), lambda c: min((c + 1) / 10, 1.0), lambda c: 1.0, 9),
        ((0.01, 0.001), lambda c: 1.0, lambda c: float(c >= 10), 0),  # unfrozen at once
    ],
)
def test_every_group_warms_up(rates: Any, first: Any, second: Any, expected: int) -> None:
    """Of a backbone that is frozen, or at a rate of its own, and a head."""
    model = tiny()
    optimizer = sgd(model)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler = of.LambdaLR(optimizer, [first, second])
    training = Training(model, [], two_losses, optimizer, scheduler=scheduler)
    found, _ = own_rates(training, optimizer, NONE, 20)
    assert found.warmup == expected
    assert found.peaks == pytest.approx(rates)


def test_a_cycle_that_ends_before_the_run_is_said() -> None:
    optimizer = adamw(tiny())
    scheduler = of.OneCycleLR(optimizer, 0.1, total_steps=5)
    made = Training(tiny(), [], two_losses, optimizer, scheduler=scheduler)
    rates, said = own_rates(made, optimizer, NONE, 20)
    assert "OneCycleLR, called once a step; the config's is not used. It refuses call " in said
    assert "from there on the rate stays" in said
    assert rates.at(20) == rates.at(6)


def test_the_configs_schedule_is_not_used_beside_it() -> None:
    text = "optimizer: adamw\nlearning_rate: 3.0e-4\nscheduler: cosine\nmax_steps: 50\n"
    unit = audit_text(text).units[0]
    made = made_with("sequential")
    recipe = recipe_for(unit, made)
    assert recipe.planned is None
    assert not any("cosine" in note for note in recipe.notes)
    made.scheduler = None
    assert recipe_for(unit, made).planned is not None


def test_a_scheduler_that_is_made_and_not_passed_is_missed() -> None:
    made = made_with("sequential")
    made.scheduler = None
    (about,) = [line for line in run(made) if line["kind"] == "trajectory"]
    assert any("pass it as Training(..., scheduler=...)" in note for note in about["notes"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"scheduler": "cosine"}, "`scheduler` is a str, not a torch.optim.lr_scheduler.LR"),
        ({"scheduler": of.ReduceLROnPlateau}, "needs the metric of an evaluation"),
        ({"scheduler": lambda o: of.StepLR(adamw(tiny()), 3)}, "`scheduler` is of another optimi"),
        ({"optimizer": None}, "`scheduler` is of another optimizer: pass the one"),
        ({"scheduler_step": "batch"}, "`scheduler_step` is 'batch': takes 'step' or 'epoch'"),
    ],
)
def test_what_is_no_scheduler_of_the_training(more: dict[str, Any], said: str) -> None:
    good = made_with("milestones")
    if callable(more.get("scheduler")):
        more = {"scheduler": more["scheduler"](good.optimizer)}
    made = SimpleNamespace(**{**vars(good), **more})
    with pytest.raises(DryRunError) as caught:
        build_training(lambda config: made, Config({}, {}, "main"), "x.py:build")
    assert said in str(caught.value)


def test_epochs_of_unknown_length_and_calls_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_with("milestones", scheduler_step="epoch")
    with pytest.raises(DryRunError, match="steps_per_epoch=N in the Training"):
        run(made)
    made.scheduler_step = "step"
    monkeypatch.setattr(made.scheduler, "step", lambda metric: None)
    with pytest.raises(DryRunError, match=r"MultiStepLR.step\(\) failed \(TypeError"):
        run(made)


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An epoch is as long as the loader where nobody says otherwise."""
    (tmp_path / "c.yaml").write_text("optimizer: sgd\nlearning_rate: 0.1\nmax_steps: 50\n")
    (tmp_path / "own_scheduler.py").write_text(
        "import torch\nfrom gradaudit.probe.protocol import Training\n"
        "def build(config):\n"
        "    model = torch.nn.Linear(2, 1)\n"
        "    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)\n"
        "    return Training(model, [torch.ones(4, 2)] * 3, lambda m, x: {'mse': "
        "(m(x).square().mean(), 1.0)},\n"
        "        optimizer, scheduler=scheduler, scheduler_step='epoch')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    words = ["dryrun", "c.yaml", "--entry", "own_scheduler.py:build", "--steps", "7", "-o", "r"]
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the schedule is the script's own ExponentialLR, called once an epoch" in said
    assert NO_SCHEDULER not in said
    from gradaudit.evidence.record_reader import read_record

    steps = read_record("r").optimizers[0].steps
    assert [step.learning_rate[0] for step in steps] == [0.1] * 3 + [0.05] * 3 + [0.025]


def test_a_scheduler_that_cannot_be_copied_is_refused() -> None:
    """It is no fault of gradaudit's, and its user can mend it."""
    model = tiny(norm=False, dropout=0.0)
    optimizer = sgd(model)
    scheduler = of.LambdaLR(optimizer, lambda call: 1 / (1 + call))
    scheduler.lock = threading.Lock()  # as one has that keeps a writer of logs
    training = Training(model, batches(60), two_losses, optimizer, scheduler=scheduler)
    with pytest.raises(DryRunError, match="the state of LambdaLR cannot be copied"):
        run(training)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.001]


def refuses(call: int) -> float:
    if call:
        raise ValueError("no factor for this call")
    return 1.0


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (refuses, r"LambdaLR\.step\(\) refuses its first call \(no factor for this call\)"),
        (lambda call: float("nan") if call == 5 else 1.0, "gives a learning rate of nan after 5"),
        (lambda call: -1.0 if call == 2 else 1.0, "gives a learning rate of -0.01 after 2"),
    ],
)
def test_a_scheduler_that_gives_no_rates_is_named(factor: Any, said: str) -> None:
    """Else a run at the first rate, or a NaN that looks like a term's."""
    model = tiny(norm=False, dropout=0.0)
    optimizer = adamw(model)
    scheduler = of.LambdaLR(optimizer, factor)
    training = Training(model, batches(60), two_losses, optimizer, scheduler=scheduler)
    with pytest.raises(DryRunError, match=said):
        run(training)
