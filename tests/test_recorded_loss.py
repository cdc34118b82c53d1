"""What backward was called on: GA954, the words of GA951 and GA934; GA944 from a dry run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from probe_support import assert_faithful, needs, run_both
from record_support import (
    ADAMW,
    SGD,
    audit_recorded,
    codes,
    lognormal,
    optimizer,
    record_of,
    steps,
)

from gradaudit.evidence.record_reader import read_record
from gradaudit.findings import Finding
from gradaudit.plan.recorded import as_config
from gradaudit.rules.docs import as_text


def judged(losses: list[Any], config: str = ADAMW, **more: Any) -> dict[str, Finding]:
    lines = steps(lognormal(len(losses)), **more)
    for line, loss in zip(lines, losses, strict=True):
        line["backward_roots"] = loss if isinstance(loss, list) else [loss]
    return codes(config, record_of([optimizer(), *lines]))


RISING = [1.02**n for n in range(120)]


def test_a_loss_that_rises_from_beginning_to_end() -> None:
    finding = judged(RISING)["GA954"]
    assert (finding.severity, finding.confidence) == ("warning", "medium")
    assert "at the end of 120 steps it is 5.9 times what it was" in finding.message


@pytest.mark.parametrize(
    "losses",
    [
        RISING[:99],  # too few
        RISING[::-1],
        [1.004**n for n in range(120)],  # less than twice
        [*RISING[:119], 1.0],  # one of the last as low as the first
        [min(loss, 4.0) for loss in RISING[:60]] + [4.0] * 60,  # it has ended
        [-loss for loss in RISING],
        [loss - 1 for loss in RISING],  # not positive throughout
        ["nan", *RISING],
        [[loss, None] for loss in RISING],  # a call on what is no number
    ],
)
def test_what_is_no_rise(losses: list[Any]) -> None:
    assert "GA954" not in judged(losses)


def test_games_and_schedules_of_terms_are_not_judged() -> None:
    assert "GA954" not in judged(RISING, ADAMW + "discriminator_lr: 1.0e-4\n")
    assert "GA954" not in judged(RISING, ADAMW + "kl_anneal_steps: 1000\n")
    lines = [{**line, "backward_roots": [loss]} for line, loss in
             zip(steps(lognormal(120)), RISING, strict=True)]  # fmt: skip
    second = [optimizer("SGD", 1), *steps(lognormal(9), index=1, rate=0.1)]
    assert "GA954" not in codes(ADAMW, record_of([optimizer(), *lines, *second]))


def test_a_loss_scale_that_halves_is_no_rise() -> None:
    """Only steps with the last scale are compared, by the loss without it."""
    lines = steps(lognormal(160))
    for number, line in enumerate(lines):
        scale = 1024.0 if number < 30 else 512.0
        line |= {"loss_scale": scale, "unscaled": True, "backward_roots": [scale]}
    assert "GA954" not in codes(ADAMW, record_of([optimizer(), *lines]))
    for line, loss in zip(lines[30:], [1.02**n for n in range(130)], strict=True):
        line["backward_roots"] = [512 * loss]
    found = codes(ADAMW, record_of([optimizer(), *lines]))["GA954"]
    assert "1.359 in the first quarter of 130 steps" in found.evidence[0]


def test_the_last_micro_batches_of_an_epoch_are_left_out() -> None:
    losses = [[loss, loss] for loss in RISING]
    losses[40] = [1.0]
    assert "GA954" in judged(losses)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("nan", "the loss itself was NaN there: look at the forward pass and the batch"),
        (1.5, "the loss was finite there (1.5): it arose in the backward pass"),
        ("inf", None),  # it may be the doing of the loss scale
        (None, None),
    ],
)
def test_nan_arose_in_the_forward_or_the_backward_pass(loss: Any, said: str | None) -> None:
    lines = steps(lognormal(9))
    broken = {"pre_clip_norm": "nan", "post_clip_norm": "nan", "non_finite": ["a.weight"]}
    lines[5] |= {**broken, "backward_roots": [loss]}
    evidence = codes(ADAMW, record_of([optimizer(), *lines]))["GA951"].evidence
    assert list(evidence[1:]) == ([said] if said else [])


def test_a_loss_that_is_nan_with_a_finite_gradient() -> None:
    found = judged([1.0] * 8 + ["nan"])["GA951"]
    assert (found.severity, "the loss is NaN at step 9" in found.message) == ("warning", True)
    assert "GA951" not in judged([1.0] * 8 + ["inf"])  # a loss scale may have made it


def test_spikes_of_the_norm_beside_those_of_the_loss() -> None:
    norms = [1.0 + 0.01 * (n % 7) for n in range(120)]
    for at in (50, 80, 110):
        norms[at] = 6.0
    for loud, said in ((True, "stands out at 3 of them"), (False, "stands out at none of them")):
        lines = steps(norms)
        for at, line in enumerate(lines):
            line["backward_roots"] = [9.0 if loud and norms[at] == 6.0 else 1 + 0.01 * (at % 5)]
        found = codes(ADAMW, record_of([optimizer(), *lines]))["GA934"]
        assert said in found.evidence[0]
    assert "stands out" not in codes(ADAMW, record_of([optimizer(), *steps(norms)]))[
        "GA934"
    ].evidence[0].replace("stand far out", "")


@pytest.mark.parametrize(
    ("line", "fires"),
    [
        ({"factors": [1.0, 2.0], "losses": [[1.0] * 8, [1.0] * 5 + ["nan"]]}, True),
        ({"factors": [1.0, 2.0], "losses": [[1.0] * 8, [1.0] * 4 + [1.6, 1.7, 1.8, 1.9]]}, True),
        ({"factors": [1.0, 2.0], "losses": [[1.0] * 8, [1.0] * 4 + [1.2, 1.2, 1.8, 1.9]]}, False),
        ({"factors": [1.0, 2.0], "losses": [[1.0] * 8, [0.9] * 8]}, False),
        ({"factors": [1.0, 4.0], "losses": [[1.0] * 8, [1.0, "nan"]]}, False),
        # The rate itself is beyond its limit; a batch is NaN at every rate; no comparison.
        ({"factors": [1.0, 2.0], "losses": [[1.0] * 5 + ["inf"], [1.0] * 3 + ["inf"]]}, True),
        ({"factors": [1.0, 2.0], "losses": [[1.0] * 5 + ["nan"], [9.0] * 5 + ["nan"]]}, False),
        ({"factors": [1.0, 2.0], "losses": [[1.0] * 5 + ["inf"], [1.0] * 8]}, False),
        ({"factors": [2.0], "losses": [[1.0, "nan"]]}, False),
        ({"factors": 2, "losses": None}, False),
        ({"factors": ["x", 2.0], "losses": [3, [1.0]]}, False),
    ],
)
def test_a_rate_at_its_limit(line: dict[str, Any], fires: bool) -> None:
    entry = {"kind": "rate_test", "learning_rate": 1e-3, **line}
    record = record_of([optimizer(), *steps(lognormal(9)), entry])
    assert ("GA944" in codes(ADAMW, record)) is fires


@pytest.mark.parametrize(("loss", "said"), [(40.0, "is 40 times as high"), (4e11, "is 4e+11 ti")])
def test_a_loss_that_runs_away_is_told_as_a_factor(loss: float, said: str) -> None:
    losses = [[1.0] * 8, [loss] * 8]
    entry = {"kind": "rate_test", "learning_rate": 1e-3, "factors": [1.0, 2.0], "losses": losses}
    found = codes(ADAMW, record_of([optimizer(), *steps(lognormal(9)), entry]))["GA944"]
    assert said in found.message


def test_a_loss_that_is_half_as_high_again_is_not_called_divergence() -> None:
    losses = [[1.0] * 8, [1.0] * 4 + [1.6, 1.7, 1.8, 1.9]]
    entry = {"kind": "rate_test", "learning_rate": 1e-3, "factors": [1.0, 2.0], "losses": losses}
    found = codes(ADAMW, record_of([optimizer(), *steps(lognormal(9)), entry]))["GA944"]
    assert "is 75 % higher" in found.message
    text = as_text(found.rule)
    for words in ("diverge", "room"):
        assert words not in f"{text} {found.message} {found.next}"


@pytest.mark.torch
@needs("torch")
@pytest.mark.parametrize("mode", ["rate", "term", "forward", "backward", "plain"])
def test_real_losses_that_go_wrong(tmp_path: Path, mode: str) -> None:
    both = run_both(tmp_path, "cpu", "rising.py", mode)
    assert_faithful(both)
    record = read_record(str(tmp_path / "record"))
    found = {f.rule.code: f for f in audit_recorded(SGD, record).findings}
    assert ("GA954" in found) is (mode in ("rate", "term"))
    evidence = " ".join(found["GA951"].evidence) if "GA951" in found else ""
    assert ("what backward was called on was NaN at 1 of 140" in evidence) is (mode == "forward")
    assert ("the loss was finite there" in evidence) is (mode == "backward")


KINDS = (
    "mlp_adamw", "mlp_sgd", "mlp_noisy", "mlp_rmsprop", "mlp_accumulated", "fine_tuning",
    "converged", "transformer", "transformer_bf16", "recurrent", "convolutions",
    "convolutions_group", "autoencoder", "variational", "contrastive", "diffusion",
    "regression_huber", "adversarial", "policy", "adapters",
)  # fmt: skip


@pytest.mark.torch
@pytest.mark.slow
@needs("torch")
@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_training_is_not_accused(tmp_path: Path, kind: str) -> None:
    """Nothing above info, and nothing at all of the rules on the loss and on undone steps."""
    both = run_both(tmp_path, "cpu", "healthy.py", kind, "7")
    assert_faithful(both)
    record = read_record(str(tmp_path / "record"))
    findings = audit_recorded(as_config(record), record).findings
    assert [f.message for f in findings if f.severity != "info"] == []
    assert not {"GA924", "GA944", "GA954"} & {f.rule.code for f in findings}
