"""Rules and dialects of other packages, found by entry points once a settings file names one.

Nothing here is imported otherwise: `importlib.metadata` costs more than a small check. What a
plugin brings is known to the whole process from then on, and takes part where settings name it.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import traceback

from gradaudit import rules
from gradaudit.dialects import GENERIC
from gradaudit.dialects.plugged import add_dialects
from gradaudit.dialects.schema import BadDialect
from gradaudit.findings import CONFIDENCES, SEVERITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.findings import Finding
    from gradaudit.rules import Limits, Rule

RULES, DIALECTS = "gradaudit.rules", "gradaudit.dialects"
"""The entry-point groups."""

_CODE = re.compile(r"[A-Z]{2,4}\d{3}\Z")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+\Z")
_SCOPES = ("file", "unit", "source")

_loaded: set[str] = set()
"""Packages whose plugins are in memory."""


class BadPlugin(Exception):
    """A plugin that cannot be used: names the package, what is wrong with it and the mend."""

    def __init__(self, package: str, problem: str) -> None:
        super().__init__(f"package `{package}`: {problem}")


def load_plugin(name: str) -> str:
    """Load the rules and dialects of an installed package; returns its name as pip compares it.

    Raises:
        BadPlugin: it is not installed, has no plugin, or what it brings cannot be used. Nothing of
            it is known then.
    """
    package = re.sub(r"[-_.]+", "-", name.strip()).lower()
    if package in _loaded:
        return package
    points = _entry_points(name, package)
    rules.load()
    known = dict(rules.RULES)
    before = frozenset(known)
    try:
        for point in points:
            if point.group == RULES:
                _import(point, package)
        added = [rule for code, rule in rules.RULES.items() if code not in before]
        if not added and any(point.group == RULES for point in points):
            raise BadPlugin(package, f"its entry points in `{RULES}` register no rule with `@rule`")
        for rule in added:
            _check(rule, package, known)
            known[rule.code] = rule
        folders = [_folder(point, package) for point in points if point.group == DIALECTS]
        try:
            add_dialects(folders, package)
        except BadDialect as error:
            raise BadPlugin(package, f"dialect {error} (see docs/dialects-howto.md)") from error
    except BadPlugin:
        for code in [code for code in rules.RULES if code not in before]:
            del rules.RULES[code]
        raise
    rules.sort()
    _loaded.add(package)
    return package


def _entry_points(name: str, package: str) -> list[importlib.metadata.EntryPoint]:
    """Its entry points in the two groups, in the order of their names."""
    try:
        distribution = importlib.metadata.distribution(name.strip())
    except (importlib.metadata.PackageNotFoundError, ValueError):
        from gradaudit.settings import did_you_mean

        there = tuple(
            {
                point.dist.name
                for group in (RULES, DIALECTS)
                for point in importlib.metadata.entry_points(group=group)
                if point.dist is not None
            }
        )
        raise BadPlugin(
            name,
            f"is not installed for {sys.executable}{did_you_mean(package, there)}; install it "
            "there, or take it out of `plugins`",
        ) from None
    points = [point for point in distribution.entry_points if point.group in (RULES, DIALECTS)]
    if not points:
        raise BadPlugin(
            package, f"is no plugin: it has no entry points in `{RULES}` or `{DIALECTS}`"
        )
    return sorted(points, key=lambda point: (point.group, point.name))


def _import(point: importlib.metadata.EntryPoint, package: str) -> object:
    """Import what an entry point names, whatever may go wrong in it."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error} ({where_raised(error)})"
        raise BadPlugin(
            package,
            f"its entry point `{point.name} = {point.value}` cannot be loaded: {said}; mend or "
            "update the package, or take it out of `plugins`",
        ) from error


def where_raised(error: BaseException) -> str:
    """`rules.py:12`, where an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "unknown"


def _folder(point: importlib.metadata.EntryPoint, package: str) -> str:
    """The directory of the package that a `gradaudit.dialects` entry point names."""
    module = _import(point, package)
    paths = [*getattr(module, "__path__", ())]
    if not paths:
        raise BadPlugin(
            package,
            f"its entry point `{point.name} = {point.value}` must name a package (a directory "
            "that holds the dialects' *.yaml)",
        )
    return str(paths[0])


def _check(rule: Rule, package: str, known: dict[str, Rule]) -> None:
    """Refuse a rule that the rest could not work with, and take it in."""
    rule.package = package

    def wrong(problem: str) -> BadPlugin:
        return BadPlugin(package, f"rule {rule.code} {rule.name}: {problem}")

    if not _CODE.match(rule.code) or rule.code.startswith("GA"):
        raise wrong(
            "a code is two to four capital letters, not beginning with GA, and three digits "
            "(ACME101)"
        )
    if not _NAME.match(rule.name):
        raise wrong("a name is words-with-hyphens, at least two")
    for other in known.values():
        if other.name == rule.name:
            of = f"package `{other.package}`" if other.package else "gradaudit"
            raise wrong(f"{other.code} of {of} has this name; choose another")
    if rule.scope not in _SCOPES:
        raise wrong(f"`scope` takes {' or '.join(_SCOPES)}")
    if ("source" in rule.needs) is not (rule.scope == "source"):
        raise wrong('`scope="source"` and "source" among the `needs` belong together')
    if not rule.severities or not set(rule.severities) <= set(SEVERITIES):
        raise wrong(f"`severities` takes some of {', '.join(SEVERITIES)}")
    if rule.confidence not in CONFIDENCES:
        raise wrong(f"`confidence` takes one of {', '.join(CONFIDENCES)}")
    if rule.profile not in rules.PROFILES:
        raise wrong(f"`profile` takes one of {', '.join(rules.PROFILES)}")
    settings = {*GENERIC["kinds"], "loss_terms", "observed", "source"}
    for need in rule.needs:
        for name in need if isinstance(need, tuple) else (need,):
            if name not in settings:
                from gradaudit.settings import did_you_mean

                hint = did_you_mean(name, tuple(settings))
                raise wrong(f"`needs`: no canonical setting is called `{name}`{hint}")
    rule.call = _guarded(rule)


def _guarded(rule: Rule) -> Callable[..., list[Finding]]:
    """The call of a plugin's rule: where it fails, the fault is said to be the plugin's."""

    def call(judged: object, limits: Limits) -> list[Finding]:
        try:
            found = list(rule.check(judged, limits))
            for finding in found:
                if finding.severity not in rule.severities or finding.confidence not in CONFIDENCES:
                    said = f"{finding.severity}, confidence {finding.confidence}"
                    raise ValueError(f"a finding of severity {said}: not what its decorator says")
            return found
        except Exception as error:
            from gradaudit.settings import BadSettings

            raise BadSettings(
                f"plugin `{rule.package}`: {rule.code} {rule.name} failed with "
                f"{type(error).__name__}: {error} ({where_raised(error)}); report it to its "
                f'authors; until then `ignore = ["{rule.code}"]`'
            ) from error

    return call
