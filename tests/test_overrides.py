"""Every field is set by `--config.SECTION.FIELD=VALUE`, through main.py's own flags."""

import dataclasses
import re

import pytest

from configs import demo
from cvae_jax import validation
from cvae_jax.errors import UserError
from tests.command_line import parse
from tests.test_config import FIELDS

FREE_TEXT = {
    "data.dir": "/some/where else",
    "data.path": "/an/archive.tar",
    "data.camera": "image_aux1",
    "eval.lpips_weights": "lpips.npz",
    "eval.fvd_weights": "/some/i3d.npz",
    "sample.clips": "7,9",
}
NEEDED_TOO = {
    "data.camera": ["--config.data.source=bair_robot_pushing_small"],
    "model.last_frame_skip": ["--config.model.feedback=frame"],
}


def _value(config, path):
    for name in path.split("."):
        config = config[name] if not dataclasses.is_dataclass(config) else getattr(config, name)
    return config


def _another(path):
    """A value that the field's rule allows and configs/demo.py does not have."""
    field, now = FIELDS[path], _value(demo.get_config(), path)
    if field.type is bool:
        return not now
    if field.metadata["choices"]:
        return next(choice for choice in field.metadata["choices"] if choice != now)
    if field.type is str:
        return FREE_TEXT[path]
    return now + 1 if field.type is int else now / 2 or 0.25


# eval.protocol sets other fields too: test_protocols.py
@pytest.mark.parametrize("path", [path for path in FIELDS if path != "eval.protocol"])
def test_every_field_is_set_by_its_flag(monkeypatch, path):
    value = _another(path)
    arguments = [f"--config.{path}={value}", *NEEDED_TOO.get(path, [])]
    parsed = parse(monkeypatch, "--mode=train", *arguments).config
    config = validation.from_config_dict(parsed)
    assert _value(config, path) == value
    assert type(_value(config, path)) is FIELDS[path].type
    changed = [
        other for other in FIELDS if _value(config, other) != _value(demo.get_config(), other)
    ]
    assert len(changed) == len(arguments)


def test_a_tilde_in_a_value_is_the_home_folder(monkeypatch, tmp_path):
    """A shell expands that of a word of its own alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    flags = parse(monkeypatch, "--mode=train", "--workdir=~/run", "--config.data.dir=~/b~/c")
    assert (flags.workdir, flags.config.data.dir) == (f"{tmp_path}/run", f"{tmp_path}/b~/c")
    assert parse(monkeypatch, "--mode=report", "--workdir=a,~/b").workdir == f"a,{tmp_path}/b"


def test_learning_rate_in_scientific_notation(monkeypatch):
    parsed = parse(monkeypatch, "--mode=train", "--config.optimizer.learning_rate=1e-3").config
    assert validation.from_config_dict(parsed).optimizer.learning_rate == 0.001


@pytest.mark.parametrize(
    "spelling", ["--config.model.last_frame_skip", "--noconfig.model.last_frame_skip"]
)
def test_switches_can_do_without_a_value(monkeypatch, spelling):
    frame = "--config.model.feedback=frame"
    parsed = parse(monkeypatch, "--mode=train", frame, spelling).config
    assert parsed.model.last_frame_skip is not spelling.startswith("--no")


@pytest.mark.parametrize(
    "wrong",
    [
        "--config.model.wdith=3",
        "--config.model.width=wide",
        "--config.optimizer.learning_rate=fast",
        "--mode=tarin",
        "--wrokdir=runs/demo",
        "--config=configs/nowhere.py",
        "train",
    ],
)
def test_mistyped_flags_are_refused(monkeypatch, wrong):
    with pytest.raises(UserError, match=re.escape(wrong.lstrip("-").split("=")[0])):
        parse(monkeypatch, "--mode=train", wrong)
