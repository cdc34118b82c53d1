"""GA7: the files that a config is built on, and the keys that it refers to."""

from __future__ import annotations

from gradaudit.findings import ERROR, HIGH, INFO, MEDIUM, WARNING, Finding, Place
from gradaudit.rules import rule
from gradaudit.rules.repair import key_of
from gradaudit.syntax.tree import Mapping, Scalar, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.compose.model import Composed
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits


@rule(
    "GA705",
    "base-file-not-read",
    scope="file",
    severities=(ERROR, INFO),
    confidence=HIGH,
    references=(
        "https://github.com/facebookresearch/fvcore/blob/main/fvcore/common/config.py (`_BASE_`)",
        "https://hydra.cc/docs/advanced/defaults_list/",
        "https://mmengine.readthedocs.io/en/latest/advanced_tutorials/config.html",
    ),
)
def base_file_not_read(composed: Composed, limits: Limits) -> Iterator[Finding]:
    """A file that this config is built on was not read.

    Why:
        What the base holds is unknown: its settings are neither judged nor taken for the
        framework's defaults. Where the framework looks beside the file and nothing is there, the
        training ends before its first step.

    Bad:
        _BASE_: nowhere/Base.yaml
        MODEL: {META_ARCHITECTURE: GeneralizedRCNN}
        SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 0.02, MAX_ITER: 90000}

    Good:
        MODEL: {META_ARCHITECTURE: GeneralizedRCNN}
        SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 0.02, MAX_ITER: 90000}

    Tell:
        `gradaudit show FILE` lists the files that were put together, and those that were not read.

    Symptoms:
        training ends with an error, or never starts
        loads other values than the file seems to say

    Fix:
        None: where the file should be is not known.

    False positives:
        An info where a launcher's working directory or search path could supply the file, or where
        it lies outside what may be opened (docs/composition.md). An error only where the framework
        looks beside this file.
    """
    for missing in composed.missing:
        if missing.kind == "cycle":
            continue
        sure = missing.severity == ERROR
        named = missing.path if missing.kind == "primary" else f"`{missing.path}`"
        yield Finding(
            Place(missing.tree.source, missing.node.start, missing.node.end),
            f"{named} was not read: {missing.reason}",
            severity=ERROR if sure else INFO,
            confidence=HIGH if sure else MEDIUM,
            label="not read",
            why=[
                (
                    "Its settings are not known: what depends on them is not judged, and no "
                    "default is assumed in their place."
                )
            ],
            next="Correct the path." if sure else _advice(missing.reason),
            no_fix="where the file should be is not known",
        )


def _advice(reason: str) -> str:
    """What can be done about a file that was not read, by why it was not."""
    if "not named" in reason:
        return "Check the primary config, the one that takes this in: then the whole is judged."
    if "run time" in reason or "at launch" in reason or "other choices" in reason:
        return "Nothing: only the program knows. Audit the config that it writes when it starts."
    if reason.startswith("more than") or "only running" in reason:
        return "Write the whole config into one file, as the framework prints it, and check that."
    if reason.startswith("line ") or "be read" in reason:
        return "Mend that file first."
    if "suffix" in reason:
        return "Name a file that ends in .yaml, .json, .toml or .py."
    if "no place on a disk" in reason:
        return "Check the file by its path."
    return "Check it from a directory that holds the file."


@rule(
    "GA706",
    "base-file-cycle",
    scope="file",
    severities=(ERROR,),
    confidence=HIGH,
    references=(
        "https://github.com/facebookresearch/fvcore/blob/main/fvcore/common/config.py (`_BASE_`)",
        "https://mmengine.readthedocs.io/en/latest/advanced_tutorials/config.html",
    ),
)
def base_file_cycle(composed: Composed, limits: Limits) -> Iterator[Finding]:
    """A config is built on itself.

    Why:
        Following the base files leads back to where it began: the loader recurses until Python
        stops it, and the training never starts.

    Bad:
        _BASE_: example.yaml
        MODEL: {META_ARCHITECTURE: GeneralizedRCNN}
        SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 0.02, MAX_ITER: 90000}

    Good:
        MODEL: {META_ARCHITECTURE: GeneralizedRCNN}
        SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 0.02, MAX_ITER: 90000}

    Tell:
        Load the config: the framework ends with a RecursionError, or with a message of its own.

    Symptoms:
        training ends with an error, or never starts

    Fix:
        None: which of the files should not name the other is not known.

    False positives:
        Where no framework is known, the loader may read one file only and not its base's base. The
        finding is then of medium confidence.
    """
    known = composed.dialect["loader"] != "unknown"
    loader = "The loader" if known else "A loader that reads the bases of a base"
    for missing in composed.missing:
        if missing.kind == "cycle":
            yield Finding(
                Place(missing.tree.source, missing.node.start, missing.node.end),
                f"`{missing.path}` leads back to this file: {missing.reason}",
                severity=ERROR,
                confidence=HIGH if known else MEDIUM,
                label="leads back",
                why=[f"{loader} never comes to an end, and the training never starts."],
                next="Take the base out of one of the files.",
                no_fix="which of the files should not name the other is not known",
            )


@rule(
    "GA711",
    "unresolved-reference",
    scope="unit",
    severities=(ERROR, WARNING),
    confidence=MEDIUM,
    references=(
        (
            "https://omegaconf.readthedocs.io/en/2.3_branch/usage.html#variable-interpolation "
            "(InterpolationKeyError)"
        ),
        "https://github.com/speechbrain/HyperPyYAML (!ref)",
    ),
)
def unresolved_reference(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A setting refers to a key that stands nowhere in the config.

    Why:
        OmegaConf ends with an InterpolationKeyError when the value is read, which may be after the
        data and the model are loaded; HyperPyYAML ends when it loads the file.

    Bad:
        model: {_component_: torchtune.models.llama3.llama3_8b}
        tokenizer: {_component_: torchtune.models.llama3.llama3_tokenizer}
        base_rate: 2.0e-5
        optimizer:
          _component_: torch.optim.AdamW
          lr: ${base_lr}
        batch_size: 2

    Good:
        model: {_component_: torchtune.models.llama3.llama3_8b}
        tokenizer: {_component_: torchtune.models.llama3.llama3_tokenizer}
        base_lr: 2.0e-5
        optimizer:
          _component_: torch.optim.AdamW
          lr: ${base_lr}
        batch_size: 2

    Tell:
        `python -c "import sys; from omegaconf import OmegaConf as O; print(O.to_container(
        O.load(sys.argv[1]), resolve=True))" FILE` names the key.

    Symptoms:
        training ends with an error, or never starts

    Fix:
        None: which key was meant is not known.

    False positives:
        A key that the launch adds (`+base_lr=...`), or that the program sets before it reads the
        value. Silent where a file was not read, for resolvers (`${oc.env:X}`, `${now:}`) and
        `${hydra:...}`, where who loads the file is not known, and where some section
        has the whole path: programs take out a section and make it a root of its own.
    """
    composed = unit.composed
    if not unit.unknown_nodes or composed.missing or not composed.dialect["interpolation"]:
        return
    for name in unit.unknown_nodes:
        lost = unit.lost(name)
        if lost is None:
            continue
        written, path = lost
        if path.startswith("hydra.") or _below_some_section(composed, path.split(".")):
            continue
        node = unit.unknown_nodes[name]
        tree = composed.tree_of(node)
        refused = written.startswith("!")
        yield Finding(
            Place(tree.source, node.start, node.end),
            f"`{written}` leads nowhere: there is no `{path}` in the config",
            severity=ERROR if refused else WARNING,
            confidence=HIGH if refused else MEDIUM,
            key=key_of(node, tree),
            label="leads nowhere",
            why=[
                "HyperPyYAML ends with an error when it loads the file."
                if refused
                else "OmegaConf ends with an InterpolationKeyError when the value is read."
            ],
            next="Correct the name, or write the key.",
            no_fix="which key was meant is not known",
        )


def _below_some_section(composed: Composed, path: list[str]) -> bool:
    """Whether a path stands below a section: it may be read with that as its root."""
    for root in composed.roots:
        top = resolve(root)
        if type(top) is not Mapping:
            continue
        for _, section in top.pairs:
            node = resolve(section)
            for step in path:
                below = None
                if type(node) is Mapping:
                    for key, value in node.pairs:
                        if type(key) is Scalar and key.value == step:
                            below = resolve(value)
                if below is None:
                    break
                node = below
            else:
                return True
    return False
