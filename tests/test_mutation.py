"""The machinery of `benchmarks/mutation`: what is broken, how it is counted, byte for byte."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support import ROOT, audit_text

sys.path.insert(0, str(ROOT / "benchmarks"))

from mutation import report
from mutation.change import bare_exponent, swap
from mutation.fixes import brought_by_fix, changed_lines, in_force
from mutation.model import CAUGHT, MENDED, MISSED, OTHER, RESTORED, Case, Operator, Outcome, Tally
from mutation.operators import OPERATORS
from mutation.published import Published
from mutation.run import SOUND, audited, first_mutant, known, options_for

from gradaudit.audit import FileResult
from gradaudit.fix.splice import apply
from gradaudit.options import Options
from gradaudit.rules import load
from gradaudit.source import Source, read

BY_NAME = {operator.name: operator for operator in OPERATORS}

CONFIG = """\
# as published
optimizer: adamw   # decoupled
learning_rate: 1.0e-4
batch_size: 32
warmup_steps: 100
max_steps: 1000

gradient_clip_norm: 1.0
"""


def case(text: str = CONFIG, path: str = "config.yaml") -> tuple[Case, FileResult]:
    result = audited(Source(path, text), Options())
    assert result is not None
    assert result.tree is not None
    assert result.composed is not None
    dialect = result.composed.dialect
    unit = result.units[0]
    return Case(unit, result.tree, dialect["name"], dialect["loader"], Published(), "own"), result


def mutant(name: str, text: str = CONFIG, path: str = "config.yaml") -> str | None:
    """The text that an operator makes; None where it does not apply."""
    made = BY_NAME[name].make(case(text, path)[0])
    return apply(text, made.splices) if made is not None else None


def outcome(name: str, text: str = CONFIG) -> Outcome | None:
    operator = BY_NAME[name]
    return first_mutant(operator, case(text)[1], options_for(operator), Published(), "own")


def test_there_are_operators_enough_and_each_has_its_own_name() -> None:
    assert len(BY_NAME) == len(OPERATORS) >= 30
    alive, waiting = known(OPERATORS)
    assert len(alive) >= 30
    assert all(not set(operator.expected) & set(load()) for operator in waiting)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("rate-x100", "1.0e-4", "0.01"),
        ("rate-over-10000", "1.0e-4", "1.0e-08"),
        ("rate-negative", "1.0e-4", "-0.0001"),
        ("rate-without-dot", "1.0e-4", "1e-4"),
        ("rate-in-quotes", "1.0e-4", '"0.0001"'),
        ("rate-nan", "1.0e-4", ".nan"),
        ("warmup-twice-the-training", "warmup_steps: 100", "warmup_steps: 2000"),
        ("warmup-half-the-training", "warmup_steps: 100", "warmup_steps: 500"),
        ("clip-zero", "norm: 1.0", "norm: 0.0"),
        ("clip-1e-6", "norm: 1.0", "norm: 1.0e-06"),
        ("micro-batch-negative", "batch_size: 32", "batch_size: -32"),
        (
            "key-twice",
            "learning_rate: 1.0e-4\n",
            "learning_rate: 1.0e-4\nlearning_rate: 0.0002\n",
        ),
        ("key-misspelt", "learning_rate", "learnign_rate"),
    ],
)
def test_nothing_but_what_is_broken_changes(name: str, old: str, new: str) -> None:
    for text in (CONFIG, CONFIG.replace("\n", "\r\n")):
        old_here, new_here = (t.replace("\n", "\r\n") if "\r" in text else t for t in (old, new))
        assert mutant(name, text) == text.replace(old_here, new_here)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rate-x100", CONFIG.replace("optimizer: adamw", "x: 1")),  # whose rate, is not known
        ("rate-x100", CONFIG.replace("1.0e-4", "'1.0e-4'")),  # text, not a number
        ("rate-over-10000", CONFIG.replace("adamw", "sgd")),
        ("warmup-twice-the-training", CONFIG.replace("max_steps: 1000", "")),
        ("warmup-twice-the-training", CONFIG.replace("max_steps: 1000", "epochs: 3")),
        ("clip-zero", CONFIG.replace("norm: 1.0", "norm: null")),
        ("batch-norm-micro-2", CONFIG),  # no BatchNorm
        ("auxiliary-weight-x100", CONFIG + "loss_weights: {calibration: 1.0}\n"),  # no task
        ("momentum-x10", CONFIG),
    ],
)
def test_what_the_expected_rule_cannot_know_is_not_broken(name: str, text: str) -> None:
    assert mutant(name, text) is None


def test_a_value_of_a_base_or_an_alias_is_left_alone() -> None:
    text = "optimizer: adamw\nx: &r 1.0e-4\nlearning_rate: *r\n"
    assert mutant("rate-x100", text) is None


def test_json_and_toml_stay_what_they_are() -> None:
    text = '{"optimizer": "adamw", "learning_rate": 0.0001, "batch_size": 8}'
    assert mutant("rate-x100", text, "c.json") == text.replace("0.0001", "0.01")
    twice = text.replace("0.0001", '0.0001, "learning_rate": 0.0002')
    assert mutant("key-twice", text, "c.json") == twice
    assert mutant("rate-without-dot", text, "c.json") is None
    text = 'optimizer = "adamw"\nlearning_rate = 0.0001\n'
    assert mutant("rate-negative", text, "c.toml") == text.replace("0.0001", "-0.0001")
    assert mutant("key-twice", text, "c.toml") is None  # no TOML file


def test_a_pair_of_betas_is_broken_inside() -> None:
    text = "optimizer: {name: adam, lr: 0.001, betas: [0.9, 0.999]}\n"
    assert mutant("beta2-one", text) == text.replace("0.999", "1.0")
    assert mutant("beta1-above-one", text) == text.replace("0.9,", "9.0,")


def test_a_fault_is_caught_mended_and_restored() -> None:
    found = outcome("key-twice")
    assert found is not None
    # The first of the two goes, and the second has another value.
    assert (found.said, found.equivalent, found.fix) == (CAUGHT, "", MENDED)
    found = outcome("rate-without-dot")
    assert found is not None
    assert (found.said, found.fix) == (CAUGHT, RESTORED)
    found = outcome("warmup-twice-the-training")
    assert found is not None
    assert (found.said, found.fix, found.unrelated) == (CAUGHT, RESTORED, ())


def test_what_a_fix_reveals_is_told_from_what_it_triggers() -> None:
    """DeepSpeed's batches do not fit, which is not judged while one of them stands there twice."""
    text = (
        '{"train_batch_size": 32, "train_micro_batch_size_per_gpu": 32, '
        '"fp16": {"enabled": true}, "gradient_clipping": 1.0}'
    )
    operator = BY_NAME["key-twice"]
    made = case(text, "ds_config.json")[1]
    found = first_mutant(operator, made, options_for(operator), Published(), "own")
    assert found is not None
    assert (found.said, found.fix, found.triggered) == (CAUGHT, MENDED, ())
    assert found.revealed == ("GA305 train_batch_size",)
    found = outcome("key-twice")
    assert found is not None
    assert (found.triggered, found.revealed) == ((), ())


def test_what_is_in_force_decides_what_is_revealed() -> None:
    def of(text: str) -> FileResult:
        return case(text)[1]

    twice = of(CONFIG.replace("max_steps: 1000", "max_steps: 50\nmax_steps: 1000"))
    assert in_force(twice) == in_force(of(CONFIG))
    assert in_force(of(CONFIG.replace("1.0e-4", "2.0e-4"))) != in_force(of(CONFIG))
    weighed = CONFIG + "loss_weights: {ce: 1.0, mse: 0.5}\n"
    assert in_force(of(weighed)) != in_force(of(weighed.replace("0.5", "0.4")))

    exceeds = of(CONFIG.replace("warmup_steps: 100", "warmup_steps: 5000"))
    still_long = of(CONFIG.replace("warmup_steps: 100", "warmup_steps: 200"))
    assert brought_by_fix(of(CONFIG), exceeds, still_long) == [("GA204", "warmup_steps")]
    assert brought_by_fix(still_long, exceeds, still_long) == []
    assert brought_by_fix(of(CONFIG), still_long, still_long) == []
    assert in_force(exceeds) != in_force(still_long)


def test_what_was_reported_before_is_not_broken_again() -> None:
    assert outcome("rate-negative", CONFIG.replace("1.0e-4", "-1.0")) is None
    broken = CONFIG.replace("warmup_steps: 100", "warmup_steps: 5000")
    assert outcome("warmup-twice-the-training", broken) is None


def test_a_miss_says_what_the_plan_reads() -> None:
    found = outcome("rate-x100", CONFIG.replace("1.0e-4", "2.0e-5"))
    assert found is not None
    assert found.said == MISSED
    assert found.read == "learning_rate 2e-05 -> 0.002 (adamw)"


def test_equivalents_are_told_by_what_frameworks_do() -> None:
    reasons = {
        "clip-zero": CONFIG.replace("gradient_clip_norm", "max_grad_norm"),
        "clip-1e-6": CONFIG.replace("adamw", "lion"),
        "clip-0.001": CONFIG,
        "warmup-half-the-training": CONFIG + "lr_scheduler: constant\n",
        "rate-x100": CONFIG.replace("1.0e-4", "1.0e-5"),
    }
    for name, text in reasons.items():
        found = outcome(name, text)
        assert found is not None, name
        assert found.equivalent, name
    for name, text in (("clip-zero", CONFIG), ("clip-0.001", CONFIG.replace("adamw", "sgd"))):
        found = outcome(name, text)
        assert found is not None
        assert not found.equivalent, name


def test_two_other_repositories_make_a_rate_a_practice() -> None:
    published = Published()
    units = audit_text("optimizer: adam\nlearning_rate: 0.02\n").units
    published.add(units, "a")
    assert not published.is_practice(0.01, "adamw", "own", upwards=True)
    published.add(units, "b")
    assert published.is_practice(0.01, "adamw", "own", upwards=True)
    assert not published.is_practice(0.01, "adamw", "b", upwards=True)  # its own is no evidence
    assert not published.is_practice(0.03, "adamw", "own", upwards=True)
    assert not published.is_practice(0.01, "sgd", "own", upwards=True)
    assert published.is_practice(0.02, "adam", "own", upwards=False)


def test_small_parts() -> None:
    assert swap("learning_rate") == "learnign_rate"
    assert swap("BASE_LR") == "BAES_LR"
    assert swap("lr") == "lr"
    assert bare_exponent(0.00025) == "25e-5"
    assert bare_exponent(0.1) == "1e-1"
    assert bare_exponent(3.0) is None
    assert changed_lines("a\nb\nc\n", "a\nB\nc\n") == {2}
    assert changed_lines("a\nb\n", "a\nx\nb\n") == {1}
    assert changed_lines("a\nb\nc\n", "a\nc\n") == {2}


def test_the_tables_count() -> None:
    operator = Operator("o", "something is broken", ("GA201",), lambda case: None)
    base = Outcome("o", "a.yaml", "generic", "", CAUGHT)
    tally = Tally(
        operator,
        [
            base,
            replace(base, fix=RESTORED),
            replace(base, fix="changed line 3 too"),
            replace(base, fix="refused: no"),
            replace(base, fix=MENDED, triggered=("GA204 warmup",)),
            replace(base, fix=MENDED, revealed=("GA305 batch",)),
            replace(base, said=OTHER, unrelated=("GA999 lr",), read="x"),
            replace(base, path="timm/owner__name/a/missed.yaml", said=MISSED, read="lr 1 -> 2"),
            replace(base, equivalent="it is off", said=MISSED),
            replace(base, equivalent="it is off", said=MISSED),
            replace(base, equivalent="it is off", said=MISSED),
        ],
    )
    row = "| `o` | GA201 | 11 | 3 | 6 | 1 | 1 | 75.0 % | 1 | 3/4 | 1 |"
    assert row in report.main_table([tally])
    assert [met for _, met in report.goals([tally])] == [False, False, False, False]
    assert report.legend([tally]) == ["- `o`: something is broken. Of 11 mutants 3: it is off."]
    missed = report.missed_table([tally])
    assert "| `o` | timm/owner__name | 1 | `a/missed.yaml` | lr 1 -> 2 | nothing |" in missed
    assert "| `o` | - | 1 | `a.yaml` | x | another rule |" in missed
    assert len(missed) == 4
    (again,) = (one for one in tally.outcomes if one.read == "lr 1 -> 2")
    tally.outcomes.append(replace(again, path="timm/owner__name/b.yaml"))
    assert len(report.missed_table([tally])) == 4
    assert any("GA999 lr" in line for line in report.unrelated_table([tally]))
    assert len(report.broken_fixes([tally])) == 4
    assert report.brought_table([tally])[2:] == [
        "| `o` | `a.yaml` | GA204 warmup | triggered |",
        "| `o` | `a.yaml` | GA305 batch | revealed |",
    ]
    good = Tally(operator, [base, replace(base, fix=MENDED)])
    assert [met for _, met in report.goals([good])] == [True, True, True, True]
    assert "GA204" not in "".join(report.brought_table([good]))
    assert report.share(1999, 2000) == "99.9 %"
    assert report.share(0, 0) == "-"


@pytest.mark.parametrize("path", sorted(SOUND[1].iterdir()), ids=lambda path: path.stem)
def test_the_sound_configs_have_no_findings(path: Path) -> None:
    result = audited(read(str(path)), Options())
    assert result is not None
    assert [finding.message for finding in result.findings] == []
    assert result.units
