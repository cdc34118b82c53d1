"""What a run amounts to: counts, exit code, and the next command."""

from __future__ import annotations

from gradaudit.findings import ERROR, INFO, SPECULATIVE, WARNING
from gradaudit.plan.model import DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.dialects.recognise import Recognised
    from gradaudit.plan.model import TrainingUnit


class Tally:
    """What one file adds to a run: words and counts without its tree, so that it can be kept for
    thousands of files and come from another process.

    skipped            why it was not judged; empty if it was.
    fixable            findings with a fix that `fix --write` applies; speculative: of --unsafe.
    unsure             findings below the confidence asked for.
    silent             it has no findings because it holds no training settings.
    earlier            findings left out because an earlier revision had them.
    parsed, units      whether its text could be read; the names of its units.
    in_run             it is read in one run with another file.
    problems           what the command line asked of it and could not be done.
    withdrawn          findings that a record speaks against.
    """

    __slots__ = (
        "earlier", "errors", "fixable", "in_run", "infos", "parsed", "path", "problems", "silent",
        "skipped", "speculative", "suppressed", "units", "unsure", "warnings", "withdrawn",
    )  # fmt: skip

    def __init__(self, result: FileResult) -> None:
        findings = result.findings
        severities = [finding.severity for finding in findings]
        levels = [finding.fix.applicability for finding in findings if finding.fix is not None]
        self.path = result.path
        self.skipped = result.skipped
        self.suppressed = result.suppressed
        self.unsure = result.unsure
        self.earlier = result.earlier
        self.withdrawn = len(result.withdrawn)
        self.errors = severities.count(ERROR)
        self.warnings = severities.count(WARNING)
        self.infos = severities.count(INFO)
        self.speculative = levels.count(SPECULATIVE)
        self.fixable = len(levels) - self.speculative
        self.parsed = result.tree is not None
        self.silent = (
            self.parsed and not findings and not result.earlier and not result.part_of
            and not any(_says(unit, result.recognised) for unit in result.units)
        )  # fmt: skip
        self.in_run = bool(result.part_of)
        self.units = [unit.name for unit in result.units]
        self.problems = result.problems

    @property
    def total(self) -> int:
        return self.errors + self.warnings + self.infos

    def pack(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    @classmethod
    def unpack(cls, packed: tuple[object, ...]) -> Tally:
        tally = cls.__new__(cls)
        for name, value in zip(cls.__slots__, packed, strict=True):
            setattr(tally, name, value)
        return tally


_ANYWHERE = frozenset(("micro_batch", "seed", "precision", "dropout", "momentum"))
"""What a service, a game or a trained model has too: by itself it says nothing of a training."""


def _says(unit: TrainingUnit, recognised: Recognised | None) -> bool:
    """Whether the file itself says anything of a training: defaults alone do not."""
    written = {name for name, setting in unit.settings.items() if setting.origin != DEFAULT}
    if recognised is not None and not recognised.weight:
        written -= _ANYWHERE
    return bool(written or unit.unknown or unit.loss_terms)


class Summary:
    """Counts over all files; `next_steps` are the sentences that end a screen, `since` is the
    revision whose findings were left out."""

    def __init__(self, tallies: list[Tally], problems: list[tuple[str, str]]) -> None:
        judged = [tally for tally in tallies if not tally.skipped]
        self.files = len(judged)
        self.skipped = len(tallies) - len(judged)
        self.errors = sum(tally.errors for tally in judged)
        self.warnings = sum(tally.warnings for tally in judged)
        self.infos = sum(tally.infos for tally in judged)
        self.total = self.errors + self.warnings + self.infos
        self.suppressed = sum(tally.suppressed for tally in judged)
        self.unsure = sum(tally.unsure for tally in judged)
        self.earlier = sum(tally.earlier for tally in judged)
        self.withdrawn = sum(tally.withdrawn for tally in judged)
        self.speculative = sum(tally.speculative for tally in judged)
        self.fixable = sum(tally.fixable for tally in judged)
        self.with_findings = sum(tally.total > 0 for tally in judged)
        self.silent = [tally.path for tally in judged if tally.silent]
        self.fixed = [tally.path for tally in judged if tally.fixable or tally.speculative]
        self.in_one_run = any(tally.in_run for tally in judged)
        self.problems = problems
        self.since: str | None = None
        self.next_steps: list[str] = []

    @property
    def where(self) -> str:
        """`1 file`, `2 of 5 files`."""
        count = self.files - len(self.silent)
        files = f"{count} file{'s' if count != 1 else ''}"
        if self.total and self.with_findings < count:
            return f"{self.with_findings} of {files}"
        return files

    @property
    def counts(self) -> str:
        """`2 errors, 1 warning`; what is none is left out."""
        named = ((self.errors, ERROR), (self.warnings, WARNING), (self.infos, INFO))
        return ", ".join(
            f"{count} {severity}{'s' if count != 1 else ''}" for count, severity in named if count
        )

    @property
    def aside(self) -> str:
        parts = []
        if self.earlier:
            many = "s" if self.earlier != 1 else ""
            parts.append(f"{self.earlier} earlier finding{many} not shown")
        if self.withdrawn:
            parts.append(f"{self.withdrawn} withdrawn by the record")
        if self.suppressed:
            parts.append(f"{self.suppressed} suppressed")
        if self.unsure:
            parts.append(f"{self.unsure} below the confidence asked for")
        if self.skipped:
            files = "file" if self.skipped == 1 else "files"
            parts.append(f"{self.skipped} other {files} skipped")
        return f" ({', '.join(parts)})" if parts else ""


def exit_code(
    tallies: list[Tally], problems: list[tuple[str, str]], fail_on: dict[str, str]
) -> int:
    """0 clean, 1 findings at or above the level of their file's settings, 2 problems."""
    if problems:
        return 2
    for tally in tallies:
        level = fail_on.get(tally.path, WARNING)
        if tally.errors or (tally.warnings and level != ERROR) or (tally.infos and level == INFO):
            return 1
    return 0
