"""`gradaudit rules` and `gradaudit explain`."""

from __future__ import annotations

import sys

from gradaudit.cli.common import fault
from gradaudit.render.output import use_color, width_of, write_lines
from gradaudit.rules import find, load
from gradaudit.settings import BadSettings, Finder, did_you_mean, is_selected, unknown_selector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradaudit.render.layout import Line
    from gradaudit.rules import Rule


def _plugins_here() -> tuple[str, ...]:
    """What the settings of this directory name; their rules are listed and explained too.

    Raises: BadSettings.
    """
    return Finder().for_file("config.yaml").plugins


class Unknown(Exception):
    """A rule, symptom or dialect that there is not; exit code 2."""


def run_rules(
    format: str,
    color: str,
    symptom: str | None = None,
    selected: Sequence[str] = (),
    dialect: str | None = None,
) -> int:
    from gradaudit.rules.docs import BadDocs

    try:
        plugins = _plugins_here()
        rules = [rule for rule in load().values() if rule.is_of(plugins)]
        rules = _selected(rules, selected, plugins)
        found = None if symptom is None else _by_symptom(rules, symptom)
        if found is not None:
            rules = [rule for rule in rules if any(rule in some for some in found.values())]
        known = None if dialect is None else _settings_of(dialect, plugins)
        if format == "json":
            sys.stdout.write(_document(rules, dialect, known) + "\n")
        else:
            lines = _lines(rules, found, dialect, known, bool(selected))
            write_lines(lines, use_color(color, sys.stdout))
    except (BadSettings, BadDocs, Unknown) as error:
        return fault(str(error))
    return 0


def _selected(rules: list[Rule], selected: Sequence[str], plugins: tuple[str, ...]) -> list[Rule]:
    """Those that a code, a prefix or a name stands for, as `--select` takes them.

    Raises: Unknown.
    """
    words = [word for item in selected for word in item.split(",") if word.strip()]
    for word in words:
        problem = unknown_selector(word, plugins)
        if problem:
            raise Unknown(problem)
    if selected and not words:
        raise Unknown(f"{' '.join(selected)!r} names no rule; leave it out to list all")
    return [rule for rule in rules if is_selected(rule, words, [])] if words else rules


def _by_symptom(rules: list[Rule], text: str) -> dict[str, list[Rule]]:
    """Each symptom that these words mean, with those of the rules that know a cause of it.

    Raises: Unknown.
    """
    from gradaudit.rules.symptoms import SYMPTOMS, by_symptom, search

    phrases = search(text)
    if not phrases:
        known = "".join(f"\n  {phrase}" for phrase in SYMPTOMS)
        raise Unknown(f"--symptom: no symptom is like {text!r}; there are:{known}")
    named = by_symptom(rules)
    return {phrase: named[phrase] for phrase in phrases}


def _settings_of(dialect: str, plugins: tuple[str, ...]) -> frozenset[str]:
    """The settings that a dialect knows.

    Raises: Unknown.
    """
    from gradaudit.dialects import names

    known = names(plugins)
    if dialect not in known:
        hint = did_you_mean(dialect, known) or f"; there are: {', '.join(known)}"
        raise Unknown(f"--dialect: no dialect is called {dialect!r}{hint}")
    from gradaudit.rules.coverage import settings_of_named

    return settings_of_named(dialect)


def _lines(
    rules: list[Rule],
    found: dict[str, list[Rule]] | None,
    dialect: str | None,
    known: frozenset[str] | None,
    narrowed: bool,
) -> list[Line]:
    width = width_of(sys.stdout)
    if dialect is not None and known is not None:
        from gradaudit.render.rules_of_dialect import dialect_list

        return dialect_list(rules, dialect, known, width)
    from gradaudit.render.rules import rule_list, symptom_list

    if found is not None:
        return symptom_list(found, width, narrowed)
    return rule_list(rules, width)


def _document(rules: list[Rule], dialect: str | None, known: frozenset[str] | None) -> str:
    from gradaudit.render.json import written

    document: dict[str, object] = {"schema": 1}
    if dialect is not None:
        document["dialect"] = dialect
    document["rules"] = [_row(rule) | _judged(rule, known) for rule in rules]
    return written(document)


def _row(rule: Rule) -> dict[str, object]:
    from gradaudit.rules.docs import parse

    return {
        "code": rule.code,
        "name": rule.name,
        "scope": rule.scope,
        "severities": list(rule.severities),
        "confidence": rule.confidence,
        "profile": rule.profile,
        "needs": [list(n) if isinstance(n, tuple) else n for n in rule.needs],
        "thresholds": {key.replace("_", "-"): v for key, v in rule.limits.items()},
        "title": parse(rule).title,
        "symptoms": list(parse(rule).symptoms),
        "url": rule.url or None,
        "plugin": rule.package or None,
    }


def _judged(rule: Rule, known: frozenset[str] | None) -> dict[str, object]:
    """With `--dialect`: whether it can judge, what no option says, what an option has to say."""
    if known is None:
        return {}
    from gradaudit.rules.coverage import BESIDE, NO, OPTION, YES, lacking, mark, to_say

    missing = [need[0] if len(need) == 1 else list(need) for need in lacking(rule, known)]
    judges = {YES: "yes", OPTION: "option", BESIDE: "beside", NO: "no"}[mark(rule, known)]
    return {"judges": judges, "missing": missing, "to_say": list(to_say(rule, known))}


def run_explain(name: str, color: str) -> int:
    rule = find(name)
    if rule is None:
        try:
            plugins = _plugins_here()
        except BadSettings as error:
            return fault(str(error))
        rule = find(name, plugins)
    if rule is None:
        problem = unknown_selector(name, plugins)
        if problem:
            return fault(problem)
        family = [
            r.code
            for r in load().values()
            if r.is_of(plugins) and r.code.startswith(name.strip().upper())
        ]
        return fault(f"{name!r} is a family: explain one of {', '.join(family)}")
    from gradaudit.render.rules import rule_page
    from gradaudit.rules.docs import BadDocs

    try:
        lines = rule_page(rule, width_of(sys.stdout))
    except BadDocs as error:  # a rule in the making: its author is the reader
        return fault(str(error))
    write_lines(lines, use_color(color, sys.stdout))
    return 0
