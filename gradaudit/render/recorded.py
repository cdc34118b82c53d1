"""What a record shows, in figures: one summary for the screen, the report and JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from gradaudit.evidence.statistics import quantile, series_quantile, series_share
from gradaudit.rules.recorded_layers import update_ratios
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.measured import Measured

    Interval = tuple[float, float] | None

QUANTILES = ((0.5, "median"), (0.9, "p90"), (0.95, "p95"))
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl", ".pickle", ".npz")
"""Ends of the names of files that hold weights."""

TOP = 5
"""Layers on the screen; the report has more."""


@dataclass
class Layer:
    """A tensor: its share of the squared norm, mean over the steps; its median norm and the median
    of update over weight, None where it was not measured."""

    name: str
    share: float
    norm: float
    update: float | None


@dataclass
class Figures:
    """What is known of one optimizer of a record.

    norms      the pre-clip norms that are judged: of the steps after the warm-up.
    all_norms  those of every step, in order; of them `warmup` are inside the warm-up.
    quantiles  (name, value, 95 % interval or None) of `norms`.
    clip_norms what the clip compared with its threshold at these steps; in words `clip_compares`
               where that is another norm, and `clip_unlike` why it is no one norm.
    clipped    of them those above `clip_norm`, the file's threshold where it has one; its interval.
    clip_acted those at which the run's own clip acted, of how many, with the interval; None where
               that is not known. clip_calls: steps with a clip by norm, of how many.
    rates      lowest and highest learning rate.
    """

    optimizer: str
    steps: int
    first: int
    last: int
    skipped: int
    warmup: int
    warmup_over: bool
    warmup_more: int | None
    norms: list[float]
    all_norms: list[float]
    quantiles: list[tuple[str, float, Interval]]
    largest: float | None
    clip_norm: float | None
    clip_passed: float | None
    clip_value: float | None
    clip_norms: list[float]
    clip_compares: str
    clip_unlike: str
    clip_acted: tuple[int, int, tuple[float, float]] | None
    clip_calls: tuple[int, int]
    clipped: int
    clip_interval: tuple[float, float]
    rates: tuple[float, float] | None
    backward_calls: int | None
    batch_norm: str
    precision: str | None
    loss_scale: float | None
    layers: list[Layer] = field(default_factory=list)

    @property
    def clip_share(self) -> float | None:
        known = self.clip_norms if self.clip_norm else []
        return self.clipped / len(known) if known else None


def figures_of(measured: Measured) -> Figures:
    """Raises nothing: what is not known is None or empty."""
    optimizer, norms = measured.optimizer, measured.norms
    steps = optimizer.steps
    clip = measured.clip_norm
    clipped = measured.clipped(clip) if clip is not None else 0
    acted = measured.compared.acted
    rates = [step.learning_rate[0] for step in steps if step.learning_rate]
    scales = [step.loss_scale for step in steps if step.loss_scale is not None]
    return Figures(
        optimizer=optimizer.class_name or "an optimizer",
        steps=len(steps),
        first=steps[0].step if steps else 0,
        last=steps[-1].step if steps else 0,
        skipped=sum(step.skipped for step in steps),
        warmup=measured.warmup.after,
        warmup_over=measured.warmup.over,
        warmup_more=measured.lacking(0),
        norms=norms,
        all_norms=measured.series.norms_from(0),
        quantiles=[
            (name, quantile(norms, share), series_quantile(norms, share))
            for share, name in QUANTILES
            if norms
        ],
        largest=max(norms, default=None),
        clip_norm=clip,
        clip_passed=optimizer.clip_norm,
        clip_value=optimizer.clip_value,
        clip_norms=measured.clip_norms,
        clip_compares=measured.compared.what,
        clip_unlike=measured.compared.why_not,
        clip_acted=(sum(acted), len(acted), series_share(acted)) if acted else None,
        clip_calls=(
            sum(step.norm_clip is not None for step in measured.after),
            len(measured.after),
        ),
        clipped=clipped,
        clip_interval=measured.clip_interval(clip) if clip is not None else (0.0, 1.0),
        rates=(min(rates), max(rates)) if rates else None,
        backward_calls=optimizer.backward_calls,
        batch_norm=_batch_norm(measured),
        precision=optimizer.precision,
        loss_scale=scales[-1] if scales else None,
        layers=layers_of(measured),
    )


def _batch_norm(measured: Measured) -> str:
    """`6 samples at a time`; empty where there is no BatchNorm or none was seen."""
    optimizer = measured.optimizer
    seen = optimizer.batch_norm_batch
    if seen is not None:
        return f"{seen} sample{'s' if seen != 1 else ''} at a time"
    if optimizer.batch_norm_modes == {"eval"}:
        return "in eval mode: nothing from the batch"
    if optimizer.batch_norm_layers:
        never = "batch_norm_unseen" in measured.record.topics
        return "its batch was not seen" + (": none was called from Python" if never else "")
    return "no such layer" if optimizer.batch_norm_layers == 0 else ""


def layers_of(measured: Measured) -> list[Layer]:
    """The layers by their share of the squared gradient norm, the largest first."""
    names = measured.optimizer.layers
    shares = [0.0] * len(names)
    norms: list[list[float]] = [[] for _ in names]
    counted = 0
    for step in measured.after or measured.optimizer.steps:
        known = [
            (at, norm)
            for at, norm in enumerate(step.layer_norms[: len(names)])
            if norm is not None and isfinite(norm)
        ]
        total = sum(norm * norm for _, norm in known)
        if not total:
            continue
        counted += 1
        for at, norm in known:
            shares[at] += norm * norm / total
            norms[at].append(norm)
    if not counted:
        return []
    updates = update_ratios(measured)
    found = [
        Layer(name, shares[at] / counted, quantile(norms[at], 0.5), updates.get(at))
        for at, name in enumerate(names)
        if norms[at]
    ]
    return sorted(found, key=lambda layer: -layer.share)


TOPICS = {
    "GA931": "share of clipped steps", "GA932": "a clip that never acts", "GA933": "heavy tail",
    "GA934": "spikes", "GA935": "growth", "GA941": "vanishing layers", "GA942": "layers far apart",
    "GA961": "auxiliary share", "GA962": "starved task", "GA963": "idle term",
    "GA964": "terms that spike", "GA954": "a loss that rises",
}  # fmt: skip
"""What a rule looks at, in a few words."""


def _broken_since(measured: Measured) -> int | None:
    """The step from which on no gradient that was used is finite; None where the last one is."""
    since = None
    for step in reversed([step for step in measured.optimizer.steps if not step.skipped]):
        norms = (step.pre_clip_norm, step.post_clip_norm)
        if not step.non_finite and all(norm is None or isfinite(norm) for norm in norms):
            break
        since = step.step
    return since


def lacking_text(measured: Measured) -> list[str]:
    """What had too few steps, and how many more a record needs: a text for each number of them.
    Where the gradient is NaN or infinite to the end, more steps bring no more norms."""
    since = _broken_since(measured)
    if since is not None and measured.wanted:
        codes = [f"{TOPICS.get(code, 'rule')} ({code})" for code in sorted(measured.wanted)]
        return [
            f"more steps would not help, the gradient is NaN or infinite from step {since} on: "
            + ", ".join(codes)
        ]
    by_need: dict[tuple[bool, int], list[str]] = {}
    for code, more in sorted(measured.wanted.items()):
        need = (True, measured.short.get(code, 0)) if more is None else (False, more)
        by_need.setdefault(need, []).append(f"{TOPICS.get(code, 'rule')} ({code})")
    texts = []
    if not measured.warmup.over and measured.record.source == "probe":
        more = measured.lacking(0)
        if more is not None and measured.series.steps:
            past = measured.series.steps[-1] + more
            texts.append(f"`--skip-steps {past}` leaves the warm-up out")
    for (after, more), codes in sorted(by_need.items()):
        wanted = f"{number(more)} {'' if after else 'more '}step{'s' if more != 1 else ''}"
        if after:
            wanted += " after the warm-up, whose end is not known"
        texts.append(f"{wanted}: {', '.join(codes)}")
    return texts


def older_text(measured: Measured) -> str:
    """That the config was changed since, how that is known, and what follows."""
    changed = measured.changed.removeprefix("was ")
    return (
        f"{changed} ({measured.older}): what may be so on purpose is no fault, "
        "and no clip norm is recommended where batch or loss weights may be others"
    )


def files_text(measured: Measured) -> list[str]:
    """What the run wrote, deleted and, where it looks like a checkpoint, read on its way: in order
    of time, but first what looks like a checkpoint, for that is what may be lost."""
    texts = []
    for operation, verb in (("write", "wrote"), ("delete", "deleted"), ("read", "read")):
        paths = sorted(
            (
                str(entry.get("path"))
                for entry in measured.record.files
                if entry.get("operation") == operation
            ),
            key=lambda path: not path.lower().endswith(CHECKPOINTS),
        )
        if paths:
            more = f" and {len(paths) - 4} more" if len(paths) > 4 else ""
            texts.append(f"{verb} {', '.join(paths[:4])}{more}")
    return texts
