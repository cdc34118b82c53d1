"""What the command line says about every file, and what follows from it for all of them."""

from __future__ import annotations

from gradaudit.compose.opener import Opener
from gradaudit.rules import PROFILES, load
from gradaudit.settings import is_selected, names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.observed import Observed
    from gradaudit.evidence.record import Record
    from gradaudit.rules import Limits, Rule
    from gradaudit.settings import Settings

    Calls = list[tuple[Rule, Limits]]


_ATTRIBUTES = (
    "_active", "_called", "_judging", "_opener", "assume", "edited", "extend_select", "ignore",
    "launched", "min_confidence", "named", "observed", "overrides", "profile", "record", "run",
    "run_dialect", "select", "sources", "unit",
)  # fmt: skip


class Options:
    """What the command line says about every file.

    select, ignore  replace those of the settings file where given.
    profile         replaces that of the settings file. extend_select: rules beyond it.
    min_confidence  replaces that of the settings file: what is less sure is not reported.
    overrides       (dotted key, text) of each `--set`. assume: setting -> text of `--assume`.
    sources         (unit or None, path) of each `--source`.
    unit            the unit that the evidence is of.
    record          what a probe or a dry run recorded.
    edited          the text that is audited is a fix of the one that the record was made with.
    named           the files and directories that the user named: what they hold may be opened.
    run             files that a launcher (of `run_dialect`) reads side by side; the first stands
                    for all.
    launched        path of a config -> that of the launcher's config that was named beside it.
    """

    __slots__ = _ATTRIBUTES

    def __init__(self) -> None:
        self.select: list[str] | None = None
        self.ignore: list[str] | None = None
        self.profile: str | None = None
        self.extend_select: list[str] = []
        self.min_confidence: str | None = None
        self.overrides: list[tuple[str, str]] = []
        self.assume: dict[str, str] = {}
        self.sources: list[tuple[str | None, str]] = []
        self.observed: Observed | None = None
        self.record: Record | None = None
        self.edited = False
        self.unit: str | None = None
        self._active: dict[Settings, list[Rule]] = {}
        self._called: dict[Settings, dict[str, Calls]] = {}
        self._judging: dict[tuple[Settings, frozenset[str]], Calls] = {}
        self.named: tuple[str, ...] = ()
        self.run: list[str] = []
        self.run_dialect = ""
        self.launched: dict[str, str] = {}
        self._opener: Opener | None = None

    def opener_for(self, path: str) -> Opener | None:
        """What opens the files that a config is built on, each once in a run; None for text
        that has no place on a disk."""
        if path == "-":
            return None
        if self._opener is None:
            self._opener = Opener(*self.named)
        return self._opener

    def opened_by(self, opener: Opener) -> Options:
        """The same, with the files of a config read from elsewhere."""
        other = self._like()
        other._opener = opener
        return other

    def after_an_edit(self) -> Options:
        """The same, for a text that a fix has changed since the record was made."""
        if self.record is None or self.edited:
            return self
        other = self._like()
        other.edited = True
        return other

    def _like(self) -> Options:
        other = Options()
        for name in _ATTRIBUTES:  # no `copy`: compiled, it has no `__dict__`
            setattr(other, name, getattr(self, name))
        return other

    def active_rules(self, settings: Settings) -> list[Rule]:
        """The rules that run under these options and one settings file."""
        rules = self._active.get(settings)
        if rules is None:
            select = self.select if self.select is not None else settings.select
            ignore = self.ignore if self.ignore is not None else settings.ignore
            more = [*settings.extend_select, *self.extend_select]
            rank = PROFILES.index(self.profile or settings.profile)
            rules = self._active[settings] = [
                rule
                for rule in load().values()
                if rule.is_of(settings.plugins)
                and settings.severity.get(rule.code) != "off"
                and (
                    is_selected(rule, more, ignore)
                    or (
                        is_selected(rule, select, ignore)
                        and (PROFILES.index(rule.profile) <= rank or names(rule, select or []))
                    )
                )
            ]
        return rules

    def called(self, settings: Settings, scope: str) -> Calls:
        """The active rules of a scope, each with its limits."""
        called = self._called.get(settings)
        if called is None:
            called = self._called[settings] = {}
            for rule in self.active_rules(settings):
                limits = {**rule.limits, **settings.limits.get(rule.code, {})}
                called.setdefault(rule.scope, []).append((rule, limits))
        return called.get(scope, [])

    def judging(self, settings: Settings, have: frozenset[str]) -> Calls:
        """Those of scope `unit` whose needs are met by what a unit has: as many units have the
        same, asked once."""
        judging = self._judging.get((settings, have))
        if judging is None:
            judging = self._judging[settings, have] = [
                pair for pair in self.called(settings, "unit") if pair[0].can_judge(have)
            ]
        return judging
