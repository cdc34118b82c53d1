"""The table of dialects and rules says what the plans of real files know."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ROOT

from gradaudit.audit import audit_source
from gradaudit.dialects.compile import TIMES
from gradaudit.dialects.page import dialects
from gradaudit.options import Options
from gradaudit.plan.model import ASSUMED
from gradaudit.plan.reading import _TIME_NAMES
from gradaudit.rules import coverage, load
from gradaudit.settings import Settings
from gradaudit.source import read

HERE = Path(__file__).parent
TABLE = coverage.table()
FILES = sorted(
    path
    for folder in ("dialects", "recipes")
    for path in (HERE / folder).rglob("*")
    if path.suffix in (".yaml", ".yml", ".json", ".toml", ".py")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_whatever_a_plan_knows_its_dialect_is_said_to_know(path: Path) -> None:
    result = audit_source(read(str(path)), Options(), Settings())
    assert result.recognised is not None
    name = result.recognised.name
    known = TABLE[coverage.OTHER if name == "generic" else name]
    for unit in result.units:
        have = {
            setting
            for setting, found in unit.settings.items()
            if found.value is not None and found.origin != ASSUMED and setting[0] != "_"
        }
        have |= {"loss_terms"} if unit.loss_terms else set()
        assert have <= known
        for rule in load().values():
            if rule.scope == "unit" and rule.can_judge(have):
                assert coverage.mark(rule, known) == coverage.YES


def test_defaults_count_and_off_does_not() -> None:
    raw = {
        "settings": {
            "clip_norm": {"absent": None, "source": "x"},
            "optimizer": {"absent": "adamw", "source": "x"},
            "norm": {"absent": {"unknown": "the model's"}},
            "_helper": {"from": {"path": "a", "as": "epochs"}},
            "warmup_steps": {"from": {"path": "b", "fraction_as": "warmup_ratio"}},
            "length": "c",
        }
    }
    assert coverage.settings_of(raw) == {
        "optimizer", "epochs", "warmup_steps", "warmup_ratio", "total_steps", "total_tokens",
    }  # fmt: skip


def test_time_strings_become_what_the_reader_makes_of_them() -> None:
    made: dict[str, set[str]] = {}
    for (name, _), setting in _TIME_NAMES.items():
        made.setdefault(name, set()).add(setting)
    assert made == coverage.TIMED
    assert set(made) == set(TIMES)


def test_marks() -> None:
    rules = load()
    every = frozenset({"micro_batch", "accumulation", "norm"})
    assert coverage.mark(rules["GA302"], every) == coverage.YES
    assert coverage.mark(rules["GA302"], every - {"norm"}) == coverage.OPTION
    assert coverage.mark(rules["GA302"], every - {"accumulation"}) == coverage.NO
    assert coverage.mark(rules["GA301"], frozenset({"global_batch"})) == coverage.OPTION
    assert coverage.mark(rules["GA701"], frozenset()) == coverage.YES
    assert coverage.missing(rules["GA102"], frozenset()) == [("clip_norm", "clip_value")]


def test_the_page_has_every_rule_and_dialect() -> None:
    page = coverage.page()
    for rule in load().values():
        assert f"[{rule.code}]({rule.name}.md)" in page
    for name in TABLE:
        assert f"| {coverage._dialect(name)} | " in page
    assert max(map(len, page.splitlines())) < 1500  # no row that nobody reads


def test_the_page_counts_as_the_marks_do() -> None:
    marks = [
        coverage.mark(rule, TABLE["vits"]) for rule in load().values() if rule.code[:3] == "GA1"
    ]
    row = next(line for line in coverage.page().splitlines() if line.startswith("| [vits]"))
    assert row.split(" | ")[1] == coverage._count(marks)


def test_a_dialects_page_has_each_rule_once_or_says_what_it_lacks() -> None:
    for name, raw in dialects().items():
        judged, _, lacking = coverage.of_dialect(raw).partition("| missing setting |")
        for rule in load().values():
            no = coverage.mark(rule, TABLE[name]) == coverage.NO
            assert judged.count(f"[{rule.code}]") == (not no)
            assert (f"[{rule.code}]" in lacking) == no


def test_every_dialects_page_has_the_section_that_the_table_links_to() -> None:
    for name in dialects():
        page = (ROOT / "docs" / "dialects" / f"{name}.md").read_text(encoding="utf-8")
        assert f"## {coverage.SECTION}" in page
        assert coverage._dialect(name).endswith("#which-rules-judge-it)")
