"""GA6: what makes two runs of one config differ."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, MEDIUM, RECOMMENDED, WARNING, Finding, Fix, Related
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits


@rule(
    "GA625",
    "no-seed",
    scope="unit",
    severities=(INFO,),
    confidence=HIGH,
    profile="pedantic",
    references=(
        "https://docs.pytorch.org/docs/stable/notes/randomness.html",
        "https://arxiv.org/abs/2103.03098 (Bouthillier et al. 2021: the variance between seeds)",
    ),
)
def no_seed(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The seed is turned off: no two runs begin alike.

    Why:
        Initial weights, order of the samples and dropout differ from run to run, so that a change
        of the config cannot be told from luck, and a divergence cannot be had again.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        seed: null

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        seed: 42

    Tell:
        Start twice and compare the losses of the first step.

    Symptoms:
        run cannot be reproduced

    Fix:
        Recommended: 42, the default of transformers and timm; any number will do (PyTorch's notes
        on reproducibility). Comparing runs of several seeds tells more than one.

    False positives:
        A file without a key for the seed is not reported: most frameworks have a default. Runs
        that sample seeds on purpose.
    """
    seed = unit.get("seed")
    if seed is None or seed.value is not None or "seed" in unit.unknown:
        return
    edit = change(seed, 42)
    yield Finding(
        place_of(seed, unit),
        "no seed: no two runs begin alike",
        severity=INFO,
        confidence=HIGH,
        key=seed.key or None,
        label="off",
        why=["A change of the config cannot be told from luck."],
        next="Set a seed, and compare runs of more than one.",
        fix=Fix(RECOMMENDED, f"set `{seed.last_key}` to 42", [edit], ["any number will do"])
        if edit
        else None,
    )


@rule(
    "GA626",
    "deterministic-and-benchmark",
    scope="unit",
    needs=("deterministic", "cudnn_benchmark"),
    severities=(WARNING,),
    confidence=HIGH,
    references=(
        "https://docs.pytorch.org/docs/stable/notes/randomness.html (benchmarking of convolutions)",
        "https://github.com/pytorch/pytorch/issues/6351 (benchmark=True overrides deterministic)",
        "https://github.com/Lightning-AI/pytorch-lightning/pull/16653 (warns of the pair)",
    ),
)
def deterministic_and_benchmark(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Determinism is asked for while cuDNN may choose another algorithm in each run.

    Why:
        With `cudnn.benchmark`, torch times cuDNN's algorithms for each new shape and takes the
        fastest: in another run that may be another one, with other rounding. The time that
        determinism costs is paid and the runs differ all the same.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        deterministic: true
        cudnn_benchmark: true

    Good:
        optimizer: sgd
        learning_rate: 0.1
        deterministic: true
        cudnn_benchmark: false

    Tell:
        Compare the losses of the first hundred steps of two runs.

    Symptoms:
        run cannot be reproduced

    Fix:
        Recommended: turn the benchmark off (PyTorch's notes on reproducibility). Convolutions may
        be slower.

    False positives:
        Networks without convolutions are not touched by either. Trainers that turn the benchmark
        off by themselves (mmengine) are not reported; where who reads the file is not known, the
        confidence is medium for that reason.
    """
    wanted, benchmark = unit.settings["deterministic"], unit.settings["cudnn_benchmark"]
    if wanted.value is not True or benchmark.value is not True:
        return
    edit = switch(benchmark, False)
    yield Finding(
        place_of(benchmark, unit),
        "deterministic, but cuDNN chooses the fastest algorithm anew in each run",
        severity=WARNING,
        confidence=MEDIUM if unit.composed.dialect["name"] == "generic" else HIGH,
        key=benchmark.key,
        label="may choose otherwise next time",
        related=[Related(place_of(wanted, unit), "asked for here")],
        why=["Runs differ, though determinism is paid for."],
        next="Turn one of the two off.",
        fix=Fix(RECOMMENDED, f"turn `{benchmark.last_key}` off", [edit], ["may be slower"])
        if edit
        else None,
    )
