"""Schedules of single frameworks, as their sources have them, quirks included.

`scheduler_names` says which file each is from; `tests/test_simulate_frameworks.py` holds each
against that source, written down a second time. Knows no torch.
"""

from __future__ import annotations

from bisect import bisect_right
from math import cos, exp, log, pi, sqrt

from gradaudit.plan.arguments import numbers_in
from gradaudit.probe.formulas import Lacking, cosine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.probe.formulas import Factor, Terms


def cosine_with_warmup_rate(terms: Terms) -> Factor:
    """transformers' `cosine_warmup_with_min_lr`: it begins above 0, and is one step ahead."""
    w, floor, begin = terms.warmup, terms.floor, terms.number("warmup_lr_rate")
    cycles, rest = terms.number("num_cycles") or 0.5, max(1, terms.total - terms.warmup)

    def factor(t: int) -> float:
        if t < w:
            return (t + 1) / w if begin is None else begin + (1 - begin) * t / max(1, w - 1)
        wave = (1 + cos(2 * pi * cycles * (t - w + 1) / rest)) / 2
        return max(0.0, floor + (1 - floor) * wave)

    return factor


def axolotl_cosine(terms: Terms) -> Factor:
    """That of transformers; two keys make another curve of it, which is not simulated."""
    if terms.arguments.get("lr_quadratic_warmup") is True:
        raise Lacking("a quadratic warm-up (`lr_quadratic_warmup`) is not simulated")
    if terms.number("cosine_constant_lr_ratio"):
        raise Lacking("a level end (`cosine_constant_lr_ratio`) is not simulated")
    return cosine(terms)


def verl_cosine(terms: Terms) -> Factor:
    """The warm-up begins at the floor, not at 0."""
    w, floor, rest = terms.warmup, terms.floor, max(1, terms.total - terms.warmup)
    cycles = terms.number("num_cycles") or 0.5

    def factor(t: int) -> float:
        if t < w:
            return floor + (1 - floor) * t / w
        wave = (1 + cos(2 * pi * cycles * (t - w) / rest)) / 2
        return floor + (1 - floor) * wave

    return factor


def torchtitan(terms: Terms) -> Factor:
    """Warm-up, level, decay; neither the first nor the last step has a rate of 0."""
    w, total = terms.warmup, terms.total
    share = terms.number("decay_ratio")
    decay = total - w if share is None else round(total * share)
    level = total - decay
    kind = str(terms.arguments.get("decay_type", "linear"))
    floor = terms.floor

    def factor(t: int) -> float:
        t = min(t, level + decay)
        if t < w:
            return (t + 1) / (w + 1)
        if t < level or decay == 0:
            return 1.0
        done = (t + 1 - level) / (decay + 1)
        shape = {"sqrt": 1 - sqrt(done), "cosine": (1 + cos(pi * done)) / 2}.get(kind, 1 - done)
        return floor + (1 - floor) * shape

    return factor


def gpt_neox(kind: str) -> Callable[[Terms], Factor]:
    """It decays over the whole length, though it begins after the warm-up, and stops one warm-up
    before the end: the rate does not come down to its lowest."""

    def made(terms: Terms) -> Factor:
        w, end, floor = terms.warmup, terms.end, terms.floor

        def factor(t: int) -> float:
            done = min(t, end - w)
            if w > 0 and t <= w:
                return done / w
            share = (done - w) / end
            shape = {
                "linear": 1 - share, "cosine": (1 + cos(pi * share)) / 2,
                "exponential": exp(-0.693 * share),
            }.get(kind, 1.0)  # fmt: skip
            return max(shape, floor)

        return factor

    return made


def swin_cosine(terms: Terms) -> Factor:
    """timm's `CosineLRScheduler` after the warm-up; it is called after a step with that step's
    own number, so that each rate comes one step later."""
    w, floor = terms.warmup, terms.floor
    low = terms.number("warmup_lr")
    s = (5e-7 if low is None else low) / terms.peak
    begins = w if terms.arguments.get("warmup_prefix") is not False else 0
    rest = max(1, terms.total - begins)

    def factor(t: int) -> float:
        t = max(t - 1, 0)
        if t < w:
            return s + (1 - s) * t / w
        return floor + (1 - floor) * (1 + cos(pi * min(t - begins, rest) / rest)) / 2

    return factor


def slowfast_cosine(terms: Terms) -> Factor:
    """The warm-up rises from WARMUP_START_LR to where the cosine, which began with it, is then."""
    w, floor, total = terms.warmup, terms.floor, terms.total
    s = _slowfast_start(terms)
    offset = w if terms.arguments.get("cosine_after_warmup") is True else 0

    def wave(t: float) -> float:
        return floor + (1 - floor) * (1 + cos(pi * (t - offset) / (total - offset))) / 2

    return lambda t: s + (wave(w) - s) * t / w if t < w else wave(t)


def slowfast_steps(terms: Terms) -> Factor:
    """STEPS in epochs, from 0, and for each a share of the base rate in LRS."""
    at, shares = numbers_in(terms.arguments, "steps"), numbers_in(terms.arguments, "lrs")
    if not at or len(at) != len(shares) or at[0] != 0 or not terms.per_epoch:
        raise Lacking("`STEPS`, from 0, and as many `LRS` are not known")
    ends = [epoch * terms.per_epoch for epoch in at[1:]]
    w, s = terms.warmup, _slowfast_start(terms)

    def level(t: int) -> float:
        return shares[bisect_right(ends, t)]

    return lambda t: s + (level(w) - s) * t / w if t < w else level(t)


def _slowfast_start(terms: Terms) -> float:
    """Where the rate is scaled by the shards, so is the rate at the start."""
    low = terms.number("warmup_start_lr")
    scaled = terms.arguments.get("base_lr_scale_num_shards") is True
    return (0.01 if low is None else low) / (terms.needed("base_lr") if scaled else terms.peak)


def fairchem_steps(terms: Terms) -> Factor:
    """A drop at each of `lr_milestones`, which count steps; the warm-up is linear from
    `warmup_factor`, its last step included."""
    at = sorted(numbers_in(terms.arguments, "lr_milestones"))
    gamma = terms.needed("lr_gamma")
    w, s = terms.warmup, terms.number("warmup_factor")
    if not at or s is None:
        raise Lacking("`lr_milestones` and `warmup_factor` are not known")
    if at[0] < 100:
        raise Lacking("`lr_milestones` below 100 are epochs, and fairchem takes steps only")
    return lambda t: s * (1 - t / w) + t / w if w > 0 and t <= w else gamma ** bisect_right(at, t)


def fastai_one_cycle(terms: Terms) -> Factor:
    """Up and down by half waves, from 1 / div_factor, to 1 / (1e4 x div_factor)."""
    low = 1 / terms.needed("div_factor")
    share = terms.needed("pct_start")
    top = int(share * terms.total)

    def wave(first: float, last: float, done: float) -> float:
        return last + (first - last) / 2 * (cos(pi * done) + 1)

    rest = terms.total - top
    return lambda t: wave(low, 1, t / top) if t < top else wave(1, low / 1e4, (t - top) / rest)


def detectron2_steps(terms: Terms) -> Factor:
    """A drop at each milestone before the end; the warm-up is linear from `start`."""
    gamma = terms.number("gamma")
    gamma = 0.1 if gamma is None else gamma
    at = sorted(stone for stone in terms.milestones if stone < terms.total)
    w, s = terms.warmup, terms.start
    top = gamma ** bisect_right(at, w)
    if terms.arguments.get("warmup_method") == "constant":
        return lambda t: s if t < w else gamma ** bisect_right(at, t)
    return lambda t: s + (top - s) * t / w if t < w else gamma ** bisect_right(at, t)


def detectron2_cosine(terms: Terms) -> Factor:
    """The half wave begins with the training; the warm-up rises to where it is at its end."""
    w, s, floor, total = terms.warmup, terms.start, terms.floor, terms.total

    def wave(t: float) -> float:
        return floor + (1 - floor) * (1 + cos(pi * t / total)) / 2

    return lambda t: s + (wave(w) - s) * t / w if t < w else wave(t)


def warmup_lr(terms: Terms) -> Factor:
    """sqrt(warmup) x min(n ** -0.5, n x warmup ** -1.5), n counted from 1: the peak is 1."""
    w = terms.warmup
    if not w:
        raise Lacking("`warmup_steps` is not known")
    return lambda t: w**0.5 * min((t + 1) ** -0.5, (t + 1) * w**-1.5)


def fairseq_polynomial(terms: Terms) -> Factor:
    w, end, floor = terms.warmup, terms.end, terms.floor
    power = terms.number("power") or 1.0

    def factor(t: int) -> float:
        if w > 0 and t <= w:
            return t / w
        return floor + (1 - floor) * (1 - (t - w) / (end - w)) ** power if t < end else floor

    return factor


def fairseq_cosine(terms: Terms) -> Factor:
    w, floor = terms.warmup, terms.floor
    begin = terms.number("warmup_init_lr")
    s = floor if begin is None or begin < 0 else begin / terms.peak
    said = terms.number("lr_period_updates")
    period = said if said and said > 0 else terms.total - w
    grows = terms.number("t_mult") or 1.0
    if grows != 1 or period <= 0:
        raise Lacking("a cosine whose periods grow (`t_mult`) is not simulated")
    shrink = terms.number("lr_shrink")
    shrink = 0.1 if shrink is None else shrink

    def factor(t: int) -> float:
        if t < w:
            return s + (1 - s) * t / w
        cycle, into = divmod(t - w, period)
        return float(shrink**cycle * (floor + (1 - floor) * (1 + cos(pi * into / period)) / 2))

    return factor


def fairseq_inverse_sqrt(terms: Terms) -> Factor:
    w = terms.warmup
    if not w:
        raise Lacking("`warmup_updates` is not known")
    begin = terms.number("warmup_init_lr")
    s = 0.0 if begin is None or begin < 0 else begin / terms.peak
    return lambda t: s + (1 - s) * t / w if t < w else sqrt(w / t)


def fairseq_tri_stage(terms: Terms) -> Factor:
    shares = numbers_in(terms.arguments, "phase_ratio")
    if len(shares) == 3:
        w, hold, decay = (int(terms.total * share) for share in shares)
    else:
        w = terms.warmup
        hold = int(terms.needed("hold_steps"))
        decay = int(terms.needed("decay_steps"))
    first, last = terms.number("init_lr_scale"), terms.number("final_lr_scale")
    s = 0.01 if first is None else first
    end = 0.01 if last is None else last
    if end <= 0 or decay <= 0:
        raise Lacking("an exponential decay needs `final_lr_scale` and its length above 0")

    def factor(t: int) -> float:
        if t < w:
            return s + (1 - s) * t / w
        if t < w + hold:
            return 1.0
        return exp(log(end) * (t - w - hold) / decay) if t <= w + hold + decay else end

    return factor


def nemo(decay: Callable[[float], float]) -> Callable[[Terms], Factor]:
    """(n + 1) / (warmup + 1), then the decay over the rest."""

    def made(terms: Terms) -> Factor:
        w, floor = terms.warmup, terms.floor
        level = int(terms.number("constant_steps") or 0)  # at the lowest rate, at the end
        rest = max(1, terms.total - w - level)

        def factor(t: int) -> float:
            if t <= w and w:
                return (t + 1) / (w + 1)
            return floor + (1 - floor) * decay(min((t - w) / rest, 1.0))

        return factor

    return made


def deepspeed_warmup(decays: bool) -> Callable[[Terms], Factor]:
    """The warm-up is logarithmic by default: log(n + 1) / log(warmup). The scheduler begins to
    count after the first step, so that each rate comes one step later."""

    def made(terms: Terms) -> Factor:
        w, total = max(2, terms.warmup), terms.total
        low = (terms.number("warmup_min_lr") or 0.0) / terms.peak
        is_linear = str(terms.arguments.get("warmup_type", "log")).lower() == "linear"

        def gamma(t: int) -> float:
            if t < w:
                return t / w if is_linear else log(t + 1) / log(w)
            return max(0.0, (total - t) / max(1.0, total - w)) if decays else 1.0

        return lambda t: low + (1 - low) * gamma(max(t - 1, 0))

    return made


def deepspeed_cosine(terms: Terms) -> Factor:
    """Shares of the rate, not rates; 0 before it has begun to count, which is the first step."""
    w, total = max(2, terms.warmup), terms.total
    low, end = terms.number("warmup_min_ratio") or 0.0, terms.number("cos_min_ratio")
    end = 1e-4 if end is None else end
    is_linear = str(terms.arguments.get("warmup_type", "log")).lower() == "linear"

    def factor(t: int) -> float:
        t -= 1
        if t < 0:
            return 0.0
        if t < w:
            return low + (1 - low) * (t / w if is_linear else log(t + 1) / log(w))
        done = min(1.0, (t - w + 1) / max(1, total - w))
        return end + (1 - end) * (1 + cos(pi * done)) / 2

    return factor


def basicsr_warm(terms: Terms, then: Factor) -> Factor:
    """Below `warmup_iter` step n, from 1, has the share n / warmup_iter of the first rate."""
    w = terms.warmup
    return lambda t: (t + 1) / w if t + 1 < w else then(t)


def basicsr_steps(terms: Terms) -> Factor:
    if not terms.milestones:
        raise Lacking("`milestones` are not known")
    gamma = terms.number("gamma")
    gamma = 0.1 if gamma is None else gamma
    at = sorted(terms.milestones)
    return basicsr_warm(terms, lambda t: gamma ** bisect_right(at, t))


def basicsr_cosine(terms: Terms) -> Factor:
    """Half waves one after another, each with a weight of its own."""
    periods = numbers_in(terms.arguments, "periods")
    weights = numbers_in(terms.arguments, "restart_weights") or (1.0,)
    if not periods or len(periods) != len(weights):
        raise Lacking("`periods` and as many `restart_weights` are not known")
    ends = [sum(periods[: index + 1]) for index in range(len(periods))]
    if ends[-1] < terms.total - 1:
        raise Lacking(f"the `periods` end after {ends[-1]:g} of {terms.total} steps")
    floor = terms.floor

    def then(t: int) -> float:
        index = next(index for index, end in enumerate(ends) if t <= end)
        begin = ends[index - 1] if index else 0
        wave = (1 + cos(pi * (t - begin) / periods[index])) / 2
        return floor + weights[index] * (1 - floor) * wave

    return basicsr_warm(terms, then)
