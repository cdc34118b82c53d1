"""Batches as a user's loader gives them: tensors in lists, tuples and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from gradaudit.probe.protocol import DryRunError

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
    """

    def __init__(
        self,
        loader: Iterable[Any],
        device: torch.device,
        move: Callable[[Any, Any], Any] | None = None,
    ) -> None:
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
            self._iterator = iter(self._loader)
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
                f"the loader failed at batch {self.given + 1}: {type(error).__name__}: {error}"
            ) from error
        self.given += 1
        return self.put(batch)

    def put(self, batch: Any) -> Any:
        """A batch on the device."""
        if self._move is not None:
            return self._move(batch, self._device)
        return to_device(batch, self._device)


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
    return batch


def _alike(batch: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """A mapping of a class of its own (transformers' BatchEncoding), with other values."""
    try:
        return type(batch)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def tensors_of(batch: Any) -> list[torch.Tensor]:
    """All tensors of a batch, in order."""
    if isinstance(batch, torch.Tensor):
        return [batch]
    if isinstance(batch, Mapping):
        return [tensor for value in batch.values() for tensor in tensors_of(value)]
    if isinstance(batch, (list, tuple)):
        return [tensor for value in batch for tensor in tensors_of(value)]
    return []


def size_of(batch: Any) -> int | None:
    """Samples in a batch: the first dimension that all its tensors share. None where they share
    none (graphs, ragged batches), and so a batch cannot be cut or joined."""
    sizes = {tensor.shape[0] if tensor.dim() else -1 for tensor in tensors_of(batch)}
    if len(sizes) != 1 or not _only_tensors(batch):
        return None
    size = sizes.pop()
    return size if size > 0 else None


def _only_tensors(batch: Any) -> bool:
    if isinstance(batch, Mapping):
        return all(_only_tensors(value) for value in batch.values())
    if isinstance(batch, (list, tuple)):
        return all(_only_tensors(value) for value in batch)
    return isinstance(batch, torch.Tensor)


def cut(batch: Any, start: int, end: int) -> Any:
    """The samples from `start` to `end`; only for a batch that has a `size_of`."""
    if isinstance(batch, torch.Tensor):
        return batch[start:end]
    if isinstance(batch, Mapping):
        values = {key: cut(value, start, end) for key, value in batch.items()}
        return values if type(batch) is dict else _alike(batch, values)
    if hasattr(batch, "_fields"):
        return type(batch)(*(cut(value, start, end) for value in batch))
    return type(batch)(cut(value, start, end) for value in batch)


def join(batches: Sequence[Any]) -> Any:
    """Several batches as one; only for batches that have a `size_of`.

    Raises: RuntimeError where their shapes differ (sequences padded to different lengths).
    """
    first = batches[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(batches))
    if isinstance(first, Mapping):
        values = {key: join([batch[key] for batch in batches]) for key in first}
        return values if type(first) is dict else _alike(first, values)
    parts = [join([batch[at] for batch in batches]) for at in range(len(first))]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
