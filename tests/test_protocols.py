"""Named protocols: the table, how a config takes one, and what is refused under its name."""

import pytest

from cvae_jax import config as config_lib
from cvae_jax import protocols, validation
from cvae_jax.errors import UserError
from tests.command_line import parse

BAIR = "--config=configs/bair.py"


def _evaluation(monkeypatch, *flags):
    """The config that `--mode=train` would get with these flags."""
    from cvae_jax import cli

    return cli._config_of_file(parse(monkeypatch, "--mode=train", *flags))


@pytest.mark.parametrize(
    ("name", "settings", "camera", "psnr"),
    [
        ("lab", (2, 10, 1, 0, "test"), "image_aux1", "channel"),
        ("svg", (2, 28, 100, 256, "test"), "image_aux1", "channel"),
        ("ivideogpt", (1, 15, 100, 256, "test"), "image_main", "frame"),
    ],
)
def test_a_name_sets_what_was_published_under_it(monkeypatch, name, settings, camera, psnr):
    flags = (BAIR, f"--config.data.camera={camera}", f"--config.eval.protocol={name}")
    config = _evaluation(monkeypatch, *flags)
    evaluation = config.eval
    assert settings == (
        evaluation.num_context_frames,
        evaluation.num_predicted_frames,
        evaluation.num_samples,
        evaluation.num_clips,
        evaluation.split,
    )
    row = protocols.PROTOCOLS[name]
    assert (row.psnr, row.camera) == (psnr, camera)


def test_every_row_is_a_choice_with_a_definition_of_its_psnr():
    field = config_lib.EvalConfig.__dataclass_fields__["protocol"]
    assert field.metadata["choices"] == tuple(protocols.PROTOCOLS)
    for row in protocols.PROTOCOLS.values():
        assert row.psnr in protocols.PSNR_DEFINITIONS


def test_default_leaves_every_field_to_the_config(monkeypatch):
    config = _evaluation(monkeypatch, BAIR, "--config.eval.num_samples=7")
    assert config.eval == config_lib.EvalConfig(num_samples=7)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["eval.num_samples=10"], "--config.eval.num_samples=10: --config.eval.protocol=svg means"),
        (["eval.num_context_frames=1"], "num_context_frames=1: --config.eval.protocol=svg means 2"),
        (["eval.num_clips=32"], "--config.eval.num_clips=32: --config.eval.protocol=svg means 256"),
        (["eval.split=train"], "--config.eval.split=train: --config.eval.protocol=svg means test"),
        (["data.camera=image_main"], "--config.data.camera=image_main: --config.eval.protocol=svg"),
        (["data.source=folder", "data.clip_length=12"], "30 frames, but a clip of folder has 12"),
    ],
)
def test_what_the_name_does_not_say_is_refused(monkeypatch, flags, told):
    with pytest.raises(UserError) as error:
        _evaluation(
            monkeypatch, BAIR, "--config.eval.protocol=svg", *(f"--config.{flag}" for flag in flags)
        )
    assert told in str(error.value)


def test_a_flag_that_repeats_the_protocol_is_fine(monkeypatch):
    flags = ("--config.eval.protocol=svg", "--config.eval.num_samples=100")
    assert _evaluation(monkeypatch, BAIR, *flags).eval.num_samples == 100


def test_a_config_in_python_that_contradicts_its_protocol_is_refused():
    values = config_lib.to_dict(config_lib.Config())
    values["eval"]["protocol"] = "ivideogpt"
    with pytest.raises(UserError, match=r"num_samples=1: .*protocol=ivideogpt means 100"):
        validation.from_config_dict(values)


def test_unknown_protocol_is_told_with_the_choices(monkeypatch):
    with pytest.raises(UserError, match="one of default, lab, svg, ivideogpt"):
        _evaluation(monkeypatch, BAIR, "--config.eval.protocol=svgg")


@pytest.mark.parametrize("value", [{}, ["svg"], 3])
def test_a_protocol_that_is_no_name_is_told_in_a_line(value):
    values = config_lib.to_dict(config_lib.Config())
    values["eval"]["protocol"] = value
    protocols.apply(values["eval"], set())
    with pytest.raises(UserError, match=r"\n--config.eval.protocol=.*must be str"):
        validation.from_config_dict(values)


def test_one_clip_has_no_interval(monkeypatch):
    with pytest.raises(UserError, match=r"--config.eval.num_clips=1: must be 0 \(all\)"):
        _evaluation(monkeypatch, BAIR, "--config.eval.num_clips=1")
