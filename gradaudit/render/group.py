"""One cause, one frame: findings of a unit that share a cause are shown together."""

from __future__ import annotations

from gradaudit.findings import APPLICABILITIES, CONFIDENCES, SEVERITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.findings import Finding, Fix


class Group:
    """Findings with one cause. `lead` is shown whole, `also` in a line each."""

    __slots__ = ("also", "lead")

    def __init__(self, lead: Finding, also: list[Finding]) -> None:
        self.lead = lead
        self.also = also

    @property
    def fixes(self) -> list[tuple[Finding, Fix]]:
        """Every distinct fix, the safest first; fixes with equal edits are one."""
        seen: set[tuple[tuple[int, str | None], ...]] = set()
        found = []
        for finding in (self.lead, *self.also):
            if finding.fix is not None:
                edits = tuple((id(edit.node), edit.new) for edit in finding.fix.edits)
                if edits not in seen:
                    seen.add(edits)
                    found.append((finding, finding.fix))
        return sorted(found, key=lambda pair: APPLICABILITIES.index(pair[1].applicability))


def grouped(findings: list[Finding]) -> list[Group]:
    """Groups in the order of their first finding.

    The lead is the strongest: by severity, then evidence, then confidence, then code.
    """
    by_cause: dict[tuple[str | None, str], list[Finding]] = {}
    groups: list[list[Finding]] = []
    for finding in findings:
        key = (finding.unit, finding.cause)
        if finding.cause and key in by_cause:
            by_cause[key].append(finding)
            continue
        group = [finding]
        groups.append(group)
        if finding.cause:
            by_cause[key] = group
    return [_led(group) for group in groups]


def _led(group: list[Finding]) -> Group:
    lead = min(
        group,
        key=lambda finding: (
            -SEVERITIES.index(finding.severity),
            not finding.evidence,
            -CONFIDENCES.index(finding.confidence),
            finding.rule.code,
        ),
    )
    also = [finding for finding in group if finding is not lead]
    also.sort(key=lambda finding: (-SEVERITIES.index(finding.severity), finding.rule.code))
    return Group(lead, also)
