"""Whether a Python file found in a directory is a config, told from its text alone.

Apart from the reader, so that walking an ordinary source tree never imports `ast`.
"""

from __future__ import annotations

import re

HEAD = 64 * 1024
"""Bytes of a file that are looked at: what tells a config stands at its top."""

_MARK = re.compile(
    r"^(?:_base_[ \t]*=(?!=)"
    r"|with[ \t]+(?:\w+\.)*read_base\(\)"
    r"|(?:model|optimizer|optimizer_config|optim_wrapper|lr_config|param_scheduler|train_cfg"
    r"|train_dataloader|default_hooks)[ \t]*=[ \t]*(?:dict\(|\{|\[(?:\s|#[^\n]*\n)*dict\())",
    re.MULTILINE,
)
"""Only at the start of a line: what a function or a class builds is no config."""


def looks_like_config(text: str) -> bool:
    """Whether a text has, outside of functions and classes, what configs of the mmengine family
    begin with: a base file, or a model, an optimiser or a data loader that is a dict."""
    return _MARK.search(text) is not None
