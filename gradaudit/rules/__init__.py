"""The rules: one function each, one file a family. What a rule is, and the table of all of them.

A rule is one object that feeds everything: `check`, `explain`, its docs page, its own tests. It
is a pure function of what its scope hands it, and speaks of settings, never of lines.

What is asked of a rule before it is called (its needs, its scope, ...) is compiled into `table`, so
that only the modules of rules that can judge a file are imported: ninety rules cost a file that
says little no more than those few.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from gradaudit.findings import Finding

    Limits = dict[str, float]
    RuleFunction = Callable[..., Iterable[Finding]]

PROFILES = ("default", "strict", "pedantic")
"""From precise to everything: a rule runs in its own profile and in those after it. What would
speak of most published recipes is strict; what is a matter of taste is pedantic."""

DOCS_URL = "https://gradaudit.github.io/gradaudit/rules/"


class Rule:
    """A rule's metadata and its function.

    call        what a check calls: its function (a plugin's within a guard); until the first call
                what imports the module that holds it.
    module      the name of that module.
    scope       `file`: called with the file as composed; `unit`: with each training unit; `run`:
                with the plans of the config and of another file of its run (`plan.linked.Pair`);
                `source`: with each unit and each Python file that is named for it
                (`plan.model.SourceOfUnit`);
                `record`: with what was recorded of a unit (`plan.measured.Measured`);
                `tool`: never called, its findings come from the engine (unparsable file, ...).
    needs       canonical settings without which the rule cannot judge; `loss_terms`, `observed`
                and `source` (a Python file; every rule of that scope has it) stand for
                themselves. A tuple inside means one of several.
    severities  those that it can report, strongest first.
    limits      thresholds by name; a settings file may override each.
    profile     the first of `PROFILES` in which it runs without being named.
    page        the address of its page, for a rule of another package.
    package     the plugin that it comes from; empty for those of this package.
    """

    __slots__ = (
        "_check", "_references", "call", "code", "confidence", "limits", "module", "name", "needs",
        "one_of", "package", "page", "profile", "required", "scope", "severities",
    )  # fmt: skip

    def __init__(
        self,
        check: RuleFunction | None,
        module: str,
        code: str,
        name: str,
        scope: str,
        needs: tuple[str | tuple[str, ...], ...],
        severities: tuple[str, ...],
        confidence: str,
        limits: Limits,
        references: tuple[str, ...] = (),
        profile: str = "default",
        page: str = "",
    ) -> None:
        self._check = check
        self.call: RuleFunction = check or self._import_and_call
        self.module = module
        self.code = code
        self.name = name
        self.scope = scope
        self.needs = needs
        self.severities = severities
        self.confidence = confidence
        self.limits = limits
        self._references = references
        self.profile = profile
        self.page = page
        self.package = ""
        self.required = frozenset(need for need in needs if isinstance(need, str))
        self.one_of = [frozenset(need) for need in needs if isinstance(need, tuple)]

    @property
    def check(self) -> RuleFunction:
        if self._check is None:
            __import__(self.module)
        assert self._check is not None, f"{self.module} holds no rule {self.code}; {STALE}"
        return self._check

    def _import_and_call(self, *judged: object) -> Iterable[Finding]:
        self.call = self.check
        return self.call(*judged)

    @property
    def references(self) -> tuple[str, ...]:
        if self._check is None:
            __import__(self.module)
        return self._references

    def row(self) -> tuple[object, ...]:
        """What the table has of it: how it is made again, without its function."""
        return (
            self.module, self.code, self.name, self.scope, self.needs, self.severities,
            self.confidence, self.limits, (), self.profile,
        )  # fmt: skip

    def can_judge(self, have: set[str] | frozenset[str]) -> bool:
        """Whether the settings that a unit has meet the needs."""
        if not self.required <= have:
            return False
        return not self.one_of or not any(names.isdisjoint(have) for names in self.one_of)

    @property
    def url(self) -> str:
        """The address of its page; empty for a plugin's rule that names none."""
        return self.page if self.package else f"{DOCS_URL}{self.name}/"

    def is_of(self, packages: Collection[str] | None) -> bool:
        """Whether it is one of this package, or of these plugins; None stands for all."""
        return not self.package or packages is None or self.package in packages


FAMILIES = (
    "accumulation", "batch", "checkpoints", "clip_kinds", "clip_missing", "clip_thresholds",
    "clipping", "decay", "deepspeed", "depth", "effects", "eps", "evaluation", "file", "history",
    "horizon", "keys", "launcher", "learning_rate", "lora", "loss", "loss_parameters", "loss_scale",
    "loss_terms", "momentum", "names", "norm_layers", "precision", "rate_ranges", "recorded_batch",
    "recorded_batches", "recorded_clip", "recorded_config", "recorded_coverage", "recorded_health",
    "recorded_layers", "recorded_loss", "recorded_norms", "recorded_optimizer", "recorded_order",
    "recorded_tail", "recorded_terms", "recorded_undone", "references", "reproducibility",
    "resumed", "schedule", "source_clip", "source_clip_late", "source_loss", "source_schedule",
    "switches", "text_numbers", "update", "values", "warmup", "warmup_length",
)  # fmt: skip
"""The modules that hold rules. A new family is named here."""

RULES: dict[str, Rule] = {}
"""Every rule by its code, in code order once `load()` has run."""

STALE = "run `python -m gradaudit.rules.compile`"


def rule(
    code: str,
    name: str,
    *,
    scope: str,
    severities: tuple[str, ...],
    confidence: str,
    needs: tuple[str | tuple[str, ...], ...] = (),
    limits: Limits | None = None,
    references: tuple[str, ...] = (),
    profile: str = "default",
    page: str = "",
) -> Callable[[RuleFunction], RuleFunction]:
    """Register a rule function; see `Rule` for the fields, CONTRIBUTING.md for its docstring."""

    def register(check: RuleFunction) -> RuleFunction:
        made = Rule(
            check, check.__module__, code, name, scope, needs, severities, confidence,
            limits or {}, references, profile, page,
        )  # fmt: skip
        known = RULES.get(code)
        if known is not None:
            if known._check is not None or known.module != made.module:
                of = known.package or "gradaudit"
                raise ValueError(f"{name}: the code {code} is that of {known.name}, of {of}")
            if known.row() != made.row():
                raise ValueError(f"{code} {name} is not what the table says; {STALE}")
            known._check, known._references = check, references
            return check
        RULES[code] = made
        return check

    return register


def import_families() -> None:
    """Import every module of rules: each registers its own."""
    for family in FAMILIES:
        __import__(f"gradaudit.rules.{family}")


_loaded = False


def load() -> dict[str, Rule]:
    """All rules in code order. Repeated calls cost nothing."""
    global _loaded
    if not _loaded:
        from gradaudit.rules.table import TABLE

        _loaded = True
        imported = dict(RULES)  # those of a module that somebody imported before
        RULES.clear()
        for row in TABLE:
            code = row[1]
            RULES[code] = imported.pop(code) if code in imported else Rule(None, *row)
        RULES.update(imported)
    return RULES


def limits_of(code: str, own: Mapping[str, Mapping[str, float]]) -> Limits:
    """The thresholds of a rule with those of a user: `limits` of the settings."""
    return {**load()[code].limits, **own.get(code, {})}


def sort() -> None:
    """Put the rules in code order, those of plugins last."""
    for _, code in sorted((rule.package != "", code) for code, rule in RULES.items()):
        RULES[code] = RULES.pop(code)


def find(text: str, packages: Collection[str] | None = None) -> Rule | None:
    """A rule by its code or name, in any case; of plugins only those in `packages`, if given."""
    wanted = text.strip()
    rules = [rule for rule in load().values() if rule.is_of(packages)]
    for rule in rules:
        if rule.code == wanted.upper():
            return rule
    return next((rule for rule in rules if rule.name == wanted.lower()), None)


def missing_needs(rule: Rule, have: set[str]) -> list[str]:
    """The needs of a rule that a unit does not meet, in canonical names."""
    missing = []
    for need in rule.needs:
        if isinstance(need, tuple):
            if not any(name in have for name in need):
                missing.append(" or ".join(need))
        elif need not in have:
            missing.append(need)
    return missing
