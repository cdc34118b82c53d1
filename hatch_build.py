"""A wheel in which what a plain check runs is compiled by mypyc: a fifth less work on many files.

It is off unless asked for, because it takes a C compiler and a minute. Everything works the same
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
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED = (
    "gradaudit/audit.py",
    "gradaudit/compose/__init__.py",
    "gradaudit/compose/chain.py",
    "gradaudit/compose/identify.py",
    "gradaudit/compose/interpolation.py",
    "gradaudit/compose/merge.py",
    "gradaudit/compose/model.py",
    "gradaudit/dialects/paths.py",
    "gradaudit/dialects/recognise.py",
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
    "gradaudit/source.py",
    "gradaudit/syntax/__init__.py",
    "gradaudit/syntax/json_reader.py",
    "gradaudit/syntax/python_reader.py",
    "gradaudit/syntax/scalars.py",
    "gradaudit/syntax/tree.py",
    "gradaudit/syntax/yaml_reader.py",
)
"""From a text to its training units: what every file goes through, and what is compiled together
calls each other without Python between. Classes that others derive from (`Opener`), or that tests
stand in for (`Rule`), stay as they are."""

_LEVEL = "1"
"""The C compiler's optimisation."""

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
        env={"MYPYC_OPT_LEVEL": _LEVEL, **os.environ},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"mypyc failed:\n{done.stdout}{done.stderr}")
