"""The screen of `rules --dialect`: which rules can judge a framework's files, and what the others
lack."""

from __future__ import annotations

from gradaudit.render.layout import PROSE, clean, piece, wrap
from gradaudit.render.rules import by_family, closing, grouped
from gradaudit.rules.coverage import (
    BESIDE,
    FILES,
    NO,
    OPTION,
    OTHER_FILE,
    OUTSIDE,
    YES,
    lacking,
    mark,
    to_say,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.render.layout import Line
    from gradaudit.rules import Rule


def dialect_list(rules: list[Rule], dialect: str, known: frozenset[str], width: int) -> list[Line]:
    """How many of the rules can judge; those that can; those that can where an option says more;
    those that cannot, with the settings that they lack."""
    of = {kind: [r for r in rules if mark(r, known) == kind] for kind in (YES, OPTION, BESIDE, NO)}
    sure, more = len(of[YES]), len(of[OPTION]) + len(of[BESIDE])
    total = f"{len(rules)} rule" + ("s" if len(rules) != 1 else "")
    text = f"{dialect}: {sure + more} of {total} can judge its files"
    text += f", {more} of them with an option or another file." if more else "."
    lines: list[Line] = [[piece(line)] for line in wrap(clean(text), width)]
    if of[YES]:
        lines += [[], *grouped(by_family(of[YES]), width)]
    lines += _section(
        "With an option, which says what the files do not",
        [(rule, _said(rule, known)) for rule in of[OPTION]],
        width,
    )
    lines += _section(
        "Beside another file of the run, with which they compare it",
        [(rule, OTHER_FILE[rule.code]) for rule in of[BESIDE]],
        width,
    )
    lines += _section(
        "Cannot: no key says these settings, or none that gradaudit reads",
        [(rule, _lacks(rule, known)) for rule in of[NO]],
        width,
    )
    if of[NO]:
        text = (
            "Most of these can be stated by `--assume`: not loss_terms, and not where files are "
            "compared."
        )
        lines += [[], *([piece(line)] for line in wrap(text, width))]
    return [*lines, *closing(rules, width)]


def _section(heading: str, rows: list[tuple[Rule, str]], width: int) -> list[Line]:
    if not rows:
        return []
    lines: list[Line] = [[]]
    lines += [[piece(line, "heading")] for line in wrap(heading, width)]
    for rule, text in rows:
        indent = "  " + " " * len(rule.code) + "  "
        first, *more = wrap(f"{rule.name}: {text}", min(width, len(indent) + PROSE), indent)
        lines.append(
            [piece("  "), piece(rule.code, "code", rule.url), piece(f"  {first.lstrip()}")]
        )
        lines += [[piece(line)] for line in more]
    return lines


def _said(rule: Rule, known: frozenset[str]) -> str:
    return "; ".join(f"{FILES.get(name, name)} by {OUTSIDE[name]}" for name in to_say(rule, known))


def _lacks(rule: Rule, known: frozenset[str]) -> str:
    return "; ".join(
        " or ".join(FILES.get(name, name) for name in need) for need in lacking(rule, known)
    )
