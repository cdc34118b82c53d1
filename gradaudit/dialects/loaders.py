"""The loaders that a dialect's file may name, in words."""

from __future__ import annotations

LOADERS = {
    "yaml11": ("PyYAML", "PyYAML: `1e-4` is text"),
    "yaml12": ("YAML 1.2", "a YAML 1.2 loader: `1e-4` is a number"),
    "omegaconf": ("OmegaConf", "OmegaConf or hydra: `1e-4` is a number"),
    "yacs": ("yacs", "yacs, which evaluates text as a Python literal: `1e-4` is a number"),
    "coerced": ("a converting loader", "a loader whose framework converts text to numbers"),
    "json": ("JSON", "a JSON loader"),
    "toml": ("TOML", "a TOML loader"),
    "python": ("Python", "Python"),
    "unknown": ("unknown", "a loader that is not known: `1e-4` may be text"),
}
"""Kind -> its name in a table, and what follows `read by`."""
