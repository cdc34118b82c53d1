"""Files that a command writes are as the command would write them now."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from support import ROOT

from gradaudit import docs_site
from gradaudit.dialects import compile as dialects
from gradaudit.dialects.schema import BadDialect
from gradaudit.source import Source
from gradaudit.syntax import parse
from gradaudit.syntax.plain import plain


def test_the_dialect_tables_are_fresh() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in dialects.TARGET.glob("*.py")}
    assert written == dialects.render()


def test_the_table_of_rules_is_fresh() -> None:
    """In a process of its own: this one has rules already."""
    command = [sys.executable, "-m", "gradaudit.rules.compile", "--check"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")


def test_a_module_of_rules_may_be_imported_before_the_table() -> None:
    code = (
        "import gradaudit.rules.values\n"
        "from gradaudit.rules import load\n"
        "rules = load()\n"
        "assert list(rules) == sorted(rules) and len(rules) > 80, list(rules)\n"
        "assert rules['GA703'].check is gradaudit.rules.values.value_out_of_domain\n"
        "assert rules['GA101'].check.__name__ == 'clip_norm_too_tight'\n"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")


def test_a_rule_that_is_not_what_the_table_says_is_refused() -> None:
    """Its module, changed and not compiled, would be called by what it needed before."""
    code = (
        "from gradaudit import rules\n"
        "from gradaudit.rules.table import TABLE\n"
        "[row] = [row for row in TABLE if row[1] == 'GA101']\n"
        "rules.RULES['GA101'] = rules.Rule(None, *row[:4], ('micro_batch',), *row[5:])\n"
        "rules.RULES['GA101'].check\n"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert made.returncode == 1
    assert "GA101 clip-norm-too-tight is not what the table says; run `python -m" in made.stderr


def test_the_picture_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a stale picture the words differ, whatever release of rich drew it."""
    picture = ROOT / docs_site.PICTURE
    assert docs_site.same(picture, docs_site.picture(ROOT))
    stale = picture.read_text(encoding="utf-8").replace("GA401", "GA999", 1)
    assert not docs_site.same(picture, stale)
    assert "http://" not in stale.replace("http://www.w3.org", "")
    assert "@font-face" not in stale


TWICE = "settings: {a: {kind: number, keys: [x]}, b: {kind: number, keys: [x]}}"
TWICE_IN_A_SECTION = """\
settings:
  a: {kind: number, keys: [], in: {optimizer: [x]}}
  b: {kind: number, keys: [], in: {optimizer: [x]}}
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nosuch: 1", "unknown entry 'nosuch'"),
        ("settings: {lr: {kind: number, keys: [lr], unit: x}}", "lr: unknown entry 'unit'"),
        ("settings: {lr: {kind: thing, keys: [lr]}}", "unknown kind 'thing'"),
        (TWICE, "is both a and b"),
        (TWICE_IN_A_SECTION, "optimizer.x means two settings"),
    ],
)
def test_a_wrong_dialect_file_is_refused_with_its_place(text: str, problem: str) -> None:
    raw = plain(
        parse(Source("d.yaml", "sections: {}\ntransparent: []\nignored: []\n" + text)).roots[0]
    )
    assert isinstance(raw, dict)
    with pytest.raises(BadDialect, match=problem):
        dialects.compile_generic({"settings": {}, **raw}, "d.yaml")


def test_the_navigation_names_each_page_once() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = re.findall(r"^ +- (?:.+: )?(\S+\.md)$", nav, re.MULTILINE)
    assert sorted(pages) == sorted(set(pages))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert set(pages) == there
