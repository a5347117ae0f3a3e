"""The layers of the package, by reading its imports and calls."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cvae_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
PROGRAM = [*FILES, *sorted((ROOT / "configs").glob("*.py")), ROOT / "main.py"]
TREES = {path: ast.parse(path.read_text()) for path in [*PROGRAM, *(ROOT / "tests").rglob("*.py")]}

PURE = ("types", "losses", "metrics", "lpips", "fvd", "protocols", "summary")
WITHOUT_MODEL = (
    *("data", "video", "sheet", "files", "errors", "logs", "tensorboard", "native_log"),
    *("stopping", "streams", "cores"),
)
OVER_TIME = (
    *("rollout", "train_state", "train_step", "train", "checkpoints", "sample", "hosts"),
    *("evaluate", "measuring", "passes", "kept", "memory", "programs", "divergence", "diagnosis"),
    "trained",
)
TOP = (*OVER_TIME, "report", "cli", "arguments", "run_folder", "parallel", "launcher")


def _name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in FILES}


def _imported(path):
    """Full names of what a file imports, wherever in the file."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _needs(path):
    """The package's modules that a file imports, and those that they import."""
    found, waiting = set(), [path]
    while waiting:
        for name in set(_imported(waiting.pop())) & MODULES.keys() - {"cvae_jax"} - found:
            found.add(name)
            waiting.append(MODULES[name])
    return found


def _within(layers):
    """Modules of the package that are one of `layers` or inside one."""
    return {name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in layers}


def _users(*names):
    """Files that name an attribute or import one, such as jax.pmap."""
    for path in PROGRAM:
        attributes = {n.attr for n in ast.walk(TREES[path]) if isinstance(n, ast.Attribute)}
        imported = {name.rsplit(".", 1)[-1] for name in _imported(path)}
        if (attributes | imported) & set(names):
            yield path.relative_to(PACKAGE).as_posix()


def test_every_layer_named_here_exists():
    for layer in (*PURE, *WITHOUT_MODEL, *TOP, "models"):
        assert _within([layer]), layer


@pytest.mark.parametrize("layer", PURE)
def test_pure_modules_know_types_alone(layer):
    assert _needs(PACKAGE / f"{layer}.py") <= {"cvae_jax.types"}


@pytest.mark.parametrize("layer", WITHOUT_MODEL)
def test_data_and_files_know_no_model(layer):
    for name in _within([layer]):
        above = _needs(MODULES[name]) & _within(["models", *TOP])
        assert not above, f"{name} needs {above}"


def test_models_know_nothing_above_them():
    for name in _within(["models"]):
        above = _needs(MODULES[name]) & _within(TOP)
        assert not above, f"{name} needs {above}"


def test_rollout_knows_no_training():
    above = _needs(PACKAGE / "rollout.py") & (_within(TOP) - {"cvae_jax.rollout"})
    assert not above


def test_report_knows_neither_model_nor_training():
    for name in _within(["report"]):
        assert not _needs(MODULES[name]) & _within(["models", *OVER_TIME])


def test_devices_are_known_in_one_file():
    assert list(_users("pmap", "pmean", "psum", "local_device_count")) == ["parallel.py"]


def test_time_is_in_one_file():
    over_groups_of_frames = ["models/convolution.py", "models/winograd.py"]
    loops = list(_users("scan", "fori_loop", "while_loop"))
    assert loops == [*over_groups_of_frames, "rollout.py"]


@pytest.mark.parametrize("path", TREES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_imports_tensorflow(path):
    assert "tensorflow" not in {name.split(".")[0] for name in _imported(path)}
    if path in PROGRAM:  # not in a string or a subprocess either
        assert not re.search(r"\bimport\s+tensorflow\b", path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_is_long(path):
    assert len(path.read_text().splitlines()) <= 300


def test_every_file_of_the_package_is_installed():
    """Modules where each folder has an __init__.py, other files by pyproject.toml's patterns."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["packages"]["find"]["include"] == [f"{PACKAGE.name}*"]
    assert {path.parent / "__init__.py" for path in FILES} <= set(FILES)
    patterns = settings["package-data"][PACKAGE.name]
    installed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    kept = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert kept - set(FILES) <= installed
