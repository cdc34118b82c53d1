"""Real git repositories for tests, with nothing of the user's own settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

NOBODY = {
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
}  # fmt: skip


def git(*words: str, cwd: Path | str = ".") -> str:
    ran = subprocess.run(
        ["git", *words], cwd=cwd, env={**os.environ, **NOBODY}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return ran.stdout.strip()


def write(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def commit(**files: str) -> str:
    """Commit files (`a__b_yaml` is a/b.yaml) with all that is in the working tree."""
    for name, text in files.items():
        write(name.replace("__", "/").replace("_yaml", ".yaml").replace("_py", ".py"), text)
    git("add", "-A")
    git("commit", "-q", "-m", "x")
    return git("rev-parse", "HEAD")
