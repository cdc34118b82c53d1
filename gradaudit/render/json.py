"""`--format json`: the documents of `check` and `show`. Stable from the first release."""

from __future__ import annotations

import json

from gradaudit import __version__
from gradaudit.render.dialect import chain_of, dialect_of, why_dialect
from gradaudit.render.plan import (
    finite,
    is_shown,
    known,
    setting_object,
    unknown,
    unknown_object,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.audit import FileResult
    from gradaudit.findings import Edit, Finding, Fix, Place
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.render.summary import Summary


def check_document(results: list[FileResult], summary: Summary) -> str:
    document = {
        "schema": 1,
        "version": __version__,
        "files": [
            {
                "path": result.path,
                "dialect": dialect_of(result),
                "units": [unit.name for unit in result.units],
                "findings": [finding_object(finding) for finding in result.findings],
                **_record(result),
            }
            for result in results
            if not result.skipped
        ],
        "problems": [{"path": path, "message": message} for path, message in summary.problems],
        "summary": {
            "files": summary.files,
            "skipped": summary.skipped,
            "errors": summary.errors,
            "warnings": summary.warnings,
            "infos": summary.infos,
            "suppressed": summary.suppressed,
            "below_confidence": summary.unsure,
            "fixable": summary.fixable,
            **({} if summary.since is None else {"earlier": summary.earlier}),
        },
    }
    return written(document)


def _record(result: FileResult) -> dict[str, Any]:
    if not any(unit.measured for unit in result.units):
        return {}
    from gradaudit.render.record_json import record_object

    return {"record": record_object(result)}


def finding_object(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.rule.code,
        "name": finding.rule.name,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "message": finding.message,
        "unit": finding.unit,
        **_span(finding.place),
        "key": finding.key,
        "related": [
            {**_span(related.place), "message": related.message} for related in finding.related
        ],
        "evidence": list(finding.evidence),
        "fix": _fix(finding.fix),
        "url": finding.rule.url or None,
    }


def _span(place: Place) -> dict[str, Any]:
    line, column = place.source.position(place.start)
    end_line, end_column = place.source.position(place.end)
    return {
        "path": place.source.path,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }


def _fix(fix: Fix | None) -> dict[str, Any] | None:
    if fix is None:
        return None
    return {
        "applicability": fix.applicability,
        "title": fix.title,
        "edits": [_edit(edit) for edit in fix.edits],
    }


def _edit(edit: Edit) -> dict[str, Any]:
    return {
        "op": edit.op,
        "path": edit.tree.source.path,
        "key": edit.key,
        "line": edit.line,
        "old": edit.old,
        "new": edit.new,
    }


def show_document(results: list[FileResult]) -> str:
    document = {
        "schema": 1,
        "files": [
            {
                "path": result.path,
                "dialect": dialect_of(result),
                "why_dialect": why_dialect(result),
                "chain": chain_of(result),
                "units": [_unit(unit, result) for unit in result.units],
            }
            for result in results
        ],
    }
    return written(document)


def _unit(unit: TrainingUnit, result: FileResult) -> dict[str, Any]:
    settings = {name: setting_object(setting) for name, setting in known(unit).items()}
    for name, reason in unknown(unit).items():
        settings[name] = unknown_object(name, reason, unit)
    return {
        "name": unit.name,
        "settings": settings,
        "others": {
            name: [setting_object(setting) for setting in others]
            for name, others in unit.others.items()
            if others and is_shown(name)
        },
        "loss_terms": [
            {
                "name": term.name,
                "weight": finite(term.weight),
                "role": term.role,
                "key": term.setting.key,
                "line": term.setting.place.line if term.setting.place else None,
            }
            for term in unit.loss_terms
        ],
        "not_judged": [
            {"code": rule.code, "missing": missing}
            for rule, missing in result.not_judged.get(unit.name, [])
        ],
    }


def written(document: dict[str, Any]) -> str:
    """A document as any JSON parser reads it: `NaN` and `Infinity` are no JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
