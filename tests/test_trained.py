"""What other programs load and call."""

import dataclasses
import logging
import re
import sys

import absl.logging
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax import passes, pretrained, run_folder, train_state, validation
from cvae_jax.config import Config
from cvae_jax.data import pipeline, simulator
from cvae_jax.data.statistics import Statistics
from cvae_jax.errors import UserError
from cvae_jax.trained import Trained, _whole, load
from cvae_jax.types import to_unit_range
from tests.test_readme import BLOCKS
from tests.test_rollout import SMALL, random_parameters

CONTEXT, TIME, SIDE = 2, 5, 64
KEY = jax.random.key(0)


def _model(**options):
    """A small model with random parameters; actions and positions are far from normalised."""
    config = dataclasses.replace(Config(), model=dataclasses.replace(SMALL, **options))
    scales = [np.full(count, of, np.float32) for count, of in ((4, 5), (4, 2), (3, -7), (3, 4))]
    statistics = Statistics("none", {"train": 1}, TIME, (SIDE, SIDE), *scales)
    params = random_parameters(train_state.shapes(config, 4, 3).params)
    return Trained(config, statistics, params, 0)


def _inputs(batch=2):
    rng = np.random.default_rng(1)
    return {
        "context": rng.integers(0, 256, (batch, CONTEXT, SIDE, SIDE, 3), np.uint8),
        "action": rng.normal(size=(batch, TIME, 4)),
        "position": rng.normal(size=(batch, TIME, 3)),
    }


@pytest.fixture(scope="module")
def model():
    return _model()


def test_it_predicts_what_an_evaluation_does(trained):
    """From clips as they are stored, what the pipeline's normalised ones give."""
    run = run_folder.load(trained)
    config = validation.from_config_dict(run["config"])
    source = run_folder.open_clips(run, config)
    model = load(trained, "latest")
    assert model.step == config.train.num_steps
    raw = [source.read(clip, 0, TIME) for clip in range(2)]
    video, action, position = (np.stack(parts) for parts in zip(*raw, strict=True))
    found = model.predict(KEY, video[:, :CONTEXT], action, position, num_samples=2)

    batch = pipeline.read_clips(source, range(2), num_frames=TIME)
    shape = (TIME - CONTEXT, config.model.z_dim)
    noise = passes.noise_of_samples(KEY, jnp.arange(2), jnp.arange(2), shape)
    expected = jax.jit(passes.make_generate(config.model))(
        model.params,
        to_unit_range(jnp.asarray(video[:, :CONTEXT])),
        batch.action,
        batch.position,
        noise,
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.shape == (2, 2, TIME - CONTEXT, SIDE, SIDE, 3)


def test_latents_are_of_key_clip_and_sample_alone(model):
    inputs = _inputs()
    frames = model.predict(KEY, **inputs, num_samples=3)
    first = {name: array[:1] for name, array in inputs.items()}
    alone = model.predict(KEY, **first, num_samples=2)
    np.testing.assert_allclose(alone, frames[:1, :2], atol=1e-5)
    other = model.predict(jax.random.key(1), **first, num_samples=2)
    for different in (frames[0, 1], other[0, 0]):
        assert np.abs(frames[0, 0] - different).max() > 1e-3


@pytest.mark.parametrize("name", ["action", "position"])
@pytest.mark.parametrize("options", [{}, {"output": "composite", "feedback": "frame"}], ids=str)
def test_gradients_tell_what_a_frame_depends_on(options, name):
    model, inputs = _model(**options), jax.tree.map(jnp.asarray, _inputs(1))
    target = 1  # frame CONTEXT + 1

    @jax.jit
    def of_frame(array):
        return model.predict(KEY, **inputs | {name: array})[0, 0, target].sum()

    gradient = np.abs(jax.grad(of_frame)(inputs[name])[0]).max(axis=-1)
    assert np.isfinite(gradient).all()
    last = CONTEXT + target - (name == "action")  # action[t] leads from frame t on
    assert gradient[last] > 0.0
    assert (gradient[last + 1 :] == 0.0).all()


def test_within_vmap_it_does_the_same(model):
    inputs = _inputs()
    each = jax.vmap(lambda *one: model.predict(KEY, *(x[None] for x in one))[0])
    context, action, position = map(jnp.asarray, inputs.values())
    found = each(context, action, position)
    alone = model.predict(KEY, context[1:], action[1:], position[1:])
    np.testing.assert_allclose(found[1], alone[0], atol=1e-5)


def test_a_program_in_float64_gets_the_same_frames(trained):
    inputs = _inputs()
    expected = load(trained, "latest").predict(KEY, **inputs)
    with jax.enable_x64(True):
        found = load(trained, "latest").predict(KEY, **inputs)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("condition", ["action", "none"])
def test_positions_may_be_left_out_where_the_model_has_none(condition):
    model = _model(condition=condition)
    inputs = _inputs(1)
    with_positions = model.predict(KEY, **inputs)
    del inputs["position"]
    np.testing.assert_array_equal(model.predict(KEY, **inputs), with_positions)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"context": np.zeros((2, 2, 64, 64, 3), np.float32)}, "float32; must be uint8"),
        ({"context": np.zeros((2, 64, 64, 3), np.uint8)}, r"\(2, 64, 64, 3\); must be \(batch, co"),
        (
            {"context": np.zeros((2, 2, 32, 64, 3), np.uint8)},
            r"32, 64, 3\); .*, 64, 64, 3\); cvae_jax.data.frames.fit makes frames fit",
        ),
        ({"action": np.zeros((2, TIME, 5))}, r"action: shape \(2, 5, 5\); must be \(2, time, 4\)"),
        ({"action": np.zeros((3, TIME, 4))}, r"action: shape \(3, 5, 4\); must be \(2, time, 4\)"),
        ({"action": np.zeros((2, CONTEXT, 4))}, "action: of 2 frames, context of 2; give"),
        ({"context": np.zeros((2, 0, 64, 64, 3), np.uint8)}, "context of 0; give 1 context frame"),
        ({"position": np.zeros((2, 4, 3))}, r"position: shape \(2, 4, 3\); must be \(2, 5, 3\)"),
        ({"position": None}, "position: missing; the model's condition is action_position"),
        ({"action": None}, "action: missing; the model's condition is action_position"),
        ({"action": np.zeros((2, 4, 4))}, "action: of 4 frames, position of 5; give an action for"),
        ({"action": np.full((2, TIME, 4), np.inf)}, "action: a value is not finite"),
        ({"position": np.full((2, TIME, 3), np.nan)}, "position: a value is not finite"),
        ({"num_samples": 0}, "num_samples=0: must be at least 1"),
        (_inputs(0), "batch=0: must be at least 1"),
    ],
)
def test_what_does_not_fit_is_told(model, wrong, message):
    with pytest.raises(ValueError, match=message):
        model.predict(KEY, **_inputs() | wrong)


@pytest.mark.parametrize("value", [2.5, 3.0, "3", None])
def test_a_number_that_is_not_whole_is_told(value):
    with pytest.raises(ValueError, match=re.escape(f"num_samples={value!r}: must be a whole")):
        _whole("num_samples", value)
    assert [_whole("n", two) for two in (2, np.int32(2), jnp.int32(2))] == [2, 2, 2]


def test_without_a_condition_no_actions_are_needed():
    model, inputs = _model(condition="none"), _inputs(1)
    found = model.predict(KEY, inputs["context"])
    assert found.shape == (1, 1, model.config.data.num_predicted_frames, SIDE, SIDE, 3)
    zeros = np.zeros((1, CONTEXT + found.shape[2], 4))
    np.testing.assert_array_equal(found, model.predict(KEY, inputs["context"], zeros))


def test_the_last_action_may_be_anything(model):
    inputs = _inputs(1)
    expected = model.predict(KEY, **inputs)
    inputs["action"][:, -1] = np.nan
    np.testing.assert_array_equal(model.predict(KEY, **inputs), expected)
    inputs["action"][:, -2] = np.nan
    with pytest.raises(ValueError, match="action: a value is not finite"):
        model.predict(KEY, **inputs)


def test_the_last_position_may_not(model):
    inputs = _inputs(1)
    inputs["position"][:, -1] = np.nan
    with pytest.raises(ValueError, match="position: a value is not finite"):
        model.predict(KEY, **inputs)


def test_it_is_shown_without_its_parameters(model):
    assert len(repr(model)) < 3000


def test_a_run_or_checkpoint_that_is_not_there_is_told(tmp_path, trained):
    with pytest.raises(UserError, match="no such folder"):
        load(tmp_path / "nothing")
    for step in (7, "7"):
        with pytest.raises(UserError, match="checkpoint=7"):
            load(str(trained), step)
    with pytest.raises(UserError, match="checkpoint=7: the model that comes with the project has"):
        load(checkpoint=7)


def _settings():
    loggers = [logging.getLogger(name).level for name in ("", "absl", "asyncio")]
    return loggers, absl.logging.get_verbosity(), sys.unraisablehook


def test_loading_leaves_the_program_and_the_run_as_they_are(trained, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    monkeypatch.setattr(logging.getLogger("asyncio"), "level", logging.INFO)
    was = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.INFO)
    files = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    before = _settings()
    load(trained)
    after = _settings()
    absl.logging.set_verbosity(was)
    assert after == before
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == files


def test_a_run_s_parameters_are_tied_to_no_device(trained):
    model = load(trained)
    assert not any(leaf.committed for leaf in jax.tree.leaves(model.params))


def test_the_model_that_comes_with_the_project_is_the_one_that_is_unpacked(tmp_path, monkeypatch):
    pretrained.unpack(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    model, unpacked = load(), load("run")
    jax.tree.map(np.testing.assert_array_equal, model.params, unpacked.params)
    assert (model.config, model.step) == (unpacked.config, unpacked.step)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # reading leaves nothing


def test_lines_of_the_readme_do_what_it_says():
    found = {}
    for kind, text in BLOCKS:
        if kind == "python":
            exec(text, found)
    truth = simulator.clip(seed=2_000_000).video
    errors = [
        np.square(frames / 255.0 - truth[2:12] / 255.0).mean()
        for frames in (found["frames"][0, 0].astype(np.float32), truth[1].astype(np.float32))
    ]
    assert found["frames"].shape == (1, 3, 10, 64, 64, 3)
    assert errors[0] < 0.1 * errors[1]
    predicted = found["predicted"]
    assert predicted.shape == (48, 1, 10, 64, 64, 3)
    np.testing.assert_allclose(predicted[47, 0] * 255, found["frames"][0, 0], atol=0.51)
