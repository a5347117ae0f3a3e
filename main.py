"""The command line of cvae_jax. `python main.py` says what to do next."""

import sys

from cvae_jax import launcher, stopping, streams

if __name__ == "__main__":
    launcher.prepare_process()
    streams.outlive_readers()
    with stopping.at_once():
        from cvae_jax import cli  # takes its time, in which Ctrl-C is to be heard

        sys.exit(cli.main(sys.argv))
