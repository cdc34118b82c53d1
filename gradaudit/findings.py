"""What a rule says: findings, the places they point at, and the fixes they offer.

Plain data that feeds every output. Nothing here knows how it is printed or applied.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradaudit.rules import Rule
    from gradaudit.source import Source
    from gradaudit.syntax.scalars import Value
    from gradaudit.syntax.tree import Node, Tree

ERROR, WARNING, INFO = "error", "warning", "info"
SEVERITIES = (INFO, WARNING, ERROR)
"""Weakest first."""

HIGH, MEDIUM, LOW = "high", "medium", "low"
CONFIDENCES = (LOW, MEDIUM, HIGH)

SAFE, RECOMMENDED, SPECULATIVE = "safe", "recommended", "speculative"
APPLICABILITIES = (SAFE, RECOMMENDED, SPECULATIVE)
"""Safest first. `safe`: the run is unchanged, or could not have started. `recommended`: changes
the training; backed by a reference or a measurement. `speculative`: may help; measure first."""


class Place:
    """A stretch of a file: character offsets into `source.text`."""

    __slots__ = ("end", "source", "start")

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.source = source
        self.start = start
        self.end = end

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]


class Related:
    """A second place that explains the first, with the words that stand beside it."""

    __slots__ = ("message", "place")

    def __init__(self, place: Place, message: str) -> None:
        self.place = place
        self.message = message


class Edit:
    """One change to a file, in terms of its tree; `fix.splice` turns it into characters.

    op       `replace`: `node` is the scalar value. `insert`: `node` is the key (or list item) after
             which the new entry goes. `delete`: `node` is the key (or list item) that goes.
    key      dotted path of what changes (for `insert`, of what is new).
    old, new text as it stands and as it will stand; None where there is none.
    value    what `new` must read back as. An edit that does not is refused.
    """

    __slots__ = ("key", "new", "node", "old", "op", "tree", "value")

    def __init__(
        self,
        op: str,
        tree: Tree,
        node: Node,
        key: str,
        *,
        old: str | None = None,
        new: str | None = None,
        value: Value = None,
    ) -> None:
        self.op = op
        self.tree = tree
        self.node = node
        self.key = key
        self.old = old
        self.new = new
        self.value = value

    @property
    def line(self) -> int:
        return self.tree.source.position(self.node.start)[0]


class Fix:
    """Edits that belong together, with what their user should know before applying them.

    title  an imperative line: "raise `batch_size` from 6 to 24".
    notes  what else changes, and what the evidence says; one sentence each.
    """

    __slots__ = ("applicability", "edits", "notes", "title")

    def __init__(
        self, applicability: str, title: str, edits: list[Edit], notes: Sequence[str] = ()
    ) -> None:
        self.applicability = applicability
        self.title = title
        self.edits = edits
        self.notes = tuple(notes)


class Finding:
    """One fault at one place.

    message   what is wrong, in one line, with its numbers.
    label     a few words beside the underlined place.
    why       why it hurts this training: sentences for a tired person.
    evidence  what is known and how (an observation, a count, a computed value).
    next      what to do or to measure next; one sentence, or empty.
    cause     findings of a unit with the same non-empty cause share one frame on the screen.
    no_fix    why no fix is offered where one might be expected; one sentence, or empty.
    """

    __slots__ = (
        "cause",
        "confidence",
        "evidence",
        "fix",
        "key",
        "label",
        "message",
        "next",
        "no_fix",
        "place",
        "related",
        "rule",
        "severity",
        "unit",
        "why",
    )

    rule: Rule
    unit: str | None

    def __init__(
        self,
        place: Place,
        message: str,
        *,
        severity: str,
        confidence: str,
        key: str | None = None,
        label: str = "",
        related: Sequence[Related] = (),
        why: Sequence[str] = (),
        evidence: Sequence[str] = (),
        next: str = "",
        fix: Fix | None = None,
        no_fix: str = "",
        cause: str = "",
    ) -> None:
        self.place = place
        self.message = message
        self.severity = severity
        self.confidence = confidence
        self.key = key
        self.label = label
        self.related = tuple(related)
        self.why = tuple(why)
        self.evidence = tuple(evidence)
        self.next = next
        self.fix = fix
        self.no_fix = no_fix
        self.cause = cause
        self.unit = None
