"""Command lines of `python main.py`: those a text shows, and what becomes of their arguments."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from cvae_jax import cli
from cvae_jax.errors import UserError

ROOT = Path(__file__).parents[1]


def parse(monkeypatch, *arguments: str) -> flags.FlagValues:
    """The flags of `python main.py ARGUMENTS`, typed at the repository's root.

    Without a workdir or, to train, a config they get one.

    Raises:
      UserError: the command would end with exit code 2; holds what was printed.
    """
    seen, refused = [], []

    def run(flag_values: flags.FlagValues) -> int:
        seen.append(flag_values)
        return 0

    with monkeypatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(cli, "_run", run)
        patch.setattr(cli, "_refuse", lambda message: refused.append(message) or 2)
        needed = ["--workdir=runs/any"]
        if "--mode=train" in arguments and not any(a.startswith("--config=") for a in arguments):
            needed.append("--config=configs/demo.py")
        code = cli.main(["main.py", *needed, *arguments], flags.FlagValues())
    if code:
        raise UserError(*refused)
    return seen[0]


def shown(section: str) -> Iterator[list[str]]:
    """The arguments of each `python main.py` in the bash blocks of a text in Markdown."""
    text = "\n".join(re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL))
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["python", "main.py"]:
            yield words[2:]
