"""What the training will do, in canonical terms: settings, durations, loss terms, units.

Every setting knows its value, where it stands and how it is known.
"""

from __future__ import annotations

from gradaudit.findings import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from gradaudit.compose.model import Composed
    from gradaudit.evidence.observed import Observed
    from gradaudit.evidence.training_code import TrainingCode
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.paths import Reader
    from gradaudit.syntax.scalars import Number, Value
    from gradaudit.syntax.tree import Mapping, Node, Scalar, Tree

    SettingValue: TypeAlias = Value | tuple[Number, ...]

WRITTEN, INHERITED, DEFAULT = "written", "inherited", "default"
COMPUTED, OVERRIDE, ASSUMED = "computed", "override", "assumed"
MEASURED = "measured"

ADAPTIVE = frozenset((
    "adam", "adamw", "adamax", "nadam", "nadamw", "radam", "amsgrad", "rmsprop", "adagrad",
    "adadelta", "adafactor", "lamb", "novograd", "adabelief", "ranger", "came", "adan",
    "adam_mini", "galore_adamw", "apollo_adamw", "schedulefree_adamw",
))  # fmt: skip
"""Optimisers whose step does not grow with the gradient's scale (per coordinate or per layer)."""

DECOUPLED = frozenset((
    "adamw", "nadamw", "lamb", "adan", "lion", "schedulefree_adamw", "galore_adamw",
    "apollo_adamw", "adafactor",
))  # fmt: skip
"""Weight decay outside the gradient: scaling loss, clip and eps together changes nothing."""

SGD_LIKE = frozenset(("sgd", "momentum", "nesterov", "asgd", "lars"))
SIGN = frozenset(("lion", "signsgd", "signum", "tiger"))
LEARNING_RATE_FREE = frozenset(("prodigy", "dadaptadam", "dadaptadamw", "dadaptsgd", "dadaptlion"))


EVERY_TRAINING = frozenset((
    "optimizer", "learning_rate", "micro_batch", "accumulation", "norm", "precision", "clip_norm",
    "warmup_steps", "warmup_epochs", "warmup_ratio", "total_steps", "epochs", "steps_per_epoch",
    "loss_terms", "observed",
))  # fmt: skip
"""What is true of every training, written or not: a rule that lacks one of these could judge if
someone told. Whatever else is not written does not exist, or is the optimiser's own default."""


class Setting:
    """One canonical setting as found.

    value     in the setting's one unit; None means off or null (`note` says which).
    raw       the text in the file ('' where it is not written).
    key       dotted path in the file, or the option that set it.
    place     where it stands; without it, where its node does.
    is_text   a number in the file that PyYAML reads as text.
    node      the value's node, None where it is not in a config file or stands for another.
    leaf      of an inherited value: the file that inherits it, and the dotted path there.
    unit      where it is not the one of the setting's name: `tokens` for a batch of tokens.
    """

    __slots__ = (
        "_place", "is_text", "key", "key_node", "leaf", "name", "node", "note", "origin", "raw",
        "tree", "unit", "value",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        value: SettingValue,
        *,
        origin: str = WRITTEN,
        raw: str = "",
        key: str = "",
        place: Place | None = None,
        node: Scalar | None = None,
        key_node: Node | None = None,
        tree: Tree | None = None,
        note: str = "",
        is_text: bool = False,
        unit: str = "",
    ) -> None:
        self.name = name
        self.value = value
        self.origin = origin
        self.raw = raw
        self.key = key
        self._place = place
        self.node = node
        self.key_node = key_node
        self.tree = tree
        self.note = note
        self.is_text = is_text
        self.unit = unit
        self.leaf: tuple[Tree, str] | None = None

    @property
    def place(self) -> Place | None:
        """Where it stands: most settings are never pointed at, so that of a node is made here."""
        if self._place is None and self.node is not None and self.tree is not None:
            self._place = Place(self.tree.source, self.node.start, self.node.end)
        return self._place

    @property
    def number(self) -> Number | None:
        """The value where it is a finite number."""
        value = self.value
        if type(value) is float or type(value) is int:  # a switch is a bool, which is neither
            return value if value - value == 0 else None
        return None

    @property
    def gives_way(self) -> bool:
        """Whether its dialect says that another setting, which is written too, is in force."""
        return self.note.startswith("gives way to ")

    @property
    def last_key(self) -> str:
        """The key as the user knows it, without the sections around it."""
        return self.key.rsplit(".", 1)[-1]


class LossTerm:
    """One summand of the loss. `weight` is as written, before any schedule."""

    __slots__ = ("name", "role", "setting", "tokens", "weight")

    def __init__(
        self, name: str, weight: Number, role: str, setting: Setting, tokens: tuple[str, ...]
    ) -> None:
        self.name = name
        self.weight = weight
        self.role = role
        self.setting = setting
        self.tokens = tokens

    @property
    def is_auxiliary(self) -> bool:
        """Unknown roles count as primary: a task is not called a penalty on a guess."""
        return self.role in ("auxiliary", "regulariser")


class Duration:
    """A length of training with its unit: `steps`, `epochs` or `ratio` (of the whole)."""

    __slots__ = ("setting", "unit", "value")

    def __init__(self, value: Number, unit: str, setting: Setting) -> None:
        self.value = value
        self.unit = unit
        self.setting = setting

    def __str__(self) -> str:
        if self.unit == "ratio":
            return f"{self.value:.3g} of the run"
        unit = self.unit[:-1] if self.value == 1 else self.unit
        return f"{self.value:,.10g} {unit}"

    def share_of(self, length: Duration | None, steps_per_epoch: float | None) -> float | None:
        """This as a share of `length`, or None where the units cannot be compared."""
        if self.unit == "ratio":
            return self.value
        if length is None or length.value <= 0:
            return None
        if self.unit == length.unit:
            return self.value / length.value
        if not steps_per_epoch:
            return None
        in_steps = self.value * (steps_per_epoch if self.unit == "epochs" else 1)
        length_in_steps = length.value * (steps_per_epoch if length.unit == "epochs" else 1)
        return in_steps / length_in_steps


class TrainingUnit:
    """One training in a file: an optimiser and what stands around it.

    name      the section's key; `main` where there is none.
    settings  canonical name to the setting in force.
    others    further occurrences of a name, losing duplicates included.
    unknown   canonical name to the reason why its value cannot be known; the node that holds it
              is in `unknown_nodes`.
    keys      every normalised key in the unit, for rules that look for words.
    composed  the file with what it is built on. tree: the file itself.
    computes         what formulas of the dialect are read with (`plan.formulas`).
    terms_by_design  the weights of the loss are the framework's own: no sum to balance.
    mapping   the unit's section. sources: what each of its Python files shows. norms: the
              normalisation layers in them.
    observed  what the user says was measured, and whether it is known to be of this unit.
    measured  the optimizers of a record that train this unit.
    """

    __slots__ = (
        "_keys", "composed", "computes", "loss_terms", "mapping", "measured", "name", "norms",
        "observed", "observed_here", "others", "settings", "sources", "terms_by_design", "tree",
        "unknown",
        "unknown_nodes",
    )  # fmt: skip

    def __init__(self, name: str, composed: Composed, mapping: Mapping) -> None:
        self.name = name
        self.composed = composed
        self.tree = composed.tree
        self.mapping = mapping
        self.settings: dict[str, Setting] = {}
        self.others: dict[str, list[Setting]] = {}
        self.unknown: dict[str, str] = {}
        self.unknown_nodes: dict[str, Scalar] = {}
        self.loss_terms: list[LossTerm] = []
        self.terms_by_design = False
        self.computes: Reader | None = None
        self._keys: set[str] | None = None
        self.sources: list[TrainingCode] = []
        self.norms: list[Setting] = []
        self.observed: Observed | None = None
        self.observed_here = True
        self.measured: list[Measured] = []

    @property
    def keys(self) -> set[str]:
        if self._keys is None:
            from gradaudit.syntax.tree import every_key

            self._keys = {key.lower().replace("-", "_") for key in every_key(self.mapping)}
        return self._keys

    @keys.setter
    def keys(self, keys: set[str]) -> None:
        self._keys = keys

    def get(self, name: str) -> Setting | None:
        return self.settings.get(name)

    def number(self, name: str) -> Number | None:
        """A setting's number, or None where it is absent, off, unknown or not a number."""
        setting = self.settings.get(name)
        return setting.number if setting else None

    def lost(self, name: str) -> tuple[str, str] | None:
        """The reference that leads nowhere and the path that it names, where an unknown setting
        comes to its end there."""
        from gradaudit.compose.model import LOST

        before, found, rest = self.unknown.get(name, "").partition(LOST[0])
        if not found or not rest.endswith(LOST[1]):
            return None
        return before.removesuffix(": ").rpartition(": ")[2], rest.removesuffix(LOST[1])

    def every(self, name: str) -> list[Setting]:
        """The setting in force and the rest."""
        setting = self.settings.get(name)
        others = self.others.get(name)
        if setting is None:
            return list(others or ())
        return [setting, *others] if others else [setting]

    @property
    def optimizer(self) -> str | None:
        """The optimiser's family in lower case (`adamw`, `sgd`), or None."""
        setting = self.settings.get("optimizer")
        return setting.value if setting and isinstance(setting.value, str) else None

    @property
    def is_adaptive(self) -> bool:
        return self.optimizer in ADAPTIVE

    @property
    def is_sgd(self) -> bool:
        return self.optimizer in SGD_LIKE

    @property
    def warmup(self) -> Duration | None:
        for name, unit in (
            ("warmup_steps", "steps"), ("warmup_epochs", "epochs"), ("warmup_ratio", "ratio"),
        ):  # fmt: skip
            setting = self.settings.get(name)
            if setting and setting.number is not None and setting.number > 0:
                return Duration(setting.number, unit, setting)
        return None

    @property
    def length(self) -> Duration | None:
        """How long the training is: in steps where they are written, because they end a run
        first; in epochs where the warm-up is, and only epochs compare with it."""
        names = [("total_steps", "steps"), ("epochs", "epochs")]
        if not self.number("steps_per_epoch"):
            warmup = self.warmup
            if warmup is not None and warmup.unit == "epochs":
                names.reverse()
        for name, unit in names:
            setting = self.settings.get(name)
            if setting and setting.number is not None and setting.number > 0:
                return Duration(setting.number, unit, setting)
        return None

    @property
    def norm(self) -> str | None:
        setting = self.settings.get("norm")
        return setting.value if setting and isinstance(setting.value, str) else None

    @property
    def norm_batch(self) -> int | None:
        """Samples over which one BatchNorm takes its statistics: the micro-batch, times the
        devices where they are synchronised. Accumulation never enters."""
        micro = self.number("micro_batch")
        if micro is None or micro < 1:
            return None
        if self.norm == "sync_batch":
            world = self.number("world_size")
            return int(micro * world) if world else None
        return int(micro)

    def has_word(self, words: frozenset[str] | tuple[str, ...]) -> bool:
        """Whether any key of the unit contains one of the words as a part between underscores."""
        wanted = frozenset(words)
        return any(not wanted.isdisjoint(key.split("_")) for key in self.keys)


class SourceOfUnit:
    """A training unit and one Python file of it: what a rule of scope `source` is called with."""

    __slots__ = ("code", "unit")

    def __init__(self, unit: TrainingUnit, code: TrainingCode) -> None:
        self.unit = unit
        self.code = code
