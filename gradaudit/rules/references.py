"""GA7: the files that a config is built on."""

from __future__ import annotations

from gradaudit.findings import ERROR, HIGH, INFO, MEDIUM, Finding, Place
from gradaudit.rules import rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.compose.model import Composed
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
