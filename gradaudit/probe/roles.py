"""What a script's `primary` says of the terms, once the steps have shown which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gradaudit.probe.trajectory import Trajectory

    Write = Callable[[dict[str, Any]], None]


def unknown_primary(trajectory: Trajectory, out: Write) -> bool:
    """Whether `primary` names what was a term in no step; the record says so. Only now: a term may
    be there from a later step on. Then what was trained is kept, and nothing more is measured."""
    names = sorted(set(trajectory.training.primary) - trajectory.values.keys())
    if not names:
        return False
    text = (
        f"after the {trajectory.done} steps, `primary` names {names[0]!r}, which was no term in "
        f"them; terms: {', '.join(trajectory.values)}"
    )
    if trajectory.interrupted or trajectory.non_finite:  # it may have come in a later step
        out({"kind": "note", "topic": "failed", "text": f"{text}; look for a typo"})
    else:
        trajectory.failed = f"{text}; write in `primary` the name that `losses` returns"
        lost = "what is measured at the last weights is left out"
        out({"kind": "note", "topic": "failed", "text": f"{text}; {lost}"})
    return True


def role_of(name: str, primary: Collection[str], unknown: bool) -> str:
    """What the script says of a term; empty where it says nothing. `unknown`: it names one that is
    no term, and that may be any of the others."""
    if not primary or (unknown and name not in primary):
        return ""
    return "primary" if name in primary else "auxiliary"
