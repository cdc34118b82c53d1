"""Which configs a recorded run had: so that a later check knows whether they are still the same."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from gradaudit.evidence.record import content_digest
from gradaudit.syntax import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 64
"""Files. They go to the recorder in an environment variable, which has a limit."""

LARGEST = 1 << 22
"""Bytes. A larger file with a config's suffix is data."""


def config_digests(named: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Path as typed and digest of the content, of pairs of the path as typed and from here.

    What is no file, cannot be read or is too large is left out.
    """
    found: dict[str, str] = {}
    for name, path in named:
        with contextlib.suppress(OSError):
            if len(found) == MOST:
                break
            if os.path.isfile(path) and os.path.getsize(path) <= LARGEST:
                with open(path, "rb") as file:
                    found[name] = content_digest(file.read())
    return [{"path": name, "sha256": digest} for name, digest in found.items()]


def named_configs(command: list[str], cwd: str | None, config: str | None) -> list[tuple[str, str]]:
    """What the user calls the config, and the words `FILE` and `--option=FILE` of the command that
    end as configs do; Python configs, and with them the script, among them."""
    found = [(config, config)] if config else []
    for word in command:
        name = word.rpartition("=")[2]
        if name.endswith((*SUFFIXES, ".py")):
            found.append((name, os.path.join(cwd or "", name)))
    return found
