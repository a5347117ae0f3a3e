"""How long a save holds up training, and how long it then goes on in the background.

    python -m benchmarks.saving

For the models of configs/demo.py and configs/bair.py: seconds until training goes on, and until
the checkpoint is whole on disk; medians of saves one after another, the first in a process left
out. Writes benchmarks/results/saving.json and prints a table.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks import timing
from configs import bair, demo
from cvae_jax import parallel, train_state, validation
from cvae_jax.checkpoints import Checkpoints
from cvae_jax.files import write_json

NUM_SAVES = 5
RESULTS = Path(__file__).parent / "results" / "saving.json"


def measure(config: Any) -> dict[str, float]:
    """Medians of a config's saves, the size of its state and of the checkpoint."""
    state = train_state.create(validation.from_config_dict(config), 4, 3)
    state = jax.block_until_ready(parallel.replicate(state))
    held, whole = [], []
    with tempfile.TemporaryDirectory() as name:
        workdir = Path(name)
        for step in range(1 + NUM_SAVES):
            with Checkpoints(workdir) as checkpoints:
                start = time.monotonic()
                checkpoints.save(step, state, {}, None)
                held.append(time.monotonic() - start)
            whole.append(time.monotonic() - start)
        last = workdir / "checkpoints" / str(NUM_SAVES)
        on_disk = sum(path.stat().st_size for path in last.rglob("*") if path.is_file())
    in_memory = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    return {
        "seconds_held_up": statistics.median(held[1:]),
        "seconds_until_whole": statistics.median(whole[1:]),
        "state_mib": in_memory / 2**20,
        "checkpoint_mib": on_disk / 2**20,
    }


def main() -> int:
    """The command; returns the exit code."""
    machine = timing.machine()
    found = {name: measure(of.get_config()) for name, of in (("demo", demo), ("bair", bair))}
    write_json(RESULTS, {"machine": machine, "num_saves": NUM_SAVES, **found})
    print("| model | state, MiB | held up, s | until whole, s |\n|---|---|---|---|")
    for name, row in found.items():
        held, whole = row["seconds_held_up"], row["seconds_until_whole"]
        print(f"| `configs/{name}.py` | {row['state_mib']:.0f} | {held:.2f} | {whole:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
