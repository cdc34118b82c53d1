"""What a record shows, as a part of the JSON of `check`: only there where one was given."""

from __future__ import annotations

from math import isfinite

from gradaudit.render.recorded import figures_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.audit import FileResult
    from gradaudit.plan.measured import Measured


def record_object(result: FileResult) -> dict[str, Any] | None:
    """None where no record is of this file."""
    measured = [(unit.name, one) for unit in result.units for one in unit.measured]
    if not measured:
        return None
    record = measured[0][1].record
    return {
        "directory": record.directory,
        "source": record.source,
        "ranks": record.ranks,
        "world_size": record.world_size,
        "config_changed": measured[0][1].older or None,
        "optimizers": [_optimizer(name, one) for name, one in measured],
        "withdrawn": [
            {
                "code": finding.rule.code,
                "name": finding.rule.name,
                "unit": finding.unit,
                "message": finding.message,
                "reason": reason,
            }
            for finding, reason in result.withdrawn
        ],
        "notes": [text for _, text in record.notes] + record.remarks,
    }


def _optimizer(unit: str, measured: Measured) -> dict[str, Any]:
    figures = figures_of(measured)
    norms: dict[str, Any] = {
        name: {"value": _finite(value), "interval": list(interval) if interval else None}
        for name, value, interval in figures.quantiles
    }
    if figures.largest is not None:
        norms["max"] = {"value": _finite(figures.largest), "interval": None}
    return {
        "unit": unit,
        "optimizer": measured.optimizer.index,
        "class": figures.optimizer,
        "steps": figures.steps,
        "inside_warmup": figures.warmup,
        "judged": len(figures.norms),
        "pre_clip_norm": norms,
        "clip_norm": figures.clip_norm,
        "clipped": figures.clipped if figures.clip_share is not None else None,
        "clipped_interval": list(figures.clip_interval) if figures.clip_share is not None else None,
        "learning_rate": list(figures.rates) if figures.rates is not None else None,
        "backward_calls": figures.backward_calls,
        "batch_norm_batch": measured.optimizer.batch_norm_batch,
        "precision": figures.precision,
        "steps_missing": dict(sorted(measured.wanted.items())),
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
