"""Opens the files that a config is built on, each once in a run."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.syntax.tree import Tree


class Opener:
    """Reads and keeps trees by their real path; knows how far it may look.

    named  the file or directory that the user named and that led to the config.
    """

    def __init__(self, named: str) -> None:
        self.named = named
        self.trees: dict[str, Tree] = {}
