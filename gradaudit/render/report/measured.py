"""The section of the report on a record: norms, clip, layers, terms, and what they settled."""

from __future__ import annotations

from gradaudit.plan.terms import shares_of
from gradaudit.render.recorded import figures_of, files_text, lacking_text, older_text
from gradaudit.render.report.words import code, prose, rule_link, table
from gradaudit.rules.recorded import STEPS_APART
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.render.recorded import Figures

LAYERS = 12
"""Layers in the table; a line says what the others have."""


def measured_section(result: FileResult, unit: TrainingUnit) -> list[str]:
    """Empty where no record is of this unit."""
    lines: list[str] = []
    for one in unit.measured:
        lines += _one(one, several=len(unit.measured) > 1)
    if not lines:
        return []
    return [*lines, *_settled(result, unit), *_notes(unit.measured[0])]


def evidence_of(unit: TrainingUnit) -> list[str]:
    """For the report's head: `record DIR, 100 steps of AdamW`."""
    return [
        f"record {code(one.record.directory)}, {len(one.optimizer.steps)} steps of "
        f"{prose(one.optimizer.class_name)}"
        for one in unit.measured
    ]


def _one(measured: Measured, several: bool) -> list[str]:
    figures = figures_of(measured)
    of = f" {figures.optimizer} (optimizer {measured.optimizer.index})" if several else ""
    kind = "dry run" if measured.record.source == "dryrun" else "recorded run"
    lines = [f"**Measured{of}** in the {kind} {code(measured.record.directory)}:", ""]
    lines += [*_facts(figures), ""]
    if figures.norms:
        lines += [*_norms(figures), ""]
    else:
        lines += [
            "No norm is judged: all steps lie inside the warm-up, or none was seen.",
            "",
        ]
    if figures.layers:
        lines += [*_layers(figures), ""]
    if measured.settled_terms:
        lines += [*_terms(measured), ""]
    lacking = lacking_text(measured)
    if lacking:
        lines += ["Too few steps for:", "", *(f"- {text}" for text in lacking), ""]
    return lines


def _facts(figures: Figures) -> list[str]:
    rows = [
        ("steps", (f"{figures.steps} ({figures.first} to {figures.last}), of them "
         f"{figures.warmup} inside the warm-up, {figures.skipped} skipped by a scaler")),
        ("learning rate", _rates(figures)),
        ("clip passed to torch", _clip(figures)),
        ("backward calls a step", str(figures.backward_calls or "not known")),
        ("BatchNorm", figures.batch_norm or "not known"),
        ("precision", figures.precision or "not known"),
    ]  # fmt: skip
    if figures.loss_scale is not None:
        rows.append(("loss scale at the end", number(figures.loss_scale)))
    return table(("what", "measured"), [list(row) for row in rows])


def _rates(figures: Figures) -> str:
    if figures.rates is None:
        return "not known"
    low, high = figures.rates
    text = number(low) if low == high else f"{number(low)} to {number(high)}"
    return text if figures.warmup_over else f"{text}, still rising: the warm-up is not over"


def _clip(figures: Figures) -> str:
    if figures.clip_passed is not None:
        unlike = f"; {figures.clip_unlike}" if figures.clip_unlike else ""
        return f"norm {number(figures.clip_passed)}{unlike}"
    if figures.clip_value is not None:
        return f"value {number(figures.clip_value)}"
    return "none was called"


def _above(figures: Figures, threshold: float) -> str:
    what = figures.clip_compares
    return f"steps {f'with {what} ' if what else ''}above {number(threshold)}"


def _norms(figures: Figures) -> list[str]:
    rows = []
    for name, value, interval in figures.quantiles:
        shown = (
            f"{number(interval[0])} to {number(interval[1])}"
            if interval is not None
            else "too few steps"
        )
        rows.append([name, number(value), shown])
    if figures.largest is not None:
        rows.append(["largest", number(figures.largest), ""])
    share = figures.clip_share
    if share is not None and figures.clip_norm is not None:
        low, high = figures.clip_interval
        rows.append(
            [
                _above(figures, figures.clip_norm),
                f"{figures.clipped} of {len(figures.clip_norms)}, {percent(share)}",
                f"{percent(low)} to {percent(high)}",
            ]
        )
    return [
        (
            f"Gradient norm before clipping, of the {len(figures.norms)} steps after the warm-up. "
            f"Percentiles between order statistics, the share by Wilson; {STEPS_APART}."
        ),
        "",
        *table(("", "norm", "95 % interval"), rows),
    ]


def _layers(figures: Figures) -> list[str]:
    rows = [
        [
            code(layer.name),
            percent(layer.share),
            number(layer.norm),
            number(layer.update) if layer.update is not None else "",
        ]
        for layer in figures.layers[:LAYERS]
    ]
    lines = table(("tensor", "share of the squared norm", "median norm", "update / weight"), rows)
    if len(figures.layers) > LAYERS:
        rest = sum(layer.share for layer in figures.layers[LAYERS:])
        lines += ["", f"{len(figures.layers) - LAYERS} more tensors have {percent(rest)}."]
    return lines


def _terms(measured: Measured) -> list[str]:
    shares = sorted(shares_of(measured), key=lambda share: -share.share)
    rows = [
        [
            code(share.name),
            share.role,
            number(share.weight) if share.weight is not None else "",
            percent(share.share),
            number(share.rms),
            percent(share.active),
        ]
        for share in shares
    ]
    heads = ("term", "role", "weight", "share of the gradient", "norm where active", "active")
    weights = ", with the file's weights" if measured.older else ""
    return [
        f"Terms of the loss, at {len(measured.settled_terms)} steps after the warm-up{weights}:",
        "",
        *table(heads, rows),
    ]


def _settled(result: FileResult, unit: TrainingUnit) -> list[str]:
    """What the record withdrew and what it bore out."""
    lines = []
    for finding, reason in result.withdrawn:
        if finding.unit == unit.name:
            lines.append(f"- withdrawn: {rule_link(finding.rule)}: {prose(reason)}")
    for finding in result.findings:
        borne = finding.unit == unit.name and finding.rule.scope != "record"
        said = [text for text in finding.evidence if text.startswith(("recorded run", "dry run"))]
        if borne and said:
            lines.append(
                f"- {finding.severity}, {finding.confidence} confidence: "
                f"{rule_link(finding.rule)}: {prose(said[0])}"
            )
    if not lines:
        return ["No finding of the file was changed by the record.", ""]
    return ["What the record makes of the findings of the file:", "", *lines, ""]


def _notes(measured: Measured) -> list[str]:
    record = measured.record
    notes = [text for _, text in record.notes] + record.remarks + files_text(measured)
    if measured.older:
        notes.insert(0, older_text(measured))
    return ["To keep in mind:", "", *(f"- {prose(note)}" for note in notes)] if notes else []
