"""The table of dialects and rules says what the plans of real files know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT

from gradaudit.audit import audit_source
from gradaudit.dialects.compile import TIMES
from gradaudit.dialects.page import dialects
from gradaudit.options import Options
from gradaudit.plan.model import ASSUMED
from gradaudit.plan.reading import _TIME_NAMES
from gradaudit.rules import coverage, coverage_page, load
from gradaudit.rules.deepspeed import TRANSFORMERS
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
        "launcher_file",
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


def test_the_fewest_settings_that_an_option_has_to_say() -> None:
    rules = load()
    every = frozenset({"micro_batch", "accumulation", "norm"})
    assert coverage.to_say(rules["GA302"], every) == ()
    assert coverage.to_say(rules["GA302"], every - {"norm"}) == ("norm",)
    assert coverage.to_say(rules["GA302"], every - {"norm", "accumulation"}) == ()
    # from a global batch and the number of devices follows what one device sees
    assert coverage.to_say(rules["GA301"], frozenset({"global_batch"})) == ("norm", "world_size")
    assert coverage.to_say(rules["GA301"], frozenset({"global_batch", "norm"})) == ("world_size",)


def test_what_compares_files_judges_where_there_can_be_another() -> None:
    rules = load()
    assert {code for code, rule in rules.items() if rule.scope == "run"} == set(coverage.OTHER_FILE)

    def judged(code: str) -> set[str]:
        marks = {name: coverage.mark(rules[code], known) for name, known in TABLE.items()}
        assert set(marks.values()) == {coverage.BESIDE, coverage.NO}
        return {name for name, kind in marks.items() if kind == coverage.BESIDE}

    assert judged("GA801") == TRANSFORMERS
    for code, name in (("GA802", "precision"), ("GA803", "accumulation"), ("GA804", "world_size")):
        says = {dialect for dialect, known in TABLE.items() if name in known}
        assert judged(code) == says - {"accelerate", "deepspeed"}
    assert judged("GA806") == {name for name, known in TABLE.items() if "resume" in known}
    # an assumed number of devices is in no file
    assert coverage.mark(rules["GA804"], frozenset({"launcher_file"})) == coverage.NO


@pytest.fixture(scope="module")
def page() -> str:
    return coverage_page.page()


def _tables(page: str) -> list[tuple[str, dict[str, list[str]]]]:
    """(family, first cell -> the other cells of each row, the headings first) of each table."""
    found = []
    for section in page.split("\n## ")[1:]:
        for table in section.split("</div>")[:-1]:
            rows = table.partition("<div")[2].split("\n| ")[1:]  # but the one below the headings
            cells = [row.partition("\n")[0].removesuffix(" |").split(" | ") for row in rows]
            found.append((section[:3], {first.lstrip("| "): rest for first, *rest in cells}))
    return found


def _headings(row: dict[str, list[str]]) -> list[str]:
    first, cells = next(iter(row.items()))
    return [re.sub(r"\[(GA\d{3})\].*", r"\1", head) for head in (first, *cells)]


def test_the_tables_have_every_rule_and_every_dialect(page: str) -> None:
    """Each mark is the rule's; one that is no `judges` says what it lacks."""
    seen = set()
    for prefix, table in _tables(page):
        if prefix == "How":
            continue
        codes = _headings(table)
        rows = dict(list(table.items())[1:])
        for name, known in TABLE.items():
            cells = rows.get(coverage_page._dialect(name)) or rows["every framework, and none"]
            assert len(cells) == len(codes)
            for code, cell in zip(codes, cells, strict=True):
                rule = load()[code]
                kind = coverage.mark(rule, known)
                assert re.sub(r"<.*?>", "", cell) == kind
                if kind == coverage.BESIDE:
                    assert f'title="beside {coverage.OTHER_FILE[code]}"' in cell
                elif kind != coverage.YES:
                    lacks = coverage.lacking(rule, known) or [coverage.to_say(rule, known)]
                    said = re.findall(r'title="(.*?)"', cell)[0]
                    assert all(coverage.FILES.get(n, n) in said for need in lacks for n in need)
                seen.add((code, name))
    assert seen == {(code, name) for code in load() for name in TABLE}


def test_the_page_counts_as_the_marks_do(page: str) -> None:
    tables = dict(_tables(page))
    rows = tables["How"]
    for name, known in TABLE.items():
        for place, prefix in enumerate(list(tables)[1:]):
            marks = [coverage.mark(r, known) for code, r in load().items() if code[:3] == prefix]
            sure, _, more = rows[coverage_page._dialect(name)][place].partition(" + ")
            assert int(sure) == marks.count(coverage.YES)
            assert int(more or 0) == marks.count(coverage.OPTION) + marks.count(coverage.BESIDE)


def test_what_a_rule_needs_stands_below_with_how_many_lack_it(page: str) -> None:
    lacking = sum(
        "ema_decay" not in known for name, known in TABLE.items() if name != "no framework"
    )
    row = next(line for line in page.splitlines() if line.startswith("| [GA620]"))
    assert f"| `ema_decay` ({lacking}), `total_steps` or `epochs`" in row
    assert row.endswith(f"| {len(TABLE) - 1 - lacking} |")


def test_a_dialects_page_has_each_rule_once_or_says_what_it_lacks() -> None:
    for name, raw in dialects().items():
        judged, _, lacking = coverage_page.of_dialect(raw).partition("| missing setting |")
        for rule in load().values():
            no = coverage.mark(rule, TABLE[name]) == coverage.NO
            assert judged.count(f"[{rule.code}]") == (not no)
            assert (f"[{rule.code}]" in lacking) == no


def test_every_dialects_page_has_the_section_that_the_table_links_to() -> None:
    for name in dialects():
        page = (ROOT / "docs" / "dialects" / f"{name}.md").read_text(encoding="utf-8")
        assert f"## {coverage_page.SECTION}" in page
        assert coverage_page._dialect(name).endswith("#which-rules-judge-it)")


def test_one_dialect_is_asked_for_as_all_are() -> None:
    for name, known in TABLE.items():
        assert coverage.settings_of_named("generic" if name == coverage.OTHER else name) == known
    with pytest.raises(KeyError):
        coverage.settings_of_named("nosuch")
