"""Which configs a recorded run had: so that a later check knows whether they are still the same."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from gradaudit.compose import compose
from gradaudit.compose.identify import identify
from gradaudit.compose.opener import NotOpened, Opener
from gradaudit.evidence.record import content_digest
from gradaudit.settings import BadSettings, Finder
from gradaudit.source import Unreadable, read
from gradaudit.syntax import SUFFIXES, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gradaudit.compose.model import Composed

MOST = 64
"""Files. They go to the recorder in an environment variable, which has a limit."""

LARGEST = 1 << 22
"""Bytes. A larger file with a config's suffix is data."""


def config_digests(
    named: Iterable[tuple[str, str]], bases_of: Callable[[str], list[str]] | None = None
) -> list[dict[str, str]]:
    """Path as typed and digest of the content, of pairs of the path as typed and from here; then
    the same of the files that each is built on, with `base_of`: the path of the one named.

    `bases_of` tells which these are; without it they are those that a check of the file reads. What
    is no file, cannot be read or is too large is left out.
    """
    found: dict[str, dict[str, str]] = {}
    bases: list[dict[str, str]] = []
    for name, path in named:
        digest = _digest(path)
        if digest is None or name in found:
            continue
        found[name] = {"path": name, "sha256": digest}
        for base in (bases_of or read_bases)(path):
            digest = _digest(base)
            if digest is not None:
                bases.append({"path": base, "sha256": digest, "base_of": name})
    return [*found.values(), *bases][:MOST]


def read_bases(path: str) -> list[str]:
    """The files that a config is put together of besides itself, as a check of it reads them:
    bases, groups, linked files. None where the file is no config, or cannot be read."""
    try:
        settings = Finder().for_file(path)
        tree = parse(read(path))
        opener = Opener(path)
        chosen = settings.dialect_of(path)
        dialect, _ = identify(tree, opener, chosen, plugins=settings.plugins)
        composed = compose(tree, dialect, opener)
    except (OSError, Unreadable, NotOpened, BadSettings):
        return []
    return bases_in(composed)


def bases_in(composed: Composed) -> list[str]:
    """The paths of the files besides the config itself."""
    return [tree.source.path for tree in composed.trees if tree is not composed.tree]


def _digest(path: str) -> str | None:
    with contextlib.suppress(OSError):
        if os.path.isfile(path) and os.path.getsize(path) <= LARGEST:
            with open(path, "rb") as file:
                return content_digest(file.read())
    return None


def named_configs(command: list[str], cwd: str | None, config: str | None) -> list[tuple[str, str]]:
    """What the user calls the config, and the words `FILE` and `--option=FILE` of the command that
    end as configs do; Python configs, and with them the script, among them."""
    found = [(config, config)] if config else []
    for word in command:
        name = word.rpartition("=")[2]
        if name.endswith((*SUFFIXES, ".py")):
            found.append((name, os.path.join(cwd or "", name)))
    return found
