"""The fixing loop, with small rules made up for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from gradaudit.edits import delete_entry, insert_after, replace_value
from gradaudit.findings import (
    ERROR,
    HIGH,
    RECOMMENDED,
    SAFE,
    SPECULATIVE,
    WARNING,
    Edit,
    Finding,
    Fix,
    Place,
)
from gradaudit.fix.engine import Outcome, choose, fix_text, unified_diff
from gradaudit.fix.splice import Refused
from gradaudit.fix.verify import verify
from gradaudit.source import Source
from gradaudit.syntax import parse
from gradaudit.syntax.scalars import Value, read_scalar
from gradaudit.syntax.tree import Node, Scalar, Tree, walk

if TYPE_CHECKING:
    from pathlib import Path

    from gradaudit.rules import Rule

ALL = (SAFE, RECOMMENDED, SPECULATIVE)


def found(
    tree: Tree, code: str, *edits: Edit, applicability: str = SAFE, severity: str = WARNING
) -> Finding:
    place = Place(tree.source, 0, 1)
    fix = Fix(applicability, code, list(edits))
    finding = Finding(place, code, severity=severity, confidence=HIGH, fix=fix)
    finding.rule = cast("Rule", SimpleNamespace(code=code, name=code.lower()))
    return finding


def key(tree: Tree, name: str) -> Node:
    return next(n for r in tree.roots for n in walk(r) if type(n) is Scalar and n.value == name)


def value(tree: Tree, name: str) -> Scalar:
    node = key(tree, name)
    nodes = [n for r in tree.roots for n in walk(r)]
    after = nodes[nodes.index(node) + 1]
    assert type(after) is Scalar
    return after


def put(tree: Tree, name: str, new: Value) -> Edit:
    return replace_value(tree, value(tree, name), None, new)


Rules = Callable[[Tree], list[Finding]]


def fixed(text: str, rules: Rules, admitted: tuple[str, ...] = ALL) -> Outcome:
    """Fix, and check that a second run would change nothing."""

    def find(source: Source) -> tuple[Tree, list[Finding]]:
        tree = parse(source)
        return tree, rules(tree)

    outcome = fix_text(Source("c.yaml", text), find, admitted)
    again = fix_text(Source("c.yaml", outcome.text), find, admitted)
    assert again.text == outcome.text
    assert outcome.tree.source.text == outcome.text
    if outcome.text == text:
        assert not outcome.applied
    return outcome


def codes(findings: list[Finding]) -> list[str]:
    return [finding.rule.code for finding in findings]


def applied(outcome: Outcome) -> list[tuple[str, int]]:
    return [(a.finding.rule.code, a.round) for a in outcome.applied]


def read(tree: Tree, name: str) -> Value:
    return read_scalar(value(tree, name))


def test_to_the_fixpoint() -> None:
    """One fix makes room for the next; the last audit is of the last text."""

    def rules(tree: Tree) -> list[Finding]:
        if read(tree, "a") == 1:
            return [found(tree, "GA1", put(tree, "a", 2))]
        if read(tree, "b") == 1:
            return [found(tree, "GA2", put(tree, "b", 2))]
        return [found(tree, "GA3")]

    outcome = fixed("a: 1 # c\nb: 1\n", rules)
    assert outcome.text == "a: 2 # c\nb: 2\n"
    assert applied(outcome) == [("GA1", 1), ("GA2", 2)]
    assert (outcome.rounds, outcome.stopped) == (2, "")
    assert codes(outcome.findings) == ["GA3"]
    assert outcome.original.text == "a: 1 # c\nb: 1\n"
    assert [(f.rule.code, r) for f, r in outcome.refused] == [("GA3", "it would change nothing")]


def test_the_safer_wins_then_the_more_severe() -> None:
    tree = parse(Source("c.yaml", "a: 1\nb: 1\nc: 1\n"))
    findings = [
        found(tree, "GA4", put(tree, "c", 4)),
        found(tree, "GA3", put(tree, "c", 3)),
        found(tree, "GA2", put(tree, "a", 2), applicability=RECOMMENDED, severity=ERROR),
        found(tree, "GA9", put(tree, "a", 9), applicability=SAFE),
        found(tree, "GA5", put(tree, "b", 5), severity=WARNING),
        found(tree, "GA6", put(tree, "b", 6), severity=ERROR),
    ]
    choice = choose(tree, findings, ALL)
    assert codes(choice.chosen) == ["GA6", "GA3", "GA9"]
    assert codes(choice.postponed) == ["GA4", "GA5", "GA2"]
    assert codes(choose(tree, findings, (RECOMMENDED,)).chosen) == ["GA2"]
    assert not choose(tree, findings, (SPECULATIVE,)).chosen


def test_the_loser_of_a_conflict_has_its_turn() -> None:
    """Two keys after the same one: the second goes in in the second round."""

    def rules(tree: Tree) -> list[Finding]:
        there = {n.value for r in tree.roots for n in walk(r) if type(n) is Scalar}
        return [
            found(tree, code, insert_after(tree, key(tree, "a"), name, 1))
            for code, name in (("GA1", "p"), ("GA2", "q"))
            if name not in there
        ]

    outcome = fixed("a: 1\nb: 1\n", rules)
    assert outcome.text == "a: 1\nq: 1\np: 1\nb: 1\n"
    assert applied(outcome) == [("GA1", 1), ("GA2", 2)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1 # c\nb: 1\n", "a: 1 # c\np: 5\nq: 6\nb: 1\n"),
        ("b: 1\na: 1", "b: 1\na: 1\np: 5\nq: 6"),
        ("{a: 1, b: 1}\n", "{a: 1, p: 5, q: 6, b: 1}\n"),
        ("{b: 1, a: 1}\n", "{b: 1, a: 1, p: 5, q: 6}\n"),
        ("{\n  a: 1, # c\n  b: 1\n}\n", "{\n  a: 1, # c\n  p: 5,\n  q: 6,\n  b: 1\n}\n"),
        ("{\r\n  a: 1 # c\r\n}\r\n", "{\r\n  a: 1, # c\r\n  p: 5,\r\n  q: 6\r\n}\r\n"),
        ("{b: 1,\n a: 1}\n", "{b: 1,\n a: 1,\n p: 5,\n q: 6}\n"),
    ],
)
def test_a_fix_with_two_new_keys(before: str, after: str) -> None:
    def rules(tree: Tree) -> list[Finding]:
        if "p" in {n.value for r in tree.roots for n in walk(r) if type(n) is Scalar}:
            return []
        a = key(tree, "a")
        edits = [insert_after(tree, a, "p", 5), insert_after(tree, a, "q", 6)]
        return [found(tree, "GA1", *edits), found(tree, "GA2", *edits)]

    outcome = fixed(before, rules)
    assert outcome.text == after
    assert applied(outcome) == [("GA1", 1), ("GA2", 1)]


def test_no_key_is_added_twice() -> None:
    def rules(tree: Tree) -> list[Finding]:
        if "p" in {n.value for r in tree.roots for n in walk(r) if type(n) is Scalar}:
            return []
        return [
            found(tree, f"GA{name}", insert_after(tree, key(tree, name), "p", 5)) for name in "ab"
        ]

    assert fixed("a: 1\nb: 1\n", rules).text == "a: 1\np: 5\nb: 1\n"

    def twice(tree: Tree) -> list[Finding]:
        a = key(tree, "a")
        edits = [insert_after(tree, a, "p", 5), insert_after(tree, a, "p", 6)]
        return [found(tree, "GA1", *edits)]

    assert [r for _, r in fixed("a: 1\n", twice).refused] == ["the key `p` would be there twice"]


def test_identical_edits_count_for_both() -> None:
    def rules(tree: Tree) -> list[Finding]:
        if read(tree, "a") == 2:
            return []
        return [
            found(tree, "GA1", put(tree, "a", 2)),
            found(tree, "GA2", put(tree, "a", 2), put(tree, "b", 3)),
        ]

    outcome = fixed("a: 1\nb: 1\n", rules)
    assert outcome.text == "a: 2\nb: 3\n"
    assert applied(outcome) == [("GA1", 1), ("GA2", 1)]


def test_never_half_a_fix() -> None:
    def rules(tree: Tree) -> list[Finding]:
        edits = [put(tree, "c", 2), put(tree, "a", 2)]
        return [found(tree, "GA1", *edits)] if read(tree, "c") == 1 else []

    outcome = fixed("a: &x 1\nb: *x\nc: 1\n", rules)
    assert outcome.text == "a: &x 1\nb: *x\nc: 1\n"
    assert [reason for _, reason in outcome.refused] == [
        "the value is shared: `*x` on line 2 refers to it"
    ]


def test_a_fix_at_odds_with_itself() -> None:
    def rules(tree: Tree) -> list[Finding]:
        return [found(tree, "GA1", put(tree, "a", 2), put(tree, "a", 3))]

    assert [r for _, r in fixed("a: 1\n", rules).refused] == ["two edits change the same place"]


def test_another_file_is_not_edited() -> None:
    base = parse(Source("base.yaml", "a: 1\n"))

    def rules(tree: Tree) -> list[Finding]:
        return [found(base, "GA1", put(base, "a", 2))]

    [(_, reason)] = fixed("b: 1\n", rules).refused
    assert reason == "`a` stands in base.yaml, which is another file"


def test_one_bad_fix_blocks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both keys of a mapping may go, but not both: they are tried one by one."""

    def rules(tree: Tree) -> list[Finding]:
        names = {n.value for r in tree.roots for n in walk(r) if type(n) is Scalar}
        return (
            [
                found(tree, "GA1", delete_entry(tree, key(tree, "p"))),
                *([found(tree, "GA2", delete_entry(tree, key(tree, "q")))] if "q" in names else []),
                *([found(tree, "GA3", put(tree, "b", 2))] if read(tree, "b") == 1 else []),
            ]
            if "p" in names
            else []
        )

    outcome = fixed("a:\n  p: 1\n  q: 1\nb: 1\n", rules)
    assert outcome.text == "a:\n  q: 1\nb: 2\n"
    assert applied(outcome) == [("GA1", 1), ("GA3", 1)]

    def strict(tree: Tree, text: str, edits: list[Edit]) -> None:
        if any(edit.key == "b" for edit in edits):
            raise Refused("not this one")
        verify(tree, text, edits)

    monkeypatch.setattr("gradaudit.fix.engine.verify", strict)
    outcome = fixed("a: 1\nb: 1\nc: 1\n", lambda tree: [
        found(tree, f"GA{name}", put(tree, name, 2)) for name in "abc" if read(tree, name) == 1
    ])  # fmt: skip
    assert outcome.text == "a: 2\nb: 1\nc: 2\n"
    assert [(f.rule.code, r) for f, r in outcome.refused] == [("GAb", "not this one")]


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_fixes_that_undo_one_another(start: int) -> None:
    """0 leads into the circle 1, 2, 3, 1: the text where it begins is kept."""

    def rules(tree: Tree) -> list[Finding]:
        now = read(tree, "a")
        assert isinstance(now, int)
        return [found(tree, f"GA{now}", put(tree, "a", now % 3 + 1))]

    outcome = fixed(f"a: {start} # c\n", rules)
    assert outcome.text == f"a: {max(start, 1)} # c\n"
    assert applied(outcome) == ([("GA0", 1)] if start == 0 else [])
    assert outcome.stopped.startswith("some fixes undo one another")
    assert [r for _, r in outcome.refused] == ["with it the fixes would not settle"]
    assert codes(outcome.findings) == [f"GA{max(start, 1)}"]


def test_no_end_in_sight() -> None:
    def rules(tree: Tree) -> list[Finding]:
        now = read(tree, "a")
        assert isinstance(now, int)
        return [found(tree, "GA1", put(tree, "a", now + 1))] if now < 1000 else []

    outcome = fixed("a: 1\n", rules)
    assert outcome.text == "a: 1\n"
    assert "do not settle within 20 rounds" in outcome.stopped
    assert codes([f for f, _ in outcome.refused]) == ["GA1"]
    assert fixed("a: 980\n", rules).text == "a: 1000\n"


def test_a_fix_that_is_not_admitted_is_not_made() -> None:
    def rules(tree: Tree) -> list[Finding]:
        return [found(tree, "GA1", put(tree, "a", 2), applicability=SPECULATIVE)]

    outcome = fixed("a: 1\n", rules, (SAFE, RECOMMENDED))
    assert (outcome.text, outcome.applied, outcome.refused) == ("a: 1\n", [], [])


DIFFED = {
    "middle": ("a: 1\nb: 2\nc: 3\n", "a: 1\nb: 5\nc: 3\n"),
    "no newline": ("a: 1\nb: 2", "a: 1\nb: 3"),
    "newline added": ("a: 1\nb: 2", "a: 1\nb: 2\n"),
    "unchanged last line": ("a: 1\nb: 2", "a: 3\nb: 2"),
    "CRLF": ("a: 1\r\nb: 2\r\n", "a: 1\r\nb: 3\r\n"),
    "NEL within a line": ("a: 'x\x85y'\nb: 2\n", "a: 'x\x85y'\nb: 3\n"),
    "far apart": ("a: 1\n" + "# c\n" * 20 + "b: 2\n", "a: 2\n" + "# c\n" * 20 + "b: 3\n"),
}


@pytest.mark.parametrize("case", DIFFED)
def test_diff_can_be_applied(case: str, tmp_path: Path) -> None:
    old, new = DIFFED[case]
    lines = unified_diff("c.yaml", old, new)
    assert lines[:2] == ["--- c.yaml", "+++ c.yaml"]
    assert not any("\n" in line for line in lines)
    (tmp_path / "c.yaml").write_bytes(old.encode())
    try:
        subprocess.run(
            ["git", "apply", "-p0", "--whitespace=nowarn", "-"],
            cwd=tmp_path, input=("\n".join(lines) + "\n").encode(), check=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("git is not installed")
    assert (tmp_path / "c.yaml").read_bytes() == new.encode()


def test_diff_of_nothing_and_its_markers() -> None:
    assert unified_diff("c.yaml", "a: 1\n", "a: 1\n") == []
    assert unified_diff("c.yaml", "a: 1", "a: 2", context=0) == [
        "--- c.yaml", "+++ c.yaml", "@@ -1 +1 @@",
        "-a: 1", "\\ No newline at end of file", "+a: 2", "\\ No newline at end of file",
    ]  # fmt: skip
    assert "-a: 1\r" in unified_diff("c.yaml", "a: 1\r\n", "a: 2\r\n")
