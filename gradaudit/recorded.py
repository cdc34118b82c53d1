"""The flow where there is a record: what it shows, and what it makes of the file's findings."""

from __future__ import annotations

from gradaudit.rules import limits_of, load
from gradaudit.rules.weighing import TELLS, weigh
from gradaudit.settings import is_selected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.audit import FileResult
    from gradaudit.findings import Finding
    from gradaudit.options import Calls, Options
    from gradaudit.rules import Rule
    from gradaudit.settings import Settings


def judge_record(
    result: FileResult,
    options: Options,
    settings: Settings,
    keep: Callable[[Finding, Rule, str, FileResult, Settings], None],
) -> None:
    """Call the rules on records for each unit, and weigh its findings.

    `keep` is the audit's own: how a finding is taken up.

    Raises:
        BadSettings: a rule of a plugin failed.
    """
    active = options.called(settings, "record")
    chosen = {rule.code for rule, _ in active}
    beside = _tellers(chosen, options, settings)
    for unit in result.units:
        have, off, _ = result.known[unit.name]
        have = have | off  # what the file switches off can be held against the run, too
        if any(measured.terms for measured in unit.measured):
            have.add("loss_terms")  # a weight's key may have a name that makes no loss by itself
        said = {finding.rule.code for finding in result.findings if finding.unit == unit.name}
        called = active + [pair for pair in beside if said & set(TELLS[pair[0].code])]
        for measured in unit.measured:
            for rule, limits in called:
                if rule.can_judge(have):
                    for finding in rule.call(measured, limits):
                        keep(finding, rule, unit.name, result, settings)
        own = [finding for finding in result.findings if finding.unit == unit.name]
        kept, withdrawn = weigh(
            own, unit.measured, set(settings.severity), limits_of("GA931", settings.limits)
        )
        result.withdrawn += withdrawn
        result.findings = [f for f in result.findings if f.unit != unit.name]
        result.findings += [f for f in kept if f.rule.scope != "record" or f.rule.code in chosen]


def _tellers(chosen: set[str], options: Options, settings: Settings) -> Calls:
    """Rules that measure the fault of a finding of the file, where `--select` leaves them out:
    their figures belong to that finding. Those that are ignored stay away."""
    ignored = options.ignore if options.ignore is not None else settings.ignore
    return [
        (rule, limits_of(code, settings.limits))
        for code, rule in load().items()
        if code in TELLS
        and code not in chosen
        and settings.severity.get(code) != "off"
        and is_selected(rule, None, ignored)
    ]
