"""GA933: norms of which a few are huge."""

from __future__ import annotations

from gradaudit.evidence.statistics import median, steady_tail_ratio, tail_ratio
from gradaudit.findings import INFO, MEDIUM, WARNING
from gradaudit.plan.measured import ENOUGH_TO_RECOMMEND
from gradaudit.rules import rule
from gradaudit.rules.recorded import RECORD_PAGE, report
from gradaudit.rules.recorded_threshold import HEAVY, LARGEST, jumps, norms_text, stands_out
from gradaudit.rules.text import times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits


@rule(
    "GA933",
    "heavy-tailed-gradient-norm",
    scope="record",
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"tail": HEAVY, "largest": LARGEST, "steps": ENOUGH_TO_RECOMMEND},
    references=(
        "https://arxiv.org/abs/2204.02311 (Chowdhery et al. 2022, PaLM: spikes, skipped batches)",
        "docs/measurements.md",
        RECORD_PAGE,
    ),
)
def heavy_tailed_gradient_norm(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """Most gradients are small and a few are huge.

    Why:
        The few decide: under SGD they are the long steps, under Adam they fill the second moment
        and make the steps after them short. Behind them stand mostly a penalty that is active on
        few batches, a rare kind of sample, padding, or a division by a small number. On the
        reconstructed training the 95th percentile is 38 times the median as written, and 8 times
        with its three heavy penalties lowered (measurements#weights).

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 120, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.0, "post_clip_norm": 1.0}
        {"kind": "step", "step": 4, "to": 120, "every": 10, "events": "ZBS",
         "learning_rate": [1e-3], "pre_clip_norm": 40.0, "post_clip_norm": 40.0}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 120, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.0, "post_clip_norm": 1.0}
        {"kind": "step", "step": 4, "to": 120, "every": 10, "events": "ZBS",
         "learning_rate": [1e-3], "pre_clip_norm": 1.4, "post_clip_norm": 1.4}

    Tell:
        Log the gradient norm of each loss term, and the sample ids of the steps with the largest
        norm: is it always the same term, or the same samples?

    Symptoms:
        gradient norm spikes
        loss spikes
        one loss term drowns the others

    Fix:
        None: a threshold hides the spikes; which term or which samples make them is to be found.

    Limits:
        tail: 95th percentile over the median; of the norms, and of each over the median of its 12
          neighbours on either side.
        largest: largest norm over the median, likewise.
        steps: fewest steps after the warm-up to judge.

    False positives:
        Reinforcement learning and very small batches have long tails. One outlier alone fires it
        only at 50 times the median. A norm that falls or rises by orders over the record (a
        training that converges) is no tail: each norm must stand out of its neighbours too. Where
        the one outlier is the first step of the training, it is that of the initial weights, and an
        info: of a WGAN whose critic is clamped after its steps only, 85 times the median.
    """
    if not measured.enough("GA933", int(limits["steps"])):
        return
    tail = tail_ratio(measured.norms)
    if tail is None:
        return
    steady = steady_tail_ratio(measured.norms) or 0.0
    largest = max(measured.norms) / median(measured.norms)
    by_tail = steady >= limits["tail"]
    if not by_tail and not stands_out(measured.norms, limits["largest"]):
        return
    if not by_tail and not jumps(measured, limits["largest"]):
        yield _first_alone(measured, largest)
        return
    yield report(
        measured,
        ["clip_norm", "optimizer", "learning_rate"],
        f"the 95th percentile of the norm is {times(tail)} its median"
        if by_tail
        else f"the largest norm is {times(largest)} the median",
        severity=WARNING,
        confidence=MEDIUM,
        why=["A few steps decide: a rare term, rare samples or a division by a small number."],
        evidence=[norms_text(measured)],
        next="Log the norm of each loss term (`gradaudit dryrun`), and which samples the largest "
        "steps saw. Set no threshold before.",
        cause="loss-weights",
    )


def _first_alone(measured: Measured, largest: float) -> Finding:
    return report(
        measured,
        ["clip_norm", "optimizer", "learning_rate"],
        f"the norm of the first step is {times(largest)} the median, and no other stands out",
        severity=INFO,
        confidence=MEDIUM,
        why=[
            "It is the gradient of the initial weights, whatever the training is like later.",
            "Under SGD a long first step; Adam and RMSprop make shorter ones until it fades.",
        ],
        evidence=[norms_text(measured)],
        next="Look at the initialisation. Weights that are clamped after each step, as in the "
        "critic of a WGAN, can be clamped once before the first.",
    )
