"""The small model that comes with the project: good clips before any training.

simulated_push.npz holds its parameters, simulated_push.json its config, data, training command and
evaluation; `python -m cvae_jax.pretrained` makes both of a run.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cvae_jax import evaluate, run_folder, train_state, validation
from cvae_jax.checkpoints import Checkpoints
from cvae_jax.errors import UserError
from cvae_jax.files import atomic_path, lock, read_arrays, read_json, write_json

WORKDIR = Path("runs/pretrained")
FOLDER = Path(__file__).parent
NAME = "simulated_push"
_LARGE = 2**20
"""Arrays of more numbers are kept in 8 bits, with a scale for each column; others in 16."""
_SCALE = " scale"
_REMEDY = "restore it from the repository"


def unpack(workdir: Path = WORKDIR, folder: Path = FOLDER) -> None:
    """Makes a workdir of the model, to evaluate and sample; an older one is replaced.

    Its optimizer's state is empty, so it is not to be trained on.

    Raises:
      UserError: a file in `folder` is missing or damaged, or another run is in `workdir`.
    """
    digest = _digest(folder / f"{NAME}.npz")
    with lock(workdir, "choose a --workdir"):
        if (workdir / run_folder.CONFIG_FILE).exists():
            there = run_folder.load(workdir).get(run_folder.SHIPPED)
            if there == digest:
                return
            if there is None:
                raise UserError(
                    f"{workdir}: holds a run of your own, where the model that comes with the "
                    "project belongs; move that folder, or name a --workdir"
                )
        run, state = read(folder)
        _delete_earlier(workdir)
        with Checkpoints(workdir) as checkpoints:
            checkpoints.save(int(state.step), state, run, None)
        write_json(workdir / run_folder.CONFIG_FILE, run | {run_folder.SHIPPED: digest})


def read(folder: Path = FOLDER) -> tuple[dict[str, Any], train_state.TrainState]:
    """What the model's config.json holds, and its state; that of the optimizer is empty.

    Raises:
      UserError: a file in `folder` is missing or damaged.
    """
    path = folder / f"{NAME}.json"
    about = read_json(path, _REMEDY)
    try:
        run, step = about["run"], np.int32(about["checkpoint_step"])
        config = validation.from_config_dict(run["config"])
        dims = len(run["data"]["action_mean"]), len(run["data"]["position_mean"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error!r}); {_REMEDY}") from error
    like = train_state.shapes(config, *dims)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    return run, state.replace(step=step, params=load(folder / f"{NAME}.npz", like.params))


def _delete_earlier(workdir):
    """Deletes what an earlier version of the model, or an interrupted call, left."""
    folders = ("checkpoints", "evaluation", "samples", "curves", "comparison_curves")
    found = [workdir / name for name in (*folders, "report.html", "comparison.html")]
    found = [path for path in found if path.exists() or path.is_symlink()]
    if found:
        names = ", ".join(path.name for path in found)
        print(f"{workdir}: deletes what an earlier version of the model left ({names})")
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def pack(workdir: Path, folder: Path, command: str, checkpoint: str = "best") -> None:
    """Writes the files of a trained run's checkpoint, without an evaluation.

    Raises:
      UserError: no such run or checkpoint.
    """
    run = run_folder.load(workdir)
    config = validation.from_config_dict(run["config"])
    state, step = evaluate.restore(workdir, config, checkpoint)
    save(folder / f"{NAME}.npz", state.params)
    about = {"command": command, "checkpoint_step": step, "run": run}
    write_json(folder / f"{NAME}.json", about)


def save(path: Path, params: Any) -> None:
    """Parameters as an .npz without pickle: float16, or int8 with scales where it pays."""
    arrays: dict[str, Any] = {}
    for place, leaf in jax.tree_util.tree_leaves_with_path(params):
        name, array = _name(place), np.asarray(leaf)
        if array.size > _LARGE:
            scale = np.abs(array).max(axis=tuple(range(array.ndim - 1))) / 127.0
            scale = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
            arrays[name] = np.round(array / scale).astype(np.int8)
            arrays[name + _SCALE] = scale
        else:
            arrays[name] = array.astype(np.float16)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def load(path: Path, like: Any) -> Any:
    """The parameters of `save`, in the structure of `like`, as float32.

    Raises:
      UserError: missing, damaged, or of another model.
    """
    try:
        arrays = read_arrays(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; {_REMEDY}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); {_REMEDY}") from error

    def restored(place, leaf):
        name = _name(place)
        value = arrays.get(name)
        if value is None or value.shape != leaf.shape:
            shape = None if value is None else value.shape
            raise UserError(f"{path}: {name} is {shape}, not {leaf.shape}; {_REMEDY}")
        return value.astype(np.float32) * arrays.get(name + _SCALE, np.float32(1.0))

    return jax.tree_util.tree_map_with_path(restored, like)


def _name(place) -> str:
    return jax.tree_util.keystr(place, simple=True, separator=".")


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; {_REMEDY}") from error
