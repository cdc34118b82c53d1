"""Edits of real configs, judged by PyYAML's and ruamel.yaml's own composers, `json` and `tomllib`.

Each JSON file is edited a second time with comments and trailing commas put in.

`GRADAUDIT_CORPUS` names a directory of public training configs; without one this is skipped.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from edit_checks import PARSERS, composed, edited_as_meant, standard

from gradaudit.edits import delete_entry, insert_after, replace_value
from gradaudit.fix.splice import Refused, apply, splices
from gradaudit.fix.verify import verify
from gradaudit.source import Source, Unreadable, read
from gradaudit.syntax import SUFFIXES, parse
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree, walk

if TYPE_CHECKING:
    from gradaudit.findings import Edit
    from gradaudit.syntax.scalars import Value

CORPUS = Path(
    os.environ.get("GRADAUDIT_CORPUS")
    or Path(__file__).resolve().parents[1].parent / "shared" / "corpus"
)

VALUES: tuple[Value, ...] = (7, 0.5, 1e-5, True, False, None, "text", "1e-4", "a: b", "it's")

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of configs here"),
]


def edits_of(tree: Tree, rng: random.Random) -> list[tuple[str, list[Edit]]]:
    """Three replaces at once, one insert, one delete, at places drawn at random."""
    values: list[Node] = []
    entries: list[Node] = []
    for root in tree.roots:
        for node in walk(root):
            if type(node) is Mapping:
                values += [v for _, v in node.pairs if type(v) is Scalar]
                entries += [k for k, _ in node.pairs]
            elif type(node) is Sequence:
                values += [v for v in node.items if type(v) is Scalar]
                entries += node.items
    drawn: list[tuple[str, list[Edit]]] = []
    if values:
        chosen = rng.sample(values, min(3, len(values)))
        drawn.append(
            ("replace", [replace_value(tree, n, None, rng.choice(VALUES)) for n in chosen])
        )
    if entries:
        name = "gradaudit_new"
        drawn.append(
            ("insert", [insert_after(tree, rng.choice(entries), name, rng.choice(VALUES))])
        )
        drawn.append(("delete", [delete_entry(tree, rng.choice(entries))]))
    return drawn


def commented(tree: Tree) -> Tree:
    """The same JSON with a comment at the end of each line, and commas before closing brackets."""
    text = re.sub(r"(?<=[^\s,\[{])(?=\s*[}\]])", ",", tree.source.text)
    lines = [f"{line.rstrip()} // {i}: c" for i, line in enumerate(text.splitlines())]
    return parse(Source("c.jsonc", "/* above\n */ " + "\n".join(lines) + "\n"))


def trees(path: Path) -> list[Tree]:
    tree = parse(read(str(path)))
    return [tree, commented(tree)] if tree.format == "json" else [tree]


class Tally:
    """What was done, what was refused and why, and what went wrong."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.wrong: list[str] = []


def edit_all(tree: Tree, shown: str, tally: Tally) -> None:
    for op, edits in edits_of(tree, random.Random(shown)):
        possible = []
        for edit in edits:
            try:
                splices(edit)
                possible.append(edit)
            except Refused as refusal:
                tally.refused[f"{tree.format} {op}: {refusal.reason.split('`')[0]}"] += 1
        if not possible:
            continue
        text = tree.source.text
        try:
            new = apply(text, [change for edit in possible for change in splices(edit)])
            verify(tree, new, possible)
        except Refused as refusal:
            tally.refused[f"{tree.format} {op}, verify: {refusal.reason}"] += len(possible)
            continue
        tally.done[f"{tree.format} {op}"] += len(possible)
        for parser in PARSERS[tree.format]:
            before, after = composed(text, parser), composed(new, parser)
            if before is None:
                tally.done[f"{parser} cannot compose the original"] += 1
            elif after is None or not edited_as_meant(before, after, possible):
                tally.wrong.append(f"{shown}: {op} {[e.key for e in possible]} by {parser}")


def test_edits_of_real_configs() -> None:
    tally = Tally()
    for path in sorted(CORPUS.rglob("*")):
        if path.suffix not in SUFFIXES or not path.is_file():
            continue
        shown = path.relative_to(CORPUS).as_posix()
        try:
            found = trees(path)
        except Unreadable:
            tally.done["unreadable file"] += 1
            continue
        for tree in found:
            tally.done[f"{tree.format} file"] += 1
            edit_all(tree, shown + tree.source.path[-1:], tally)
    print()  # noqa: T201 - the counts are what is wanted, under `-s`
    for name, count in [*sorted(tally.done.items()), *tally.refused.most_common()]:
        print(f"{count:6} {name}")  # noqa: T201
    assert not tally.wrong, "\n".join(tally.wrong[:20])


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_real_configs_read_as_the_standard_library_reads_them(suffix: str) -> None:
    """Whatever it can read, we read alike, from the spans of the values too."""
    for path in sorted(CORPUS.rglob(f"*{suffix}")):
        text = path.read_text(encoding="utf-8")
        expected = composed(text, "json" if suffix == ".json" else "tomllib")
        if expected is None:
            with pytest.raises(Unreadable):
                parse(read(str(path)))
            continue
        for tree in trees(path):
            assert standard(tree) == expected, path
