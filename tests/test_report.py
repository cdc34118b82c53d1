"""`gradaudit report`: structure, numbers, diffs, snippets, and what it must never say."""

from __future__ import annotations

import ast
import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from gradaudit import __version__
from gradaudit.audit import audit_source
from gradaudit.evidence.observed import Observed
from gradaudit.findings import RECOMMENDED, SPECULATIVE, Fix
from gradaudit.options import Options
from gradaudit.render.report import render_report
from gradaudit.render.report.diff import unified
from gradaudit.render.report.missing import supply
from gradaudit.render.report.part import Part, derived
from gradaudit.render.report.words import code, prose, table
from gradaudit.rules import load
from gradaudit.settings import Finder, Settings
from gradaudit.source import Source

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "sample_configs"
CONFIG = "sample_configs/enhanced_training.yaml"
OTHERS = sorted(
    path.name for path in SAMPLES.glob("*.yaml") if not path.name.endswith("d_training.yaml")
)
COMMAND = f"gradaudit report {CONFIG}"
SECTIONS = [
    "Summary", "1. Clipping", "2. Learning rate", "3. Normalisation and batch", "4. Loss",
    "5. Fixes", "6. Snippets", "7. Validation checklist", "8. Root causes, ranked",
    "9. Order of work", "10. Not judged",
]  # fmt: skip

FORBIDDEN = {
    "exploding, from one norm (1)": r"(?i)exploding|gradients explode(?!\s+nor)",
    "a norm inferred before clipping (2)": r"100[-–]300",
    "clipping is good (3)": r"(?i)clipping.{0,20}\bgood\b",
    "lr x norm as the step (6)": r"(?i)large step|update_size|2\.3e-0?3|0\.0023",
    "the penalty is 5 to 10 (11)": r"(?i)5[-–]10\b",
    "15x signal (15)": r"(?i)15\s?[x×] (the )?signal",
    "accumulation as a cure (17)": r"(?i)same effective size|accumulation.{0,30}stabili[sz]es?",
    "a clip that suits large models (19)": r"(?i)large models",
    "division prevents domination (21)": r"(?i)prevents? (any|a) ",
    "the norm below the clip (25)": r"(?i)norm (is |stays |must be )?(<|below) ?(the )?(clip|5)\b",
    "running stats in eval mode (26)": r"(?i)running.{0,60}eval",
    "training below validation loss (27)": r"(?i)train(ing)? loss.{0,12}(<|below).{0,12}val",
    "the model is fine (30)": r"(?i)model is fine|not a code bug",
    "tight clipping as a cause (31)": r"(?im)^\d+\. \*\*.*clip_norm|before other stabili[sz]ation",
}  # fmt: skip


def report(
    text: str,
    *,
    path: str = CONFIG,
    observed: Observed | None = None,
    unit: str | None = None,
    assume: dict[str, str] | None = None,
    settings: Settings | None = None,
    command: str = COMMAND,
) -> str:
    options = Options()
    options.observed, options.unit, options.assume = observed, unit, assume or {}
    chosen = settings or Finder().for_file(path)
    result = audit_source(Source(path, text), options, chosen)
    return render_report(result, command=command, limits=chosen.limits)


@pytest.fixture(autouse=True)
def _in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def config() -> str:
    return (ROOT / CONFIG).read_text(encoding="utf-8")


@pytest.fixture
def plain(config: str) -> str:
    return report(config)


@pytest.fixture
def measured(config: str) -> str:
    return report(config, observed=Observed(28.9, epoch=3), unit="priority_net")


def outside_fences(text: str) -> list[str]:
    """The lines outside fenced blocks, one for each block; fails where a fence is left open."""
    lines = []
    fence = ""
    for line in text.split("\n"):
        match = re.match(r"(`{3,})", line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif match:
            fence = match.group(1)
            lines.append("[fence]")
        else:
            lines.append(line)
    assert not fence, "a fence is not closed"
    return lines


def blocks(text: str, language: str) -> list[list[str]]:
    found = re.findall(rf"^(`{{3,}}){language}\n(.*?)\n\1$", text, re.MULTILINE | re.DOTALL)
    return [body.split("\n") for _, body in found]


def headings(text: str, level: int = 2) -> list[str]:
    mark = "#" * level + " "
    return [line.removeprefix(mark) for line in outside_fences(text) if line.startswith(mark)]


def section(text: str, title: str) -> str:
    start = text.index(f" {title}\n")
    end = re.compile(r"^##? ", re.MULTILINE).search(text, start)
    return text[start : end.start() if end else len(text)]


def well_formed(text: str) -> None:
    lines = outside_fences(text)
    columns = 0
    for line in lines:
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line)) - 1
            assert columns in (0, cells), line
            columns = cells
        else:
            columns = 0
        assert line == line.rstrip(), line
        assert line.count("**") % 2 == 0, line
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\n\n\n" not in "\n".join(lines)
    assert "None" not in re.sub(r"\bNone(\.| in)", "", "\n".join(lines))


# --- the sample ---


@pytest.mark.parametrize("name", ["plain", "measured"])
def test_sections_in_order(name: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(name)
    assert headings(text) == SECTIONS
    assert headings(text, 1)[0].startswith(f"Training diagnosis: `{CONFIG}`")
    well_formed(text)


@pytest.mark.parametrize("name", ["plain", "measured"])
@pytest.mark.parametrize("error", FORBIDDEN)
def test_never_says(name: str, error: str, request: pytest.FixtureRequest) -> None:
    lines = outside_fences(request.getfixturevalue(name))
    hits = [line for line in lines if re.search(FORBIDDEN[error], line)]
    assert hits == []


def test_forbidden_patterns_find_the_errors() -> None:
    """The patterns above would catch the sentences that they are there for."""
    wrong = {
        "exploding, from one norm (1)": "Training is experiencing exploding gradients (28.9)",
        "a norm inferred before clipping (2)": "BEFORE clipping: Likely ~100-300",
        "clipping is good (3)": "GRADIENT CLIPPING ANALYSIS: GOOD",
        "lr x norm as the step (6)": "LR=8e-5 with grad=28.9 gives 2.3e-3 (large step)",
        "the penalty is 5 to 10 (11)": "this alone can be 5-10, dominating the loss",
        "15x signal (15)": "gradient accumulates 15× signal",
        "accumulation as a cure (17)": "gradient_accumulation_steps=4 (same effective size)",
        "a clip that suits large models (19)": "More reasonable for large models",
        "division prevents domination (21)": "Prevents any single component from dominating",
        "the norm below the clip (25)": "the norm is below the clip",
        "running stats in eval mode (26)": "running stats updating (check with `model.eval()`)",
        "training below validation loss (27)": "Training loss < validation loss",
        "the model is fine (30)": "The model is fine",
        "tight clipping as a cause (31)": "3. **`gradient_clip_norm` 2.0** is tight",
    }
    assert set(wrong) == set(FORBIDDEN)
    for error, said in wrong.items():
        assert re.search(FORBIDDEN[error], said), error


def test_header(measured: str, plain: str) -> None:
    assert f"gradaudit {__version__}" in measured
    assert f"- **Printed by:** `{COMMAND}`" in measured
    assert "gradient norm 28.9 at epoch 3 of `priority_net`" in measured
    assert "`sample_configs/priority_net.py`, which was not run" in plain
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b|\d\d:\d\d", plain), "no date, no time"


def test_reproducible(config: str, measured: str) -> None:
    assert report(config, observed=Observed(28.9, epoch=3), unit="priority_net") == measured


def test_summary(measured: str, plain: str) -> None:
    said = section(measured, "Summary")
    points = [line for line in said.split("\n") if line.startswith("- ")]
    assert 3 <= len(points) <= 5
    assert "`priority_net`" in points[0]
    assert "15.15, 17 times the primary ones (0.9)" in points[0]
    assert "(GA401, line 79)" in points[0]
    assert "(GA301, line 46)" in points[1]
    assert "14 times the threshold 2" in points[2]
    assert "2 / 28.9 = 0.069" in points[2]
    assert "is not a series" in points[2]
    assert f"`gradaudit fix {CONFIG}`" in points[3]
    assert "No findings in `neural_posterior`, `adaptive_subtractor` and `rl_controller`." in said
    assert "28.9" not in section(plain, "Summary")
    assert "no gradient norm was given" in section(plain, "Summary")


def test_clipping(measured: str, plain: str) -> None:
    said = section(measured, "1. Clipping")
    assert f"- `gradient_clip_norm: 2.0` (`{CONFIG}` line 85, written)" in said
    assert f"- `optimizer: AdamW` (`{CONFIG}` line 41, written)" in said
    assert "**Status:** look at it" in said
    assert "taken as the norm before clipping" in said
    assert "Neither 2 nor a new threshold bounds the reported norm" in said
    assert "Under AdamW a scale that is the same at every step cancels" in said
    assert "28.9" not in section(plain, "1. Clipping")


def test_learning_rate(measured: str, plain: str) -> None:
    said = section(measured, "2. Learning rate")
    assert f"`learning_rate: 8.0e-5` (`{CONFIG}` line 42" in said
    assert "**Status:** fine" in said
    rows = [line for line in said.split("\n") if re.match(r"\| \d", line)]
    assert len(rows) == 7, "six epochs of warm-up and the first after it"
    assert rows[2].startswith("| 3 | 2.77e-5 | 4.08e-5 | 35 % to 51 % | **observed: 28.9**")
    assert rows[0].startswith("| 1 | 1.6e-6 |")
    assert rows[6].startswith("| 7 | 8e-5 | 8e-5 | 100 % | after the warm-up")
    assert sum("observed" in row for row in rows) == 1
    assert "Not claimed: that learning rate x gradient norm (8e-5 x 28.9)" in said
    assert "observed" not in section(plain, "2. Learning rate")


def test_normalisation(measured: str) -> None:
    said = section(measured, "3. Normalisation and batch")
    source = (SAMPLES / "priority_net.py").read_text(encoding="utf-8").split("\n")
    lines = [n for n, line in enumerate(source, 1) if "nn.BatchNorm1d(" in line]
    for number in lines:
        assert f"`sample_configs/priority_net.py` line {number}" in said
    assert said.count("| `BatchNorm1d` |") == len(lines)
    assert "`batch_size: 6`" in said
    assert "from 6 samples at a time" in said
    assert "15 pairs of 6 samples" in said
    assert "Accumulating gradients would not help" in said
    assert "**Status:** likely harm" in said


def test_loss_budget(measured: str, config: str) -> None:
    said = section(measured, "4. Loss")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in said.split("\n")
        if line.startswith("| `")
    ]
    names = [row[0] for row in rows]
    assert names == [
        "`min_variance`", "`calib_max`", "`calib_range`", "`ranking`", "`uncertainty`",
        "`calib_mean`", "`mse`",
    ]  # fmt: skip
    weights = [float(row[1]) for row in rows]
    assert weights == sorted(weights, reverse=True)
    assert math.isclose(sum(weights), 16.05)
    assert "| **sum** | 16.05 | 100 % |" in said
    for row, weight in zip(rows, weights, strict=True):
        share = float(row[2].removesuffix(" %"))
        assert abs(share - weight / 16.05 * 100) < 0.51
        assert f"{row[0].strip('`')}_weight" in config.split("\n")[int(row[4]) - 1]
    assert [row[3] for row in rows].count("primary") == 2
    assert "Nov 15 increased from 0.75" in rows[1][5]
    assert "3.3 times its earlier value" in rows[1][5]
    assert rows[0][5] == ""
    assert "primary 0.9 (5.6 %), auxiliary 15.15 (94 %)" in said
    assert "balances nothing" in said
    assert "clip norm 2 x 7 = 14" in said


def test_fixes(measured: str) -> None:
    said = section(measured, "5. Fixes")
    immediate, secondary = said.split("### Secondary")
    titles = re.findall(r"^#### Fix (\d+): (.*)$", said, re.MULTILINE)
    assert [number for number, _ in titles] == ["1", "2", "3", "4"]
    assert "raise `batch_size` from 6 to 24" in immediate
    assert "`min_variance_weight` to 0.70" in immediate
    assert "GA301" in immediate
    assert "--select GA301,GA303,GA304 --write" in immediate
    assert f"`gradaudit fix {CONFIG} --write`" in immediate
    assert "raise `gradient_clip_norm` from 2.0 to 5.0" in secondary
    assert "set `uncertainty_weight` back to 0.10" in secondary
    assert "--unsafe" in secondary
    assert "It cannot lower the reported norm" in secondary
    assert "back to 0.75" in secondary.split("### Not offered")[1]
    assert not any("0.75" in title for _, title in titles), "fix 2 changes that value"


def test_a_command_for_one_fix_applies_that_one_only(measured: str) -> None:
    """GA704 has three fixes here: its code would also set a weight that fix 2 lowers."""
    said = section(measured, "5. Fixes")
    assert "--select GA704" not in measured
    assert "by hand, the lines below; GA704 would make other changes too" in said
    threshold = said[said.index("Fix 3:") : said.index("Fix 4:")]
    assert "**After fix 2:** GA101 may no longer apply" in threshold
    assert "--select GA101 --unsafe --write" in threshold
    text = report("a:\n  optimizer: adamw\n  lr: 1e-4\nb:\n  optimizer: adamw\n  lr: 2e-4\n")
    assert "--select GA702" not in text
    assert "fix 1 by hand" in text or "by hand, the lines below; GA702" in text


def test_every_diff_applies(measured: str, config: str) -> None:
    lines = config.split("\n")
    found = blocks(measured, "diff")
    assert len(found) == 4
    assert _patched(lines, found[0])[45].startswith("  batch_size: 24")
    after = _patched(lines, found[1])
    assert after[78].split("#")[0].strip() == "min_variance_weight: 0.70"
    assert len(after) == len(lines)
    assert sum(a != b for a, b in zip(lines, after, strict=True)) == 3


def _patched(lines: list[str], diff: list[str]) -> list[str]:
    """Apply a unified diff strictly: every context and `-` line must be there."""
    out: list[str] = []
    at = 0
    for line in diff[2:]:
        header = re.match(r"@@ -(\d+),\d+ \+(\d+),\d+ @@$", line)
        if header:
            start = int(header.group(1)) - 1
            out += lines[at:start]
            at = start
            assert len(out) == int(header.group(2)) - 1
        elif line.startswith("+"):
            out.append(line[1:])
        else:
            assert lines[at] == line[1:], line
            if line.startswith(" "):
                out.append(lines[at])
            at += 1
    return out + lines[at:]


def test_checklist(measured: str) -> None:
    said = section(measured, "7. Validation checklist")
    items = [line for line in said.split("\n") if line.startswith("- [ ] ")]
    assert len(items) >= 8
    joined = "\n".join(items)
    assert "From epoch 7 on (after the warm-up), median, 90th percentile" in joined
    assert "share of steps above 2" in joined
    assert "No NaN or Inf" in joined
    assert "at least 16 samples" in joined
    assert "276 pairs of 24 samples" in joined
    assert "less than 10 times the median" in joined
    assert "unweighted `ranking` and `mse`" in joined
    assert "8e-5 at the start of epoch 7, and 1.6e-6 at the start of epoch 1" in joined
    assert "no longer reports GA301, GA303, GA304, GA401 for `priority_net`" in joined


def test_root_causes(measured: str) -> None:
    said = section(measured, "8. Root causes, ranked")
    ranked = re.findall(r"^(\d)\. \*\*(.*?)\*\*", said, re.MULTILINE)
    assert [title for _, title in ranked][:2] == [
        "The balance of the loss, `min_variance` first", "The micro-batch of 6",
    ]  # fmt: skip
    assert not any("clip" in title for _, title in ranked)
    assert "Not a cause: the clip norm 2." in said
    assert "until measured" in said
    assert said.count("What would settle it") == len(ranked)
    assert "lines 64, 73, 74" in said


def test_order_of_work(measured: str) -> None:
    said = section(measured, "9. Order of work")
    order = [
        "**Baseline.**", "**Immediate fixes.**", "**Measure again**", "**Secondary fixes**",
        "**The threshold last.**", "**Only if the training still diverges**",
    ]  # fmt: skip
    places = [said.index(f"{index}. {text}") for index, text in enumerate(order, 1)]
    assert places == sorted(places)
    assert "4e-5" in said
    assert "--observed-grad-norm MEDIAN --unit priority_net --observed-epoch 7" in said


def test_not_judged(measured: str, plain: str) -> None:
    assert "`--assume priority_net.accumulation=N`" in section(measured, "10. Not judged")
    assert "--observed-grad-norm NORM" in section(plain, "10. Not judged")


def test_what_would_supply_every_need(config: str) -> None:
    """Each need of each rule has an option that exists, or says that there is none."""
    from gradaudit.dialects import GENERIC

    result = audit_source(Source(CONFIG, config), Options(), Settings())
    part = Part(result, result.units[0], [], {}, COMMAND)
    for rule in load().values():
        for need in rule.needs:
            option = supply(need if isinstance(need, str) else " or ".join(need), part)
            named = re.findall(r"--assume priority_net\.(\w+)=", option)
            others = ("--observed", "--source priority_net=FILE.py", "no option")
            assert named or any(words in option for words in others)
            assert set(named) <= set(GENERIC["kinds"])


# --- other input ---


def test_numbers_follow_the_input(config: str) -> None:
    changed = (
        config.replace("gradient_clip_norm: 2.0 ", "gradient_clip_norm: 0.5 ")
        .replace("batch_size: 6 ", "batch_size: 5 ")
        .replace("min_variance_weight: 10.0", "min_variance_weight: 20.0")
        .replace("warmup_epochs: 6", "warmup_epochs: 4")
    )
    text = report(changed, observed=Observed(30.0, epoch=2), unit="priority_net")
    well_formed(text)
    assert "60 times the threshold 0.5" in text
    assert "0.5 / 30 = 0.017" in text
    assert "10 pairs of 5 samples" in text
    assert "| **sum** | 26.05 |" in text
    assert "From epoch 5 on" in text
    assert "2.12e-5" in text  # 8e-5 x (0.02 + 0.98 / 4): start of epoch 2
    for gone in ("28.9", "16.05", "0.069", "15 pairs", "2.77e-5", "14 times the threshold"):
        assert gone not in text


def test_a_threshold_of_the_settings_is_shown(config: str) -> None:
    settings = Settings()
    settings.limits = {"GA301": {"info": 64.0, "warning": 8.0}}
    text = report(config, assume={"priority_net.norm": "batch"}, settings=settings)
    assert "at least 64 samples" in text
    assert "assumed, not written in any file" in text


def test_an_unnamed_unit_is_said_to_be_unknown(config: str) -> None:
    text = report(config, observed=Observed(28.9, epoch=3))
    well_formed(text)
    assert "say so with `--unit`" in text
    assert "of a unit not named" in text
    units = [title for title in headings(text) if title.startswith("Unit ")]
    assert len(units) >= 2
    assert "1. Clipping" in headings(text, 3)
    assert sum(title.endswith("Root causes, ranked") for title in headings(text, 3)) == len(units)


def test_the_repaired_sample_has_remarks_only() -> None:
    path = "sample_configs/repaired_training.yaml"
    text = report(Path(path).read_text(encoding="utf-8"), path=path)
    well_formed(text)
    assert "- **No likely harm; first to look at in `priority_net`:**" in text
    assert "likely harm:" not in text
    assert "| `min_variance` | 0.7 |" in text
    assert "BatchNorm sees 24 samples at a time: 16 or more" in text


@pytest.mark.parametrize("name", OTHERS)
def test_clean_files_give_a_short_report(name: str) -> None:
    path = f"sample_configs/{name}"
    text = report((SAMPLES / name).read_text(encoding="utf-8"), path=path)
    well_formed(text)
    assert len(text.split("\n")) < 65  # with the plan as understood and what is not judged
    assert "No findings" in text
    assert "no proof" in text
    assert "Fixes" not in text


def test_a_clean_file_with_evidence_says_what_it_is() -> None:
    path = "sample_configs/lightning_unet.yaml"
    text = report(Path(path).read_text(encoding="utf-8"), path=path, observed=Observed(0.5, 30))
    assert "0.5 at epoch 30 is not above the threshold 1: the clip did not act" in text


def test_unparsable() -> None:
    text = report("a: [1\nb: 2\n", path="bad.yaml")
    well_formed(text)
    assert "cannot be parsed (GA001), line 2" in text
    assert headings(text) == ["Summary"]


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "x: 1\n"])
def test_no_training(text: str) -> None:
    said = report(text, path="none.yaml")
    well_formed(said)
    assert "There is no training in this file" in said
    assert headings(said) == ["Summary"]


NASTY = """\
optimizer: SGD
learning_rate: 20.0
weight_decay: 5e-4
gradient_clip_norm: -2.0
batch_size: 4
gradient_accumulation_steps: 8
norm: batch
mse_weight: 1.0
mse_weight: 1.0
"we|ird `x`_weight": 3
"<script>_weight": 1
calib_weight: 9
warmup_steps: 1000
max_steps: 500
precision: fp16
"""


def test_sgd_and_nasty_names() -> None:
    text = report(NASTY, path="nasty.yaml", observed=Observed(50.0, step=20))
    well_formed(text)
    assert "| `` we" in text
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", "\n".join(outside_fences(text)))
    assert "under SGD it equals a learning rate / 4 (20 / 4 = 5)" in text
    assert "unscale_" in text, "fp16"
    assert "from step 1,001" not in text, "the training ends before the warm-up"
    lines = NASTY.split("\n")
    assert "gradient_accumulation_steps: 2" in _patched(lines, _diff(text, "raise `batch_size`"))
    assert _patched(lines, _diff(text, "delete the first")).count("mse_weight: 1.0") == 1
    for block in blocks(text, "python"):
        ast.parse("\n".join(block))


def _diff(text: str, title: str) -> list[str]:
    return blocks(text[text.index(f": {title}") :], "diff")[0]


def test_under_sgd_the_clip_bounds_the_step() -> None:
    text = report(
        "optimizer: SGD\nlearning_rate: 0.1\ngradient_clip_norm: 1.0\n",
        path="sgd.yaml",
        observed=Observed(30.0, step=9),
    )
    well_formed(text)
    assert "at most learning rate x 1 long (0.1 at the peak rate" in text
    assert "moments" not in section(text, "1. Clipping")


@pytest.mark.parametrize(
    ("optimizer", "says", "never"),
    [
        ("lars", "divided by its own norm", "learning rate x"),
        ("muon", "orthogonalised", "not known here"),
        ("prodigy", "divided by its own running size", "not known here"),
        ("adagrad", "divided by its own running size", "moments"),
        ("adam\nweight_decay: 0.1", "but for weight decay", "moments"),
    ],
)
def test_what_the_report_says_of_an_optimiser(optimizer: str, says: str, never: str) -> None:
    text = report(f"optimizer: {optimizer}\nlearning_rate: 9.0\nmax_grad_norm: 0.0001\n")
    clipping = section(text, "1. Clipping")
    assert says in clipping
    assert never not in clipping
    assert "is not the size" not in section(text, "2. Learning rate")


def test_a_degenerate_clip_is_no_cause_of_a_large_norm() -> None:
    text = report(
        "optimizer: SGD\nlearning_rate: 0.1\ngradient_clip_norm: 0.00001\n",
        path="crawl.yaml",
        observed=Observed(50.0, step=9),
    )
    said = text[text.index("Root causes, ranked") :]
    assert "never a large norm" in said
    assert "Not a cause: the clip norm 1e-5." in said


def test_findings_outside_the_units() -> None:
    text = report(
        "note: 1e-4\na:\n  optimizer: adamw\n  lr: 0.5\nb:\n  optimizer: adamw\n  lr: 0.5\n",
        path="loose.yaml",
    )
    well_formed(text)
    assert headings(text) == ["Summary", "Unit `a`", "Unit `b`", "Outside the units"]


def test_crlf_diff() -> None:
    text = report(NASTY.replace("\n", "\r\n"), path="crlf.yaml")
    assert "\r" not in text
    well_formed(text)


# --- the pieces ---


def test_code_and_prose() -> None:
    assert code("a") == "`a`"
    assert code("a`b") == "``a`b``"
    assert code("`a`") == "`` `a` ``"
    assert code("a\nb") == "`a b`"
    assert prose("a_b < `c_d` * _e_ |") == r"a_b \< `c_d` \* \_e\_ \|"
    assert table(["a"], [["x | y"]])[2] == r"| x \| y |"


def test_commands_carry_what_the_plan_took_from_the_command_line() -> None:
    command = (
        "gradaudit report c.yaml --assume norm=batch world_size=2 -o out.md "
        "--source a=net.py --observed-grad-norm 3 --set a.lr=1 --isolated"
    )
    words = shlex.split(derived("c.yaml", command, "fix", ["--write"]))
    assert words == [
        "gradaudit", "fix", "c.yaml", "--assume", "norm=batch", "world_size=2",
        "--source", "a=net.py", "--set", "a.lr=1", "--isolated", "--write",
    ]  # fmt: skip
    assert derived("c.yaml", "gradaudit report --assume norm=batch c.yaml", "fix") == (
        "gradaudit fix c.yaml --assume norm=batch"
    )
    assert derived("my c.yaml", "x 'unclosed", "fix") == "gradaudit fix 'my c.yaml'"


@pytest.mark.parametrize(
    ("text", "key", "op", "wanted"),
    [
        ("a: 1\nb: 2 # x\nc: 3", "b", "delete", "a: 1\nc: 3"),
        ("a: 1\nb:\n  c: 3\n  d: 4\ne: 5\n", "b", "delete", "a: 1\ne: 5\n"),
        ("x: {a: 1, b: 2, c: 3}\n", "x.b", "delete", "x: {a: 1, c: 3}\n"),
        ("x: {a: 1, b: 2}\n", "x.b", "delete", "x: {a: 1}\n"),
        ("x:\n- a: 1\n  b: 2\n", "x.0.a", "delete", "x:\n- b: 2\n"),
        ("a: 1\nb:\n  c: 3\nd: 4\n", "b", "insert", "a: 1\nb:\n  c: 3\nnew: 7\nd: 4\n"),
        ("x: {a: 1}\n", "x.a", "insert", "x: {a: 1, new: 7}\n"),
        ("a: 1", "a", "insert", "a: 1\nnew: 7"),
        ("a:\nb: 2\n", "a", "replace", "a: 7\nb: 2\n"),
        ("a: 1\n\nb: 2\n", "b", "replace", "a: 1\n\nb: 7\n"),
    ],
)
def test_diff_of_every_kind_of_edit(text: str, key: str, op: str, wanted: str) -> None:
    from gradaudit.edits import delete_entry, insert_after, replace_value
    from gradaudit.syntax import parse
    from gradaudit.syntax.tree import Mapping, dotted, path_of, walk

    tree = parse(Source("t.yaml", text))
    pairs = [(k, v) for node in walk(tree.roots[0]) if type(node) is Mapping for k, v in node.pairs]
    name, value = next((k, v) for k, v in pairs if dotted(path_of(v, tree)) == key)
    if op == "delete":
        edit = delete_entry(tree, name)
    elif op == "insert":
        edit = insert_after(tree, name, "new", 7)
    else:
        edit = replace_value(tree, value, None, 7)
    diff = unified([edit])
    assert diff[:2] == ["--- a/t.yaml", "+++ b/t.yaml"]
    lines = text.removesuffix("\n").split("\n")
    assert _patched(lines, diff) == wanted.removesuffix("\n").split("\n")


def test_a_conflicting_fix_is_left_out(config: str) -> None:
    """Two fixes of one value: the safer one stands, the other is named and not offered."""
    from gradaudit.render.report.fixes import Fixes

    result = audit_source(Source(CONFIG, config), Options(), Finder().for_file(CONFIG))
    unit = result.units[0]
    part = Part(result, unit, result.findings, {}, COMMAND)
    fixes = Fixes(part)
    assert {entry.fix.applicability for entry in fixes.immediate} == {RECOMMENDED}
    assert {entry.fix.applicability for entry in fixes.secondary} == {SPECULATIVE}
    nodes = [id(edit.node) for entry in fixes.entries for edit in entry.fix.edits]
    assert len(nodes) == len(set(nodes))
    assert [finding.rule.code for finding, _ in fixes.left_out] == ["GA704", "GA704"]
    first = fixes.immediate[0]
    assert isinstance(first.fix, Fix)
    assert first.codes == ["GA301", "GA303", "GA304"]


# --- the snippets ---


def test_snippets_compile(measured: str) -> None:
    found = blocks(measured, "python")
    assert len(found) == 3
    for block in found:
        compile("\n".join(block), "snippet", "exec")
    assert '"min_variance": 10.0 * min_variance_loss,' in measured
    assert "threshold=2.0" in measured


def test_snippets_that_fit_the_unit() -> None:
    text = report("optimizer: adamw\nlr: 0.5\nclip_norm: 1.0\n", path="one.yaml")
    assert re.findall(r"Snippet \d: (\w+)", text) == ["gradient"]
    text = report("optimizer: adamw\nlr: 0.5\n", path="none.yaml")
    assert "Snippet" not in text


@pytest.mark.torch
def test_snippets_run_in_a_training(measured: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch: Any = pytest.importorskip("torch")
    torch.manual_seed(0)
    norm, layers, terms = ("\n".join(block) for block in blocks(measured, "python"))
    setup, norm_call = norm.rsplit("# After backward()", 1)
    norm_call = norm_call.split("\n", 1)[1]
    terms_setup, terms_call = terms.rsplit("# In the training loop", 1)
    terms_call = terms_call.split("\n", 1)[1]
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(32, 4), nn.BatchNorm1d(4), nn.Linear(4, 1),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scope: dict[str, Any] = {"model": model}
    model.train()
    exec(layers, scope)
    exec(setup, scope)
    exec(terms_setup, scope)
    for step in range(1, 301):
        x = torch.randn(6, 1, 8)
        out = model(x).squeeze(-1)
        target = x.mean(dim=(1, 2))
        optimizer.zero_grad()
        scope["step"] = step
        for name in ("ranking", "uncertainty", "calib_mean", "calib_max", "calib_range"):
            scope[f"{name}_loss"] = (out - target).abs().mean()
        scope["mse_loss"] = (out - target).pow(2).mean()
        active = 1.0 if step % 20 == 0 else 0.0
        scope["min_variance_loss"] = torch.relu(active * (5 - out.var()))
        scope["calib_range_loss"] = torch.tensor(0.0)  # a term without a graph
        exec(terms_call, scope)
        (scope["mse_loss"] + 10 * scope["min_variance_loss"]).backward()
        exec(norm_call, scope)
        optimizer.step()
    printed = capsys.readouterr().out
    assert "model.training=True, 2 BatchNorm layers" in printed
    assert "1: BatchNorm1d, training=True, momentum=0.1, 6 samples, 48 values" in printed
    assert "5: BatchNorm1d, training=True, momentum=0.1, 6 samples, 6 values" in printed
    assert printed.count("gradient norm before clipping, 100 steps: median") == 3
    shares = {
        name: int(share) for name, share in re.findall(r"^(\w+): active.* (\d+)%$", printed, re.M)
    }
    assert len(shares) == 7
    assert 98 <= sum(shares.values()) <= 102
    assert shares["min_variance"] == max(shares.values())
    assert shares["calib_range"] == 0
    assert "min_variance: active on 50% of 30 steps" in printed
    assert "mse: active on 100% of 30 steps" in printed
    median, p90, largest = (
        float(re.search(rf"{word} ([\d.e+-]+)", printed).group(1))  # type: ignore[union-attr]
        for word in ("median", "p90", "max")
    )
    assert 0 < median <= p90 <= largest
    assert "not finite: 0" in printed


@pytest.mark.torch
def test_norm_snippet_counts_what_is_not_finite(
    measured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    setup = "\n".join(blocks(measured, "python")[0]).rsplit("# After backward()", 1)[0]
    scope: dict[str, Any] = {}
    exec(setup, scope)
    for step in range(100):
        scope["log_norm"](math.inf if step < 10 else 1.0)
    assert "above 2: 10%, not finite: 10" in capsys.readouterr().out
    for _ in range(100):
        scope["log_norm"](math.nan)
    assert "none of 100 steps finite" in capsys.readouterr().out
