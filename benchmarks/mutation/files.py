"""Operators on the text itself: keys, types, spellings."""

from __future__ import annotations

from gradaudit.plan.model import Setting
from gradaudit.syntax.tree import Scalar

from . import semantics as why
from .change import again, bare_exponent, beside, child, misspelt, to, word, written
from .model import Case, Mutation, Operator

_COMMON = ("learning_rate", "base_learning_rate", "weight_decay", "micro_batch", "epochs")


def _common(case: Case) -> Setting | None:
    """The first written number of those that most configs have."""
    found = (written(case, name) for name in _COMMON)
    return next((setting for setting in found if setting is not None and setting.number), None)


def _twice(case: Case) -> Mutation | None:
    setting = _common(case)
    if setting is None or setting.number is None:
        return None
    whole = setting.number == int(setting.number)
    return again(case, setting, int(setting.number) * 2 if whole else setting.number * 2)


def _quoted(case: Case) -> Mutation | None:
    rate = written(case, "learning_rate")
    return to(case, rate, f"{rate.number:g}") if rate is not None and rate.number else None


def _exponent(case: Case) -> Mutation | None:
    rate = written(case, "learning_rate")
    if rate is None or not rate.number or case.tree.format != "yaml":
        return None
    spelled = bare_exponent(rate.number)
    return to(case, rate, rate.number, spelled) if spelled and spelled != rate.raw else None


def _botched(case: Case) -> Mutation | None:
    rate = written(case, "learning_rate")
    if rate is None or not rate.number or case.tree.format != "yaml":
        return None
    spelled = bare_exponent(rate.number)
    return to(case, rate, rate.number, spelled.replace("e-", "e_")) if spelled else None


def _not_a_number(case: Case) -> Mutation | None:
    if case.tree.format != "yaml":
        return None
    rate = written(case, "learning_rate")
    return to(case, rate, float("nan"), ".nan") if rate is not None else None


def _misspelt(case: Case) -> Mutation | None:
    return misspelt(case, _common(case))


def _text_switch(case: Case) -> Mutation | None:
    switch = word(case, "gradient_checkpointing")
    if switch is None or switch.raw.lower() not in ("true", "false"):
        return None
    return to(case, switch, "False")


_BASES = ("_base_", "_BASE_", "__include__", "base_config", "hparams_file")


def _base(case: Case) -> Scalar | None:
    """The one base file, where it is named at the top."""
    for name in _BASES:
        node = child(case.tree.roots[0], name)
        if type(node) is Scalar and node.value:
            return node
    return None


def _base_gone(case: Case) -> Mutation | None:
    node = _base(case)
    if node is None or node.value not in (text := case.tree.source.text[node.start : node.end]):
        return None
    stem, dot, ending = node.value.rpartition(".")
    if not dot:
        return None
    new = text.replace(node.value, f"{stem}_old.{ending}")
    return Mutation([(node.start, node.end, new)], [node.start])


def _base_itself(case: Case) -> Mutation | None:
    node = _base(case)
    if node is None or node.value not in (text := case.tree.source.text[node.start : node.end]):
        return None
    new = text.replace(node.value, case.tree.source.path.rpartition("/")[2])
    return Mutation([(node.start, node.end, new)], [node.start])


def _unresolved(case: Case) -> Mutation | None:
    rate = written(case, "learning_rate")
    if rate is None or not case.unit.composed.dialect.get("interpolation"):
        return None
    return to(case, rate, "${no_such_section.rate}", '"${no_such_section.rate}"')


def _second_name(case: Case) -> Mutation | None:
    rate = written(case, "learning_rate")
    if rate is None or not rate.number or case.dialect != "generic":
        return None
    other = "learning_rate" if rate.last_key == "lr" else "lr"
    return beside(case, rate, other, rate.number / 3)


FILES = [
    Operator(
        "key-twice",
        "a common key a second time with twice the value",
        ("GA701",),
        _twice,
        companions=("GA201", "GA218", "GA219", "GA709"),
    ),
    Operator(
        "rate-in-quotes",
        "the learning rate in quotes",
        ("GA702",),
        _quoted,
        why.loader_converts,
        note="pydantic, jsonargparse and yacs turn text into the number it spells.",
    ),
    Operator(
        "rate-without-dot",
        "the learning rate as `1e-4`, in YAML",
        ("GA702",),
        _exponent,
        why.loader_reads_a_number,
        note="Only PyYAML's YAML 1.1 reads text: OmegaConf, YAML 1.2 and converting loaders "
        "read the number, so for their files nothing has changed.",
    ),
    Operator("rate-botched", "the learning rate as `1e_4`, in YAML", ("GA703",), _botched),
    Operator("rate-nan", "the learning rate `.nan`, in YAML", ("GA703",), _not_a_number),
    Operator(
        "key-misspelt",
        "two letters swapped in the longest word of a common key",
        ("GA708",),
        _misspelt,
        companions=("GA107", "GA201", "GA208", "GA218", "GA220", "GA305", "GA710", "GA711"),
    ),
    Operator(
        "base-gone",
        "the name of the base file is that of no file",
        ("GA705",),
        _base_gone,
        companions=("GA711",),
    ),
    Operator(
        "base-itself", "the file is its own base", ("GA706",), _base_itself, companions=("GA711",)
    ),
    Operator(
        "reference-to-nothing",
        "the learning rate as a reference to a key that is nowhere",
        ("GA711",),
        _unresolved,
    ),
    Operator(
        "two-names",
        "the learning rate under two names, in configs of no known framework",
        ("GA709",),
        _second_name,
    ),
    Operator(
        "switch-as-text",
        'a switch as the text "False"',
        ("GA707",),
        _text_switch,
        why.reads_a_switch("gradient_checkpointing"),
        note="pydantic and argparse turn text into switches.",
    ),
]
