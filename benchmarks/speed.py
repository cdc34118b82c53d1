"""Compare `gradaudit check` with yamllint and with the least that reads YAML at all.

One small file and a directory of many are checked by whole processes, in one interleaved run:
every round runs every command once, in shuffled order, and a ratio is the median of the ratios
inside the rounds, so that a load on the machine falls on both sides. Prints Markdown tables and
whether each promise is kept.

    python benchmarks/speed.py
    python benchmarks/speed.py --rounds 30 --gate

The commands come from the environment of the Python that runs this: install gradaudit and
yamllint beside it, as a published wheel has it with `HATCH_BUILD_HOOKS_ENABLE=1 pip install .`.
Their bytecode is made first, as an installation from a wheel has it.
"""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import gradaudit
from gradaudit.audit import audit_path
from gradaudit.options import Options
from gradaudit.settings import Finder

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLES = REPOSITORY / "sample_configs"

SMALL = """\
# A small training config, as many projects have one.
seed: 42
experiment: baseline

data:
  root: data/train
  num_workers: 4
  batch_size: 32
  shuffle: true

model:
  name: resnet18
  width: 64
  dropout: 0.1

optimizer:
  name: adamw
  lr: 3.0e-4
  weight_decay: 0.01
  betas: [0.9, 0.999]

scheduler:
  name: cosine
  warmup_epochs: 2

training:
  epochs: 50
  gradient_clip_norm: 1.0
  precision: bf16-mixed
  log_every: 50
"""

COMPOSE_ONE = "import sys, yaml; yaml.compose(open(sys.argv[1]), yaml.CSafeLoader)"
COMPOSE_MANY = """\
import os, sys, yaml
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8-sig") as file:
            try:
                for _ in yaml.compose_all(file, yaml.CSafeLoader):
                    pass
            except (yaml.YAMLError, UnicodeDecodeError):
                pass
"""


class Cost(NamedTuple):
    """What one process took, in milliseconds."""

    wall: float
    cpu: float


class Promise(NamedTuple):
    """A ratio of wall times: `command` to `anchor` at most `limit`."""

    text: str
    command: str
    anchor: str
    limit: float


Costs = dict[str, list[Cost]]


def main() -> int:
    options = read_options()
    compileall.compile_dir(Path(gradaudit.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        small = Path(folder, "one", "train.yaml")
        small.parent.mkdir()
        small.write_text(SMALL, encoding="utf-8")
        many = Path(folder, "many")
        size = copy_configs(options.corpus, options.files, many)
        one_file = run_rounds(commands_for_one(small), options.rounds)
        directory = run_rounds(commands_for_many(many), max(options.rounds // 3, 3))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "?"
    machine = f"Python {platform.python_version()}, {processors} processors"
    print(f"{gradaudit.version_line()}, {machine}.\n")
    print(f"## One file, {len(SMALL.splitlines())} lines\n")
    kept = print_table(one_file, "compose", "yamllint", promises_for_one())
    where = "sample_configs" if options.corpus is None else "a corpus of published configs"
    print(f"\n## {options.files} files of {where}, {size / 1024:.0f} KiB, no cache\n")
    kept &= print_table(directory, "compose", "yamllint", promises_for_many(options.files))
    return 0 if kept or not options.gate else 1


def read_options() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="a third of them for many files")
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--corpus", type=Path, default=default_corpus(), metavar="DIR")
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a promise is broken")
    options = parser.parse_args()
    if options.rounds < 1 or options.files < 1:
        parser.error("--rounds and --files take a number above 0")
    if options.corpus is not None and not options.corpus.is_dir():
        parser.error(f"--corpus {options.corpus}: no such directory")
    return options


def default_corpus() -> Path | None:
    named = os.environ.get("GRADAUDIT_CORPUS")
    if named:
        return Path(named)
    beside = REPOSITORY.parent / "shared" / "corpus"
    return beside if beside.is_dir() else None


def copy_configs(corpus: Path | None, count: int, target: Path) -> int:
    """Copy `count` YAML files, and of a corpus what they are built on; returns their bytes.

    Of a corpus an even sample over all its files is taken, each at its place, so that it finds its
    base files; of fewer files each is taken again.
    """
    folder = corpus or SAMPLES
    found = sorted(p for p in folder.rglob("*") if p.suffix in (".yaml", ".yml") and p.is_file())
    if not found:
        sys.exit(f"{folder}: no YAML files")
    target.mkdir()
    if len(found) < count:
        for number in range(count):
            path = found[number % len(found)]
            shutil.copyfile(path, target / f"{number:04}{path.suffix}")
    else:
        chosen = [found[number * len(found) // count] for number in range(count)]
        for path in dict.fromkeys([*chosen, *built_on(chosen)]):
            copied = target / path.relative_to(folder)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def built_on(paths: list[Path]) -> list[Path]:
    """The files that configs are composed of."""
    options, finder = Options(), Finder(isolated=True)
    results = [audit_path(str(path), options, finder) for path in paths]
    return [
        Path(tree.source.path)
        for result in results
        if result.composed is not None
        for tree in result.composed.trees
    ]


def beside_python(name: str) -> str:
    """A console script of this Python's environment."""
    script = Path(sys.executable).parent / name
    if not script.exists():
        sys.exit(f"{script}: not found; install gradaudit and yamllint beside this Python")
    return str(script)


def commands_for_one(path: Path) -> dict[str, list[str]]:
    file = str(path)
    return {
        "compose": [sys.executable, "-c", COMPOSE_ONE, file],
        "yamllint": [beside_python("yamllint"), "-d", "relaxed", file],
        "gradaudit check": [beside_python("gradaudit"), "check", file],
        "python -m gradaudit check": [sys.executable, "-m", "gradaudit", "check", file],
        "python -c pass": [sys.executable, "-c", "pass"],
    }


def commands_for_many(folder: Path) -> dict[str, list[str]]:
    gradaudit = [beside_python("gradaudit"), "check", str(folder)]
    return {
        "compose": [sys.executable, "-c", COMPOSE_MANY, str(folder)],
        "yamllint": [beside_python("yamllint"), "-d", "relaxed", str(folder)],
        "gradaudit check": gradaudit,
        "gradaudit check --format concise": [*gradaudit, "--format", "concise"],
    }


def promises_for_one() -> list[Promise]:
    return [
        Promise("at most 1.5 x compose", "gradaudit check", "compose", 1.5),
        Promise("at least 2 x faster than yamllint", "gradaudit check", "yamllint", 1 / 2),
    ]


def promises_for_many(files: int) -> list[Promise]:
    what = f"{files} files at least 20 x faster than yamllint"
    return [Promise(what, "gradaudit check", "yamllint", 1 / 20)]


def run_rounds(commands: dict[str, list[str]], rounds: int) -> Costs:
    """Run every command once a round; one more round before, uncounted, warms the disk."""
    costs: Costs = {name: [] for name in commands}
    order = list(commands)
    shuffle = random.Random(0).shuffle
    for number in range(rounds + 1):
        shuffle(order)
        for name in order:
            cost = measure(commands[name])
            if number:
                costs[name].append(cost)
    return costs


def measure(command: list[str]) -> Cost:
    """Run a command to its end: wall time, and its own user and system time."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "FORCE_COLOR")
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=tempfile.gettempdir(),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: findings, here as in yamllint
        sys.exit(f"{' '.join(command)}: ended with {process.returncode}")
    return Cost(wall * 1000, (usage.ru_utime + usage.ru_stime) * 1000)


def ratio(costs: Costs, name: str, anchor: str, column: int = 0) -> float:
    """The median over the rounds of one command's cost to another's."""
    pairs = zip(costs[name], costs[anchor], strict=True)
    return statistics.median(first[column] / second[column] for first, second in pairs)


def print_table(costs: Costs, base: str, other: str, promises: list[Promise]) -> bool:
    """Print a table and its promises; returns whether all are kept."""
    print(f"| command | wall ms | CPU ms | wall / {base} | CPU / {base} | wall / {other} |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, measured in costs.items():
        wall = statistics.median(cost.wall for cost in measured)
        cpu = statistics.median(cost.cpu for cost in measured)
        to_base, cpu_to_base = ratio(costs, name, base), ratio(costs, name, base, 1)
        to_other = ratio(costs, name, other)
        print(
            f"| {name} | {wall:.0f} | {cpu:.0f} | {to_base:.2f} | {cpu_to_base:.2f} "
            f"| {to_other:.3f} ({1 / to_other:.1f} x faster) |"
        )
    print()
    kept = True
    for promise in promises:
        found = ratio(costs, promise.command, promise.anchor)
        good = found <= promise.limit
        kept &= good
        says = f"{found:.2f} x" if promise.limit > 1 else f"{1 / found:.1f} x faster"
        print(f"- {promise.text}: {says}: {'kept' if good else 'BROKEN'}")
    return kept


if __name__ == "__main__":
    sys.exit(main())
