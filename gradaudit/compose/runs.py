"""Several files that make one run: GPT-NeoX takes its settings from as many files as are named
together, Accelerate launches a training whose config is another file."""

from __future__ import annotations

from gradaudit.compose.merge import empty_like, in_force
from gradaudit.compose.model import Composed
from gradaudit.compose.opener import NotOpened
from gradaudit.dialects.compiled.markers import RUNS
from gradaudit.dialects.recognise import recognise
from gradaudit.source import Unreadable
from gradaudit.syntax.tree import Mapping, Scalar, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compose.opener import Opener
    from gradaudit.syntax.tree import Node, Tree

_WORDS = tuple(word.encode() for words in RUNS.values() for word in words)
"""Words one of which every file of such a run has: cheaper to look for than to parse."""


def find_run(paths: list[str], opener: Opener) -> tuple[str, list[str]]:
    """Of files that were named together those that make one run, and its dialect; else none.

    They are of one dialect whose launcher reads several files side by side (one of them for
    certain, the others more than of any other), and no key stands at the top of two of them: the
    launcher would refuse that, so such files are alternatives.
    """
    members: list[str] = []
    keys: set[str] = set()
    dialect = ""
    for path in paths:
        tree = _member(path, opener)
        top = resolve(tree.roots[0]) if tree is not None and tree.roots else None
        if tree is None or type(top) is not Mapping:
            continue
        found = recognise(tree)
        name = found.name if found.weight else found.second[0] if found.second else ""
        if name not in RUNS:
            continue
        own = {key.value.replace("-", "_") for key, _ in top.pairs if type(key) is Scalar}
        if own & keys:
            return "", []
        keys |= own
        members.append(path)
        if found.weight:
            dialect = name
    return (dialect, members) if dialect and len(members) > 1 else ("", [])


def _member(path: str, opener: Opener) -> Tree | None:
    """A file's tree where it has a word of such runs."""
    try:
        data = opener.bytes_of(path)
        if not any(word in data for word in _WORDS):
            return None
        return opener.open(path)
    except (OSError, NotOpened, Unreadable):
        return None


_LAUNCHER = "accelerate"
_BESIDE = ("deepspeed",)
"""What a launcher's or a trainer's config names: neither of the two."""


def find_launched(paths: list[str], opener: Opener) -> dict[str, str]:
    """Of files that were named together, the config of the training that one launches.

    One launcher's config and one of a training: with several of a kind, which belong together is
    not known.
    """
    if not any(_may_launch(path, opener) for path in paths):
        return {}
    launchers: list[str] = []
    others: list[str] = []
    for path in paths:
        try:
            name = recognise(opener.open(path)).name
        except (OSError, Unreadable, NotOpened):
            continue
        if name == _LAUNCHER:
            launchers.append(path)
        elif name not in _BESIDE:
            others.append(path)
    return {others[0]: launchers[0]} if len(launchers) == len(others) == 1 else {}


def _may_launch(path: str, opener: Opener) -> bool:
    """Whether a file has a word of a launcher's: cheaper to look for than to parse."""
    try:
        data = opener.bytes_of(path)
    except (OSError, Unreadable, NotOpened):
        return False
    return b"distributed_type" in data or b"compute_environment" in data


def merge_run(files: list[Composed]) -> Composed:
    """Files of one dialect as one config, in the order in which they were named.

    The result is that of the first file (`tree`, `dialect`); what stands in another is inherited.
    The launcher refuses a key that two files have at the top. Here both entries stay, so that a
    rule can see them, and the later one is in force.

    Raises:
        ValueError: there is no file.
    """
    if not files:
        raise ValueError("a run has at least one file")
    if len(files) == 1:
        return files[0]
    first = files[0]
    run = Composed(first.tree, first.dialect)
    run.roots = []
    run.is_run = True
    pairs: list[tuple[Node, Node]] = []
    like: Mapping | None = None
    for composed in files:
        for tree in composed.trees:
            run.add(tree, composed.mounts.get(id(tree), ()))
        for known, parent in composed.parents.items():
            run.parents.setdefault(known, parent)
        run.missing += composed.missing
        run.under.update(composed.under)
        for root in composed.roots:
            top = resolve(root)
            if type(top) is Mapping:
                like = like or top
                pairs += in_force(top)
    if like is not None:
        whole = empty_like(like)
        whole.pairs = pairs
        run.roots = [whole]
    return run
