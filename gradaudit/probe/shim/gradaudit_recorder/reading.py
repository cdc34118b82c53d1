"""From lines that hold tensors to lines of numbers: a GPU is not waited for while it trains."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch

from gradaudit_recorder.state import ClipCall, Named
from gradaudit_recorder.tensors import Norms, is_here, root_of_squares
from gradaudit_recorder.undone import Compared

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_TENSORS = {str, int, float, bool}
MOST_NON_FINITE = 3
OF_THE_WHOLE = ("fsdp", "deepspeed")
"""Clips whose norm is that of all ranks' pieces together."""


def kept(value: Any) -> Any:
    """A tensor that the program may change, as it is now: one number that is here as that number,
    of any other a copy on its device. What is no tensor as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.item() if value.numel() == 1 and is_here(value) else value.detach().clone()


def number(value: Any) -> float | None:
    """A hyperparameter as a number; None where it is none."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


class Sent:
    """Lines whose numbers were asked for. A GPU copies them when all that it was told before is
    done; until then it would stand still for whoever waits, and the training with it."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self._lines = list(lines)
        self._numbers = Numbers([tensor for line in lines for tensor in _tensors_of(line)])

    def is_here(self) -> bool:
        return self._numbers.are_here()

    def lines(self) -> list[dict[str, Any]]:
        """The lines with numbers in place of their tensors. Waits for what is not here yet."""
        self._numbers.arrive()
        return [_read(line, self._numbers) for line in self._lines]


class Numbers:
    """The values of many small tensors, brought here by one copy for each device and dtype."""

    def __init__(self, tensors: list[Any]) -> None:
        groups: dict[tuple[Any, Any], list[Any]] = {}
        for tensor in tensors:
            groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        self._values: dict[int, list[float]] = {}
        self._copies: list[tuple[list[Any], Any]] = []
        self._copied: list[Any] = []
        with torch.no_grad():
            for (device, _), members in groups.items():
                flat = torch.cat([tensor.reshape(-1) for tensor in members])
                if device.type == "cuda":
                    flat = self._copy_without_waiting(flat)
                self._copies.append((members, flat))

    def _copy_without_waiting(self, flat: Any) -> Any:
        # "cpu" said: a program may have made its GPU the default (torch.set_default_device).
        here = torch.empty(flat.shape, dtype=flat.dtype, device="cpu", pin_memory=True)
        here.copy_(flat, non_blocking=True)
        with torch.cuda.device(flat.device):
            copied = torch.cuda.Event()
            copied.record()
        self._copied.append(copied)
        return here

    def are_here(self) -> bool:
        return all(copied.query() for copied in self._copied)

    def arrive(self) -> None:
        """Wait for them."""
        for copied in self._copied:
            copied.synchronize()
        for members, here in self._copies:
            all_of_them = iter(here.tolist())
            for tensor in members:
                self._values[id(tensor)] = list(itertools.islice(all_of_them, tensor.numel()))

    def of(self, value: Any) -> float | None:
        """A scalar tensor, or a number; None stays None, and what is no number, as of a complex
        tensor, becomes it."""
        if isinstance(value, torch.Tensor):
            value = self._values[id(value)][0]
        return number(value)

    def norms(self, norms: Norms) -> list[float | None]:
        """The norms as numbers, None for tensors that were not there."""
        found: list[float | None] = [None] * norms.count
        for positions, part in norms.parts:
            values = part if isinstance(part, list) else self._values[id(part)]
            for position, value in zip(positions, values, strict=True):
                found[position] = value
        return found


def _tensors_of(line: dict[str, Any]) -> Iterator[Any]:
    """All tensors in a line: in its values, and in lists and clips of those."""
    for value in line.values():
        yield from _tensors_in(value)


def _tensors_in(value: Any) -> Iterator[Any]:
    if value is None or type(value) in NO_TENSORS:
        return
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Norms):
        for _, part in value.parts:
            yield from () if isinstance(part, list) else (part,)
    elif isinstance(value, Compared):
        for norms in (value.moved, value.left, value.since, value.clamped):
            yield from _tensors_in(norms)
    elif isinstance(value, ClipCall):
        yield from _tensors_in(value.total)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors_in(item)


def _read(line: dict[str, Any], numbers: Numbers) -> dict[str, Any]:
    """The line with numbers in place of tensors, and what only numbers can say."""
    named: Named = line.pop("_named")
    fused = numbers.of(line.pop("_fused_scale")) or 1.0
    norms = [None if n is None else n / fused for n in numbers.norms(line["layer_norms"])]
    line["layer_norms"] = norms
    line["post_clip_norm"] = root_of_squares(norms)
    before, scale = line.pop("_before_clip"), numbers.of(line.pop("_before_scale")) or 1.0
    unknown = line.pop("_unknown")
    if before is not None:
        total = before.total if isinstance(before, ClipCall) else before
        of_parts = isinstance(total, Norms)
        value = root_of_squares(numbers.norms(total)) if of_parts else numbers.of(total)
        if named.flat_pieces and getattr(before, "what", "") not in OF_THE_WHOLE:
            value = None  # of this rank's pieces only
        line["pre_clip_norm"] = None if value is None else value / scale
    elif not unknown and line["layer_norms_are"] == "global":
        line["pre_clip_norm"] = line["post_clip_norm"]
    for clip in line["clips"]:
        for name in clip.keys() & {"pre_clip_norm", "clip_norm", "clip_value"}:
            clip[name] = numbers.of(clip[name])
    line["learning_rate"] = [numbers.of(rate) for rate in line["learning_rate"]]
    line["backward_roots"] = [numbers.of(root) for root in line["backward_roots"]]
    if "loss_scale" in line:
        line["loss_scale"] = numbers.of(line["loss_scale"])
    if isinstance(line.get("stale_gradients"), list):
        looks = [numbers.norms(look) for look in line["stale_gradients"]]
        line["stale_gradients"] = min(sum(bool(n) for n in look) for look in looks)
    if numbers.of(line.pop("_found_inf")):  # a fused optimizer was called, and did nothing
        line["skipped"] = True
        line["events"] = line["events"][:-1] + "K"
    if "last_update" in line:
        line["last_update"] = line["last_update"].counted(numbers.norms)
    if "update_ratio" in line:
        weights = numbers.norms(line["weight_norms"])
        changes = numbers.norms(line["update_ratio"])
        line["weight_norms"] = weights
        line["update_ratio"] = [
            None if not w or c is None else c / w for c, w in zip(changes, weights, strict=True)
        ]
    bad = [i for i, n in enumerate(norms) if n is not None and not -torch.inf < n < torch.inf]
    if bad:
        names = named.layers
        line["non_finite"] = [names[i] if i < len(names) else f"?{i}" for i in bad]
        del line["non_finite"][MOST_NON_FINITE:]
    return line
