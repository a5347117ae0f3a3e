"""The command line of cvae_jax. `python main.py` says what to do next."""

import sys

from cvae_jax import cli, launcher

if __name__ == "__main__":
    launcher.prepare_process()
    sys.exit(cli.main(sys.argv))
