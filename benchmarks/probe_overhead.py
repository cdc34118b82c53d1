"""What recording costs a step: a multi-layer perceptron, a CNN and a transformer.

Three processes train the same model: one with the recorder on its path as `gradaudit probe` puts
it there, and two without. In every round each does the same number of steps, in shuffled order; a
ratio is the median of the ratios inside the rounds, with its quartiles: of the recorder to the mean
of the two without, and of the second of these to the first, the control. How its memory lies makes
one process a few percent faster than another, so all three are started anew after five rounds.
Where the control is not near 1 the machine is too busy for the numbers to mean anything.

On the CPU it is CPU time of the process (`time.process_time`), which others on the machine disturb
less. On a GPU that says little: it is wall time, from an idle device to an idle device. The GPU is
to have no other work. There are two sizes of the models: `small` is for one thread of a CPU, and on
a GPU shows what recording costs where a step is nothing but Python and kernel launches; `large`
(11 to 117 M parameters, bf16 autocast) is what people train on one.

    python benchmarks/probe_overhead.py
    python benchmarks/probe_overhead.py --rounds 60 --gate
    python benchmarks/probe_overhead.py --device cuda --steps 100
    python benchmarks/probe_overhead.py --device cuda --size large --rounds 20

Everything is on: total and per-layer norms at each step, the update's size at every tenth, writing.
The goal is 1.05 or less.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
SHIM = REPOSITORY / "gradaudit" / "probe" / "shim"
GOAL = 1.05
ROUNDS_OF_A_SET = 5
"""Rounds after which the processes are started anew."""
MODELS = ("MLP", "CNN", "transformer")


def model_and_batch(name: str, size: str) -> tuple[Any, Any]:
    """The parameters of each are in the names of the two sizes: small, large."""
    import torch
    from torch import nn

    large = size == "large"
    if name == "MLP":  # 0.40 M, 117 M
        width, depth, batch = (4096, 7, 2048) if large else (256, 6, 512)
        layers: list[Any] = []
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.GELU()]
        return nn.Sequential(*layers, nn.Linear(width, 10)), torch.randn(batch, width)
    if name == "CNN":  # 0.70 M, 11 M; 62 tensors
        base, images, side = (64, 128, 64) if large else (16, 16, 32)
        return residual_network(base), torch.randn(images, 3, side, side)
    # 0.79 M, 85 M
    width, heads, depth, tokens = (768, 12, 12, (8, 512)) if large else (128, 4, 4, (8, 64))
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, depth)
    return nn.Sequential(encoder, nn.Linear(width, 10)), torch.randn(*tokens, width)


def residual_network(base: int) -> Any:
    """Eight residual blocks of 1 to 8 times `base` channels."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inside: int, outside: int, stride: int) -> None:
            super().__init__()
            self.path = nn.Sequential(
                nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outside),
                nn.ReLU(),
                nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
                nn.BatchNorm2d(outside),
            )
            self.skip: Any = nn.Identity()
            if inside != outside:
                self.skip = nn.Sequential(
                    nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
                )

        def forward(self, x: Any) -> Any:
            return torch.relu(self.path(x) + self.skip(x))

    sizes = [(1, 1, 1), (1, 1, 1), (1, 2, 2), (2, 2, 1), (2, 4, 2), (4, 4, 1), (4, 8, 2), (8, 8, 1)]
    blocks = [Block(base * inside, base * outside, stride) for inside, outside, stride in sizes]
    stem = [nn.Conv2d(3, base, 3, 1, 1, bias=False), nn.BatchNorm2d(base), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * base, 10)]
    return nn.Sequential(*stem, *blocks, *head)


def lacking(device: str) -> str:
    """Why nothing can be measured on a device; empty where it can."""
    try:
        import torch
    except ImportError:
        return "torch is not installed: `pip install torch`"
    if device == "cuda" and not torch.cuda.is_available():
        built = "" if torch.version.cuda else ", and this torch is a build without CUDA"
        return f"--device cuda: there is no CUDA device{built}; take --device cpu"
    return ""


def clock(device: str) -> float:
    """Seconds: of CPU time, or, with all work of the GPU done, of wall time."""
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def work(name: str, device: str, size: str) -> None:
    """In a process of its own: for each number on stdin, so many steps; says their time."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, batch = model_and_batch(name, size)
    model, batch = model.to(device), batch.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for line in sys.stdin:
        began = clock(device)
        for _ in range(int(line)):
            optimizer.zero_grad()
            with torch.autocast(device, dtype=torch.bfloat16, enabled=size == "large"):
                output = model(batch)
            output.float().pow(2).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        print(clock(device) - began, flush=True)


class Worker:
    """A training that does steps when it is told to."""

    def __init__(self, name: str, device: str, size: str, directory: str | None) -> None:
        given = {k: v for k, v in os.environ.items() if not k.startswith("GRADAUDIT")}
        given["OMP_NUM_THREADS"] = "1"
        if directory is not None:
            os.makedirs(os.path.join(directory, ".state"))
            given["PYTHONPATH"] = str(SHIM)
            given["GRADAUDIT_PROBE_DIR"] = directory
            given["GRADAUDIT_PROBE_STEPS"] = str(10**9)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", name, "--device", device, "--size", size],
            env=given, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def do(self, steps: int) -> float:
        """Seconds for so many steps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Measured(NamedTuple):
    """Of a model, a round each: ratios of the recorder and of the control; seconds a bare step."""

    on: list[float]
    control: list[float]
    bare: list[float]


def measure(name: str, device: str, size: str, rounds: int, steps: int, record: str) -> Measured:
    """With processes of their own."""
    workers = {
        "bare": Worker(name, device, size, None),
        "control": Worker(name, device, size, None),
        "on": Worker(name, device, size, record),
    }
    for worker in workers.values():
        worker.do(20)  # lazy imports, first-step names, allocator
    shuffled = random.Random(0)
    found = Measured([], [], [])
    for _ in range(rounds):
        order = list(workers)
        shuffled.shuffle(order)
        took = {which: workers[which].do(steps) for which in order}
        without = (took["bare"] + took["control"]) / 2
        found.on.append(took["on"] / without)
        found.control.append(took["control"] / took["bare"])
        found.bare.append(without / steps)
    for worker in workers.values():
        worker.end()
    assert os.path.getsize(os.path.join(record, "rank-0.jsonl")) > 0
    return found


def quartiles(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=40, help="a multiple of five")
    parser.add_argument(
        "--steps",
        type=int,
        default=10,
        help="in a round; ten hold one update ratio. On a GPU a "
        "hundred: the wait at the ends is then small beside them",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", choices=("small", "large"), default="small")
    parser.add_argument("--gate", action="store_true", help="exit 1 where the goal is missed")
    parser.add_argument("--work", choices=MODELS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.device, arguments.size)
        return 0
    if arguments.rounds < 1 or arguments.rounds % ROUNDS_OF_A_SET:
        parser.error(f"--rounds takes a multiple of {ROUNDS_OF_A_SET}")
    problem = lacking(arguments.device)
    if problem:
        parser.exit(2, f"{parser.prog}: {problem}\n")
    missed = False
    print("| model | bare step | control | with the recorder |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            sets = [
                measure(
                    name, arguments.device, arguments.size, ROUNDS_OF_A_SET, arguments.steps,
                    os.path.join(folder, f"{name}-{number}"),
                )
                for number in range(arguments.rounds // ROUNDS_OF_A_SET)
            ]  # fmt: skip
            on, control, bare = (
                [value for one in column for value in one] for column in zip(*sets, strict=True)
            )
            print(
                f"| {name} | {statistics.median(bare) * 1e3:.1f} ms | {quartiles(control)} "
                f"| {quartiles(on)} |",
                flush=True,
            )
            missed = missed or statistics.median(on) > GOAL
    print(f"\nGoal {GOAL}: {'missed' if missed else 'kept'}.")
    return 1 if missed and arguments.gate else 0


if __name__ == "__main__":
    sys.exit(main())
