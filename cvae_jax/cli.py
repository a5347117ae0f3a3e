"""From flags to a mode, and from a user's mistake to one clear message and exit code 2."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from cvae_jax import arguments, protocols, stopping, validation
from cvae_jax import config as config_lib
from cvae_jax.config import Config
from cvae_jax.errors import UserError

OF_ANY_RUN = (
    "model.dtype",
    *("data.dir", "data.source", "data.camera", "data.clip_length", "data.num_threads"),
)
"""What evaluate and sample let one set beside eval.* and sample.*, to use a run in other precision
or on other clips."""
PASSED_OVER = {
    "evaluate": ("sample.clips", "sample.num_samples"),
    "sample": (
        *("eval.num_clips", "eval.num_samples", "eval.batch_size"),
        *("eval.lpips_weights", "eval.fvd_weights", "data.num_threads"),
    ),
}
"""Of all these, what the mode does not read."""
OF_PROCESSES = ("coordinator_address", "num_processes", "process_id", "initialization_timeout")
"""Flags of training by several processes, named as `jax.distributed.initialize` names them."""

FLAGS_OF_MODES = {"checkpoint": ("evaluate", "sample")} | dict.fromkeys(OF_PROCESSES, ("train",))
"""Flags that only these modes read."""

USAGE = """cvae_jax predicts what a robot's camera will see next.

  python main.py --mode=sample   draws predictions of the model that comes with the project
  python main.py --mode=prepare  --config=configs/demo.py                      makes the data
  python main.py --mode=train    --config=configs/demo.py --workdir=runs/mine  trains, or goes on
  python main.py --mode=evaluate --workdir=runs/mine       PSNR and SSIM of the best checkpoint
  python main.py --mode=sample   --workdir=runs/mine       GIF, MP4 and PNG of predictions
  python main.py --mode=report   --workdir=runs/mine       curves and samples in one HTML page
  python main.py --mode=report   --workdir=runs/a,runs/b   compares runs

`make demo` does all of it. Any field is set by --config.SECTION.FIELD=VALUE, for example
--config.optimizer.learning_rate=1e-3; `python main.py --help` lists them all.
"""


def main(argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS) -> int:
    """Runs the mode that `argv` names; returns the exit code: 0, 2, or 130 if stopped."""
    if len(argv) == 1:
        print(USAGE)
        return 2
    if any(argument in ("--help", "-help", "-h", "--helpfull") for argument in argv[1:]):
        print(f"{USAGE}\nOther flags: --checkpoint=best|latest|STEP (evaluate, sample).")
        print(f"Several processes (train): --{', --'.join(OF_PROCESSES)}; docs/scaling.md.\n")
        print("Fields and their defaults, of which a file in configs/ changes some:\n")
        print(config_lib.help_text())
        return 0
    try:
        _parse(argv, flag_values)
        return _run(flag_values)
    except UserError as error:
        return _refuse(str(error))
    except OSError as error:
        if error.errno is None:
            raise
        place = error.filename or "a file or folder of this command"
        return _refuse(f"{place}: {error.strerror}; free or change that place, or choose another")
    except KeyboardInterrupt:
        print(stopping.STOPPED, file=sys.stderr)
        return stopping.EXIT_CODE


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _parse(argv, flag_values):
    """Raises UserError with every problem of the command line and, where it is read, the config."""
    problems = arguments.parse(argv, flag_values)
    if not flag_values.is_parsed():
        raise _problems(problems)
    problems += _of_other_modes(flag_values)
    mode = flag_values.mode
    named = not flag_values["config"].using_default_value
    shipped = mode in ("evaluate", "sample") and flag_values.workdir is None and not named
    told = any(re.match(r"Missing value for flag --?workdir\b", line) for line in problems)
    if mode not in (None, "prepare") and not flag_values.workdir and not shipped and not told:
        needed = f"--mode={mode} needs it, as in --workdir=runs/mine"
        problems.append(f"--workdir: is missing; {needed}")
    read = mode in ("prepare", "train") or (mode is None and named)
    if read and not any(line.startswith("--config=") for line in problems):
        try:
            _config_of_file(flag_values)
        except UserError as error:
            _, *lines = str(error).splitlines() if "\n" in str(error) else ("", str(error))
            problems += lines
    if problems:
        raise _problems(problems)


def _of_other_modes(flag_values):
    """A line for each flag that the mode would pass over."""
    mode, config = flag_values.mode, flag_values["config"]
    for flag, modes in FLAGS_OF_MODES.items():
        if mode and mode not in modes and not flag_values[flag].using_default_value:
            yield f"--{flag}: belongs to --mode={' and '.join(modes)}; leave it out"
    if mode == "report":
        given = [] if config.using_default_value else ["config"]
        for flag in (*given, *(f"config.{path}" for path in config.override_values)):
            yield f"--{flag}: report shows runs as they are; leave it out"


def _problems(lines):
    title = [f"the command has {len(lines)} problems:"] if len(lines) > 1 else []
    return UserError("\n".join(title + lines))


def _run(flag_values):
    """Returns the exit code, unless it raises."""
    mode = flag_values.mode
    if mode == "report":
        from cvae_jax import report

        one = Path(flag_values.workdir)  # its name may have a comma
        names = [one] if one.is_dir() else flag_values.workdir.split(",")
        if "" in names:
            raise UserError(f"--workdir={one}: a name is empty; leave out the comma beside it")
        workdirs = [*map(Path, names)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"--workdir={one}: names {twice[0]} twice; leave one out")
        print(f"written to {report.write_report(workdirs)}")
        return 0
    if mode == "prepare":
        from cvae_jax.data import preparation

        preparation.prepare(_config_of_file(flag_values).data)
        return 0
    _import_jax()
    if mode == "train":
        from cvae_jax import hosts, parallel, train

        workdir = Path(flag_values.workdir)
        config = _config_of_file(flag_values)
        with hosts.joined(*(flag_values[name].value for name in OF_PROCESSES)) as processes:
            parallel.share_cores(config.train.batch_size, *processes)
            parallel.check_devices()
            return 0 if train.run(workdir, config) else stopping.EXIT_CODE
    from cvae_jax import evaluate, parallel, pretrained, sample

    if mode == "sample":
        parallel.share_cores(parallel.MAX_CPU_DEVICES)  # before what follows looks for devices
    parallel.check_devices()
    workdir = Path(flag_values.workdir or pretrained.WORKDIR)
    if not flag_values.workdir:
        pretrained.unpack(workdir)
        print(f"no --workdir: the model that comes with this project, in {workdir}")
    module = evaluate if mode == "evaluate" else sample
    module.run(workdir, _config_of_run(flag_values, workdir), flag_values.checkpoint)
    return 0


def _import_jax():
    """Raises UserError for a variable of the environment that JAX can't read, as it does here."""
    try:
        import jax  # noqa: F401
    except ValueError as error:
        raise UserError(f"environment: {error}; change or unset that variable") from error


def _config_of_file(flag_values) -> Config:
    """The config of the file that --config names, with its overrides."""
    if not flag_values["config"].using_default_value:
        values = validation.as_dict(flag_values.config)
        _apply_protocol(values, flag_values["config"].override_values)
        return validation.from_config_dict(values)
    raise UserError(
        f"--config: is missing; --mode={flag_values.mode} needs it, as in --config=configs/demo.py"
    )


def _apply_protocol(values, overrides):
    """Lets eval.protocol set its fields, but for those that a flag sets."""
    if isinstance(values.get("eval"), dict):  # else validation says so
        protocols.apply(values["eval"], {path.removeprefix("eval.") for path in overrides})


def _config_of_run(flag_values, workdir: Path) -> Config:
    """The config that a run was trained with, under the overrides of how to measure or draw it.

    With --config=FILE too, `eval` and `sample` are the file's, and the rest has to be the run's,
    but for what a flag sets of where the clips come from. As all flags of training may be
    repeated then, those that the mode does not read are passed over.
    """
    from cvae_jax import run_folder

    stored = run_folder.stored_config(run_folder.load(workdir))
    overrides = flag_values["config"].override_values
    if not flag_values["config"].using_default_value:
        asked = config_lib.to_dict(_config_of_file(flag_values))
        chosen = [path.split(".") for path in OF_ANY_RUN if path in overrides]
        values = [asked[section][field] for section, field in chosen]
        for section, field in chosen:
            asked[section][field] = stored[section].get(field)
        run_folder.check_same(workdir, stored, asked)
        stored |= {name: asked[name] for name in ("eval", "sample")}
        for (section, field), value in zip(chosen, values, strict=True):
            stored[section][field] = value
        return validation.from_config_dict(stored)
    refused = []
    mode, passed_over = flag_values.mode, PASSED_OVER[flag_values.mode]
    own = [path for path in config_lib.fields() if path.startswith(("eval.", "sample."))]
    allowed = [path for path in (*own, *OF_ANY_RUN) if path not in passed_over]
    for path, value in overrides.items():
        section, _, field = path.partition(".")
        if path in allowed:
            stored[section][field] = value
        elif path in passed_over:
            other = " (it draws sample.num_samples)" if path == "eval.num_samples" else ""
            problem = f"--mode={mode} does not read it{other}; leave it out"
            refused.append(f"--config.{path}={value!r}: {problem}")
        else:
            problem = f"belongs to training; --mode={mode} takes the run's own and lets you set"
            refused.append(f"--config.{path}={value!r}: {problem} {', '.join(allowed)}")
    if refused:
        raise UserError("\n".join(refused))
    _apply_protocol(stored, overrides)
    return validation.from_config_dict(stored)
