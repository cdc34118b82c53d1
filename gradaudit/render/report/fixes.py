"""The fixes: immediate and secondary, each with its diff, its reason and its command."""

from __future__ import annotations

from gradaudit.findings import APPLICABILITIES, RECOMMENDED, SAFE, SPECULATIVE
from gradaudit.render.report.diff import unified
from gradaudit.render.report.part import strongest_first
from gradaudit.render.report.words import (
    code,
    fence,
    line_of,
    prose,
    sentence,
)  # fmt: skip
from gradaudit.rules.text import number, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding, Fix
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.render.report.part import Part

_MEANS = {
    SAFE: "the run is unchanged, or could not have started without it",
    RECOMMENDED: "changes the training; backed by a reference or a measurement",
    SPECULATIVE: "may help; measure first",
}


_MEASURED = ("loss-weights", "micro-batch")
_PAGE = "`docs/measurements.md` of gradaudit"


class Entry:
    """One fix and all findings that ask for these very edits. `number` counts from 1."""

    def __init__(self, number: int, fix: Fix, findings: list[Finding]) -> None:
        self.number = number
        self.fix = fix
        self.findings = findings

    @property
    def codes(self) -> list[str]:
        return list(dict.fromkeys(finding.rule.code for finding in self.findings))

    @property
    def is_immediate(self) -> bool:
        return self.fix.applicability != SPECULATIVE


class Fixes:
    """What a part offers.

    entries   the immediate ones first, numbered through.
    left_out  (finding, the entry that changes the same value first).
    without   findings that offer no fix.
    """

    def __init__(self, part: Part) -> None:
        self.entries: list[Entry] = []
        self.left_out: list[tuple[Finding, Entry]] = []
        self.without = [finding for finding in part.findings if finding.fix is None]
        for finding in _by_preference(part):
            self._add(finding)

    def _add(self, finding: Finding) -> None:
        fix = finding.fix
        assert fix is not None
        wanted = _edits(fix)
        for entry in self.entries:
            if _edits(entry.fix) == wanted:
                entry.findings.append(finding)
                return
        touched = {node for _, node, _ in wanted}
        for entry in self.entries:
            if any(node in touched for _, node, _ in _edits(entry.fix)):
                self.left_out.append((finding, entry))
                return
        self.entries.append(Entry(len(self.entries) + 1, fix, [finding]))

    @property
    def immediate(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.is_immediate]

    @property
    def secondary(self) -> list[Entry]:
        return [entry for entry in self.entries if not entry.is_immediate]


def _edits(fix: Fix) -> set[tuple[str, int, str | None]]:
    return {(edit.op, id(edit.node), edit.new) for edit in fix.edits}


def _by_preference(part: Part) -> list[Finding]:
    """The safer first, then the stronger: the order in which `gradaudit fix` chooses."""
    fixable = [finding for finding in strongest_first(part) if finding.fix is not None]
    return sorted(fixable, key=lambda f: APPLICABILITIES.index(f.fix.applicability) if f.fix else 0)


def fix_lines(part: Part, fixes: Fixes, level: int) -> list[str]:
    mark = "#" * level
    lines = [f"{mark} Immediate", ""]
    if fixes.immediate:
        lines += [
            (
                f"`gradaudit fix` takes these: {code(part.fix_command())} shows the diff, "
                f"{code(part.fix_command('--write'))} writes it."
            ),
            "",
        ]
        if any(f.cause in _MEASURED for entry in fixes.immediate for f in entry.findings):
            lines += [f"What such repairs did in one measured training: {_PAGE}.", ""]
        for entry in fixes.immediate:
            lines += [*_entry(part, fixes, entry, level + 1), ""]
    else:
        lines += ["None.", ""]
    lines += [f"{mark} Secondary", ""]
    if fixes.secondary:
        when = (
            "Only after the immediate ones have been measured" if fixes.immediate else "With care"
        )
        lines += [
            (
                f"{when}, one at a time: no reference or measurement backs them. "
                f"{code(part.fix_command('--unsafe'))} shows them"
                f"{' with the immediate ones' if fixes.immediate else ''}."
            ),
            "",
        ]
        for entry in fixes.secondary:
            lines += [*_entry(part, fixes, entry, level + 1), ""]
    else:
        lines += ["None.", ""]
    rest = _rest(part, fixes)
    if rest:
        lines += [f"{mark} Not offered", "", *rest, ""]
    return lines[:-1]


def alone_command(part: Part, entry: Entry) -> str:
    """The command that applies this entry and nothing else; empty where its codes do more."""
    wanted = _edits(entry.fix)
    for finding in part.result.findings:
        if finding.rule.code not in entry.codes or finding.fix is None:
            continue
        offered = entry.is_immediate is False or finding.fix.applicability != SPECULATIVE
        if offered and _edits(finding.fix) != wanted:
            return ""
    unsafe = () if entry.is_immediate else ("--unsafe",)
    return part.fix_command("--select", ",".join(entry.codes), *unsafe, "--write")


def _outdates(part: Part, fixes: Fixes, entry: Entry) -> Iterator[tuple[Entry, Finding]]:
    """Immediate fixes that lower loss weights by which a later fix's finding judges."""
    weights = {id(term.setting.node) for term in part.terms}
    for finding in entry.findings:
        if entry.is_immediate or finding.cause != "loss-weights":
            continue
        for earlier in fixes.immediate:
            if any(node in weights for _, node, _ in _edits(earlier.fix)):
                yield earlier, finding


def _entry(part: Part, fixes: Fixes, entry: Entry, level: int) -> list[str]:
    fix = entry.fix
    title = prose(fix.title)
    lines = [
        f"{'#' * level} Fix {entry.number}: {title}",
        "",
        f"- **Applicability:** {fix.applicability} ({_MEANS[fix.applicability]})",
    ]
    for finding in entry.findings:
        lines.append(
            f"- **Why:** {finding.rule.code}, {line_of(finding, part.source)}: "
            f"{_reason(part, finding)}"
        )
    lines += [f"- **Note:** {sentence(note)}" for note in fix.notes]
    for earlier, finding in _outdates(part, fixes, entry):
        lines.append(
            f"- **After fix {earlier.number}:** {finding.rule.code} may no longer apply, because "
            "it judges by the weights which that fix lowers. Print this report again first."
        )
    alone = alone_command(part, entry)
    lines.append(
        f"- **Apply it alone:** {code(alone)}"
        if alone
        else f"- **Apply it alone:** by hand, the lines below; {' and '.join(entry.codes)} "
        "would make other changes too"
    )
    return [*lines, "", *fence("diff", unified(fix.edits))]


def _reason(part: Part, finding: Finding) -> str:
    """The finding in its own words; for a threshold, what it is small against."""
    clip = part.unit.number("clip_norm") if part.unit is not None else None
    if finding.rule.code == "GA101" and clip:
        total = sum(term.weight for term in part.terms)
        return (
            f"The weights of {len(part.terms)} summed terms add up to {number(total)}, "
            f"{times(total / clip)} the threshold {number(clip)}."
        )
    return sentence(finding.message)


def _rest(part: Part, fixes: Fixes) -> list[str]:
    lines = []
    for finding, entry in fixes.left_out:
        assert finding.fix is not None
        lines.append(
            f"- {sentence(finding.fix.title)[:-1]} ({finding.rule.code}, "
            f"{finding.fix.applicability}): it changes a value that fix {entry.number} changes, "
            f"which is {entry.fix.applicability}."
        )
    for finding in fixes.without:
        if finding.no_fix:
            lines.append(
                f"- {finding.rule.code}, {line_of(finding, part.source)}: no fix, because "
                f"{sentence(finding.no_fix)[:1].lower()}{sentence(finding.no_fix)[1:]}"
            )
    return lines


def micro_batch_after(unit: TrainingUnit, fixes: Fixes) -> int | None:
    """The micro-batch that the immediate fixes leave, where they change it."""
    setting = unit.get("micro_batch")
    for entry in fixes.immediate:
        for edit in entry.fix.edits:
            if setting is not None and edit.node is setting.node and isinstance(edit.value, int):
                return edit.value
    return None
