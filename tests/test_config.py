import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs import bair, demo, tiny
from cvae_jax import config as config_lib
from cvae_jax import schedules, validation
from cvae_jax.config import Config
from cvae_jax.errors import UserError


def _fields():
    """Every field as (path, dataclass field)."""
    for section in dataclasses.fields(Config):
        if not dataclasses.is_dataclass(section.type):
            yield section.name, section
            continue
        for field in dataclasses.fields(section.type):
            yield f"{section.name}.{field.name}", field


FIELDS = dict(_fields())


def _with(path, value):
    values = config_lib.to_dict(Config())
    section = values
    *parents, name = path.split(".")
    for parent in parents:
        section = section[parent]
    section[name] = value
    return values


def test_defaults_are_valid_and_survive_the_dictionary():
    assert validation.from_config_dict(config_lib.defaults()) == Config()


@pytest.mark.parametrize("module", [bair, demo, tiny])
def test_config_files_are_valid(module):
    config = validation.from_config_dict(module.get_config())
    assert f"configs/{module.__name__.split('.')[-1]}.py" in module.__doc__
    assert validation.from_config_dict(config_lib.to_dict(config)) == config


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_refuses_what_is_out_of_its_range(path):
    field, rule = FIELDS[path], FIELDS[path].metadata
    wrong = [None, [], "no such choice" if field.type is str and rule["choices"] else object()]
    if rule["low"] is not None:
        wrong.append(rule["low"] - 1)
    if rule["above"] is not None:
        wrong.append(float(rule["above"]))
    if rule["high"] is not None:
        wrong.append(rule["high"] + 1)
    if field.type is float:
        wrong += [math.nan, math.inf]
    if field.type in (int, float):
        wrong.append(True)
    for value in wrong:
        with pytest.raises(UserError, match=f"--config.{path}="):
            validation.from_config_dict(_with(path, value))


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_is_in_the_help(path):
    assert f"--config.{path}=" in config_lib.help_text()


def test_all_problems_are_told_at_once():
    values = _with("model.width", 0)
    values["kl"]["schedule"] = "sometimes"
    values["train"]["nmu_steps"] = 3
    with pytest.raises(UserError) as error:
        validation.from_config_dict(values)
    message = str(error.value)
    assert "--config.model.width=0: must be int (at least 1, at most 4096)" in message
    assert "--config.kl.schedule='sometimes'" in message
    assert "constant, linear, cyclical" in message
    assert "--config.train.nmu_steps: no such field" in message


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("data.camera", "image_aux1", "simulated_push has image_main"),
        ("model.last_frame_skip", True, "feedback='frame'"),
        ("data.num_predicted_frames", 29, "31 frames, but a clip"),
        ("eval.num_context_frames", 25, "35 frames, but a clip"),
        ("eval.num_clips", 1, "one clip has no interval"),
        ("optimizer.warmup_steps", Config().train.num_steps, "must be below"),
        ("data.dir", "", "must name a folder"),
        ("sample.clips", "1,,2", "numbers with commas"),
        ("sample.clips", "-1", "numbers with commas"),
    ],
)
def test_contradictions_are_refused_with_a_remedy(path, value, told):
    with pytest.raises(UserError) as error:
        validation.from_config_dict(_with(path, value))
    assert told in str(error.value)
    assert f"--config.{path.rsplit('.', 1)[0]}" in str(error.value)


@pytest.mark.parametrize("section", ["data", "eval"])
def test_frames_may_fill_a_whole_clip(section):
    validation.from_config_dict(_with(f"{section}.num_predicted_frames", 28))


def test_fvd_of_clips_that_are_too_short_is_refused():
    values = _with("eval.fvd_weights", "i3d.npz")
    values["eval"]["num_predicted_frames"] = 7
    validation.from_config_dict(values)
    values["eval"]["num_predicted_frames"] = 6
    with pytest.raises(UserError, match=r"fvd_weights=i3d.npz: FVD needs 9 frames .* not 8"):
        validation.from_config_dict(values)


def test_cycles_without_a_step_in_which_beta_is_more_than_zero_are_refused():
    values = _with("kl.num_cycles", 90_001)
    validation.from_config_dict(values)
    values["kl"]["schedule"] = "cyclical"
    with pytest.raises(UserError, match=r"--config\.kl\.num_cycles=90001: .*num_steps=180000"):
        validation.from_config_dict(values)
    values["kl"]["num_cycles"] = 90_000
    config = validation.from_config_dict(values)
    beta = schedules.kl_weight(config.kl, config.train.num_steps)
    np.testing.assert_array_equal(beta.reshape(-1, 2)[:, 1], np.float32(config.kl.weight))
    values["kl"]["schedule"], values["train"]["num_steps"] = "linear", 1
    with pytest.raises(UserError, match=r"schedule='linear': needs .*num_steps=2 or more"):
        validation.from_config_dict(values)


def test_contradictions_stand_beside_bad_values_unless_they_follow_from_them():
    values = _with("model.width", 0)
    values["optimizer"]["warmup_steps"] = 10**9
    values["data"] |= {"source": "nowhere", "camera": "image_aux1"}
    values["model"]["last_frame_skip"], values["model"]["feedback"] = True, "both"
    with pytest.raises(UserError) as error:
        validation.from_config_dict(values)
    flags = [line.split("=")[0] for line in str(error.value).splitlines()[1:]]
    assert flags == [
        "--config.data.source",
        "--config.model.width",
        "--config.model.feedback",
        "--config.optimizer.warmup_steps",
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(
    st.dictionaries(
        st.sampled_from(sorted(FIELDS)),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-3, 3),
            st.floats(),
            st.text(max_size=4),
            st.sampled_from(["conv", "frame", "cyclical", "clip", "learned", "image_aux1"]),
        ),
        max_size=6,
    )
)
def test_any_dictionary_gives_a_config_or_a_clear_refusal(changes):
    values = config_lib.to_dict(Config())
    for path, value in changes.items():
        section, _, name = path.rpartition(".")
        (values[section] if section else values)[name] = value
    try:
        config = validation.from_config_dict(values)
    except UserError as error:
        assert "--config." in str(error)  # noqa: PT017  either outcome is right
    else:
        assert config_lib.to_dict(config) == values


def test_differences_name_each_flag_once():
    asked, stored = _with("kl.weight", 0.5), config_lib.to_dict(Config())
    assert validation.differences(asked, stored) == [
        "--config.kl.weight: asked 0.5, the run has 0.0001"
    ]
