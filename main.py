"""The command line of cvae_jax. `python main.py` says what to do next."""

import sys

from cvae_jax import launcher, stopping

if __name__ == "__main__":
    launcher.prepare_process()
    # What was said stays said, however the process ends.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # TextIO lacks it
    with stopping.at_once():
        from cvae_jax import cli  # takes its time, in which Ctrl-C is to be heard

        sys.exit(cli.main(sys.argv))
