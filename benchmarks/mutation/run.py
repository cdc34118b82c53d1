"""Break every config of a corpus in every way that applies, and note what the check says."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from gradaudit.audit import FileResult, audit_source
from gradaudit.fix.splice import Refused, apply
from gradaudit.options import Options
from gradaudit.rules import load
from gradaudit.settings import Settings
from gradaudit.source import Source, Unreadable, read

from .change import unit_of
from .fixes import after_fix, identity, new_findings
from .model import (
    CAUGHT,
    MISSED,
    OTHER,
    Case,
    Mutation,
    Operator,
    Outcome,
)
from .published import Published

HERE = Path(__file__).resolve().parent
SOUND = (HERE.parent.parent / "tests" / "recipes", HERE / "sound")
"""Configs that belong to the project: published recipes in short, and some written for this, as
configs of known frameworks hardly weigh several terms of a loss in the file."""

ACCUSED = "reported_run"
"""The recipes that begin so are not sound: they are what the tool was made for."""


COMPARING = frozenset(("GA801", "GA802", "GA803", "GA804"))
"""Rules that set a file against another of its run: whatever is broken in one, they may say so."""


class Corpus:
    """The configs of a directory with an INDEX.tsv, and the rates that they publish.

    paths   (dialect of the index, repository, path) of each config; bases are left out.
    own     how many of them, the last, are the project's own.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.paths: list[tuple[str, str, str]] = []
        with (directory / "INDEX.tsv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if row["role"] == "config":
                    folder = row["repository"].replace("/", "__")
                    path = f"{row['dialect']}/{folder}/{row['path']}"
                    self.paths.append((row["dialect"], row["repository"], path))
        self.published = Published()
        options = Options()
        for _, repository, path in self.paths:
            result = audited(self.source(path), options)
            if result is not None:
                self.published.add(result.units, repository)

        mine = [file for folder in SOUND for file in sorted(folder.iterdir())]
        mine = [file for file in mine if not file.stem.startswith(ACCUSED)]
        self.paths += [(file.parent.name, file.stem, str(file)) for file in mine]
        self.own = len(mine)

    def shown(self, path: str) -> str:
        """A path below the corpus, or below this checkout."""
        below = HERE.parent.parent
        return str(Path(path).relative_to(below)) if Path(path).is_absolute() else path

    def source(self, path: str) -> Source | None:
        try:
            return read(str(self.directory / path))
        except Unreadable:
            return None


def audited(source: Source | None, options: Options) -> FileResult | None:
    """What a check of this text says; None where it cannot be read, or is Python (never edited)."""
    if source is None:
        return None
    result = audit_source(source, options, Settings())
    if result.tree is None or result.skipped or result.tree.format == "python":
        return None
    return result


def known(operators: Iterable[Operator]) -> tuple[list[Operator], list[Operator]]:
    """Those with a registered rule to expect, and those without."""
    rules = load()
    alive: list[Operator] = []
    waiting: list[Operator] = []
    for operator in operators:
        (alive if any(code in rules for code in operator.expected) else waiting).append(operator)
    return alive, waiting


def options_for(operator: Operator) -> Options:
    """The default profile, and the rule that is expected where it is in another one."""
    rules = load()
    options = Options()
    options.extend_select = [
        code for code in operator.expected if code in rules and rules[code].profile != "default"
    ]
    return options


def all_outcomes(
    corpus: Corpus, operators: Sequence[Operator], processes: int | None = None
) -> list[Outcome]:
    """Every outcome, in the order of the operators and of the index, however many processes."""
    global _JOB
    _JOB = corpus, list(operators)
    numbers = range(len(corpus.paths))
    count = processes or os.cpu_count() or 1
    if count == 1:
        found = [outcomes_of(number) for number in numbers]
    else:
        with multiprocessing.get_context("fork").Pool(count) as pool:
            found = pool.map(outcomes_of, numbers, chunksize=8)
    order = {operator.name: number for number, operator in enumerate(operators)}
    return sorted((o for part in found for o in part), key=lambda outcome: order[outcome.operator])


_JOB: tuple[Corpus, list[Operator]]
"""What the processes share; set before they fork."""

_OPTIONS: dict[tuple[str, ...], Options] = {}


def outcomes_of(number: int) -> list[Outcome]:
    """One file, every operator: at most one mutant each, of the first unit that it applies to."""
    corpus, operators = _JOB
    dialect, repository, path = corpus.paths[number]
    source = corpus.source(path)
    before: dict[tuple[str, ...], FileResult | None] = {}
    found = []
    for operator in operators:
        options = options_for(operator)
        more = tuple(options.extend_select)
        options = _OPTIONS.setdefault(more, options)
        if more not in before:
            before[more] = audited(source, options)
        result = before[more]
        if result is None:
            continue
        outcome = first_mutant(operator, result, options, corpus.published, repository)
        if outcome is not None:
            found.append(replace(outcome, path=corpus.shown(path), dialect=dialect))
    return found


def first_mutant(
    operator: Operator, result: FileResult, options: Options, published: Published, repository: str
) -> Outcome | None:
    tree, composed = result.tree, result.composed
    assert tree is not None
    assert composed is not None
    dialect = composed.dialect
    for unit in result.units:
        case = Case(unit, tree, dialect["name"], dialect["loader"], published, repository)
        mutation = operator.make(case)
        if mutation is None:
            continue
        try:
            text = apply(tree.source.text, mutation.splices)
        except Refused:
            continue
        if text != tree.source.text:
            return judged(operator, result, case, mutation, text, options)
    return None


def judged(
    operator: Operator,
    before: FileResult,
    case: Case,
    mutation: Mutation,
    text: str,
    options: Options,
) -> Outcome | None:
    """What the check says of a mutant; None where it said the same of the original already."""
    source = case.tree.source
    mutant = Source(source.path, text, source.encoding, source.bom)
    after = audit_source(mutant, options, Settings())
    new = new_findings(before, after.findings)
    expected = [finding for finding in new if finding.rule.code in operator.expected]
    others = [finding for finding in new if finding.rule.code not in operator.expected]
    if not expected and _was_broken(operator, before, case, mutation):
        return None
    unit = unit_of(after.units, case.unit.name)
    fixed = after_fix(operator, before, after, mutation, options, case)
    return Outcome(
        operator.name,
        path="",
        dialect="",
        equivalent=operator.equivalent(case, unit),
        said=CAUGHT if expected else OTHER if others else MISSED,
        unrelated=tuple(
            " ".join(identity(finding))
            for finding in others
            if finding.rule.code not in COMPARING and finding.rule.code not in operator.companions
        ),
        read="" if expected else _change_of(case, after),
        fix=fixed.fix,
        triggered=fixed.triggered,
        revealed=fixed.revealed,
    )


def _was_broken(operator: Operator, before: FileResult, case: Case, mutation: Mutation) -> bool:
    """The original has the expected finding where it was broken again: nothing new can be said."""
    lines = {case.tree.source.position(offset)[0] for offset in mutation.touched}
    return any(
        finding.rule.code in operator.expected
        and finding.place.source is before.source
        and finding.place.line in lines
        for finding in before.findings
    )


def _change_of(case: Case, after: FileResult) -> str:
    """What the plan reads otherwise than before, for those who look at a miss."""
    unit = unit_of(after.units, case.unit.name)
    if unit is None:
        return "the unit is gone" if after.units else "the file is not read"
    old = {n: s.value for n, s in case.unit.settings.items() if not n.startswith("_")}
    new = {n: s.value for n, s in unit.settings.items() if not n.startswith("_")}
    changed = [
        f"{name} {old.get(name)} -> {new.get(name)}"
        for name in {**old, **new}
        if repr(old.get(name)) != repr(new.get(name))
    ]
    terms = {term.name: term.weight for term in case.unit.loss_terms}
    changed += [
        f"loss {term.name} {terms.get(term.name)} -> {term.weight}"
        for term in unit.loss_terms
        if terms.get(term.name) != term.weight
    ]
    optimizer = f" ({case.unit.optimizer})" if case.unit.optimizer else ""
    return (", ".join(changed[:3]) or "nothing is read otherwise") + optimizer
