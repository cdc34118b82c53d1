"""The words for what a file was taken for, and what it is built on."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult


def dialect_of(result: FileResult) -> str | None:
    """The dialect's name; None for a file that cannot be read: it may be any."""
    if result.tree is None:
        return None
    return result.recognised.name if result.recognised is not None else "generic"


def why_dialect(result: FileResult) -> list[str]:
    """What speaks for the dialect, the strongest first."""
    if result.tree is None:
        said = [finding.message for finding in result.findings]
        return [f"cannot be read: {said[0] if said else 'GA001 is switched off'}"]
    if result.part_of:
        return [*reasons(result), f"in one run with {result.part_of}, where its settings are shown"]
    return reasons(result)


def reasons(result: FileResult) -> list[str]:
    """What the file itself holds that speaks for its dialect."""
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
