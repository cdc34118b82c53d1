"""The whole flow in one page: text, tree, units, rules, findings."""

from __future__ import annotations

import os

from gradaudit.dialects import GENERIC, is_training_config
from gradaudit.findings import ERROR, HIGH, INFO, Finding, Place
from gradaudit.plan.build import build_units
from gradaudit.plan.facts import add_facts
from gradaudit.rules import load, missing_needs
from gradaudit.settings import is_selected, matches
from gradaudit.source import Source, Unreadable, read
from gradaudit.suppress import suppressions
from gradaudit.syntax import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.observed import Observed
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits, Rule
    from gradaudit.settings import Finder, Settings
    from gradaudit.syntax.tree import Tree

    Audited = tuple[Tree, list[TrainingUnit]]

_MARKERS = ("learning_rate", "lr:", "batch_size", "optimizer", "max_epochs", "num_train_epochs")
"""An unparsable file of a directory that has none of these is no training config."""


class Options:
    """What the command line says about every file.

    select, ignore  replace those of the settings file where given.
    overrides       (dotted key, text) of each `--set`. assume: setting -> text of `--assume`.
    sources         (unit or None, path) of each `--source`.
    unit            the unit that the evidence is of.
    """

    def __init__(self) -> None:
        self.select: list[str] | None = None
        self.ignore: list[str] | None = None
        self.overrides: list[tuple[str, str]] = []
        self.assume: dict[str, str] = {}
        self.sources: list[tuple[str | None, str]] = []
        self.observed: Observed | None = None
        self.unit: str | None = None


class FileResult:
    """What an audit of one file found.

    skipped     why a file of a directory was not judged; empty if it was.
    suppressed  findings silenced by comments or settings.
    not_judged  unit name -> (rule, what it would need).
    problems    what the command line asked of this file and could not be done.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.source: Source | None = None
        self.tree: Tree | None = None
        self.units: list[TrainingUnit] = []
        self.findings: list[Finding] = []
        self.suppressed = 0
        self.skipped = ""
        self.not_judged: dict[str, list[tuple[Rule, list[str]]]] = {}
        self.problems: list[str] = []


def audit_path(path: str, options: Options, finder: Finder, named: bool = True) -> FileResult:
    """Audit a file.

    Raises:
        OSError: it cannot be read. settings.BadSettings: its settings cannot be used.
    """
    try:
        source = read(path)
    except Unreadable as error:
        source = Source(path, "")
        return unparsable(source, error, options, finder.for_file(path), named)
    return audit_source(source, options, finder.for_file(path), named)


def audit_source(
    source: Source, options: Options, settings: Settings, named: bool = True
) -> FileResult:
    """Audit text that is already read: the one way in for files, standard input and fixes."""
    result = FileResult(source.path)
    result.source = source
    try:
        tree = parse(source)
    except Unreadable as error:
        return unparsable(source, error, options, settings, named)
    result.tree = tree
    result.problems = add_overrides(tree, options)
    result.units = build_units(tree, GENERIC)
    if not named:
        known = {name for unit in result.units for name in unit.settings}
        if not is_training_config(known):
            result.skipped = "no training settings in it"
            return result
    result.problems += add_facts(result.units, source.path, options, settings)
    ran = _run_rules(result, options, settings)
    result.findings.sort(key=_file_order)
    _suppress(result, settings, ran)
    return result


def add_overrides(tree: Tree, options: Options) -> list[str]:
    if not options.overrides:
        return []
    from gradaudit.syntax.override import override

    problems = []
    for key, text in options.overrides:
        node = override(tree, key, text)
        if node is None:
            section = key.rpartition(".")[0]
            problems.append(f"--set {key}: the file has no section `{section}`")
        else:
            tree.overridden.add(id(node))
    return problems


def active_rules(options: Options, settings: Settings) -> list[Rule]:
    select = options.select if options.select is not None else settings.select
    ignore = options.ignore if options.ignore is not None else settings.ignore
    return [
        rule
        for rule in load().values()
        if is_selected(rule, select, ignore) and settings.severity.get(rule.code) != "off"
    ]


def _run_rules(result: FileResult, options: Options, settings: Settings) -> set[tuple[str, str]]:
    """Call every rule whose needs are met; returns (code, unit) of those that ran."""
    ran: set[tuple[str, str]] = set()
    rules = active_rules(options, settings)
    tree = result.tree
    assert tree is not None
    for rule in rules:
        if rule.scope == "file":
            ran.add((rule.code, ""))
            limits = _limits(rule, settings)
            for finding in rule.check(tree, limits):
                _keep(finding, rule, _unit_at(result.units, finding), result, settings)
    for unit in result.units:
        have = {name for name, setting in unit.settings.items() if setting.value is not None}
        if unit.loss_terms:
            have.add("loss_terms")
        if unit.observed is not None:
            have.add("observed")
        for rule in rules:
            if rule.scope != "unit":
                continue
            missing = missing_needs(rule, have)
            if missing:
                result.not_judged.setdefault(unit.name, []).append((rule, missing))
                continue
            ran.add((rule.code, unit.name))
            for finding in rule.check(unit, _limits(rule, settings)):
                _keep(finding, rule, unit.name, result, settings)
    return ran


def _limits(rule: Rule, settings: Settings) -> Limits:
    changed = settings.limits.get(rule.code)
    return {**rule.limits, **changed} if changed else rule.limits


def _unit_at(units: list[TrainingUnit], finding: Finding) -> str | None:
    """The innermost unit around a file-wide finding."""
    inside = [
        unit for unit in units if unit.mapping.start <= finding.place.start < unit.mapping.end
    ]
    return max(inside, key=lambda unit: unit.mapping.start).name if inside else None


def _keep(
    finding: Finding, rule: Rule, unit: str | None, result: FileResult, settings: Settings
) -> None:
    finding.rule = rule
    finding.unit = unit
    severity = settings.severity.get(rule.code)
    if severity is not None:
        finding.severity = severity
    for other in result.findings:  # two units that share a section report its fault once
        if other.rule is rule and other.place.start == finding.place.start and (
            other.place.source is finding.place.source and other.message == finding.message
        ):
            return
    result.findings.append(finding)


def _file_order(finding: Finding) -> tuple[int, int, str]:
    return (*finding.place.source.position(finding.place.start), finding.rule.code)


def _suppress(result: FileResult, settings: Settings, ran: set[tuple[str, str]]) -> None:
    """Drop what comments and settings silence, and report comments that silence nothing."""
    tree = result.tree
    assert tree is not None
    comments = suppressions(tree)
    if not comments and not settings.per_file_ignores and not settings.per_key_ignores:
        return
    relative = settings.relative(result.path)
    ignored_here = [
        code
        for pattern, codes in settings.per_file_ignores.items()
        if matches(pattern, relative)
        for code in codes
    ]
    kept = []
    for finding in result.findings:
        line = finding.place.line
        silenced = [c for c in comments if c.covers(line, finding.rule)]
        for comment in silenced:
            comment.used = True
        if (
            silenced
            or not is_selected(finding.rule, None, ignored_here)
            or _key_ignored(finding, relative, settings)
        ):
            result.suppressed += 1
        else:
            kept.append(finding)
    result.findings = kept
    unused = load()["GA002"]
    for comment in comments:
        judged = {code for code, _ in ran}
        names_what_ran = any(
            code in judged for code, rule in load().items() if comment.codes and _names(comment.codes, rule)
        )
        if comment.used or not names_what_ran:
            continue
        named = ", ".join(comment.codes)
        finding = Finding(
            Place(tree.source, comment.start, comment.end),
            f"suppresses nothing: no {named} here",
            severity=settings.severity.get("GA002", INFO),
            confidence=HIGH,
            label="delete this comment",
            why=["It would hide the next such fault on this line, which nobody has looked at."],
            no_fix="the comment may hold words worth keeping",
        )
        finding.rule = unused
        if settings.severity.get("GA002") != "off" and is_selected(unused, None, ignored_here):
            result.findings.append(finding)


def _names(codes: list[str], rule: Rule) -> bool:
    return any(rule.code.startswith(code.upper()) or rule.name == code.lower() for code in codes)


def _key_ignored(finding: Finding, relative: str, settings: Settings) -> bool:
    key = finding.key
    if key is None:
        return False
    for pattern, codes in settings.per_key_ignores.items():
        file_glob, colon, wanted = pattern.rpartition(":")
        if colon and not matches(file_glob, relative):
            continue
        if (key == wanted or key.startswith(wanted + ".")) and not is_selected(
            finding.rule, None, codes
        ):
            return True
    return False


def unparsable(
    source: Source, error: Unreadable, options: Options, settings: Settings, named: bool
) -> FileResult:
    result = FileResult(source.path)
    result.source = source
    if not named and not any(marker in source.text for marker in _MARKERS):
        result.skipped = "does not parse, and bears no mark of a training"
        return result
    rule = load()["GA001"]
    start = source.offset(error.line, error.column)
    line_end = source.offset(error.line) + len(source.line(error.line))
    finding = Finding(
        Place(source, min(start, line_end), min(start + 1, max(line_end, start))),
        error.message,
        severity=settings.severity.get("GA001", ERROR),
        confidence=HIGH,
        label="here",
        why=["Nothing in this file was judged, and nothing in it will be edited."],
    )
    finding.rule = rule
    relative = settings.relative(source.path)
    ignored = [
        code
        for pattern, codes in settings.per_file_ignores.items()
        if matches(pattern, relative)
        for code in codes
    ]
    if rule in active_rules(options, settings) and is_selected(rule, None, ignored):
        result.findings.append(finding)
    else:
        result.suppressed += 1
    return result


def same_file(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False
