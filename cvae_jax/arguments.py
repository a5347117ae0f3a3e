"""From a command line to flags, or to every problem in it at once."""

import difflib
import itertools
import os
import re
import runpy
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_dict, config_flags

from cvae_jax import config as config_lib
from cvae_jax.errors import UserError

MODES = ("prepare", "train", "evaluate", "sample", "report")
DEFAULT_CONFIG = str(Path(__file__).parents[1] / "configs" / "demo.py")
_REFUSALS = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""What absl and ml_collections raise at an argument that they do not take."""


def parse(argv: Sequence[str], flag_values: flags.FlagValues) -> list[str]:
    """Sets the flags that are good, and returns a line for each problem."""
    argv = [_at_home(argument) for argument in argv]
    given = _groups(argv[1:])
    config_file, problems = _config_file(given)
    base = [argv[0], f"--config={config_file}"] if config_file else [argv[0]]
    good = [*base]
    rest = [group for group in given if not re.match(r"--?config(=|$)", group[0])]
    together = [*good, *itertools.chain.from_iterable(rest)]
    one_by_one = any(_unknown_field(g[0]) or _waits(g) for g in rest) or _refusal(together)
    for group in rest if one_by_one else ():
        if problem := _unknown_field(group[0]) or _refusal([*base, *group]):
            problems.append(problem)
        else:
            good += group
    good = good if one_by_one else together
    if problem := _refusal(good, flag_values):
        return [*problems, problem]
    if flag_values.mode is None and not any("-mode" in group[0] for group in given):
        problems.append(f"--mode: is missing; choose one of {', '.join(MODES)}")
    return problems


def _at_home(argument: str) -> str:
    """Puts the home folder for a ~ in a flag's value, as shells do for a word of its own."""
    return re.sub(r"(?<=[=,])~[^/,]*", lambda match: os.path.expanduser(match[0]), argument)


def _groups(arguments: Sequence[str]) -> list[list[str]]:
    """Each flag with its value, which may stand apart from it."""
    groups: list[list[str]] = []
    for argument in arguments:
        if groups and _waits(groups[-1]) and not argument.startswith("--"):
            groups[-1].append(argument)
        else:
            groups.append([argument])
    return groups


def _waits(group: list[str]) -> bool:
    """Whether a flag stands there without its value, for which absl would take the next flag."""
    flag = group[0]
    return len(group) == 1 and flag[:1] == "-" and "=" not in flag and not _is_switch(flag)


def _is_switch(argument: str) -> bool:
    """Whether it is a flag that can do without a value."""
    switches = [path for path, field in config_lib.fields().items() if field.type is bool]
    match = re.fullmatch(r"--?(?:no)?config\.(.*)", argument)
    return match is not None and match[1] in switches


def _refusal(argv: list[str], flag_values: flags.FlagValues | None = None) -> str | None:
    """Parses, into flags of its own if none are given, and says what is wrong."""
    flag_values = flags.FlagValues() if flag_values is None else flag_values
    try:
        _define(argv, flag_values)
        rest = flag_values(argv)
    except _REFUSALS as error:
        return _told(_one_line(error))
    if len(rest) > 1:
        return f"{rest[1]!r}: not a flag; write --mode=MODE, --config=FILE and so on"
    return None


def _told(refusal: str) -> str:
    """What absl says of an argument, or of a field what it has to be."""
    match = re.fullmatch(r"flag --config\.([\w.]+)=(.*?): .*", refusal)
    field = config_lib.fields().get(match[1]) if match else None
    if not match or not field:
        return f"{refusal}; see python main.py --help"
    return f"--config.{match[1]}={match[2]!r}: {config_lib.must_be(field)}"


def _define(argv: list[str], flag_values: flags.FlagValues) -> None:
    """Defines them late, since a config flag parses its overrides, and may fail, on definition."""
    folder = "folder of a run; report takes several, as a,b"
    flags.DEFINE_enum("mode", None, MODES, "what to do", flag_values=flag_values)
    flags.DEFINE_string("workdir", None, folder, flag_values=flag_values)
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step", flag_values=flag_values)
    address = "HOST:PORT of process 0, or auto"
    flags.DEFINE_string("coordinator_address", None, address, flag_values=flag_values)
    for name, default, meaning in (
        ("num_processes", None, "how many processes train together"),
        ("process_id", None, "which of them this is, from 0"),
        ("initialization_timeout", 300, "seconds to wait for the others"),
    ):
        flags.DEFINE_integer(name, default, meaning, flag_values=flag_values)
    config_flags.DEFINE_config_file(
        "config", DEFAULT_CONFIG, "a file in configs/", flag_values, sys_argv=argv
    )


def _config_file(groups: list[list[str]]) -> tuple[str | None, list[str]]:
    """The last file that --config names, if it gives a config, and what is wrong if not."""
    given = [group for group in groups if re.match(r"--?config(=|$)", group[0])]
    if not given:
        return None, []
    path = "=".join(given[-1]).partition("=")[2]
    try:
        check_config_file(path)
    except UserError as error:
        return None, [str(error)]
    return path, []


def check_config_file(path: str) -> None:
    """Raises UserError if the config file does not give a config, whatever goes wrong in it."""
    if not path:
        raise UserError("--config=: names no file; write it as in --config=configs/demo.py")
    file, *argument = path.split(":", 1)
    if not Path(file).is_file():
        what = "is a folder" if Path(file).is_dir() else "no such file"
        raise UserError(f"--config={path}: {what}; name a file, as in --config=configs/demo.py")
    try:
        content = runpy.run_path(file)
        config = content["get_config"](*argument) if "get_config" in content else None
    except (Exception, SystemExit) as error:  # a user's program may raise anything
        lines = [
            at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == file
        ]
        where = f", line {lines[-1]}" if lines else ""
        told = f"{type(error).__name__}: {_one_line(error)}"
        raise UserError(f"--config={path}{where}: {told}") from error
    if not isinstance(config, config_dict.ConfigDict):
        raise UserError(f"--config={path}: needs a function get_config() that returns a ConfigDict")


def _unknown_field(argument: str) -> str | None:
    """What is wrong with a --config.FIELD that there is not."""
    fields = config_lib.fields()
    match = re.match(r"--?(?:no)?config\.([^=]*)", argument)
    if not match or match[1] in fields or any(path.startswith(f"{match[1]}.") for path in fields):
        return None
    near = difflib.get_close_matches(match[1], fields, n=1)
    hint = f" did you mean --config.{near[0]}?" if near else ""
    return f"--config.{match[1]}: no such field;{hint} see python main.py --help"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
