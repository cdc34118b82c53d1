"""The tables: what was broken, what was said, and what was missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .model import CAUGHT, MENDED, MISSED, OTHER, RESTORED, Operator, Outcome, Tally

CAUGHT_GOAL, QUIET_GOAL = 0.97, 0.99
"""Shares that the rules are held to; every fix must hold."""

MANY = 0.2
"""A share of equivalents above which the table says why."""


def tallies(operators: Iterable[Operator], outcomes: Iterable[Outcome]) -> list[Tally]:
    found = {operator.name: Tally(operator) for operator in operators}
    for outcome in outcomes:
        found[outcome.operator].outcomes.append(outcome)
    return list(found.values())


def share(part: int, whole: int) -> str:
    """Rounded down, so that 100 % means all of them."""
    return f"{part * 1000 // whole / 10:.1f} %" if whole else "-"


def main_table(counted: Sequence[Tally]) -> list[str]:
    lines = [
        (
            "| operator | rule | applied | equivalent | caught | by another | missed | share "
            "| unrelated | fixed | triggered |"
        ),
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for tally in counted:
        name = f"`{tally.operator.name}`"
        lines.append(_row(name, ", ".join(tally.operator.expected), [tally]))
    lines.append(_row("all", "", counted))
    return lines


def _row(name: str, codes: str, some: Sequence[Tally]) -> str:
    def total(numbers: Iterable[int]) -> int:
        return sum(numbers)

    caught = total(t.count(CAUGHT) for t in some)
    faults = total(len(t.faults) for t in some)
    fixes = total(len(t.with_fix) for t in some)
    cells = [
        name, codes,
        total(t.applied for t in some), total(len(t.equivalents) for t in some), caught,
        total(t.count(OTHER) for t in some), total(t.count(MISSED) for t in some),
        share(caught, faults), total(len(t.unrelated) for t in some),
        f"{total(t.fixed for t in some)}/{fixes}" if fixes else "-",
        total(len(t.triggered) for t in some) if fixes else "-",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def goals(counted: Sequence[Tally]) -> list[tuple[str, bool]]:
    """Each goal in words with its figure, and whether it is met."""
    faults = sum(len(t.faults) for t in counted)
    caught = sum(t.count(CAUGHT) for t in counted)
    applied = sum(t.applied for t in counted)
    quiet = applied - sum(len(t.unrelated) for t in counted)
    fixes = sum(len(t.with_fix) for t in counted)
    fixed = sum(t.fixed for t in counted)
    triggered = sum(len(t.triggered) for t in counted)
    revealed = sum(len(t.revealed) for t in counted)
    return [
        (
            (
                f"at least {CAUGHT_GOAL * 100:.0f} % of the faults are caught by the rule that is "
                f"meant for them: {caught} of {faults}, {share(caught, faults)}"
            ),
            caught >= CAUGHT_GOAL * faults,
        ),
        (
            (
                f"no unrelated new finding in at least {QUIET_GOAL * 100:.0f} % of the mutants: "
                f"{quiet} of {applied}, {share(quiet, applied)}"
            ),
            quiet >= QUIET_GOAL * applied,
        ),
        (
            (
                "every safe or recommended fix leaves a file without that finding, and changes no "
                f"line but the broken one and those declared with the operator: {fixed} of {fixes}"
            ),
            fixed == fixes,
        ),
        (
            (
                "no safe or recommended fix brings a finding of any rule, info included, that "
                f"neither the original nor the mutant has: {triggered} of {fixes} do; {revealed} "
                "more reveal one that the training has with and without the fix"
            ),
            triggered == 0,
        ),
    ]


def goal_lines(counted: Sequence[Tally]) -> list[str]:
    lines = [f"- **{'met' if met else 'not met'}**: {words}" for words, met in goals(counted)]
    return [*lines, f"- Each operator counted once, whatever it applies to: {mean_share(counted)}."]


def mean_share(counted: Sequence[Tally]) -> str:
    """The mean over the operators of the share that is caught, and how many catch all."""
    shares = [tally.count(CAUGHT) / len(tally.faults) for tally in counted if tally.faults]
    if not shares:
        return "-"
    whole = sum(one == 1 for one in shares)
    return (
        f"{sum(shares) / len(shares) * 100:.1f} % caught; all by {whole} of {len(shares)} operators"
    )


def legend(counted: Sequence[Tally]) -> list[str]:
    """What each operator does; why many of its mutants are equivalent; what it waits for."""
    lines = []
    for tally in counted:
        operator = tally.operator
        line = f"- `{operator.name}`: {operator.what}."
        reasons = Counter(outcome.equivalent for outcome in tally.equivalents)
        if tally.applied and len(tally.equivalents) > MANY * tally.applied:
            most, number = reasons.most_common(1)[0]
            line += f" {operator.note}".rstrip() + f" Of {tally.applied} mutants {number}: {most}."
        reported = sum(outcome.said == CAUGHT for outcome in tally.equivalents)
        if reported:
            line += f" {reported} of the equivalents are reported all the same."
        lines.append(line)
    return lines


def waiting_lines(waiting: Sequence[Operator]) -> list[str]:
    return [
        f"- `{operator.name}`: {operator.what}. Not run: no rule {' or '.join(operator.expected)}."
        for operator in waiting
    ]


def missed_table(counted: Sequence[Tally]) -> list[str]:
    """A row for what one operator's faults in one repository are missed by, with one of them."""
    lines = [
        "| operator | repository | faults | one of them | what the plan reads otherwise | said |",
        "|---|---|---:|---|---|---|",
    ]
    for tally in counted:
        alike: dict[tuple[str, str], list[Outcome]] = {}
        for outcome in tally.faults:
            if outcome.said != CAUGHT:
                said = "nothing" if outcome.said == MISSED else "another rule"
                alike.setdefault((_repository(outcome.path), said), []).append(outcome)
        for (repository, said), outcomes in alike.items():
            first = outcomes[0]
            name = first.path.removeprefix(f"{repository}/")
            lines.append(
                f"| `{first.operator}` | {repository or '-'} | {len(outcomes)} | `{name}` "
                f"| {cell(first.read)} | {said} |"
            )
    return lines if len(lines) > 2 else ["None."]


def _repository(path: str) -> str:
    """`axolotl/owner__name` of a file of the corpus; the folder of one of the project's own."""
    return "/".join(path.split("/")[:-1][:2])


def missed_by_reading(counted: Sequence[Tally]) -> list[str]:
    """The misses of each operator, those of one reading counted together."""
    lines = []
    for tally in counted:
        readings = Counter(o.read for o in tally.faults if o.said != CAUGHT)
        lines += [
            f"{number:4} {tally.operator.name}: {read}" for read, number in readings.most_common()
        ]
    return lines


def unrelated_table(counted: Sequence[Tally]) -> list[str]:
    lines = ["| operator | file | new finding |", "|---|---|---|"]
    lines += [
        f"| `{outcome.operator}` | `{outcome.path}` | {cell(', '.join(outcome.unrelated))} |"
        for tally in counted
        for outcome in tally.unrelated
    ]
    return lines if len(lines) > 2 else ["None."]


def brought_table(counted: Sequence[Tally]) -> list[str]:
    """What fixes trigger, and what they reveal."""
    lines = ["| operator | file | new after the fix | |", "|---|---|---|---|"]
    lines += [
        f"| `{outcome.operator}` | `{outcome.path}` "
        f"| {cell(', '.join(outcome.triggered or outcome.revealed))} "
        f"| {'triggered' if outcome.triggered else 'revealed'} |"
        for some in ([t.triggered for t in counted], [t.revealed for t in counted])
        for outcomes in some
        for outcome in outcomes
    ]
    return lines if len(lines) > 2 else ["None."]


def broken_fixes(counted: Sequence[Tally]) -> list[str]:
    lines = ["| operator | file | what became of the fix |", "|---|---|---|"]
    lines += [
        f"| `{outcome.operator}` | `{outcome.path}` | {cell(outcome.fix)} |"
        for tally in counted
        for outcome in tally.outcomes
        if outcome.fix not in ("", RESTORED, MENDED)
    ]
    return lines if len(lines) > 2 else ["None."]


def cell(text: str) -> str:
    return text.replace("|", "\\|")
