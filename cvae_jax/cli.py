"""From flags to a mode, and from a user's mistake to one clear message and exit code 2."""

import difflib
import re
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import config_dict, config_flags

from cvae_jax import config as config_lib
from cvae_jax import protocols, validation
from cvae_jax.config import Config
from cvae_jax.errors import UserError

MODES = ("prepare", "train", "evaluate", "sample", "report")
OF_THE_CLIPS = ("data.dir", "data.source", "data.camera", "data.clip_length", "data.num_threads")
"""What evaluate and sample let one set of `data`, to use a run on other clips."""
OF_PROCESSES = ("coordinator_address", "num_processes", "process_id", "initialization_timeout")
"""Flags of training by several processes, named as `jax.distributed.initialize` names them."""
DEFAULT_CONFIG = str(Path(__file__).parents[1] / "configs" / "demo.py")

USAGE = """cvae_jax predicts what a robot's camera will see next.

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
    """Runs the mode that `argv` names; returns the exit code: 0, 2, or 130 after Ctrl-C."""
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
        _run(flag_values)
    except UserError as error:
        return _refuse(str(error))
    except OSError as error:
        if error.errno is None:
            raise
        place = error.filename or "a file or folder of this command"
        return _refuse(f"{place}: {error.strerror}; free or change that place, or choose another")
    except KeyboardInterrupt:
        print("stopped; the same command goes on from what is saved", file=sys.stderr)
        return 130
    return 0


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _parse(argv, flag_values):
    _check_config_file(argv)
    _check_overrides(argv)
    try:
        _define_flags(argv, flag_values)
        rest = flag_values(list(argv))
    except flags.Error as error:
        _flag_error(error)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _flag_error(error)  # ml_collections' way to refuse an override
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r}: not a flag; write --mode=MODE, --config=FILE and so on")
    if flag_values.mode is None:
        raise UserError(f"--mode: is missing; choose one of {', '.join(MODES)}")


def _define_flags(argv, flag_values):
    """Defines them late, since a config flag parses its overrides, and may fail, on definition."""
    for define, name, *arguments in (
        (flags.DEFINE_enum, "mode", None, MODES, "what to do"),
        (flags.DEFINE_string, "workdir", None, "folder of a run; report takes several, as a,b"),
        (flags.DEFINE_string, "checkpoint", "best", "best, latest or a step"),
        (flags.DEFINE_string, "coordinator_address", None, "HOST:PORT of process 0, or auto"),
        (flags.DEFINE_integer, "num_processes", None, "how many processes train together"),
        (flags.DEFINE_integer, "process_id", None, "which of them this is, from 0"),
        (flags.DEFINE_integer, "initialization_timeout", 300, "seconds to wait for the others"),
    ):
        define(name, *arguments, flag_values=flag_values)
    config_flags.DEFINE_config_file(
        "config", DEFAULT_CONFIG, "a file in configs/", flag_values, sys_argv=list(argv)
    )


def _check_config_file(argv):
    """Raises UserError if the config file does not give a config, whatever goes wrong in it."""
    given = re.findall(r"^--?config[=\n](.+)$", "\n".join(argv), re.MULTILINE)
    path = given[-1] if given else DEFAULT_CONFIG
    file, *argument = path.split(":", 1)
    if not Path(file).is_file():
        what = "is a folder" if Path(file).is_dir() else "no such file"
        raise UserError(f"--config={path}: {what}; name a file, as in --config=configs/demo.py")
    try:
        content = runpy.run_path(file)
        config = content["get_config"](*argument) if "get_config" in content else None
    except Exception as error:  # a user's program may raise anything
        lines = [
            at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == file
        ]
        where = f", line {lines[-1]}" if lines else ""
        text = " ".join(str(error).split())
        raise UserError(f"--config={path}{where}: {type(error).__name__}: {text}") from error
    if not isinstance(config, config_dict.ConfigDict):
        raise UserError(f"--config={path}: needs a function get_config() that returns a ConfigDict")


def _check_overrides(argv):
    """Raises UserError at the first --config.FIELD that there is not."""
    known = config_lib.field_paths()
    for argument in argv[1:]:
        match = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if match and match[1] not in known:
            fields = [path for path in known if "." in path]
            near = difflib.get_close_matches(match[1], fields, n=1)
            hint = f" did you mean --config.{near[0]}?" if near else ""
            raise UserError(f"--config.{match[1]}: no such field;{hint} see python main.py --help")


def _flag_error(error: Exception) -> NoReturn:
    text = " ".join(str(error).split())
    raise UserError(f"{text}; see python main.py --help") from error


def _run(flag_values):
    mode = flag_values.mode
    if mode != "prepare" and not flag_values.workdir:
        raise UserError(f"--workdir: is missing; --mode={mode} needs it, as in --workdir=runs/mine")
    if mode == "report":
        from cvae_jax import report

        workdirs = [Path(name) for name in flag_values.workdir.split(",")]
        print(f"written to {report.write_report(workdirs)}")
        return
    if mode == "prepare":
        from cvae_jax.data import preparation

        preparation.prepare(_config_of_file(flag_values).data)
        return
    workdir = Path(flag_values.workdir)
    if mode == "train":
        from cvae_jax import hosts, parallel, train

        config = _config_of_file(flag_values)
        with hosts.joined(*(flag_values[name].value for name in OF_PROCESSES)) as processes:
            parallel.share_cores(config.train.batch_size, *processes)
            train.run(workdir, config)
        return
    from cvae_jax import evaluate, sample

    module = evaluate if mode == "evaluate" else sample
    module.run(workdir, _config_of_run(flag_values, workdir), flag_values.checkpoint)


def _config_of_file(flag_values) -> Config:
    """The config of the file that --config names, with its overrides."""
    if not flag_values["config"].using_default_value:
        values = flag_values.config.to_dict()
        _apply_protocol(values, flag_values["config"].override_values)
        return validation.from_config_dict(values)
    raise UserError(
        f"--config: is missing; --mode={flag_values.mode} needs it, as in --config=configs/demo.py"
    )


def _apply_protocol(values, overrides):
    """Lets eval.protocol set its fields, but for those that a flag sets."""
    protocols.apply(values["eval"], {path.removeprefix("eval.") for path in overrides})


def _config_of_run(flag_values, workdir: Path) -> Config:
    """The config that a run was trained with, under the overrides of how to measure or draw it.

    With --config=FILE too, `eval` and `sample` are the file's, and the rest has to be the run's,
    but for what a flag sets of where the clips come from.
    """
    from cvae_jax import run_folder

    stored = run_folder.load(workdir)["config"]
    fresh = config_lib.to_dict(Config())  # a run of an older version lacks newer fields of these
    stored |= {name: fresh[name] | stored[name] for name in ("eval", "sample")}
    overrides = flag_values["config"].override_values
    if not flag_values["config"].using_default_value:
        asked = config_lib.to_dict(_config_of_file(flag_values))
        fields = [path.partition(".")[2] for path in OF_THE_CLIPS if path in overrides]
        clips = {field: asked["data"][field] for field in fields}
        asked["data"] |= {field: stored["data"].get(field) for field in fields}
        run_folder.check_same(workdir, stored, asked)
        stored |= {name: asked[name] for name in ("eval", "sample")}
        stored["data"] |= clips
        return validation.from_config_dict(stored)
    for path, value in overrides.items():
        section, _, field = path.partition(".")
        if section not in ("eval", "sample") and path not in OF_THE_CLIPS:
            raise UserError(
                f"--config.{path}={value!r}: belongs to training; --mode={flag_values.mode} takes "
                f"the run's own and lets you set eval.*, sample.*, {', '.join(OF_THE_CLIPS)}"
            )
        stored[section][field] = value
    _apply_protocol(stored, overrides)
    return validation.from_config_dict(stored)
