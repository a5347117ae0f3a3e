"""From a dictionary of settings to the dataclasses of config.py, or to every problem at once.

Nothing else checks ranges.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

from ml_collections import config_dict

from cvae_jax import protocols
from cvae_jax.config import Config, must_be
from cvae_jax.data import sources
from cvae_jax.errors import UserError


def from_config_dict(values: config_dict.ConfigDict | dict[str, Any]) -> Config:
    """The validated configuration.

    Raises:
      UserError: naming every unknown, missing or mistyped field, value out of range and
        contradiction, each with its flag, its value, the rule and the remedy.
    """
    problems: dict[str, str] = {}
    config = _build(Config, as_dict(values), "config", problems)
    lines = [*problems.values()]
    for flags, line in _contradictions(config):
        concerned = {f"config.{flag}" for flag in flags}
        concerned |= {flag.rpartition(".")[0] for flag in concerned} | {"config"}
        if not concerned & problems.keys():
            lines.append(line)
    if lines:
        raise UserError("\n".join(["the configuration has problems:", *lines]))
    return config


def as_dict(values: config_dict.ConfigDict | dict[str, Any]) -> dict[str, Any]:
    """The nested dictionaries of a config.

    Raises:
      UserError: a field of the ConfigDict waits for a value or cannot be computed.
    """
    if not isinstance(values, config_dict.ConfigDict):
        return values
    try:
        return values.to_dict()
    except Exception as error:  # a lazy field may hold any function of the user's
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"--config: {told}; give every field a value") from error


def differences(asked: dict[str, Any], stored: dict[str, Any], path="config") -> list[str]:
    """A line for each flag in which what is asked differs from what a run has stored."""
    lines = []
    for name in sorted(asked.keys() | stored.keys()):
        left, right = asked.get(name, "(absent)"), stored.get(name, "(absent)")
        if isinstance(left, dict) and isinstance(right, dict):
            lines += differences(left, right, f"{path}.{name}")
        elif left != right:
            lines.append(f"--{path}.{name}: asked {left!r}, the run has {right!r}")
    return lines


def _build(kind, values, path, problems):
    """`kind` with what is good of `values`; the rest at its default and, by flag, in `problems`."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not isinstance(values, dict):
        problems[path] = f"--{path}={values!r}: must be a section with {', '.join(fields)}"
        return kind()
    for name in sorted(values.keys() - fields.keys(), key=str):
        flag = f"{path}.{name}"
        problems[flag] = f"--{flag}: no such field; {path} has {', '.join(fields)}"
    arguments = {}
    for name, field in fields.items():
        flag = f"{path}.{name}"
        of_field: Any = field.type  # a class, as config.py does not postpone its annotations
        if name not in values:
            problems[flag] = f"--{flag}: is missing; start from cvae_jax.config.defaults()"
        elif dataclasses.is_dataclass(of_field):
            arguments[name] = _build(of_field, values[name], flag, problems)
        elif _keeps_rule(field, values[name]):
            arguments[name] = of_field(values[name])
        else:
            problems[flag] = f"--{flag}={values[name]!r}: {must_be(field)}"
    return kind(**arguments)


def _keeps_rule(field, value):
    rule = field.metadata
    allowed = (float, int) if field.type is float else (field.type,)
    return (
        type(value) in allowed
        and (field.type is not float or math.isfinite(value))
        and (not rule["choices"] or value in rule["choices"])
        and (rule["low"] is None or value >= rule["low"])
        and (rule["high"] is None or value <= rule["high"])
        and (rule["above"] is None or value > rule["above"])
    )


def _contradictions(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """What good values cannot be together: the fields concerned, and a line for the user."""
    data, model, kl, train = config.data, config.model, config.kl, config.train
    if not data.dir:
        yield ("data.dir",), "--config.data.dir='': must name a folder, as data"
    source = sources.SOURCES[data.source]
    if data.camera not in source.cameras:
        yield (
            ("data.source", "data.camera"),
            f"--config.data.camera={data.camera!r}: {data.source} has {', '.join(source.cameras)}",
        )
    clip_length = source.num_frames or data.clip_length
    for name, section in (("data", data), ("eval", config.eval)):
        length = section.num_context_frames + section.num_predicted_frames
        named = name == "eval" and config.eval.protocol != "default"
        remedy = "choose another --config.eval.protocol" if named else "lower one of them"
        if length > clip_length:
            yield (
                (
                    "data.source",
                    "data.clip_length",
                    f"{name}.num_context_frames",
                    f"{name}.num_predicted_frames",
                ),
                f"--config.{name}.num_context_frames={section.num_context_frames} + "
                f"num_predicted_frames={section.num_predicted_frames}: {length} frames, but a clip "
                f"of {data.source} has {clip_length}; {remedy}",
            )
    evaluation = config.eval
    for field, line in protocols.contradictions(evaluation.protocol, evaluation, data.camera):
        yield ("eval.protocol", field), line
    length = evaluation.num_context_frames + evaluation.num_predicted_frames
    if evaluation.fvd_weights and length < protocols.FVD_MIN_FRAMES:
        yield (
            ("eval.fvd_weights", "eval.num_context_frames", "eval.num_predicted_frames"),
            f"--config.eval.fvd_weights={evaluation.fvd_weights}: FVD needs "
            f"{protocols.FVD_MIN_FRAMES} frames or more, context included, not {length}; leave it "
            "out or predict more",
        )
    if evaluation.num_clips == 1:
        yield (
            ("eval.num_clips",),
            "--config.eval.num_clips=1: must be 0 (all) or at least 2, since one clip has no "
            "interval",
        )
    if model.last_frame_skip and model.feedback == "latent":
        yield (
            ("model.last_frame_skip", "model.feedback"),
            "--config.model.last_frame_skip=True: with --config.model.feedback='latent' there is "
            "no latest frame to take skips from; set feedback='frame' or last_frame_skip=False",
        )
    if kl.schedule == "cyclical" and 2 * kl.num_cycles > train.num_steps:
        yield (
            ("kl.schedule", "kl.num_cycles", "train.num_steps"),
            f"--config.kl.num_cycles={kl.num_cycles}: must be at most half of "
            f"--config.train.num_steps={train.num_steps}, since beta is 0 in a cycle's first step",
        )
    if kl.schedule == "linear" and train.num_steps == 1:
        yield (
            ("kl.schedule", "train.num_steps"),
            "--config.kl.schedule='linear': needs --config.train.num_steps=2 or more, since beta "
            "is 0 in the first step",
        )
    warmup_steps = config.optimizer.warmup_steps
    if warmup_steps >= train.num_steps:
        yield (
            ("optimizer.warmup_steps", "train.num_steps"),
            f"--config.optimizer.warmup_steps={warmup_steps}: must be below "
            f"--config.train.num_steps={train.num_steps}",
        )
    if not re.fullmatch(r"\d+(,\d+)*", config.sample.clips, re.ASCII):
        yield (
            ("sample.clips",),
            f"--config.sample.clips={config.sample.clips!r}: must be numbers with commas, as 0,1,2",
        )
