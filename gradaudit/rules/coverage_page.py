"""The pages that say which rules judge which dialect: one of all, and a section on each dialect's
page. Only the site reads this."""

from __future__ import annotations

from typing import Any

from gradaudit.rules import load
from gradaudit.rules.coverage import (
    BESIDE,
    FILES,
    NO,
    OPTION,
    OTHER,
    OTHER_FILE,
    OUTSIDE,
    YES,
    lacking,
    mark,
    needs_of,
    settings_of,
    table,
    to_say,
)
from gradaudit.rules.docs import FAMILIES
from gradaudit.rules.symptoms import anchor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.rules import Rule

    Known = dict[str, frozenset[str]]

SECTION = "Which rules judge it"
"""The heading on a dialect's page that rows of the tables lead to."""


WIDEST = 22
"""Columns of a table: so many fit a window of 720 pixels (a test in a browser looks)."""


def page() -> str:
    """The page: how many rules of each family judge each framework, then a table for each family,
    a row a framework and a column a rule, and what those rules need."""
    known = table()
    rules = list(load().values())
    families = {prefix: [r for r in rules if r.code.startswith(prefix)] for prefix in FAMILIES}
    families = {prefix: family for prefix, family in families.items() if family}
    parts = [
        "# Which rules judge which framework",
        (
            "A rule is called where the settings that it needs are known: from the file, from "
            "what it is built on, from the framework's defaults. A framework that has no key for "
            "one of them, or none that gradaudit reads, cannot feed the rule. `gradaudit check "
            "--verbose` and `gradaudit show` say the same of one file, where a key may be absent; "
            "`gradaudit rules --dialect NAME` says it of one framework."
        ),
        "\n".join(
            [
                f"- {YES} judges it",
                f"- {OPTION} judges it where an option says what no file of the framework does: "
                + ", ".join(f"{option} for `{name}`" for name, option in OUTSIDE.items()),
                f"- {BESIDE} compares it with another file of its run",
                (
                    f"- {NO} cannot: a setting is missing. Most can be stated by `--assume`: not "
                    "`loss_terms`, and not where files are compared"
                ),
            ]
        ),
        (
            "Point at a mark, or tap it, to see what is missing. Below each table stands what its "
            "rules need; a framework's own page lists what is missing there."
        ),
        "## How many",
        (
            "Of each family, how many rules judge it; after the plus sign, those that need an "
            "option or another file."
        ),
        _laid_out("How many rules judge which framework", _counts(families, known), "counts"),
    ]
    for prefix, family in families.items():
        parts += [f"## {prefix} {FAMILIES[prefix]}", *_family(prefix, family, known)]
    return "\n\n".join(parts) + "\n"


def of_dialect(raw: dict[str, Any]) -> str:
    """The section of a dialect's page: which rules judge its files, and what others lack."""
    have = settings_of(raw)
    rules = list(load().values())
    marks = {rule.code: mark(rule, have) for rule in rules}
    lines = ["| | by what the file says | with an option or another file |", "|---|---|---|"]
    for prefix, title in FAMILIES.items():
        family = [rule for rule in rules if rule.code.startswith(prefix)]
        cells = [
            _codes(rule for rule in family if marks[rule.code] in wanted)
            for wanted in ((YES,), (OPTION, BESIDE))
        ]
        if any(cells):
            lines.append(f"| {prefix} {title} | {' | '.join(cells)} |")
    count = sum(kind != NO for kind in marks.values())
    parts = [
        f"## {SECTION}",
        f"{count} of {len(rules)}. [All frameworks, and which options](../rules/coverage.md).",
        "\n".join(lines),
    ]
    wanted_by: dict[str, list[Rule]] = {}
    for rule in rules:
        for need in lacking(rule, have):
            wanted_by.setdefault(_either(need), []).append(rule)
    if wanted_by:
        rows = [f"| {need} | {_codes(wanting)} |" for need, wanting in wanted_by.items()]
        parts += [
            (
                "For the others, settings are missing: the framework has no key for them, or none "
                "that gradaudit reads."
            ),
            "\n".join(["| missing setting | rules |", "|---|---|", *rows]),
        ]
    return "\n\n".join(parts) + "\n"


def _codes(rules: Iterable[Rule]) -> str:
    return ", ".join(f"[{rule.code}](../rules/{rule.name}.md)" for rule in rules)


def _counts(families: dict[str, list[Rule]], known: Known) -> str:
    """A row a dialect: of each family, how many rules judge it."""
    heads = []
    for prefix, family in families.items():
        title = FAMILIES[prefix]
        heads.append(f'[{prefix}: {len(family)}](#{anchor(f"{prefix} {title}")} "{title}")')
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(families)]
    for name, have in known.items():
        cells = [_count([mark(rule, have) for rule in family]) for family in families.values()]
        lines.append(f"| {_dialect(name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _laid_out(title: str, table: str, of: str = "marks") -> str:
    """A table as docs/extra.css lays it out: its first column and its headings stay in sight."""
    attributes = f'class="judges {of}" tabindex="0" role="region" aria-label="{title}"'
    return f"<div {attributes} markdown>\n\n{table}\n\n</div>"


def _count(marks: list[str]) -> str:
    sure, more = marks.count(YES), marks.count(OPTION) + marks.count(BESIDE)
    return f"{sure} + {more}" if more else str(sure)


def _family(prefix: str, family: list[Rule], known: Known) -> list[str]:
    """A family's table, or several where one would be too wide, and what its rules need."""
    title = f"{prefix} {FAMILIES[prefix]}: which rules judge which framework"
    tables = -(-len(family) // WIDEST)
    size = -(-len(family) // tables)
    parts = [
        _laid_out(title, _matrix(family[at : at + size], known))
        for at in range(0, len(family), size)
    ]
    if any(needs_of(rule) for rule in family):
        parts += [
            "In brackets: how many of the frameworks lack it.",
            _needs(family, known),
        ]
    return parts


def _matrix(family: list[Rule], known: Known) -> str:
    """A row a dialect, a column a rule. One row for all where each rule judges every dialect."""
    heads = [f'[{rule.code}]({rule.name}.md "{rule.name}")' for rule in family]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(family)]
    rows = {_dialect(name): [_cell(rule, have) for rule in family] for name, have in known.items()}
    if all(cell == YES for cells in rows.values() for cell in cells):
        rows = {"every framework, and none": [YES] * len(family)}
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join(lines)


def _cell(rule: Rule, known: frozenset[str]) -> str:
    """A mark; where more than the file is needed, with what that is."""
    kind = mark(rule, known)
    if kind == YES:
        return kind
    if kind == BESIDE:
        return f'<abbr title="beside {OTHER_FILE[rule.code]}">{kind}</abbr>'
    if kind == OPTION:
        said = "; ".join(
            f"say {FILES.get(name, name)}: {OUTSIDE[name]}" for name in to_say(rule, known)
        )
        return f'<abbr title="{said.replace("`", "")}">{kind}</abbr>'
    needs = "; ".join(f"no {_either(need)}" for need in lacking(rule, known))
    return f'<abbr title="{needs.replace("`", "")}">{kind}</abbr>'


def _needs(family: list[Rule], known: Known) -> str:
    """A row a rule: its name, what it needs and how many frameworks lack it, how many it judges."""
    frameworks = [have for name, have in known.items() if name != OTHER]
    lines = [f"| rule | needs | judges, of {len(frameworks)} |", "|---|---|--:|"]
    for rule in family:
        marks = [mark(rule, have) for have in frameworks]
        unmet = [need for have in frameworks for need in lacking(rule, have)]
        needs = [
            _either(need) + (f" ({unmet.count(need)})" if need in unmet else "")
            for need in needs_of(rule)
        ]
        name = f"[{rule.code}]({rule.name}.md) {rule.name}"
        lines.append(f"| {name} | {', '.join(needs) or 'nothing'} | {_count(marks)} |")
    return "\n".join(lines)


def _either(need: tuple[str, ...]) -> str:
    return " or ".join(FILES.get(name, f"`{name}`") for name in need)


def _dialect(name: str) -> str:
    if name == OTHER:
        return "none: by key names"
    return f"[{name}](../dialects/{name}.md#{anchor(SECTION)})"
