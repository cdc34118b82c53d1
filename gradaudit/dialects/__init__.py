"""Dialects are data: which keys mean what, and who loads the file. Code only interprets them."""

from __future__ import annotations

from gradaudit.dialects.compiled.generic import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")
    Dialect = dict[str, Any]

GENERIC: Dialect = TABLE

_loaded: dict[str, Dialect] = {"generic": GENERIC}

PLUGGED: dict[str, str] = {}
"""Dialect of a plugin -> the package that it comes from (`plugged.py` puts them here)."""


def load(name: str) -> Dialect:
    """The table of a dialect.

    Raises:
        KeyError: there is no such dialect.
    """
    table = _loaded.get(name)
    if table is None:
        from gradaudit.dialects.compiled.markers import NAMES

        if name not in NAMES:
            raise KeyError(name)
        module = f"gradaudit.dialects.compiled.{name.replace('-', '_')}"
        table = _loaded[name] = __import__(module, fromlist=["TABLE"]).TABLE
    return table


def per_dialect(make: Callable[[Dialect], T]) -> Callable[[Dialect], T]:
    """`make`, asked once for each dialect: for tables that rules draw from its paths."""
    made: dict[int, tuple[Any, T]] = {}

    def known(dialect: Dialect) -> T:
        # By its paths, which a dialect and its copy for another loader share. They are kept beside
        # the answer, so that no others can get their id.
        paths = dialect["paths"]
        found = made.get(id(paths))
        if found is None:
            found = made[id(paths)] = paths, make(dialect)
        return found[1]

    return known


_SHARED = ("kinds", "not_with", "own_optimizer", "switch", "loss_terms")
"""What a vocabulary of a dialect has from the generic one as it is."""


def with_words(dialect: Dialect) -> Dialect:
    """A dialect's table with the vocabulary of the generic one, as the dialect changes it."""
    if "keys" in dialect:
        return dialect
    words = dialect["words"]
    sections = dict(GENERIC["sections"])
    for kind, more in words.get("sections", {}).items():
        sections.update(dict.fromkeys(more, kind))
    for kind in ("ignored", "transparent"):
        sections.update(dict.fromkeys(words.get(kind, ()), kind))
    keys = dict(GENERIC["keys"])
    for setting, more in words.get("keys", {}).items():
        keys.update(dict.fromkeys(more, setting))
    flags = dict(GENERIC["flags"])
    for name in words.get("never", ()):
        keys.pop(name, None)
        flags.pop(name, None)
    within = {kind: dict(inner) for kind, inner in GENERIC["in"].items()}
    for kind, by_setting in words.get("in", {}).items():
        for setting, more in by_setting.items():
            within.setdefault(kind, {}).update(dict.fromkeys(more, setting))
    dialect.update(
        {name: GENERIC[name] for name in _SHARED},
        sections=sections,
        keys=keys,
        flags=flags,
        zero_is_off=(*GENERIC["zero_is_off"], *words.get("zero_is_off", ())),
    )
    dialect["in"] = within
    return dialect


def names(plugins: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every dialect, in the order of the alphabet; `generic` last, then those of plugins."""
    from gradaudit.dialects.compiled.markers import NAMES

    return (*NAMES, *(name for name, package in PLUGGED.items() if package in plugins))


def add(table: Dialect, package: str) -> None:
    """Make a dialect of a plugin known."""
    _loaded[table["name"]] = table
    PLUGGED[table["name"]] = package


def normalised(key: str) -> str:
    """Keys are compared in lower case, with `-` read as `_`."""
    return key.lower().replace("-", "_")


def may_train(text: str) -> bool:
    """Whether a text has any of the words that settings of a training, or its bases, are named by.

    Cheaper than parsing: most files of a repository that are no configs of a training have none.
    """
    lowered = text.lower()
    return "lr" in lowered or any(word in lowered for word in _TRAINING)


_TRAINING = (
    "opt", "learning", "batch", "train", "epoch", "clip", "warmup", "precision", "fp16", "decay",
    "_base", "include", "policy", "zero_", "model", "ppo",
)  # fmt: skip


def is_training_config(names: set[str]) -> bool:
    """Whether the canonical settings found in a file are those of a training.

    Used for files found in a directory that no framework's dialect recognises: a rate or an
    optimiser, and with it anything else that only a training has. `batch_size` or `dropout` alone
    occur in serving configs too.
    """
    drives = names & {"learning_rate", "optimizer"}
    return bool(drives) and len(names - {"seed", "norm", "dropout", "precision"}) >= 2
