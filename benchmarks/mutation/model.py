"""An operator, what it does to a unit, and what became of it. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gradaudit.fix.splice import Splice
from gradaudit.plan.model import TrainingUnit
from gradaudit.syntax.tree import Tree

from .published import Published


@dataclass(frozen=True)
class Case:
    """A unit of a healthy config, before anything is done to it."""

    unit: TrainingUnit
    tree: Tree
    dialect: str
    loader: str
    published: Published
    repository: str


@dataclass(frozen=True)
class Mutation:
    """The characters that change, and the values that the operator wants in force afterwards.

    splices  as `gradaudit.fix.splice` makes them: nothing else in the text changes.
    touched  offsets into the original text of what is broken: a fix may change these lines.
    """

    splices: list[Splice]
    touched: list[int]


Make = Callable[[Case], Mutation | None]
"""What an operator does to a unit; None where it is not applicable."""

Equivalent = Callable[[Case, TrainingUnit | None], str]
"""Why the mutant trains as the original does, or is a sound recipe too; empty where it is a
fault. It gets the unit before and after, speaks of frameworks and optimisers, and knows no rule."""


def never(case: Case, after: TrainingUnit | None) -> str:
    return ""


@dataclass(frozen=True)
class Operator:
    """One way to break a config.

    what        in words: what is changed, and where it is applicable.
    expected    the codes of the rules that should say it: one of them is enough.
    companions  codes that may speak beside them, because the fault is theirs too.
    also        settings that a fix may change beside what was broken.
    note        why many of its mutants are equivalent, where more than a fifth are.
    """

    name: str
    what: str
    expected: tuple[str, ...]
    make: Make
    equivalent: Equivalent = never
    companions: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    note: str = ""


CAUGHT, OTHER, MISSED = "caught", "other", "missed"


@dataclass(frozen=True)
class Outcome:
    """What the check said of one mutant.

    equivalent  the reason; empty where it is a fault.
    said        caught by an expected rule, by another one, or missed.
    unrelated   new findings that are neither expected nor declared, as `CODE key`.
    read        what the plan makes of the broken setting: for those who look at what is missed.
    fix         "" where none of the wanted levels is offered; else "restored" (the original,
                byte for byte), "mended", or what went wrong.
    triggered   findings of any rule that are neither of the original nor of the mutant: the fix
                brought them.
    revealed    the same, where the fix left what is in force as it was: they were hidden.
    """

    operator: str
    path: str
    dialect: str
    equivalent: str
    said: str
    unrelated: tuple[str, ...] = ()
    read: str = ""
    fix: str = ""
    triggered: tuple[str, ...] = ()
    revealed: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """The edit machinery did not make the fix: the file stays as it was, and says so."""
        return self.fix.startswith(REFUSED)


RESTORED, MENDED, REFUSED = "restored", "mended", "refused"


@dataclass
class Tally:
    """The outcomes of one operator, counted."""

    operator: Operator
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def applied(self) -> int:
        return len(self.outcomes)

    @property
    def equivalents(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.equivalent]

    @property
    def faults(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.equivalent]

    def count(self, said: str) -> int:
        return sum(outcome.said == said for outcome in self.faults)

    @property
    def unrelated(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.unrelated]

    @property
    def triggered(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.triggered]

    @property
    def revealed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.revealed]

    @property
    def with_fix(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.fix and not outcome.refused]

    @property
    def fixed(self) -> int:
        return sum(outcome.fix in (RESTORED, MENDED) for outcome in self.outcomes)
