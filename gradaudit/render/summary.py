"""What a run amounts to: counts, exit code, and the next command."""

from __future__ import annotations

from gradaudit.findings import ERROR, INFO, SEVERITIES, SPECULATIVE, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult


class Summary:
    """Counts over all files.

    fixable      findings with a fix that `fix --write` applies; speculative those of --unsafe.
    silent       files without findings because they hold no training settings.
    next_steps   sentences that end a screen.
    """

    def __init__(self, results: list[FileResult], problems: list[tuple[str, str]]) -> None:
        judged = [result for result in results if not result.skipped]
        findings = [finding for result in judged for finding in result.findings]
        self.files = len(judged)
        self.skipped = len(results) - len(judged)
        self.errors = sum(finding.severity == ERROR for finding in findings)
        self.warnings = sum(finding.severity == WARNING for finding in findings)
        self.infos = sum(finding.severity == INFO for finding in findings)
        self.total = len(findings)
        self.suppressed = sum(result.suppressed for result in judged)
        fixes = [finding.fix for finding in findings if finding.fix is not None]
        self.speculative = sum(fix.applicability == SPECULATIVE for fix in fixes)
        self.fixable = len(fixes) - self.speculative
        self.with_findings = sum(bool(result.findings) for result in judged)
        self.silent = [result.path for result in judged if _says_nothing(result)]
        self.problems = problems
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
        if self.suppressed:
            parts.append(f"{self.suppressed} suppressed")
        if self.skipped:
            files = "file" if self.skipped == 1 else "files"
            parts.append(f"{self.skipped} other {files} skipped")
        return f" ({', '.join(parts)})" if parts else ""


def _says_nothing(result: FileResult) -> bool:
    known = any(unit.settings or unit.unknown or unit.loss_terms for unit in result.units)
    return not known and not result.findings and result.tree is not None


def exit_code(
    results: list[FileResult], problems: list[tuple[str, str]], fail_on: dict[str, str]
) -> int:
    """0 clean, 1 findings at or above the level of their file's settings, 2 problems."""
    if problems:
        return 2
    for result in results:
        level = SEVERITIES.index(fail_on.get(result.path, WARNING))
        if any(SEVERITIES.index(finding.severity) >= level for finding in result.findings):
            return 1
    return 0
