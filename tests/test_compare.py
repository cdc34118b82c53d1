"""`compare OLD NEW`: what changed, and what that does to the training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from git_support import commit, git, write
from inline_snapshot import snapshot
from support import SAMPLE, audit_text, run_cli

from gradaudit.compare.changes import compare
from gradaudit.compare.model import Change, Comparison

ADAMW = "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 32\n"
SGD = "optimizer: sgd\nlearning_rate: 0.01\nbatch_size: 32\n"


def of(old: str, new: str) -> Comparison:
    return compare(audit_text(old), audit_text(new))


def changes(old: str, new: str) -> dict[str, Change]:
    (one,) = of(old, new).units
    return {change.name: change for change in one.changes}


def only(old: str, new: str) -> Change:
    (change,) = changes(old, new).values()
    return change


def verdict(old: str, new: str) -> str:
    return only(old, new).verdict


# What is a change


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("learning_rate: 1e-4", "learning_rate: 0.0001"),
        ("learning_rate: 1.0e-4", "learning_rate: '1e-4'"),
        ("learning_rate: 1.0e-4", "lr: 0.0001"),
        ("learning_rate: 1_0.0", "learning_rate: 10"),
        ("learning_rate: 1.0e-4", "optimizer_config: {lr: 1.0e-4}"),
        ("max_grad_norm: .inf", "max_grad_norm: null"),
        ("optimizer: AdamW", "optimizer: adamw"),
        ("betas: [0.9, 0.99]", "betas: [0.90, 9.9e-1]"),
        ("x: 1", "# a comment\nx: 2"),
        ("seed: 3", "seed: 0x3"),
    ],
)
def test_another_spelling_is_no_change(old: str, new: str) -> None:
    found = of(f"epochs: 3\n{old}\n", f"{new}\nepochs: 3\n")
    assert [change.name for one in found.units for change in one.changes] == []


def test_values_that_round_alike_are_told_apart() -> None:
    from gradaudit.render.compare import moved

    change = only("learning_rate: 0.12345\n", "learning_rate: 0.12346\n")
    assert moved(change) == "0.12345 -> 0.12346, 1 x"


def test_added_and_removed() -> None:
    found = changes("epochs: 3\nseed: 1\n", "epochs: 3\ndropout: 0.1\n")
    assert {name: change.kind for name, change in found.items()} == {
        "dropout": "added",
        "seed": "removed",
    }


def test_a_default_that_becomes_written_and_back() -> None:
    bare = "per_device_train_batch_size: 8\noutput_dir: x\nlearning_rate: 1.0e-4\n"
    said = bare + "max_grad_norm: 1.0\n"
    assert only(bare, said).kind == "now_written"
    assert only(said, bare).kind == "no_longer_written"
    moved = only(bare, bare + "max_grad_norm: 5.0\n")
    assert (moved.kind, moved.factor, moved.verdict) == ("changed", 5.0, "riskier")


def test_a_value_that_only_the_run_knows() -> None:
    change = only("learning_rate: 1.0e-4\n", "learning_rate: ${oc.env:LR}\n")
    assert change.verdict == "unknown"
    assert change.new is not None
    assert change.new.raw == "${oc.env:LR}"
    assert not of("learning_rate: ${oc.env:LR}\n", "# x\nlearning_rate: ${oc.env:LR}\n").units


def test_computed_values_follow_and_are_not_counted() -> None:
    old = "micro_batch_size: 2\ngradient_accumulation_steps: 4\nworld_size: 1\n"
    found = changes(old, old.replace("2", "8", 1))
    assert found["global_batch"].computed
    assert [name for name, change in found.items() if change.large] == ["micro_batch"]


def test_a_training_that_was_renamed() -> None:
    two = (
        "{}:\n  optimizer: adamw\n  learning_rate: {}\n  epochs: 5\n"
        "critic:\n  optimizer: adamw\n  learning_rate: 2.0e-4\n  epochs: 9\n"
    )
    (one,) = of(two.format("generator", "1.0e-4"), two.format("gen", "1.0e-3")).units
    assert one.old is not None
    assert (one.old.name, one.name) == ("generator", "gen")
    assert [change.name for change in one.changes] == ["learning_rate"]


def test_trainings_that_only_one_file_has() -> None:
    one = "g:\n  optimizer: adamw\n  learning_rate: 1.0e-4\n"
    two = one + "d:\n  optimizer: sgd\n  learning_rate: 0.1\n  epochs: 3\n"
    added = of(one, two).units
    assert [(u.name, u.old is None) for u in added] == [("d", True)]
    gone = of(two, one).units
    assert [(u.name, u.new is None) for u in gone] == [("d", True)]


def test_a_single_training_is_the_same_one_whatever_it_is_called() -> None:
    change = only("learning_rate: 1.0e-4\n", "train:\n  learning_rate: 1.0e-3\n")
    assert change.factor == pytest.approx(10)


def test_findings_are_matched_by_what_they_are_of_not_by_line() -> None:
    found = of("lr: 1e-4\nwarmup_ratio: 0.1\n", "# moved\n\nwarmup_ratio: 0.1\nlr: 2e-4\n")
    assert (found.brought, found.gone, len(found.kept)) == ([], [], 1)
    found = of("lr: 1e-4\n", "lr: 1.0e-4\nweight_decay: 1e-2\n")
    assert [f.key for f in found.brought] == ["weight_decay"]
    assert [f.key for f in found.gone] == ["lr"]


# Verdicts


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1.0e-4", "3.0e-4", "riskier"),
        ("1.0e-4", "2.9e-4", "neutral"),
        ("3.0e-4", "1.0e-4", "safer"),
        ("1.0e-4", "5.0e-5", "neutral"),
    ],
)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lion", "nosuch"])
def test_rate(old: str, new: str, said: str, optimizer: str) -> None:
    text = "optimizer: {}\nlearning_rate: {}\n"
    assert verdict(text.format(optimizer, old), text.format(optimizer, new)) == said


@pytest.mark.parametrize(
    ("optimizer", "rate", "batch", "said"),
    [
        ("sgd", "0.04", 128, "neutral"),  # linear scaling
        ("sgd", "0.1", 128, "riskier"),
        ("adamw", "0.03", 288, "neutral"),  # the square root of 9
        ("adamw", "0.04", 128, "unknown"),  # linear scaling under Adam
        ("adamw", "0.1", 128, "riskier"),
    ],
)
def test_a_rate_that_follows_the_batch(optimizer: str, rate: str, batch: int, said: str) -> None:
    text = "optimizer: {}\nlearning_rate: {}\nbatch_size: {}\n"
    found = changes(text.format(optimizer, "0.01", 32), text.format(optimizer, rate, batch))
    assert found["learning_rate"].verdict == said


@pytest.mark.parametrize(
    ("base", "old", "new", "said", "words"),
    [
        (ADAMW, "1.0", "5.0", "riskier", "a rare spike counts up to 5 times as much"),
        (ADAMW, "1.0", "null", "riskier", "a rare spike counts in full"),
        (ADAMW, "1.0", "0.1", "safer", "rare ones weigh less"),
        (ADAMW, "null", "1.0", "safer", "Spikes are held back now"),
        (ADAMW, "1.0", "2.0", "neutral", "less than 3 x"),
        (SGD, "1.0", "5.0", "riskier", "the step of a spike is up to 5 times as long"),
        (SGD, "1.0", "null", "riskier", "as long as its gradient"),
        (SGD, "1.0", "0.1", "safer", "a clipped step is 10 times shorter"),
        (ADAMW.replace("adamw", "lars"), "1.0", "null", "neutral", "that cancels"),
        (ADAMW.replace("adamw", "signsgd"), "1.0", "9.0", "neutral", "that cancels"),
        ("epochs: 3\n", "1.0", "9.0", "riskier", "the file names none"),
        (ADAMW, "1.0", "-1.0", "unknown", "not above 0"),
    ],
)
def test_clip(base: str, old: str, new: str, said: str, words: str) -> None:
    change = only(f"{base}clip_grad_norm: {old}\n", f"{base}clip_grad_norm: {new}\n")
    assert change.verdict == said
    assert words in change.reason


def test_a_clip_that_is_no_longer_written_may_still_be_the_programs() -> None:
    change = only(ADAMW + "clip_grad_norm: 1.0\n", ADAMW)
    assert (change.kind, change.verdict, change.large) == ("removed", "riskier", True)
    assert "unless the program does so by itself" in change.reason


TERMS = "loss_weights: {{mse: {}, calibration: {}}}\n"


@pytest.mark.parametrize(
    ("base", "old", "new", "said"),
    [
        (ADAMW, (1.0, 0.75), (1.0, 2.5), ["riskier"]),  # the seed's: 3.3 x
        (SGD, (1.0, 0.75), (1.0, 2.5), ["riskier"]),
        (ADAMW, (1.0, 0.75), (1.0, 1.5), ["neutral"]),
        (ADAMW, (1.0, 2.5), (1.0, 0.75), ["safer"]),
        (ADAMW, (1.0, 1.0), (0.1, 1.0), ["riskier"]),  # the main term down is the same ratio
        (ADAMW, (1.0, 1.0), (5.0, 1.0), ["unknown"]),
        (SGD, (1.0, 1.0), (5.0, 1.0), ["riskier"]),
        (ADAMW, (1.0, 0.5), (10.0, 5.0), ["neutral", "neutral"]),  # a common factor cancels
        (SGD, (1.0, 0.5), (10.0, 5.0), ["riskier", "riskier"]),
        (SGD, (10.0, 5.0), (1.0, 0.5), ["safer", "safer"]),
        ("epochs: 1\n", (1.0, 0.5), (10.0, 5.0), ["unknown", "unknown"]),
        (ADAMW, (1.0, 0.0), (1.0, 2.0), ["unknown"]),
    ],
)
def test_weights_of_the_loss(
    base: str, old: tuple[float, float], new: tuple[float, float], said: list[str]
) -> None:
    found = changes(base + TERMS.format(*old), base + TERMS.format(*new))
    assert [change.verdict for change in found.values()] == said


def test_a_common_factor_is_one_change() -> None:
    (one,) = of(SGD + TERMS.format(1.0, 0.5), SGD + TERMS.format(10.0, 5.0)).units
    assert sum(change.large for change in one.changes) == 1
    assert one.several == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("warmup_steps: 1000", "warmup_steps: 100", "riskier"),
        ("warmup_steps: 1000", "warmup_steps: 0", "riskier"),
        ("warmup_steps: 1000", "warmup_steps: 500", "neutral"),
        ("warmup_steps: 100", "warmup_steps: 1000", "safer"),
        ("warmup_steps: 0", "warmup_steps: 1000", "safer"),
        ("warmup_steps: 0", "warmup_steps: 9999", "safer"),
        ("warmup_steps: 1000", "warmup_steps: 10000", "riskier"),
        ("mixed_precision: bf16", "mixed_precision: fp16", "riskier"),
        ("mixed_precision: fp16", "mixed_precision: bf16", "safer"),
        ("momentum: 0.9", "momentum: 0.99", "riskier"),
        ("momentum: 0.9", "momentum: 0.95", "neutral"),
        ("weight_decay: 0.01", "weight_decay: 0.1", "riskier"),
        ("weight_decay: 0.01", "weight_decay: 0.0", "unknown"),
        ("weight_decay: 0.01", "weight_decay: 0.02", "neutral"),
        ("seed: 1", "seed: 2", "neutral"),
        ("min_lr: 1.0e-5", "min_lr: 1.0e-6", "neutral"),
        ("scheduler: cosine", "scheduler: linear", "unknown"),
        ("dropout: 0.1", "dropout: 0.5", "unknown"),
    ],
)
def test_the_rest(old: str, new: str, said: str) -> None:
    base = "optimizer: sgd\nlearning_rate: 0.01\ntotal_steps: 10000\n"
    assert verdict(f"{base}{old}\n", f"{base}{new}\n") == said


def test_a_warmup_that_outlasts_the_training_is_not_safer() -> None:
    base = "optimizer: adamw\nlearning_rate: 1.0e-4\nepochs: 50\n"
    change = only(base + "warmup_epochs: 5\n", base + "warmup_epochs: 60\n")
    assert change.verdict == "riskier"
    assert change.reason.startswith("A warm-up of 60 epochs is all of the training")


def test_more_decay_is_a_higher_rate_in_a_run_that_lasts() -> None:
    change = only(ADAMW + "weight_decay: 0.01\n", ADAMW + "weight_decay: 0.1\n")
    assert change.verdict == "riskier"
    assert change.reason == (
        "The weights are pulled to zero 10 times more strongly. In a run that lasts until that "
        "balances the updates (about 100,000 steps at the peak rate), weights behind a "
        "normalisation are smaller and a step turns them 3.2 times as far: like a higher rate "
        "(Kosson et al. 2023)."
    )


@pytest.mark.parametrize(
    ("base", "old", "new", "said", "words"),
    [
        # AdamW at 1e-3: 0.1 takes 1e-4 off at each step.
        ("max_steps: 100000", "0.01", "0.1", "riskier", "about 10,000 steps at the peak rate"),
        ("max_steps: 5000", "0.01", "0.1", "unknown", "the run ends before that balances"),
        ("max_steps: 500", "0.01", "0.1", "neutral", "In 500 steps it takes less than 10 % off"),
        ("max_steps: 500", "0.1", "0", "neutral", "it hardly acts in so short a run"),
        ("epochs: 5\nsteps_per_epoch: 100", "0.01", "0.1", "neutral", "In 500 steps"),
        ("epochs: 5", "0.01", "0.1", "riskier", "In a run that lasts"),
        ("epochs: 5", "0.00001", "0.0001", "unknown", "only after about 1e7 steps at the peak"),
        ("max_steps: 100000", "0.1", "0.01", "unknown", "grow for longer (about 100,000 steps"),
        ("max_steps: 100000", "0.1", "0.0", "unknown", "Nothing holds the weights back now"),
        ("max_steps: 100000\nprecision: bf16", "0.1", "0.01", "riskier", "in bf16 have diverged"),
        ("precision: bf16", "0.1", "0.01", "unknown", "in bf16 have diverged"),
        ("norm: none", "0.1", "0.01", "riskier", "No normalisation takes that out"),
        ("norm: layer", "0.1", "0.01", "unknown", "like a lower rate"),
        ("max_steps: 100000", "0", "0.1", "unknown", "pulled to zero now"),
        ("max_steps: 100000", "0.1", "0.2", "neutral", "less than 3 x"),
    ],
)
def test_a_decay_of_adamw(base: str, old: str, new: str, said: str, words: str) -> None:
    text = f"optimizer: adamw\nlearning_rate: 1.0e-3\n{base}\nweight_decay: {{}}\n"
    change = only(text.format(old), text.format(new))
    assert (change.verdict, words in change.reason) == (said, True), change.reason


def test_rate_and_decay_are_judged_by_their_product() -> None:
    text = "optimizer: adamw\nlearning_rate: {}\nweight_decay: {}\n"
    found = changes(text.format("1.0e-3", "0.01"), text.format("1.0e-4", "0.1"))
    assert found["weight_decay"].verdict == "neutral"
    assert "a step takes as much off a weight as before" in found["weight_decay"].reason
    found = changes(text.format("1.0e-4", "0.01"), text.format("1.0e-3", "0.1"))
    assert found["weight_decay"].verdict == "riskier"
    assert "100 times more strongly" in found["weight_decay"].reason
    assert "turns them 10 times as far" in found["weight_decay"].reason


def test_a_momentum_that_moved_too_leaves_the_turn_without_a_number() -> None:
    text = "optimizer: sgd\nlearning_rate: 0.01\nmomentum: {}\nweight_decay: {}\n"
    found = changes(text.format("0.9", "0.001"), text.format("0.95", "0.01"))
    assert found["weight_decay"].verdict == "riskier"
    assert "a step turns them farther" in found["weight_decay"].reason
    text = "optimizer: adamw\nlearning_rate: 1.0e-3\nbetas: [{}, 0.999]\nweight_decay: {}\n"
    found = changes(text.format("0.9", "0.01"), text.format("0.5", "0.1"))
    assert "a step turns them farther" in found["weight_decay"].reason


@pytest.mark.parametrize(
    ("old", "new", "said", "words"),
    [
        ("0.001", "0.01", "riskier", "at up to the full rate, more of them now"),
        ("1.0e-6", "1.0e-4", "unknown", "how many have such gradients"),
        ("0.1", "0.001", "safer", "fewer of them now"),
        ("1.0e-4", "1.0e-6", "unknown", "how many had such gradients"),
    ],
)
def test_l2_in_the_gradient_of_adam(old: str, new: str, said: str, words: str) -> None:
    text = "optimizer: adam\nlearning_rate: 1.0e-3\nweight_decay: {}\n"
    change = only(text.format(old), text.format(new))
    assert (change.verdict, words in change.reason) == (said, True), change.reason


def test_a_decay_of_another_kind_of_optimiser_cannot_be_compared() -> None:
    text = "optimizer: {}\nlearning_rate: 1.0e-3\nweight_decay: {}\n"
    found = changes(text.format("adam", "1.0e-4"), text.format("adamw", "0.1"))
    assert found["weight_decay"].verdict == "unknown"
    assert "cannot be compared" in found["weight_decay"].reason
    found = changes(text.format("adafactor", "1.0e-4"), text.format("adafactor", "0.1"))
    assert found["weight_decay"].verdict == "unknown"


def test_a_decay_that_the_file_does_not_say_may_be_the_optimisers_own() -> None:
    change = only(ADAMW + "weight_decay: 0.1\n", ADAMW)
    assert change.verdict == "unknown"
    assert change.reason == (
        "The file says none now: the optimiser's own default holds (0.01 in torch's AdamW)."
    )


def test_how_far_back_the_averages_reach() -> None:
    change = only(ADAMW + "betas: [0.9, 0.999]\n", ADAMW + "betas: [0.0, 0.95]\n")
    assert change.verdict == "unknown"
    assert change.reason == (
        "The average of gradients reaches back 1 step, before 10 steps; the average of their "
        "squares reaches back 20 steps, before 1000 steps."
    )


def test_adam_and_adamw_step_alike_at_the_same_rate() -> None:
    text = "optimizer: {}\nlearning_rate: {}\n"
    found = changes(text.format("adam", "1.0e-4"), text.format("adamw", "1.0e-3"))
    assert found["learning_rate"].verdict == "riskier"
    found = changes(text.format("sgd", "1.0e-4"), text.format("adamw", "1.0e-3"))
    assert found["learning_rate"].verdict == "unknown"


def test_a_batch_in_tokens_is_none_in_samples() -> None:
    tokens = (
        "task: {{_name: translation}}\ndataset: {{max_tokens: {}}}\n"
        "optimization: {{lr: [0.0005]}}\noptimizer: {{_name: adam}}\n"
    )
    found = changes(tokens.format(4096), tokens.format(40960))
    assert "10 times as many tokens" in found["micro_batch"].reason


def test_warm_up_in_another_unit() -> None:
    base = ADAMW + "total_steps: 1000\n"
    found = changes(base + "warmup_steps: 100\n", base + "warmup_ratio: 0.01\n")
    assert {change.verdict for change in found.values()} == {"riskier"}
    assert sum(change.large for change in found.values()) == 1
    found = changes(ADAMW + "warmup_steps: 100\n", ADAMW + "warmup_epochs: 1\n")
    assert {change.verdict for change in found.values()} == {"unknown"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sgd", "adamw", "riskier"),
        ("adamw", "lion", "riskier"),
        ("adamw", "sgd", "unknown"),
        ("adam", "adamw", "neutral"),
        ("lamb", "adafactor", "unknown"),
    ],
)
def test_another_optimiser_with_the_same_rate(old: str, new: str, said: str) -> None:
    text = "optimizer: {}\nlearning_rate: 1.0e-3\n"
    assert verdict(text.format(old), text.format(new)) == said


def test_batch_norm_sees_the_micro_batch_and_accumulation_does_not_help() -> None:
    text = ADAMW.replace("32", "{}") + "norm: {}\ngradient_accumulation_steps: {}\n"
    found = changes(text.format(32, "batch", 1), text.format(8, "batch", 4))
    assert found["micro_batch"].verdict == "riskier"
    assert "from 8 samples now, from 32 before" in found["micro_batch"].reason
    found = changes(text.format(32, "layer", 1), text.format(8, "layer", 4))
    assert found["micro_batch"].verdict == "neutral"
    assert not found["micro_batch"].large or found["micro_batch"].factor == 0.25


def test_fewer_samples_a_step() -> None:
    assert verdict(ADAMW, ADAMW.replace("32", "8")) == "riskier"
    assert verdict(ADAMW, ADAMW.replace("32", "16")) == "neutral"
    assert verdict(ADAMW, ADAMW.replace("32", "128")) == "safer"
    lower = ADAMW.replace("32", "8").replace("1.0e-4", "4.0e-5")
    assert changes(ADAMW, lower)["micro_batch"].verdict == "neutral"


def test_what_is_said_of_the_rate_beside_a_smaller_batch() -> None:
    smaller = ADAMW.replace("32", "8")
    said = {
        "1.0e-4": "fewer samples, at the same rate",
        "2.0e-4": "fewer samples, at a higher rate",
        "8.0e-5": "fewer samples, at a rate / 1.25 only",
    }
    for rate, words in said.items():
        change = changes(ADAMW, smaller.replace("1.0e-4", rate))["micro_batch"]
        assert words in change.reason
    bare = "optimizer: adamw\nbatch_size: {}\n"
    assert "rate" not in only(bare.format(32), bare.format(8)).reason


def test_several_at_once() -> None:
    old = ADAMW + "clip_grad_norm: 1.0\n"
    (one,) = of(old, old.replace("1.0e-4", "1.0e-3")).units
    assert one.several == ""
    (one,) = of(old, old.replace("1.0e-4", "1.0e-3").replace("1.0\n", "9.0\n")).units
    assert one.several.startswith("two changes of 3 x or more at once: neither can be told")


# The command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    top = tmp_path / "repo"
    top.mkdir()
    monkeypatch.chdir(top)
    git("init", "-q", "-b", "main")
    return top


SEED = {
    "calib_max_weight: 2.50": "calib_max_weight: 0.75",
    "calib_range_weight: 2.00": "calib_range_weight: 0.45",
    "uncertainty_weight: 0.35": "uncertainty_weight: 0.10",
}


def test_the_screen_of_the_three_changes_of_that_november(
    in_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(SAMPLE).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("now.yaml").write_text(text, encoding="utf-8")
    for after, before in SEED.items():
        assert after in text
        text = text.replace(after, before)
    Path("before.yaml").write_text(text, encoding="utf-8")
    ran = run_cli("compare", "before.yaml", "now.yaml", "--isolated")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == snapshot("""\
before.yaml -> now.yaml

priority_net
  riskier  weight of uncertainty  0.1 -> 0.35, 3.5 x  line 64
           An auxiliary term pulls up to 3.5 times as hard against the other
           terms. Under AdamW a common scale of the loss cancels, the ratio of
           its terms does not.
  riskier  weight of calib_max    0.75 -> 2.5, 3.3 x  line 73
           An auxiliary term pulls up to 3.3 times as hard against the other
           terms.
  riskier  weight of calib_range  0.45 -> 2, 4.4 x  line 74
           An auxiliary term pulls up to 4.4 times as hard against the other
           terms.
  Three changes of 3 x or more at once: none can be told from the others; try
  them one at a time.

Findings: 3 new, 0 gone, 6 in both.
  new   info[GA704] line 64: priority_net: `uncertainty_weight` was raised 3.5
        times, from 0.1 to 0.35, its own comment says
  new   info[GA704] line 73: priority_net: `calib_max_weight` was raised 3.3
        times, from 0.75 to 2.5, its own comment says
  new   info[GA704] line 74: priority_net: `calib_range_weight` was raised 4.4
        times, from 0.45 to 2, its own comment says
`gradaudit check now.yaml --isolated` explains what is found.
""")


MIXED_OLD = """\
optimizer: adamw
learning_rate: 1.0e-4
batch_size: 64
norm: batch
mixed_precision: bf16
warmup_steps: 1000
max_grad_norm: 1.0
seed: 1
"""
MIXED_NEW = """\
seed: 2
optimizer: adamw
learning_rate: 3e-4
batch_size: 8
norm: batch
mixed_precision: fp16
warmup_steps: 1000
"""


def test_the_screen_of_every_verdict(here: Path) -> None:
    commit(a_yaml=MIXED_OLD)
    write("a.yaml", MIXED_NEW)
    assert run_cli("compare", "git:HEAD:a.yaml", "a.yaml").out == snapshot("""\
git:HEAD:a.yaml -> a.yaml

main
  riskier  learning_rate  0.0001 -> 0.0003, 3 x  line 3, was line 2
           Under AdamW the length of a step is set by the rate, not by the
           gradient: each is 3 times as long, and no clip takes that back.
  riskier  micro_batch    64 -> 8, / 8  line 4, was line 3
           BatchNorm takes its statistics from 8 samples now, from 64 before;
           accumulation does not help it.
  riskier  clip_norm      1, gone  was line 7
           No longer said, so not clipped, unless the program does so by itself:
           under AdamW a factor that is the same at every step cancels, because
           the gradient is divided by its own running size; but a rare spike
           counts in full in that size.
  riskier  precision      bf16-mixed -> fp16-mixed  line 6, was line 5
           The range of fp16 ends at 65,504, and gradients below 6e-8 become 0:
           it needs loss scaling, and clipping after the gradients are unscaled.
  neutral  seed           1 -> 2  line 1, was line 8
           Differences that are smaller than those between seeds say nothing
           now.
  Three large changes at once: none can be told from the others; try them one at
  a time.

Findings: 2 new, 0 gone, 0 in both.
  new   warning[GA702] line 3: PyYAML reads `3e-4` as text, not as a number
  new   info[GA301] line 4: BatchNorm sees 8 samples at a time; below 16 its
        statistics may be unreliable
`gradaudit check a.yaml` explains what is found.
""")


def test_the_same_in_markdown(here: Path) -> None:
    commit(a_yaml=MIXED_OLD)
    write("a.yaml", MIXED_NEW)
    assert run_cli("compare", "git:HEAD:a.yaml", "--format", "markdown").out == snapshot("""\
## gradaudit compare

`git:HEAD:a.yaml` → `a.yaml`

### main

| | setting | before | after | | why |
|---|---|---|---|---|---|
| ⚠️ riskier | learning\\_rate | 0.0001 | 0.0003 | 3 x | Under AdamW the length of a step is set by the rate, not by the gradient: each is 3 times as long, and no clip takes that back. |
| ⚠️ riskier | micro\\_batch | 64 | 8 | / 8 | BatchNorm takes its statistics from 8 samples now, from 64 before; accumulation does not help it. |
| ⚠️ riskier | clip\\_norm | 1 | not said | removed | No longer said, so not clipped, unless the program does so by itself: under AdamW a factor that is the same at every step cancels, because the gradient is divided by its own running size; but a rare spike counts in full in that size. |
| ⚠️ riskier | precision | bf16-mixed | fp16-mixed | changed | The range of fp16 ends at 65,504, and gradients below 6e-8 become 0: it needs loss scaling, and clipping after the gradients are unscaled. |
| ➖ neutral | seed | 1 | 2 | changed | Differences that are smaller than those between seeds say nothing now. |

**Three large changes at once: none can be told from the others; try them one at a time.**

Findings: 2 new, 0 gone, 0 in both.

- new: warning [GA702](https://gradaudit.github.io/gradaudit/rules/number-as-text/), line 3: PyYAML reads `3e-4` as text, not as a number
- new: info [GA301](https://gradaudit.github.io/gradaudit/rules/batch-norm-tiny-batch/), line 4: BatchNorm sees 8 samples at a time; below 16 its statistics may be unreliable
""")


def test_nothing_changed(here: Path) -> None:
    commit(a_yaml=ADAMW)
    write("a.yaml", "# only a comment\n" + ADAMW)
    assert run_cli("compare", "git:HEAD:a.yaml").out == snapshot("""\
git:HEAD:a.yaml -> a.yaml

No setting changed.

Findings: 0 new, 0 gone, 0 in both.
""")


def test_json(here: Path) -> None:
    commit(a_yaml=MIXED_OLD)
    write("a.yaml", MIXED_NEW)
    document = json.loads(run_cli("compare", "git:HEAD:a.yaml", "--format", "json").out)
    assert list(document) == ["schema", "version", "old", "new", "units", "findings", "summary"]
    assert document["old"] == {"path": "git:HEAD:a.yaml", "dialect": "generic"}
    (unit,) = document["units"]
    assert list(unit) == ["name", "old_name", "in", "changes", "several"]
    assert (unit["name"], unit["old_name"], unit["in"]) == ("main", "main", "both")
    (rate,) = [change for change in unit["changes"] if change["name"] == "learning_rate"]
    assert list(rate) == [
        "name", "loss_term", "kind", "old", "new", "factor", "verdict", "reason", "large",
        "computed",
    ]  # fmt: skip
    assert rate["factor"] == pytest.approx(3)
    assert (rate["old"]["path"], rate["old"]["line"]) == ("git:HEAD:a.yaml", 2)
    assert (rate["new"]["path"], rate["new"]["line"]) == ("a.yaml", 3)
    assert list(document["findings"]) == ["new", "gone", "in_both"]
    assert "GA702" in [finding["code"] for finding in document["findings"]["new"]]
    assert list(document["summary"]) == [
        "changes", "riskier", "unknown", "safer", "neutral", "large",
    ]  # fmt: skip


def test_a_change_in_a_base_shows_in_the_leaf(here: Path) -> None:
    commit(conf__base_yaml=ADAMW, conf__a_yaml="_base_: base.yaml\nepochs: 3\n")
    write("conf/base.yaml", ADAMW.replace("1.0e-4", "1.0e-3"))
    ran = run_cli("compare", "git:HEAD:conf/a.yaml", "conf/a.yaml")
    assert "learning_rate  0.0001 -> 0.001, 10 x" in ran.out
    assert "conf/base.yaml:2, was git:HEAD:conf/base.yaml:2" in ran.out


def test_findings_of_a_revision_name_its_files(here: Path) -> None:
    high = ADAMW.replace("1.0e-4", "50.0")
    commit(base_yaml=high, a_yaml="_base_: base.yaml\nepochs: 3\n")
    write("base.yaml", ADAMW)
    ran = run_cli("compare", "git:HEAD:a.yaml", "--format", "json")
    (gone,) = json.loads(ran.out)["findings"]["gone"]
    assert gone["path"] == "git:HEAD:base.yaml"
    assert gone["evidence"] == ["inherited: git:HEAD:a.yaml -> git:HEAD:base.yaml"]
    assert gone["fix"] is None


def test_two_revisions_and_paths_from_a_directory(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(conf__a_yaml=ADAMW)
    commit(conf__a_yaml=ADAMW.replace("1.0e-4", "1.0e-3"))
    monkeypatch.chdir("conf")
    ran = run_cli("compare", "git:HEAD~1:conf/a.yaml", "git:HEAD:./a.yaml")
    assert ran.code == 0
    assert ran.out.startswith("git:HEAD~1:conf/a.yaml -> git:HEAD:conf/a.yaml\n")
    assert "10 x" in ran.out
    ran = run_cli("compare", "git:HEAD:a.yaml")
    assert ran.code == 2
    assert "from this directory: git:HEAD:./a.yaml" in ran.err


def test_a_colon_in_the_revision(here: Path) -> None:
    commit(a_yaml=ADAMW)
    git("commit", "-q", "--allow-empty", "-m", "fix: it")
    assert run_cli("compare", "git:HEAD^{/fix: it}:a.yaml").code == 0


def test_a_file_that_is_gone_now_is_compared_with_another(here: Path) -> None:
    commit(old_yaml=ADAMW)
    git("mv", "old.yaml", "new.yaml")
    assert run_cli("compare", "git:HEAD:old.yaml", "new.yaml").code == 0
    ran = run_cli("compare", "git:HEAD:old.yaml")
    assert ran.code == 2
    assert "old.yaml: no such file or directory" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["git:HEAD:conf/b.yaml"], "did you mean git:HEAD:conf/a.yaml?"),
        (["git:HEAD:a.yaml"], "did you mean git:HEAD:conf/a.yaml?"),
        (["git:HEAD:conf"], "no file conf at HEAD"),
        (["git:HEAD:../x.yaml"], "no file ../x.yaml at HEAD"),
        (["git:nosuch:conf/a.yaml"], "no revision `nosuch`"),
        (["git:-x:conf/a.yaml"], "`-x` is no revision"),
        (["git:HEAD"], "takes git:REV:PATH"),
        (["git::conf/a.yaml"], "takes git:REV:PATH"),
        (["git:HEAD:"], "takes git:REV:PATH"),
        (["conf/a.yaml"], "with what?"),
        (["conf/a.yaml", "conf/nosuch.yaml"], "no such file or directory"),
        (["conf/a.yaml", "conf"], "conf: is"),
        (["conf/a.yaml", "bad.yaml"], "bad.yaml: cannot be read: line 2"),
        (["conf/a.yaml", "binary.yaml"], "binary.yaml: cannot be read: line 1"),
        (["git:HEAD:binary.yaml", "conf/a.yaml"], "git:HEAD:binary.yaml: cannot be read"),
        (["git:HEAD:bad.yaml", "conf/a.yaml"], "git:HEAD:bad.yaml: cannot be read: line 2"),
        (["conf/a.yaml", "conf/a.yaml", "--select", "GA999"], "GA999"),
    ],
)
def test_what_cannot_be_compared(words: list[str], said: str, here: Path) -> None:
    Path("binary.yaml").write_bytes(b"\x00\xff")
    commit(conf__a_yaml=ADAMW, bad_yaml="a: [1\nb: 2\n")
    ran = run_cli("compare", *words, "--format", "json")
    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.yaml", ADAMW)
    write("git:x.yaml", ADAMW)
    ran = run_cli("compare", "git:HEAD:a.yaml", "a.yaml")
    assert ran.code == 2
    assert "this directory is in no git repository" in ran.err
    assert run_cli("compare", "./git:x.yaml", "a.yaml").code == 0


def test_a_repository_cannot_run_anything(here: Path) -> None:
    """No filter, external diff, monitor or hook of the repository is called."""
    commit(a_yaml=ADAMW, b_yaml=ADAMW)
    write(".gitattributes", "*.yaml filter=evil diff=evil\n")
    for key in ("filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv",
                "diff.evil.command", "diff.external", "core.fsmonitor", "core.pager",
                "core.sshCommand"):  # fmt: skip
        git("config", key, f"touch {os.getcwd()}/ran")
    write("a.yaml", "# x\n" + ADAMW)
    assert run_cli("compare", "git:HEAD:a.yaml").code == 0
    assert run_cli("check", "--since", "HEAD").code == 0
    assert not Path("ran").exists()


def test_the_screen_fits(here: Path) -> None:
    from gradaudit.render.layout import display_width

    commit(a_yaml=MIXED_OLD)
    write("a.yaml", MIXED_NEW)
    for columns in (60, 80, 140):
        out = run_cli("compare", "git:HEAD:a.yaml", columns=columns).out
        assert max(map(display_width, out.splitlines())) <= columns


def test_what_a_config_says_cannot_act_on_the_terminal(here: Path) -> None:
    write("a.yaml", 'optimizer: adamw\nscheduler: "a"\n')
    write("b.yaml", 'optimizer: adamw\nscheduler: "\\e[31mx"\n')
    ran = run_cli("compare", "a.yaml", "b.yaml")
    assert "\x1b" not in ran.out


def test_any_two_documents(here: Path) -> None:
    documents: list[Any] = ["", "[]", "a", "optimizer: [1]\n", "lr: .nan\n", "betas: [.nan, 1]\n",
                            "momentum: 1\n", "loss_weights: {a: .inf, b: 0, mse: .nan}\n",
                            "lr: -1\nmax_grad_norm: 0\nbatch_size: 0\n", "warmup_steps: -1\n",
                            "weight_decay: 1.0e-320\nlr: 1.0e-320\noptimizer: adamw\n"]  # fmt: skip
    for number, text in enumerate(documents):
        write(f"{number}.yaml", text)
    for old in range(len(documents)):
        for new in range(len(documents)):
            for style in ("full", "json", "markdown"):
                ran = run_cli("compare", f"{old}.yaml", f"{new}.yaml", "--format", style)
                assert ran.code == 0, (old, new, ran.err)


def test_a_directory_or_a_pipe_is_no_config(here: Path) -> None:
    write("a.yaml", ADAMW)
    Path("conf").mkdir()
    os.mkfifo("pipe.yaml")
    ran = run_cli("compare", "a.yaml", "conf")
    assert (ran.code, ran.out) == (2, "")
    assert "conf: is a directory; compare takes two files" in ran.err
    ran = run_cli("compare", "pipe.yaml", "a.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "pipe.yaml: is not a regular file; save its text to one first" in ran.err
