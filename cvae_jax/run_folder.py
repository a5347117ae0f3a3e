"""What a workdir says of its run: the config, the versions and the data that it was made with."""

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

from cvae_jax import config as config_lib
from cvae_jax.config import Config
from cvae_jax.data.statistics import Statistics
from cvae_jax.errors import UserError
from cvae_jax.files import plain, read_json, write_json

CONFIG_FILE = "config.json"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
_MAY_CHANGE = ("train.num_steps", "train.log_every_steps", "train.eval_every_steps")
_MAY_CHANGE += ("train.checkpoint_every_steps", "train.num_validation_clips")
_MAY_CHANGE += ("data.dir", "data.num_threads")


def describe(config: Config, statistics: Statistics) -> dict[str, Any]:
    """The content of config.json; a checkpoint carries the same, so it needs no data to be used."""
    return {
        "config": config_lib.to_dict(config),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "data": plain(dataclasses.asdict(statistics)),
    }


def claim(workdir: Path, config: Config, statistics: Statistics) -> dict[str, Any]:
    """Writes config.json into a new workdir; in one that has a run, checks that it is this run.

    How often to log, validate and save, the number of steps and everything under `eval` and
    `sample` may change from start to start.

    Raises:
      UserError: the workdir holds a run with another config or other data; nothing is written.
    """
    run = describe(config, statistics)
    path = workdir / CONFIG_FILE
    if path.exists():
        stored = load(workdir)
        check_same(workdir, stored["config"], run["config"])
        if stored["data"]["fingerprint"] != statistics.fingerprint:
            raise UserError(
                f"{path}: made with data {stored['data']['fingerprint'][:12]}, but "
                f"--config.data.dir={config.data.dir} holds {statistics.fingerprint[:12]}; "
                "prepare the same data or choose another --workdir"
            )
    write_json(path, run)
    return run


def load(workdir: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
      UserError: there is no such folder, run or readable file.
    """
    if not workdir.is_dir():
        raise UserError(f"--workdir={workdir}: no such folder; run --mode=train with it first")
    run = read_json(workdir / CONFIG_FILE, "run --mode=train with this --workdir first")
    if not isinstance(run, dict) or not {"config", "data", "versions"} <= run.keys():
        raise UserError(f"{workdir / CONFIG_FILE}: not the config of a run; choose another workdir")
    return run


def check_same(workdir: Path, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises UserError with every field in which a run and what is asked of it differ."""
    different = config_lib.differences(_fixed(asked), _fixed(stored))
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
