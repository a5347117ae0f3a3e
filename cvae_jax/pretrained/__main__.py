"""Makes the shipped files of a trained run and evaluates what comes out of them.

    python -m cvae_jax.pretrained --workdir=runs/pretraining --command="python main.py ..."

The files are replaced only when all of it went well.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from cvae_jax import evaluate, pretrained, run_folder, validation
from cvae_jax.errors import UserError
from cvae_jax.files import read_json, write_json


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cvae_jax.pretrained", description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="a run that is trained")
    parser.add_argument("--command", required=True, help="that trained it, for the record")
    parser.add_argument("--checkpoint", default="best", help="best, latest or a step")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder, workdir = Path(name, "files"), Path(name, "run")
            pretrained.pack(asked.workdir, folder, asked.command, asked.checkpoint)
            pretrained.unpack(workdir, folder)
            config = validation.from_config_dict(run_folder.load(workdir)["config"])
            result = evaluate.run(workdir, config, "latest")
            about = folder / f"{pretrained.NAME}.json"
            write_json(about, read_json(about) | {"evaluation": result})
            for path in folder.iterdir():
                shutil.copyfile(path, pretrained.FOLDER / path.name)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
