"""The walls between the rooms: data flows one way, and so do the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "gradaudit"

ARROWS: dict[str, set[str]] = {
    # text and trees
    "source": set(),
    "syntax": {"source"},
    # plain data that feeds every output
    "findings": set(),
    "edits": {"findings", "syntax"},
    # what a file means; `compile` reads the dialect files with our own parser
    "dialects": {"source", "syntax"},
    # the files that one config is made of
    "compose": {"dialects", "findings", "source", "syntax"},
    "evidence": {"source"},
    "plan": {"compose", "dialects", "evidence", "findings", "source", "syntax", "settings"},
    # rules on records are made of the statistics of measured series
    "rules": {"dialects", "edits", "evidence", "findings", "plan", "syntax"},
    # what a user says about rules and files
    "settings": {"dialects", "findings", "plugins", "rules"},
    # other packages' rules and dialects: loaded where settings name one
    "plugins": {"dialects", "findings", "rules", "settings"},
    "suppress": {"syntax"},
    # a Python source has comments too: a tree of nothing else
    "silencing": {"findings", "rules", "settings", "suppress", "syntax"},
    "discover": {"source", "syntax"},
    # what the command line says about every file
    "options": {"compose", "rules", "settings"},
    # the whole flow in one page
    "audit": {
        "compose", "dialects", "findings", "plan", "plugins", "rules", "settings", "silencing",
        "recorded", "source", "syntax",
    },
    # the part of it that only a record needs
    "recorded": {"rules", "settings"},
    # files as they were at a revision; what changed from one audit to another
    "revision": {"compose", "source"},
    "compare": {"findings", "plan", "rules"},
    "since": {"audit", "compare", "compose", "revision", "source"},
    # from findings to bytes
    "fix": {"edits", "findings", "source", "syntax"},
    # the whole flow of a fix in one page
    "fixing": {"audit", "fix", "source"},
    # what is learnt by running torch: what runs inside of a training has no import of ours at all;
    # how long a schedule runs is told once, in `rules.lengths`
    # which files a config is made of goes into the record
    "probe": {
        "audit", "compose", "evidence", "options", "plan", "rules", "settings", "source", "syntax",
    },
    # from findings to the screen: anything but the audit that made them
    "render": {
        "compare", "dialects", "edits", "evidence", "findings", "fix", "plan", "rules", "source",
        "syntax",
    },
    "cli": {
        "audit", "compare", "compose", "dialects", "discover", "evidence", "findings", "fix",
        "fixing", "options", "plan", "probe", "render", "revision", "rules", "settings", "since",
        "source", "suppress", "syntax",
    },
    # the pages of the documentation: as high up as the commands
    "docs_site": {"cli", "dialects", "render", "rules"},
    "__main__": {"cli"},
    "__init__": set(),
}  # fmt: skip
"""Each room with those that it imports when it runs. What is not named here is not allowed."""

ONLY_IN = {
    ("plan", "settings"): {"gradaudit.plan.facts"},
    ("plan", "evidence"): {
        "gradaudit.plan.facts",
        "gradaudit.plan.measured",
        "gradaudit.plan.recorded",
    },
    ("plan", "source"): {"gradaudit.plan.saved", "gradaudit.plan.build", "gradaudit.plan.facts"},
    ("dialects", "source"): {"gradaudit.dialects.compile", "gradaudit.dialects.plugged"},
    ("dialects", "syntax"): {
        "gradaudit.dialects.compile",
        "gradaudit.dialects.foreign",
        "gradaudit.dialects.plugged",
        "gradaudit.dialects.recognise",
    },
    ("rules", "syntax"): set(),
}
"""Arrows that one module alone may draw; for rules the parts of `syntax` are named below."""

RULES_READ = {"gradaudit.syntax.scalars", "gradaudit.syntax.tree"}

FOREIGN: dict[str, tuple[str, ...]] = {
    "yaml": ("gradaudit.syntax.",),
    "ruamel": ("gradaudit.syntax.",),
    "torch": ("gradaudit.probe.",),
    "hydra": ("gradaudit.compose.hydra_native",),
    "omegaconf": ("gradaudit.compose.hydra_native",),
    "rich": ("gradaudit.render.",),
    "typer": ("gradaudit.cli.app", "gradaudit.cli.parameters"),
    "click": (),
    "jinja2": (),
    "pydantic": (),
    "requests": (),
    "socket": (),
    "urllib": (),
    "http": (),
    "pickle": (),
}
"""Packages and the only modules that import them: no network, no pickled data anywhere."""

PRINTERS = (
    "gradaudit.cli.", "gradaudit.render.", "gradaudit.__main__",
    "gradaudit.probe.shim.",  # runs in the user's program, and says there when it fails
)  # fmt: skip
GENERATORS = ("gradaudit.docs_site", "gradaudit.dialects.compile", "gradaudit.rules.compile")
"""Run by maintainers as `python -m`."""


class Import(NamedTuple):
    """One import: of `target` by `module`, for types only, inside a function."""

    module: str
    target: str
    typing: bool
    inside: bool

    def __str__(self) -> str:
        return f"{self.module} imports {self.target}"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def room(module: str) -> str:
    """`gradaudit.plan.build` -> `plan`; `gradaudit.audit` -> `audit`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


NAMES_OF_THE_PACKAGE = ("gradaudit.__version__", "gradaudit.version_line")
"""What its `__init__` holds: no rooms."""


@cache
def modules() -> dict[str, ast.Module]:
    return {
        module_name(path): ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def imports() -> list[Import]:
    return [
        Import(name, target, typing, inside)
        for name, tree in modules().items()
        for target, typing, inside in targets(tree, name, False, False)
    ]


def targets(
    node: ast.AST, module: str, typing: bool, inside: bool
) -> Iterator[tuple[str, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for statement in child.body:
                yield from targets(ast.Module([statement], []), module, True, inside)
            for statement in child.orelse:
                yield from targets(ast.Module([statement], []), module, typing, inside)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, typing, inside
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module}:{child.lineno}: a relative import"
            name = child.module or ""
            if name == "gradaudit":
                yield from ((f"gradaudit.{alias.name}", typing, inside) for alias in child.names)
            else:
                yield name, typing, inside
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from targets(child, module, typing, inside or function)


def arrows(typing: bool) -> list[Import]:
    """The imports from one room of ours into another."""
    return [
        found
        for found in imports()
        if found.typing is typing
        and found.target.startswith("gradaudit.")
        and found.target not in NAMES_OF_THE_PACKAGE
        and room(found.target) != room(found.module)
    ]


def test_every_room_is_in_the_table() -> None:
    assert {room(name) for name in modules()} == set(ARROWS)


def test_imports_follow_the_arrows() -> None:
    wrong = [str(a) for a in arrows(False) if room(a.target) not in ARROWS[room(a.module)]]
    assert not wrong


def test_every_arrow_of_the_table_is_drawn_or_could_be() -> None:
    """The table names no room that is gone."""
    assert {target for rooms in ARROWS.values() for target in rooms} <= set(ARROWS)


def test_narrow_arrows_are_drawn_by_the_module_that_they_are_for() -> None:
    wrong = [
        str(a)
        for a in arrows(False)
        if (key := (room(a.module), room(a.target))) in ONLY_IN
        and a.module not in ONLY_IN[key]
        and not (key == ("rules", "syntax") and a.target in RULES_READ)
    ]
    assert not wrong


def test_the_table_has_one_circle_and_it_is_not_drawn_at_import_time() -> None:
    """Rules read the plan, the plan asks the settings how globs match, settings know the rules.

    It is broken where settings look up a rule: inside functions.
    """
    drawn = [str(a) for a in arrows(False) if room(a.module) == "settings" and not a.inside]
    assert drawn == ["gradaudit.settings imports gradaudit.findings"]
    order = {key: set(value) for key, value in ARROWS.items()}
    order["settings"] = {"findings"}
    while order:
        free = {name for name, needs in order.items() if not needs & set(order)}
        assert free, f"a circle among {sorted(order)}"
        for name in free:
            del order[name]


def test_types_do_not_point_up_to_the_commands() -> None:
    """A type is no arrow at run time, but the core must not be written in terms of the CLI."""
    wrong = [
        str(a)
        for a in arrows(True)
        if room(a.target) in ("cli", "__main__", "docs_site") and room(a.module) != "__main__"
    ]
    assert not wrong


def test_nobody_imports_the_entry_points_but_the_entry_points() -> None:
    wrong = [
        str(a)
        for a in arrows(False)
        if room(a.target) in ("cli", "__main__", "docs_site")
        and room(a.module) not in ("__main__", "docs_site")
    ]
    assert not wrong


@pytest.mark.parametrize("package", FOREIGN)
def test_foreign_packages_stay_in_their_room(package: str) -> None:
    wrong = [
        str(found)
        for found in imports()
        if found.target.partition(".")[0] == package
        and not found.typing
        and not f"{found.module}.".startswith(FOREIGN[package] or "nowhere")
    ]
    assert not wrong


def test_rich_is_imported_inside_functions_only() -> None:
    drawn = [f for f in imports() if f.target.partition(".")[0] == "rich"]
    assert drawn
    assert not [str(f) for f in drawn if not f.inside and not f.typing]


def test_typer_is_known_to_the_command_line() -> None:
    assert {f.module for f in imports() if f.target.partition(".")[0] == "typer"} == {
        "gradaudit.cli.app",
        "gradaudit.cli.parameters",
    }


def test_nothing_prints_outside_the_rooms_that_do() -> None:
    wrong = []
    for name, tree in modules().items():
        if f"{name}.".startswith(PRINTERS) or name in (*PRINTERS, *GENERATORS):
            continue
        for node in ast.walk(tree):
            prints = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("print", "input")
            )
            streams = (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "sys"
                and node.attr in ("stdout", "stderr", "stdin", "exit", "argv")
            )
            if prints or streams:
                assert isinstance(node, (ast.Call, ast.Attribute))
                wrong.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong


BY_NAME = ("gradaudit.rules", "gradaudit.dialects")
"""They import our own modules by a name out of a table of ours."""


def test_nothing_runs_what_it_reads() -> None:
    """Configs are untrusted: no `eval`, no `exec`, no import by a name from a file."""
    wrong = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called = node.func.id
                ours = name in BY_NAME and called == "__import__"
                if called in ("eval", "exec", "compile", "__import__") and not ours:
                    wrong.append(f"{name}:{node.lineno}: {called}")
    assert not wrong


def test_the_design_names_every_room() -> None:
    """A newcomer looks there for where a line of code is."""
    text = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    rows = "".join(line for line in text.splitlines() if line.startswith("| `"))
    rooms = {path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    rooms |= {path.stem for path in PACKAGE.glob("[!_]*.py")}
    unnamed = {room for room in rooms if f"`{room}/`" not in rows and f"`{room}.py`" not in rows}
    assert unnamed == set()
