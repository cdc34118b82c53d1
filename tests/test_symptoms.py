"""From what a run shows to the rules: the vocabulary, each rule's own, the page, the search."""

from __future__ import annotations

import json
import re

import pytest
from support import ROOT, run_cli

from gradaudit.rules import Rule, load
from gradaudit.rules.docs import BadDocs, as_markdown, as_text, parse
from gradaudit.rules.symptoms import SYMPTOMS, anchor, by_symptom, page, search

RULES = load()

EXAMPLE = """Title.

Why:
    One.

Bad:
    a: 1

Good:
    a: 2

Tell:
    Look.
{}
Fix:
    Safe: this.

False positives:
    None known.
"""


def rule_with(section: str) -> Rule:
    def check(unit: object, limits: object) -> tuple[()]:
        return ()

    check.__doc__ = EXAMPLE.format(section)
    return Rule(check, __name__, "GA999", "an-example", "unit", (), ("info",), "low", {}, ("x",))


def test_every_rule_says_what_a_run_shows() -> None:
    """Those of plugins may do without."""
    without = [
        code for code, rule in RULES.items() if "\nSymptoms:" not in _clean(rule.check.__doc__)
    ]
    assert not without, f"add a section `Symptoms:` (see CONTRIBUTING.md) to {without}"


def _clean(docstring: str | None) -> str:
    return re.sub(r"^ {4}", "", docstring or "", flags=re.MULTILINE)


def test_the_vocabulary_is_small_and_plain() -> None:
    assert 12 <= len(SYMPTOMS) <= 18
    for phrase, (told, _) in SYMPTOMS.items():
        assert told.endswith(".")
        assert not phrase.endswith(".")
    assert len({anchor(phrase) for phrase in SYMPTOMS}) == len(SYMPTOMS)


def test_the_section_is_optional_and_strict() -> None:
    assert parse(rule_with("")).symptoms == ()
    assert parse(rule_with("\nSymptoms:\n    None: it is of the file.\n")).symptoms == ()
    both = "\nSymptoms:\n    loss is flat\n    works in fp32, not in fp16\n"
    assert parse(rule_with(both)).symptoms == ("loss is flat", "works in fp32, not in fp16")
    with pytest.raises(BadDocs, match="not `loss is flatt`; did you mean `loss is flat`"):
        parse(rule_with("\nSymptoms:\n    loss is flatt\n"))
    with pytest.raises(BadDocs, match="`Symptoms:` is empty"):
        parse(rule_with("\nSymptoms:\n"))


def test_explain_and_the_page_show_them() -> None:
    rule = rule_with("\nSymptoms:\n    works in fp32, not in fp16\n")
    link = "- [works in fp32, not in fp16](symptoms.md#works-in-fp32-not-in-fp16)"
    assert f"## Symptoms\n\n{link}\n" in as_markdown(rule)
    blocks = as_text(rule)
    at = blocks.index(("heading", "Symptoms"))
    assert blocks[at + 1] == ("item", "works in fp32, not in fp16")
    assert "Symptoms" not in as_markdown(rule_with(""))
    assert ("heading", "Symptoms") not in as_text(rule_with(""))


def test_links_to_the_index_lead_somewhere() -> None:
    """Anchors as MkDocs makes them from the headings of the page."""
    text = (ROOT / "docs" / "rules" / "symptoms.md").read_text(encoding="utf-8")
    headings = {anchor(heading) for heading in re.findall(r"^## (.*)$", text, re.MULTILINE)}
    linked = set(re.findall(r"\(#([\w-]+)\)", text))
    for rule in RULES.values():
        linked |= {anchor(phrase) for phrase in parse(rule).symptoms}
    assert linked == headings


def test_the_page_lists_each_rule_under_each_of_its_symptoms() -> None:
    text = page(list(RULES.values()))
    _, *parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    for phrase, rules in by_symptom(list(RULES.values())).items():
        heading = phrase[0].upper() + phrase[1:]
        assert (heading in sections) == bool(rules)
        for rule in rules:
            assert f"({rule.name}.md): {parse(rule).title}" in sections[heading]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        *((phrase, phrase) for phrase in SYMPTOMS),
        ("nan", "loss is nan"),
        ("NaN loss!", "loss is nan"),
        ("fp16", "works in fp32, not in fp16"),
        ("mixed precision", "works in fp32, not in fp16"),
        ("8 gpus", "works on one GPU, not on eight"),
        ("ddp", "works on one GPU, not on eight"),
        ("overfitting", "validation far worse than training"),
        ("exploding gradients", "gradient norm grows"),
        ("vanishing gradients", "gradient norm is tiny"),
        ("spike", "loss spikes"),
        ("my loss goes up", "loss rises, from the start or after falling"),
        ("loss does not decrease", "loss is flat"),
        ("crashes", "training ends with an error, or never starts"),
        ("seed", "run cannot be reproduced"),
        ("slow", "slow or wasted training"),
        ("early stopping", "best checkpoint is not the best"),
        ("gan balance", "one loss term drowns the others"),
        ("setting has no effect", "loads other values than the file seems to say"),
    ],
)
def test_what_practitioners_say_finds_it(text: str, first: str) -> None:
    assert search(text)[0] == first


@pytest.mark.parametrize("text", ["xyzzy", "", "?", "größe"])
def test_what_means_nothing_finds_nothing(text: str) -> None:
    assert search(text) == []


def test_rules_by_symptom_on_the_command_line() -> None:
    lines = run_cli("rules", "--symptom", "gradients explode", columns=100).out.splitlines()
    assert "gradient norm grows" in lines
    assert "gradient norm spikes" in lines
    assert [line for line in lines if line.startswith("  GA201 ")]
    assert not [line for line in lines if line.startswith("  GA701 ")]
    ran = run_cli("rules", "--symptom", "gradients explode", "--format", "json")
    rules = json.loads(ran.out)["rules"]
    assert {rule["code"] for rule in rules} >= {"GA201", "GA304"}
    assert all({"gradient norm grows", "gradient norm spikes"} & {*r["symptoms"]} for r in rules)


def test_a_symptom_that_no_rule_has_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: dict[str, list[Rule]] = {phrase: [] for phrase in SYMPTOMS}
    monkeypatch.setattr("gradaudit.rules.symptoms.by_symptom", lambda _: nothing)
    assert "No rule knows a cause of it in a config." in run_cli("rules", "--symptom", "nan").out
    assert json.loads(run_cli("rules", "--symptom", "nan", "--format", "json").out)["rules"] == []


def test_an_unknown_symptom_lists_those_that_there_are() -> None:
    ran = run_cli("rules", "--symptom", "xyzzy")
    assert ran.code == 2
    assert "no symptom is like 'xyzzy'; there are:\n  loss is nan\n" in ran.err
