"""Read what a run left in its workdir."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvae_jax.errors import UserError
from cvae_jax.files import read_object
from cvae_jax.logs import METRICS_FILE, read_metrics
from cvae_jax.run_folder import SHIPPED

VARIANTS = {  # sections of evaluation/STEP.json beside `model`
    "copy_last_frame": "Copy last frame",
    "mean_motion": "Mean motion of the data",
    "shuffled_actions": "Model, another clip’s actions",
    "zeroed_actions": "Model, actions set to zero",
}
RECONSTRUCTION = "reconstruction_from_posterior"  # within `latent`, since it is no prediction
MEASURED = ["protocol", "model", *VARIANTS, "latent", "diversity"]


@dataclass(frozen=True)
class Run:
    """What a workdir holds; parts that are not there yet are empty."""

    name: str
    workdir: Path
    config: Mapping[str, Any]
    versions: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    evaluation: Mapping[str, Any]
    samples: Mapping[str, Any]
    shipped: bool
    """Whether it is the model that comes with the project, which is not trained here."""

    @property
    def model(self) -> Mapping[str, Any]:
        """The model's measures."""
        return self.measures("model")

    @property
    def copy_last_frame(self) -> Mapping[str, Any]:
        """The same measures of the baseline that repeats the last context frame."""
        return self.measures("copy_last_frame")

    def measures(self, section: str) -> Mapping[str, Any]:
        """The measures in a section of the evaluation, none where it was not measured."""
        return self.evaluation.get(section, {})

    @property
    def reconstruction(self) -> Mapping[str, Any]:
        """Measures of the true frames as the posterior, which sees them, lets them be drawn."""
        found = self.measures("latent").get(RECONSTRUCTION, {})
        return found if isinstance(found, Mapping) else {}

    def command(self, mode: str) -> str:
        """The command line that makes what `mode` makes in this workdir."""
        return command(mode, self.workdir)


def command(mode: str, *workdirs: Path) -> str:
    """A command line that can be pasted into a shell."""
    return f"python main.py --mode={mode} --workdir={shlex.quote(','.join(map(str, workdirs)))}"


def read_runs(workdirs: Sequence[Path]) -> list[Run]:
    """Reads runs, named after their folders where those names differ, else after their paths.

    Raises:
        UserError: a folder holds no run, or a file in it is damaged.
    """
    names = [workdir.resolve().name for workdir in workdirs]
    if len(set(names)) < len(names):
        names = [str(workdir) for workdir in workdirs]
    return [read_run(workdir, name) for workdir, name in zip(workdirs, names, strict=True)]


def read_run(workdir: Path, name: str) -> Run:
    """Reads what is there; a folder with neither config nor metrics is not a run."""
    config, metrics = workdir / "config.json", workdir / METRICS_FILE
    if not config.exists() and not metrics.exists():
        raise UserError(
            f"{workdir}: holds no run (no config.json, no {METRICS_FILE}); "
            f"choose another --workdir, or train one there with {command('train', workdir)} "
            "--config=configs/demo.py"
        )
    settings = read_object(config, ["config", "versions", "data"], "run --mode=train again")
    return Run(
        name=name,
        workdir=workdir,
        config=settings.get("config", {}),
        versions=settings.get("versions", {}),
        data=settings.get("data", {}),
        metrics=read_metrics(workdir) if metrics.exists() else [],
        evaluation=read_object(
            workdir / "evaluation" / "latest.json", MEASURED, "run --mode=evaluate again"
        ),
        samples=read_object(workdir / "samples" / "samples.json", [], "run --mode=sample again"),
        shipped=SHIPPED in settings,
    )
