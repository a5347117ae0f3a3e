"""From flags to a mode, and from a user's mistake to one clear message and exit code 2."""

import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags

from cvae_jax import config as config_lib
from cvae_jax.config import Config
from cvae_jax.errors import UserError

MODES = ("prepare", "train", "evaluate", "sample", "report")

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
    """Runs the mode that `argv` names; returns the exit code, 0 or 2."""
    if len(argv) == 1:
        print(USAGE)
        return 2
    if any(argument in ("--help", "-help", "-h", "--helpfull") for argument in argv[1:]):
        print(f"{USAGE}\nOther flags: --checkpoint=best|latest|STEP (evaluate, sample).\n")
        print("Fields and their defaults, of which a file in configs/ changes some:\n")
        print(config_lib.help_text())
        return 0
    try:
        _parse(argv, flag_values)
        _run(flag_values)
    except UserError as error:
        return _refuse(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        place = error.filename or f"--workdir={flag_values.workdir}"
        return _refuse(f"{place}: {error.strerror}; free or change that place, or choose another")
    return 0


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _parse(argv, flag_values):
    try:
        rest = flag_values(list(argv))
    except flags.Error as error:
        _flag_error(error)
    except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError) as error:
        _flag_error(error)  # ml_collections' way to refuse an override or a config file
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r}: not a flag; write --mode=MODE, --config=FILE and so on")
    if flag_values.mode is None:
        raise UserError(f"--mode: is missing; choose one of {', '.join(MODES)}")


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
        from cvae_jax.data import sources

        sources.prepare(_config_of_file(flag_values).data)
        return
    workdir = Path(flag_values.workdir)
    if mode == "train":
        from cvae_jax import train

        train.run(workdir, _config_of_file(flag_values))
        return
    from cvae_jax import evaluate, sample

    module = evaluate if mode == "evaluate" else sample
    module.run(workdir, _config_of_run(flag_values, workdir), flag_values.checkpoint)


def _config_of_file(flag_values) -> Config:
    """The config of the file that --config names, with its overrides."""
    if not flag_values["config"].using_default_value:
        return config_lib.from_config_dict(flag_values.config)
    raise UserError(
        f"--config: is missing; --mode={flag_values.mode} needs it, as in --config=configs/demo.py"
    )


def _config_of_run(flag_values, workdir: Path) -> Config:
    """The config that a run was trained with, under the overrides of how to measure or draw it.

    With --config=FILE too, `eval` and `sample` are the file's, and the rest has to be the run's.
    """
    from cvae_jax import run_folder

    stored = run_folder.load(workdir)["config"]
    if not flag_values["config"].using_default_value:
        asked = config_lib.to_dict(_config_of_file(flag_values))
        run_folder.check_same(workdir, stored, asked)
        stored |= {name: asked[name] for name in ("eval", "sample", "data")}
        return config_lib.from_config_dict(stored)
    for path, value in flag_values["config"].override_values.items():
        section, _, field = path.partition(".")
        if section not in ("eval", "sample") and path not in ("data.dir", "data.num_threads"):
            raise UserError(
                f"--config.{path}={value!r}: belongs to training; --mode={flag_values.mode} takes "
                "the run's own and lets you set eval.*, sample.* and data.dir"
            )
        stored[section][field] = value
    return config_lib.from_config_dict(stored)
