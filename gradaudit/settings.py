"""`gradaudit.toml`, or `[tool.gradaudit]` in `pyproject.toml`: the closest to the file wins.

Nothing is merged on its own; `extend = "../gradaudit.toml"` takes another file as the base.
"""

from __future__ import annotations

import os

from gradaudit.findings import CONFIDENCES, SEVERITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.rules import Rule

KEYS = (
    "profile", "select", "extend-select", "ignore", "min-confidence", "fail-on",
    "per-file-ignores", "per-key-ignores", "severity", "rules", "assume", "source", "dialect",
    "extend", "plugins",
)  # fmt: skip


class BadSettings(Exception):
    """A settings file that cannot be used: names the file, the key and the mend."""


class Settings:
    """What a settings file says, or the defaults where there is none.

    path               the file; None for the defaults.
    profile            one of `rules.PROFILES`.
    select, ignore     rule codes, prefixes of codes, or names. `select` None means all of the
                       profile. extend_select: those that run beside them, whatever their profile.
    min_confidence     findings that are less sure are counted, not reported and not fixed.
    per_file_ignores   glob relative to the file -> codes. per_key_ignores: the same by
                       `glob:dotted.key`, or `dotted.key` for every file.
    severity           code -> severity, or `off`.
    limits             code -> threshold name -> value.
    assume             canonical setting (or UNIT.setting) -> text.
    sources            glob relative to the file -> unit -> Python files, absolute.
    dialects           glob relative to the file -> dialect.
    plugins            the packages whose rules and dialects take part, as pip normalises names.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self.profile = "default"
        self.extend_select: list[str] = []
        self.select: list[str] | None = None
        self.ignore: list[str] = []
        self.fail_on: str | None = None
        self.min_confidence = "low"
        self.per_file_ignores: dict[str, list[str]] = {}
        self.per_key_ignores: dict[str, list[str]] = {}
        self.severity: dict[str, str] = {}
        self.limits: dict[str, dict[str, float]] = {}
        self.assume: dict[str, str] = {}
        self.sources: dict[str, dict[str, list[str]]] = {}
        self.dialects: dict[str, str] = {}
        self.plugins: tuple[str, ...] = ()

    def dialect_of(self, path: str) -> str | None:
        """The dialect that the settings name for a file; the last glob that fits decides."""
        chosen = None
        if self.dialects:
            seen_path = self.shown_to_globs(path)
            for pattern, name in self.dialects.items():
                if matches(pattern, seen_path):
                    chosen = name
        return chosen

    def shown_to_globs(self, path: str) -> str:
        """A checked file's path as the globs see it: absolute, with `/`."""
        return os.path.abspath(path).replace(os.sep, "/")


_OWN, _PROJECT = "gradaudit.toml", "pyproject.toml"


class Finder:
    """Finds and keeps the settings of each directory.

    explicit  `--config FILE`: for every file. isolated: no settings file at all.
    """

    def __init__(self, explicit: str | None = None, isolated: bool = False) -> None:
        self._by_folder: dict[str, Settings] = {}
        self._bare: set[str] = set()
        self._as_typed: dict[str, Settings] = {}
        self._fixed: Settings | None = None
        if isolated:
            self._fixed = Settings()
        elif explicit is not None:
            if not os.path.isfile(explicit):
                raise BadSettings(f"{explicit}: no such settings file")
            self._fixed = load(explicit)

    def saw(self, folder: str, names: list[str]) -> None:
        """Remember that a directory (its absolute path) has no settings file among its names:
        nobody need look for one."""
        if _OWN not in names and _PROJECT not in names:
            self._bare.add(folder)

    def for_file(self, path: str) -> Settings:
        """The settings of a file.

        Raises:
            BadSettings: the closest settings file cannot be used.
        """
        if self._fixed is not None:
            return self._fixed
        folder = os.path.dirname(path)
        known = self._as_typed.get(folder)
        if known is None:
            known = self._as_typed[folder] = self._for_folder(os.path.abspath(folder))
        return known

    def _for_folder(self, folder: str) -> Settings:
        known = self._by_folder.get(folder)
        if known is not None:
            return known
        settings = None if folder in self._bare else _in_folder(folder)
        if settings is None:
            parent = os.path.dirname(folder)
            settings = self._for_folder(parent) if parent != folder else Settings()
        self._by_folder[folder] = settings
        return settings


def _in_folder(folder: str) -> Settings | None:
    own = os.path.join(folder, _OWN)
    if os.path.isfile(own):
        return load(own)
    project = os.path.join(folder, _PROJECT)
    try:
        with open(project, "rb") as file:
            mentioned = b"tool.gradaudit" in file.read()
    except OSError:
        return None
    return load(project) if mentioned and _table(project) is not None else None


def _table(path: str) -> dict[str, Any] | None:
    """The settings table of a file; None for a pyproject.toml without one."""
    import tomllib

    try:
        with open(path, "rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: not valid TOML: {error}") from None
    if os.path.basename(path) != _PROJECT:
        return data
    tool = data.get("tool")
    table = tool.get("gradaudit") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def load(path: str, seen: tuple[str, ...] = ()) -> Settings:
    """Read one settings file and what it extends.

    Raises:
        BadSettings: unreadable, an unknown key or rule, a value of the wrong type, a cycle.
    """
    real = os.path.realpath(path)
    if real in seen:
        raise BadSettings(f"{path}: `extend` leads back to this file")
    table = _table(path)
    if table is None:
        raise BadSettings(f"{path}: has no [tool.gradaudit]")
    settings = Settings(path)
    base = table.get("extend")
    if base is not None:
        if not isinstance(base, str):
            raise BadSettings(f"{path}: `extend` takes the path of a settings file")
        target = os.path.join(os.path.dirname(path), os.path.expanduser(base))
        if not os.path.isfile(target):
            raise BadSettings(f"{path}: `extend`: no such file {target}")
        settings = load(target, (*seen, real))
        settings.path = path
    if "plugins" in table:  # first: other keys name their rules and dialects
        settings.plugins += _plugins(table["plugins"], path)
    _fill(settings, table, path)
    return settings


def _fill(settings: Settings, table: dict[str, Any], path: str) -> None:
    packages = settings.plugins
    for key, value in table.items():
        if key not in KEYS:
            raise BadSettings(f"{path}: unknown key `{key}`{did_you_mean(key, KEYS)}")
        if key == "select":
            settings.select = _codes(value, path, key, packages)
        elif key == "ignore":
            settings.ignore = _codes(value, path, key, packages)
        elif key == "extend-select":
            settings.extend_select = _codes(value, path, key, packages)
        elif key == "profile":
            from gradaudit.rules import PROFILES

            settings.profile = _one_of(PROFILES, value, path, key)
        elif key == "min-confidence":
            settings.min_confidence = _one_of(CONFIDENCES, value, path, key)
        elif key == "fail-on":
            settings.fail_on = _one_of(SEVERITIES[::-1], value, path, key)
        elif key in ("per-file-ignores", "per-key-ignores"):
            target = (
                settings.per_file_ignores if key == "per-file-ignores" else settings.per_key_ignores
            )
            for pattern, codes in _dict(value, path, key).items():
                where = f"{key}.{pattern}"
                target[_anchored(pattern, path)] = _codes(codes, path, where, packages)
        elif key == "severity":
            for name, severity in _dict(value, path, key).items():
                allowed = (*SEVERITIES[::-1], "off")
                chosen = _one_of(allowed, severity, path, f"severity.{name}")
                settings.severity[_rule(name, path, packages).code] = chosen
        elif key == "rules":
            for name, limits in _dict(value, path, key).items():
                _limits(settings, name, limits, path)
        elif key == "assume":
            _assume(settings, _dict(value, path, key), path)
        elif key == "source":
            _sources(settings, value, path)
        elif key == "dialect":
            _dialects(settings, value, path)


def _plugins(value: object, path: str) -> tuple[str, ...]:
    """Load what `plugins` names; the names in the form that tells packages apart."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadSettings(f"{path}: `plugins` takes a list of installed packages")
    from gradaudit.plugins import BadPlugin, load_plugin

    try:
        return tuple(load_plugin(item) for item in value)
    except BadPlugin as error:
        raise BadSettings(f"{path}: `plugins`: {error}") from error


def _assume(settings: Settings, table: dict[str, Any], path: str, unit: str = "") -> None:
    from gradaudit.dialects import GENERIC

    kinds: dict[str, str] = GENERIC["kinds"]
    for name, value in table.items():
        key = f"{unit}.{name}" if unit else name
        if isinstance(value, dict) and not unit:
            _assume(settings, value, path, name)
            continue
        if name not in kinds:
            hint = did_you_mean(name, tuple(kinds))
            raise BadSettings(f"{path}: `assume.{key}`: no such setting{hint}")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kinds[name] == "number" and not is_number:
            raise BadSettings(f"{path}: `assume.{key}` takes a number")
        if not isinstance(value, (str, int, float)):
            raise BadSettings(f"{path}: `assume.{key}` takes a single value")
        settings.assume[key] = str(value).lower() if isinstance(value, bool) else str(value)


def _limits(settings: Settings, name: str, limits: object, path: str) -> None:
    rule = _rule(name, path, settings.plugins)
    for limit, value in _dict(limits, path, f"rules.{name}").items():
        wanted = limit.replace("-", "_")
        if wanted not in rule.limits:
            known = tuple(known.replace("_", "-") for known in rule.limits)
            hint = did_you_mean(limit, known) or (
                f"; it has {', '.join(known)}" if known else "; it has no thresholds"
            )
            raise BadSettings(f"{path}: {rule.code} has no threshold `{limit}`{hint}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadSettings(f"{path}: `rules.{name}.{limit}` takes a number")
        settings.limits.setdefault(rule.code, {})[wanted] = float(value)


def _sources(settings: Settings, value: object, path: str) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    for pattern, units in _dict(value, path, "source").items():
        for unit, files in _dict(units, path, f"source.{pattern}").items():
            if isinstance(files, str):
                files = [files]
            if not isinstance(files, list) or not all(isinstance(f, str) for f in files):
                raise BadSettings(f"{path}: `source.{pattern}.{unit}` takes a list of files")
            resolved = [os.path.join(os.path.relpath(folder), f) for f in files]
            by_unit = settings.sources.setdefault(_anchored(pattern, path), {})
            by_unit[unit] = [os.path.normpath(f) for f in resolved]


def _dialects(settings: Settings, value: object, path: str) -> None:
    """`dialect = "axolotl"` for every file, or a table of globs."""
    from gradaudit.dialects import names

    table = {"*": value} if isinstance(value, str) else _dict(value, path, "dialect")
    known = names(settings.plugins)
    for pattern, name in table.items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise BadSettings(f"{path}: `dialect`: no dialect is called {name!r}{hint}")
        settings.dialects[_anchored(pattern, path)] = name


def _dict(value: object, path: str, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadSettings(f"{path}: `{key}` takes a table")
    return value


def _one_of(allowed: tuple[str, ...], value: object, path: str, key: str) -> str:
    for known in allowed:
        if value == known:
            return known
    *most, last = allowed
    raise BadSettings(f"{path}: `{key}` takes {', '.join(most)} or {last}")


def _codes(value: object, path: str, key: str, packages: tuple[str, ...]) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadSettings(f"{path}: `{key}` takes a list of rule codes or names")
    for item in value:
        problem = unknown_selector(item, packages)
        if problem:
            raise BadSettings(f"{path}: `{key}`: {problem}")
    return list(value)


def _rule(name: str, path: str, packages: tuple[str, ...]) -> Rule:
    from gradaudit.rules import find

    rule = find(name, packages)
    if rule is None:
        problem = unknown_selector(name, packages) or f"{name!r} is not one rule"
        raise BadSettings(f"{path}: {problem}")
    return rule


def unknown_selector(text: str, packages: tuple[str, ...] | None = None) -> str:
    """Why `text` selects no rule, with a did-you-mean; empty if it selects some. Of plugins' rules
    those of `packages` are known; None stands for all that are loaded."""
    from gradaudit.rules import load as load_rules

    rules = {code: rule for code, rule in load_rules().items() if rule.is_of(packages)}
    wanted = text.strip()
    if wanted.upper() == "ALL" or any(
        code.startswith(wanted.upper()) or rule.name == wanted.lower()
        for code, rule in rules.items()
        if wanted
    ):
        return ""
    names = (*rules, *(rule.name for rule in rules.values()))
    meant = wanted.lower()
    if wanted[:2].upper() == "GA":  # after its first letters a code has digits only
        meant = "GA" + wanted[2:].upper().replace("O", "0").replace("I", "1").replace("L", "1")
    elif wanted[-3:].isdigit():
        meant = wanted.upper()
    return f"no rule is called {wanted!r}{did_you_mean(meant, names)}"


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """`; did you mean `x`?`, or nothing.

    Of those that are as long, the one with most characters in their places: many codes share four
    characters with `GA1O1`, and GA101 is meant.
    """
    from difflib import get_close_matches

    def in_place(other: str) -> int:
        return sum(a == b for a, b in zip(word, other, strict=False))

    close = get_close_matches(word, known, 20, 0.6)
    if close and len(close[0]) == len(word):
        close = sorted(close, key=lambda x: (len(x) != len(word), -in_place(x)))
    return f"; did you mean `{close[0]}`?" if close else ""


def is_selected(rule: Rule, select: list[str] | None, ignore: list[str]) -> bool:
    """The more specific of `select` and `ignore` decides; `ignore` where they are equally so."""
    chosen = 0 if select is None else max((_match(rule, item) for item in select), default=-1)
    dropped = max((_match(rule, item) for item in ignore), default=-1)
    return chosen >= 0 and chosen > dropped


def names(rule: Rule, select: list[str]) -> bool:
    """Whether a rule is named by its own code or name, not by a prefix."""
    return any(_match(rule, item) == len(rule.code) for item in select)


def _match(rule: Rule, selector: str) -> int:
    """How specifically a selector names a rule; -1 if it does not."""
    text = selector.strip()
    if text.lower() == rule.name:
        return len(rule.code)
    if text.upper() == "ALL":
        return 0
    return len(text) if text and rule.code.startswith(text.upper()) else -1


def _anchored(pattern: str, path: str) -> str:
    """A glob as it stands in the settings file `path`: relative to that file, whoever extends it.

    One without a slash names files wherever they are. Of `glob:key` only the glob has a place.
    """
    if "/" not in pattern.rpartition(":")[0] and "/" not in pattern:
        return pattern
    folder = os.path.dirname(os.path.abspath(path)).replace(os.sep, "/")
    for char in "[*?":
        folder = folder.replace(char, f"[{char}]")
    return f"{folder.rstrip('/')}/{pattern}"


def matches(pattern: str, path: str) -> bool:
    """Whether a glob names a file: by its path, or, where it has no slash, by its name."""
    from fnmatch import fnmatchcase

    return fnmatchcase(path, pattern) or (
        "/" not in pattern and fnmatchcase(path.rsplit("/", 1)[-1], pattern)
    )
