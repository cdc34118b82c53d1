"""The rules: one function each, one file a family. What a rule is, and the table of all of them.

A rule is one object that feeds everything: `check`, `explain`, its docs page, its own tests. It
is a pure function of what its scope hands it, and speaks of settings, never of lines.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gradaudit.findings import Finding

    Limits = dict[str, float]
    RuleFunction = Callable[..., Iterable[Finding]]

PROFILES = ("default", "strict", "pedantic")
"""From precise to everything: a rule runs in its own profile and in those after it. What would
speak of most published recipes is strict; what is a matter of taste is pedantic."""

DOCS_URL = "https://gradaudit.github.io/gradaudit/rules/"


class Rule:
    """A rule's metadata and its function.

    scope       `file`: called with the file as composed; `unit`: with each training unit; `tool`:
                never called, its findings come from the engine itself (unparsable file, ...).
    needs       canonical settings without which the rule cannot judge; `loss_terms` and
                `observed` stand for themselves. A tuple inside means one of several.
    severities  those that it can report, strongest first.
    limits      thresholds by name; a settings file may override each.
    profile     the first of `PROFILES` in which it runs without being named.
    """

    __slots__ = (
        "check", "code", "confidence", "limits", "name", "needs", "one_of", "profile",
        "references", "required", "scope", "severities",
    )  # fmt: skip

    def __init__(
        self,
        check: RuleFunction,
        code: str,
        name: str,
        scope: str,
        needs: tuple[str | tuple[str, ...], ...],
        severities: tuple[str, ...],
        confidence: str,
        limits: Limits,
        references: tuple[str, ...],
        profile: str = "default",
    ) -> None:
        self.check = check
        self.code = code
        self.name = name
        self.scope = scope
        self.needs = needs
        self.severities = severities
        self.confidence = confidence
        self.limits = limits
        self.references = references
        self.profile = profile
        self.required = frozenset(need for need in needs if isinstance(need, str))
        self.one_of = [frozenset(need) for need in needs if isinstance(need, tuple)]

    def can_judge(self, have: set[str] | frozenset[str]) -> bool:
        """Whether the settings that a unit has meet the needs."""
        if not self.required <= have:
            return False
        return not self.one_of or not any(names.isdisjoint(have) for names in self.one_of)

    @property
    def url(self) -> str:
        return f"{DOCS_URL}{self.name}/"


FAMILIES = (
    "batch", "clipping", "decay", "file", "history", "learning_rate", "lora", "loss",
    "momentum", "names", "rate_ranges", "references", "text_numbers", "update", "values",
)  # fmt: skip
"""The modules that hold rules. A new family is named here."""

RULES: dict[str, Rule] = {}
"""Every rule by its code, in code order once `load()` has run."""


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
) -> Callable[[RuleFunction], RuleFunction]:
    """Register a rule function; see `Rule` for the fields, CONTRIBUTING.md for its docstring."""

    def register(check: RuleFunction) -> RuleFunction:
        if code in RULES:
            other = RULES[code].check.__name__
            raise ValueError(f"{check.__name__} and {other} both have the code {code}")
        RULES[code] = Rule(
            check, code, name, scope, needs, severities, confidence, limits or {}, references,
            profile,
        )  # fmt: skip
        return check

    return register


def load() -> dict[str, Rule]:
    """Import every family and return all rules in code order. Repeated calls cost nothing."""
    if not RULES:
        for family in FAMILIES:
            __import__(f"gradaudit.rules.{family}")
        for code in sorted(RULES):
            RULES[code] = RULES.pop(code)
    return RULES


def find(text: str) -> Rule | None:
    """A rule by its code or name, in any case."""
    rules = load()
    wanted = text.strip()
    if wanted.upper() in rules:
        return rules[wanted.upper()]
    return next((r for r in rules.values() if r.name == wanted.lower()), None)


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
