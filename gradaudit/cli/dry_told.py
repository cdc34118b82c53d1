"""What `fix` makes of the record of a dry run: the screen promises that, and nothing else."""

from __future__ import annotations

from gradaudit.evidence.statistics import series_quantile
from gradaudit.findings import RECOMMENDED, SAFE
from gradaudit.fixing import fix_bytes
from gradaudit.options import Options
from gradaudit.plan.terms import shares_of
from gradaudit.render.dryrun_advice import NO_KEY
from gradaudit.rules import limits_of, load
from gradaudit.rules.recorded_threshold import NOT_PLAIN, PERCENTILE, clip_fix, recommended
from gradaudit.rules.repair import change
from gradaudit.rules.term_weights import not_plain, unlike_text
from gradaudit.rules.text import listed
from gradaudit.rules.weighing import MOVE_THE_NORM
from gradaudit.source import MAX_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.dry_run import DryRun
    from gradaudit.evidence.record import Record
    from gradaudit.findings import Finding
    from gradaudit.fix.engine import Applied
    from gradaudit.fixing import Fixed
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import Setting
    from gradaudit.plan.terms import TermShare
    from gradaudit.rules import Limits
    from gradaudit.settings import Finder

WEIGHTS = ("GA961", "GA964", "GA401", "GA402", "GA403")
"""Rules whose findings say why a measured weight is not written, those that know most first."""


def tell(run: DryRun, path: str, unit: str, record: Record, finder: Finder) -> None:
    """Run the fix that the screen names on the file as it is now, and write into `run` what it
    does and what it leaves.

    Raises: OSError where the file cannot be read any more; settings.BadSettings.
    """
    options = Options()
    options.record, options.named = record, (path,)
    options.unit = unit  # without it a record that is like several units is none's
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    settings = finder.for_file(path)
    fixed = fix_bytes(data, path, options, settings, (SAFE, RECOMMENDED), True)
    measured = _measured(fixed, unit)
    if measured is None:
        return
    findings = [f for f in fixed.before.findings if f.unit in (unit, None)]
    applied = fixed.outcome.applied if fixed.outcome is not None else []
    edited = {edit.key for one in applied for edit in one.fix.edits}
    shares = {share.name: share for share in shares_of(measured)} if measured.terms else {}
    weights = {share.setting.key for share in shares.values() if share.setting is not None}
    for advice in run.balance.to_apply:
        share = shares.get(advice.name)
        if share is None or share.setting is None:
            run.in_file[advice.name] = NO_KEY
        elif share.setting.key in edited:
            run.in_file[advice.name] = ""
        else:
            run.in_file[advice.name] = _why_kept(share, share.setting, advice.new, findings)
    setting = measured.unit.settings.get("clip_norm")
    clip = setting.key if setting is not None else None
    limits = limits_of("GA931", settings.limits)
    _tell_clip(run, measured, findings, limits, clip is not None and clip in edited)
    run.also = list(dict.fromkeys(
        _title(one, unit)
        for one in applied
        if {edit.key for edit in one.fix.edits} - weights - {clip}
    ))  # fmt: skip


def _title(applied: Applied, unit: str) -> str:
    """What a fix does, and to which training where it is not the measured one."""
    title, other = applied.fix.title, applied.finding.unit
    return title if other in (unit, None) else f"{title} in `{other}`"


def _measured(fixed: Fixed, unit: str) -> Measured | None:
    every = (one for other in fixed.before.units if other.name == unit for one in other.measured)
    return next(every, None)


def _why_kept(share: TermShare, setting: Setting, new: float, findings: list[Finding]) -> str:
    """Why `fix` leaves a weight that has a key, and is to become `new`."""
    if share.differs:
        return f"{unlike_text(share)}: find out which is meant, then measure again"
    if change(setting, new) is None:
        return not_plain(setting)
    for code in WEIGHTS:
        for finding in findings:
            is_its_own = code != "GA403" or finding.key == setting.key  # the others speak of all
            if finding.rule.code == code and finding.no_fix and is_its_own:
                return finding.no_fix
    return "no rule that is on asks for it"


def _tell_clip(
    run: DryRun, measured: Measured, findings: list[Finding], limits: Limits, is_written: bool
) -> None:
    """The threshold that the rules recommend by the user's limits, which is the one that `fix`
    writes, or why there is none: the norms alone do not tell all."""
    if run.balance.to_apply:
        return
    moving = {
        finding.rule.code
        for finding in findings
        if finding.rule.code in MOVE_THE_NORM
        and finding.fix is not None
        and finding.fix.applicability == RECOMMENDED
    }
    why = clip_fix(measured, limits)[1]
    if moving:
        why = f"mend {listed(sorted(moving))} first and measure again: it changes the norm"
    if why and why != NOT_PLAIN:
        if run.clip_advice is not None or limits != load()["GA931"].limits:
            run.clip_why = why  # else the screen's own reason holds, and is the shorter one
        run.clip_advice, run.clip_interval = None, None
        return
    run.clip_advice, run.clip_why = recommended(measured), ""
    run.clip_interval = series_quantile(measured.clip_norms, PERCENTILE)
    run.clip_written = is_written
    run.clip_stays = not is_written and not any(f.rule.code in ("GA931", "GA101") for f in findings)
