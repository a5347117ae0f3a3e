"""What comes from files is data: none of it is run, and nobody is listened to."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "cvae_jax").rglob("*.py")), ROOT / "main.py"]
RUNS_FILES = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads",
    "shelve.open", "yaml.load", "eval", "exec", "runpy.run_path", "importlib.import_module",
    "os.system", "joblib.load", "cloudpickle.load", "serialize_executable.deserialize_and_load",
}  # fmt: skip
ALLOWED = {
    ("arguments.py", "runpy.run_path"),  # the config file that a user names
    ("sources.py", "importlib.import_module"),  # a name from the table of sources
    ("workers.py", "pickle.load"),  # the pipe of a process that it has started
    ("parallel.py", "serialize_executable.deserialize_and_load"),  # what it has just serialised
    ("metric_weights.py", "pickle.Unpickler"),  # of known bytes, and makes arrays alone
}
LISTENS = {"socketserver", "http.server", "xmlrpc", "flask", "asyncio.start_server"}


def _named(path):
    """Dotted names that a file calls, derives from or imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call | ast.Attribute):
            yield ast.unparse(node.func if isinstance(node, ast.Call) else node)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_is_run_but_a_named_config(path):
    named = set(_named(path))
    assert {(path.name, name) for name in named & RUNS_FILES} <= ALLOWED
    assert not named & (LISTENS | {"tarfile.extractall", "archive.extractall", "tar.extractall"})
    text = path.read_text()
    assert "allow_pickle=True" not in text
    assert ".listen(" not in text
    assert "|safe" not in text  # the way around a template's escaping


TRAINS = """
import sys
found = []
def just_compiled(frame):
    while frame and frame.f_globals.get("__name__") != "jax.experimental.serialize_executable":
        frame = frame.f_back
    return frame is not None
def hear(name, values):
    if name == "socket.bind" or name == "pickle.find_class" and not just_compiled(sys._getframe()):
        found.append((name, values))
sys.addaudithook(hear)
from cvae_jax import cli
started = len(found)
code = cli.main(["main.py", *sys.argv[1:]])
print(found[started:])
sys.exit(code)
"""
"""Prints what is unpickled, but for programs just compiled, which have been in no file."""


def test_training_and_restoring_unpickle_nothing_and_listen_nowhere(tiny_data_dir, tmp_path):
    arguments = ["--mode=train", "--config=configs/tiny.py", f"--workdir={tmp_path / 'run'}"]
    arguments += [f"--config.data.dir={tiny_data_dir.dir}"]
    for num_steps in (1, 2):
        process = subprocess.run(
            [sys.executable, "-c", TRAINS, *arguments, f"--config.train.num_steps={num_steps}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert process.returncode == 0, process.stderr
        assert process.stdout.splitlines()[-1] == "[]"
    assert "going on after step 1" in process.stdout
