"""What gradaudit makes of a directory of real configs, dialect by dialect.

    python benchmarks/dialects.py [DIRECTORY] [--time] [--findings]

The directory holds an INDEX.tsv (dialect, repository, commit, path, licence, role) beside the
files, at DIALECT/OWNER__REPOSITORY/PATH. Prints Markdown tables:

- by dialect: files, how many of those that parse are recognised, how many of those that write a
  learning rate, a batch size or an optimiser have one resolved, labels right, findings;
- with --time, the time for all files on one core against `yaml.compose` over the same texts;
- with --findings, every error and warning, a line each;
- with --write, docs/corpus.md: the table, and every error and warning with its verdict.

Nothing in the directory is run or written.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import platform
import re
import sys
import time
from collections import Counter, defaultdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.append(str(Path(__file__).resolve().parent.parent))  # a checkout needs no install

from gradaudit import version_line
from gradaudit.audit import FileResult, audit_path
from gradaudit.findings import Finding
from gradaudit.options import Options
from gradaudit.settings import Finder

VERDICTS = Path(__file__).resolve().parent / "verdicts.yaml"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "corpus.md"
DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "corpus"

ACCEPTED: dict[str, tuple[str, ...]] = {
    "hf-trl": ("hf-trainer",),
    "llamafactory": ("llama-factory",),
    "vits-json": ("vits",),
    "yacs-other": ("slowfast",),
}
"""Folder -> dialects that its files may be recognised as; its own name where it is not here."""

OTHERWISE: tuple[tuple[str, str], ...] = (
    # What accelerate, axolotl, LLaMA-Factory and wenet hand on to DeepSpeed.
    ("accelerate/*.json", "deepspeed"),
    ("axolotl/*/deepspeed_configs/*.json", "deepspeed"),
    ("llamafactory/*/examples/deepspeed/*.json", "deepspeed"),
    ("wenet/*/ds_stage*.json", "deepspeed"),
    # Its Paddle half is written for PaddleDetection.
    ("rtdetr/*/rtdetr_paddle/*", "paddledetection"),
    # The trainer of bing_bert reads these itself; DeepSpeed's own file lies beside them.
    ("deepspeed/*/bing_bert/bert_*.json", "generic"),
    # Separate hydra scripts among fairseq's examples.
    ("fairseq/*/emotion_models/*.yaml", "lightning-hydra"),
    # No configs of a training: a table of contents, thresholds for speaker labels.
    ("timm/*/_toctree.yml", "generic"),
    ("nemo/*/post_processing/*.yaml", "generic"),
)
"""Files in the folder of one framework that are another's, by glob."""

WRITES = re.compile(
    r"""(?imx) ["'\w./-]* (?: \b | _ ) (?:
        lr | lr0 | learning_rate | base_lr | init_lr | base_learning_rate | lr_initial
      | batch_size | ims_per_batch | batch_size_per_gpu | total_batch_size
      | train_micro_batch_size_per_gpu | micro_batch_size | local_batch_size
      | optimizer | optim | optimizer_type
    ) ["']? \s* [:=] \s* ["']? [\w.+-]""",
)
"""Keys by which a file writes one of the three, whatever the framework: judged on its text."""

INTRODUCTION = """
{files:,} published configs of {folders} frameworks' repositories, not part of this project.
`python benchmarks/dialects.py DIRECTORY` reprints the table for any directory with an index,
`--time` what it costs on one core, with all rules, against `yaml.compose` over the same files.

- *recognised*: of the files that parse, those taken for their framework's.
- *writes one*: files in whose text a key for a learning rate, a batch size or an optimiser is found
  by a pattern that knows no framework. *resolved*: those of them in which gradaudit has at least
  one. What is not resolved is mostly no training (data sets, rollouts, reward models), leaves all
  to the launcher (`"auto"`), or needs a base file that is not there.
- *labels right*: configs labelled by hand from the framework's source, before the tool was run on
  them (`tests/labels/`), that agree in every value, unit and origin. The dialects were mended until
  they did; when they were first run on the labels, which their authors had not seen, 94 of 156
  files agreed in full, and 93 of 100 values (1,520 of 1,634, where they were counted).
"""

COLUMNS = (
    "dialect", "files", "recognised", "writes one", "resolved", "unparsable", "labels right",
    "errors", "warnings", "infos",
)  # fmt: skip

WANTED = ("learning_rate", "base_learning_rate", "micro_batch", "global_batch", "optimizer")


class File(NamedTuple):
    """One file of the index with what was made of it."""

    folder: str
    path: str
    result: FileResult

    @property
    def recognised(self) -> bool:
        wanted = ACCEPTED.get(self.folder, (self.folder,))
        for pattern, name in OTHERWISE:
            if fnmatchcase(self.path, pattern):
                wanted = (name,)
        found = self.result.recognised
        return found is not None and found.name in wanted

    @property
    def resolved(self) -> bool:
        return any(
            setting.origin != "default" and setting.value is not None
            for unit in self.result.units
            for name in WANTED
            if (setting := unit.settings.get(name)) is not None
        )

    @property
    def writes(self) -> bool:
        return self.result.source is not None and bool(WRITES.search(self.result.source.text))


def index(directory: Path) -> list[tuple[str, str]]:
    """(folder, path below the directory) of every config of the index; bases are left out."""
    found = []
    with (directory / "INDEX.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["role"] == "config":
                repository = row["repository"].replace("/", "__")
                found.append((row["dialect"], f"{row['dialect']}/{repository}/{row['path']}"))
    return found


def audited(directory: Path) -> list[File]:
    options, finder = Options(), Finder(isolated=True)
    return [
        File(folder, path, audit_path(str(directory / path), options, finder))
        for folder, path in index(directory)
    ]


def labels_right() -> dict[str, tuple[int, int]]:
    """Dialect -> (labels that agree in every value, unit and origin, labels)."""
    from test_labels import ALL, differences, place

    counts: dict[str, tuple[int, int]] = {}
    for label in ALL:
        if place(label).is_file():
            right, total = counts.get(label["dialect"], (0, 0))
            counts[label["dialect"]] = right + (not differences(label)), total + 1
    return counts


def table(files: list[File]) -> list[str]:
    labels = labels_right()
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    folders: dict[str, list[File]] = defaultdict(list)
    for file in files:
        folders[file.folder].append(file)
    for folder, group in [*sorted(folders.items()), ("all", files)]:
        parsed = [file for file in group if file.result.tree is not None]
        writing = [file for file in parsed if file.writes]
        found = Counter(f.severity for file in group for f in file.result.findings)
        if folder == "all":
            right, total = map(sum, zip(*labels.values(), strict=True))
        else:
            names = ACCEPTED.get(folder, (folder,))
            right, total = map(sum, zip(*(labels.get(name, (0, 0)) for name in names), strict=True))
        lines.append(
            f"| {folder} | {len(group)} | {share(sum(f.recognised for f in parsed), len(parsed))} "
            f"| {len(writing)} | {share(sum(f.resolved for f in writing), len(writing))} "
            f"| {len(group) - len(parsed)} | {right}/{total} | {found['error']} "
            f"| {found['warning']} | {found['info']} |"
        )
    beyond = sorted(set(labels) - {n for f in folders for n in ACCEPTED.get(f, (f,))})
    right = sum(labels[name][0] for name in beyond)
    total = sum(labels[name][1] for name in beyond)
    rate = sum(f.severity == "warning" for file in files for f in file.result.findings)
    beyond_words = f"{right}/{total} right ({', '.join(beyond)})"
    return [
        *lines,
        "",
        f"{rate / max(len(files), 1):.3f} warnings a file.",
        f"Labels of dialects that are not in the corpus: {beyond_words}.",
    ]


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def timed(directory: Path, rounds: int = 7) -> list[str]:
    """Reading and judging every file against composing it: in one process, forty files in turn, so
    that a load on the machine falls on both."""
    paths = [str(directory / path) for _, path in index(directory)]
    shares = [paths[at : at + 40] for at in range(0, len(paths), 40)]
    finder = Finder(isolated=True)
    gc.disable()

    def compose(share: list[str], options: Options) -> None:
        for path in share:
            with open(path, encoding="utf-8-sig") as file:
                try:
                    for _ in yaml.compose_all(file, yaml.CSafeLoader):
                        pass
                except (yaml.YAMLError, UnicodeDecodeError):
                    pass

    def check(share: list[str], options: Options) -> None:
        for path in share:
            audit_path(path, options, finder)

    check(paths, Options())
    ratios, seconds = [], []
    for _ in range(rounds):
        times = {compose: 0.0, check: 0.0}
        options = Options()  # the files that others are built on are read anew in every round
        for share in shares:
            for run in (compose, check):
                start = time.process_time()
                run(share, options)
                times[run] += time.process_time() - start
        gc.collect()
        ratios.append(times[check] / times[compose])
        seconds.append(times[check])
    ratios.sort()
    middle = ratios[len(ratios) // 2]
    return [
        f"{len(paths)} files on one core, with all rules: {min(seconds):.2f} s CPU,",
        f"{middle:.2f} x `yaml.compose` over the same files",
        f"(median of {rounds} interleaved rounds, {ratios[0]:.2f} to {ratios[-1]:.2f},",
        f"{version_line()}, Python {platform.python_version()}).",
    ]


def findings(files: list[File]) -> list[tuple[File, Finding]]:
    """Every error and warning, in the order of the index."""
    return [
        (file, found)
        for file in files
        for found in file.result.findings
        if found.severity != "info"
    ]


def verdict_of(file: File, found: Finding, verdicts: list[dict[str, str]]) -> dict[str, str]:
    for verdict in verdicts:
        if verdict["code"] == found.rule.code and fnmatchcase(file.path, verdict["file"]):
            return verdict
    return {"verdict": "not looked at", "why": ""}


def verdict_table(files: list[File]) -> tuple[list[str], int]:
    """Every error and warning with what a person says of it; how many nobody has looked at."""
    verdicts = yaml.safe_load(VERDICTS.read_text(encoding="utf-8"))
    lines = ["| severity | rule | where | finding | verdict |", "|---|---|---|---|---|"]
    open_ones = 0
    for file, found in findings(files):
        verdict = verdict_of(file, found, verdicts)
        open_ones += verdict["verdict"] == "not looked at"
        _, repository, path = file.path.split("/", 2)
        where = f"{repository.replace('__', '/')} `{path}`:{found.place.line}"
        lines.append(
            f"| {found.severity} | {found.rule.code} | {where} | {cell(found.message)} "
            f"| {verdict['verdict']}: {cell(verdict['why'])} |"
        )
    return lines, open_ones


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def page(files: list[File]) -> tuple[str, int]:
    """docs/corpus.md, and how many findings have no verdict."""
    verdicts, open_ones = verdict_table(files)
    folders = len({file.folder for file in files})
    parts = [
        "# The corpus",
        "<!-- Written by `python benchmarks/dialects.py --write`. -->",
        INTRODUCTION.format(files=len(files), folders=folders).strip(),
        "\n".join(table(files)),
        "## Every error and warning, looked at by hand",
        "\n".join(verdicts),
    ]
    return "\n\n".join(parts) + "\n", open_ones


def main() -> int:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = os.environ.get("GRADAUDIT_CORPUS", str(DEFAULT))
    parser.add_argument("directory", nargs="?", default=default)
    parser.add_argument("--time", action="store_true", help="time all files on one core")
    parser.add_argument("--findings", action="store_true", help="list errors and warnings")
    parser.add_argument("--write", action="store_true", help="write docs/corpus.md")
    parser.add_argument("--missed", action="store_true", help="list files that are not read well")
    options = parser.parse_args()
    directory = Path(options.directory)
    if not (directory / "INDEX.tsv").is_file():
        sys.stderr.write(f"{directory}: has no INDEX.tsv; name a directory of configs with one\n")
        return 2
    if options.time:
        print("\n".join(timed(directory)))
        return 0
    files = audited(directory)
    if not options.write:
        print("\n".join(table(files)))
    if options.findings:
        for file, found in findings(files):
            where = f"{file.path}:{found.place.line}"
            print(f"{found.severity} {found.rule.code} {where} {found.message}")
    if options.write:
        text, open_ones = page(files)
        PAGE.write_text(text, encoding="utf-8")
        if open_ones:
            sys.stderr.write(f"{open_ones} findings have no verdict in {VERDICTS.name}\n")
            return 1
    if options.missed:
        for file in files:
            taken = file.result.recognised
            if not file.recognised and taken is not None:
                print(f"not recognised: {file.path}: {taken.name}, then {taken.second}")
            if file.result.tree is not None and file.writes and not file.resolved:
                print(f"not resolved: {file.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
