"""One part of the report: a unit with its findings, its thresholds and its commands."""

from __future__ import annotations

import shlex

from gradaudit.rules import limits_of, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gradaudit.audit import FileResult
    from gradaudit.findings import Finding
    from gradaudit.plan.model import LossTerm, TrainingUnit
    from gradaudit.source import Source

    Limits = Mapping[str, Mapping[str, float]]

CLIPPING, RATE, NORMALISATION, LOSS, OTHER = "clipping", "rate", "normalisation", "loss", "other"

STEPS = 100
"""Steps of a norm series: fewer leave the 90th percentile undecided."""
TAIL = 10
"""A 90th percentile at this many times the median is a heavy tail (GA101)."""
EVERY, PROBES = 10, 30
"""Per-term gradients are measured on one step in EVERY, PROBES times."""

_FAMILIES = {"GA1": CLIPPING, "GA2": RATE, "GA3": NORMALISATION, "GA4": LOSS}
_SETTINGS = {
    CLIPPING: ("clip_norm", "clip_value", "clip_kind"),
    RATE: (
        "learning_rate", "min_learning_rate", "scheduler", "warmup_steps", "warmup_epochs",
        "warmup_ratio", "warmup_start_factor", "epochs", "total_steps",
    ),
    NORMALISATION: ("norm", "micro_batch", "global_batch", "accumulation", "world_size"),
}  # fmt: skip
_CARRIED = (
    "--assume", "--source", "--set", "--config", "--ignore", "--isolated", "--profile",
    "--extend-select", "--min-confidence", "--record",
)  # fmt: skip
_PAIRS = ("--assume", "--set")


class Part:
    """What the report says of one unit.

    unit      None for what stands in no unit.
    findings  in file order.
    label     the unit as a heading names it; empty where the file has one unit only.
    """

    def __init__(
        self,
        result: FileResult,
        unit: TrainingUnit | None,
        findings: list[Finding],
        limits: Limits,
        command: str,
    ) -> None:
        self.result = result
        self.unit = unit
        self.findings = findings
        self.limits = limits
        self.command = command

    @property
    def source(self) -> Source | None:
        return self.result.source

    @property
    def name(self) -> str:
        return self.unit.name if self.unit is not None else "the file"

    def limit(self, code: str, name: str) -> float:
        """A rule's threshold: the settings file's, else the rule's own."""
        changed = self.limits.get(code, {})
        return changed[name] if name in changed else load()[code].limits[name]

    def all_limits(self, code: str) -> dict[str, float]:
        """All thresholds of a rule."""
        return limits_of(code, self.limits)

    def by_code(self, *codes: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.rule.code in codes]

    def about(self, topic: str) -> list[Finding]:
        return [finding for finding in self.findings if self.topic(finding) == topic]

    def topic(self, finding: Finding) -> str:
        """The analysis that a finding belongs to: by its family, else by the setting it is at."""
        family = _FAMILIES.get(finding.rule.code[:3])
        if family or self.unit is None or not finding.key:
            return family or OTHER
        if any(term.setting.key == finding.key for term in self.unit.loss_terms):
            return LOSS
        for topic, names in _SETTINGS.items():
            if any(s.key == finding.key for name in names for s in self.unit.every(name)):
                return topic
        return OTHER

    @property
    def terms(self) -> list[LossTerm]:
        """The loss terms in force, the heaviest first."""
        terms = self.unit.loss_terms if self.unit is not None else []
        return sorted((t for t in terms if t.weight > 0), key=lambda t: -t.weight)

    @property
    def is_recorded(self) -> bool:
        """Whether a record has norms of this unit after its warm-up."""
        return self.unit is not None and any(one.norms for one in self.unit.measured)

    @property
    def recorded_without_batch_norm(self) -> bool:
        measured = self.unit.measured if self.unit is not None else []
        return any(one.optimizer.batch_norm_layers == 0 for one in measured if one.comparable)

    @property
    def has_batch_norm(self) -> bool:
        return self.unit is not None and self.unit.norm in ("batch", "sync_batch")

    @property
    def after_warmup(self) -> str:
        """`from epoch 7 on (after the warm-up)`; empty where there is no such time."""
        warmup = self.unit.warmup if self.unit is not None else None
        if self.unit is None or warmup is None:
            return ""
        share = warmup.share_of(self.unit.length, self.unit.number("steps_per_epoch"))
        if share is not None and share >= 1:
            return ""
        if warmup.unit == "ratio":
            return f"after the warm-up ({warmup})"
        first = int(warmup.value) + 1
        return f"from {warmup.unit[:-1]} {first:,} on (after the warm-up)"

    def fix_command(self, *extra: str) -> str:
        return derived(self.result.path, self.command, "fix", extra)

    def check_command(self, *extra: str) -> str:
        return derived(self.result.path, self.command, "check", extra)


def derived(path: str, command: str, name: str, extra: Iterable[str] = ()) -> str:
    """Another command on the same file, with what the plan took from the command line."""
    return shlex.join(["gradaudit", name, path, *_carried(path, command), *extra])


def _carried(path: str, command: str) -> list[str]:
    """The options of the report's command that decide what the plan holds."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    found: list[str] = []
    taking = ""
    fresh = False
    carried = (*_CARRIED, "--unit") if "--record" in command else _CARRIED
    for word in words:
        option, equals, _ = word.partition("=")
        if word.startswith("-") and option in carried:
            found.append(word)
            taking, fresh = ("" if equals or option == "--isolated" else option), True
        elif word.startswith("-"):
            taking = ""
        elif taking and fresh:
            found.append(word)
            fresh = False
        elif taking in _PAIRS and equals and word != path:
            found.append(word)
        else:
            taking = ""
    return found


def strongest_first(part: Part) -> list[Finding]:
    from gradaudit.render.report.words import strength

    return sorted(part.findings, key=lambda f: (*(-x for x in strength(f)), f.rule.code))
