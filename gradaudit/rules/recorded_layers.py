"""GA9: single layers: gradients that vanish, or differ by orders, and the size of the updates."""

from __future__ import annotations

from math import isfinite, sqrt

from gradaudit.evidence.statistics import median
from gradaudit.findings import INFO, LOW, MEDIUM, WARNING
from gradaudit.rules import rule
from gradaudit.rules.recorded import RECORD_AGAIN, RECORD_PAGE, changed_since, report, some
from gradaudit.rules.text import number, rounded, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits


def typical_gradients(measured: Measured, steps: int) -> dict[int, float]:
    """Position of a layer -> median over the steps of its root mean square gradient per element.

    Only layers with a gradient at `steps` steps. Biases before a BatchNorm have none by
    construction (the layer subtracts them again) and are left out: those that the record names;
    where it names none and there are BatchNorm layers, every bias. Gradients that still bear the
    loss scale are left out too.
    """
    if not all(step.is_in_true_units for step in measured.after):
        return {}
    optimizer = measured.optimizer
    unnamed = bool(optimizer.batch_norm_layers) and not optimizer.bias_before_batch_norm
    found = {}
    for position, norms in enumerate(measured.layer_norms()):
        bias = optimizer.layers[position].endswith("bias")
        if position in optimizer.bias_before_batch_norm or (unnamed and bias):
            continue
        if len(norms) >= steps:
            found[position] = median(norms) / sqrt(measured.elements(position))
    return found


def _say_what_lacks(measured: Measured, code: str, steps: int) -> None:
    """Keep how many steps a record of layers is short of."""
    if len(measured.after) < steps and any(step.layer_norms for step in measured.optimizer.steps):
        measured.want(code, steps)


@rule(
    "GA941",
    "layer-gradient-vanishes",
    scope="record",
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"tiny": 1e-7, "steps": 20},
    references=(
        "https://docs.aws.amazon.com/sagemaker/latest/dg/vanishing-gradient.html (below 1e-7)",
        RECORD_PAGE,
    ),
)
def layer_gradient_vanishes(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """Layers get a gradient that is exactly 0, or next to it.

    Why:
        Exactly 0 at every step is a dead layer: its units are all off, or a `detach` or a mask
        cuts it off. Next to 0 is a layer that learns nothing under SGD. Adam divides by the
        gradient's size and moves it all the same, with the noise, until the size falls below
        `eps`.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        --- record
        {"kind": "optimizer", "class": "SGD", "layers": ["a.weight", "b.weight"],
         "shapes": [[8, 8], [8, 8]]}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [0.1],
         "layer_norms": [0.7, 0.0]}

    Good:
        optimizer: sgd
        learning_rate: 0.1
        --- record
        {"kind": "optimizer", "class": "SGD", "layers": ["a.weight", "b.weight"],
         "shapes": [[8, 8], [8, 8]]}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [0.1],
         "layer_norms": [0.7, 0.2]}

    Tell:
        Look at the activations of the layer before it: how many are 0 on a whole batch?

    Symptoms:
        gradient norm is tiny
        loss is flat

    Fix:
        None: initialisation, activation or the code.

    Limits:
        tiny: root mean square gradient per element, below which it counts as vanished.
        steps: fewest steps after the warm-up with a gradient.

    False positives:
        Branches that start at 0 on purpose, frozen parts, sparse experts. A bias whose own weight
        has a gradient is left out: it cancels by construction (before a normalisation, of the keys
        of an attention, at the end of a critic whose loss is a difference of scores).
    """
    _say_what_lacks(measured, "GA941", int(limits["steps"]))
    typical = typical_gradients(measured, int(limits["steps"]))
    series = measured.layer_norms()
    names = measured.optimizer.layers
    cancelled = cancelled_biases(measured, limits["tiny"])
    judged = {at: size for at, size in typical.items() if at not in cancelled}
    dead = [names[at] for at in judged if not any(series[at])]
    faint = [names[at] for at, size in judged.items() if 0 < size < limits["tiny"]]
    steps = len(measured.after)
    if dead:
        yield report(
            measured,
            ["optimizer"],
            f"{len(dead)} of {len(names)} tensors have a gradient of exactly 0 at every step: "
            f"{some(dead)}",
            severity=WARNING,
            confidence=MEDIUM,
            why=["A dead layer: its units are off, or something cuts it from the loss."],
            evidence=[f"0 at all of {steps} steps ({measured.span})"],
            next="Look at the activations before it, and for a `detach()` or a mask of zeros.",
        )
    if faint:
        yield report(
            measured,
            ["optimizer"],
            f"{len(faint)} of {len(names)} tensors have a gradient below {number(limits['tiny'])} "
            f"per element: {some(faint)}",
            severity=INFO if measured.unit.is_adaptive else WARNING,
            confidence=LOW,
            why=["Under SGD it learns nothing; Adam moves it by the noise, down to `eps`."],
            evidence=[f"root mean square over the tensor, median of {steps} steps"],
            next="Compare its initialisation and normalisation with those of its neighbours.",
        )


def cancelled_biases(measured: Measured, tiny: float) -> set[int]:
    """Positions of biases without a gradient whose weight has one.

    A weight's gradient is the sum of error x input over the batch, the bias' the sum of the error
    alone: where only the second is 0 the errors cancel, and nothing is dead.
    """
    names, series = measured.optimizer.layers, measured.layer_norms()
    place = {name: at for at, name in enumerate(names)}

    def size(at: int) -> float:
        return median(series[at]) / sqrt(measured.elements(at)) if series[at] else 0.0

    found = set()
    for name, at in place.items():
        weight = place.get(name.removesuffix("bias") + "weight") if name.endswith("bias") else None
        if weight is not None and size(at) < tiny <= size(weight):
            found.add(at)
    return found


@rule(
    "GA942",
    "layer-gradients-far-apart",
    scope="record",
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"ratio": 1e4, "steps": 20},
    references=(
        "Zhang et al. 2021, AUTOTRAINER, ICSE (gradient of the first layer over that of the last)",
        "https://proceedings.mlr.press/v9/glorot10a.html (Glorot & Bengio 2010)",
        RECORD_PAGE,
    ),
)
def layer_gradients_far_apart(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The gradients of two weight matrices differ by four orders of magnitude.

    Why:
        One rate serves all layers under SGD: it is far too high for the one or far too low for the
        other. A clip by the total norm sees the large ones only. Adam evens the sizes out, and the
        ratio is then a sign of an initialisation that does not carry signals through the depth.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        --- record
        {"kind": "optimizer", "class": "SGD", "layers": ["a.weight", "b.weight", "c.weight"],
         "shapes": [[8, 8], [8, 8], [8, 8]]}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [0.1],
         "layer_norms": [0.00001, 0.1, 1.2]}

    Good:
        optimizer: sgd
        learning_rate: 0.1
        --- record
        {"kind": "optimizer", "class": "SGD", "layers": ["a.weight", "b.weight", "c.weight"],
         "shapes": [[8, 8], [8, 8], [8, 8]]}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [0.1],
         "layer_norms": [0.3, 0.1, 1.2]}

    Tell:
        Plot the gradient's root mean square by depth.

    Symptoms:
        gradient norm is tiny
        slow or wasted training

    Fix:
        None: initialisation, normalisation or residual connections.

    Limits:
        ratio: largest over smallest root mean square gradient per element, of weight matrices.
        steps: fewest steps after the warm-up with a gradient.

    False positives:
        Embeddings (left out by their name), gates, branches that start at 0 on purpose. Queries and
        keys of a young attention, whose weights are nearly even, have next to no gradient: a small
        BERT from scratch shows 3e4 and trains well. Under adaptive optimisers it is an info.
    """
    _say_what_lacks(measured, "GA942", int(limits["steps"]))
    typical = typical_gradients(measured, int(limits["steps"]))
    names = measured.optimizer.layers
    matrices = {
        at: size
        for at, size in typical.items()
        if size > 0 and len(measured.shape(at)) >= 2 and "emb" not in names[at].lower()
    }
    if len(matrices) < 2:
        return
    largest = max(matrices, key=lambda at: matrices[at])
    smallest = min(matrices, key=lambda at: matrices[at])
    ratio = matrices[largest] / matrices[smallest]
    if ratio < limits["ratio"]:
        return
    adaptive = measured.unit.is_adaptive
    yield report(
        measured,
        ["optimizer", "learning_rate"],
        f"the gradient of `{names[largest]}` is {times(ratio)} that of `{names[smallest]}`, "
        "element by element",
        severity=INFO if adaptive else WARNING,
        confidence=LOW if adaptive else MEDIUM,
        why=[
            "Adam and its like even the sizes out: a sign of how signals pass, not yet a fault."
            if adaptive
            else "Signals do not pass through the depth evenly; one rate cannot serve both layers."
        ],
        evidence=[
            (
                f"root mean square {number(matrices[largest])} against "
                f"{number(matrices[smallest])}, median of {len(measured.after)} steps, of "
                f"{len(matrices)} weight matrices"
            )
        ],
        next="Look at the initialisation between the two, and for a missing normalisation or "
        "residual connection.",
    )


@rule(
    "GA943",
    "update-ratio-out-of-range",
    scope="record",
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"warning": 1e-1, "high": 1e-2, "low": 1e-5, "updates": 3},
    references=(
        "https://cs231n.github.io/neural-networks-3/ (update to weight ratio around 1e-3)",
        "https://arxiv.org/abs/2305.17212 (Kosson et al. 2023: where updates settle)",
        "Ben Braiek & Khomh 2023, TheDeepChecker (1e-4 to 1e-1)",
        RECORD_PAGE,
    ),
)
def update_ratio_out_of_range(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """A step changes the weights by far more, or far less, than is usual.

    Why:
        The length of the update over that of the weights can be compared between optimisers, which
        a learning rate cannot. Around 1e-3 is a rule of thumb. Small networks, and convolutions
        before a BatchNorm under SGD with a rate of 0.1, train well at 1e-2 and somewhat above: that
        is an info. Above 1e-1 ten steps in one direction replace the matrix. Below 1e-5 it takes a
        hundred thousand steps in one direction to move it by its own size.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW", "layers": ["a.weight"], "shapes": [[8, 8]]}
        {"kind": "step", "step": 1, "to": 60, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "step", "step": 10, "to": 60, "every": 10, "events": "ZBS",
         "learning_rate": [1e-3], "update_ratio": [0.3], "weight_norms": [1.0]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW", "layers": ["a.weight"], "shapes": [[8, 8]]}
        {"kind": "step", "step": 1, "to": 60, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "step", "step": 10, "to": 60, "every": 10, "events": "ZBS",
         "learning_rate": [1e-3], "update_ratio": [0.001], "weight_norms": [1.0]}

    Tell:
        Compare a weight matrix before and after a step: norm of the difference over its norm.

    Symptoms:
        loss is flat
        loss rises, from the start or after falling

    Fix:
        None: change the learning rate stepwise, watch the loss, and record again.

    Limits:
        warning: median ratio over the weight matrices, above which it is a warning.
        high: above which it is an info.
        low: below which it is an info.
        updates: fewest steps after the warm-up at which updates were measured.

    False positives:
        Weights before a normalisation layer: their scale does not matter, and the ratio falls by
        itself as they grow. Fine-tuning and adapters are low on purpose; so is a training that has
        converged. A matrix that starts at 0 moves by all of its size at first. Vectors are left
        out, and so is an optimiser that evaluates its loss several times a step (LBFGS): its step
        is many in one. Where the file was given another rate or optimiser since the record was
        made, it is an info that says so.
    """
    found = update_ratios(measured)
    steps = sum(bool(step.update_ratio) for step in measured.after)
    if not found or steps < limits["updates"] or measured.optimizer.uses_closure:
        return
    middle = median(list(found.values()))
    if limits["low"] <= middle <= limits["high"]:
        return
    high, far = middle > limits["high"], middle > limits["warning"]
    size = number(rounded(middle))
    evidence = (
        f"update over weight, median of {len(found)} weight matrices at {steps} steps "
        f"({measured.span})"
    )
    if measured.step_moved:
        yield report(
            measured,
            ["learning_rate", "optimizer"],
            f"a step of the run changed the weights by {size} of their size, at another rate or "
            "under another optimiser than the file has now",
            severity=INFO,
            confidence=LOW,
            label="not what the run had",
            why=["How far a step moves the weights goes with the rate and the optimiser."],
            evidence=[evidence, f"{changed_since(measured)}: this may be mended"],
            next=RECORD_AGAIN,
        )
        return
    yield report(
        measured,
        ["learning_rate", "optimizer"],
        f"a step changes the weights by {size} of their size; around 1e-3 is usual",
        severity=WARNING if far else INFO,
        confidence=MEDIUM if far else LOW,
        label="moves the weights far" if high else "hardly moves the weights",
        why=["A few steps in one direction replace the weights."]
        if far
        else ["Small networks and weights before a normalisation bear this; others may not."]
        if high
        else ["Fine-tuning is lower on purpose, and so is a training that has converged."],
        evidence=[evidence],
        next="Halve the learning rate until the loss falls steadily, and record again."
        if far
        else "Nothing has to change where the loss falls steadily; else try half the rate."
        if high
        else "If nothing is fine-tuned, raise the learning rate and record again.",
    )


def update_ratios(measured: Measured) -> dict[int, float]:
    """Position of a weight matrix -> median of its update over its size, after the warm-up."""
    found: dict[int, list[float]] = {}
    for step in measured.after:
        for at, ratio in enumerate(step.update_ratio[: len(measured.optimizer.layers)]):
            weight = step.weight_norms[at] if at < len(step.weight_norms) else None
            if ratio is None or not isfinite(ratio) or weight == 0:
                continue
            if len(measured.shape(at)) >= 2:
                found.setdefault(at, []).append(ratio)
    return {at: median(ratios) for at, ratios in found.items() if any(ratios)}
