"""The trajectory of a dry run: the training itself, with a measurement before each step.

The measurement has a forward pass of its own and leaves no trace, so the weights at the end are,
bit by bit, those of the same training without it.
"""

from __future__ import annotations

import time
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from gradaudit.probe.batches import Ended, size_of
from gradaudit.probe.blame import users_fault
from gradaudit.probe.coupling import norm_modes
from gradaudit.probe.entry import is_out_of_memory
from gradaudit.probe.fetch import layer_norms, memory_for, update_ratios
from gradaudit.probe.gradients import (
    KEPT_BYTES,
    Products,
    products,
    read_terms,
    read_total,
    values_of,
    weighted_sum,
)
from gradaudit.probe.hidden_state import Seen, seen_of, unlike
from gradaudit.probe.precision import Precision
from gradaudit.probe.protocol import DryRunError
from gradaudit.probe.self_check import HALF_TOLERANCE, hold, relative
from gradaudit.probe.signatures import call
from gradaudit.probe.state import kept_buffers, put_random, same_buffers, take_random

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from gradaudit.probe.batches import Stream
    from gradaudit.probe.curve import Rates
    from gradaudit.probe.gradients import Term
    from gradaudit.probe.protocol import Training
    from gradaudit.probe.recipe import Recipe

    Write = Callable[[dict[str, Any]], None]

CHECKED = 3
"""First steps at which the script's own `total` is held against the terms, and under autocast the
terms against their sum, in full precision."""

RATIO_EVERY = 10
"""Every so many steps the update is held against the weights, which costs a copy of them."""


_INPUTS = (
    "look at its inputs (empty or unnormalised batch, log or division of 0), not at the learning "
    "rate"
)


class Measured(NamedTuple):
    """What was measured before a step. seen: name, value and whether it has a graph, of each term.
    line: of the record; None where a gradient overflowed."""

    seen: list[Seen]
    line: dict[str, Any] | None


class Trajectory:
    """One training on its way. `run` writes a `terms` and a `step` line for every step that is
    taken: what a step that is not shows of the terms is in no table.

    done        steps taken, with those that a loss scaler skipped. stopped: why it ended before its
                time, empty where it did not. interrupted: whether by Ctrl-C, then or later.
                failed: what went wrong behind the steps, else empty.
    non_finite  whether it ended at a number that is not finite; a `non_finite` line says which.
    plain       the training as it was handed over. training: the same in the run's precision.
    self_check  the largest relative difference between the sum of the terms' gradients and the
                loss's. rounding: the same under autocast, whose backward pass rounds each of them.
    checks      how often it was made.
    unchecked   why the self-check could not be made in full precision; empty where it was.
    unlike      what to say where `losses` keeps something between its calls; else empty.
    """

    def __init__(
        self,
        training: Training,
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        stream: Stream,
        device: torch.device,
        rates: Rates,
        write: Write,
        *,
        precision: Precision | None = None,
        measure: bool = True,
    ) -> None:
        self.precision = precision or Precision(device)
        self.plain = training
        self.training = self.precision.over(training)
        self.recipe = recipe
        self.optimizer = optimizer
        self.stream = stream
        self.device = device
        self.write = write
        self.measure = measure
        self.done = 0
        self.stopped = ""
        self.interrupted = False
        self.non_finite = False
        self.failed = ""
        self.self_check = 0.0
        self.rounding = 0.0
        self.checks = 0
        self.total_checked = False
        self.unchecked = ""
        self.unlike = ""
        self.values: dict[str, list[float]] = {}
        self.graphless: dict[str, int] = {}
        self.held = [p for group in optimizer.param_groups for p in group["params"]]
        self.parameters = [p for p in self.held if p.requires_grad]
        self.rates = rates
        self._norm_modes = norm_modes(training.model)
        self._started = time.monotonic()

    @property
    def pass_scale(self) -> float:
        """The loss scale of one micro-batch's pass in a step; 1 where there is none."""
        if not self.precision.scales:
            return 1.0
        return self.precision.scale / (self.recipe.accumulation * self.recipe.ranks)

    def run(self, steps: int, progress: Callable[[int, float], None]) -> None:
        """Take the steps; ends early where the loader does, or where the loss is not finite.

        Raises: DryRunError where not even the first step can be taken.
        """
        try:
            self._run(steps, progress)
        except KeyboardInterrupt:
            if not self.done:
                raise
            self.interrupted = True
            self.stopped = f"interrupted: {self.done} of {steps} steps"
        except DryRunError:
            raise
        except (Exception, SystemExit) as error:
            fault = "" if is_out_of_memory(error) else users_fault(error)
            if fault:
                raise DryRunError(f"step {self.done + 1}: {fault}") from error
            raise

    def _run(self, steps: int, progress: Callable[[int, float], None]) -> None:
        for step in range(1, steps + 1):
            each = self.recipe.accumulation * self.recipe.ranks
            try:
                batches = [self.stream.take() for _ in range(each)]
            except Ended as end:
                need = f" ({each} batches a step)" if each > 1 else ""
                self.stopped = (
                    f"the loader ended after {end.given} batches{need} and cannot begin anew: "
                    f"{self.done} of {steps} steps; return a DataLoader or a list as `batches`"
                )
                if not self.done:
                    raise DryRunError(self.stopped) from None
                return
            norm = self._step(step, batches)
            if self.stopped:
                return
            self.done = step
            progress(step, norm)

    def _step(self, step: int, batches: list[Any]) -> float:
        measured = self._measure(step, batches[0]) if self.measure else None
        if self.stopped:
            return float("nan")
        self.rates.put(self.optimizer, step)
        self.optimizer.zero_grad()
        first = batches[: self.recipe.accumulation]
        for batch in first:
            terms = self._backward(step, batch, len(batches))
            if measured is not None and batch is batches[0] and not self.unlike:
                self.unlike = unlike(step, measured.seen, terms)
        others = batches[len(first) :]
        with kept_buffers(self.training.model if others else nn.Module()):
            for batch in others:  # of other devices: DDP hands every one the buffers of the first
                self._backward(step, batch, len(batches))
        if self.stopped:
            return float("nan")
        self.precision.unscale(self.optimizer)
        before = layer_norms(self.held)
        pre = sqrt(sum(n * n for n in before if n is not None))
        if not isfinite(pre) and (not self.precision.scales or self.precision.given_up):
            bad = next(name for name, n in self._named(before) if n is not None and not isfinite(n))
            scale = (
                f", at a loss scale of {self.precision.scale:g}" if self.precision.scales else ""
            )
            self._fail(step, f"the gradient of `{bad}` is not finite, though the loss is{scale}")
            return pre
        clips = self._clip(pre, before) if isfinite(pre) else []
        kept = [p.detach().clone() for p in self.held] if step % RATIO_EVERY == 0 else []
        after = layer_norms(self.held) if clips else before
        loss_scale = self.precision.scale
        taken = self.precision.step(self.optimizer)
        post = sqrt(sum(n * n for n in after if n is not None))
        line = {
            "kind": "step", "optimizer": 0, "step": step, "time": self._time(),
            "events": "Z" + "B" * len(first) + "U" * self.precision.scales + "C" * len(clips)
            + ("S" if taken else "K"),
            "backward_calls": len(first),
            "learning_rate": [group["lr"] for group in self.optimizer.param_groups],
            "pre_clip_norm": pre, "post_clip_norm": post, "clips": clips,
            "with_gradient": sum(n is not None for n in before),
            "layer_norms": after, "layer_norms_are": "global",
        }  # fmt: skip
        size = size_of(batches[0])
        if self._norm_modes and size is not None:
            line["batch_norm"] = [
                {"mode": mode, "batch": size, "calls": count * len(first)}
                for mode, count in self._norm_modes.items()
            ]
        if self.precision.name:
            line["autocast"] = [{"device": self.device.type, "dtype": self.precision.name}]
        if self.precision.scales:
            line |= {"loss_scale": loss_scale, "unscaled": True, "skipped": not taken}
        if kept and taken:
            line["update_ratio"], line["weight_norms"] = update_ratios(kept, self.held)
        if measured is not None:
            self._keep(measured)
        self.write(line)
        return pre

    def _backward(self, step: int, batch: Any, share: int) -> list[Seen]:
        """The pass of one micro-batch of `share` in the step; none after one that is not finite."""
        if self.stopped:
            return []
        terms = read_terms(self.training.losses(self.training.model, batch))
        values = self._finite_values(step, terms)
        if not self.stopped:
            self.precision.backward(weighted_sum(terms) / share)
        return seen_of(terms, values)

    def _named(self, norms: list[float | None]) -> list[tuple[str, float | None]]:
        names = {id(p): name for name, p in self.training.model.named_parameters()}
        return [(names.get(id(p), "?"), n) for p, n in zip(self.held, norms, strict=True)]

    def _clip(self, pre: float, norms: list[float | None]) -> list[dict[str, Any]]:
        """Clip as the config says; what it was called with."""
        seen = sum(n is not None for n in norms)
        cover = {"covered": len(self.held), "of": len(self.held), "with_gradient": seen}
        clips = []
        if self.recipe.clip_value is not None:
            torch.nn.utils.clip_grad_value_(self.held, self.recipe.clip_value)
            clips.append({"what": "value", "clip_value": self.recipe.clip_value, **cover})
        if self.recipe.clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(self.held, self.recipe.clip_norm)
            own = pre if self.recipe.clip_value is None else float(norm)
            clips.append({
                "what": "norm", "clip_norm": self.recipe.clip_norm, "norm_type": 2.0,
                "pre_clip_norm": own, **cover,
            })  # fmt: skip
        return clips

    def _measure(self, step: int, batch: Any) -> Measured | None:
        """What a batch shows of the terms at the weights before the step; None where it ends the
        run."""
        checked = self.checks < CHECKED
        terms, values, found, losses = self._products(self.training, step, batch, checked)
        if self.stopped:
            return None
        off = relative(found, 0)
        if not self.precision.name:
            self._check(step, terms, found, losses)
        else:
            exactly = checked and self._checked_exactly(step, batch)
            if self.stopped:
                return None
            if isfinite(off):
                self.rounding = max(self.rounding, off)
                if checked and not exactly:
                    self._check(step, terms, found, losses, HALF_TOLERANCE)
        seen = seen_of(terms, values)
        if self.precision.scales and not isfinite(off):
            return Measured(seen, None)  # an overflow, which the scaler will answer
        return Measured(seen, {
            "kind": "terms", "step": step,
            "terms": [
                {
                    "name": term.name, "weight": term.weight, "value": values[at],
                    "gradient_norm": found.norm(at), "active": found.norm(at) > 0,
                }
                for at, term in enumerate(terms)
            ],
            "cosines": found.cosines(), "total_norm": found.total_norm, "self_check": off,
        })  # fmt: skip

    def _keep(self, measured: Measured) -> None:
        for one in measured.seen:
            self.values.setdefault(one.name, []).append(one.value)
            if not one.has_graph:
                self.graphless[one.name] = self.graphless.get(one.name, 0) + 1
        if measured.line is not None:
            self.write(measured.line)

    def _products(
        self, training: Training, step: int, batch: Any, checked: bool
    ) -> tuple[list[Term], list[float], Products, list[Tensor]]:
        """The terms on one batch, their values and products, and the losses they are held against:
        their sum and, with `checked`, the script's own, from the same buffers and random numbers.
        """
        model = training.model
        scale = self.pass_scale if training is self.training else 1.0
        with same_buffers(model, self.device):
            generators = take_random(self.device)
            terms = read_terms(call("losses", training.losses, model, batch))
            values = self._finite_values(step, terms)
            if self.stopped:
                return terms, values, Products([], 0.0, [], [], []), []
            losses = [weighted_sum(terms)]
            put_random(generators, self.device)
            if checked and training.total is not None:
                losses.append(read_total(call("total", training.total, model, batch)))
            kept_bytes = memory_for(self.device, KEPT_BYTES)
            found = products(terms, self.parameters, losses, kept_bytes, scale=scale)
            return terms, values, found, losses

    def _checked_exactly(self, step: int, batch: Any) -> bool:
        """The self-check without autocast, whose rounding is as large as a small term that was
        forgotten. False where the model does not run so."""
        if not self.unchecked:
            try:
                terms, _, found, losses = self._products(self.plain, step, batch, True)
            except DryRunError:
                raise
            except Exception as error:  # a kernel or a line of the model's that takes halves only
                if is_out_of_memory(error):
                    raise
                self.unchecked = str(error).split("\n")[0][:120] or type(error).__name__
            else:
                if not self.stopped:
                    self._check(step, terms, found, losses)
        return not self.unchecked

    def _check(
        self, step: int, terms: list[Term], found: Products, losses: list[Tensor],
        least: float = 0.0,
    ) -> None:  # fmt: skip
        """Raises: DryRunError where the terms are not the loss, as `self_check.hold` has it."""
        dtypes = {p.dtype for p in self.parameters}
        off = hold(step, terms, found, losses, dtypes, least)
        if off is not None:
            self.checks += 1
            self.self_check = max(self.self_check, off)
            self.total_checked = self.total_checked or len(losses) > 1

    def _finite_values(self, step: int, terms: list[Term]) -> list[float]:
        """The terms' values; the run is stopped where one of them, or a weight, is not finite."""
        values = values_of(terms)
        for term, value in zip(terms, values, strict=True):
            if not isfinite(term.weight):
                what = f"the weight of term `{term.name}` is {term.weight:g}"
                self._fail(step, what, "look at where `losses` takes it from")
            elif not isfinite(value):
                self._fail(step, f"term `{term.name}` is {value:g}")
            if self.stopped:
                break
        return values

    def _fail(self, step: int, what: str, look: str = "") -> None:
        if step == 1:
            half = ""
            if self.precision.name == "float16":
                half = "; or it is beyond 65,504, where float16 ends: `--precision model` tells"
            raise DryRunError(
                f"step 1: {what}, before anything was trained: " + (look or f"{_INPUTS}{half}")
            )
        self.stopped = f"step {step}: {what}; the {step - 1} steps before it were recorded"
        self.non_finite = True
        self.write({"kind": "non_finite", "step": step, "what": what})

    def _time(self) -> float:
        return round(time.monotonic() - self._started, 4)
