"""GA9: what a step does to the weights, and whether it is still there when the next one begins."""

from __future__ import annotations

from gradaudit.evidence.statistics import median
from gradaudit.findings import ERROR, HIGH, INFO, MEDIUM, WARNING
from gradaudit.plan.measured import PARTIAL
from gradaudit.rules import rule
from gradaudit.rules.recorded import RECORD_PAGE, report
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits


@rule(
    "GA924",
    "update-undone",
    scope="record",
    severities=(ERROR, WARNING, INFO),
    confidence=HIGH,
    limits={"left": 0.05, "looks": 3, "sure": 5},
    references=(
        (
            "https://docs.pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema (an "
            "average of the weights is a model of its own)"
        ),
        (
            "https://arxiv.org/abs/1704.00028 (Gulrajani et al. 2017, figure 1: a WGAN's clamp "
            "drives the weights of the critic to the two ends of their range)"
        ),
        RECORD_PAGE,
    ),
)
def update_undone(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """After each step something puts the weights back to what they were before it.

    Why:
        Gradients, norms, rates and updates all look healthy, and the model does not change: a state
        that is restored after the step, or an average that is copied into the trained model
        instead of kept beside it. An average with a decay of 0.999 leaves a thousandth of each
        step. Where what is there is exactly what the step made, clamped, the weights stand at the
        bounds of a clamp, as in a WGAN's critic: a method, and an info.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 80, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "step", "step": 12, "to": 80, "every": 11, "events": "ZBS",
         "learning_rate": [1e-3],
         "last_update": {"looked": 6, "moved": 6, "kept": 0, "back": 6, "left": 0.0}}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 80, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "step", "step": 12, "to": 80, "every": 11, "events": "ZBS",
         "learning_rate": [1e-3],
         "last_update": {"looked": 6, "moved": 6, "kept": 6, "back": 0, "left": 1.0}}

    Tell:
        Keep one weight before a step and print it before the next: is it the same number?

    Symptoms:
        loss is flat

    Fix:
        None: look for `load_state_dict`, `copy_` and `.data =` in what runs after the step.

    Limits:
        left: share of a step's change that is there when the next begins, up to which it is undone.
        looks: fewest looks, all of which must show it; one every eleventh step.
        sure: looks from which weights that are the same bit for bit are an error.

    False positives:
        Meta-learning whose inner loop of one step is undone on purpose: where a second optimizer
        holds the same tensors nothing is said, else the finding is wrong. Longer inner loops are
        not met at each look. Local SGD that averages many workers after each step can leave little
        of one's own. Where every tensor has but one or two numbers, a step outwards that is undone
        looks clamped. What changes weights a little (projections, masks of a pruning, decay by
        hand) or now and then (Lookahead, SWA) leaves more; an average that is swapped in for an
        evaluation and out again is not seen. FSDP1, ZeRO and DeepSpeed are not judged.
    """
    looks = [step.last_update for step in measured.optimizer.steps if step.last_update]
    looks = [look for look in looks if look.moved]
    # An optimizer is described at its first step: of two that share tensors only the later tells.
    shared = any(optimizer.shared_tensors for optimizer in measured.record.optimizers)
    if len(looks) < limits["looks"] or shared:
        return
    if measured.record.topics & PARTIAL:
        return
    whole = all(look.back == look.moved for look in looks)
    rests = [look.left for look in looks if look.left is not None]
    if not whole and (len(rests) < len(looks) or max(rests) > limits["left"]):
        return
    if all(look.clamped == look.moved - look.kept for look in looks):
        yield _at_bounds(measured, len(looks), rests)
        return
    sure = whole and len(looks) >= limits["sure"]
    rest = "nothing" if whole else f"{percent(median(rests))}"
    tensors = max(look.looked for look in looks)
    yield report(
        measured,
        ["optimizer", "learning_rate"],
        f"of what a step does to the weights {rest} is left when the next one begins",
        severity=ERROR if sure else WARNING,
        confidence=HIGH if sure else MEDIUM,
        label="its steps are undone",
        why=[
            "Something restores the weights after the step: the model does not train."
            if whole
            else "Something copies other weights in after the step, an average perhaps: the model "
            "hardly trains."
        ],
        evidence=[
            (
                f"looked at {number(len(looks))} times, in the first numbers of {tensors} "
                f"tensor{'s' if tensors != 1 else ''}: "
                + ("each time the same bit for bit as before the step" if whole
                   else f"at most {percent(max(rests))} of the step's change was there")
            )
        ],
        next="Look for `load_state_dict`, `copy_` and `.data =` in what runs after the step: a "
        "callback, an average of the weights, a state kept for later.",
    )  # fmt: skip


def _at_bounds(measured: Measured, looks: int, rests: list[float]) -> Finding:
    """What is said of weights that a clamp keeps where they are."""
    most = max(rests, default=0.0)
    left = percent(most) if most else "nothing"
    return report(
        measured,
        ["optimizer", "learning_rate"],
        f"a clamp holds the weights at its bounds: {left} is left of what a step does",
        severity=INFO,
        confidence=MEDIUM,
        label="clamped after each step",
        why=[
            (
                "The clamp of a WGAN's critic drives its weights to the two ends of their range. "
                "There they stay; only what lies between them is still learnt."
            )
        ],
        evidence=[
            (
                f"looked at {number(looks)} times: each time the weights were what the step had "
                "made, clamped to the range that they have"
            )
        ],
        next="Nothing has to change where the clamp is meant; else look for `clamp_` in what runs "
        "after the step. A wider range or a gradient penalty (WGAN-GP) lets the critic learn more.",
    )
