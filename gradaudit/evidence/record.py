"""What a probe or a dry run recorded, as plain data; docs/record.md has the file format.

Units: norms are 2-norms of a gradient (of all parameters of one optimizer, or of one tensor), rates
and thresholds as torch was given them, steps are optimizer steps from 1. None: not known.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from math import inf, isfinite, nan

from gradaudit.evidence.series import Series
from gradaudit.evidence.statistics import mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.evidence.merge import Disagreement

_CLIP_THEN_UNSCALE = re.compile(r"C[^BU]*U[^B]*S")

NORM_CLIPS = ("norm", "with_norm", "fsdp", "deepspeed")
"""Clips that scale the whole gradient to a norm; the other kind, `value`, cuts each element."""

_WORDS = {"nan": nan, "inf": inf, "-inf": -inf}
"""Numbers that JSON has not, as a record spells them."""


def spelled(value: float) -> float | str:
    """A number as a record has it."""
    if isfinite(value):
        return value
    return "nan" if value != value else "inf" if value > 0 else "-inf"


def number_of(value: object) -> float | None:
    """The number that a record's value spells; None where it is none."""
    if isinstance(value, str):
        return _WORDS.get(value.lower())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return None


def content_digest(content: bytes) -> str:
    """SHA-256 of a file's content with `\n` at the ends of lines, whatever a checkout made them."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


@dataclass(frozen=True)
class Config:
    """A file as it was when the run began. base_of: the path of the config that is built on it;
    None for one that was named itself."""

    path: str
    digest: str
    base_of: str | None


@dataclass
class Clip:
    """One call of a clip. limit: the norm or the value that was passed, None where infinite.
    covered: of the `of` tensors of the optimizer that have a gradient, how many were passed.
    unscaled: False where a loss scale was still in the gradients. norm_type: order of the norm."""

    what: str
    limit: float | None
    pre_clip_norm: float | None
    covered: int | None
    of: int | None
    with_gradient: int | None
    unscaled: bool | None = None
    norm_type: float | None = None


@dataclass
class BatchNormSeen:
    """What BatchNorm layers were given before a step: `train` or `eval`, samples, forward calls.

    synced_over  ranks whose samples are normalised together; None in records before it was noted.
    no_grad      whether it ran without autograd, as evaluations do: no part of the gradient.
    """

    mode: str
    batch: int | None
    calls: int
    synced_over: int | None = None
    no_grad: bool = False


@dataclass
class LastUpdate:
    """What was found at the beginning of a step of what the step before did to the weights.

    In the first numbers of `looked` tensors: how many of these it moved, and of them how many are
    as it left them (`kept`), how many bit for bit as before it (`back`), and how many it left
    otherwise, but for a clamp to the range of the numbers that are there now (`clamped`). left:
    norm of the change since before it, over that of its change.
    """

    looked: int
    moved: int
    kept: int
    back: int
    left: float | None
    clamped: int = 0


@dataclass
class Step:
    """One optimizer step. `events`: Z zero_grad, B backward, U unscale_, C clip, S step, L step of
    the scheduler, K skipped by the scaler; since the step before, so that from those of the first
    one nothing follows.
    """

    step: int
    events: str = ""
    backward_calls: int | None = None
    backward_roots: list[float | None] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    pre_clip_norm: float | None = None
    post_clip_norm: float | None = None
    clips: list[Clip] = field(default_factory=list)
    with_gradient: int | None = None
    layer_norms: list[float | None] = field(default_factory=list)
    layers_are_local: bool = False
    batch_norm: list[BatchNormSeen] = field(default_factory=list)
    update_ratio: list[float | None] = field(default_factory=list)
    weight_norms: list[float | None] = field(default_factory=list)
    last_update: LastUpdate | None = None
    autocast: list[str] = field(default_factory=list)
    loss_scale: float | None = None
    unscaled: bool | None = None
    skipped: bool = False
    closure_calls: int | None = None
    stale_gradients: int | None = None
    non_finite: list[str] = field(default_factory=list)

    @property
    def clipped_while_scaled(self) -> bool:
        """Whether the clip came before `unscale_`: it saw the scaled gradient."""
        if any(clip.unscaled is False for clip in self.clips):
            return True
        return bool(self.clips) and _CLIP_THEN_UNSCALE.search(self.events) is not None

    @property
    def clips_in_time(self) -> bool:
        """Whether a clip by norm stands between the last backward and the step, and is given every
        tensor: then the threshold bounds the norm of the whole. Without events it is believed."""
        clip = self.norm_clip
        if clip is None or clip.with_gradient == 0 or self.clipped_while_scaled:
            return False
        together = sum(other.covered or 0 for other in self.clips)
        if clip.covered is not None and clip.of is not None and together < clip.of:
            return False
        return not self.events or "C" in self.events[self.events.rfind("B") + 1 :]

    @property
    def is_in_true_units(self) -> bool:
        """Whether no loss scale is left in the norms; the recorder divides a known one out."""
        return self.unscaled is not False or self.loss_scale is not None

    @property
    def norm_clip(self) -> Clip | None:
        """The clip by norm of most of this optimizer's tensors, of several the lowest. A call with
        an infinite threshold only measures: another goes before it."""
        found = [clip for clip in self.clips if clip.what in NORM_CLIPS]
        known = [clip for clip in found if clip.limit is not None]
        return min(known or found, key=lambda c: (-(c.covered or 0), c.limit or 0.0), default=None)


@dataclass
class Terms:
    """What a dry run measured of the summands of the loss at one step.

    names[i] has the weight weights[i] and norms[i], the norm of weight x gradient; None: inactive
    (no gradient at that step). cosines: of each pair, None where one has no gradient.
    """

    step: int
    names: list[str]
    weights: list[float | None]
    norms: list[float | None]
    cosines: list[list[float | None]] = field(default_factory=list)
    total_norm: float | None = None


@dataclass
class OptimizerRecord:
    """One optimizer with its steps. groups: its hyperparameters as torch has them.

    layers  names of all its tensors in order; shapes beside them. shared_tensors: how many of them
            another optimizer holds too. bias_before_batch_norm: positions of biases whose gradient
            is 0 by construction. frozen: positions of tensors that ask for no gradient; None in a
            record that does not say. replicas: of shards, how many ranks hold
            the same piece of each layer; empty where that is not known. casts_unseen: whether the
            weights' dtype does not tell in which precision the model computes.
    """

    index: int
    class_name: str = ""
    module: str = ""
    groups: list[dict[str, Any]] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    shapes: list[list[int]] = field(default_factory=list)
    dtypes: dict[str, int] = field(default_factory=dict)
    model_tensors: int | None = None
    not_in_optimizer: list[str] = field(default_factory=list)
    batch_norm_layers: int | None = None
    bias_before_batch_norm: list[int] = field(default_factory=list)
    frozen: list[int] | None = None
    shared_tensors: int = 0
    sharded: bool = False
    casts_unseen: bool = False
    replicas: list[int] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def settled_steps(self) -> list[Step]:
        """Without the first, to which torch's calls before the training are counted."""
        return self.steps[1:] if len(self.steps) > 1 else []

    @property
    def peak_rate(self) -> float | None:
        """The rate that a scheduler multiplies, else the highest that was seen; of the first group.

        Never the rate of step 1 alone: under a warm-up that is near 0.
        """
        seen = [step.learning_rate[0] for step in self.steps if step.learning_rate]
        initial = self.initial_rate
        if initial is not None:
            return max([initial, *seen])
        if self.groups and not seen:
            return _number(self.groups[0].get("learning_rate"))
        return max(seen) if seen else None

    @property
    def initial_rate(self) -> float | None:
        return _number(self.groups[0].get("initial_learning_rate")) if self.groups else None

    @property
    def clip_norm(self) -> float | None:
        """The threshold that was passed at most steps; None where no clip by norm was called."""
        limits = [step.norm_clip.limit for step in self.settled_steps if step.norm_clip]
        known = [limit for limit in limits if limit is not None]
        return max(set(known), key=known.count) if known else None

    @property
    def clip_value(self) -> float | None:
        known = [
            clip.limit
            for step in self.settled_steps
            for clip in step.clips
            if clip.what == "value" and clip.limit is not None
        ]
        return max(set(known), key=known.count) if known else None

    @property
    def backward_calls(self) -> int | None:
        """Micro-batches a step: the commonest number over the steps from the second on."""
        return mode(
            step.backward_calls
            for step in self.settled_steps
            if step.backward_calls and not (step.closure_calls and step.closure_calls > 1)
        )

    @property
    def batch_norm_batch(self) -> int | None:
        """Samples that BatchNorm saw at a time in training mode on one rank, the commonest number;
        of the calls that are part of a gradient where there are such."""
        trained = self._batch_norm_trained
        return mode(seen.batch for seen in trained if seen.batch)

    @property
    def batch_norm_synced(self) -> int | None:
        """Ranks whose samples were normalised together, the commonest number."""
        return mode(s.synced_over for s in self._batch_norm_trained if s.synced_over)

    @property
    def batch_norm_modes(self) -> set[str]:
        """Modes of the calls that are part of a gradient."""
        return {
            seen.mode for step in self.settled_steps for seen in step.batch_norm if not seen.no_grad
        }

    @property
    def _batch_norm_trained(self) -> list[BatchNormSeen]:
        found = [s for step in self.settled_steps for s in step.batch_norm if s.mode == "train"]
        return [seen for seen in found if not seen.no_grad] or found

    @property
    def precision(self) -> str | None:
        """`fp32`, `bf16-mixed`, `fp16-mixed`, `bf16`, `fp16`; None where it cannot be told."""
        used = {
            kind.removeprefix("torch.") for step in self.settled_steps for kind in step.autocast
        }
        for kind, name in (("float16", "fp16-mixed"), ("bfloat16", "bf16-mixed")):
            if kind in used:
                return name
        if self.casts_unseen:
            return None
        kinds = {kind.removeprefix("torch.") for kind, count in self.dtypes.items() if count}
        names = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
        return names.get(next(iter(kinds))) if len(kinds) == 1 else None

    @property
    def uses_closure(self) -> bool:
        """Whether the optimizer evaluates the loss several times a step, as LBFGS does."""
        return any((step.closure_calls or 0) > 1 for step in self.steps)

    def series(self) -> Series:
        """The steps whose gradient was used; those that the scaler skipped are left out."""
        kept = [step for step in self.steps if not step.skipped]
        return Series(
            steps=[step.step for step in kept],
            epochs=[None] * len(kept),
            pre_clip_norm=[step.pre_clip_norm if step.is_in_true_units else None for step in kept],
            post_clip_norm=[step.post_clip_norm for step in kept],
            clip_norm=[step.norm_clip.limit if step.norm_clip else None for step in kept],
            learning_rates=[
                [s.learning_rate[at] if at < len(s.learning_rate) else None for s in kept]
                for at in range(max((len(s.learning_rate) for s in kept), default=0))
            ],
            loss=[None] * len(kept),
            initial_rates=[_number(group.get("initial_learning_rate")) for group in self.groups],
        )


@dataclass
class Record:
    """What one run left. ranks: those whose files were read. source: `probe` or `dryrun`.

    skip_steps  steps at the beginning that were left out. why_stopped: as the recorder says; empty
                where the record has no end (the process was killed).
    configs     the configs that the run is known to have had: path as typed, digest of the content.
    remarks     what the reader has to say: a cut line, a rank that is missing. notes: (topic, text)
                of what the recorder could see in part only.
    non_finite  the step before which a dry run met NaN or infinity and ended, and where it was.
    """

    directory: str
    source: str = "probe"
    world_size: int = 1
    ranks: list[int] = field(default_factory=list)
    torch: str = ""
    device: str = ""
    program: str = ""
    started: str = ""
    steps_asked: int | None = None
    skip_steps: int = 0
    why_stopped: str = ""
    optimizers: list[OptimizerRecord] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    configs: list[Config] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    terms: list[Terms] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)
    others: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    non_finite: tuple[int, str] | None = None

    @property
    def topics(self) -> set[str]:
        return {topic for topic, _ in self.notes}

    def had_config(self, path: str, content: bytes) -> bool | None:
        """Whether the run had this content as a config: False where it had another in a file of
        this name, None where nothing is known of such a file."""
        digest = content_digest(content)
        if any(digest == config.digest for config in self.configs):
            return True
        name = os.path.basename(path)
        return False if any(os.path.basename(c.path) == name for c in self.configs) else None

    def bases_of(self, content: bytes) -> list[Config]:
        """The files that the config of this content was built on when the run began."""
        digest = content_digest(content)
        named = {config.path for config in self.configs if config.digest == digest}
        return [config for config in self.configs if config.base_of in named]

    @property
    def steps(self) -> int:
        """Steps of the optimizer that has most."""
        return max((len(optimizer.steps) for optimizer in self.optimizers), default=0)


def _number(value: object) -> float | None:
    """A finite number of a group; torch may hold a tensor there, of which the record says null."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0:
        return float(value)
    return None
