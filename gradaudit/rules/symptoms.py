"""What a practitioner sees in a run, in fixed words: the way from a symptom to the rules.

Cold path: `explain`, `rules --symptom` and the docs site read it, a check never does.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.rules import Rule

SYMPTOMS: dict[str, tuple[str, str]] = {
    "loss is nan": (
        "From the first steps, or before the first number is logged.",
        "inf infinite diverges explodes not a number start",
    ),
    "loss is nan after some hundred steps": (
        "It falls as it should, then one step is not a number and all after it.",
        "inf infinite diverges explodes later suddenly overflow",
    ),
    "loss spikes": (
        "It jumps up for some steps, and comes back or does not.",
        "unstable instability jumps outlier",
    ),
    "loss is flat": (
        "It hardly moves from where it began: ln(classes) for a classifier.",
        "stuck plateau constant does not learn nothing learnt vanishing",
    ),
    "loss rises, from the start or after falling": (
        "The training loss, not the validation loss.",
        "diverges climbs grows increases goes up worse falls then",
    ),
    "gradient norm grows": (
        "The norm before clipping, over epochs, while the rate does not rise.",
        "explodes exploding large high gradients increases",
    ),
    "gradient norm spikes": (
        "Single steps are ten times the median or more, at the start or all along.",
        "explodes exploding unstable heavy tail clip outlier gradients",
    ),
    "gradient norm is tiny": (
        "Near zero from the start or in some layers, with or without a falling loss.",
        "vanishes vanishing small zero underflow gradients",
    ),
    "one loss term drowns the others": (
        "The sum falls, and the term that matters does not.",
        "multi task auxiliary penalty weight imbalance balance dominates gan kl",
    ),
    "validation far worse than training": (
        "Far more than the usual gap, often in eval() mode alone.",
        "overfit overfitting test eval held-out batchnorm generalise val",
    ),
    "worse than the published result": (
        "Nothing fails, and the recipe that should give 76 gives 71.",
        "paper reproduce accuracy metric underperforms baseline lower",
    ),
    "best checkpoint is not the best": (
        "The one that was kept, averaged or stopped at is worse than others of the run.",
        "early stopping ema save patience metric model",
    ),
    "works on one GPU, not on eight": (
        "Or with another number of devices, nodes or accumulated steps than before.",
        "multi gpus ddp distributed scaling nodes devices deepspeed fsdp world size batch",
    ),
    "works in fp32, not in fp16": (
        "Or not in bf16, or not under autocast.",
        "mixed precision half bf16 amp autocast overflow underflow scaler loss scale",
    ),
    "training ends with an error, or never starts": (
        "The loader, the optimiser or the launcher refuses the config, at once or at some step.",
        "crash crashes fails exception typeerror traceback refuses",
    ),
    "run cannot be reproduced": (
        "Two runs of one config differ by more than rounding.",
        "seed random nondeterministic deterministic reproducible different twice resume",
    ),
    "slow or wasted training": (
        "It learns, and part of the steps, the data or the machine is paid for in vain.",
        "crawls throughput steps epochs expensive useless idle converge converges slowly",
    ),
    "loads other values than the file seems to say": (
        "What the trainer prints at the start is not what stands in the file.",
        "ignored overridden default wrong config yaml text string not applied no effect",
    ),
}
"""Phrase -> (a sentence that tells it from the others, more words to find it by)."""


def search(text: str) -> list[str]:
    """The symptoms that a text may mean: those with the most of its words; where some are missing,
    the phrase's own words go before those that it is only found by."""
    wanted = [word for word in _words(text) if word not in _EMPTY] or _words(text)
    ranked = []
    for phrase, (_, more) in SYMPTOMS.items():
        own, beside = _words(phrase), _words(more)
        in_own = sum(_is_like(word, own) for word in wanted)
        in_any = sum(_is_like(word, own + beside) for word in wanted)
        ranked.append((in_any, in_own, phrase))
    most = max(in_any for in_any, _, _ in ranked)
    if not most:
        return []
    best = max(in_own for in_any, in_own, _ in ranked if in_any == most)
    return [
        phrase
        for in_any, in_own, phrase in ranked
        if in_any == most and (in_own == best or in_any == len(wanted))
    ]


_EMPTY = frozenset((
    "a", "after", "am", "and", "are", "at", "but", "by", "from", "i", "in", "is", "it", "me",
    "my", "of", "on", "or", "our", "the", "then", "to", "with",
))  # fmt: skip


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _is_like(word: str, among: list[str]) -> bool:
    """Whether a word or another form of it is among these: `spike` finds `spikes`."""
    return _stem(word) in map(_stem, among)


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending).removesuffix("e")
    return word.removesuffix("e") if len(word) > 3 else word


def by_symptom(rules: list[Rule]) -> dict[str, list[Rule]]:
    """Each symptom, in the order of the vocabulary, with the rules that name it."""
    from gradaudit.rules.docs import parse

    found: dict[str, list[Rule]] = {phrase: [] for phrase in SYMPTOMS}
    for rule in rules:
        for phrase in parse(rule).symptoms:
            found[phrase].append(rule)
    return found


def anchor(phrase: str) -> str:
    """The symptom's anchor on its page, as MkDocs makes it from the heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", phrase).strip().lower())


def page(rules: list[Rule]) -> str:
    """The index by symptom."""
    from gradaudit.rules.docs import parse

    found = {phrase: named for phrase, named in by_symptom(rules).items() if named}
    parts = [
        "# Rules by symptom",
        (
            "What a run shows, and the rules that know a cause of it in the config. A symptom has "
            "causes that no config shows, too: data, architecture, code. "
            "`gradaudit rules --symptom 'loss nan'` finds by words."
        ),
        "\n".join(f"- [{phrase}](#{anchor(phrase)})" for phrase in found),
    ]
    for phrase, named in found.items():
        lines = [
            f"- [{rule.code} {rule.name}]({rule.name}.md): {parse(rule).title}" for rule in named
        ]
        parts += [f"## {phrase[0].upper()}{phrase[1:]}", SYMPTOMS[phrase][0], "\n".join(lines)]
    return "\n\n".join(parts) + "\n"
