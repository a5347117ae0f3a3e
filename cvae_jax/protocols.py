"""The named protocols: what an evaluation fixes, so that its figures compare with others'.

A name stands for the whole measurement. An evaluation under it takes its settings from the table,
prints and stores them, and refuses what contradicts them.
"""

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

ALL_CLIPS = 0
"""As a number of clips: every clip of the split."""

FVD_MIN_FRAMES = 9
"""Of shorter clips, context included, the network of FVD has no frame left at its last pooling."""

PSNR_DEFINITIONS = {
    "frame": "dB of a frame's mean squared error over all channels, peak 1; at most 100 dB",
    "channel": "dB of each channel's mean squared error, peak 1, then their mean (finn_psnr); "
    "at most 100 dB",
}

BEST = "for each clip and each metric by itself, the sample whose mean over frames is best"


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A row of the table; None leaves a setting to the config's field of that name in `eval`."""

    about: str
    num_context_frames: int | None = None
    num_predicted_frames: int | None = None
    num_samples: int | None = None
    num_clips: int | None = None
    """From the split's first; ALL_CLIPS for every one."""
    split: str | None = None
    camera: str | None = None
    """None: whichever `data.camera` says."""
    psnr: str = "frame"
    """Which of PSNR_DEFINITIONS."""

    def settings(self) -> dict[str, Any]:
        """What it fixes of the config's section `eval`, by field."""
        names = ("num_context_frames", "num_predicted_frames", "num_samples", "num_clips", "split")
        fixed = {name: getattr(self, name) for name in names}
        return {name: value for name, value in fixed.items() if value is not None}


PROTOCOLS = {
    "default": Protocol("this project's own: everything as eval.* says"),
    # One sample a clip, frames 2 to 11 of every test clip; the lab's code averages by channel.
    "lab": Protocol(
        "the lab's course on SVG, its finn_psnr over the whole test split",
        num_context_frames=2,
        num_predicted_frames=10,
        num_samples=1,
        num_clips=ALL_CLIPS,
        split="test",
        camera="image_aux1",
        psnr="channel",
    ),
    # As SVG's generate_svg_lp.py and SRVP's test.py, which both average decibels over channels.
    "svg": Protocol(
        "SVG (Denton & Fergus 2018) and SRVP (Franceschi et al. 2020) on BAIR",
        num_context_frames=2,
        num_predicted_frames=28,
        num_samples=100,
        num_clips=256,
        split="test",
        camera="image_aux1",
        psnr="channel",
    ),
    # As iVideoGPT's video_metric.py. Their public loader reads aux1_image: mind it if you compare.
    "ivideogpt": Protocol(
        "iVideoGPT (Wu et al. 2024) on BAIR",
        num_context_frames=1,
        num_predicted_frames=15,
        num_samples=100,
        num_clips=256,
        split="test",
        camera="image_main",
    ),
}


def apply(evaluation: dict[str, Any], given: Collection[str]) -> None:
    """Sets what the protocol of a config's section `eval` fixes, but for the fields of `given`.

    Those are the user's own words; where they say otherwise than the protocol, `contradictions`
    tells. An unknown protocol changes nothing here, since validation names it.
    """
    name = evaluation.get("protocol", "default")
    protocol = PROTOCOLS[name if isinstance(name, str) and name in PROTOCOLS else "default"]
    evaluation |= {k: v for k, v in protocol.settings().items() if k not in given}


def contradictions(name: str, evaluation: Any, camera: str) -> Iterator[tuple[str, str]]:
    """For each setting that is not what protocol `name` says: its field and a line for the user.

    Args:
      name: a key of PROTOCOLS.
      evaluation: the config's section `eval`.
      camera: the config's data.camera.
    """
    protocol = PROTOCOLS[name]
    for field, fixed in protocol.settings().items():
        if (value := getattr(evaluation, field)) != fixed:
            fixed = "0 (all)" if (field, fixed) == ("num_clips", ALL_CLIPS) else fixed
            yield (
                f"eval.{field}",
                f"--config.eval.{field}={value}: --config.eval.protocol={name} means {fixed}; "
                "leave the field out, or set protocol=default",
            )
    if protocol.camera not in (None, camera):
        yield (
            "data.camera",
            f"--config.data.camera={camera}: --config.eval.protocol={name} means "
            f"{protocol.camera}; set that camera, on data that have it, or set protocol=default",
        )
