"""The words for what a file was taken for, and what it is built on."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult


def dialect_of(result: FileResult) -> str:
    return result.recognised.name if result.recognised is not None else "generic"


def why_dialect(result: FileResult) -> list[str]:
    """What speaks for the dialect, the strongest first."""
    if result.tree is None:
        reasons = [finding.message for finding in result.findings]
        return [f"cannot be read: {reasons[0] if reasons else 'GA001 is switched off'}"]
    found = result.recognised
    if found is None or not found.weight:
        words = "no framework's dialect is certain: keys are read by their names"
        if found is not None and found.second is not None:
            near, weight = found.second
            words += f" (nearest: {near}, {weight} of 10)"
        return [words]
    return found.reasons


def chain_of(result: FileResult) -> list[str]:
    """The files of which the config is composed, the file itself first."""
    if result.composed is None:
        return [result.path]
    return [tree.source.path for tree in result.composed.trees]
