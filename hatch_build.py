"""A wheel in which what a plain check runs is compiled by mypyc, and what reads YAML by Cython: a
quarter less time on many files.

It is off unless asked for, because it takes a C compiler and two minutes. Everything works the same
without it, in pure Python:

    HATCH_BUILD_HOOKS_ENABLE=1 pip install .

The modules are compiled in a copy, and an editable installation is never compiled: a compiled
module beside its source would be imported instead of what is being edited.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED = (
    "gradaudit/audit.py",
    "gradaudit/compose/__init__.py",
    "gradaudit/compose/bases.py",
    "gradaudit/compose/chain.py",
    "gradaudit/compose/hydra.py",
    "gradaudit/compose/hydra_items.py",
    "gradaudit/compose/identify.py",
    "gradaudit/compose/interpolation.py",
    "gradaudit/compose/merge.py",
    "gradaudit/compose/model.py",
    "gradaudit/dialects/__init__.py",
    "gradaudit/dialects/paths.py",
    "gradaudit/dialects/recognise.py",
    "gradaudit/discover.py",
    "gradaudit/findings.py",
    "gradaudit/options.py",
    "gradaudit/plan/bare.py",
    "gradaudit/plan/build.py",
    "gradaudit/plan/facts.py",
    "gradaudit/plan/formulas.py",
    "gradaudit/plan/loss_terms.py",
    "gradaudit/plan/model.py",
    "gradaudit/plan/paths.py",
    "gradaudit/plan/reading.py",
    "gradaudit/plan/schedule.py",
    "gradaudit/plan/units.py",
    "gradaudit/plan/values.py",
    "gradaudit/render/frame.py",
    "gradaudit/render/layout.py",
    "gradaudit/render/text.py",
    "gradaudit/rules/optimisers.py",
    "gradaudit/rules/text.py",
    "gradaudit/rules/vocabulary.py",
    "gradaudit/source.py",
    "gradaudit/suppress.py",
    "gradaudit/syntax/__init__.py",
    "gradaudit/syntax/json_reader.py",
    "gradaudit/syntax/python_reader.py",
    "gradaudit/syntax/scalars.py",
    "gradaudit/syntax/tree.py",
    "gradaudit/syntax/yaml_events.py",
    "gradaudit/syntax/yaml_reader.py",
)
"""What every file goes through, from its text to the lines on the screen: modules that are compiled
together call each other without Python between. Classes that others derive from (`Opener`), or that
tests stand in for (`Rule`, `Finder`), stay as they are; so do the rules, whose docs are their
docstrings: mypyc keeps none."""

_LEVEL = "2"
"""The C compiler's optimisation: 1 in 100 less time than at 1, for half a minute of compiling."""

_NO_DEBUG = "0"
"""No debug information: it makes the library twice as large."""

_ELF_FLAGS = "-fno-semantic-interposition -fno-plt"
"""Calls inside of the library go straight to where they lead: nobody puts a function of his own in
their place. 2 in 100 less time."""

_MYPY = """[mypy]
python_version = 3.11
explicit_package_bases = True
ignore_missing_imports = True
"""
"""Types are checked by the project's own settings; what only an extra brings is missing here."""


class CompiledWheel(BuildHookInterface):
    """The hook that `[tool.hatch.build.targets.wheel.hooks.custom]` names."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the compiled modules to a wheel. Raises RuntimeError where compiling fails."""
        if version == "editable":
            return
        # Held here: it is gone with the hook, whether or not the build comes to its end.
        self._folder = tempfile.TemporaryDirectory(prefix="gradaudit-", ignore_cleanup_errors=True)
        copy = Path(self._folder.name)
        without = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
        shutil.copytree(Path(self.root, "gradaudit"), copy / "gradaudit", ignore=without)
        compile_in(copy)
        if refused := compile_flat_events_in(copy):
            self.app.display_warning(f"YAML is read by PyYAML's objects:\n{refused}")
        for kind in ("*.so", "*.pyd"):
            for made in [*copy.glob(kind), *copy.glob(f"gradaudit/**/{kind}")]:
                build_data["force_include"][str(made)] = made.relative_to(copy).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compile_in(folder: Path) -> None:
    """Compile the package in a folder, each module beside its source.

    Raises:
        RuntimeError: mypyc or the C compiler fails; with what they said.
    """
    Path(folder, "mypy.ini").write_text(_MYPY, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypyc", *COMPILED],
        cwd=folder, capture_output=True, text=True, errors="replace",
        env={"MYPYC_OPT_LEVEL": _LEVEL, "MYPYC_DEBUG_LEVEL": _NO_DEBUG, **_flags(), **os.environ},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"mypyc failed:\n{done.stdout}{done.stderr}")


def compile_flat_events_in(folder: Path) -> str:
    """Compile what takes events from libyaml without PyYAML between, beside its source.

    Returns what the compiler said where that fails: without libyaml's header (libyaml-dev) it does,
    and everything works the same without it.
    """
    module = Path("gradaudit", "syntax", "flat_events.pyx")
    done = subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--quiet", str(module)],
        cwd=folder, capture_output=True, text=True, errors="replace",
        env={**_flags(), **os.environ},
    )  # fmt: skip
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


def _flags() -> dict[str, str]:
    """With Python's own flags: an older setuptools (65.5) adds CFLAGS to them, a newer one (84.2)
    has them instead."""
    if sys.platform != "linux":
        return {}
    return {"CFLAGS": f"{sysconfig.get_config_var('CFLAGS') or ''} {_ELF_FLAGS}"}
