"""Fix a file until nothing changes: audit, choose, apply, verify, again."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable, Collection
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace

from gradaudit.findings import APPLICABILITIES, SEVERITIES, Edit, Finding, Fix
from gradaudit.fix.splice import Refused, Splice, apply, splices_together
from gradaudit.fix.verify import verify
from gradaudit.source import Source
from gradaudit.syntax.tree import Tree

MAX_ROUNDS = 20

MAX_FIXES = 1000
"""Fixes of one file at most: each is set against all others, and no config has a tenth of that."""

Find = Callable[[Source], tuple[Tree, list[Finding]]]
"""Audits a text afresh: its tree, and the findings whose fixes may edit it."""


@dataclass(frozen=True)
class Applied:
    """A fix that was applied, and in which round (from 1)."""

    finding: Finding
    fix: Fix
    round: int


@dataclass(frozen=True)
class Choice:
    """The fixes that go together, in order of preference, and those that cannot be made.

    `postponed` are fixes that contradict a chosen one: the next round sees whether they still
    stand. `edits` has each edit with its splices, once, though several fixes may ask for it.
    """

    chosen: list[Finding] = field(default_factory=list)
    refused: list[tuple[Finding, str]] = field(default_factory=list)
    postponed: list[Finding] = field(default_factory=list)
    edits: list[tuple[Edit, list[Splice]]] = field(default_factory=list)

    @property
    def changes(self) -> list[Splice]:
        return [change for _, changes in self.edits for change in changes]


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    text      the text after the last round; every step to it was verified.
    refused   the fixes that still stand in `text` and cannot be made, with the reason.
    rounds    how many rounds changed the text.
    stopped   why the fixes did not settle, one sentence; empty where they did.
    tree, findings  the last audit: of `text`.
    """

    original: Source
    text: str
    applied: list[Applied]
    refused: list[tuple[Finding, str]]
    rounds: int
    stopped: str
    tree: Tree
    findings: list[Finding]


@dataclass(frozen=True)
class _Round:
    """A text on the way, its audit, and the choice made on it."""

    source: Source
    tree: Tree
    findings: list[Finding]
    choice: Choice


def choose(tree: Tree, findings: Seq[Finding], admitted: Collection[str]) -> Choice:
    """Pick the fixes of `admitted` applicabilities that can be applied together.

    The safer comes first, then the more severe, then by rule code and place. A fix with an edit
    that is refused, or that stands in another file than `tree`'s, is refused whole.
    """
    choice = Choice()
    for finding in _ordered(findings, admitted):
        try:
            choice = _add(choice, tree, finding)
        except Refused as refusal:
            choice = _refuse(choice, finding, refusal)
    return choice


def fix_text(source: Source, find: Find, admitted: Collection[str]) -> Outcome:
    """Apply fixes until none is left that can be applied.

    Applied to its own result it changes nothing. For that, fixes that undo one another are left
    at the text where their circle begins, and if there is no end in sight, no fix is applied.
    """
    history: list[_Round] = []
    seen: dict[str, int] = {}
    current = source
    while len(history) <= MAX_ROUNDS:
        tree, findings = find(current)
        if not history and len(_ordered(findings, admitted)) > MAX_FIXES:
            history.append(_Round(current, tree, findings, Choice()))
            stopped = f"more than {MAX_FIXES} fixes in one file: none is applied"
            return _outcome(source, history, 0, stopped)
        choice, text = _step(tree, findings, admitted)
        seen[current.text] = len(history)
        history.append(_Round(current, tree, findings, choice))
        if not choice.chosen:
            return _outcome(source, history, len(history) - 1)
        if text in seen:
            stopped = "some fixes undo one another: the text before the first of them is kept"
            return _outcome(source, history, seen[text], stopped)
        current = Source(source.path, text, source.encoding, source.bom)
    stopped = f"the fixes do not settle within {MAX_ROUNDS} rounds: none is applied"
    return _outcome(source, history, 0, stopped)


def unified_diff(path: str, old: str, new: str, context: int = 3) -> list[str]:
    """The lines of a unified diff, each without its LF (a CR stays); empty where nothing changes.

    Lines end at LF alone, as for `patch` and `git`; a last line without one is marked. For a
    file with a byte-order mark, pass the texts with it if the diff is to be applied.
    """
    lines: list[str] = []
    for line in difflib.unified_diff(_lines(old), _lines(new), path, path, n=context):
        lines.append(line.removesuffix("\n"))
        if not line.endswith("\n"):
            lines.append("\\ No newline at end of file")
    return lines


def _lines(text: str) -> list[str]:
    return list(io.StringIO(text, newline="\n"))


def _ordered(findings: Seq[Finding], admitted: Collection[str]) -> list[Finding]:
    def rank(finding: Finding) -> tuple[int, int, str, int]:
        assert finding.fix is not None
        return (
            APPLICABILITIES.index(finding.fix.applicability),
            -SEVERITIES.index(finding.severity),
            finding.rule.code,
            min((edit.node.start for edit in finding.fix.edits), default=0),
        )

    fixable = [f for f in findings if f.fix is not None and f.fix.applicability in admitted]
    return sorted(fixable, key=rank)


def _add(choice: Choice, tree: Tree, finding: Finding) -> Choice:
    """The choice with one more fix; postponed where it contradicts a fix chosen before.

    Raises:
        Refused: the fix cannot be made, whatever else is chosen.
    """
    assert finding.fix is not None
    text = tree.source.text
    for edit in finding.fix.edits:
        if edit.tree is not tree:
            raise Refused(f"`{edit.key}` stands in {edit.tree.source.path}, which is another file")
    mine = splices_together(finding.fix.edits)
    if apply(text, [change for _, changes in mine for change in changes]) == text:
        raise Refused("it would change nothing")
    more: list[tuple[Edit, list[Splice]]] = []
    for edit, changes in mine:
        there = [c for e, c in choice.edits if e.node is edit.node]
        if changes in there:
            continue  # another fix makes the very same edit: it is made once, for both
        if there:
            return replace(choice, postponed=[*choice.postponed, finding])
        more.append((edit, changes))
    together = replace(choice, chosen=[*choice.chosen, finding], edits=[*choice.edits, *more])
    try:
        apply(text, together.changes)
    except Refused:
        return replace(choice, postponed=[*choice.postponed, finding])
    return together


def _refuse(choice: Choice, finding: Finding, refusal: Refused) -> Choice:
    return replace(choice, refused=[*choice.refused, (finding, refusal.reason)])


def _step(tree: Tree, findings: Seq[Finding], admitted: Collection[str]) -> tuple[Choice, str]:
    """The fixes of one round, and the verified text with them."""
    choice = choose(tree, findings, admitted)
    if not choice.chosen:
        return choice, tree.source.text
    try:
        return choice, _carry_out(choice, tree)
    except Refused:
        return _one_by_one(tree, findings, admitted)


def _one_by_one(
    tree: Tree, findings: Seq[Finding], admitted: Collection[str]
) -> tuple[Choice, str]:
    """As `_step`, each fix verified before the next is added: one bad fix blocks no other."""
    choice, text = Choice(), tree.source.text
    for finding in _ordered(findings, admitted):
        try:
            trial = _add(choice, tree, finding)
            if len(trial.chosen) > len(choice.chosen):
                text = _carry_out(trial, tree)
            choice = trial
        except Refused as refusal:
            choice = _refuse(choice, finding, refusal)
    return choice, text


def _carry_out(choice: Choice, tree: Tree) -> str:
    text = apply(tree.source.text, choice.changes)
    verify(tree, text, [edit for edit, _ in choice.edits])
    return text


def _outcome(original: Source, history: Seq[_Round], last: int, stopped: str = "") -> Outcome:
    """What holds at the text of round `last`. Where the rounds were stopped, the fixes that went
    on from there are not made."""
    final = history[last]
    refused = list(final.choice.refused)
    if stopped:
        reason = "with it the fixes would not settle"
        left_out = [*final.choice.chosen, *final.choice.postponed]
        refused += [(finding, reason) for finding in left_out]
    applied = [
        Applied(finding, finding.fix, number)
        for number, earlier in enumerate(history[:last], 1)
        for finding in earlier.choice.chosen
        if finding.fix is not None
    ]
    text = final.source.text
    return Outcome(original, text, applied, refused, last, stopped, final.tree, final.findings)
