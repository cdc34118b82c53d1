"""A fix of one rule brings no finding of another: in every rule's own bad example, as it stands and
with each of its numbers larger and smaller."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from test_rules import RULES, options_of

from gradaudit.audit import FileResult, audit_source
from gradaudit.findings import APPLICABILITIES, Finding
from gradaudit.fix.engine import fix_text
from gradaudit.options import Options
from gradaudit.rules import PROFILES, Rule
from gradaudit.rules.docs import parse
from gradaudit.settings import Settings
from gradaudit.source import Source
from gradaudit.syntax.tree import Tree

FIXABLE = [rule for rule in RULES.values() if parse(rule).applicabilities]
FACTORS = (0.0037, 0.013, 0.11, 0.23, 0.34, 0.52, 0.93, 1.5, 2, 3.1, 7, 10, 29)
"""Of a number in an example: some leave the rule's bounds, some end between two of its levels."""

_NUMBER = re.compile(r"(?m)^(?P<key>\s*[\w.-]+:\s+)(?P<number>-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)$")


def variations(text: str) -> Iterator[str]:
    """The example, and what becomes of it where one number is another."""
    yield text
    for found in _NUMBER.finditer(text):
        old = found["number"]
        for factor in FACTORS:
            value = float(old) * factor
            whole = not set(old) & set(".e")
            new = str(max(round(value), 1)) if whole else repr(value)
            if "e" in new and "." not in new:
                new = new.replace("e", ".0e")
            if new != old:
                yield text[: found.start("number")] + new + text[found.end("number") :]


def checked(source: Source, options: Options) -> FileResult:
    return audit_source(source, options, Settings())


def said_of(findings: list[Finding]) -> Counter[tuple[str, str]]:
    return Counter((finding.rule.code, finding.key or "") for finding in findings)


def brought(rule: Rule | None, text: str, line: str) -> Counter[tuple[str, str]]:
    """What is found after the fixes of one rule, or of all, at every level, and not before; with
    every rule at work, those of the pedantic profile too."""
    options = options_of(line)
    options.profile = PROFILES[-1]
    source = Source("example.yaml", text)
    before = checked(source, options)

    def find(source: Source) -> tuple[Tree, list[Finding]]:
        result = checked(source, options)
        assert result.tree is not None
        return result.tree, [f for f in result.findings if rule is None or f.rule is rule]

    outcome = fix_text(source, find, APPLICABILITIES)
    after = checked(Source("example.yaml", outcome.text), options)
    return said_of(after.findings) - said_of(before.findings)


@pytest.mark.parametrize("rule", FIXABLE, ids=lambda rule: f"{rule.code}-{rule.name}")
def test_a_fix_brings_no_finding(rule: Rule) -> None:
    doc = parse(rule)
    found = {text: new for text in variations(doc.bad) if (new := brought(rule, text, doc.options))}
    assert found == {}
