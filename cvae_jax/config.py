"""Every setting, its default, its rule and its one-line help.

`defaults()` gives the `ConfigDict` that a file in configs/ starts from and flags override;
validation.py turns the finished dictionary into these dataclasses.
"""

import dataclasses
from typing import Any

from ml_collections import config_dict

from cvae_jax import protocols
from cvae_jax.data import sources

_MANY = 10**9
"""The most of anything that is counted: steps, clips and so on fit into 32 bits."""
_LARGEST = 1e9
"""What is larger was never meant, and leaves float32 in a few products."""


def setting(default, text, *, low=None, high=None, above=None, choices=None):
    """A dataclass field with its help text and its allowed range (ends included) or choices."""
    rule = {"help": text, "low": low, "high": high, "above": above, "choices": choices}
    return dataclasses.field(default=default, metadata=rule)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which clips, and how much of each."""

    source: str = setting("simulated_push", "data set", choices=tuple(sources.SOURCES))
    dir: str = setting("data", "folder that holds the prepared data sets")
    path: str = setting("", "what you already have, to prepare from: archive, file or folder")
    strict: bool = setting(False, "prepare refuses at the first bad clip, not at over 1 % of them")
    clip_length: int = setting(
        30, "frames of a clip, where the data leave that open", low=2, high=1000
    )
    camera: str = setting("image_main", "which camera's frames are predicted")
    num_context_frames: int = setting(2, "true frames the model sees first", low=1, high=1000)
    num_predicted_frames: int = setting(
        10, "frames predicted after them in training", low=1, high=1000
    )
    num_threads: int = setting(2, "threads that decode frames", low=1, high=256)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The networks; see cvae_jax/models."""

    width: int = setting(
        64, "channels of the first encoder stage; 64 is the full VGG", low=1, high=4096
    )
    z_dim: int = setting(64, "dimensions of the latent z_t", low=1, high=65536)
    # 2 at least, since they are normalised: a single one would be 0 throughout.
    g_dim: int = setting(
        128, "dimensions of h_t and g_t (channels, if predictor=conv)", low=2, high=65536
    )
    predictor: str = setting(
        "mlp", "mlp: g_t is a vector; conv: g_t is an 8x8 map", choices=("mlp", "conv")
    )
    predictor_width: int = setting(
        256, "hidden units or channels of the predictor", low=1, high=65536
    )
    predictor_depth: int = setting(2, "residual blocks of the predictor", low=1, high=100)
    window: int = setting(2, "how many latest h or g the predictor reads", low=1, high=100)
    condition: str = setting(
        "action_position",
        "what each step is conditioned on",
        choices=("action_position", "action", "none"),
    )
    feedback: str = setting(
        "latent",
        "what a free-running step lives on: its own g (latent) or its re-encoded frame",
        choices=("latent", "frame"),
    )
    output: str = setting(
        "direct",
        "direct: the decoder's frame; composite: mixed with the last context frame, also moved",
        choices=("direct", "composite"),
    )
    prior: str = setting("fixed", "N(0, I), or learned from the past", choices=("fixed", "learned"))
    last_frame_skip: bool = setting(
        False, "skips from the latest frame rather than the last context frame"
    )
    dtype: str = setting(
        "float32", "compute precision; parameters are float32", choices=("float32", "bfloat16")
    )
    rematerialize: bool = setting(
        False,
        "blocks of a training step keep their input and make the rest again: less memory, slower",
    )


@dataclasses.dataclass(frozen=True)
class KLConfig:
    """beta by step."""

    weight: float = setting(
        1e-4, "beta, the weight of the KL term, at its highest", low=0.0, high=_LARGEST
    )
    schedule: str = setting(
        "constant", "how beta gets there", choices=("constant", "linear", "cyclical")
    )
    num_cycles: int = setting(4, "cycles over the run (cyclical)", low=1, high=_MANY)
    ratio: float = setting(
        0.5, "fraction of a cycle (cyclical) or run (linear) in which beta rises", above=0, high=1
    )


@dataclasses.dataclass(frozen=True)
class TeacherForcingConfig:
    """How often training sees true frames in place of its own."""

    start_decay_step: int = setting(
        0, "step at which the ratio starts to fall from 1", low=0, high=_MANY
    )
    decay_steps: int = setting(0, "steps that it takes to fall to lower_bound", low=0, high=_MANY)
    lower_bound: float = setting(0.0, "the ratio that it falls to", low=0.0, high=1.0)
    unit: str = setting("batch", "what one draw decides for", choices=("batch", "clip", "frame"))


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How gradients change the parameters."""

    name: str = setting(
        "adam",
        "adam, or muon, which makes updates of most kernels orthogonal: learns more by a step",
        choices=("adam", "muon"),
    )
    learning_rate: float = setting(2e-3, "the step size, at its highest", above=0.0, high=_LARGEST)
    schedule: str = setting(
        "constant", "of the learning rate, after warm-up", choices=("constant", "cosine")
    )
    warmup_steps: int = setting(0, "steps of linear warm-up", low=0, high=_MANY)
    gradient_clip_norm: float = setting(
        0.0, "largest global norm of the gradient; 0 means no clipping", low=0.0, high=_LARGEST
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length of a run, and how often it logs, validates and saves."""

    batch_size: int = setting(12, "clips a step, over all devices", low=1, high=65536)
    num_steps: int = setting(180_000, "steps in all", low=1, high=10**8)
    log_every_steps: int = setting(50, "steps between lines of metrics.jsonl", low=1, high=_MANY)
    eval_every_steps: int = setting(3_000, "steps between validations", low=1, high=_MANY)
    checkpoint_every_steps: int = setting(3_000, "steps between checkpoints", low=1, high=_MANY)
    num_validation_clips: int = setting(64, "clips of each validation", low=1, high=_MANY)
    debug_nan: bool = setting(
        False, "stop at the first step that is not finite and name the layer; waits for each step"
    )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """What --mode=evaluate measures, and whose clips --mode=sample draws."""

    protocol: str = setting(
        "default",
        "a named measurement, which sets the fields below; default: they say it",
        choices=tuple(protocols.PROTOCOLS),
    )
    split: str = setting("test", "which split is measured", choices=("train", "validation", "test"))
    num_clips: int = setting(
        256, "clips measured, from the split's first, at least 2; 0: all", low=0, high=_MANY
    )
    num_context_frames: int = setting(2, "true frames the model sees first", low=1, high=1000)
    num_predicted_frames: int = setting(10, "frames predicted after them", low=1, high=1000)
    num_samples: int = setting(1, "samples from the prior for each clip", low=1, high=10_000)
    batch_size: int = setting(
        32, "clips from one saving to the next; changes no result", low=1, high=65536
    )
    lpips_weights: str = setting("", "file of cvae_jax.metric_weights; empty: LPIPS is left out")
    fvd_weights: str = setting("", "file of cvae_jax.metric_weights; empty: FVD is left out")


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """What --mode=sample draws."""

    clips: str = setting("0,1,2,3", "which clips of eval.split to draw, by number")
    num_samples: int = setting(
        3, "samples from the prior: 4 are drawn, all enter their deviation", low=1, high=1000
    )

    @property
    def clip_ids(self) -> list[int]:
        """`clips` as numbers."""
        return [int(clip) for clip in self.clips.split(",")]


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that is set."""

    seed: int = setting(0, "of everything random", low=0, high=2**31 - 1)
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    kl: KLConfig = KLConfig()
    teacher_forcing: TeacherForcingConfig = TeacherForcingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    sample: SampleConfig = SampleConfig()


def defaults() -> config_dict.ConfigDict:
    """Every field at its default, as a dictionary that flags can override."""
    return config_dict.ConfigDict(to_dict(Config()))


def to_dict(config: Config) -> dict[str, Any]:
    """The nested plain dictionary of `config`, as config.json stores it."""
    return dataclasses.asdict(config)


def fields() -> dict[str, dataclasses.Field]:
    """Every field, by the path that may follow `--config.`, as `model.width`."""
    found: dict[str, dataclasses.Field] = {}
    for field in dataclasses.fields(Config):
        kind: Any = field.type
        if dataclasses.is_dataclass(kind):
            found |= {f"{field.name}.{inner.name}": inner for inner in dataclasses.fields(kind)}
        else:
            found[field.name] = field
    return found


def help_text() -> str:
    """Every field in two lines: flag and default, help and rule."""
    return "\n".join(
        f"  --config.{path}={field.default}\n      {field.metadata['help']}{rule_text(field)}"
        for path, field in fields().items()
    )


def must_be(field) -> str:
    """For a message: what a value of the field has to be."""
    rule = " (true or false)" if field.type is bool else rule_text(field)
    return f"must be {field.type.__name__}{rule}"


def rule_text(field) -> str:
    """A field's range or choices in words, with a space and parentheses; empty if it has none."""
    rule = field.metadata
    parts = []
    if rule["choices"]:
        parts.append("one of " + ", ".join(rule["choices"]))
    if rule["low"] is not None:
        parts.append(f"at least {rule['low']}")
    if rule["above"] is not None:
        parts.append(f"more than {rule['above']}")
    if rule["high"] is not None:
        parts.append(f"at most {rule['high']}")
    return f" ({', '.join(parts)})" if parts else ""
