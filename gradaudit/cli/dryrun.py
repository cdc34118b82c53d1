"""`gradaudit dryrun`: a few steps of the user's own training, measured."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import chdir, redirect_stdout, suppress

from gradaudit.audit import audit_path
from gradaudit.cli.common import UsageError, fault, options_of, quoted
from gradaudit.cli.dry_record import told_by_signals, whole_record
from gradaudit.cli.records import record_directory, told_where, where
from gradaudit.render.output import use_color, width_of, write_lines
from gradaudit.rules.text import listed
from gradaudit.settings import BadSettings, Finder, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

    from gradaudit.audit import FileResult
    from gradaudit.cli.dry_record import Told
    from gradaudit.cli.options import CheckArguments
    from gradaudit.evidence.dry_run import DryRun
    from gradaudit.plan.model import TrainingUnit

HOW_TO_GET_TORCH = (
    "torch is not installed: `pip install torch` (the CPU build is enough: add "
    "`--index-url https://download.pytorch.org/whl/cpu`)"
)


class DryRunArguments:
    """What only `dryrun` takes; an option that was not given is None on the way in.

    given   the options on the command line that only a measurement has a use for.
    """

    def __init__(
        self,
        entry: str | None,
        steps: int | None,
        output: str | None,
        device: str | None,
        seed: int | None,
        unit: str | None,
        precision: str | None,
    ) -> None:
        measuring = {
            "--steps": steps, "--output": output, "--device": device, "--seed": seed,
            "--precision": precision,
        }  # fmt: skip
        self.given = [name for name, value in measuring.items() if value is not None]
        self.entry = entry
        self.steps = 100 if steps is None else steps
        self.output = output
        self.device = device or "cpu"
        self.seed = seed or 0
        self.unit = unit
        self.precision = precision or "config"


def run_dryrun(arguments: CheckArguments, own: DryRunArguments) -> int:
    import gc
    from importlib.util import find_spec

    gc.enable()  # off for short commands; a training makes cycles that hold memory

    given = own.given + ["--exit-zero"] * arguments.exit_zero
    if own.entry is None and given:
        are = "is" if len(given) == 1 else "are"
        return fault(
            f"{listed(given)} {are} of a measurement, which needs your training: add --entry "
            f"FILE.py:FUNCTION, or leave {'it' if are == 'is' else 'them'} out; without an entry "
            "the whole training is simulated from the config alone"
        )
    if find_spec("torch") is None:
        return fault(HOW_TO_GET_TORCH)
    if own.entry is None:
        return _simulate(arguments, own)
    try:
        finder = Finder(arguments.config, arguments.isolated)
        options = options_of(arguments, finder)
        path = arguments.paths[0]
        result = audit_path(path, options, finder)
        unit = _unit_of(result, own)
    except OSError as error:
        return fault(f"{arguments.paths[0]}: {error.strerror}")
    except (BadSettings, UsageError) as error:
        return fault(str(error))
    if result.problems:
        return _not_as_asked(path, result.problems)
    if arguments.format == "json":
        with redirect_stdout(sys.stderr):  # what the user's code prints is no JSON
            measured = _measure(own, result, unit)
    else:
        measured = _measure(own, result, unit)
    if isinstance(measured, int):
        return measured
    directory, failed = measured
    with told_where(directory):
        code = _show(arguments, unit, directory, result, finder)
    if failed:
        return fault(f"{failed}; the steps are kept, {where(directory)}")
    return code


def _simulate(arguments: CheckArguments, own: DryRunArguments) -> int:
    """Without an entry: what the config alone allows. Nothing is measured, nothing is found."""
    from gradaudit.probe.simulate import NoUnit, run_simulation
    from gradaudit.render.simulate import SAID, as_json, simulation_lines

    path = arguments.paths[0]
    try:
        finder = Finder(arguments.config, arguments.isolated)
        simulations = run_simulation(path, own.unit, options_of(arguments, finder), finder)
    except OSError as error:
        return fault(f"{path}: {error.strerror}")
    except (BadSettings, UsageError, NoUnit) as error:
        return fault(str(error))
    if simulations[0].problems and arguments.format != "json":  # the JSON has them itself
        return _not_as_asked(path, simulations[0].problems)
    if arguments.format == "json":
        units = [as_json(simulation) for simulation in simulations]
        document = {"schema": 1, "source": "simulated", "note": SAID, "units": units}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return 2 if simulations[0].problems else 0
    lines = simulation_lines(simulations, width_of(sys.stdout))
    write_lines(lines, use_color(arguments.color, sys.stdout))
    return 0


def _not_as_asked(path: str, problems: Iterable[str]) -> int:
    """Say what was asked of the file and could not be done. Nothing is measured or drawn then: a
    key that was mistyped would pass for one that changes nothing."""
    for problem in problems:
        fault(f"{path}: {problem}")
    return 2


def _unit_of(result: FileResult, own: DryRunArguments) -> TrainingUnit:
    """The training that is measured: the named one, the only one, or that of the entry's name.

    Raises: UsageError.
    """
    if result.tree is None or result.composed is None:
        said = "; ".join(f"line {f.place.line}: {f.message}" for f in result.findings)
        raise UsageError(f"{result.path} cannot be read: {said or 'it does not parse'}")
    if not result.units:
        raise UsageError(f"{result.path} holds no training settings")
    names = tuple(unit.name for unit in result.units)
    assert own.entry is not None
    module = os.path.basename(own.entry.rpartition(":")[0].removesuffix(".py"))
    wanted = own.unit
    if wanted is None:
        if len(names) == 1:
            return result.units[0]
        wanted = module.rpartition(".")[2]
        if wanted not in names:
            raise UsageError(
                f"{result.path} holds {len(names)} trainings: say which is measured with "
                f"--unit {'|'.join(names)}"
            )
    for unit in result.units:
        if unit.name == wanted:
            return unit
    hint = did_you_mean(wanted, names) or f"; units: {', '.join(names)}"
    raise UsageError(f"--unit: {result.path} has no unit `{wanted}`{hint}")


def _measure(own: DryRunArguments, result: FileResult, unit: TrainingUnit) -> tuple[str, str] | int:
    """The directory of the record and what failed after the steps, empty where nothing did; or the
    exit code where there is nothing to judge.

    What a signal ended is not judged, as under `probe`: who sent it will not wait for that.
    """
    code, failed = 0, ""
    with told_by_signals() as told:
        try:
            with record_directory(own.output, "dryrun") as directory:
                code, failed = _measure_into(directory, own, result, unit, told)
        except UsageError as error:
            return fault(str(error))
        except KeyboardInterrupt:  # a later one ends the run, with a record of what was measured
            code = 2
            with suppress(OSError):  # the terminal may be gone
                fault(f"{told.how} before the first step was done: nothing was measured")
    if not told.number:
        return code or (directory, failed)
    if not code:
        with suppress(OSError):
            sys.stderr.write(f"gradaudit: {told.how}; {where(directory)}\n")
    return 128 + told.number


def _measure_into(
    directory: str, own: DryRunArguments, result: FileResult, unit: TrainingUnit, told: Told
) -> tuple[int, str]:
    """Returns the exit code, 0 where there is a record, and what failed after the steps.

    Raises: KeyboardInterrupt before the first step is done.
    """
    from gradaudit.compose.plain import TooLarge
    from gradaudit.evidence.record_reader import BadRecord
    from gradaudit.probe.configs import bases_in, config_digests
    from gradaudit.probe.dryrun import device_of, run_dry
    from gradaudit.probe.entry import build_training, load_entry
    from gradaudit.probe.protocol import DryRunError
    from gradaudit.probe.recipe import recipe_for
    from gradaudit.probe.state import seed_all

    assert own.entry is not None
    composed = result.composed
    assert composed is not None
    about = {
        "program": os.path.basename(own.entry.rpartition(":")[0]), "entry": own.entry,
        "unit": unit.name, "config": result.path,
        "configs": config_digests([(result.path, result.path)], lambda _: bases_in(composed)),
    }  # fmt: skip
    try:
        with whole_record(directory) as write, chdir("."):  # back from where the training goes
            device = device_of(own.device)
            config = _config(result, unit)
            function = load_entry(own.entry)
            seed_all(own.seed)
            training = build_training(function, config, own.entry)
            recipe = recipe_for(unit, training)
            if own.precision == "model":
                recipe.precision = ""
            bar = Progress(own.steps, sys.stderr)
            try:
                trajectory = run_dry(
                    training, recipe, steps=own.steps, seed=own.seed, device=device, write=write,
                    about=about, progress=bar.show, closing=told.closing,
                )  # fmt: skip
            finally:
                bar.end()
    except (DryRunError, TooLarge, BadRecord) as error:
        return fault(str(error)), ""
    except OSError as error:
        return fault(f"{error.filename or directory}: {error.strerror or error}"), ""
    return 0, trajectory.failed


def _config(result: FileResult, unit: TrainingUnit) -> Any:
    from gradaudit.compose.plain import plain_config
    from gradaudit.probe.protocol import Config

    assert result.composed is not None
    whole, section = plain_config(result.composed, unit.mapping)
    return Config(whole, section, unit.name)


def _show(
    arguments: CheckArguments,
    unit: TrainingUnit,
    directory: str,
    result: FileResult,
    finder: Finder,
) -> int:
    from gradaudit.cli.dry_told import tell
    from gradaudit.evidence.dry_run import read_dry_run
    from gradaudit.evidence.record_reader import read_record
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.terms import shares_of
    from gradaudit.render.dryrun import dry_run_lines

    path, record = result.path, read_record(directory)
    shares = shares_of(Measured(unit, record, record.optimizers[0])) if record.terms else []
    run = read_dry_run(record, {share.name: share.role for share in shares})
    with suppress(OSError):  # the training may have moved the file: nothing is promised then
        tell(run, path, unit.name, record, finder)
    exit_code = 1 if is_wanting(run) and not arguments.exit_zero else 0
    if arguments.format == "json":
        from gradaudit.render.dryrun_json import as_json

        document = as_json(run, path, unit.name, directory)
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return exit_code
    named = unit.name if len(result.units) > 1 or unit.name != "main" else None
    again = _again(arguments, path, directory, named)
    lines = dry_run_lines(run, path, directory, again, width_of(sys.stdout))
    write_lines(lines, use_color(arguments.color, sys.stdout))
    return exit_code


def _again(arguments: CheckArguments, path: str, directory: str, unit: str | None) -> str:
    """The command that does what the screen promises. `unit`: of a file that has several."""
    again = f"gradaudit fix {quoted(path)} --record {quoted(directory)}"
    if unit is not None:
        again += f" --unit {quoted(unit)}"
    if arguments.config is not None:
        again += f" --config {quoted(arguments.config)}"
    return again + " --isolated" * arguments.isolated


def is_wanting(run: DryRun) -> bool:
    """Whether something should be changed: what ends with exit code 1."""
    return bool(run.balance.to_apply) or run.non_finite is not None


class Progress:
    """A line on a terminal that says how far the run is; nothing where there is none, or where it
    was closed: the run goes on, or is about to keep what it has."""

    UNTIMED = 3
    """First steps that tell nothing of the others: torch's own first calls are in them, and the
    self-check."""

    def __init__(self, steps: int, stream: TextIO) -> None:
        self._steps = steps
        self._stream = stream
        self._live = stream.isatty()
        self._shown = 0.0
        self._started = time.monotonic()

    def show(self, step: int, norm: float) -> None:
        now = time.monotonic()
        if step <= self.UNTIMED:
            self._started = now
        if not self._live or (now - self._shown < 0.1 and step < self._steps):
            return
        self._shown = now
        text = f"step {step} of {self._steps}  gradient norm {norm:.4g}"
        if step > self.UNTIMED + 1:
            left = (now - self._started) / (step - self.UNTIMED) * (self._steps - step)
            text += f"  about {left:.0f} s left"
        if step == self._steps:
            text = f"{step} steps; now measuring at these weights"
        self._draw(text)

    def end(self) -> None:
        if self._live:
            self._draw("")

    def _draw(self, text: str) -> None:
        try:
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()
        except OSError:
            self._live = False
