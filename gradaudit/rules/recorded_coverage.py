"""GA9: parameters that a clip, an optimizer or an update leaves out."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, LOW, MEDIUM, WARNING
from gradaudit.plan.measured import PARTIAL
from gradaudit.rules import load, rule
from gradaudit.rules.recorded import RECORD_PAGE, report, some
from gradaudit.rules.recorded_layers import cancelled_biases
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.record import Step
    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits


@rule(
    "GA921",
    "clip-misses-parameters",
    scope="record",
    severities=(WARNING, INFO),
    confidence=HIGH,
    limits={"excess": 1.01},
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html",
        RECORD_PAGE,
    ),
)
def clip_misses_parameters(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The clip is given some of the parameters that the optimizer steps, not all.

    Why:
        The threshold bounds the part that was passed. What was left out (a head, an embedding, a
        second model) steps with whatever gradient it has, and the logged norm is that of the part.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBCS", "learning_rate": [1e-3],
         "pre_clip_norm": 0.9, "post_clip_norm": 0.9,
         "clips": [{"what": "norm", "clip_norm": 1.0, "covered": 4, "of": 6}]}
        {"kind": "step", "step": 5, "to": 40, "every": 10, "events": "ZBCS",
         "learning_rate": [1e-3], "pre_clip_norm": 2.7, "post_clip_norm": 2.2,
         "clips": [{"what": "norm", "clip_norm": 1.0, "covered": 4, "of": 6}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBCS", "learning_rate": [1e-3],
         "pre_clip_norm": 0.9, "post_clip_norm": 0.9,
         "clips": [{"what": "norm", "clip_norm": 1.0, "covered": 6, "of": 6}]}

    Tell:
        Compare what `clip_grad_norm_` returns with the norm over all parameters of the optimizer.

    Symptoms:
        gradient norm spikes

    Fix:
        None: the call is in the code. Pass `model.parameters()`, or all models' together.

    Limits:
        excess: norm at the step over the threshold, from which it is a warning.

    False positives:
        A head or an embedding that is left out on purpose: an info where the whole norm stays
        below the threshold. Several clips that cover everything between them are not reported.
    """
    steps = measured.optimizer.settled_steps
    partial = [step for step in steps if _uncovered(step)]
    if len(partial) < 2 or len(partial) * 2 <= len(steps):
        return
    last = partial[-1]
    clip = last.norm_clip
    assert clip is not None
    above = sum(
        step.post_clip_norm > (step.norm_clip.limit or 0) * limits["excess"]
        for step in partial
        if step.post_clip_norm is not None and step.norm_clip is not None
    )
    yield report(
        measured,
        ["clip_norm"],
        f"the clip covers {clip.covered} of the {clip.of} tensors that the optimizer steps",
        severity=WARNING if above else INFO,
        label=f"bounds {clip.covered} of {clip.of} tensors",
        why=[
            f"The rest steps unclipped: the whole norm was above the threshold at {above} of "
            f"{len(partial)} steps."
            if above
            else "The rest steps unclipped; so far the whole norm stayed below the threshold."
        ],
        evidence=[f"so at {len(partial)} of {len(steps)} steps"],
        next="Pass all parameters of the optimizer to one call of the clip.",
    )


def _uncovered(step: Step) -> bool:
    clip = step.norm_clip
    if clip is None or clip.covered is None or clip.of is None:
        return False
    together = sum(other.covered or 0 for other in step.clips)
    return clip.covered > 0 and together < clip.of


@rule(
    "GA922",
    "parameters-never-updated",
    scope="record",
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"steps": 10, "updates": 2},
    references=(
        "https://github.com/OrderLab/TrainCheck (parameters that are never trained, silently)",
        RECORD_PAGE,
    ),
)
def parameters_never_updated(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """Parameters are in the optimizer and do not move.

    Why:
        A tensor without a gradient is not reached by the loss: a branch that is never called, a
        `detach`, a layer that was replaced after the optimizer was made. One with a gradient whose
        value does not change has a rate of 0, or an update below its precision. A gradient of
        exactly 0 is GA941's.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW", "layers": ["body.weight", "head.weight"],
         "frozen": []}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "layer_norms": [0.7, null]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW", "layers": ["body.weight", "head.weight"]}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "layer_norms": [0.7, 0.3]}

    Tell:
        List the names whose `grad` is None after a backward.

    Symptoms:
        loss is flat
        worse than the published result

    Fix:
        None: whether they should move depends on the model.

    Limits:
        steps: fewest recorded steps.
        updates: fewest measured updates, all of them 0.

    False positives:
        Experts that no token reached, heads of tasks that are rare. Layers that are frozen, by
        `requires_grad_(False)` or a group with a rate of 0, are not reported; an older record does
        not tell the first: an info then. Shards (FSDP) are not judged.
    """
    optimizer = measured.optimizer
    steps = [step for step in optimizer.settled_steps if not step.skipped]
    if optimizer.sharded or len(steps) < limits["steps"] or measured.record.topics & PARTIAL:
        return
    told = optimizer.frozen is not None  # whether the record knows what asks for a gradient
    frozen = _without_rate(measured) | set(optimizer.frozen or ())
    seen = [step for step in steps if step.layer_norms]
    unreached = [
        name
        for position, name in enumerate(optimizer.layers)
        if position not in frozen
        and len(seen) >= limits["steps"]
        and all(position >= len(s.layer_norms) or s.layer_norms[position] is None for s in seen)
    ]
    cancelled = cancelled_biases(measured, load()["GA941"].limits["tiny"])
    moved = [step.update_ratio for step in steps if step.update_ratio]
    still = [
        name
        for position, name in enumerate(optimizer.layers)
        if position not in frozen
        and len(moved) >= limits["updates"]
        and name not in unreached
        and position not in optimizer.bias_before_batch_norm
        and position not in cancelled
        and any(position < len(s.layer_norms) and s.layer_norms[position] for s in seen)
        and all(position < len(ratio) and ratio[position] == 0 for ratio in moved)
    ]
    if unreached:
        yield report(
            measured,
            ["optimizer"],
            f"{len(unreached)} of {len(optimizer.layers)} tensors of the optimizer never have a "
            f"gradient: {some(unreached)}",
            severity=WARNING if told else INFO,
            confidence=MEDIUM if told else LOW,
            why=[
                "They stay as they were initialised: the loss does not reach them"
                + ("." if told else ", or they are frozen on purpose: this older record is silent.")
            ],
            evidence=[f"no gradient at any of {len(seen)} steps"],
            next="A branch that is never called, a `detach()`, or a layer replaced after the "
            "optimizer was made? "
            + (
                "Freeze on purpose with `requires_grad_(False)`."
                if told
                else "Where they have `requires_grad_(False)`, all is well; a new record tells."
            ),
        )
    if still:
        yield report(
            measured,
            ["learning_rate", "optimizer"],
            f"{len(still)} tensor{'s have' if len(still) != 1 else ' has'} a gradient and "
            f"{'do' if len(still) != 1 else 'does'} not move: {some(still)}",
            severity=WARNING,
            confidence=MEDIUM,
            why=["Their rate is 0, or the update is below the precision of the weight."],
            evidence=[f"the update was exactly 0 at all {len(moved)} steps that measured it"],
            next="Look at the rate of their group, and at the type of the weights: bf16 keeps 8 "
            "bits.",
        )


def _without_rate(measured: Measured) -> set[int]:
    """Positions of tensors whose group has a learning rate of 0 throughout."""
    groups = measured.optimizer.groups
    counts = [group.get("tensors") for group in groups]
    if not all(isinstance(count, int) for count in counts):
        return set()
    found: set[int] = set()
    start = 0
    for position, count in enumerate(counts):
        rates = [s.learning_rate[position] for s in measured.optimizer.steps
                 if position < len(s.learning_rate)]  # fmt: skip
        if rates and not any(rates):
            found.update(range(start, start + int(count or 0)))
        start += int(count or 0)
    return found


@rule(
    "GA923",
    "parameters-in-no-optimizer",
    scope="record",
    severities=(WARNING,),
    confidence=MEDIUM,
    references=("https://docs.pytorch.org/docs/stable/optim.html", RECORD_PAGE),
)
def parameters_in_no_optimizer(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The model has parameters that want a gradient and that no optimizer holds.

    Why:
        They cost memory and backward time and never change. Mostly a module was added after the
        optimizer was made, or a filter by name left it out.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW", "not_in_optimizer": ["head.weight", "head.bias"]}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW", "not_in_optimizer": []}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}

    Tell:
        Compare the ids of `model.parameters()` with those in `optimizer.param_groups`.

    Symptoms:
        loss is flat
        worse than the published result

    Fix:
        None: the optimizer is made in the code.

    False positives:
        Parameters that an optimizer of another kind steps (apex, a hand-written one): only torch's
        are seen.
    """
    names = measured.optimizer.not_in_optimizer
    if not names:
        return
    many = len(names) != 1
    yield report(
        measured,
        ["optimizer"],
        f"{number(len(names))} parameter{'s' if many else ''} of the model "
        f"{'are' if many else 'is'} in no optimizer: {some(names)}",
        severity=WARNING,
        confidence=MEDIUM,
        why=["They want a gradient and are never updated."],
        evidence=["`requires_grad` is set, and no optimizer that stepped holds them"],
        next="Make the optimizer after the last module is there, or freeze them on purpose with "
        "`requires_grad_(False)`.",
    )
