"""Dialects are data: which keys mean what, and who loads the file. Code only interprets them."""

from __future__ import annotations

from gradaudit.dialects._compiled import DIALECTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Dialect = dict[str, Any]

GENERIC: Dialect = DIALECTS["generic"]


def normalised(key: str) -> str:
    """Keys are compared in lower case, with `-` read as `_`."""
    return key.lower().replace("-", "_")


def may_train(text: str) -> bool:
    """Whether a text has any of the words that an optimiser or a rate is named by.

    Cheaper than parsing: every key that `is_training_config` asks for contains one of them.
    """
    lowered = text.lower()
    return "lr" in lowered or "opt" in lowered or "learning" in lowered


def is_training_config(names: set[str]) -> bool:
    """Whether the canonical settings found in a file are those of a training.

    Used for files found in a directory only: a rate or an optimiser, and with it anything else
    that only a training has. `batch_size` or `dropout` alone occur in serving configs too.
    """
    drives = names & {"learning_rate", "optimizer"}
    return bool(drives) and len(names - {"seed", "norm", "dropout", "precision"}) >= 2
