"""GA9: what a dry run measured of batches: BatchNorm's noise, bias, noise scale, directions."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, MEDIUM, WARNING
from gradaudit.plan.terms import shares_of
from gradaudit.rules import rule
from gradaudit.rules.recorded import RECORD_PAGE, report, some
from gradaudit.rules.text import number, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits

    Interval = tuple[float, float, float]

WU_HE = "https://arxiv.org/abs/1803.08494 (Wu & He 2018, GroupNorm: BatchNorm at small batches)"


def _line(measured: Measured, kind: str) -> dict[str, Any]:
    """The last line of a kind; empty where there is none, or the unit is another."""
    lines = measured.record.others.get(kind, []) if measured.comparable else []
    return lines[-1] if lines else {}


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0:
        return float(value)
    return None


def _interval(value: object) -> Interval | None:
    """`[value, low, high]`; None where noise hides it."""
    if not isinstance(value, list) or len(value) != 3:
        return None
    found = [_number(item) for item in value]
    if found[0] is None or found[1] is None or found[2] is None:
        return None
    return found[0], found[1], found[2]


@rule(
    "GA971",
    "batch-norm-statistics-noisy",
    scope="record",
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"warning": 0.5, "info": 0.3},
    references=(
        WU_HE,
        "Ben Braiek & Khomh 2023, TheDeepChecker (the step from training to evaluation mode)",
        RECORD_PAGE,
    ),
)
def batch_norm_statistics_noisy(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """BatchNorm's means stray from batch to batch by a good part of the activations' spread.

    Why:
        Each sample is normalised by what else happens to be in its batch. In evaluation the running
        average takes the place of these means, and the network gets inputs that it never had.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "batch_norm_noise", "layers": [{"layer": "head.1", "noise": 0.62, "values": 2}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "batch_norm_noise", "layers": [{"layer": "head.1", "noise": 0.08, "values": 64}]}

    Tell:
        Compare the loss of one batch in `train()` and in `eval()` mode, with dropout set to 0.

    Symptoms:
        validation far worse than training

    Fix:
        None: a larger micro-batch, SyncBatchNorm or GroupNorm. Never accumulation.

    Limits:
        warning: standard deviation of a batch's mean over that of the activations, median over
          channels, of the worst layer, from which it is a warning.
        info: from which it is an info.

    False positives:
        A network that is evaluated with the batch's own statistics (some GANs).
    """
    found: list[tuple[float, str]] = []
    layers = _line(measured, "batch_norm_noise").get("layers")
    for layer in layers if isinstance(layers, list) else []:
        noise = _number(layer.get("noise")) if isinstance(layer, dict) else None
        if noise is not None and noise >= limits["info"]:
            found.append((noise, str(layer.get("layer"))))
    if not found:
        return
    found.sort(reverse=True)
    worst, name = found[0]
    yield report(
        measured,
        ["micro_batch", "norm", "optimizer"],
        f"BatchNorm's means stray by {percent(worst)} of the activations' spread (`{name}`)",
        severity=WARNING if worst >= limits["warning"] else INFO,
        confidence=MEDIUM,
        label="so few that means stray",
        why=[("Each sample is normalised by its neighbours; in evaluation the network gets inputs "
             "that it never had.")],
        evidence=[f"so in {len(found)} layers: {some([layer for _, layer in found])}"],
        next="A larger micro-batch, SyncBatchNorm across devices, or GroupNorm; accumulation does "
        "not help.",
        cause="micro-batch",
    )  # fmt: skip


@rule(
    "GA972",
    "small-batch-biases-gradient",
    scope="record",
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"cosine": 0.7},
    references=("docs/measurements.md", RECORD_PAGE),
)
def small_batch_biases_gradient(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The gradient expected at the micro-batch points elsewhere than that of a larger one.

    Why:
        This is bias and not noise: averaging over steps, or accumulating, keeps it. BatchNorm,
        losses over pairs and statistics of the batch make the loss itself depend on the batch's
        size. On the reconstructed training the cosine at batch 6 is 0.46
        (measurements#batch-6-x-accumulation-4).

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "batch_size_bias", "micro_batch": 6, "large": 24, "batches": 200,
         "cosine": [0.5, 0.42, 0.58]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "batch_size_bias", "micro_batch": 6, "large": 24, "batches": 200,
         "cosine": [0.93, 0.86, 0.98]}

    Tell:
        Average the gradient over some hundred batches at two sizes, at the same weights.

    Symptoms:
        works on one GPU, not on eight
        worse than the published result

    Fix:
        None: a larger micro-batch; accumulation keeps the bias.

    Limits:
        cosine: the upper end of its 95 % interval must be below this.

    False positives:
        Contrastive losses, which are meant to depend on the batch.
    """
    line = _line(measured, "batch_size_bias")
    cosine = _interval(line.get("cosine"))
    if cosine is None or cosine[2] >= limits["cosine"]:
        return
    small, large = _number(line.get("micro_batch")), _number(line.get("large"))
    if small is None or large is None:
        return
    value, low, high = cosine
    frozen = _interval(line.get("cosine_frozen_norm"))
    evidence = [
        (
            f"cosine {value:.2f} (95 % interval {low:.2f} to {high:.2f}) with the "
            f"expected gradient at {number(large)} samples"
        )
    ]
    if frozen is not None:
        evidence.append(f"with BatchNorm on its running statistics it is {frozen[0]:.2f}")
    yield report(
        measured,
        ["micro_batch", "optimizer"],
        f"at {number(small)} samples the expected gradient points elsewhere than at "
        f"{number(large)}: cosine {value:.2f}",
        severity=WARNING,
        confidence=MEDIUM,
        label="biases the gradient",
        why=["This is bias and not noise: accumulating and averaging over steps keep it."],
        evidence=evidence,
        next="A larger micro-batch, or a loss and a normalisation that do not look at the batch.",
        cause="micro-batch",
    )


@rule(
    "GA973",
    "term-gradients-conflict",
    scope="record",
    severities=(INFO,),
    confidence=MEDIUM,
    limits={"cosine": -0.2, "share": 0.1},
    references=("https://arxiv.org/abs/2001.06782 (Yu et al. 2020, PCGrad)", RECORD_PAGE),
)
def term_gradients_conflict(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """Two terms of the loss pull in opposite directions, beyond what noise does.

    Why:
        A part of each cancels the other, and which one wins is settled by their weights.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "mse", "weight": 1.0, "gradient_norm": 1.0},
          {"name": "ranking", "weight": 1.0, "gradient_norm": 1.2}]}
        {"kind": "frozen", "names": ["mse", "ranking"], "batches": 100,
         "cosines": [[null, [-0.6, -0.7, -0.5]], [[-0.6, -0.7, -0.5], null]]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "mse", "weight": 1.0, "gradient_norm": 1.0},
          {"name": "ranking", "weight": 1.0, "gradient_norm": 1.2}]}
        {"kind": "frozen", "names": ["mse", "ranking"], "batches": 100,
         "cosines": [[null, [0.1, -0.1, 0.3]], [[0.1, -0.1, 0.3], null]]}

    Tell:
        Measure with split batches: cosines within one batch hold its shared noise.

    Symptoms:
        one loss term drowns the others

    Fix:
        None: which of the two is wanted more is the user's choice.

    Limits:
        cosine: the upper end of the 95 % interval must be below this.
        share: each term's share of the gradient at least.

    False positives:
        A regulariser is meant to pull back. The cosines are those at one set of weights.
    """
    line = _line(measured, "frozen")
    names, rows = line.get("names"), line.get("cosines")
    if not isinstance(names, list) or not isinstance(rows, list) or not measured.terms:
        return
    shares = {share.name: share.share for share in shares_of(measured)}
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            second = names[j]
            row = rows[i] if i < len(rows) and isinstance(rows[i], list) else []
            cosine = _interval(row[j]) if j < len(row) else None
            small = min(shares.get(str(first), 0.0), shares.get(str(second), 0.0))
            if cosine is None or cosine[2] >= limits["cosine"] or small < limits["share"]:
                continue
            yield report(
                measured,
                ["optimizer"],
                f"`{first}` and `{second}` pull in opposite directions: cosine {cosine[0]:.2f}",
                severity=INFO,
                confidence=MEDIUM,
                why=["A part of each cancels the other; their weights settle which one wins."],
                evidence=[
                    (
                        f"95 % interval {cosine[1]:.2f} to {cosine[2]:.2f}, free of the "
                        f"noise of single batches; both have {percent(small)} of the gradient "
                        "or more"
                    )
                ],
                next="If both are wanted, look at what they ask of the same output.",
                cause="loss-weights",
            )


@rule(
    "GA974",
    "batch-far-from-noise-scale",
    scope="record",
    severities=(INFO,),
    confidence=MEDIUM,
    limits={"ratio": 10},
    references=(
        "https://arxiv.org/abs/1812.06162 (McCandlish et al. 2018, the gradient noise scale)",
        RECORD_PAGE,
    ),
)
def batch_far_from_noise_scale(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The batch of a step is ten times smaller, or larger, than the gradient's noise scale.

    Why:
        Far below it a larger batch saves steps at hardly any cost in samples; far above it each
        sample is worth less. It is about efficiency and not about what is learnt.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        batch_size: 8
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "backward_calls": 1}
        {"kind": "noise", "noise_scale": 900, "low": 600, "high": 1400, "micro_batch": 8}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        batch_size: 128
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "backward_calls": 1}
        {"kind": "noise", "noise_scale": 900, "low": 600, "high": 1400, "micro_batch": 128}

    Tell:
        The noise scale grows during training: measure it again later.

    Symptoms:
        slow or wasted training

    Fix:
        None: the batch is a matter of the machine, and the rate goes with it.

    Limits:
        ratio: batch over noise scale, or the reverse; the nearer end of the interval counts.

    False positives:
        Early in training the noise scale is small. It is not measured with BatchNorm or losses
        that couple samples. Under Adam it is a proxy.
    """
    line = _line(measured, "noise")
    low, micro = _number(line.get("low")), _number(line.get("micro_batch"))
    high = _number(line.get("high"))
    if low is None or micro is None or micro < 1 or low <= 0:
        return
    stands_for = _number(_line(measured, "trajectory").get("ranks")) or 1  # devices, of a dry run
    devices = measured.record.world_size * stands_for
    batch = micro * (measured.optimizer.backward_calls or 1) * devices
    if batch * limits["ratio"] <= low:
        message = f"the batch of {number(batch)} is {times(low / batch)} below the noise scale"
        following = "A larger batch, with a higher rate, saves steps."
    elif high is not None and not line.get("lower_bound_only") and batch >= limits["ratio"] * high:
        message = f"the batch of {number(batch)} is {times(batch / high)} above the noise scale"
        following = "A smaller batch reaches the same with fewer samples, in more steps."
    else:
        return
    scale = _number(line.get("noise_scale"))
    shown = f"noise scale {number(scale)}" if scale is not None else "noise scale"
    upper = f" to {number(high)}" if high is not None else " or more"
    yield report(
        measured,
        ["global_batch", "micro_batch", "optimizer"],
        message,
        severity=INFO,
        confidence=MEDIUM if not measured.unit.is_sgd else HIGH,
        label="of the noise scale",
        why=["It is about the steps and samples that the training takes, not what it learns."],
        evidence=[f"{shown}, 95 % interval {number(low)}{upper} samples; it grows during training"],
        next=following,
    )
