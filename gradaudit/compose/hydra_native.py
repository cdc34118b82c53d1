"""Hydra's own resolution of defaults lists, where it is installed: for what our subset leaves open.

Files are still read by our `Opener` and no other, and a name that calls a resolver (`${oc.env:X}`)
never reaches Hydra, so that nothing is executed.
"""

from __future__ import annotations

import warnings

from gradaudit.compose.hydra import Lists
from gradaudit.compose.hydra_items import header_of, items_of
from gradaudit.compose.opener import NotOpened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.compose.hydra import Library, Placed
    from gradaudit.compose.hydra_items import Item
    from gradaudit.syntax.tree import Tree

_MOST_LOADS = 500
_PRIMARY = "\0primary"


def ask_hydra(library: Library) -> tuple[list[Placed], Lists] | None:
    """What `Lists(library).all()` gives, by Hydra; None where it is not installed or refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _ask(library)
    except Exception:  # whatever it is, our own subset has an answer
        return None


def _ask(library: Library) -> tuple[list[Placed], Lists]:
    from hydra import version
    from hydra._internal.config_repository import ConfigRepository
    from hydra._internal.defaults_list import create_defaults_list
    from hydra.core.default_element import ConfigDefault, GroupDefault
    from hydra.plugins.config_source import ConfigResult
    from omegaconf import OmegaConf

    lists = Lists(library)
    trees: dict[str, Tree] = {}
    primary = f"{library.group}/{_PRIMARY}" if library.group else _PRIMARY
    loads = 0

    class Repository(ConfigRepository):  # type: ignore[misc]
        """Our files, as Hydra asks for them. `super().__init__` would look for plugins."""

        def __init__(self) -> None:
            self.sources: list[Any] = []

        def load_config(self, config_path: str) -> Any:
            nonlocal loads
            loads += 1
            if loads > _MOST_LOADS:
                raise NotOpened("too many files", "info")
            tree, header = self._tree(config_path)
            if tree is None:
                return None
            result = ConfigResult(
                provider="", path="", config=OmegaConf.create({}), header={"package": header}
            )
            result.defaults_list = [
                made for item in items_of(tree) if (made := _made(item)) is not None
            ]
            return result

        def _tree(self, config_path: str) -> tuple[Tree | None, str | None]:
            if config_path == primary:
                trees[config_path] = library.tree
                return library.tree, "_global_"  # it stays at the root of what we show
            tree = library.load(config_path)
            if tree is None:
                return None, None
            trees[config_path] = tree
            return tree, header_of(tree)

        def config_exists(self, config_path: str) -> bool:
            return config_path == primary or library.load(config_path) is not None

        def group_exists(self, config_path: str) -> bool:
            return False

        def get_group_options(self, *_: Any, **__: Any) -> list[str]:
            return []

        def get_sources(self) -> list[Any]:
            return []

    def _made(item: Item) -> Any:
        name = f"{'/' if item.absolute else ''}{item.group}"
        if item.is_group and name.lstrip("/").startswith("hydra/"):
            return None
        texts = item.value if isinstance(item.value, list) else [item.value or ""]
        if any("${" in text and ":" in text for text in [name, *texts]):
            raise NotOpened("a resolver in a defaults list", "info")
        if item.is_group:
            return GroupDefault(
                group=name,
                value=item.value,
                package=item.package,
                optional=item.optional,
                override=item.override,
            )
        slash = "" if not name or name == "/" else "/"
        return ConfigDefault(path=f"{name}{slash}{item.value}", package=item.package)

    base = version.VersionBase.instance()
    before = base.version_base
    version.setbase("1.3")
    try:
        found = create_defaults_list(
            repo=Repository(), config_name=primary, overrides_list=[], prepend_hydra=False,
            skip_missing=True,
        )  # fmt: skip
    finally:
        base.version_base = before
    placed: list[Placed] = []
    for default in found.defaults:
        path = default.config_path or ""
        name = library.path if path == primary else path
        above = trees.get(getattr(default, "parent", None) or "")
        if above is not None:
            lists.parents.setdefault(id(trees[path]), above)
        placed.append((name, default.package or "", trees[path]))
    return placed, lists
