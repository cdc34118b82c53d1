"""Every rule: its docs, its examples, its bounds, and the published recipes it must not accuse."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from record_support import audit_recorded, example_record

from gradaudit import docs_site
from gradaudit.audit import FileResult, audit_source
from gradaudit.dialects import GENERIC
from gradaudit.evidence.observed import Observed
from gradaudit.findings import APPLICABILITIES, CONFIDENCES, SEVERITIES, Finding
from gradaudit.fix.splice import apply, splices
from gradaudit.fix.verify import verify
from gradaudit.options import Options
from gradaudit.plan.model import ADAPTIVE, LEARNING_RATE_FREE, SGD_LIKE, SIGN
from gradaudit.render.report import render_report
from gradaudit.rules import FAMILIES, PROFILES, Rule, load
from gradaudit.rules.docs import FAMILIES as TITLES
from gradaudit.rules.docs import BadDocs, as_markdown, as_text, facts, parse
from gradaudit.rules.optimisers import dividing_equals, effect_of_clip, rate_bounds
from gradaudit.settings import KEYS, Settings
from gradaudit.settings import load as load_settings
from gradaudit.source import Source, read

RULES = load()
ROOT = Path(__file__).parent.parent
RECIPES = sorted((Path(__file__).parent / "recipes").glob("*.yaml"))
EVERY_RULE = pytest.mark.parametrize("rule", RULES.values(), ids=lambda r: f"{r.code}-{r.name}")


def audit(text: str, options: Options | None = None, path: str = "example.yaml") -> FileResult:
    return audit_source(Source(path, text), options or Options(), Settings())


def options_of(line: str) -> Options:
    """The command-line options that a rule's example may need."""
    options = Options()
    words = line.split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    norm = given.pop("--observed-grad-norm", None)
    epoch, step = given.pop("--observed-epoch", None), given.pop("--observed-step", None)
    if norm is not None:
        options.observed = Observed(
            float(norm), int(epoch) if epoch else None, int(step) if step else None
        )
    for setting in given.pop("--assume", "").split(","):
        if setting:
            name, _, value = setting.partition("=")
            options.assume[name] = value
    assert not given, f"the tests do not know {given}"
    return options


def example_of(rule: Rule, text: str, line: str, record: str = "") -> FileResult:
    """A rule's own example, judged in the default profile and by the rule."""
    options = options_of(line)
    options.extend_select = [rule.code]
    if record:
        return audit_recorded(text, example_record(record), options)
    if "\n---\n" in text:
        other, _, own = text.partition("---\n")
        if other.startswith("# runs/"):
            return audit_resumed(other, own, options)
        return audit_launched(other, own, options)
    return audit(text, options)


def audit_launched(launcher: str, text: str, options: Options | None = None) -> FileResult:
    """A training's config beside that of its launcher, as if both were named."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "accelerate.yaml"
        path.write_text(launcher, encoding="utf-8")
        options = options or Options()
        options.launched = {"example.yaml": str(path)}
        return audit(text, options)


def audit_resumed(saved: str, text: str, options: Options | None = None) -> FileResult:
    """A training's config beside the one that lies where its first comment says."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / saved.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(parents=True)
        path.write_text(saved, encoding="utf-8")
        (Path(folder) / ".git").mkdir()
        return audit(text, options, str(Path(folder) / "train.yaml"))


def of(result: FileResult, code: str) -> list[Finding]:
    return [finding for finding in result.findings if finding.rule.code == code]


def only(code: str, text: str, options: str = "") -> Finding:
    found = of(audit(text, options_of(options)), code)
    assert len(found) == 1
    return found[0]


def severity(code: str, text: str, options: str = "") -> str | None:
    """The severity with which a rule fires, None where it is silent."""
    found = of(audit(text, options_of(options)), code)
    assert len(found) <= 1
    return found[0].severity if found else None


def words(finding: Finding) -> str:
    return " ".join((finding.message, *finding.why, *finding.evidence, finding.next))


# The registry and the docs of each rule


def test_codes_and_names_are_unique_and_in_order() -> None:
    assert list(RULES) == sorted(RULES)
    names = [rule.name for rule in RULES.values()]
    assert len(set(names)) == len(names)


def test_a_module_of_rules_is_loaded_and_holds_one_family() -> None:
    folder = ROOT / "gradaudit" / "rules"
    for path in folder.glob("*.py"):
        if re.search(r"^@rule\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert path.stem in FAMILIES, f"name {path.stem!r} in FAMILIES of rules/__init__.py"
    prefixes: dict[str, set[str]] = {}
    for code, rule in RULES.items():
        prefixes.setdefault(rule.check.__module__, set()).add(code[:3])
    for module, found in prefixes.items():
        assert len(found) == 1, f"{module} mixes the families {sorted(found)}"
        assert found <= set(TITLES), f"{found} has no title in FAMILIES of rules/docs.py"


@EVERY_RULE
def test_metadata(rule: Rule) -> None:
    known = {*GENERIC["kinds"], "loss_terms", "observed"}
    for need in rule.needs:
        for name in need if isinstance(need, tuple) else (need,):
            assert name in known
    assert re.fullmatch(r"GA\d{3}", rule.code), "a code is GA and three digits"
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", rule.name), "a name is words-with-hyphens"
    assert rule.references, "a rule needs a reference or a measurement"
    assert all(reference.strip() == reference for reference in rule.references)
    assert list(rule.severities) == sorted(rule.severities, key=SEVERITIES.index, reverse=True)
    assert rule.confidence in CONFIDENCES
    assert rule.scope in ("file", "unit", "run", "record", "tool")
    assert rule.profile in PROFILES


@EVERY_RULE
def test_docs_parse(rule: Rule) -> None:
    doc = parse(rule)
    assert doc.why
    assert doc.tell
    assert doc.false_positives
    assert set(doc.with_codes) <= set(RULES) - {rule.code}
    assert set(doc.applicabilities) <= set(APPLICABILITIES)
    page = as_markdown(rule)
    assert page.startswith(f"# {rule.code} {rule.name}\n")
    assert facts(rule, doc) in page
    for name in rule.limits:
        assert f"| `{name.replace('_', '-')}` |" in page


@EVERY_RULE
def test_docs_for_a_terminal(rule: Rule) -> None:
    blocks = as_text(rule)
    assert blocks[0] == ("heading", f"{rule.code} {rule.name}")
    for kind, text in blocks:
        assert kind in ("heading", "text", "code", "item")
        assert text
        assert kind == "code" or "\n" not in text


@EVERY_RULE
def test_measurements_that_are_cited_exist(rule: Rule) -> None:
    """Anchors as MkDocs makes them from the headings of docs/measurements.md."""
    page = (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = {
        re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
        for heading in headings
    }
    cited = set(re.findall(r"measurements#([\w-]+)", rule.check.__doc__ or ""))
    assert cited <= anchors
    assert not cited or "docs/measurements.md" in rule.references


def _with_docstring(docstring: str | None, limits: dict[str, float] | None = None) -> Rule:
    def check(unit: object, limits: object) -> tuple[()]:
        return ()

    check.__doc__ = docstring
    return Rule(
        check, __name__, "GA999", "an-example", "unit", (), ("info",), "low", limits or {}, ("x",)
    )


GOOD_DOCS = """Title.

Why:
    One.

    Two.

Bad:
    a: 1

    b: 2

Good:
    a: 2

Tell:
    Look.

Fix:
    Safe: this.

False positives:
    None known.
"""


def test_parsed_sections() -> None:
    doc = parse(_with_docstring(GOOD_DOCS))
    assert doc.why == ("One.", "Two.")
    assert doc.bad == "a: 1\n\nb: 2\n"
    assert doc.applicabilities == ("safe",)
    both = GOOD_DOCS.replace("Safe: this.", "Safe where equal, recommended else: this.")
    assert parse(_with_docstring(both)).applicabilities == ("safe", "recommended")
    none = GOOD_DOCS.replace("Safe: this.", "None: safe as it is.")
    assert parse(_with_docstring(none)).applicabilities == ()


@pytest.mark.parametrize(
    ("docstring", "problem"),
    [
        (None, "no docstring"),
        (GOOD_DOCS.replace("Title.", "Title"), "one sentence"),
        (GOOD_DOCS.replace("Tell:\n    Look.\n\n", ""), "no section `Tell:`"),
        (GOOD_DOCS.replace("Tell:", "Tells:"), "unknown section `Tells:`"),
        (GOOD_DOCS.replace("Tell:", "Why:"), "stands twice"),
        (GOOD_DOCS.replace("    Look.", ""), "is empty"),
        (GOOD_DOCS.replace("    Look.", "Look."), "`Look.` is no section"),
        (GOOD_DOCS.replace("Safe: this.", "This."), "`Fix:` begins with"),
        (GOOD_DOCS + "\nWith:\n    GA1\n", "rule codes"),
        (GOOD_DOCS + "\nLimits:\n    terms: few.\n", "which are: none"),
        (GOOD_DOCS + "\nLimits:\n    a few terms\n", "name: meaning"),
    ],
)
def test_bad_docs(docstring: str | None, problem: str) -> None:
    with pytest.raises(BadDocs, match=re.escape(problem)) as error:
        parse(_with_docstring(docstring))
    assert "GA999 an-example" in str(error.value)


def test_every_threshold_is_explained() -> None:
    with pytest.raises(BadDocs, match="which are: at-most"):
        parse(_with_docstring(GOOD_DOCS, {"at_most": 1}))


def test_pages_are_fresh() -> None:
    assert docs_site.problems(ROOT) == [], f"run `{docs_site.COMMAND}`"


def test_the_settings_file_in_the_docs_can_be_used(tmp_path: Path) -> None:
    """The example of docs/usage.md loads, and shows every key that there is."""
    page = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "gradaudit.toml").write_text("")
    (inner / "gradaudit.toml").write_text(example)
    settings = load_settings(str(inner / "gradaudit.toml"))
    assert settings.fail_on == "error"
    assert set(tomllib.loads(example)) == set(KEYS)


def test_check_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marks = [mark.format(group) for group in docs_site.FOLDERS for mark in docs_site.NAV]
    config = "\n".join(["nav:", "  - Rules:", *marks, ""])
    (tmp_path / "mkdocs.yml").write_text(config)
    assert docs_site.main([], tmp_path) == 0
    assert docs_site.main(["--check"], tmp_path) == 0
    pages = tmp_path / "docs" / "rules"
    assert len(list(pages.glob("*.md"))) == len(RULES) + 3  # the indexes, the coverage
    (pages / "warmup-too-long.md").unlink()
    (pages / "batch-norm-tiny-batch.md").write_text("old")
    (pages / "gone.md").write_text("of a rule that is no more")
    assert docs_site.main(["--check"], tmp_path) == 1
    said = capsys.readouterr().out
    assert "docs/rules/warmup-too-long.md: missing" in said
    assert "docs/rules/batch-norm-tiny-batch.md: stale" in said
    assert "docs/rules/gone.md: left over" in said
    assert docs_site.main([], tmp_path) == 0
    assert docs_site.problems(tmp_path) == []
    assert docs_site.main(["--chekc"], tmp_path) == 2
    assert docs_site.main([], tmp_path / "docs") == 2


# The examples of each rule


@EVERY_RULE
def test_bad_fires_the_rule_and_what_it_names(rule: Rule) -> None:
    doc = parse(rule)
    result = example_of(rule, doc.bad, doc.options, doc.bad_record)
    fired = {finding.rule.code for finding in result.findings}
    assert rule.code in fired, (
        f"`Bad:` does not fire {rule.code}: is a setting in `needs` unknown (`gradaudit show` "
        "tells), or does the rule return early?"
    )
    assert fired == {rule.code, *doc.with_codes}, (
        "`Bad:` fires more: name it under `With:`, or change the example (1.0e-4, not 1e-4)"
    )
    for finding in result.findings:
        assert finding.severity in finding.rule.severities
        declared = CONFIDENCES.index(finding.rule.confidence)
        assert abs(CONFIDENCES.index(finding.confidence) - declared) <= 1
        assert "None" not in words(finding)
    assert not result.problems


@EVERY_RULE
def test_good_is_silent(rule: Rule) -> None:
    doc = parse(rule)
    result = example_of(rule, doc.good, doc.options, doc.good_record)
    assert [finding.message for finding in result.findings] == []


@EVERY_RULE
def test_fix_of_bad_is_good(rule: Rule) -> None:
    doc = parse(rule)
    result = example_of(rule, doc.bad, doc.options, doc.bad_record)
    fixes = [finding.fix for finding in of(result, rule.code) if finding.fix]
    if not doc.applicabilities:
        assert not fixes
        return
    assert len(fixes) == 1, (
        f"`Fix:` promises {' or '.join(doc.applicabilities)}, `Bad:` gets {len(fixes)} fixes "
        "(`change()` gives none for pairs, quoted and overridden values)"
    )
    assert fixes[0].applicability in doc.applicabilities
    edits = fixes[0].edits
    text = apply(doc.bad, [splice for edit in edits for splice in splices(edit)])
    assert text == doc.good
    assert result.tree is not None
    verify(result.tree, text, edits)


# Published recipes


def _recipe(path: Path) -> FileResult:
    return audit_source(read(str(path)), Options(), Settings())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_published_recipes_are_not_accused(path: Path) -> None:
    result = _recipe(path)
    loud = {finding.rule.code for finding in result.findings if finding.severity != "info"}
    if path.stem.startswith("reported_run"):
        assert {"GA101", "GA301", "GA401", "GA402"} <= loud
        return
    assert not loud
    quiet = [finding.rule.code for finding in result.findings]
    # pix2pix knows what it does; QLoRA's warm-up beside `constant` does nothing.
    assert quiet == {"pix2pix": ["GA301"], "qlora": ["GA710"]}.get(path.stem, [])
    assert result.units[0].settings


def test_there_are_sixteen_recipes() -> None:
    assert len(RECIPES) == 16


# GA0


def test_unparsable_file_has_its_line() -> None:
    finding = only("GA001", "optimizer: adamw\nlr: [1\n")
    assert finding.place.line >= 2
    assert severity("GA001", "a: *nowhere\n") == "error"


SUPPRESSED = "optimizer: adamw\nlearning_rate: {rate}  # gradaudit: ignore[{codes}] tried\n"


@pytest.mark.parametrize(
    ("rate", "codes", "expected"),
    [
        ("1.0e-4", "GA201", "info"),
        ("1.0e-4", "learning-rate-too-high", "info"),
        ("0.5", "GA201", None),
        ("0.5", "GA2", None),
        ("1.0e-4", "GA301", None),  # it needs `norm`, which is unknown: it did not run
    ],
)
def test_unused_suppression(rate: str, codes: str, expected: str | None) -> None:
    assert severity("GA002", SUPPRESSED.format(rate=rate, codes=codes)) == expected


def test_unused_suppression_of_a_rule_that_did_not_run() -> None:
    options = Options()
    options.select = ["GA3", "GA002"]
    text = SUPPRESSED.format(rate="1.0e-4", codes="GA201")
    assert not audit(text, options).findings


# GA1


def crowded(
    clip: str = "1.6", weight: float = 5.0, optimizer: str = "adamw", more: str = ""
) -> str:
    """Three tasks of weight 1 and a calibration: the sum is 8, the spread 5 as it stands."""
    named = f"optimizer: {optimizer}\n" if optimizer else ""
    return (
        f"{named}learning_rate: 1.0e-4\n{more}gradient_clip_norm: {clip}\nloss_weights:\n"
        f"  ce: 1.0\n  mse: 1.0\n  dice: 1.0\n  calibration: {weight}\n"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (crowded(), "warning"),
        (crowded(clip="1.61"), None),
        (crowded(clip="1.5", weight=4.99), None),
        (crowded().replace("  dice: 1.0\n", ""), None),
        (crowded().replace("calibration", "segmentation"), None),
        (crowded(clip="null"), None),
        (crowded(clip="0"), None),
    ],
)
def test_clip_norm_too_tight_alone(text: str, expected: str | None) -> None:
    assert severity("GA101", text) == expected


PLAIN = "optimizer: {}\nlearning_rate: 0.001\nmax_grad_norm: {}\n"


@pytest.mark.parametrize("clip", [0.01, 0.1, 0.3, 0.5, 1.0])
def test_a_threshold_alone_is_never_tight(clip: float) -> None:
    for optimizer in ("adamw", "sgd", "lion"):
        assert severity("GA101", PLAIN.format(optimizer, clip)) is None


@pytest.mark.parametrize(
    ("optimizer", "norm", "expected"),
    [
        ("adamw", 1.9, None),
        ("adamw", 2.0, None),
        ("adamw", 2.1, ("info", "low")),
        ("adamw", 9.9, ("info", "low")),
        ("adamw", 10.0, ("info", "medium")),
        ("lion", 200.0, ("info", "medium")),
        ("sgd", 19.9, ("info", "low")),
        ("sgd", 20.0, ("warning", "low")),
        ("lars", 200.0, ("info", "medium")),
    ],
)
def test_clip_norm_with_a_measured_norm(
    optimizer: str, norm: float, expected: tuple[str, str] | None
) -> None:
    result = audit(PLAIN.format(optimizer, 2.0), options_of(f"--observed-grad-norm {norm}"))
    found = [(f.severity, f.confidence) for f in of(result, "GA101")]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("norm", "expected"),
    [(1.0, ("info", "low")), (7.9, ("warning", "low")), (8.0, ("warning", "medium"))],
)
def test_clip_norm_too_tight_measured(norm: float, expected: tuple[str, str]) -> None:
    finding = only("GA101", crowded(), f"--observed-grad-norm {norm}")
    assert (finding.severity, finding.confidence) == expected


def test_a_reported_norm_is_the_one_before_clipping() -> None:
    text = PLAIN.format("adamw", 2.0) + "epochs: 80\nwarmup_epochs: 6\n"
    finding = only("GA101", text, "--observed-grad-norm 28.9 --observed-epoch 3")
    assert "28.9 at epoch 3 is the norm before clipping" in finding.message
    assert "14 times the threshold 2" in finding.message
    assert "scaled by 0.069" in finding.message
    assert "cannot lower the norm" in words(finding)
    assert "still in the warm-up" in words(finding)


def test_of_two_units_that_clip_neither_is_accused_alone() -> None:
    unit = "  optimizer: adamw\n  learning_rate: 1.0e-4\n  gradient_clip_norm: 2.0\n"
    options = options_of("--observed-grad-norm 28.9")
    found = of(audit(f"one:\n{unit}two:\n{unit}", options), "GA101")
    assert [finding.unit for finding in found] == ["one", "two"]
    assert all("--unit" in words(finding) for finding in found)
    options.unit = "two"
    found = of(audit(f"one:\n{unit}two:\n{unit}", options), "GA101")
    assert [finding.unit for finding in found] == ["two"]


@pytest.mark.parametrize(
    ("optimizer", "more", "says", "never"),
    [
        (
            "adamw",
            "",
            "Under AdamW a scale that is the same at every step cancels, because",
            "lengthens",
        ),
        ("lion", "", "Under Lion a scale", "which the file does not say"),
        ("lars", "", "Under LARS a scale", "learning rate x"),
        ("adam", "weight_decay: 0.1\n", "(but for weight decay", "lengthens"),
        ("adam", "", "cancels, because", "but for weight decay"),
        ("adamw", "weight_decay: 0.1\n", "cancels, because", "but for weight decay"),
        ("rmsprop", "", "divided by its own running size", "moments"),
        ("muon", "", "Under Muon a scale", "not known"),
        ("sgd", "", "a clipped step is at most learning rate x 1.6 long (0.00016 at", "cancels"),
        ("", "", "depends on the optimiser (the file names none)", "Under AdamW"),
        ("sophia", "", "(`sophia` is not known here)", "Under AdamW"),
    ],
)
def test_what_a_tight_clip_does_depends_on_the_optimizer(
    optimizer: str, more: str, says: str, never: str
) -> None:
    finding = only("GA101", crowded(optimizer=optimizer, more=more))
    assert says in words(finding)
    assert never not in words(finding)
    assert "cannot lower the norm" in words(finding)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("gradient_clip_norm: 0", "warning"),
        ("gradient_clip_norm: -1", "warning"),
        ("gradient_clip_norm: -2.0", "error"),
        ("gradient_clip_norm: 1.0e-9", None),
        ("gradient_clip_norm: null", None),
        ("gradient_clip_norm: ~", None),
        ("max_grad_norm: 0", None),
        ("max_grad_norm: 0.0", None),
        ("max_grad_norm: -2.0", "error"),
        ("gradient_clip_val: 0", None),
        ("gradient_clipping: 0", None),
        ("clip_norm: 0", None),
        ("clip_max_norm: 0", None),
        ("clip_grad_value: 0", "warning"),
        ("clip_grad_value: -0.5", "error"),
        ("clip_range: -0.5", None),
        ("clip_qkv: -1", None),
        ("lr_clip: 0", None),
    ],
)
def test_clip_not_positive(entry: str, expected: str | None) -> None:
    assert severity("GA102", f"optimizer: adamw\nlearning_rate: 0.001\n{entry}\n") == expected


def test_a_clip_of_zero_may_be_off() -> None:
    said = only("GA102", "learning_rate: 0.1\ngrad_clip: 0.0\n").message
    assert "if it reaches torch's `clip_grad_norm_`; some trainers read 0 as off" in said


def test_a_negative_bound_by_value_does_not_flip_the_sign() -> None:
    finding = only("GA102", "learning_rate: 0.1\nclip_grad_value: -0.5\n")
    assert "makes every entry of every gradient -0.5" in finding.message
    assert "flips" not in words(finding)
    finding = only("GA102", "learning_rate: 0.1\ngradient_clip_norm: -0.5\n")
    assert "flips the sign" in finding.message


@pytest.mark.parametrize(
    ("optimizer", "clip", "expected"),
    [
        ("sgd", "0.00101", None),
        ("sgd", "0.001", "error"),
        ("adamw", "0.00101", None),
        ("adamw", "0.001", "info"),
        ("adamw", "0.000999", "warning"),
        ("adamw\nadam_epsilon: 1.0e-9", "0.000101", "info"),
        ("adamw\nadam_epsilon: 1.0e-9", "0.000099", "warning"),
        ("adagrad", "0.0001", "info"),
        ("prodigy", "0.0001", "warning"),
        ("lion", "0.0001", "info"),
        ("lars", "0.0001", "info"),
        ("sophia", "0.0001", "warning"),
        ("adamw", "0.01", None),
    ],
)
def test_clip_norm_degenerate(optimizer: str, clip: str, expected: str | None) -> None:
    assert severity("GA103", PLAIN.format(optimizer, clip)) == expected


@pytest.mark.parametrize(
    ("optimizer", "level", "says"),
    [
        ("adamw", "warning", "0.0001 / sqrt(1e8) = 1e-8, and eps is 1e-8 (the usual one)"),
        ("lion", "info", "a constant scale cancels, because the step is the sign"),
        ("sgd", "error", "at most learning rate x 0.0001 long"),
        (None, "warning", "The file does not say which optimiser it is."),
    ],
)
def test_degenerate_clip_by_optimizer(optimizer: str | None, level: str, says: str) -> None:
    named = f"optimizer: {optimizer}\n" if optimizer else ""
    finding = only("GA103", f"{named}learning_rate: 0.001\ngradient_clip_norm: 0.0001\n")
    assert finding.severity == level
    assert says in words(finding)
    assert "harmless" not in words(finding)


# GA2


@pytest.mark.parametrize(
    ("optimizer", "rate", "more", "expected"),
    [
        ("adamw", "0.01", "", None),
        ("adamw", "0.0101", "", "warning"),
        ("adamw", "0.1", "", "warning"),
        ("adamw", "0.101", "", "error"),
        ("sgd", "1.0", "", None),
        ("sgd", "1.01", "", "warning"),
        ("sgd", "30.0", "batch_size: 256\n", "warning"),
        ("sgd", "100.0", "", "warning"),
        ("sgd", "101.0", "", "error"),
        ("sgd", "3.2", "global_batch_size: 4096\n", None),
        ("sgd", "3.2", "global_batch_size: 4095\n", "warning"),
        ("sgd", "30.0", "global_batch_size: 65536\n", None),
        ("sgd", "101.0", "global_batch_size: 65536\n", "error"),
        ("lamb", "0.011", "global_batch_size: 65536\n", None),
        ("lamb", "0.1", "", None),
        ("lamb", "0.2", "", "warning"),
        ("adafactor", "0.05", "", None),
        ("adafactor", "0.11", "", "warning"),
        ("lars", "30.0", "", None),
        ("lion", "0.001", "", None),
        ("lion", "0.0011", "", "warning"),
        ("prodigy", "1.0", "", None),
        ("prodigy", "10.1", "", "warning"),
        ("adadelta", "1.0", "", None),
        ("adagrad", "0.1", "", None),
        ("adagrad", "0.11", "", "warning"),
        ("novograd", "0.05", "", None),
        ("rmsprop", "0.045", "", None),
        ("rmsprop", "0.256", "global_batch_size: 4096\n", None),
        ("muon", "0.02", "", None),
        ("adam", "2.0", "scheduler: noam\n", None),
        ("adam", "5.0", "scheduler: NoamLR\n", None),
        ("adamw", "0", "", None),
        ("adamw", "-0.5", "", None),
    ],
)
def test_learning_rate_too_high(optimizer: str, rate: str, more: str, expected: str | None) -> None:
    text = f"optimizer: {optimizer}\nlearning_rate: {rate}\n{more}"
    assert severity("GA201", text) == expected


@pytest.mark.parametrize(
    ("text", "says", "never"),
    [
        ("optimizer: sgd\nlearning_rate: 3.0\nbatch_size: 64\n", "global batch is not known", "64"),
        (
            "optimizer: sgd\nlearning_rate: 3.0\nglobal_batch_size: 64\n",
            "0.025 for a global batch of 64", "not known",
        ),
        ("optimizer: lamb\nlearning_rate: 0.2\n", "times its own norm", "each weight moves"),
        ("optimizer: adafactor\nlearning_rate: 0.2\n", "`scale_parameter`", "each weight moves"),
        ("optimizer: lion\nlearning_rate: 0.2\n", "before weight decay", "exactly"),
    ],
)  # fmt: skip
def test_why_a_learning_rate_is_too_high(text: str, says: str, never: str) -> None:
    said = words(only("GA201", text))
    assert says in said
    assert never not in said


FAMILIES_OF_OPTIMISERS = sorted(ADAPTIVE | SIGN | SGD_LIKE | LEARNING_RATE_FREE | {"muon"})


@pytest.mark.parametrize("family", [*FAMILIES_OF_OPTIMISERS, "sophia", ""])
def test_the_rules_and_the_report_say_the_same_of_an_optimiser(family: str) -> None:
    """One place knows what an optimiser makes of a clip, a rate and a factor on the loss."""
    text = crowded(optimizer=family)
    result = audit(text)
    unit = result.units[0]
    shown = render_report(result, command="gradaudit report example.yaml")
    clip = effect_of_clip(unit, 1.6)
    assert clip in words(only("GA101", text))
    assert clip.replace("`", "") in shown.replace("`", "")
    divided = dividing_equals(unit, 4)
    assert divided in words(only("GA402", text))
    assert divided in shown
    assert "None" not in clip + divided
    known = bool(family) and family != "sophia"
    assert ("depends on the optimiser" in clip) == (not known)
    bounds = rate_bounds(unit, RULES["GA201"].limits)
    said = re.search(r"beyond which a rate is reported for [^(]*\(1e-7 and ([^)]*)\)", shown)
    assert bool(said) == bool(bounds)
    if bounds and said:
        high = bounds[0]
        assert float(said.group(1)) == high
        for rate, expected in ((high, None), (high * 1.01, "warning")):
            changed = text.replace("1.0e-4", f"{rate:.6f}")
            assert severity("GA201", changed) == expected


def test_learning_rate_of_an_unknown_optimizer_is_not_judged() -> None:
    result = audit("learning_rate: 3.0\nbatch_size: 8\n")
    assert not result.findings
    missing = {rule.code: names for rule, names in result.not_judged["main"]}
    assert missing["GA201"] == ["optimizer"]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [("1.0e-7", None), ("9.9e-8", "warning"), ("0", None), ("-1.0e-9", None)],
)
def test_learning_rate_too_low(rate: str, expected: str | None) -> None:
    assert severity("GA202", f"optimizer: adamw\nlearning_rate: {rate}\n") == expected


@pytest.mark.parametrize(
    ("optimizer", "expected", "says"),
    [
        ("adamw", "warning", "a weight moves by at most about 0.0001"),
        ("lion", "warning", "a weight moves by at most about 0.0001"),
        ("lamb", "warning", "0.0001 of its norm"),
        ("sgd", "info", "check whether the loss is a sum."),
        ("sophia", "info", "under Adam a weight would move"),
        ("prodigy", "warning", "normally by 1"),
    ],
)
def test_a_low_rate_by_optimizer(optimizer: str, expected: str, says: str) -> None:
    finding = only("GA202", f"optimizer: {optimizer}\nlearning_rate: 1.0e-8\n")
    assert finding.severity == expected
    assert says in words(finding)


WARMUP = "optimizer: adamw\nlearning_rate: 0.001\n"


@pytest.mark.parametrize(
    ("entries", "exceeds", "long"),
    [
        ("warmup_steps: 100\nmax_steps: 1000\n", None, None),
        ("warmup_steps: 101\nmax_steps: 1000\n", None, "info"),
        ("warmup_steps: 200\nmax_steps: 1000\n", None, "info"),
        ("warmup_steps: 341\nmax_steps: 1000\n", None, "warning"),
        ("warmup_steps: 999\nmax_steps: 1000\n", None, "warning"),
        ("warmup_steps: 1000\nmax_steps: 1000\n", "error", None),
        ("warmup_steps: 2000\nmax_steps: 1000\n", "error", None),
        ("warmup_steps: 101\nmax_steps: 101\n", "error", None),
        ("warmup_steps: 100\nmax_steps: 100\n", "warning", None),
        ("warmup_ratio: 0.1\n", None, None),
        ("warmup_ratio: 0.3\n", None, "info"),
        ("warmup_ratio: 0.35\n", None, "warning"),
        ("warmup_ratio: 0.4\nscheduler: OneCycleLR\n", None, None),
        ("warmup_ratio: 1.0\n", "error", None),
        ("warmup_ratio: 1.5\n", None, None),
        ("warmup_ratio: -0.5\n", None, None),
        ("warmup_epochs: 6\nepochs: 80\n", None, None),
        ("warmup_epochs: 6\nepochs: 6\n", "error", None),
        ("warmup_steps: 500\nepochs: 1\n", None, None),
        ("warmup_steps: 500\nepochs: 1\nsteps_per_epoch: 400\n", "error", None),
        ("warmup_steps: 500\nepochs: 10\nsteps_per_epoch: 400\n", None, "info"),
        ("warmup_steps: 0\nmax_steps: 1000\n", None, None),
        ("warmup_steps: 2000\nmax_steps: -1\n", None, None),
    ],
)
def test_warmup(entries: str, exceeds: str | None, long: str | None) -> None:
    assert severity("GA203", WARMUP + entries) == exceeds
    assert severity("GA204", WARMUP + entries) == long


def test_a_scheduler_with_a_length_of_its_own_is_not_measured_by_the_training() -> None:
    text = "trainer: {{max_epochs: 100}}\nmodel: {{lr: 5.0e-4, warmup_epochs: 10000{}}}\n"
    assert severity("GA203", text.format("")) == "error"
    assert severity("GA203", text.format(", max_epochs: 100000")) is None
    assert severity("GA203", text.format(", max_epochs: 5000")) == "error"


def test_the_rates_of_a_scene_are_no_networks() -> None:
    text = "optimizer: {{type: Adam, lr: 0.05{}}}\nbatch_size: 1\n"
    assert severity("GA201", text.format("")) == "warning"
    assert severity("GA201", text.format(", eps: 1.0e-15")) is None
    assert severity("GA201", text.format(", eps: 1.0e-15").replace("0.05", "0.5")) == "warning"


def test_a_warmup_of_one_is_not_shortened_to_one() -> None:
    assert only("GA203", WARMUP + "warmup_epochs: 1\nepochs: 1\n").fix is None
    assert only("GA204", WARMUP + "warmup_epochs: 1\nepochs: 2\n").fix is None


def test_a_shortened_warmup_says_where_it_stays_long() -> None:
    long = only("GA203", WARMUP + "warmup_epochs: 5\nepochs: 2\n").fix
    assert long is not None
    assert [edit.new for edit in long.edits] == ["1"]
    assert "50 % of the training" in long.notes[0]
    assert "GA204 still warns" in long.notes[1]
    short = only("GA203", WARMUP + "warmup_epochs: 9\nepochs: 8\n").fix
    assert short is not None
    assert list(short.notes) == ["the shortest whole number: 12 % of the training"]


def test_warmup_of_the_whole_run_is_worded_without_its_length() -> None:
    finding = only("GA203", WARMUP + "warmup_ratio: 1.0\n")
    assert finding.message == (
        "warm-up lasts 1 of the run: the peak rate is reached only at its end"
    )


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        ("-0.1", "error"), ("0", None), ("0.001", None), ("0.49", None), ("0.5", "info"),
        ("0.99", "info"), ("1.0", None), ("1.01", "error"),
    ],
)  # fmt: skip
def test_warmup_start_factor(factor: str, expected: str | None) -> None:
    text = WARMUP + f"warmup_epochs: 5\nwarmup_start_factor: {factor}\n"
    assert severity("GA205", text) == expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("--observed-epoch 1", "info"),
        ("--observed-epoch 6", "info"),
        ("--observed-epoch 7", None),
        ("--observed-step 3", None),
        ("", None),
    ],
)
def test_observed_inside_warmup(when: str, expected: str | None) -> None:
    text = WARMUP + "warmup_epochs: 6\nepochs: 80\n"
    assert severity("GA206", text, f"--observed-grad-norm 28.9 {when}") == expected


def test_a_start_factor_that_is_not_written_is_said_to_be_taken() -> None:
    text = WARMUP + "warmup_epochs: 6\nepochs: 80\nmax_grad_norm: 1.0\n"
    options = "--observed-grad-norm 28.9 --observed-epoch 3"
    for code in ("GA206", "GA101"):
        assert "taken from 0: the file names no start factor" in words(only(code, text, options))
        written = only(code, text + "warmup_start_factor: 0.02\n", options)
        assert "taken from 0" not in words(written)


# GA3


BATCH = "optimizer: {optimizer}\nlearning_rate: 0.001\nbatch_size: {size}\n{more}"


def batch(size: int, more: str = "norm: batch\n", optimizer: str = "adamw") -> str:
    return BATCH.format(optimizer=optimizer, size=size, more=more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (batch(1), "warning"),
        (batch(7), "warning"),
        (batch(8), "info"),
        (batch(15), "info"),
        (batch(16), None),
        (batch(7, optimizer="sgd"), "warning"),
        (batch(4, ""), None),
        (batch(4, "norm: group\n"), None),
        (batch(4, "norm: layer\n"), None),
        (batch(4, "norm: instance\n"), None),
        (batch(4, "norm: FrozenBatchNorm2d\n"), None),
        (batch(4, "norm: batch\nnorm_eval: true\n"), None),
        (batch(4, "norm: batch\nfreeze_bn: true\n"), None),
        (batch(4, "norm: batch\nfreeze_bn: false\n"), "warning"),
        (batch(4, "sync_bn: true\nworld_size: 4\n"), None),
        (batch(4, "sync_bn: true\nworld_size: 3\n"), "info"),
        (batch(4, "sync_bn: true\n"), None),
        (batch(1, "norm: batch\ngan_mode: lsgan\n"), "info"),
        (batch(1, "norm: batch\nlr_netD: 0.1\n"), "info"),
        (batch(1, "norm: batch\ndata_generator: 3\n"), "warning"),
        (batch(1, "norm: batch\nadversarial_training: true\n"), "warning"),
        (batch(1, "norm: batch\nlambda_discriminator: 1.0\n"), "info"),
        (batch(4, "norm: batch\norgan_count: 3\n"), "warning"),
        (batch(4, "norm: batch\nworld_size: 8\n"), "warning"),
        (batch(-1), None),
    ],
)
def test_batch_norm_tiny_batch(text: str, expected: str | None) -> None:
    assert severity("GA301", text) == expected


def test_frozen_batch_norm_can_be_assumed() -> None:
    assert severity("GA301", batch(4, ""), "--assume norm=batch") == "warning"
    assert severity("GA301", batch(4, ""), "--assume norm=frozen_batch") is None


def test_batch_norm_fix_keeps_the_global_batch_where_it_can() -> None:
    grows = "the batch of an optimiser step grows from {} to {} a device"
    for accumulation, edits, note in (
        (4, ["16", "1"], "the global batch stays as it is, so the learning rate stays too"),
        (8, ["16", "2"], "the global batch stays as it is, so the learning rate stays too"),
        (2, ["16", "1"], grows.format(8, 16)),
        (6, ["16", "3"], grows.format(24, 48)),
        (3, ["16"], grows.format(12, 48)),
        (1, ["16"], grows.format(4, 16)),
    ):
        text = batch(4, f"norm: batch\ngradient_accumulation_steps: {accumulation}\n")
        fix = only("GA301", text).fix
        assert fix is not None
        assert [edit.new for edit in fix.edits] == edits
        assert fix.notes[1] == note


@pytest.mark.parametrize(
    ("size", "expected"),
    [(4, "recommended"), (7, "recommended"), (8, "speculative"), (15, "speculative")],
)
def test_a_batch_that_is_nearly_enough_is_not_doubled_by_default(size: int, expected: str) -> None:
    fix = only("GA301", batch(size)).fix
    assert fix is not None
    assert fix.applicability == expected
    fix = only("GA304", batch(15, weights(variance=1, mse=1))).fix
    assert fix is not None
    assert fix.applicability == "speculative"


def test_what_batch_norm_has_of_one_sample_and_of_six() -> None:
    assert "over vectors torch raises an error" in words(only("GA301", batch(1)))
    six = words(only("GA301", batch(6)))
    assert "after pooling or a linear layer from these 6 values alone" in six
    assert "may be unreliable" in six


def test_pairs_and_penalties_see_one_device_whatever_the_norm() -> None:
    """SyncBatchNorm sees 16 samples here; a loss on each device sees four."""
    synchronised = "sync_bn: true\nworld_size: 4\n"
    for code, terms in (("GA303", {"triplet": 1.0}), ("GA304", {"variance": 0.5})):
        text = batch(4, synchronised + weights(ce=1.0, **terms))
        assert severity("GA301", text) is None
        fix = only(code, text).fix
        assert fix is not None
        assert [edit.new for edit in fix.edits] == ["16"]


@pytest.mark.parametrize(
    ("size", "accumulation", "norm", "expected"),
    [
        (4, 1, "batch", None),
        (4, 2, "batch", "warning"),
        (8, 2, "batch", "info"),
        (15, 2, "batch", "info"),
        (16, 2, "batch", None),
        (4, 8, "frozen_batch", None),
        (4, 8, "group", None),
    ],
)
def test_accumulation_cannot_cure_batch_norm(
    size: int, accumulation: int, norm: str, expected: str | None
) -> None:
    text = batch(size, f"norm: {norm}\ngradient_accumulation_steps: {accumulation}\n")
    assert severity("GA302", text) == expected


def test_accumulation_with_batch_norm_claims_what_was_measured() -> None:
    """Accumulation lowers the norms; what it does not do is repair the direction."""
    text = batch(6, "norm: batch\ngradient_accumulation_steps: 4\n")
    assert "lowers the noise" in words(only("GA302", text))
    assert "lowers the norms about as much" in as_markdown(RULES["GA302"])


def weights(**terms: float) -> str:
    return "loss_weights:\n" + "".join(f"  {name}: {value}\n" for name, value in terms.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (batch(1, weights(triplet=1, ce=1)), None),
        (batch(2, weights(triplet=1, ce=1)), "warning"),
        (batch(8, weights(triplet=1, ce=1)), "warning"),
        (batch(9, weights(triplet=1, ce=1)), None),
        (batch(4, weights(triplet=0, ce=1)), None),
        (batch(4, weights(mse=1, ce=1)), None),
        (batch(4, "queue_size: 65536\n" + weights(contrastive=1, ce=1)), None),
    ],
)
def test_pairwise_loss_tiny_batch(text: str, expected: str | None) -> None:
    assert severity("GA303", text) == expected


def test_pairs_are_counted() -> None:
    six = only("GA303", batch(6, weights(ranking=1, ce=1))).message
    assert "at most 15 pairs of 6 samples" in six
    assert "1 pair of 2 samples" in only("GA303", batch(2, weights(ranking=1, ce=1))).message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (batch(15, weights(variance=1, mse=1)), "warning"),
        (batch(16, weights(variance=1, mse=1)), None),
        (batch(4, weights(variance=0, mse=1)), None),
        (batch(4, weights(ce=1, mse=1)), None),
        (batch(4, "loss_weights:\n  mse: 1\nstd_init: 0.02\n"), None),
    ],
)
def test_batch_statistic_penalty_tiny_batch(text: str, expected: str | None) -> None:
    assert severity("GA304", text) == expected


def test_a_batch_statistic_is_not_said_to_be_zero_on_most_steps() -> None:
    said = words(only("GA304", batch(6, weights(variance=1, mse=1))))
    assert "where it stands in a denominator its gradient spikes" in said
    assert "zero on most steps" not in said


# GA4


def loss(**terms: float) -> str:
    return "optimizer: adamw\nlearning_rate: 0.001\n" + weights(**terms)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (loss(ce=1, calibration=2.4, consistency=0.5), None),
        (loss(ce=1, calibration=2.5, consistency=0.5), "info"),
        (loss(ce=1, calibration=4.4, consistency=0.5), "info"),
        (loss(ce=1, calibration=4.5, consistency=0.5), "warning"),
        (loss(ce=1, a_penalty=1.9, b_penalty=1.9, c_penalty=1.9), "info"),
        (loss(ce=1, a_penalty=2.0, b_penalty=1.9, c_penalty=1.9), "warning"),
        (loss(ce=1, calibration=9), None),
        (loss(ce=1, calibration=0, consistency=0.5), None),
        (loss(mel=45, kl=1, duration=1, commitment=1), None),
        (loss(l1=100, gan=1, penalty=1), None),
        (loss(adversarial=1, ce=1, penalty=100), None),
        (loss(ce=1, gradient_penalty=10, consistency=0.5), None),
        (loss(ce=1, r1=10, consistency=0.5, bounds=0.5), None),
        (loss(made_up=9, ce=1, consistency=0.5), None),
        ("edge_weight: 1.0\nnode_weight: 90.0\nlearning_rate: 0.1\n", None),
    ],
)
def test_auxiliary_weight_dominates(text: str, expected: str | None) -> None:
    assert severity("GA401", text) == expected


def test_lowered_weights_are_those_above_the_largest_primary_one() -> None:
    finding = only("GA401", loss(ranking=0.7, mse=0.2, bounds=0.5, calib=2.5, variance=10))
    assert finding.fix is not None
    assert [edit.key for edit in finding.fix.edits] == [
        "loss_weights.calib", "loss_weights.variance",
    ]  # fmt: skip
    assert {edit.new for edit in finding.fix.edits} == {"0.7"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (loss(ce=0.5, mse=0.5, dice=0.5, calibration=2.5), "warning"),
        (loss(ce=0.5, mse=0.5, dice=0.5, calibration=2.49), None),
        (loss(ce=0.5, mse=0.5, calibration=4.0), None),
        (loss(ce=4.0, mse=0.5, dice=0.5, calibration=0.5), None),
        (loss(ce=0.2, mse=0.2, dice=0.2, calibration=1.4), None),
        (loss(ce=0.2, mse=0.2, dice=0.2, calibration=1.41), "warning"),
        (loss(ce=0.05, mse=0.05, dice=0.05, calibration=0.35), None),
        (loss(ce=0.05, mse=0.05, dice=0.05, calibration=0.34), "warning"),
        ("use_gradnorm: true\n" + loss(ce=0.5, mse=0.5, dice=0.5, calibration=4.0), None),
        ("use_gradnorm: false\n" + loss(ce=0.5, mse=0.5, dice=0.5, calibration=4.0), "warning"),
        ("loss_balancing: uncertainty\n" + loss(ce=1, mse=1, dice=1, calibration=8), None),
        ("loss_balancing: none\n" + loss(ce=1, mse=1, dice=1, calibration=8), "warning"),
    ],
)
def test_unbalanced_multi_term_loss(text: str, expected: str | None) -> None:
    assert severity("GA402", text) == expected


CLIP_X_4 = "a clip norm x 4 (clip norm 2 x 4 = 8)"


@pytest.mark.parametrize(
    ("optimizer", "more", "equals"),
    [
        ("adamw", "", f"under AdamW it equals {CLIP_X_4} and an eps x 4."),
        ("adamw", "weight_decay: 0.1\n", f"equals {CLIP_X_4} and an eps x 4."),
        ("adam", "weight_decay: 0\n", f"under Adam it equals {CLIP_X_4} and an eps x 4."),
        ("adam", "", f"equals {CLIP_X_4}, an eps x 4 and any weight decay x 4."),
        ("adam", "weight_decay: 0.1\n", f"{CLIP_X_4}, an eps x 4 and a weight decay x 4."),
        ("adafactor", "", f"{CLIP_X_4} and an eps x 16."),
        ("lion", "", f"under Lion it equals {CLIP_X_4}."),
        ("lars", "", f"under LARS it equals {CLIP_X_4} and any weight decay x 4."),
        ("sgd", "weight_decay: 0\n", f"/ 4 (0.0001 / 4 = 2.5e-5) and {CLIP_X_4}."),
        ("sgd", "weight_decay: 0.1\n", f"2.5e-5), {CLIP_X_4} and a weight decay x 4."),
        ("", "", f"under Adam it equals {CLIP_X_4} and an eps x 4, under SGD a learning rate / 4"),
    ],
)
def test_what_dividing_the_loss_equals(optimizer: str, more: str, equals: str) -> None:
    finding = only("GA402", crowded(clip="2.0", optimizer=optimizer, more=more))
    assert equals in words(finding)
    assert finding.fix is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (loss(mse=1, min_variance=5), "warning"),
        (loss(mse=1, min_variance=4.99), None),
        (loss(mse=1.01, min_variance=5), None),
        (loss(mse=2, min_variance=10), "warning"),
        (loss(mse=1, gradient_penalty=10), None),
        (loss(mse=1, gp=10), None),
        (loss(mse=1, r1=10), None),
        (loss(mse=1, consistency=10), None),
        (loss(adversarial=1, mse=1, min_variance=10), None),
    ],
)
def test_steep_hinge_penalty(text: str, expected: str | None) -> None:
    assert severity("GA403", text) == expected


# GA7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr: 0.1\nlr: 0.2\n", "error"),
        ("lr: 0.1\nlr: 0.1\n", "info"),
        ("a: {lr: 0.1, lr: 0.2}\n", "error"),
        ("a:\n  - lr: 0.1\n    lr: 0.2\n", "error"),
        ("a:\n  lr: 0.1\nb:\n  lr: 0.2\n", None),
        ("base: &b {lr: 0.1}\nrun:\n  <<: *b\n  lr: 0.2\n", None),
    ],
)
def test_duplicate_key(text: str, expected: str | None) -> None:
    assert severity("GA701", text) == expected


def test_duplicate_key_in_json() -> None:
    assert of(audit('{"lr": 0.1, "lr": 0.2}', path="a.json"), "GA701")


def test_a_duplicate_keeps_the_value_that_pyyaml_loads() -> None:
    equal = only("GA701", "lr: 0.1\nlr: 0.1\n").fix
    differing = only("GA701", "lr: 0.1\nlr: 0.2\n").fix
    assert equal is not None
    assert differing is not None
    assert (equal.applicability, differing.applicability) == ("safe", "recommended")
    assert "a run that PyYAML loads stays as it is" in differing.notes[0]
    assert "look which" in differing.notes[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr: 1e-4\n", "warning"),
        ("lr: 1E-4\n", "warning"),
        ("lr: 1.5e3\n", "warning"),
        ("lr: -1e4\n", "warning"),
        ("lr: .5e3\n", "warning"),
        ("made_up: 1e-4\n", "info"),
        ("lr: 1.0e-4\n", None),
        ("lr: 1.e-4\n", None),
        ("lr: .5e+3\n", None),
        ("lr: 0.0001\n", None),
        ("lr: '1e-4'\n", "warning"),
        ('batch_size: "32"\n', "warning"),
        ("name: '32'\n", None),
        ("lr: 'auto'\n", None),
        ("lr: '${lr}'\n", None),
        ("lr: !!float 1e-4\n", None),
        ("revision: 1e4f\n", None),
        ("lr: 1e-4\nmodel: ${model}\n", None),
        ("lr: 1e-4\nopt:\n  _target_: torch.optim.AdamW\n", None),
        ("lr: 1e-4\nbrain: !new:speechbrain.Brain\n", None),
    ],
)
def test_number_as_text(text: str, expected: str | None) -> None:
    assert severity("GA702", text) == expected


def test_json_has_numbers() -> None:
    assert not of(audit('{"lr": 1e-4}', path="a.json"), "GA702")
    assert of(audit('{"lr": "1e-4"}', path="a.json"), "GA702")


def test_a_number_in_quotes_is_text_to_every_loader() -> None:
    finding = only("GA702", "learning_rate: '1e-3'\n")
    assert finding.fix is None
    assert finding.confidence == "medium"
    assert finding.next == "Take the quotes away: `learning_rate: 1.0e-3`."


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("learning_rate: -0.1", "error"), ("learning_rate: 0", "warning"),
        ("batch_size: 0", "error"), ("batch_size: 1", None), ("batch_size: -1", None),
        ("gradient_accumulation_steps: 0", "error"), ("gradient_accumulation_steps: 1", None),
        ("epochs: 0", "warning"), ("epochs: -1", None), ("epochs: -2", "error"),
        ("max_steps: -1", None), ("warmup_steps: -1", None), ("warmup_steps: -5", "error"),
        ("warmup_ratio: 1.1", "error"), ("warmup_ratio: 0", None),
        ("dropout: 1.1", "error"), ("dropout: 1.0", "warning"), ("dropout: 0.99", None),
        ("dropout: -0.1", "error"), ("adam_beta1: 0", None), ("adam_beta2: 1.0", "error"),
        ("adam_beta2: 0.9999", None), ("betas: [0.9, 1.0]", "error"), ("betas: [0.0, 0.99]", None),
        ("adam_epsilon: -1.0e-8", "error"), ("adam_epsilon: 0", "warning"),
        ("weight_decay: -0.1", "error"), ("weight_decay: 0", None),
        ("label_smoothing: 1.1", "error"), ("label_smoothing: 1.0", "warning"),
        ("label_smoothing: 0.9", None), ("ema_decay: 1.1", "error"), ("ema_decay: 1.0", "warning"),
        ("ema_decay: 0.9999", None), ("adam_epsilon: 1.0e_8", "error"),
        ("learning_rate: .nan", "error"), ("learning_rate: .inf", "error"),
        ("dropout: .nan", "error"), ("weight_decay: .inf", "error"), ("max_grad_norm: .inf", None),
        ("max_grad_norm: .nan", "error"), ("max_steps: .inf", None), ("max_steps: -.inf", "error"),
    ],
)  # fmt: skip
def test_value_out_of_domain(entry: str, expected: str | None) -> None:
    text = "optimizer: adamw\n" + ("" if "learning_rate" in entry else "learning_rate: 0.001\n")
    assert severity("GA703", f"{text}{entry}\n") == expected


def test_a_batch_of_minus_one_is_automatic_only_where_something_makes_it_so() -> None:
    text = "per_device_train_batch_size: -1\noutput_dir: x\nnum_train_epochs: 3\n"
    result = audit(text + "model_name_or_path: y\nlearning_rate: 0.001\nlogging_steps: 1\n")
    assert result.recognised is not None
    assert result.recognised.name == "hf-trainer"
    assert [f.rule.code for f in result.findings] == ["GA703"]
    assert "must be 1 or more" in result.findings[0].message
    text = "task: detect\nmode: train\nmodel: yolo11n.yaml\nlr0: 0.01\nlrf: 0.01\nmosaic: 1.0\n"
    found = audit(f"{text}batch: -1\n")
    assert found.recognised is not None
    assert found.recognised.name == "ultralytics"
    assert not of(found, "GA703")
    assert severity("GA703", "optimizer: adamw\nlr: 0.001\nbatch_size: -1\n") is None


@pytest.mark.parametrize(
    ("momentum", "expected"), [("-0.1", "error"), ("0", None), ("0.999", None), ("1.0", "error")]
)
def test_momentum(momentum: str, expected: str | None) -> None:
    for family in ("sgd", "lars", "rmsprop"):
        text = f"optimizer: {family}\nlearning_rate: 0.01\nmomentum: {momentum}\n"
        assert severity("GA703", text) == expected
    assert severity("GA703", f"optimizer: adamw\nlr: 0.001\nmomentum: {momentum}\n") is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("calib_weight: 0.75  # increased from 0.25", "info"),
        ("calib_weight: 0.74  # increased from 0.25", None),
        ("calib_weight: 2.5  # 0.75 -> 2.5", "info"),
        ("calib_weight: 2.5  # 0.75 → 2.5", "info"),
        ("calib_weight: 2.5  # RAISED the weight from 0.1", "info"),
        ("calib_weight: 0.25  # lowered from 0.9", None),
        ("calib_weight: 2.5  # from the paper, table 0.1", None),
        ("calib_weight: 2.5", None),
        ("calib_weight: '# increased from 0.1'", None),
        ("calib_weight: 0.75  # increased from 0", None),
        ("calib_weight: 0.75  # increased from 0.25 to 0.75", "info"),
        ("calib_weight: 0.75  # increased from 0.1 to 0.5, then back", None),
        ("calib_weight: 2.5  # 0.75 -> 1.5", None),
        ("calib_weight: 2.5  # 0.5 -> 0.75 -> 2.5", "info"),
        ("calib_weight: 2.5  # 0.75 -> 2.5 over ten epochs, linear", None),
        ("calib_weight: 2.5  # up from 0.75", None),
        ("calib_weight: 2.5  # never increased from 0.75", None),
        ("calib_weight: 2.5  # increased from 10%", None),
        ("kl_aux_weight: 1.0  # ramped up from 0.01 over 10 epochs", None),
        ("kl_aux_weight: 1.0  # annealed, increased from 0.01", None),
        ("peak_rate: 1.0e-3  # linear warm-up from 1e-6", None),
        ("peak_rate: 1.0e-3  # cosine 1e-4 -> 1e-6", None),
        ("peak_rate: 1.0e-3  # cosine 1e-4 -> 1.0e-3", None),
        ("more: {ranking_weight: 2.0, b_weight: 2.5}  # b increased from 0.5", None),
        ("more: {threshold: 0.9}  # Nov 15 increased from 0.25", "info"),
        ("more:\n  threshold: 0.9  # Nov 15 increased from 0.25", "info"),
        ("more:\n  deep:\n  - rate: 0.9  # raised from 0.25", "info"),
        ("more:\n  pair: [{rate: 0.9}, 3]  # raised from 0.25", None),
    ],
)
def test_raised_by_its_own_comment(entry: str, expected: str | None) -> None:
    text = f"optimizer: adamw\nlearning_rate: 0.001\nmse_weight: 1.0\n{entry}\n"
    assert severity("GA704", text) == expected
    assert severity("GA704", text.replace("\n", "\r\n")) == expected


NEOX = '{"pipe_parallel_size": 1, "model_parallel_size": 1, "pos_emb": "rotary", "warmup": %s}\n'


def test_a_number_of_steps_where_a_framework_wants_a_share() -> None:
    """GPT-NeoX's `warmup` is a fraction of the iterations."""
    found = of(audit(NEOX % "500"), "GA703")
    assert [finding.severity for finding in found] == ["error"]
    assert not of(audit(NEOX % "0.01"), "GA703")


AXOLOTL = """\
base_model: a/b
datasets: [{path: c, type: alpaca}]
micro_batch_size: 2
num_epochs: 1
warmup_steps: %s
"""


def test_a_share_where_a_framework_wants_steps() -> None:
    """axolotl's schema takes whole numbers; transformers 5 reads a share."""
    (found,) = of(audit(AXOLOTL % "0.1"), "GA703")
    assert (found.severity, found.confidence) == ("error", "high")
    assert not of(audit(AXOLOTL % "10"), "GA703")
    trainer = "per_device_train_batch_size: 1\nnum_train_epochs: 1\nwarmup_steps: 0.1\n"
    assert not of(audit(trainer), "GA703")
    (found,) = of(audit("lr: 0.001\noptimizer: adamw\nwarmup_steps: 0.1\n"), "GA703")
    assert (found.severity, found.confidence) == ("warning", "medium")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stage: sft\nfinetuning_type: lora\ntemplate: x\nlearning_rate: 1e-4\n", None),
        (AXOLOTL % "10" + "learning_rate: 1e-4\n", None),
        ("SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 1e-4}\nMODEL: {META_ARCHITECTURE: X}\n", None),
        ("per_device_train_batch_size: 1\nnum_train_epochs: 1\nlearning_rate: 1e-4\n", "warning"),
        ("per_device_train_batch_size: 1\ndataset_name: a/b\nlearning_rate: 1e-4\n", None),
        ("sched: cosine\nopt: adamw\naa: x\nsmoothing: 0.1\nreprob: 0.1\nlr: 1e-4\n", None),
        ("learning_rate: 1e-4\noptimizer: adamw\n", "warning"),
    ],
)
def test_text_numbers_by_the_loader_of_the_framework(text: str, expected: str | None) -> None:
    found = of(audit(text), "GA702")
    assert [finding.severity for finding in found] == ([expected] if expected else [])
    if expected and "per_device" in text:
        assert found[0].confidence == "high"
        assert "loads this file with PyYAML" in words(found[0])


def test_a_clip_of_zero_is_off_only_where_the_trainer_tests_for_it() -> None:
    torchtitan = (
        '[model]\nflavor="8B"\n[training]\nbatch_size=1\nseq_len=8\nmax_norm=0.0\nsteps=9\n'
    )
    (found,) = of(audit(torchtitan, path="train.toml"), "GA102")
    assert (
        found.message == "clip threshold 0 zeroes every gradient: torchtitan clips whatever it is"
    )
    assert "torchtitan calls it with every value" in words(found)
    off = "per_device_train_batch_size: 1\nnum_train_epochs: 1\nmax_grad_norm: -1\n"
    assert not of(audit(off), "GA102")


TORCHTUNE = """\
tokenizer: {_component_: torchtune.models.llama3.llama3_tokenizer}
model: {_component_: torchtune.models.llama3.llama3_8b}
optimizer: {_component_: torch.optim.AdamW, lr: 2e-5}
batch_size: %s
batch_size: 2
"""


def test_a_loader_that_refuses_duplicates_is_named() -> None:
    """OmegaConf ends with an error, whatever the values."""
    (equal,) = of(audit(TORCHTUNE % "2"), "GA701")
    assert (equal.severity, equal.fix is not None) == ("error", True)
    assert "the loader of torchtune refuses" in equal.message
    (other,) = of(audit(TORCHTUNE % "4"), "GA701")
    assert other.fix is None
    assert "which of the two" in other.no_fix


def test_no_fix_is_offered_that_would_be_refused() -> None:
    text = "optimizer = dict(type='AdamW', lr=1e-4)\nmodel = dict(a=1)\n"
    text += "data = dict(samples_per_gpu=2)\nlr_config = dict(\n"
    text += "    policy='step', warmup='linear', warmup_iters=2000, warmup_ratio=0.001)\n"
    text += "runner = dict(type='IterBasedRunner', max_iters=1000)\n"
    (found,) = of(audit(text, path="config.py"), "GA203")
    assert found.fix is None
    assert found.no_fix == "Python configs are checked, not edited"


def test_a_botched_number_may_be_put_together_or_stand_in_a_base(tmp_path: Path) -> None:
    together = (TORCHTUNE % "2").replace("lr: 2e-5", "lr: '${x}_8'") + "x: 1.0e\n"
    (found,) = of(audit(together), "GA703")
    assert "`1.0e_8` is text" in found.message
    (tmp_path / "base.yaml").write_text("SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 1.0e_8}\n")
    leaf = "_BASE_: base.yaml\nMODEL: {META_ARCHITECTURE: X, WEIGHTS: y}\n"
    (found,) = of(audit(leaf, path=str(tmp_path / "leaf.yaml")), "GA703")
    assert found.place.source.path.endswith("base.yaml")
    assert found.key == "SOLVER.BASE_LR"
