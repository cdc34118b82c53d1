"""Loaded by Python at its start where `gradaudit probe` put this folder on PYTHONPATH.

It arranges that the recorder is installed right after `import torch`, and does nothing else: no
torch, nothing outside the standard library, nothing at all without GRADAUDIT_PROBE_DIR. A fault
here is said on stderr and never ends the user's program.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))


def mark(name: str, text: str = "") -> None:
    """Tell the waiting `gradaudit probe` how far this process came."""
    folder = os.environ.get("GRADAUDIT_PROBE_DIR", "")
    try:
        with open(os.path.join(folder, ".state", name), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:  # the folder is gone: nobody waits
        pass


class TorchFinder:
    """Finds torch as Python would, and installs the recorder when it has been executed."""

    def __init__(self) -> None:
        self.looking = False

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch" or self.looking:
            return None
        self.looking = True
        try:
            spec = importlib.util.find_spec("torch")
        finally:
            self.looking = False
        if spec is None or spec.loader is None:
            mark("no-torch", sys.executable)
            return None
        execute = spec.loader.exec_module

        def execute_and_install(module: Any) -> None:
            execute(module)
            try:
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                import gradaudit_recorder

                gradaudit_recorder.install()
                mark("torch")
            except Exception as error:
                fault = f"the recorder does not work with this torch: {error!r}"
                mark("failed", f"{fault}; please report it")
                complain(error)

        spec.loader.exec_module = execute_and_install  # type: ignore[method-assign]
        return spec


def complain(error: Exception) -> None:
    sys.stderr.write(f"gradaudit: nothing is recorded here: {error!r}\n")


def run_shadowed() -> None:
    """Python runs one sitecustomize: run the one that this file hides. Its faults are its own."""
    others = [entry for entry in sys.path if os.path.abspath(entry or ".") != HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if os.environ.get("GRADAUDIT_PROBE_DIR"):
    try:
        mark("python", sys.executable)
        sys.meta_path.insert(0, TorchFinder())
    except Exception as error:
        complain(error)
run_shadowed()
