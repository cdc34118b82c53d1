"""What the recorder knows while the program runs: plain data, one of each in a process.

What happens to an optimizer, the letter of it in `events`, and what of its `Watched` that changes.
Most faults of a recorder are two of these that do not fit together.

    gradients zeroed     Z  no backward yet, no norm before a clip, not unscaled, zeroed
    backward reached it  B  backward_calls, roots; no clip has acted on what is there now; unscaled
                            only where no loss scaler has to do with it
    the scaler unscaled  U  unscaled, has_scaler
    clip of its tensors  C  clips; the first one since a backward also before_clip and before_scale,
                            or unknown_before
    its step begins         held, measured; every tenth weights, every eleventh look; of a step in
                            pieces, pieces
    its step is over     S  a line is made of all this. Then as if zeroed, but that it is not, and
    or was skipped       K  no event, clip or norm is left; unscaled until the next backward
    raised in its step      nothing: `stepping` is cleared at the next backward or step
    in a CUDA graph         nothing while it is captured. Replayed: B, C and Z as they were; blind
                            where the step is in it
"""

from __future__ import annotations

import itertools
import os
import time
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit_recorder.tensors import Norms
    from gradaudit_recorder.undone import Compared, Look

MOST_EVENTS = 4096
MOST_CLIPS = 16
MOST_ROOTS = 64


@dataclass
class ClipCall:
    """One call of a clip. limit, total: numbers, or tensors that are read when the line is written.
    given: ids of the parameters that it was given. scale: the loss scale that was still in the
    gradients, None where there was none."""

    what: str
    limit: Any
    norm_type: float | None
    given: set[int]
    with_gradient: int
    total: Any = None
    scale: Any = None


@dataclass
class Pieces:
    """A step that is made of several calls of one optimizer, each with a piece of its parameters.

    sources, groups   the groups that were stepped so far, and copies of them with those parameters
    changed, weights  norms as `update_ratio` and `weight_norms` need them, None where not measured
    """

    sources: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    changed: Norms | None = None
    weights: Norms | None = None

    def take(self, groups: list[dict[str, Any]]) -> None:
        """One call's groups; one without parameters has no part in that call."""
        for group in groups:
            if not group["params"]:
                continue
            known = [i for i, source in enumerate(self.sources) if source is group]
            if known:
                self.groups[known[0]]["params"] += group["params"]
            else:
                self.sources.append(group)
                self.groups.append({**group, "params": list(group["params"])})


@dataclass
class Named:
    """What a line needs of its optimizer when it is written. Not the optimizer's own Watched: that
    has some of its tensors, which may be gone by then.

    layers  names of its tensors. flat_pieces: as of the Watched.
    """

    layers: list[str]
    flat_pieces: bool


@dataclass(eq=False)
class Watched:
    """One optimizer. index: its number, given at its first step.

    events          the calls that concerned it since its last step
    last_of_all     how many steps all optimizers together had done at its last one
    forward         which forwards its last step was of, as the state counts them
    before_clip     the norm before the first clip since the last backward: a tensor, Norms, or None
    before_scale    the loss scale in it
    unknown_before  a clip acted on gradients whose norm before it cannot be known here
    unscaled        whether the gradients that are there have no loss scale in them
    has_scaler      whether a loss scaler has unscaled or stepped it: beside an optimizer that has
                    one there may be another that has none
    zeroed          whether its gradients were zeroed since its last step
    stale           norms of what was left at backward calls since then
    hidden_clip     whether a clip may act that cannot be seen
    flat_pieces     whether its tensors are pieces that no DTensor marks: FSDP1, ZeRO
    engine_sought   whether DeepSpeed was looked for; in_engine: whether it has this optimizer;
                    wrapper: what of it steps the optimizer
    first_piece     the id of the tensor by which such a step is told from its later parts, where
                    its end is not seen; pieces: the step in progress, where it is
    blind           whether its last step was captured in a CUDA graph; replayed: steps that were
                    replayed since, the first and the last of them at replayed_from, replayed_at
    measured        the norms that the step in progress saw
    held            ids of the tensors that had a gradient in it
    weights         (positions, copies of the weights before the step), every tenth step
    look            some numbers of the weights around a step, until the next one begins
    compared        what the step in progress found of that before it
    named           for its lines, since it was described
    """

    index: int | None = None
    step: int = 0
    events: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    last_of_all: int = 0
    forward: int = -1
    backward_calls: int = 0
    closure_calls: int = 0
    roots: list[Any] = field(default_factory=list)
    clips: list[ClipCall] = field(default_factory=list)
    before_clip: Any = None
    before_scale: Any = None
    unknown_before: bool = False
    zeroed: bool = True
    unscaled: bool = False
    has_scaler: bool = False
    stale: list[Norms] = field(default_factory=list)
    measured: Norms | None = None
    held: set[int] = field(default_factory=set)
    fused_scale: Any = None
    found_inf: Any = None
    weights: tuple[list[int], list[Any]] | None = None
    look: Look | None = None
    compared: Compared | None = None
    groups_seen: tuple[int, ...] | None = None
    named: Named | None = None
    ids: frozenset[int] = frozenset()
    ids_of: tuple[tuple[int, ...], ...] = ()
    hidden_clip: bool = False
    flat_pieces: bool = False
    sharded: bool = False
    engine_sought: bool = False
    in_engine: bool = False
    wrapper: weakref.ref[Any] | None = None
    first_piece: int | None = None
    pieces: Pieces | None = None
    blind: bool = False
    replayed: int = 0
    replayed_from: float = 0.0
    replayed_at: float = 0.0

    def groups_in(self, optimizer: Any) -> list[dict[str, Any]]:
        """Of the optimizer; of a step in pieces those that were stepped."""
        groups: list[dict[str, Any]] = optimizer.param_groups
        return groups if self.pieces is None else self.pieces.groups

    def ids_in(self, optimizer: Any) -> frozenset[int]:
        """Of the optimizer's parameters; made anew when its groups change: by their lengths and
        ends, for other parameters may stand in the place of as many."""
        every = [group["params"] for group in optimizer.param_groups]
        seen = tuple((len(own), id(own[0]), id(own[-1])) if own else () for own in every)
        if self.ids_of != seen:
            self.ids_of = seen
            self.ids = frozenset(id(t) for group in optimizer.param_groups for t in group["params"])
        return self.ids

    def forget_gradients(self) -> None:
        """They are zero: what led to them is no part of the next step."""
        self.backward_calls = 0
        self.roots = []
        self.before_clip = self.before_scale = None
        self.unknown_before = self.unscaled = False
        self.zeroed = True


class State:
    """Of the process.

    root           what the last backward was called on
    stepped_inside optimizers that stepped before it was over
    scaled         losses that the scaler has multiplied, and no backward was called on since
    root_scaled    whether that of the last backward may have been one of them
    stepping       optimizers whose step is in progress, one inside of another; closures: their
                   closures that are
    hidden         calls that went into a graph where they are not seen
    batch_norm     calls by mode, samples, ranks and whether with autograd, and
    autocast       regions entered, of the forwards that the next step is of (see `forwards`)
    forward        how often these were forgotten
    stepped_since  whether an optimizer has stepped since they began
    nodes_at_step  how many nodes of graphs there were at the last step
    """

    def __init__(self) -> None:
        self.directory = os.environ["GRADAUDIT_PROBE_DIR"]
        self.steps_asked = int(os.environ.get("GRADAUDIT_PROBE_STEPS", "100"))
        self.skip_steps = int(os.environ.get("GRADAUDIT_PROBE_SKIP", "0"))
        self.started = time.time()
        self.clock = time.perf_counter()
        self.seconds = 0.0
        self.pid = os.getpid()
        self.active = True
        self.in_backward = False
        self.root: Any = None
        self.stepped_inside: list[Watched] = []
        self.in_clip = False
        self.stepping: list[weakref.ref[Any]] = []
        self.closures = 0
        self.hidden: set[str] = set()
        self.batch_norm: dict[tuple[str, int, int, bool], int] = {}
        self.batch_norm_seen = False
        self.autocast: set[tuple[str, str]] = set()
        self.forward = 0
        self.stepped_since = False
        self.nodes_at_step: int | None = None
        self.scaler: Callable[[], Any] = lambda: None
        self.scaled = 0
        self.root_scaled = True
        self.optimizers: weakref.WeakKeyDictionary[Any, Watched] = weakref.WeakKeyDictionary()
        self.stepped = 0
        self.indices = itertools.count()

    def watch(self, optimizer: Any) -> Watched:
        """What is known of an optimizer; known from here on. A wrapper that shares its groups, as
        Lightning has one, is the optimizer itself."""
        found = self.optimizers.get(optimizer)
        if found is None:
            named = self._named(optimizer)
            found = named[0] if named else Watched()
            if not named:
                self.optimizers[optimizer] = found
        return found

    def _named(self, optimizer: Any) -> list[Watched]:
        groups = getattr(optimizer, "param_groups", None)
        return [
            watched
            for other, watched in self.optimizers.items()
            if other is optimizer or (groups is not None and other.param_groups is groups)
        ]

    def happened(self, event: str, optimizer: Any) -> None:
        """A call that names an optimizer, or what shares its groups; else it is of all."""
        for watched in self._named(optimizer) or self.optimizers.values():
            watched.events.append(event)

    def most_steps(self) -> int:
        """Of the optimizer that has the most."""
        return max((watched.step for watched in self.optimizers.values()), default=0)

    def recording(self) -> bool:
        """False after a fault of the recorder, and where a fork was made past Python."""
        return self.active and os.getpid() == self.pid


current: State


def begin() -> None:
    global current
    current = State()
