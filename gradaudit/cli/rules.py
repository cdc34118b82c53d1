"""`gradaudit rules` and `gradaudit explain`."""

from __future__ import annotations

import sys

from gradaudit.cli.common import fault
from gradaudit.render.output import use_color, width_of, write_lines
from gradaudit.rules import find, load
from gradaudit.settings import BadSettings, Finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.rules import Rule


def _plugins_here() -> tuple[str, ...]:
    """What the settings of this directory name; their rules are listed and explained too.

    Raises: BadSettings.
    """
    return Finder().for_file("config.yaml").plugins


def run_rules(format: str, color: str, symptom: str | None = None) -> int:
    from gradaudit.rules.docs import BadDocs

    try:
        plugins = _plugins_here()
        rules = [rule for rule in load().values() if rule.is_of(plugins)]
        if symptom is not None:
            return _by_symptom(rules, symptom, format, color)
        return _list(rules, format, color)
    except (BadSettings, BadDocs) as error:
        return fault(str(error))


def _by_symptom(rules: list[Rule], text: str, format: str, color: str) -> int:
    from gradaudit.rules.symptoms import SYMPTOMS, by_symptom, search

    phrases = search(text)
    if not phrases:
        known = "".join(f"\n  {phrase}" for phrase in SYMPTOMS)
        return fault(f"--symptom: no symptom is like {text!r}; there are:{known}")
    named = by_symptom(rules)
    found = {phrase: named[phrase] for phrase in phrases}
    if format == "json":
        return _list([r for r in rules if any(r in some for some in found.values())], format, color)
    from gradaudit.render.rules import symptom_list

    write_lines(symptom_list(found, width_of(sys.stdout)), use_color(color, sys.stdout))
    return 0


def _list(rules: list[Rule], format: str, color: str) -> int:
    from gradaudit.rules.docs import parse

    if format == "json":
        from gradaudit.render.json import written

        document = {
            "schema": 1,
            "rules": [
                {
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
                for rule in rules
            ],
        }
        sys.stdout.write(written(document) + "\n")
        return 0
    from gradaudit.render.rules import rule_list

    write_lines(rule_list(rules, width_of(sys.stdout)), use_color(color, sys.stdout))
    return 0


def run_explain(name: str, color: str) -> int:
    rule = find(name)
    if rule is None:
        from gradaudit.settings import unknown_selector

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
