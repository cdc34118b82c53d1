"""Which rules can judge which dialect: a page of all, a section on each dialect's page. Cold path:
only the site reads this."""

from __future__ import annotations

from typing import Any

from gradaudit.dialects import GENERIC
from gradaudit.dialects.compile import TIMES
from gradaudit.dialects.page import dialects
from gradaudit.dialects.schema import listed
from gradaudit.rules import load
from gradaudit.rules.docs import FAMILIES
from gradaudit.rules.symptoms import anchor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.rules import Rule

OUTSIDE = {
    "norm": "`--source` or `--assume`",
    "observed": "`--observed-grad-norm`",
    "record": "`--record`",
    "steps_per_epoch": "`--assume`",
    "world_size": "`--assume`",
}
"""What most configs cannot say, and by which option it is said instead."""

TIMED = {
    "warmup": {"warmup_steps", "warmup_epochs", "warmup_ratio", "warmup_tokens"},
    "length": {"total_steps", "epochs", "total_tokens"},
}
"""What a time string (`100ba`, `0.02dur`) becomes."""

YES, OPTION, NO = "●", "○", "·"
OTHER = "no framework"
SECTION = "Which rules judge it"


def settings_of(raw: dict[str, Any]) -> frozenset[str]:
    """The canonical settings that a dialect can find in a file, or knows the default of."""
    known = set()
    for name, spec in raw.get("settings", {}).items():
        spec = spec if isinstance(spec, dict) else {"from": spec}
        entries = [e if isinstance(e, dict) else {} for e in listed(spec.get("from", []))]
        for entry in entries:
            known.add(entry.get("as", name))
            known.update({entry["fraction_as"]} if "fraction_as" in entry else ())
        absents = [a if isinstance(a, dict) else {"value": a} for a in listed(spec.get("absent"))]
        if "compute" in spec or any(absent.get("value") is not None for absent in absents):
            known.add(name)
    for name in known & set(TIMES):
        known |= TIMED[name]
    if raw.get("loss_terms", {}).get("terms"):
        known.add("loss_terms")
    if "vocabulary" in raw:
        known |= {*GENERIC["kinds"], "loss_terms"}
    return derived({name for name in known if name in GENERIC["kinds"] or name == "loss_terms"})


def derived(known: set[str]) -> frozenset[str]:
    """These settings with those that follow from them, as the plan computes them."""
    more = set(known)
    if known >= {"beta1", "beta2"}:
        more.add("betas")
    if known >= {"micro_batch", "accumulation", "world_size"}:
        more.add("global_batch")
    if known >= {"global_batch", "world_size"}:
        more.add("micro_batch")
    return frozenset(more)


def missing(rule: Rule, known: frozenset[str]) -> list[tuple[str, ...]]:
    """The needs of a rule that none of these settings meets, each as the names that would do."""
    needs = [need if isinstance(need, tuple) else (need,) for need in rule.needs]
    if rule.scope == "record":
        needs.append(("record",))
    return [need for need in needs if known.isdisjoint(need)]


def mark(rule: Rule, known: frozenset[str]) -> str:
    if not missing(rule, known):
        return YES
    return NO if missing(rule, _told(known)) else OPTION


def _told(known: frozenset[str]) -> frozenset[str]:
    """What is known where the options say what they can."""
    return derived({*known, *OUTSIDE})


def table() -> dict[str, frozenset[str]]:
    """Dialect (`OTHER` first) -> the settings that it knows."""
    found = {OTHER: settings_of({"vocabulary": None})}
    for name, raw in dialects().items():
        found[name] = settings_of(raw)
    return found


def page() -> str:
    """The page: what holds everywhere, how many of each family by framework, then by rule."""
    rules = list(load().values())
    known = table()
    everywhere = [r for r in rules if all(not missing(r, have) for have in known.values())]
    others = [rule for rule in rules if rule not in everywhere]
    parts = [
        "# Which rules judge which framework",
        (
            "A rule is called where the settings that it needs are known: from the file, from "
            "what it is built on, from the framework's defaults. A framework that has no key for "
            "one of them, or none that gradaudit reads, cannot feed the rule. `gradaudit check "
            "--verbose` and `gradaudit show` say the same of one file, where a key may be absent."
        ),
        (
            "Some of it no file says, and an option says it instead: "
            + ", ".join(f"{option} for `{name}`" for name, option in OUTSIDE.items())
            + ". Whatever else is missing can be stated by `--assume`, but for `loss_terms`."
        ),
        "## In every framework",
        ", ".join(f"[{rule.code}]({rule.name}.md)" for rule in everywhere)
        + ": the file itself, its keys, and files that are read together.",
        "## By framework",
        (
            "How many of the other rules judge it; after the plus sign, those that need an option. "
            "The framework's page names them, and what is missing for the rest."
        ),
        _frameworks(others, known),
        "## By rule",
        "In how many of the frameworks a rule judges, those included that need an option.",
        _rules(others, known),
    ]
    return "\n\n".join(parts) + "\n"


def of_dialect(raw: dict[str, Any]) -> str:
    """The section of a dialect's page: which rules judge its files, and what others lack."""
    have = settings_of(raw)
    rules = list(load().values())
    marks = {rule.code: mark(rule, have) for rule in rules}
    lines = ["| | by what the file says | with an option |", "|---|---|---|"]
    for prefix, title in FAMILIES.items():
        family = [rule for rule in rules if rule.code.startswith(prefix)]
        cells = [_codes(r for r in family if marks[r.code] == wanted) for wanted in (YES, OPTION)]
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
        for need in missing(rule, _told(have)):
            wanted_by.setdefault(" or ".join(f"`{name}`" for name in need), []).append(rule)
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


def _frameworks(rules: list[Rule], known: dict[str, frozenset[str]]) -> str:
    """A row a dialect: of each family, how many of these rules judge it."""
    families = {prefix: [r for r in rules if r.code.startswith(prefix)] for prefix in FAMILIES}
    families = {prefix: named for prefix, named in families.items() if named}
    heads = [
        f"[{prefix}](index.md#{anchor(f'{prefix} {FAMILIES[prefix]}')}): {len(named)}"
        for prefix, named in families.items()
    ]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "--:|" * len(families)]
    for name, have in known.items():
        cells = [_count([mark(rule, have) for rule in named]) for named in families.values()]
        lines.append(f"| {_dialect(name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _count(marks: list[str]) -> str:
    sure, more = marks.count(YES), marks.count(OPTION)
    return f"{sure} + {more}" if more else str(sure)


FEW = 4
"""So few frameworks are named, not counted."""


def _rules(rules: list[Rule], known: dict[str, frozenset[str]]) -> str:
    """A row a rule: what it needs, and where that is known."""
    frameworks = {name: have for name, have in known.items() if name != OTHER}
    lines = [
        f"| rule | needs | of {len(frameworks)} frameworks |",
        "|---|---|---|",
    ]
    for rule in rules:
        where = [name for name, have in frameworks.items() if mark(rule, have) != NO]
        said = ", ".join(map(_dialect, where)) if 0 < len(where) <= FEW else str(len(where))
        lines.append(f"| [{rule.code}]({rule.name}.md) {rule.name} | {_needs(rule)} | {said} |")
    return "\n".join(lines)


def _needs(rule: Rule) -> str:
    needs = [need if isinstance(need, tuple) else (need,) for need in rule.needs]
    return ", ".join(" or ".join(f"`{name}`" for name in need) for need in needs)


def _dialect(name: str) -> str:
    if name == OTHER:
        return "none: by key names"
    return f"[{name}](../dialects/{name}.md#{anchor(SECTION)})"
