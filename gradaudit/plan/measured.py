"""A training unit beside what a record shows of it, as rules of scope `record` get it."""

from __future__ import annotations

from math import isfinite

from gradaudit.evidence.compared import compared
from gradaudit.evidence.series import BELOW_PEAK, REACHED, Warmup, climbs
from gradaudit.evidence.statistics import series_share
from gradaudit.evidence.warmup import settled, told_warmup, warmup_of
from gradaudit.plan.values import optimizer_family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.record import OptimizerRecord, Record, Step, Terms
    from gradaudit.plan.model import TrainingUnit

ENOUGH_TO_JUDGE = 20
"""Steps after the warm-up below which no norm is judged: a share of 20 steps is known to +- 0.2
(Wilson), and a 90th percentile has no 95 % interval below 36 (order statistics)."""

ENOUGH_TO_RECOMMEND = 100
"""Steps from which a threshold is recommended: a share has +- 0.09 then."""

PARTIAL = frozenset(("deepspeed", "zero", "fsdp1"))
"""Notes of the recorder: that it saw no clip, no scaler or no autocast does not mean that there was
none, and norms of layers are of pieces. Calls of backward are counted there as anywhere."""

_CLOSE = 0.01
"""Relative difference within which two learning rates are one."""


class Measured:
    """One optimizer of a record, held against the unit that it trains.

    comparable  whether the unit's settings are those of this optimizer: of the two of a GAN, only
                one may be what the file speaks of.
    older       why the file counts as changed after the record was made, so that its settings may
                differ on purpose; empty where it does not. unsure: it may have been changed.
    after       the steps after the warm-up whose gradient was used.
    norms       their finite pre-clip norms, of this optimizer's gradient.
    compared    what the clip compared with its threshold at these steps; clip_norms: the finite
                ones. By these a threshold is judged and recommended.
    wanted      code of a rule that had too few steps -> how many more it needs; None: unknown.
    short       likewise, of them those after the warm-up, which are always known.
    """

    def __init__(
        self,
        unit: TrainingUnit,
        record: Record,
        optimizer: OptimizerRecord,
        comparable: bool = True,
        older: str = "",
        unsure: bool = False,
    ) -> None:
        self.unit = unit
        self.record = record
        self.optimizer = optimizer
        self.comparable = comparable
        self.older = older
        self.unsure = unsure
        self.series = optimizer.series()
        self.warmup = warmup_of(record, self.series)
        self._told = told_warmup(record)
        if self._told is None and self.warmup.over and self._may_be_inside_warmup():
            self.warmup = Warmup(len(self.series), False)
        used = [step for step in optimizer.steps if not step.skipped]
        self.after: list[Step] = used[self.warmup.after :]
        self.norms = self.series.norms_from(self.warmup.after)
        self.compared = compared(self.after)
        self.clip_norms = self.compared.known
        self.wanted: dict[str, int | None] = {}
        self.short: dict[str, int] = {}

    @property
    def changed(self) -> str:
        """`was changed after the record was made`, of the file; how sure that is."""
        was = "may have been" if self.unsure else "was"
        return f"{was} changed after the record was made"

    @property
    def rates(self) -> set[float]:
        """Every learning rate that is known of the run: of each step and group, and those that a
        scheduler multiplies."""
        rates = {rate for step in self.optimizer.steps for rate in step.learning_rate}
        for group in self.optimizer.groups:
            for name in ("initial_learning_rate", "learning_rate"):
                if isinstance(group.get(name), (int, float)):
                    rates.add(float(group[name]))
        return rates

    @property
    def step_moved(self) -> bool:
        """Whether the file was changed since and has another optimiser or learning rate than the
        run: how far its steps move the weights is not what was measured."""
        if not self.older or not self.comparable:
            return False
        rate, rates = self.unit.number("learning_rate"), self.rates
        if rate and rates and not any(same(rate, seen) for seen in rates):
            return True
        optimizer = self.unit.optimizer
        return optimizer is not None and bool(self.family) and optimizer != self.family

    @property
    def family(self) -> str:
        """The optimiser's family as plans name it: `adamw`, `sgd`."""
        return optimizer_family(self.optimizer.class_name)

    @property
    def name(self) -> str:
        """The optimizer as a message names it where the record holds several."""
        if len(self.record.optimizers) == 1:
            return ""
        return f"optimizer {self.optimizer.index} ({self.optimizer.class_name}): "

    @property
    def clip_norm(self) -> float | None:
        """The threshold in force: the file's where it has one, else the one that was passed.

        A changed threshold is judged by the same norms: they were taken before the clip.
        """
        setting = self.unit.settings.get("clip_norm") if self.comparable else None
        if setting is not None and setting.number is not None and setting.number > 0:
            return setting.number
        if setting is not None and setting.value is None:
            return None
        return self.optimizer.clip_norm

    @property
    def clip_acts(self) -> bool:
        """Whether the run clips by norm at most steps, in time and over all tensors."""
        steps = self.optimizer.settled_steps
        return sum(step.clips_in_time for step in steps) * 2 > len(steps)

    def enough(self, code: str, needed: int) -> bool:
        """Whether there are norms of `needed` steps after the warm-up; else it is kept who asked.

        A record that shows no norm at all (a closure, shards of which ranks are missing) is not
        one that is too short.
        """
        if len(self.norms) >= needed:
            return True
        if any(norm is not None for norm in self.series.pre_clip_norm):
            self.want(code, needed)
        return False

    def want(self, code: str, needed: int, have: int | None = None) -> None:
        """Keep that a rule had too few steps: `have` of those `needed` (default: norms)."""
        self.wanted[code] = self.lacking(needed, have)
        self.short[code] = max(needed - (len(self.norms) if have is None else have), 0)

    def lacking(self, needed: int, have: int | None = None) -> int | None:
        """How many more steps a record must have that has `have` to judge by (default: norms); None
        where the warm-up's end is not known."""
        missing = max(needed - (len(self.norms) if have is None else have), 0)
        if self.warmup.over:
            return missing
        more = self.warmup.more
        if more is None:
            more = self._warmup_left()
        return None if more is None else missing + more

    def _may_be_inside_warmup(self) -> bool:
        """Whether the file has a warm-up that is not over, and the run is below the file's rate
        with no scheduler that says which rate it multiplies: a program may set the rate by hand,
        once an epoch. Below is less than nine tenths of it, or less and rising to it. That it has
        no warm-up and a lower rate looks the same: no verdict."""
        peak, written = self.optimizer.peak_rate, self.unit.number("learning_rate")
        if not self.comparable or self.optimizer.initial_rate or not peak or not written:
            return False
        rates = [step.learning_rate[0] for step in self.optimizer.steps if step.learning_rate]
        rises = peak < REACHED * written and climbs(rates, written)
        return (rises or peak < BELOW_PEAK * written) and bool(self._warmup_left())

    def _warmup_left(self) -> int | None:
        """What is left of the file's warm-up, where that is counted in steps."""
        duration = self.unit.warmup
        if duration is None or not self.series.steps:
            return None
        per_epoch = self.unit.number("steps_per_epoch")
        if duration.unit == "steps":
            length = duration.value
        elif duration.unit == "epochs" and per_epoch:
            length = duration.value * per_epoch
        else:
            return None
        return max(int(length) - self.series.steps[-1], 0)

    def clipped(self, threshold: float) -> int:
        """At how many of the judged steps what the clip compares was above a threshold."""
        return sum(norm > threshold for norm in self.clip_norms)

    def clip_interval(self, threshold: float) -> tuple[float, float]:
        """The interval of 95 % of the share of such steps."""
        return series_share([norm > threshold for norm in self.clip_norms])

    @property
    def span(self) -> str:
        """`steps 20 to 100`: those after the warm-up; of all where there are none."""
        steps = self.after or self.optimizer.steps
        if not steps:
            return "no step"
        first, last = steps[0].step, steps[-1].step
        return f"step {first}" if first == last else f"steps {first} to {last}"

    @property
    def terms(self) -> list[Terms]:
        """What a dry run measured of the loss's terms."""
        return self.record.terms if self.comparable else []

    @property
    def settled_terms(self) -> list[Terms]:
        """Those of the steps after the warm-up: the only ones by which weights are judged."""
        if not self.warmup.over:
            return []
        before = self.series.steps[: self.warmup.after]
        told = self._told if self._told is not None else before[-1] if before else 0
        return settled(self.terms, told)

    def layer_norms(self) -> list[list[float]]:
        """For each layer its finite gradient norms over the judged steps."""
        names = self.optimizer.layers
        found: list[list[float]] = [[] for _ in names]
        for step in self.after:
            for position, norm in enumerate(step.layer_norms[: len(names)]):
                if norm is not None and isfinite(norm):
                    found[position].append(norm)
        return found

    def elements(self, position: int) -> int:
        """How many numbers a layer's tensor has; 1 where its shape is not known."""
        count = 1
        for length in self.shape(position):
            count *= max(length, 1)
        return count

    def shape(self, position: int) -> list[int]:
        shapes = self.optimizer.shapes
        return shapes[position] if position < len(shapes) else []


def match(
    units: list[TrainingUnit], record: Record, chosen: str | None
) -> tuple[list[tuple[TrainingUnit, OptimizerRecord, bool]], str]:
    """Which unit each optimizer of a record trains, and whether that is sure enough to compare.

    The only unit gets all; of several each optimizer takes the one whose optimiser, learning rate
    and clip norm are most like its own. Returns what cannot be told, as a problem of the command
    line, where two are equally like. Units that are named as a record of several numbers its
    optimizers are of those (`section_name`). A named unit gets a single optimizer whatever it is
    like; of several those that are no more like another unit, and all where none is left.
    """
    optimizers = [optimizer for optimizer in record.optimizers if optimizer.steps]
    if chosen is not None:
        others = [unit for unit in units if unit.name != chosen]
        units = [unit for unit in units if unit.name == chosen]
        optimizers = _own_of(units, others, optimizers) or optimizers
    if not units or not optimizers:
        return [], ""
    by_name = {unit.name: unit for unit in units}
    if len(optimizers) > 1 and set(by_name) <= {section_name(one) for one in optimizers}:
        own = [by_name.get(section_name(one)) for one in optimizers]
        return [
            (unit or units[0], one, unit is not None)
            for unit, one in zip(own, optimizers, strict=True)
        ], ""
    if len(units) == 1:
        scores = [_likeness(units[0], optimizer) for optimizer in optimizers]
        best = max(scores)
        alone = len(optimizers) == 1
        return [
            (units[0], optimizer, alone or (score == best and best > 0))
            for optimizer, score in zip(optimizers, scores, strict=True)
        ], ""
    found = []
    for optimizer in optimizers:
        ranked = sorted(((_likeness(unit, optimizer), unit) for unit in units), key=_by_score)
        (first, unit), (second, _other) = ranked[0], ranked[1]
        if first == second:
            names = " or ".join(f"`{unit.name}`" for score, unit in ranked if score == first)
            rate = optimizer.peak_rate
            of = f" (learning rate {rate:.3g})" if rate is not None else ""
            return [], (
                f"--record: its {optimizer.class_name}{of} may be of {names}: say which with "
                "--unit NAME"
            )
        found.append((unit, optimizer, True))
    return found, ""


def section_name(optimizer: OptimizerRecord) -> str:
    """Of an optimizer in a config that is made from a record of several."""
    return f"optimizer_{optimizer.index}"


def _own_of(
    units: list[TrainingUnit], others: list[TrainingUnit], optimizers: list[OptimizerRecord]
) -> list[OptimizerRecord]:
    return [
        optimizer
        for optimizer in optimizers
        if max((_likeness(unit, optimizer) for unit in units), default=0.0)
        >= max((_likeness(unit, optimizer) for unit in others), default=0.0)
    ]


def _by_score(pair: tuple[float, TrainingUnit]) -> float:
    return -pair[0]


def _likeness(unit: TrainingUnit, optimizer: OptimizerRecord) -> float:
    """How much a unit's settings are those of an optimizer: class and rate before the clip."""
    score = 0.0
    if unit.optimizer is not None and unit.optimizer == optimizer_family(optimizer.class_name):
        score += 1
    rate, seen = unit.number("learning_rate"), optimizer.peak_rate
    if rate and seen and same(rate, seen):
        score += 2
    clip, used = unit.number("clip_norm"), optimizer.clip_norm
    if clip and used and same(clip, used):
        score += 0.5
    return score


def same(first: float, second: float, tolerance: float = _CLOSE) -> bool:
    """Whether two numbers are one but for rounding."""
    return abs(first - second) <= tolerance * max(abs(first), abs(second))
