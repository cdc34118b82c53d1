"""The screen of `dryrun`: what was measured, what makes the gradient, and what to change."""

from __future__ import annotations

from gradaudit.evidence.dry_run import LEAST_COSINE, TENFOLD
from gradaudit.evidence.terms import EVEN
from gradaudit.render.dryrun_advice import advice_lines, causes
from gradaudit.render.dryrun_text import number, prose
from gradaudit.render.layout import NARROWEST, clean, fit, piece
from gradaudit.rules.text import percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.dry_run import DryRun, Spread
    from gradaudit.render.layout import Line

HEAVY = "heavy-tailed"

FEWEST_FOR_TAIL = 20
"""Steps. Of fewer the 95th percentile is the largest of all: that there is no tail is not seen."""

ACROSS = 0.1
"""Cosine below which two terms are said to be independent: one takes 1 % of the other's step."""

_SAMPLES = {
    "mean": "mean over samples", "sum": "sum over samples",
    "coupled": "couples the samples of a batch", "unknown": "",
}  # fmt: skip


def dry_run_lines(run: DryRun, path: str, directory: str, again: str, width: int) -> list[Line]:
    """`again`: the command that applies what is recommended."""
    width = max(width, NARROWEST)
    lines: list[Line] = _head(run, path, directory, width)
    lines += _terms(run, width)
    lines += _norms(run, width)
    lines += _cosines(run, width)
    lines += _batch(run, width)
    lines += _rates(run, width)
    lines += causes(run, width)
    lines += advice_lines(run, again, width)
    return lines


def heading(text: str) -> list[Line]:
    return [[], [piece(text, "heading")]]


def _head(run: DryRun, path: str, directory: str, width: int) -> list[Line]:
    about = run.about
    steps, asked = about.get("steps") or 0, about.get("steps_asked") or 0
    whole = about.get("warmup_steps") or 0
    warmup = min(whole, steps)
    lines: list[Line] = [[piece(clean(f"{path}, {about.get('unit')}"), "path")]]
    taken = f"{steps} steps" if steps == asked else f"{steps} of {asked} steps"
    if warmup:
        taken += f", {warmup} of them warm-up"
    optimizer = about.get("optimizer") or "the script's own optimiser"
    said = (
        f"dry run of {about.get('entry')}: {taken}; {optimizer}, {about.get('elements') or 0:,} "
        f"parameters, seed {about.get('seed')}"
    )
    lines += prose(said, width, style="dim")
    lines += prose(f"recorded in {directory}", width, style="dim")
    if about.get("stopped"):
        lines += prose(f"stopped early: {about['stopped']}", width, style="warning")
    for note in run.notes:
        lines += prose(f"note: {note}", width, style="dim")
    for name in run.without_graph:
        lines += prose(
            f"`{name}` never had a graph: nothing is trained by it. It is constant, or detached "
            "(`.detach()`, `.item()`, `torch.tensor(...)`) on its way",
            width, style="warning",
        )  # fmt: skip
    if steps and warmup >= steps:
        lines += prose(
            f"all {steps} steps lie inside the warm-up: the model hardly moved, and no weight or "
            f"threshold is recommended. Take --steps {whole + 100}, or shorten the warm-up for "
            "this run with --set",
            width, style="warning",
        )  # fmt: skip
    return lines


def _terms(run: DryRun, width: int) -> list[Line]:
    if not run.terms:
        return []
    which = f"steps {run.first} to {run.last}" if run.last != run.first else f"step {run.first}"
    lines = heading(f"Loss terms, {which}")
    room = max(min(max(len(term.name) for term in run.terms), width - 54), 5)
    lines.append([piece(
        f"  {'term':<{room}} {'weight':>8} {'value':>8} {'norm':>8} {'share':>7} {'squares':>8} "
        f"{'active':>7}", "dim",
    )])  # fmt: skip
    for term in run.terms:
        weight = number(term.weight) if term.weight is not None else "varies"
        row = (
            f"{weight:>8} {number(run.values.get(term.name, 0.0)):>8} {number(term.rms):>8} "
            f"{percent(term.share):>7} {percent(term.energy):>8} {percent(term.active_share):>7}"
        )
        style = "bold" if term.energy >= 0.2 else ""
        lines.append([piece(f"  {fit(clean(term.name), room):<{room}} {row}", style)])
    lines += prose(
        "norm: of weight x gradient, root mean square over the steps where the term is active; "
        "share: of the sum of norms; squares: of the sum of squared norms, which is who makes the "
        "large steps; value: median, without the weight." + _first_of(run.micro_batches),
        width, style="dim",
    )  # fmt: skip
    checked = _self_check(run)
    return lines + prose(checked, width, style="dim") if checked else lines


def _first_of(micro_batches: int) -> str:
    if micro_batches == 1:
        return ""
    return (
        f" Measured on the first of the {micro_batches} micro-batches of each step, whose gradient "
        "is noisier than that of all of them."
    )


def _self_check(run: DryRun) -> str:
    about = run.about
    checked, cast = about.get("self_check"), about.get("autocast")
    if not isinstance(checked, float):
        return "self-check: not made, for no step had finite gradients" if cast else ""
    whole = " and to the script's own loss" if about.get("total_checked") else ""
    exactly = f"to {checked:.0e}" if checked else "exactly"
    said = f"the terms' gradients add up to their sum's{whole}, {exactly}"
    if not cast:
        return f"self-check: {said}"
    if about.get("unchecked"):
        why = about["unchecked"]
        return f"self-check under autocast, for the model does not run without ({why}): {said}"
    rounding = about.get("rounding") or 0.0
    return (
        f"self-check, in full precision: {said}; under {cast} autocast, which rounds each of them, "
        + (f"to {rounding:.0e}" if rounding else "exactly")
    )


def _norms(run: DryRun, width: int) -> list[Line]:
    if run.norm is None:
        return []
    lines = heading("Gradient norm before the clip")
    lines += prose(spread_text(run.norm), width)
    tail = run.norm.tail
    if tail is not None and (tail > EVEN or run.norm.count >= FEWEST_FOR_TAIL):
        said = HEAVY if tail > EVEN else "even" if tail < 5 else "uneven"
        lines += prose(f"95th percentile over median: {number(tail)}, {said}", width)
    if run.clip_value is not None:
        lines += prose(
            f"a clip by value cuts each element to between -{number(run.clip_value)} and "
            f"{number(run.clip_value)}; how often it acted is not measured",
            width,
        )
    if run.clip_norm is not None:
        low, high = run.clipped_interval
        lines += prose(
            f"the clip at {number(run.clip_norm)} acted at {run.clipped} of {run.norm.count} "
            f"step{'s' if run.norm.count > 1 else ''} ({percent(low)} to {percent(high)})",
            width,
        )
    skipped = run.about.get("skipped")
    if skipped:
        lines += prose(
            f"the loss scaler skipped {skipped} step{'s' if skipped > 1 else ''}, whose gradients "
            f"overflowed; it ended at a scale of {number(run.about['loss_scale'])}",
            width,
        )
    if run.layers:
        share = ", ".join(f"`{name}` {percent(part)}" for name, part in run.layers[:3])
        lines += prose(f"largest layers, share of the squared norm: {share}", width)
    if run.update_ratio is not None:
        lines += prose(
            f"a step changes a weight matrix by {number(run.update_ratio)} of its norm (median; "
            "1e-4 to 1e-2 is usual)",
            width,
        )
    return lines


def spread_text(norm: Spread) -> str:
    def ends(interval: tuple[float, float] | None) -> str:
        if interval is None:
            return " (too few independent steps for an interval)"
        return f" ({number(interval[0])} to {number(interval[1])})"

    steps = "1 step" if norm.count == 1 else f"{norm.count} steps"
    return (
        f"{steps}: median {number(norm.median)}{ends(norm.median_interval)}, 95th "
        f"percentile {number(norm.p95)}{ends(norm.p95_interval)}, largest {number(norm.max)}"
    )


def _cosines(run: DryRun, width: int) -> list[Line]:
    names, cosines = run.frozen.get("names") or [], run.frozen.get("cosines") or []
    if len(names) < 2:
        return []
    lines = heading("Directions of the terms, at the last weights")
    pairs = [
        (cosines[i][j], names[i], names[j])
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if cosines and cosines[i][j]
    ]
    for (value, low, high), first, second in sorted(pairs, key=lambda pair: pair[0][0]):
        verdict = "against each other" if high < 0 else "together"
        if low <= 0 <= high:
            verdict = "no direction in common can be told"
        elif abs(value) < ACROSS:
            verdict = "next to independent"
        lines += prose(
            f"`{first}` and `{second}`: cosine {value:.2f} ({low:.2f} to {high:.2f}), {verdict}",
            width,
        )
    total = len(names) * (len(names) - 1) // 2
    if total > len(pairs):
        why = run.frozen.get("why") or (
            f"the noise of {run.frozen.get('batches')} batches hides them, or a term was inactive"
        )
        lines += prose(
            f"{total - len(pairs)} of {total} pairs: not known, {why}", width, "  ", "dim"
        )
    return lines


def _batch(run: DryRun, width: int) -> list[Line]:
    lines = heading("The batch")
    coupled = [f"`{name}`" for name, kind in run.samples.items() if kind == "coupled"]
    if coupled:
        lines += prose(
            f"{', '.join(coupled)}: {_SAMPLES['coupled']} (pairs, statistics of the batch, or a "
            "mean over a count that varies): the micro-batch is part of what they ask for",
            width,
        )
    summed = [f"`{name}`" for name, kind in run.samples.items() if kind == "sum"]
    if summed:
        lines += prose(
            f"{', '.join(summed)}: summed over samples, and so grows with the batch", width
        )
    layers = run.batch_norm.get("layers") or []
    if layers:
        worst = max(layers, key=lambda layer: layer["noise"])
        lines += prose(
            f"BatchNorm: {len(layers)} layer{'s' if len(layers) > 1 else ''}; a batch's mean "
            "strays by up to "
            f"{percent(worst['noise'])} of the activations' spread (`{worst['layer']}`, "
            f"{worst['values']} values behind a mean)",
            width,
        )
    lines += _bias(run, width)
    noise = run.noise
    if noise.get("refused"):
        lines += prose(f"noise scale: none, {noise['refused']}", width, style="dim")
    elif noise:
        optimizer = str(run.about.get("optimizer") or "Adam")
        lines += prose(f"noise scale: {_noise_text(noise, optimizer)}", width)
    return lines if len(lines) > 2 else []


def _noise_text(noise: dict[str, object], optimizer: str) -> str:
    low, high = float(str(noise["low"])), float(str(noise["high"]))
    size = noise.get("micro_batch")
    rough = "" if optimizer == "SGD" else f"; under {optimizer} a rough guide only"
    note = f"({noise.get('batches')} batches of {size}{rough})"
    if noise.get("lower_bound_only"):
        if low <= 0:
            return f"cannot be told from noise {note}"
        return f"above {number(low)} samples; no upper end can be told {note}"
    return f"{number(low)} to {number(high)} samples {note}"


def _bias(run: DryRun, width: int) -> list[Line]:
    bias = run.bias
    if not bias or not bias.get("large"):
        return []
    what = f"the expected gradient at {bias['micro_batch']} samples and at {bias['large']}"
    if bias.get("why"):
        return prose(f"{what}: not compared, {bias['why']}", width, style="dim")
    cosine = bias.get("cosine")
    if not cosine:
        text = f"{what}: noise hides whether they differ ({bias.get('batches')} batches)"
        return prose(text, width, style="dim")
    value, low, high = cosine
    verdict = ""
    if high < LEAST_COSINE:
        verdict = ": the small batch trains another objective, which accumulation does not mend"
    elif low >= LEAST_COSINE:
        verdict = ": the small batch trains the same objective"
    return prose(f"{what}: cosine {value:.2f} ({low:.2f} to {high:.2f}){verdict}", width)


def _change(share: float) -> str:
    """A relative change with a sign: to 0.1 %, and below 1 % to two significant digits, so that an
    end of an interval that is not 0 does not read as 0. Beyond tenfold as a factor."""
    if share > TENFOLD:
        times = 1 + share
        return f"{number(times) if times < 1e6 else f'{times:.0e}'} times"
    return f"{share:+.1%}" if abs(share) >= 0.01 or share == 0 else f"{share * 100:+.2g}%"


def _rates(run: DryRun, width: int) -> list[Line]:
    if not run.rates or run.learning_rate is None:
        return []
    lines = heading(f"Learning rate, from {number(run.learning_rate)} at the last step")
    for test in run.rates:
        if test.diverged:
            lines += prose(
                f"x {number(test.factor)}: the loss is not finite", width, style="warning"
            )
        elif test.change is not None and test.interval is not None:
            low, high = test.interval
            said = "lower" if high < 0 else "higher" if low > 0 else "no difference can be told"
            if test.change > TENFOLD and low > 0:
                said = "far higher"
            of = " that at the rate itself" if test.change > TENFOLD else ""
            lines += prose(
                f"x {number(test.factor)}: loss {_change(test.change)}{of} ({_change(low)} to "
                f"{_change(high)}), {said}",
                width,
            )
        else:  # at the rate itself it does not
            lines += prose(f"x {number(test.factor)}: the loss stays finite", width)
    lines += prose(
        f"training loss over the next steps, on the same batches{_rate_steps(run)}: it says "
        "whether a rate is at its edge, not which is best.",
        width, style="dim",
    )  # fmt: skip
    return lines


def _rate_steps(run: DryRun) -> str:
    """How many micro-batches a step of the rate test took, where the run's take several."""
    took, takes = run.rate_micro_batches, run.micro_batches
    if takes == 1 or took is None:
        return ""
    if took == takes:
        return f", {took} micro-batches a step as in the run"
    return (
        f", {took} micro-batch{'es' if took > 1 else ''} a step where the run takes {takes}, "
        "so that gradients are noisier than the run's"
    )
