"""`rules`: which are listed, by code, symptom and dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import run_cli

from gradaudit.rules import coverage, load


def listed(*words: str) -> list[dict[str, Any]]:
    ran = run_cli("rules", *words, "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    rules: list[dict[str, Any]] = json.loads(ran.out)["rules"]
    return rules


def codes(*words: str) -> list[str]:
    return [rule["code"] for rule in listed(*words)]


def test_codes_prefixes_and_names_as_select_takes_them() -> None:
    family = [code for code in load() if code.startswith("GA5")]
    assert codes("GA5") == codes("ga5") == family
    assert codes("GA101") == codes("clip-norm-too-tight") == ["GA101"]
    assert codes("GA5,warmup-missing", "GA101") == ["GA101", "GA208", *family]
    assert codes("ALL") == codes() == list(load())
    out = run_cli("rules", "GA5").out
    assert all(code in out for code in family)
    assert "GA101" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["GA5O1"], "no rule is called 'GA5O1'; did you mean `GA501`?"),
        (["GA5", "warm-up-missing"],
         "no rule is called 'warm-up-missing'; did you mean `warmup-missing`?"),
        (["GA77"], "no rule is called 'GA77'; did you mean `GA707`?"),
        ([","], "',' names no rule; leave it out to list all"),
        ([""], "'' names no rule; leave it out to list all"),
        (["--dialect", "axoltl"],
         "--dialect: no dialect is called 'axoltl'; did you mean `axolotl`?"),
    ],
)  # fmt: skip
def test_what_there_is_not(words: list[str], said: str) -> None:
    for more in ([], ["--format", "json"]):
        ran = run_cli("rules", *words, *more)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == f"gradaudit: error: {said}\n"


def test_a_dialect_like_none_is_answered_with_all() -> None:
    err = run_cli("rules", "--dialect", "zzz").err
    assert "no dialect is called 'zzz'; there are: accelerate, " in err
    assert ", generic" in err


def test_rules_and_a_symptom() -> None:
    both = codes("GA1", "--symptom", "nan")
    assert both == [code for code in codes("--symptom", "nan") if code.startswith("GA1")] != []
    out = run_cli("rules", "GA1", "--symptom", "nan").out
    assert "loss is nan\n  None of these rules knows a cause of it in a config.\n" in out


@pytest.mark.parametrize("dialect", ["axolotl", "timm", "generic"])
def test_the_document_of_a_dialect_says_what_its_page_does(dialect: str) -> None:
    known = coverage.settings_of_named(dialect)
    kinds = dict(zip("●○◐·", ("yes", "option", "beside", "no"), strict=True))
    rules = listed("--dialect", dialect)
    assert [rule["code"] for rule in rules] == list(load())
    for said in rules:
        rule = load()[said["code"]]
        assert said["judges"] == kinds[coverage.mark(rule, known)]
        assert bool(said["missing"]) == (said["judges"] == "no")
        assert bool(said["to_say"]) == (said["judges"] == "option")
        if rule.scope != "run":
            assert all(need in said["needs"] for need in said["missing"])


def test_without_a_dialect_nothing_is_said_of_one() -> None:
    document = json.loads(run_cli("rules", "GA1", "--format", "json").out)
    assert document.keys() == {"schema", "rules"}
    assert all("judges" not in rule for rule in document["rules"])


def test_a_symptom_and_a_dialect() -> None:
    """The screen has the dialect's form, with the rules that know a cause."""
    wanted = codes("--symptom", "fp16")
    out = run_cli("rules", "--symptom", "fp16", "--dialect", "axolotl").out
    assert out.startswith("axolotl: ")
    assert f" of {len(wanted)} rules can judge its files" in out
    assert all(code in out for code in wanted)
