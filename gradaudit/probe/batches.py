"""Batches as a user's loader gives them: tensors in lists, tuples, mappings and dataclasses."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import torch

from gradaudit.probe.blame import said
from gradaudit.probe.protocol import DryRunError
from gradaudit.probe.samples import (
    OF_SAMPLES,
    batch_size_of,
    fields_of,
    is_record,
    mark,
    with_fields,
)
from gradaudit.probe.signatures import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


class Ended(Exception):
    """The loader has no batch left and cannot begin anew. `given`: how many it gave."""

    def __init__(self, given: int) -> None:
        super().__init__(given)
        self.given = given


class Stream:
    """Batches of a loader on the device, begun anew at the end of each epoch where that works.

    given   batches so far. restarts: how often it began anew. of_a_pass: batches until the first
            time that it did, 0 before.

    `samples`: of a batch, as the config has it, for a loader that does not say.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        device: torch.device,
        move: Callable[[Any, Any], Any] | None = None,
        samples: int = 0,
    ) -> None:
        self._samples = batch_size_of(loader) or samples
        self._loader = loader
        self._device = device
        self._move = move
        self._iterator: Iterator[Any] | None = None
        self.given = 0
        self.restarts = 0
        self.of_a_pass = 0

    def take(self) -> Any:
        """The next batch.

        Raises: Ended. DryRunError where the loader fails, or has no batch at all.
        """
        fresh = self._iterator is None
        if self._iterator is None:
            try:
                self._iterator = iter(self._loader)
            except TypeError as error:
                raise DryRunError(f"`batches` cannot be iterated over: {said(error)}") from error
        try:
            batch = next(self._iterator)
        except StopIteration:
            if fresh and self.given == 0:
                raise DryRunError("`batches` is empty: the loader gives no batch at all") from None
            if fresh or self._iterator is self._loader:
                raise Ended(self.given) from None
            self._iterator = None
            self.restarts += 1
            self.of_a_pass = self.of_a_pass or self.given
            return self.take()
        except Exception as error:
            raise DryRunError(
                f"the loader failed at batch {self.given + 1}: {said(error)}"
            ) from error
        self.given += 1
        return self.put(batch)

    def put(self, batch: Any) -> Any:
        """A batch on the device, its lists of samples told as such."""
        if self._move is not None:
            batch = call("move", self._move, batch, self._device)
        else:
            batch = to_device(batch, self._device)
        return mark(batch, self._samples, size_of)


def to_device(batch: Any, device: torch.device) -> Any:
    """Every tensor of a batch on a device; what has a `.to` of its own is asked for it."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        moved = {key: to_device(value, device) for key, value in batch.items()}
        return moved if type(batch) is dict else _alike(batch, moved)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    if hasattr(batch, "to") and callable(batch.to):
        return batch.to(device)
    if is_record(batch):
        moved = {name: to_device(value, device) for name, value in fields_of(batch).items()}
        return with_fields(batch, moved)
    return batch


def _alike(batch: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """A mapping of a class of its own (transformers' BatchEncoding), with other values."""
    try:
        return type(batch)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def tensors_of(batch: Any) -> list[torch.Tensor]:
    """All tensors of a batch, in order, with arrays of numpy's numbers among them."""
    if isinstance(batch, torch.Tensor):
        return [batch]
    if _is_array(batch):
        try:
            return [torch.from_numpy(batch.copy())]
        except (TypeError, ValueError):  # texts, objects, another byte order
            return []
    if isinstance(batch, Mapping):
        return [tensor for value in batch.values() for tensor in tensors_of(value)]
    if isinstance(batch, (list, tuple)):
        return [tensor for value in batch for tensor in tensors_of(value)]
    if is_record(batch):
        return tensors_of(fields_of(batch))
    return []


def leaves_of(batch: Any) -> Iterator[Any]:
    """What a batch is made of, in order: tensors, arrays, lists of samples, of texts or numbers,
    and whatever else stands by itself."""
    if is_record(batch) and not isinstance(batch, Mapping):
        batch = fields_of(batch)
    if isinstance(batch, Mapping):
        for value in batch.values():
            yield from leaves_of(value)
    elif isinstance(batch, (list, tuple)) and not _is_plain(batch):
        for value in batch:
            yield from leaves_of(value)
    else:
        yield batch


def size_of(batch: Any) -> int | None:
    """Samples in a batch: the first dimension of all its tensors and arrays, and the length of its
    lists of samples, of texts or numbers. None where they share none (graphs, ragged batches) or
    where it holds what cannot be cut: `why_whole` says what."""
    sizes = {size for _, size, _ in _parts(batch)}
    size = sizes.pop() if len(sizes) == 1 else None
    return size or None


def why_whole(batch: Any) -> str:
    """What of a batch that has no `size_of` cannot be cut."""
    parts = list(_parts(batch))
    for place, size, what in parts:
        if size is None:
            return f"{place} is {what}"
    first = next(iter(parts), None)
    for place, size, _ in parts:
        if first is not None and size != first[1]:
            return f"{first[0]} has a length of {first[1]}, {place} of {size}"
    return "it is empty"


def _parts(batch: Any, place: str = "") -> Iterator[tuple[str, int | None, str]]:
    """For each part of a batch where it stands and its length, None with what it is where it has
    none. A text by itself, and None, are of all samples, and no part."""
    name = f"`{place}`" if place else "it"
    if isinstance(batch, torch.Tensor) or _is_array(batch):
        whole = not batch.ndim
        yield name, None if whole else batch.shape[0], "a tensor of a single number"
    elif isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from _parts(value, f"{place}.{key}" if place else str(key))
    elif _is_plain(batch):
        yield name, len(batch), ""
    elif isinstance(batch, (list, tuple)):
        for at, value in enumerate(batch):
            key = batch._fields[at] if hasattr(batch, "_fields") else f"[{at}]"
            yield from _parts(value, f"{place}{key}")
    elif isinstance(batch, (int, float, complex)):
        yield name, None, "a single number"
    elif is_record(batch):
        yield from _parts(fields_of(batch), place)
    elif batch is not None and not isinstance(batch, (str, bytes)):
        yield name, None, f"a {type(batch).__name__}"


def _is_array(batch: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(batch, numpy.ndarray)


def _is_plain(batch: Any) -> bool:
    """Whether it is a list of one item a sample: names, paths, ids, or samples as such."""
    if isinstance(batch, OF_SAMPLES):
        return True
    if not isinstance(batch, (list, tuple)) or hasattr(batch, "_fields") or not batch:
        return False
    return all(isinstance(one, (str, bytes, int, float, PurePath)) for one in batch)


def cut(batch: Any, start: int, end: int) -> Any:
    """The samples from `start` to `end`; only for a batch that has a `size_of`."""
    if isinstance(batch, OF_SAMPLES):
        return type(batch)(batch[start:end])
    if isinstance(batch, torch.Tensor) or _is_array(batch) or _is_plain(batch):
        return batch[start:end]
    if isinstance(batch, Mapping):
        values = {key: cut(value, start, end) for key, value in batch.items()}
        return values if type(batch) is dict else _alike(batch, values)
    if is_record(batch):
        return with_fields(batch, cut(fields_of(batch), start, end))
    if not isinstance(batch, (list, tuple)):
        return batch
    parts = [cut(value, start, end) for value in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def join(batches: Sequence[Any]) -> Any:
    """Several batches as one; only for batches that have a `size_of`.

    Raises: RuntimeError where their shapes differ (sequences padded to different lengths), or a
    text that is of all samples of one.
    """
    first = batches[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(batches))
    if _is_array(first):
        try:
            return sys.modules["numpy"].concatenate(batches)
        except ValueError as error:
            raise RuntimeError(str(error)) from error
    if _is_plain(first):
        return type(first)(one for batch in batches for one in batch)
    if isinstance(first, Mapping):
        values = {key: join([batch[key] for batch in batches]) for key in first}
        return values if type(first) is dict else _alike(first, values)
    if is_record(first):
        return with_fields(first, join([fields_of(batch) for batch in batches]))
    if not isinstance(first, (list, tuple)):
        if any(batch != first for batch in batches):
            raise RuntimeError("a text that is of all samples differs from batch to batch")
        return first
    parts = [join([batch[at] for batch in batches]) for at in range(len(first))]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
