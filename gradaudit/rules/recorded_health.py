"""GA9: gradients that are no numbers, a loss scale that collapses, ranks that disagree."""

from __future__ import annotations

from math import isfinite

from gradaudit.evidence.statistics import series_share
from gradaudit.findings import ERROR, HIGH, MEDIUM, WARNING
from gradaudit.rules import rule
from gradaudit.rules.recorded import RECORD_PAGE, report, share_text, some
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.record import Step
    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits


@rule(
    "GA951",
    "non-finite-gradients",
    scope="record",
    severities=(ERROR, WARNING),
    confidence=HIGH,
    references=(
        (
            "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html "
            "(error_if_nonfinite)"
        ),
        RECORD_PAGE,
    ),
)
def non_finite_gradients(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The loss or a gradient is NaN or infinity, and no loss scaler skips the step.

    Why:
        One NaN in a gradient is NaN in the weights after the step, and in Adam's moments for good.
        A clip by norm makes it worse: with an infinite norm it turns the infinite element into NaN
        and all others into 0. A loss that is NaN with a gradient that is finite is a warning: a
        term is broken whose gradient happens to have a value, such as the log of a negative number.
        A dry run stops before such a step, and it is the same fault: a training takes the step.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW", "layers": ["a.weight"]}
        {"kind": "step", "step": 1, "to": 11, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.1, "post_clip_norm": 1.1}
        {"kind": "step", "step": 12, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": "nan", "post_clip_norm": "nan", "non_finite": ["a.weight"]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW", "layers": ["a.weight"]}
        {"kind": "step", "step": 1, "to": 12, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.1, "post_clip_norm": 1.1}

    Tell:
        Run the step again under `torch.autograd.detect_anomaly()`: it names the operation.

    Symptoms:
        loss is nan
        loss is nan after some hundred steps

    Fix:
        None: find the operation; `error_if_nonfinite=True` in the clip stops the run there.

    False positives:
        Steps that a GradScaler skips are not counted: overflow is how it finds its scale.
    """
    steps = measured.optimizer.steps
    if measured.record.non_finite is not None:
        yield _before_the_step(measured, *measured.record.non_finite)
        return
    found = [step for step in steps if not step.skipped and _is_broken(step)]
    if not found:
        yield from _loss_alone(measured)
        return
    first = found[0]
    where = f", first in {some(first.non_finite)}" if first.non_finite else ""
    yield report(
        measured,
        ["precision", "learning_rate", "optimizer"],
        f"NaN or infinity in the gradient at step {first.step}{where}, and the optimizer stepped",
        severity=ERROR,
        why=["The weights that it reached are NaN from then on, and Adam's moments with them."],
        evidence=[
            f"at {len(found)} of {len(steps)} steps; the loss scale, if any, did not skip them",
            *_where(measured, first),
        ],
        next="Run that step under `torch.autograd.detect_anomaly()`; until it is mended let the "
        "clip stop the run (`error_if_nonfinite=True`).",
    )


def _before_the_step(measured: Measured, step: int, what: str) -> Finding:
    """What a dry run met. It takes no step with such a gradient; a training does."""
    rates = [rate for seen in measured.optimizer.steps[-1:] for rate in seen.learning_rate[:1]]
    at = f", the last of them at a learning rate of {number(rates[0])}" if rates else ""
    look = "`torch.autograd.detect_anomaly()` names the operation that makes a NaN."
    if not what.startswith("the gradient"):
        look = "Look at what makes it in the loss (log or division of 0, an exp that overflows)."
    return report(
        measured,
        ["precision", "learning_rate", "optimizer"],
        f"at step {step} {what}: the dry run stopped before it, a training goes on",
        severity=ERROR,
        why=["The weights that it reaches are NaN from then on, and Adam's moments with them."],
        evidence=[f"{step - 1} steps before it were finite{at}"],
        next=f"{look} If norms grew before it, the learning rate or a weight of the loss is too "
        "large; else look at the batch of that step.",
    )


def _loss_alone(measured: Measured) -> Iterator[Finding]:
    """A loss that is NaN where the gradient is not. Infinity may be the loss scale's doing."""
    used = [step for step in measured.optimizer.steps if step.backward_roots and not step.skipped]
    found = [s for s in used if any(root is not None and root != root for root in s.backward_roots)]
    if not found:
        return
    yield report(
        measured,
        ["precision", "learning_rate", "optimizer"],
        f"the loss is NaN at step {found[0].step} and its gradient finite: the training goes on",
        severity=WARNING,
        why=["A term of the loss has no value there; what it was to teach is missing."],
        evidence=[f"what backward was called on was NaN at {len(found)} of {len(used)} steps"],
        next="Most often it is a mean over nothing: a batch whose targets are all ignored or "
        "masked, which does no harm to the weights. Else a logarithm of a negative number, or a "
        "part outside the graph.",
    )


def _where(measured: Measured, step: Step) -> list[str]:
    """Whether the forward or the backward pass broke, where the numbers that backward was called on
    tell: infinity may be the loss scale's, and what is finite here not so on another rank."""
    roots = step.backward_roots
    if any(root is not None and root != root for root in roots):
        return ["the loss itself was NaN there: look at the forward pass and the batch"]
    scale = step.loss_scale or 1.0
    known = [root / scale for root in roots if root is not None and isfinite(root)]
    every = len(known) == len(roots) == step.backward_calls
    if not known or not every or measured.record.world_size > 1:
        return []
    return [f"the loss was finite there ({number(known[0])}): it arose in the backward pass"]


def _is_broken(step: Step) -> bool:
    if step.non_finite:
        return True
    norms = (step.pre_clip_norm, step.post_clip_norm)
    return any(norm is not None and not isfinite(norm) for norm in norms)


@rule(
    "GA952",
    "loss-scale-collapses",
    scope="record",
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"settle": 20, "skipped": 0.05, "scale": 1},
    references=("https://docs.pytorch.org/docs/stable/amp.html (GradScaler)", RECORD_PAGE),
)
def loss_scale_collapses(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The loss scale falls below 1, or the scaler skips more steps than it should.

    Why:
        A scaler halves its scale at each overflow and doubles it after 2,000 good steps, so that
        at rest it skips about one step in 2,000. One in twenty means true overflows or NaN that no
        scale cures. A scale below 1 makes small gradients vanish that fp32 would keep.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 100, "events": "ZBUS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.1, "post_clip_norm": 1.1, "loss_scale": 64}
        {"kind": "step", "step": 5, "to": 100, "every": 6, "events": "ZBUK",
         "learning_rate": [1e-3], "loss_scale": 0.5, "skipped": true}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 100, "events": "ZBUS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.1, "post_clip_norm": 1.1, "loss_scale": 1024}
        {"kind": "step", "step": 1, "to": 6, "events": "ZBUK",
         "learning_rate": [1e-3], "loss_scale": 65536, "skipped": true}

    Tell:
        Log `scaler.get_scale()` every hundred steps.

    Symptoms:
        works in fp32, not in fp16
        loss is nan after some hundred steps

    Fix:
        None: bf16 where the device has it, else a lower rate; find the operation that overflows.

    Limits:
        settle: first steps, at which overflows are how the scaler finds its scale.
        skipped: share of skipped steps after them; the lower end of its interval must be above it.
        scale: a last loss scale below this.

    False positives:
        A short record right after the start, with a high initial scale: the first 20 steps do not
        count.
    """
    steps = measured.optimizer.steps
    scales = [step.loss_scale for step in steps if step.loss_scale is not None]
    if not scales:
        return
    later = [step for step in steps if step.step > limits["settle"]]
    skipped = sum(step.skipped for step in later)
    low, high = series_share([step.skipped for step in later])
    last = scales[-1]
    if low <= limits["skipped"] and last >= limits["scale"]:
        return
    many = low > limits["skipped"]
    message = (
        f"the scaler skipped {skipped} of {len(later)} steps ({percent(skipped / len(later))}; "
        f"{share_text(low, high)})"
        if many
        else f"the loss scale fell to {number(last)}"
    )
    yield report(
        measured,
        ["precision", "loss_scale", "optimizer"],
        message,
        severity=WARNING,
        confidence=MEDIUM,
        why=[
            "At rest a scaler skips one step in some thousand. So many mean true overflows or NaN, "
            "which no scale cures."
            if many
            else "Below 1 it makes small gradients vanish that fp32 would keep."
        ],
        evidence=[
            (
                f"loss scale {number(scales[0])} at first, {number(last)} at last; steps up to "
                f"{number(limits['settle'])} do not count"
            )
        ],
        next="Train in bf16 where the device has it; else find the operation that overflows "
        "(often attention or a division), and keep it in fp32.",
    )


@rule(
    "GA953",
    "ranks-disagree",
    scope="record",
    severities=(ERROR,),
    confidence=MEDIUM,
    references=(
        "https://docs.pytorch.org/docs/stable/notes/ddp.html (gradients are averaged over ranks)",
        RECORD_PAGE,
    ),
)
def ranks_disagree(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The processes of one training step with different gradients.

    Why:
        Data parallel training averages the gradient over all ranks before the step, so that all
        have the same bit for bit. Where they differ each rank trains a model of its own, and the
        checkpoint of one is saved.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record of 2 ranks
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": [1.1, 1.4], "post_clip_norm": [1.1, 1.4]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record of 2 ranks
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": [1.1, 1.1], "post_clip_norm": [1.1, 1.1]}

    Tell:
        Print the sum of all parameters on each rank after some steps.

    Symptoms:
        works on one GPU, not on eight

    Fix:
        None: the code. A model that is called without its DDP wrapper, `no_sync` around the last
        micro-batch, or a step that only one rank takes.

    False positives:
        Local SGD and other schemes that average weights now and then. Shards that are not marked
        as such (FSDP1, ZeRO) are recognised where the recorder says so.
    """
    for found in measured.record.disagreements:
        if found.optimizer != measured.optimizer.index:
            continue
        norms = " and ".join(
            "no norm" if norm is None else number(norm) if isfinite(norm) else str(norm)
            for norm in found.norms[:4]
        )
        yield report(
            measured,
            ["world_size", "optimizer"],
            f"ranks step with different gradients: norms {'before the clip ' * found.before_clip}"
            f"{norms} at step {found.step}",
            severity=ERROR,
            confidence=MEDIUM,
            why=["Each rank trains a model of its own; the checkpoint holds one of them."],
            evidence=[f"they differ at {found.steps} of {found.of} steps"],
            next="Is the model called through its DDP wrapper, and `no_sync` left before the last "
            "micro-batch? Or are the tensors shards (FSDP1, ZeRO)?",
        )
