"""Flags of cvae_jax. `python main.py` says what to do next."""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from cvae_jax import cli, launcher

flags.DEFINE_enum("mode", None, cli.MODES, "what to do")
flags.DEFINE_string("workdir", None, "folder of a run; report takes several, with commas")
flags.DEFINE_string("checkpoint", "best", "best, latest or a step; for evaluate and sample")
config_flags.DEFINE_config_file(
    "config", str(Path(__file__).parent / "configs" / "demo.py"), "a file in configs/"
)

if __name__ == "__main__":
    launcher.prepare_process()
    sys.exit(cli.main(sys.argv))
