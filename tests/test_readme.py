"""The README's commands, fields, files and links are true. Nothing heavy is run."""

import re
import shlex

import pytest

from cvae_jax import cli, validation
from cvae_jax.data import sources
from tests.command_line import ROOT, parse
from tests.test_config import FIELDS

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
SPANS = re.findall(r"`([^`\n]+)`", PROSE)
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SECTIONS = sorted({path.split(".")[0] for path in FIELDS if "." in path})


def _command_lines():
    """Every line of shell, in a block or in the text."""
    shell = "\n".join(text for kind, text in BLOCKS if kind in ("bash", "sh", "shell"))
    yield from shell.replace("\\\n", " ").splitlines()
    yield from (span for span in SPANS if re.search(r"\b(python main\.py|make)\b", span))


def _commands(program):
    """The arguments of each command line of `program`, as a shell would split them."""
    for line in _command_lines():
        words = [word for word in shlex.split(line, comments=True) if word != "..."]
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)  # settings of the environment
        if words[: len(program)] == program:
            yield tuple(words[len(program) :])


MAIN = sorted(set(_commands(["python", "main.py"])))
MAKE = sorted(set(_commands(["make"])) - {()})
RUNS = [arguments for arguments in MAIN if arguments not in ((), ("--help",))]


def test_readme_has_the_commands_that_these_tests_check():
    modes = {word for arguments in MAIN for word in arguments if word.startswith("--mode=")}
    assert modes == {f"--mode={m}" for m in ("prepare", "train", "evaluate", "sample", "report")}
    assert {("demo",), ("test",)} <= set(MAKE)
    assert sum("main.py --mode" in text for _, text in BLOCKS) >= 3


@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_command_is_understood(monkeypatch, arguments):
    parsed = parse(monkeypatch, *arguments)
    validation.from_config_dict(parsed.config)
    assert parsed.workdir or parsed.mode in ("prepare", "evaluate", "sample")
    assert re.fullmatch(r"best|latest|\d+", parsed.checkpoint)
    if parsed.mode in ("prepare", "train"):
        assert not parsed["config"].using_default_value
    elif parsed["config"].using_default_value:  # the run's own config, but for how to measure it
        changed = parsed["config"].override_values.keys() - set(cli.OF_ANY_RUN)
        assert {path.split(".")[0] for path in changed} <= {"eval", "sample"}


@pytest.mark.parametrize("arguments", MAKE, ids=" ".join)
def test_make_target_exists(arguments):
    targets = [word for word in arguments if not re.fullmatch(r"[A-Z]+=\S+", word)]
    assert targets
    assert set(targets) <= TARGETS
    for variable in set(arguments) - set(targets):
        assert f"{variable.split('=')[0]} ?=" in (ROOT / "Makefile").read_text()


def test_shell_commands_are_of_programs_that_this_test_knows():
    others = {shlex.split(line, comments=True)[0] for line in _command_lines() if line.strip()}
    others = {word for word in others if not re.fullmatch(r"[A-Z_]+=.*", word)}
    assert others <= {"python", "python3", "make", ".", "pip"}


def test_every_field_that_is_named_exists():
    text = re.sub(r"^```python\n.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(rf"(?<![\w/.])(?:config\.)?((?:{'|'.join(SECTIONS)})\.[a-z_]+)\b", text)
    named += [path for path in re.findall(r"--config\.([a-z_.]+)", README) if path]
    named = {name for name in named if not name.endswith(".py")}
    assert len(named) > 10
    assert named <= FIELDS.keys()


@pytest.mark.parametrize("span", sorted({s for s in SPANS if re.fullmatch(r"[a-z_.]+=\w+", s)}))
def test_setting_that_is_named_has_the_value(span):
    name, value = span.split("=")
    fields = [field for path, field in FIELDS.items() if f".{path}".endswith(f".{name}")]
    assert fields
    choices = [field.metadata["choices"] for field in fields]
    assert any(allowed is None or value in allowed for allowed in choices)


def test_linked_files_exist():
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", README) if "://" not in link]
    assert links
    missing = [
        link for link in links if not link.startswith("runs/") and not (ROOT / link).exists()
    ]
    assert missing == []


def test_source_files_that_are_named_exist():
    named = {span for span in SPANS if re.fullmatch(r"[\w/]+(\.py|/)", span)}
    made = {name for name in named if name.startswith(("runs/", "data/")) and name[-1] == "/"}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cvae_jax").rglob("*")}
    missing = [
        name
        for name in sorted(named - made)
        if not (ROOT / name).exists()
        if not any(f"/{path}".endswith(f"/{name.rstrip('/')}") for path in there)
    ]
    assert len(named) > 10
    assert missing == []


def test_data_sources_of_the_table_exist_with_their_cameras():
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\|([^|]*)\|$", README, re.MULTILINE)
    told = {name: tuple(re.findall(r"`(\w+)`", cameras)) for name, cameras in rows}
    told = {name: cameras for name, cameras in told.items() if cameras}
    assert told == {
        name: source.cameras
        for name, source in sources.SOURCES.items()
        if not name.endswith("_tiny")
    }


def test_examples_of_a_source_are_some():
    text = (ROOT / "docs" / "adding_data.md").read_text()
    blocks = re.findall(r"^```python\n(\".*?)^```", text, re.MULTILINE | re.DOTALL)
    examples = eval("{" + "".join(blocks) + "}", {"Source": sources.Source})
    assert len(examples) == 2
    assert examples["robonet"] == sources.SOURCES["robonet"]


def test_nothing_is_left_to_fill_in():
    assert re.findall(r"@@\w*|TODO|TBD", README) == []
