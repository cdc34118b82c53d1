"""What becomes of a mutant when its finding is fixed: the finding goes, and brings no other."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gradaudit.audit import FileResult, audit_source
from gradaudit.findings import RECOMMENDED, SAFE, Finding
from gradaudit.fix.engine import fix_text
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import Source
from gradaudit.syntax.tree import Tree

from .model import MENDED, RESTORED, Case, Mutation, Operator

ADMITTED = (SAFE, RECOMMENDED)


@dataclass(frozen=True)
class Fixed:
    """What the fix did.

    fix        "" where none of the wanted levels is offered; else "restored" (the original, byte
               for byte), "mended", or what went wrong.
    triggered  findings that are neither of the original nor of the mutant, as `CODE key`: the
               fix of one rule set off another.
    revealed   the same, where the fix left every setting in force as it was: the training has
               the fault with and without the fix, and what was broken only hid it.
    """

    fix: str = ""
    triggered: tuple[str, ...] = ()
    revealed: tuple[str, ...] = ()


def identity(finding: Finding) -> tuple[str, str]:
    """What a finding is about: its message may carry numbers of other settings."""
    return finding.rule.code, finding.key or ""


def new_findings(before: FileResult, findings: Iterable[Finding]) -> list[Finding]:
    """What was not said of the original."""
    said = Counter(identity(finding) for finding in before.findings)
    found = []
    for finding in findings:
        key = identity(finding)
        if said[key]:
            said[key] -= 1
        else:
            found.append(finding)
    return found


def after_fix(
    operator: Operator,
    before: FileResult,
    broken: FileResult,
    mutation: Mutation,
    options: Options,
    case: Case,
) -> Fixed:
    """Fix what is expected and nothing else; check again, with every rule."""
    new = new_findings(before, broken.findings)
    expected = [finding for finding in new if finding.rule.code in operator.expected]
    if not any(_is_admitted(finding) for finding in expected):
        return Fixed()
    wanted = {identity(finding) for finding in expected}
    mutant = broken.source
    assert mutant is not None
    checked = {mutant.text: broken}

    def find(source: Source) -> tuple[Tree, list[Finding]]:
        result = checked.get(source.text) or audit_source(source, options, Settings())
        checked[source.text] = result
        assert result.tree is not None
        new = new_findings(before, result.findings)
        return result.tree, [f for f in new if f.rule.code in operator.expected]

    outcome = fix_text(mutant, find, ADMITTED)
    if outcome.refused or outcome.stopped:
        why = outcome.refused[0][1] if outcome.refused else outcome.stopped
        return Fixed(f"refused: {why}")
    left = [finding for finding in outcome.findings if identity(finding) in wanted]
    if any(_is_admitted(finding) for finding in left):
        return Fixed("still there")
    original = case.tree.source.text
    if outcome.text == original:
        return Fixed(RESTORED)
    strayed = changed_lines(original, outcome.text) - _lines_of(case, mutation, operator)
    what = f"changed line {min(strayed)} too" if strayed else MENDED
    after = checked[outcome.text]
    brought = tuple(" ".join(one) for one in brought_by_fix(before, broken, after))
    if in_force(broken) == in_force(after):
        return Fixed(what, revealed=brought)
    return Fixed(what, triggered=brought)


def _is_admitted(finding: Finding) -> bool:
    return finding.fix is not None and finding.fix.applicability in ADMITTED


def brought_by_fix(
    before: FileResult, broken: FileResult, after: FileResult
) -> list[tuple[str, str]]:
    """What is said of the fixed text, of any rule, and was said neither of the original nor of
    the mutant."""
    said = Counter(identity(finding) for finding in broken.findings)
    found = []
    for finding in new_findings(before, after.findings):
        one = identity(finding)
        if said[one]:
            said[one] -= 1
        else:
            found.append(one)
    return found


def in_force(result: FileResult) -> list[tuple[str, dict[str, object], list[tuple[str, object]]]]:
    """What each training does, by its file: settings and weights of the loss, whatever stands
    beside them without effect."""
    return [
        (
            unit.name,
            {name: (setting.value, setting.unit) for name, setting in unit.settings.items()},
            [(term.name, term.weight) for term in unit.loss_terms],
        )
        for unit in result.units
    ]


def _lines_of(case: Case, mutation: Mutation, operator: Operator) -> set[int]:
    """The lines of the original that a fix may change: what was broken, and what is declared."""
    source = case.tree.source
    offsets = [*mutation.touched, *(start for start, _, _ in mutation.splices)]
    for name in operator.also:
        settings = [case.unit.get(name)]
        if name == "@terms":
            settings = [term.setting for term in case.unit.loss_terms]
        offsets += [s.node.start for s in settings if s is not None and s.node is not None]
    # What is put in stands before the line that its place belongs to, and after the one above it.
    offsets += [start - 1 for start, end, _ in mutation.splices if start == end > 0]
    return {source.position(min(offset, len(source.text)))[0] for offset in offsets}


def changed_lines(old: str, new: str) -> set[int]:
    """The lines of `old`, from 1, that are not in `new` as they are; of what is inserted, the line
    before it."""
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    changed: set[int] = set()
    for op, start, end, _, _ in matcher.get_opcodes():
        if op == "insert":
            changed.add(max(start, 1))
        elif op != "equal":
            changed.update(range(start + 1, end + 1))
    return changed
