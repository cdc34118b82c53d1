"""What a dry run measured and recommends, as JSON."""

from __future__ import annotations

from dataclasses import asdict

from gradaudit.evidence.record import spelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.evidence.dry_run import DryRun


def as_json(run: DryRun, path: str, unit: str, directory: str) -> dict[str, Any]:
    """The summary that the screen is drawn from; single steps are in the record.

    `summary` has the fields of `evidence.dry_run.DryRun`. Numbers that JSON has not are the words
    "nan", "inf" and "-inf", as in the record.
    """
    return {
        "schema": 1, "source": "dryrun", "config": path, "unit": unit, "record": directory,
        "summary": _plain(asdict(run)),
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return spelled(value) if isinstance(value, float) else value
