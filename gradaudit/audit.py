"""The whole flow in one page: text, tree, units, rules, findings."""

from __future__ import annotations

from gradaudit.compose import compose
from gradaudit.compose.identify import identify
from gradaudit.dialects import is_training_config, may_train
from gradaudit.dialects.foreign import is_of_another_format, is_of_another_tool
from gradaudit.findings import CONFIDENCES, ERROR, HIGH, Finding, Place
from gradaudit.plan.build import build_units
from gradaudit.plan.facts import add_facts
from gradaudit.plan.model import DEFAULT, EVERY_TRAINING, SourceOfUnit
from gradaudit.rules import load, missing_needs
from gradaudit.settings import is_selected
from gradaudit.source import Source, Unreadable, read
from gradaudit.syntax import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.compose.model import Composed
    from gradaudit.dialects.recognise import Recognised
    from gradaudit.options import Calls, Options
    from gradaudit.plan.linked import Pair
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Rule
    from gradaudit.settings import Finder, Settings
    from gradaudit.syntax.tree import Tree

    Audited = tuple[Tree, list[TrainingUnit]]

_MARKERS = ("learning_rate", "lr:", "batch_size", "optimizer", "max_epochs", "num_train_epochs")
"""An unparsable file of a directory that has none of these is no training config."""

MARK = "gradaudit:"
"""What every suppression comment holds."""


class FileResult:
    """What an audit of one file found.

    skipped     why a file of a directory was not judged; empty if it was.
    suppressed  findings silenced by comments or settings.
    unsure      findings left out because they are below the confidence asked for.
    earlier     findings left out because an earlier revision had them (`--since`).
    known       unit name -> (what is known of it, what is known to be off, the rules that ran or
                would need more).
    problems    what the command line asked of this file and could not be done.
    withdrawn   findings that a record speaks against, each with what it shows.
    said        (code, id of the source, offset, message) of each finding.
    recognised  the dialect with the reasons. composed: the file with what it is built on.
    part_of     the first file of the run that this one is read in; empty where there is none.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.source: Source | None = None
        self.tree: Tree | None = None
        self.composed: Composed | None = None
        self.recognised: Recognised | None = None
        self.part_of = ""
        self.units: list[TrainingUnit] = []
        self.findings: list[Finding] = []
        self.said: set[tuple[str, int, int, str]] = set()
        self.suppressed = 0
        self.unsure = 0
        self.earlier = 0
        self.skipped = ""
        self.known: dict[str, tuple[set[str], set[str], Calls]] = {}
        self.problems: list[str] = []
        self.withdrawn: list[tuple[Finding, str]] = []

    @property
    def not_judged(self) -> dict[str, list[tuple[Rule, list[str]]]]:
        """Unit name -> (rule, what it would need).

        What is known to be off is not unknown: such a rule has nothing to judge. Nor has one whose
        setting nobody speaks of, where a training may be without.
        """
        unknown = {unit.name: unit.unknown for unit in self.units}
        return {
            name: missing
            for name, (have, off, rules) in self.known.items()
            if (
                missing := [
                    (rule, needs)
                    for rule, _ in rules
                    if not rule.can_judge(have)
                    and not (off and rule.can_judge(have | off))
                    and (needs := missing_needs(rule, have))
                    and _are_worth_asking(needs, unknown.get(name, {}))
                ]
            )
        }


def _are_worth_asking(needs: list[str], unknown: dict[str, str]) -> bool:
    """Whether each need is of every training, or somebody wrote something of it.

    Where nobody speaks of an adapter there is none, and nothing is missing.
    """
    asked = {*EVERY_TRAINING, *unknown}
    return all(not asked.isdisjoint(need.split(" or ")) for need in needs)


def audit_path(path: str, options: Options, finder: Finder, named: bool = True) -> FileResult:
    """Audit a file.

    Raises:
        OSError: it cannot be read. settings.BadSettings: its settings cannot be used.
    """
    try:
        source = read(path)
    except Unreadable as error:
        source = Source(path, error.text)
        return unparsable(source, error, options, finder.for_file(path), named)
    return audit_source(source, options, finder.for_file(path), named)


def audit_source(
    source: Source, options: Options, settings: Settings, named: bool = True
) -> FileResult:
    """Audit text that is already read: the one way in for files, standard input and fixes."""
    result = FileResult(source.path)
    result.source = source
    if not named:
        if is_of_another_tool(source.path):
            result.skipped = "a file of another tool, by its name"
            return result
        if not may_train(source.text):
            result.skipped = "no training settings in it"
            return result
    opener = options.opener_for(source.path)
    try:
        # What the command line sets is written into the tree: such a one is nobody else's.
        if opener is None or options.overrides:
            tree = parse(source)
        else:
            tree = opener.parse(source)
        result.source = source = tree.source
        part = source.path in options.run
        chosen = settings.dialect_of(source.path)
        dialect, recognised = identify(
            tree, opener, chosen, options.run_dialect if part else "", settings.plugins
        )
        foreign = not recognised.weight and not chosen and is_of_another_format(tree)
        composed = compose(tree, dialect, opener)
        if options.overrides:
            several = composed if len(composed.trees) > 1 else None
            result.problems = add_overrides(tree, options, several)
            composed = compose(tree, dialect, opener)
        if part and source.path == options.run[0]:
            composed = _with_run(composed, options)
        elif part:
            result.part_of = options.run[0]  # judged as a file: its settings are the first one's
        if not foreign and not result.part_of:
            result.units = build_units(composed)
    except Unreadable as error:
        return unparsable(source, error, options, settings, named)
    result.tree = tree
    result.composed = composed
    result.recognised = recognised
    if foreign:
        result.skipped = "" if named else "a file of another tool, by what it holds"
        return result
    if not named and not recognised.weight:
        known = {
            name
            for unit in result.units
            for name, setting in unit.settings.items()
            if setting.origin != DEFAULT
        }
        if not is_training_config(known):
            result.skipped = "no training settings in it"
            return result
    result.problems += add_facts(result.units, source.path, options, settings)
    _run_rules(result, options, settings)
    result.findings.sort(key=_file_order)
    _suppress(result, options, settings)
    _drop_unsure(result, options, settings)
    return result


def _with_run(composed: Composed, options: Options) -> Composed:
    """The whole run, which the first of its files stands for."""
    from gradaudit.compose.runs import merge_run

    path = composed.tree.source.path
    opener = options.opener_for(path)
    assert opener is not None
    files = [
        composed if other == path else compose(opener.open(other), composed.dialect, opener)
        for other in options.run
    ]
    return merge_run(files)


def add_overrides(tree: Tree, options: Options, whole: Composed | None = None) -> list[str]:
    """Set what the command line sets; returns what could not be set.

    `whole` is the file with its bases, where it has some: a section may stand in one of them only.
    """
    if not options.overrides:
        return []
    from gradaudit.syntax.override import Misspelt, open_sections, override

    problems = []
    for key, text in options.overrides:
        try:
            if whole is not None and whole.roots:
                open_sections(tree, key, whole.roots[0])
            node = override(tree, key, text)
        except Misspelt as error:
            problems.append(f"--set {key}: there is no such key; did you mean `{error.meant}`?")
            continue
        if node is None:
            section = key.rpartition(".")[0]
            problems.append(f"--set {key}: the file has no section `{section}`")
        else:
            tree.overridden.add(id(node))
    tree.forget_names()
    return problems


def _run_rules(result: FileResult, options: Options, settings: Settings) -> None:
    """Call every rule whose needs are met.

    Raises:
        BadSettings: a rule of a plugin failed.
    """
    unit_rules = options.called(settings, "unit")
    composed = result.composed
    assert composed is not None
    for rule, limits in options.called(settings, "file"):
        for finding in rule.call(composed, limits):
            _keep(finding, rule, _unit_at(result.units, finding), result, settings)
    for unit in result.units:
        have = {name for name, setting in unit.settings.items() if setting.value is not None}
        off = unit.settings.keys() - have if len(have) < len(unit.settings) else set()
        if unit.loss_terms:
            have.add("loss_terms")
        if unit.observed is not None:
            have.add("observed")
        result.known[unit.name] = have, off, unit_rules
        for rule, limits in options.judging(settings, frozenset(have)):
            for finding in rule.call(unit, limits):
                _keep(finding, rule, unit.name, result, settings)
        for code in unit.sources:
            both = SourceOfUnit(unit, code)
            for rule, limits in options.called(settings, "source"):
                if rule.can_judge(have | {"source"}):
                    for finding in rule.call(both, limits):
                        _keep(finding, rule, unit.name, result, settings)
    for pair in _pairs(result, options):
        for rule, limits in options.called(settings, "run"):
            for finding in rule.call(pair, limits):
                _keep(finding, rule, _unit_at(result.units, finding), result, settings)
    if any(unit.measured for unit in result.units):
        from gradaudit.recorded import judge_record

        judge_record(result, options, settings, _keep)


def _pairs(result: FileResult, options: Options) -> Iterator[Pair]:
    """The config beside each other file that its run reads by a dialect of its own."""
    composed = result.composed
    assert composed is not None
    links = composed.dialect["compose"].get("links", ())
    if any(
        "dialect" in link and any(link["key"] in tree.names for tree in composed.trees)
        for link in links
    ):
        from gradaudit.plan.linked import linked_pairs

        yield from linked_pairs(composed)
    path = options.launched.get(result.path)
    if path is not None and len(result.units) == 1:
        from gradaudit.dialects import load as load_dialect
        from gradaudit.plan.linked import Pair

        opener = options.opener_for(path)
        assert opener is not None
        launcher = compose(opener.open(path), load_dialect("accelerate"), opener)
        for unit in build_units(launcher)[:1]:
            yield Pair(result.units[0], unit, "launcher")
    if any("resume" in unit.settings for unit in result.units):
        opener = options.opener_for(result.path)
        if opener is not None:
            from gradaudit.plan.saved import saved_pairs

            yield from saved_pairs(result.units, opener)


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
    place = finding.place
    if result.composed is not None and place.source is not result.source:
        _say_where_inherited(finding, result.composed)
    if finding.fix is not None and result.composed is not None:
        _drop_impossible_fix(finding, result.composed.tree)
    said = (rule.code, id(place.source), place.start, finding.message)
    if said not in result.said:  # two units that share a section report its fault once
        result.said.add(said)
        result.findings.append(finding)


def _drop_impossible_fix(finding: Finding, tree: Tree) -> None:
    """What `fix` would refuse is not offered: it says why instead."""
    if tree.format == "python":
        finding.fix = None
        finding.no_fix = "Python configs are checked, not edited"
    elif tree.source.encoding != "utf-8":
        finding.fix = None
        finding.no_fix = f"the file is {tree.source.encoding.upper()}: save it as UTF-8 first"


def _say_where_inherited(finding: Finding, composed: Composed) -> None:
    """A finding in a base file: by which chain it comes here, and why it is not mended there."""
    found = [tree for tree in composed.trees if tree.source is finding.place.source]
    if not found:
        return  # the Python source
    chain = " -> ".join(tree.source.path for tree in composed.lineage(found[0]))
    finding.evidence = (*finding.evidence, f"inherited: {chain}")
    if finding.fix is None and not finding.no_fix:
        finding.no_fix = (
            f"the value stands in {finding.place.source.path}, which other configs may share: "
            "edit it there, or override it here"
        )


def _file_order(finding: Finding) -> tuple[int, int, str]:
    return (*finding.place.source.position(finding.place.start), finding.rule.code)


def _suppress(result: FileResult, options: Options, settings: Settings) -> None:
    assert result.tree is not None
    if (
        MARK in result.tree.source.text
        or settings.per_file_ignores
        or settings.per_key_ignores
        or any(MARK in code.source.text for unit in result.units for code in unit.sources)
    ):
        from gradaudit.silencing import drop_silenced

        drop_silenced(result, options, settings)
        result.findings.sort(key=_file_order)


def _drop_unsure(result: FileResult, options: Options, settings: Settings) -> None:
    """Drop what is less sure than asked for. Comments come first: one that silences such a finding
    is none that silences nothing."""
    least = options.min_confidence or settings.min_confidence
    if least == CONFIDENCES[0]:
        return
    sure = CONFIDENCES[CONFIDENCES.index(least) :]
    kept = [finding for finding in result.findings if finding.confidence in sure]
    result.unsure = len(result.findings) - len(kept)
    result.findings = kept


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
    from gradaudit.silencing import ignored_in

    ignored = ignored_in(settings.shown_to_globs(source.path), settings)
    if rule in options.active_rules(settings) and is_selected(rule, None, ignored):
        result.findings.append(finding)
    else:
        result.suppressed += 1
    return result
