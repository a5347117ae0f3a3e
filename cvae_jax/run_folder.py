"""What a workdir says of its run: the config, the versions and the data that it was made with."""

import contextlib
import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

from cvae_jax import config as config_lib
from cvae_jax import validation
from cvae_jax.config import Config
from cvae_jax.data.clip_source import ClipSource
from cvae_jax.data.sources import SOURCES, folder_of, open_simulated, open_split
from cvae_jax.data.statistics import Statistics, from_json
from cvae_jax.errors import UserError
from cvae_jax.files import plain, read_json, write_json

CONFIG_FILE = "config.json"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
_MAY_CHANGE = (
    *("model.dtype", "model.rematerialize"),
    *("train.num_steps", "train.log_every_steps", "train.eval_every_steps"),
    *("train.checkpoint_every_steps", "train.debug_nan"),
    *("data.dir", "data.path", "data.strict", "data.clip_length", "data.num_threads"),
)
_PARTS = ("config", "versions", "data")
SHIPPED = "shipped"
"""In the config.json of the model that comes with the project: the checksum of its parameters."""
_READ_SECTIONS = ("data", "kl", "optimizer", "train", "eval", "sample")


def describe(config: Config, statistics: Statistics) -> dict[str, Any]:
    """The content of config.json; a checkpoint carries the same, so it needs no data to be used."""
    return {
        "config": config_lib.to_dict(config),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "data": plain(dataclasses.asdict(statistics)),
    }


def claim(workdir: Path, config: Config, statistics: Statistics) -> dict[str, Any]:
    """Writes config.json into a new workdir; in one that has a run, checks that it is this run.

    A run has a checkpoint; one that ended before it saved binds nobody. Results whose checkpoints
    are gone are refused: they would pass for the new run's. A config.json that is lost is made
    anew, as the checkpoints tell.

    How often to log, validate and save, the precision, the number of steps unless a schedule is
    laid out over it, and everything under `eval` and `sample` may change from start to start. What
    is stored of a run that is done stays as it is.

    Raises:
      UserError: the workdir holds a run with another config or other data, one whose config is
        damaged, or the results of one alone; nothing is written.
    """
    run = describe(config, statistics)
    path = workdir / CONFIG_FILE
    steps = saved_steps(workdir)
    if path.exists() or steps:
        stored = load(workdir)
        if SHIPPED in stored:
            raise UserError(
                f"--workdir={workdir}: holds the model that comes with the project, which is for "
                "evaluate and sample; choose another --workdir"
            )
        if steps:
            check_same(workdir, stored["config"], run["config"])
            _check_num_steps(workdir, stored["config"], config)
            _check_fingerprint(stored, statistics, config)
            run["data"] = stored["data"]
    if not steps:
        _check_no_results(workdir)
    if not path.exists() or not steps or steps[-1] < config.train.num_steps:
        write_json(path, run)
    return run


def _check_no_results(workdir: Path) -> None:
    """Raises UserError if there are some, for a workdir without checkpoints."""
    found = [name for name in ("evaluation", "samples") if any(workdir.glob(f"{name}/*.json"))]
    if found:
        raise UserError(
            f"--workdir={workdir}: holds {' and '.join(found)} of a run whose checkpoints are "
            "gone; move them away or choose another --workdir"
        )


def open_clips(run: dict[str, Any], config: Config) -> ClipSource:
    """The clips that `config` asks for, normalised as the data that `run` was trained with.

    They may be of another data set if `config` names another than the run, or one that is not the
    same everywhere but the user's own. The protocol of what is measured holds both fingerprints.
    For the model that comes with the project they are simulated where they are not prepared.

    Raises:
      UserError: missing, not what they should be, or other clips than the model can work on.
    """
    same = config.data.source == run["config"]["data"].get("source")
    if same and run.get(SHIPPED) and not folder_of(config.data).exists():
        print(
            f"{config.data.source} is not prepared in {config.data.dir}: its {config.eval.split} "
            "clips are simulated as they are read"
        )
        return open_simulated(config.data, config.eval.split, statistics_of(run))
    source = open_split(config.data, config.eval.split)
    known = SOURCES[config.data.source].builder is not None  # one name, one content
    if known and same:
        _check_fingerprint(run, source.statistics, config)
    own = statistics_of(run)
    for what, of in (
        ("numbers of an action", lambda statistics: len(statistics.action_mean)),
        ("numbers of a position", lambda statistics: len(statistics.position_mean)),
        ("height and width", lambda statistics: statistics.frame_size),
    ):
        if of(source.statistics) != of(own):
            raise UserError(
                f"--config.data.source={config.data.source}: {what}: {of(source.statistics)}, but "
                f"the run was trained with {of(own)}; choose data like the run's"
            )
    return source.scaled_by(own)


def _check_fingerprint(run: dict[str, Any], statistics: Statistics, config: Config) -> None:
    """Raises UserError if the data that `config` names is not what `run` was trained with."""
    stored = run["data"]["fingerprint"]
    if stored != statistics.fingerprint:
        raise UserError(
            f"--config.data.dir={config.data.dir}: holds data {statistics.fingerprint[:12]}, but "
            f"the run was made with {stored[:12]}; prepare the same data or choose another "
            "--workdir"
        )


def load(workdir: Path) -> dict[str, Any]:
    """The content of config.json or, where that is missing, the same from the checkpoints.

    Raises:
      UserError: there is no such folder, run or readable file.
    """
    if not workdir.is_dir():
        raise UserError(f"--workdir={workdir}: no such folder; run --mode=train with it first")
    path = workdir / CONFIG_FILE
    run = None if path.exists() else _of_checkpoints(workdir)
    if run is not None:
        return run
    run = read_json(path, "run --mode=train with this --workdir first")
    if not _is_run(run):
        raise UserError(
            f"{path}: not the config of a run, or damaged; delete it to use what the checkpoints "
            "tell of the config, put the right file there or choose another --workdir"
        )
    return run


def saved_steps(workdir: Path) -> list[int]:
    """The steps of the checkpoints in a workdir, in order."""
    return sorted(int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdecimal())


def stored_config(run: dict[str, Any]) -> dict[str, Any]:
    """The config of a run; of `eval` and `sample` what its version lacked has the default."""
    fresh = config_lib.to_dict(Config())
    return run["config"] | {name: fresh[name] | run["config"][name] for name in ("eval", "sample")}


def _of_checkpoints(workdir: Path) -> dict[str, Any] | None:
    """What the latest checkpoint that can be read carries of its run, if there is one."""
    for step in reversed(saved_steps(workdir)):
        with contextlib.suppress(UserError):  # restoring it will tell
            run = read_json(workdir / "checkpoints" / str(step) / "run" / "metadata")
            if _is_run(run):
                return {part: run[part] for part in _PARTS}
    return None


def _is_run(run: Any) -> bool:
    """Whether all is there that is read of a config.json without another check."""
    return (
        isinstance(run, dict)
        and all(isinstance(run.get(part), dict) for part in _PARTS)
        and all(isinstance(run["config"].get(name), dict) for name in _READ_SECTIONS)
        and _has_statistics(run)
    )


def _has_statistics(run: dict[str, Any]) -> bool:
    try:
        statistics_of(run)
    except (ValueError, KeyError, TypeError):
        return False
    return True


def statistics_of(run: dict[str, Any]) -> Statistics:
    """What actions and positions are normalised with, wherever the run's model is used."""
    return from_json(run["data"])


def _check_num_steps(workdir: Path, stored: dict[str, Any], config: Config) -> None:
    """Raises UserError if num_steps changes under a schedule that depends on it."""
    asked, had = config.train.num_steps, stored["train"].get("num_steps")
    schedules = {"kl": config.kl.schedule, "optimizer": config.optimizer.schedule}
    laid_out = [f"--config.{k}.schedule={v}" for k, v in schedules.items() if v != "constant"]
    if asked != had and laid_out:
        raise UserError(
            f"--config.train.num_steps: asked {asked}, but the run in {workdir} has {had}, over "
            f"which {' and '.join(laid_out)} is laid out; set it back or choose another --workdir"
        )


def check_same(workdir: Path, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises UserError with every field in which a run and what is asked of it differ."""
    different = validation.differences(_fixed(asked), _fixed(stored))
    if different:
        raise UserError(
            "\n".join(
                [
                    f"--workdir={workdir}: holds a run with another config; choose another "
                    "--workdir or set these back:",
                    *different,
                ]
            )
        )


def _fixed(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a config that a run keeps for life."""
    kept: dict[str, Any] = {}
    for section, fields in config.items():
        if section in ("eval", "sample"):
            continue
        if isinstance(fields, dict):
            fields = {k: v for k, v in fields.items() if f"{section}.{k}" not in _MAY_CHANGE}
        kept[section] = fields
    return kept
