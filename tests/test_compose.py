"""Base files and linked files: chains, what is found where, what is refused, and what it costs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from compose_support import BASES, SEARCH, at, composed_at, data, shape, write

from gradaudit.audit import audit_path, audit_source
from gradaudit.compose import compose
from gradaudit.compose import opener as opening
from gradaudit.compose.opener import NotOpened, Opener
from gradaudit.compose.runs import merge_run
from gradaudit.options import Options
from gradaudit.settings import Finder, Settings
from gradaudit.source import Source, read, read_bytes
from gradaudit.syntax import parse
from gradaudit.syntax.tree import Mapping


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, and the current directory somewhere else."""
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "repo"


def test_a_chain_is_merged_from_its_end(repo: Path) -> None:
    write(repo, {
        "a.yaml": "_BASE_: sub/b.yaml\nlr: 1\nnet: {depth: 9}\n",
        "sub/b.yaml": "_BASE_: ../c.yaml\nlr: 2\nwd: 2\nnet: {width: 8}\n",
        "c.yaml": "lr: 3\nwd: 3\nclip: 3\nnet: {depth: 3, kind: r}\n",
    })  # fmt: skip
    composed = composed_at(repo / "a.yaml", BASES)
    found = data(composed)
    assert found["lr"] == 1
    assert found["wd"] == 2
    assert found["clip"] == 3
    assert found["net"] == {"depth": 9, "kind": "r", "width": 8}
    names = [os.path.basename(tree.source.path) for tree in composed.trees]
    assert names == ["a.yaml", "b.yaml", "c.yaml"]
    owners = [
        os.path.basename(composed.tree_of(at(composed, key)).source.path)
        for key in ("lr", "wd", "clip", "net.depth", "net.width", "net.kind")
    ]
    assert owners == ["a.yaml", "b.yaml", "c.yaml", "a.yaml", "b.yaml", "c.yaml"]
    assert not composed.missing


def test_of_several_bases_the_last_wins_and_the_file_wins_over_all(repo: Path) -> None:
    write(repo, {
        "a.yaml": "_BASE_: [b.yaml, c.yaml]\nz: a\n",
        "b.yaml": "x: b\ny: b\nz: b\n",
        "c.yaml": "y: c\nz: c\n",
    })  # fmt: skip
    found = data(composed_at(repo / "a.yaml", BASES))
    assert (found["x"], found["y"], found["z"]) == ("b", "c", "a")


def test_order_after_lets_the_base_win(repo: Path) -> None:
    write(repo, {"a.yaml": "_BASE_: b.yaml\nx: a\nw: a\n", "b.yaml": "x: b\n"})
    dialect = {
        "compose": {"bases": [{"key": "_BASE_", "relative_to": "file", "order": "after"}]},
        "interpolation": "",
    }
    composed = composed_at(repo / "a.yaml", dialect)
    found = data(composed)
    assert (found["x"], found["w"]) == ("b", "a")
    assert composed.roots[0].end == composed.tree.roots[0].end


def test_a_base_of_a_section_is_merged_into_that_section(repo: Path) -> None:
    write(repo, {
        "cfgs/models/a.yaml": "DATA:\n  _BASE_CONFIG_: cfgs/data/d.yaml\n  SIZE: 2\nLR: 1\n",
        "cfgs/data/d.yaml": "SIZE: 1\nPATH: x\nLR: 5\n",
    })  # fmt: skip
    dialect = {
        "compose": {"bases": [{"key": "DATA._BASE_CONFIG_", "relative_to": "search"}]},
        "interpolation": "",
    }
    composed = composed_at(repo / "cfgs/models/a.yaml", dialect)
    assert data(composed) == {
        "DATA": {"SIZE": 2, "PATH": "x", "LR": 5, "_BASE_CONFIG_": "cfgs/data/d.yaml"},
        "LR": 1,
    }
    assert composed.mounts[id(composed.trees[1])] == ("DATA",)


def test_lists_are_replaced_or_appended_as_the_dialect_says(repo: Path) -> None:
    write(repo, {"a.yaml": "_BASE_: b.yaml\nx: [3]\n", "b.yaml": "x: [1, 2]\n"})
    assert data(composed_at(repo / "a.yaml", BASES))["x"] == [3]
    rules = {**BASES["compose"], "lists": "append"}
    appended = composed_at(repo / "a.yaml", {"compose": rules, "interpolation": ""})
    assert data(appended)["x"] == [1, 2, 3]


def test_the_delete_key_replaces_a_section(repo: Path) -> None:
    write(repo, {
        "a.yaml": "_BASE_: b.yaml\nopt: {_delete_: true, type: Adam}\n"
                  "net: {_delete_: false, d: 1}\n",
        "b.yaml": "opt: {type: SGD, momentum: 0.9}\nnet: {w: 2}\n",
    })  # fmt: skip
    rules = {**BASES["compose"], "delete_key": "_delete_"}
    found = data(composed_at(repo / "a.yaml", {"compose": rules, "interpolation": ""}))
    assert found["opt"] == {"_delete_": True, "type": "Adam"}
    assert found["net"] == {"w": 2, "_delete_": False, "d": 1}


def test_a_linked_file_stands_in_place_of_its_name(repo: Path) -> None:
    write(repo, {
        "conf/a.yaml": "lr: 1\ndeepspeed: ds/z2.json\nmode: {deepspeed: zero3}\n",
        "ds/z2.json": '{"gradient_clipping": 1.0}',
    })  # fmt: skip
    links = [{"key": "deepspeed", "relative_to": "search"},
             {"key": "mode.deepspeed", "relative_to": "search"}]  # fmt: skip
    composed = composed_at(repo / "conf/a.yaml", {"compose": {"links": links}, "interpolation": ""})
    assert data(composed) == {
        "lr": 1, "deepspeed": {"gradient_clipping": 1.0}, "mode": {"deepspeed": "zero3"},
    }  # fmt: skip
    clip = at(composed, "deepspeed.gradient_clipping")
    assert composed.tree_of(clip).source.path.endswith("ds/z2.json")
    assert not composed.missing


def test_a_linked_file_that_is_nowhere_leaves_its_name(repo: Path) -> None:
    write(repo, {"a.yaml": "deepspeed: nowhere/z2.json\n"})
    links = [{"key": "deepspeed", "relative_to": "search"}]
    composed = composed_at(repo / "a.yaml", {"compose": {"links": links}, "interpolation": ""})
    assert data(composed) == {"deepspeed": "nowhere/z2.json"}
    assert [(m.path, m.severity, m.kind) for m in composed.missing] == [
        ("nowhere/z2.json", "info", "base")
    ]


@pytest.mark.parametrize(("dialect", "severity"), [(BASES, "error"), (SEARCH, "info")])
def test_what_is_not_found(repo: Path, dialect: dict[str, Any], severity: str) -> None:
    write(repo, {"a.yaml": "_BASE_: nowhere.yaml\nlr: 1\n"})
    composed = composed_at(repo / "a.yaml", dialect)
    [missing] = composed.missing
    assert (missing.severity, missing.path, missing.kind) == (severity, "nowhere.yaml", "base")
    text = composed.tree.source.text
    assert text[missing.node.start : missing.node.end] == "nowhere.yaml"
    assert missing.tree is composed.tree
    assert data(composed)["lr"] == 1


def test_the_search_takes_the_nearest(repo: Path) -> None:
    write(repo, {
        "x/y/z/a.yaml": "_BASE_: c/b.yaml\n", "x/c/b.yaml": "from: x\n", "c/b.yaml": "from: top\n",
    })  # fmt: skip
    composed = composed_at(repo / "x/y/z/a.yaml", SEARCH)
    assert data(composed)["from"] == "x"
    assert composed.trees[1].source.path == str(repo / "x/c/b.yaml")


def test_paths_are_shown_as_typed(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repo, {"conf/sub/a.yaml": "_BASE_: ./../b.yaml\n", "conf/b.yaml": "x: 1\n"})
    monkeypatch.chdir(repo)
    composed = composed_at("conf/sub/a.yaml", BASES)
    assert composed.trees[1].source.path == os.path.join("conf", "b.yaml")
    monkeypatch.chdir(repo / "conf" / "sub")
    composed = composed_at("a.yaml", BASES)
    assert composed.trees[1].source.path == os.path.join("..", "b.yaml")


@pytest.mark.parametrize(
    "named",
    [
        "/etc/hostname.yaml", "~/x.yaml", "~root/x.yaml", "https://example.com/x.yaml",
        "file:///etc/x.yaml", "C:/x.yaml", "\\\\host\\x.yaml", "../../../outside.yaml",
        "../outside.yaml", "sub/../../outside.yaml", "link.yaml", "away/outside.yaml",
    ],
)  # fmt: skip
def test_what_lies_outside_is_not_opened(
    repo: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo.parent, {"outside.yaml": "secret: 1\n"})
    write(repo, {"a.yaml": f"_BASE_: '{named}'\nlr: 1\n", "sub/x.yaml": ""})
    (repo / "link.yaml").symlink_to(repo.parent / "outside.yaml")
    (repo / "away").symlink_to(repo.parent)
    tree = parse(read(str(repo / "a.yaml")))
    monkeypatch.setattr(opening, "read_bytes", lambda path: pytest.fail(f"{path} was opened"))
    for dialect in (BASES, SEARCH):
        composed = compose(tree, dialect, Opener())
        [missing] = composed.missing
        assert missing.severity == "info"
        assert "outside" in missing.reason
        assert missing.path == named


@pytest.mark.parametrize(
    ("named", "severity"),
    [("b.txt", "info"), ("b", "info"), (".env", "info"), ("directory.yaml", "error"),
     ("pipe.yaml", "error"), ("${b}.yaml", "info"), ("{{ b }}.yaml", "info")],
)  # fmt: skip
def test_only_config_files_are_opened(
    repo: Path, named: str, severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo, {"a.yaml": f"_BASE_: '{named}'\n", "b.txt": "x: 1\n", "b": "x: 1", ".env": "X=1"})
    (repo / "directory.yaml").mkdir()
    os.mkfifo(repo / "pipe.yaml")
    tree = parse(read(str(repo / "a.yaml")))
    monkeypatch.setattr(opening, "read_bytes", lambda path: pytest.fail(f"{path} was opened"))
    [missing] = compose(tree, BASES, Opener()).missing
    assert missing.severity == severity


def test_symlinks_inside_the_boundary_are_followed(repo: Path) -> None:
    write(repo, {"a.yaml": "_BASE_: link.yaml\n", "real/b.yaml": "x: 1\n"})
    (repo / "link.yaml").symlink_to(repo / "real" / "b.yaml")
    assert data(composed_at(repo / "a.yaml", BASES))["x"] == 1


def test_dots_after_a_linked_directory_mean_what_the_system_says(repo: Path) -> None:
    write(repo, {
        "a.yaml": "_BASE_: link/../b.yaml\n", "b.yaml": "from: top\n",
        "deep/b.yaml": "from: deep\n",
        "deep/er/x.yaml": "",
    })  # fmt: skip
    (repo / "link").symlink_to(repo / "deep" / "er")
    assert data(composed_at(repo / "a.yaml", BASES))["from"] == "deep"


class TestBoundary:
    def test_is_the_repository(self, repo: Path) -> None:
        write(repo, {"x/y/z/w/v/a.yaml": ""})
        boundary = Opener().boundary_of(str(repo / "x/y/z/w/v/a.yaml"))
        assert boundary == os.path.realpath(repo)

    def test_else_the_current_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path, {"w/x/y/z/a.yaml": ""})
        monkeypatch.chdir(tmp_path / "w")
        assert Opener(str(tmp_path)).boundary_of("x/y/z/a.yaml") == str(tmp_path / "w")

    def test_else_what_was_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path, {"n/x/y/z/w/a.yaml": "", "else/b.yaml": ""})
        monkeypatch.chdir(tmp_path / "else")
        opener = Opener(str(tmp_path / "n"), str(tmp_path / "n" / "x"), "../else")
        assert opener.boundary_of(str(tmp_path / "n/x/y/z/w/a.yaml")) == str(tmp_path / "n" / "x")

    def test_else_three_levels_above(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path, {"x/y/z/w/a.yaml": "", "else/b.yaml": ""})
        monkeypatch.chdir(tmp_path / "else")
        path = str(tmp_path / "x/y/z/w/a.yaml")
        assert Opener(path).boundary_of(path) == str(tmp_path / "x")

    def test_is_never_everything(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("/")
        assert Opener("/").boundary_of("/a.yaml") != os.sep or not Path("/a.yaml").exists()
        assert Opener("/").boundary_of(str(tmp_path / "a.yaml")) != os.sep
        top = f"/{tmp_path.parts[1]}"
        assert Opener("/").boundary_of(f"{top}/a.yaml") == os.path.realpath(top)


def test_a_circle_is_an_error_that_names_the_whole_of_it(repo: Path) -> None:
    write(repo, {
        "a.yaml": "_BASE_: b.yaml\nx: a\n",
        "b.yaml": "_BASE_: c.yaml\nx: b\ny: b\n",
        "c.yaml": "_BASE_: b.yaml\nz: c\n",
    })  # fmt: skip
    composed = composed_at(repo / "a.yaml", BASES)
    [missing] = composed.missing
    assert (missing.kind, missing.severity) == ("cycle", "error")
    b, c = str(repo / "b.yaml"), str(repo / "c.yaml")
    assert f"{b} -> {c} -> {b}" in missing.reason
    found = data(composed)
    assert (found["x"], found["y"], found["z"]) == ("a", "b", "c")


def test_a_file_may_not_be_its_own_base(repo: Path) -> None:
    write(repo, {"a.yaml": "_BASE_: ./a.yaml\n"})
    [missing] = composed_at(repo / "a.yaml", BASES).missing
    assert missing.kind == "cycle"


def test_a_diamond_is_no_circle_and_costs_four_files(repo: Path) -> None:
    write(repo, {
        "a.yaml": "_BASE_: [b.yaml, c.yaml]\n", "b.yaml": "_BASE_: d.yaml\nb: 1\n",
        "c.yaml": "_BASE_: d.yaml\nc: 1\n", "d.yaml": "d: 1\n",
    })  # fmt: skip
    composed = composed_at(repo / "a.yaml", BASES)
    assert not composed.missing
    assert len(composed.trees) == 4


def test_chains_are_bounded(repo: Path) -> None:
    write(repo, {f"{n}.yaml": f"_BASE_: {n + 1}.yaml\nx{n}: 1\n" for n in range(40)})
    [missing] = composed_at(repo / "0.yaml", BASES).missing
    assert missing.severity == "info"
    assert "20" in missing.reason
    # The same file is complete for a leaf that is nearer to the end.
    opener = Opener()
    composed_at(repo / "0.yaml", BASES, opener)
    write(repo, {"40.yaml": "end: 1\n"})
    late = composed_at(repo / "25.yaml", BASES, opener)
    assert not late.missing
    assert data(late)["end"] == 1


def test_the_files_of_a_chain_are_counted(repo: Path) -> None:
    names = ", ".join(f"{n}.yaml" for n in range(60))
    write(repo, {"a.yaml": f"_BASE_: [{names}]\n"})
    write(repo, {f"{n}.yaml": "x: 1\n" for n in range(60)})
    composed = composed_at(repo / "a.yaml", BASES)
    assert len(composed.trees) == 51
    assert all("50" in missing.reason for missing in composed.missing)


def test_doubling_chains_do_not_explode(repo: Path) -> None:
    write(
        repo, {f"{n}.yaml": f"_BASE_: [{n + 1}.yaml, {n + 1}.yaml]\nx: [{n}]\n" for n in range(19)}
    )
    write(repo, {"19.yaml": "x: [0]\n"})
    rules = {**BASES["compose"], "lists": "append"}
    composed = composed_at(repo / "0.yaml", {"compose": rules, "interpolation": ""})
    assert len(composed.trees) == 20


@pytest.mark.parametrize("text", ["x: [1\n", "x: *nowhere\n"])
def test_a_base_that_does_not_parse_is_an_error(repo: Path, text: str) -> None:
    write(repo, {"a.yaml": "_BASE_: b.yaml\n", "b.yaml": text})
    [missing] = composed_at(repo / "a.yaml", BASES).missing
    assert missing.severity == "error"
    assert "line" in missing.reason


def test_a_base_that_is_too_large_for_us_may_be_none_for_the_framework(repo: Path) -> None:
    write(repo, {"a.yaml": "_BASE_: b.yaml\n", "b.yaml": "x: " + "[" * 300 + "]" * 300})
    [missing] = composed_at(repo / "a.yaml", BASES).missing
    assert missing.severity in ("info", "error")
    write(repo, {"b.yaml": "#" * (6 * 1024 * 1024)})
    [missing] = composed_at(repo / "a.yaml", BASES).missing
    assert missing.severity == "info"


@pytest.mark.parametrize("value", ["", "null", "''", "['']", "[]", "{a: b.yaml}", "false"])
def test_what_names_no_file_is_no_base(repo: Path, value: str) -> None:
    write(repo, {"a.yaml": f"_BASE_: {value}\nlr: 1\n"})
    composed = composed_at(repo / "a.yaml", BASES)
    assert not composed.missing
    assert composed.roots is composed.tree.roots


@pytest.mark.parametrize("base", ["", "[1, 2]\n", "text\n"])
def test_a_base_without_keys_changes_nothing(repo: Path, base: str) -> None:
    write(repo, {"a.yaml": "_BASE_: b.yaml\nlr: 1\n", "b.yaml": base})
    assert data(composed_at(repo / "a.yaml", BASES))["lr"] == 1


def test_without_an_opener_nothing_is_opened(repo: Path) -> None:
    write(repo, {"b.yaml": "x: 1\n"})
    tree = parse(Source(str(repo / "a.yaml"), "_BASE_: b.yaml\n"))
    composed = compose(tree, BASES, None)
    assert [missing.severity for missing in composed.missing] == ["info"]


def test_many_leaves_over_one_base_read_it_once(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        repo,
        {"base.yaml": "_BASE_: root.yaml\n" + "".join(f"k{n}: {{a: {n}}}\n" for n in range(99))},
    )
    write(repo, {"root.yaml": "r: 1\n"})
    write(repo, {f"leaf{n}.yaml": f"_BASE_: base.yaml\nk3: {{b: {n}}}\n" for n in range(300)})
    leaves = [parse(read(str(repo / f"leaf{n}.yaml"))) for n in range(300)]
    opened: list[str] = []

    def counted(path: str) -> bytes:
        opened.append(os.path.basename(path))
        return read_bytes(path)

    monkeypatch.setattr(opening, "read_bytes", counted)
    opener = Opener()
    before: list[tuple[Any, ...]] = []
    made = 0
    for number, leaf in enumerate(leaves):
        kept = shape(leaf)
        composed = compose(leaf, BASES, opener)
        assert data(composed)["k3"] == {"a": 3, "b": number}
        assert shape(leaf) == kept
        root = composed.roots[0]
        assert isinstance(root, Mapping)
        made += sum(isinstance(v, Mapping) and v.parent is None for _, v in root.pairs)
        after = [entry for tree in composed.trees[1:] for entry in shape(tree)]
        assert not before or after == before
        before = after
    assert opened == ["base.yaml", "root.yaml"]
    assert made == 300  # one section was merged a leaf; the rest is the base's own


def test_a_base_that_is_judged_too_is_parsed_once(repo: Path) -> None:
    write(repo, {"base.yaml": "optimizer: adam\nlr: 5\n", "leaf.yaml": "_BASE_: base.yaml\n"})
    leaf, base = str(repo / "leaf.yaml"), str(repo / "base.yaml")
    for order in ((leaf, base), (base, leaf)):
        options = Options()
        results = {path: audit_path(path, options, Finder()) for path in order}
        composed = results[leaf].composed
        assert composed is not None
        assert composed.trees[1] is results[base].tree
        found = results[base].findings
        assert [finding.rule.code for finding in found] == ["GA201"]
        assert found[0].place.source is results[base].source


def test_an_option_that_chooses_itself_is_composed_alike_however_it_is_named(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read a second time it would be another tree under one spelling and its own under another."""
    text = "# @package _global_\ndefaults:\n  - override /experiment: y\noptimizer: adam\nlr: 5\n"
    write(repo, {"experiment/y.yaml": text})
    monkeypatch.chdir(repo)
    seen = set()
    for path in ("experiment/y.yaml", "./experiment/y.yaml", str(repo / "experiment/y.yaml")):
        result = audit_path(path, Options(), Finder())
        assert result.composed is not None
        assert result.composed.trees == [result.tree]
        seen.add(tuple(finding.rule.code for finding in result.findings))
    assert len(seen) == 1


def test_only_the_last_trees_are_kept_for_others(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree takes many times its text, and a directory may hold thousands of large files."""
    monkeypatch.setattr(opening, "MOST_SHARED", 100)
    opener = Opener()
    texts = [f"k{n}: {'x' * 30}\n" for n in range(5)]
    trees = [opener.parse(Source(f"{n}.yaml", text)) for n, text in enumerate(texts)]
    again = [opener.parse(Source(f"{n}.yaml", text)) for n, text in enumerate(texts)][::-1]
    assert [new is old for new, old in zip(again, trees[::-1], strict=True)] == [False] * 5
    assert opener.parse(Source("4.yaml", texts[4])) is again[0]
    assert opener.parse(Source("3.yaml", texts[3])) is again[1]
    large = opener.parse(Source("l.yaml", "k: " + "x" * 200))
    assert opener.parse(Source("l.yaml", "k: " + "x" * 200)) is not large


def test_a_text_of_its_own_has_a_tree_of_its_own(repo: Path) -> None:
    """What is edited, or set on the command line, is not what the next file is built on."""
    write(repo, {"base.yaml": "optimizer: adam\nlr: 5\n", "leaf.yaml": "_BASE_: base.yaml\n"})
    leaf, base = str(repo / "leaf.yaml"), str(repo / "base.yaml")
    options = Options()
    saved = audit_path(base, options, Finder())
    edited = audit_source(Source(base, "optimizer: adam\nlr: 0.001\n"), options, Settings())
    assert [finding.rule.code for finding in saved.findings] == ["GA201"]
    assert not edited.findings
    assert edited.tree is not saved.tree
    marked = audit_source(Source(base, read(base).text, bom=b"\xef\xbb\xbf"), options, Settings())
    assert marked.source is not None
    assert marked.source.bom
    options = Options()
    options.overrides = [("lr", "0.001")]
    assert not audit_path(base, options, Finder()).findings
    options.overrides = []
    composed = audit_path(leaf, options, Finder()).composed
    assert composed is not None
    assert data(composed)["lr"] == 5


def test_several_documents_are_composed_each(repo: Path) -> None:
    write(
        repo,
        {"a.yaml": "_BASE_: b.yaml\n---\n_BASE_: c.yaml\n", "b.yaml": "b: 1", "c.yaml": "c: 1"},
    )
    composed = composed_at(repo / "a.yaml", BASES)
    assert [len(root.pairs) for root in composed.roots if isinstance(root, Mapping)] == [2, 2]


def test_python_configs_are_composed_alike(repo: Path) -> None:
    write(repo, {
        "a.py": "_base_ = './b.py'\n"
                "optimizer = dict(lr=0.1, weight_decay=_base_.wd)\n"
                "model = dict(_delete_=True, type='X')\n",
        "b.py": "wd = 0.01\noptimizer = dict(type='SGD', lr=0.2)\nmodel = dict(depth=50)\n",
    })  # fmt: skip
    dialect = {
        "compose": {"bases": [{"key": "_base_", "relative_to": "file"}], "delete_key": "_delete_"},
        "interpolation": "",
    }
    composed = composed_at(repo / "a.py", dialect)
    assert data(composed)["optimizer"]["type"] == "SGD"
    assert data(composed)["optimizer"]["lr"] == 0.1
    assert "depth" not in data(composed)["model"]
    node, note = composed.value_of(at(composed, "optimizer.weight_decay"))
    assert getattr(node, "value", None) == "0.01"
    assert "_base_.wd" in note


def test_python_imports_of_a_base_assign(repo: Path) -> None:
    write(repo, {
        "a.py": "from mmengine.config import read_base\n"
                "with read_base():\n    from .b import *\n    from .c import lr as rate\n"
                "optimizer = dict(lr=0.1)\nmodel.update(dict(depth=18))\n",
        "b.py": "optimizer = dict(type='SGD', lr=0.2)\nmodel = dict(depth=50, width=64)\n",
        "c.py": "lr = 3\nother = 4\n",
    })  # fmt: skip
    dialect = {
        "compose": {"bases": [{"key": "_base_", "relative_to": "file"}], "delete_key": "_delete_"},
        "interpolation": "",
    }
    found = data(composed_at(repo / "a.py", dialect))
    assert found["optimizer"] == {"lr": 0.1}
    assert found["model"] == {"depth": 18, "width": 64}
    assert found["rate"] == 3
    assert "other" not in found


def test_opening_by_hand_says_why_not(repo: Path) -> None:
    opener = Opener()
    with pytest.raises(NotOpened, match="run time"):
        opener.find("$HOME/x.yaml", str(repo / "a.yaml"), True)
    with pytest.raises(NotOpened, match="name"):
        opener.find("a\0.yaml", str(repo / "a.yaml"), True)


class TestRuns:
    def test_files_named_together_are_one_config(self, repo: Path) -> None:
        write(repo, {"a.yml": "lr: 1\nopt: {b: 2}\n", "b.yml": "steps: 5\n", "c.yml": ""})
        plain_dialect: dict[str, Any] = {"compose": {}, "interpolation": ""}
        files = [composed_at(repo / name, plain_dialect) for name in ("a.yml", "b.yml", "c.yml")]
        run = merge_run(files)
        assert data(run) == {"lr": 1, "opt": {"b": 2}, "steps": 5}
        assert run.tree is files[0].tree
        assert len(run.trees) == 3
        assert run.tree_of(at(run, "steps")) is files[1].tree
        assert data(files[0]) == {"lr": 1, "opt": {"b": 2}}

    def test_a_key_of_two_files_stays_visible(self, repo: Path) -> None:
        write(repo, {"a.yml": "lr: 1\n", "b.yml": "lr: 2\n"})
        plain_dialect: dict[str, Any] = {"compose": {}, "interpolation": ""}
        run = merge_run([composed_at(repo / name, plain_dialect) for name in ("a.yml", "b.yml")])
        root = run.roots[0]
        assert isinstance(root, Mapping)
        assert len(root.pairs) == 2
        assert data(run) == {"lr": 2}

    def test_a_run_of_one_is_that_file(self, repo: Path) -> None:
        write(repo, {"a.yml": "lr: 1\n"})
        alone = composed_at(repo / "a.yml", {"compose": {}, "interpolation": ""})
        assert merge_run([alone]) is alone
        with pytest.raises(ValueError, match="at least"):
            merge_run([])
