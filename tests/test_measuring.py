"""Figures against plain loops; no future frame reaches a prediction; streaming changes nothing."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import tiny
from cvae_jax import (
    baselines,
    evaluate,
    fvd,
    lpips,
    measuring,
    passes,
    rollout,
    sample,
    train_state,
    train_step,
    validation,
)
from cvae_jax.config import SampleConfig
from cvae_jax.data import pipeline, sources
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.gaussian import noise_for
from cvae_jax.types import to_unit_range

CONTEXT, TARGETS = 2, 3


@pytest.fixture(scope="module")
def config(tiny_data_dir):
    values = tiny.get_config()
    values.data.dir = tiny_data_dir.dir
    values.model.prior = "learned"  # its deviation makes samples differ without training
    return validation.from_config_dict(values)


@pytest.fixture(scope="module")
def source(config):
    return sources.open_split(config.data, "test")


@pytest.fixture(scope="module")
def params(config):
    """As initialised, but with noise, so that every layer does something."""
    rng = np.random.default_rng(0)
    noisy = lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32)  # noqa: E731
    return jax.tree.map(noisy, train_state.create(config, 4, 3).params)


def _evaluating(config, **changes):
    return dataclasses.replace(config, eval=dataclasses.replace(config.eval, **changes))


def _clips(source, count=4):
    return pipeline.read_clips(source, range(count), num_frames=CONTEXT + TARGETS)


@pytest.fixture(scope="module")
def predicted(config, source, params):
    """27 samples of 4 clips, each predicted by itself."""
    batch, model = _clips(source), CVAE(config.model)
    context = to_unit_range(jnp.asarray(batch.video[:, :CONTEXT]))
    conditions = rollout.align_conditions(
        jnp.asarray(batch.action), jnp.asarray(batch.position), "action_position"
    )
    generate = jax.jit(lambda noise: rollout.generate(model, params, context, conditions, noise))
    samples = [
        generate(passes.sample_noise(config, batch.clip_id, TARGETS, k, 1)) for k in range(27)
    ]
    return np.concatenate(samples, axis=1).astype(np.float64)


def test_scores_and_spread_equal_a_loop_over_samples(config, source, params, predicted):
    """27 samples are two passes of 14, of which the last sample only fills."""
    config = _evaluating(config, num_samples=27, batch_size=3)
    assert measuring.pass_size(27, TARGETS) == (1, 14)
    figures = measuring.Measurement(config, source, thorough=False).measure(params)
    target = _clips(source).video[:, None, CONTEXT:] / 255.0
    psnr = -10 * np.log10(((predicted - target) ** 2).mean((-3, -2, -1)))
    np.testing.assert_allclose(figures["model/psnr"], psnr, rtol=1e-4)
    last = _clips(source).video[:, None, CONTEXT - 1, None] / 255.0
    moving = (np.abs(target - last) > 0.1).any(-1)
    error = ((predicted - target) ** 2).mean(-1) * moving
    psnr = -10 * np.log10(error.sum((-2, -1)) / moving.sum((-2, -1)))
    np.testing.assert_allclose(figures["model/psnr_moving"], psnr, rtol=1e-4)
    spread = np.sqrt(predicted.var(axis=1, ddof=1).mean((-3, -2, -1)))
    assert spread.min() > 1e-3
    np.testing.assert_allclose(figures["spread"], spread, rtol=1e-3)


def test_what_is_drawn_is_what_is_measured(config, source, params, predicted):
    """27 samples in their order, a pass at a time."""
    drawn_config = dataclasses.replace(config, sample=SampleConfig(num_samples=27))
    drawn = np.stack(list(sample.make_predict(drawn_config)(params, _clips(source))))
    assert drawn.dtype == np.uint8
    np.testing.assert_allclose(drawn, predicted * 255, atol=0.51)


def test_noise_of_a_sample_is_its_own(config):
    clips = np.array([5, 2], np.int32)
    many = passes.sample_noise(config, clips, TARGETS, 0, 30)
    few = passes.sample_noise(config, clips[1:], TARGETS, 20, 4)
    np.testing.assert_array_equal(many[1:, 20:24], few)
    assert len(np.unique(np.asarray(many)[..., 0])) == 2 * 30 * TARGETS


def test_noise_is_none_of_those_of_training(config):
    """Training folds in the step and the example where measuring folds in the clip and sample."""
    ids = jnp.arange(8)
    key = jax.random.key(config.seed)
    shape = TARGETS, config.model.z_dim
    trained = [noise_for(train_step.example_keys(key, step, ids), shape) for step in ids]
    measured = passes.sample_noise(config, ids, TARGETS, 0, 8)
    assert not np.isin(np.asarray(measured), np.asarray(trained)).any()


@pytest.mark.parametrize("num_targets", [1, 10, 28, 99, 998])
def test_pass_holds_no_more_than_it_may_and_every_sample(num_targets):
    for num_samples in range(1, 301):
        clips, samples = measuring.pass_size(num_samples, num_targets)
        assert clips * samples <= max(measuring.MAX_CLIPS_PER_PASS, samples)
        frames = clips * samples * num_targets
        assert frames <= max(measuring.MAX_FRAMES_PER_PASS, num_targets)
        assert samples <= measuring.MAX_SAMPLES_PER_PASS
        passes_needed = -(-num_samples // samples)
        assert passes_needed * samples - num_samples < passes_needed


@pytest.mark.parametrize("num_samples", [3, 30])
def test_batch_size_changes_no_bit(config, source, params, num_samples):
    config = _evaluating(config, num_clips=7, num_samples=num_samples)
    measurement = measuring.Measurement(config, source)
    found = []
    for batch_size in (1, 5, 32):
        measurement.evaluation = dataclasses.replace(config.eval, batch_size=batch_size)
        found.append(measurement.measure(params))
    for figures in found[1:]:
        assert list(figures) == list(found[0])
        for name, values in figures.items():
            assert len(values) == 7
            np.testing.assert_array_equal(values, found[0][name], err_msg=name)


def _with_noisy_future(source):
    """The same clips, but for their frames after the context."""
    noisy = copy.copy(source)

    def read(clip_id, start=0, num_frames=None):
        clip = source.read(clip_id, start, num_frames)
        video = clip.video.copy()
        rng = np.random.default_rng(clip_id)
        video[CONTEXT:] = rng.integers(0, 256, video[CONTEXT:].shape, np.uint8)
        return clip._replace(video=video)

    noisy.read = read
    return noisy


def test_noise_in_place_of_all_future_frames_changes_no_bit_of_a_prediction(
    monkeypatch, config, source, params
):
    """In all that an evaluation generates (samples, other actions), and in what is drawn."""
    predictions = []
    generate = rollout.generate

    def recording(*arguments):
        frames = generate(*arguments)
        jax.debug.callback(lambda x: predictions.append(np.asarray(x)), frames)
        return frames

    monkeypatch.setattr(rollout, "generate", recording)
    found = []
    measurement = measuring.Measurement(_evaluating(config, num_samples=3), source)
    for clips in (source, _with_noisy_future(source)):
        measurement.source = clips
        figures = measurement.measure(params)
        drawn = list(sample.make_predict(config)(params, _clips(clips)))
        jax.effects_barrier()
        found.append((figures, sorted(x.tobytes() for x in predictions), drawn))
        predictions.clear()
    (figures, made, drawn), (noisy_figures, noisy_made, noisy_drawn) = found
    # Two groups of clips: samples, two other actions. And each clip that is drawn.
    assert len(made) == 2 * (1 + 2) + len(drawn)
    assert made == noisy_made
    np.testing.assert_array_equal(drawn, noisy_drawn)
    assert figures["spread"].min() > 0
    np.testing.assert_array_equal(figures["spread"], noisy_figures["spread"])
    copied, noisy_copied = (f["copy_last_frame/psnr"] for f in (figures, noisy_figures))
    assert (copied > noisy_copied + 3).all()  # the noise was there


def test_shuffled_actions_are_the_next_clip_s_and_zeroed_ones_leave_the_arm_still(config, source):
    config = _evaluating(config, num_clips=5)
    whole, scale = _clips(source, 5), source.scale
    measurement = measuring.Measurement(config, source)
    for clips in (range(3), range(3, 5)):
        batch = pipeline.read_clips(source, clips, num_frames=CONTEXT + TARGETS)
        others = measurement._other_actions(batch)
        following = [(clip + 1) % 5 for clip in clips]
        for field in (0, 1):
            own = (whole.action, whole.position)[field]
            np.testing.assert_array_equal(others["shuffled_actions"][field], own[following])
        action, position = others["zeroed_actions"]
        raw = action * scale.action_std + scale.action_mean
        np.testing.assert_allclose(raw[:, CONTEXT - 1 :], 0, atol=1e-6)
        np.testing.assert_array_equal(action[:, : CONTEXT - 1], batch.action[:, : CONTEXT - 1])
        np.testing.assert_array_equal(position[:, :CONTEXT], batch.position[:, :CONTEXT])
        for time in range(CONTEXT, CONTEXT + TARGETS):
            np.testing.assert_array_equal(position[:, time], batch.position[:, CONTEXT - 1])


@pytest.fixture(scope="module")
def change(config):
    return baselines.mean_change(sources.open_split(config.data, "train"), CONTEXT, TARGETS)


@pytest.fixture(scope="module")
def figures(config, source, params, change):
    """All that is measured of 4 clips with one sample."""
    return measuring.Measurement(config, source, change).measure(params)


def test_mean_motion_adds_the_training_split_s_mean_change(config, source, change, figures):
    training = sources.open_split(config.data, "train")
    videos = [training.read(clip).video[:5] / 255.0 for clip in range(len(training))]
    expected = np.mean([video[2:] - video[1] for video in videos], axis=0)
    np.testing.assert_allclose(change, expected, atol=1e-6)
    video = _clips(source).video / 255.0
    moved = np.clip(video[:, 1:2] + expected, 0, 1)
    for name, guess in (("mean_motion", moved), ("copy_last_frame", video[:, 1:2])):
        psnr = -10 * np.log10(((guess - video[:, 2:]) ** 2).mean((-3, -2, -1)))
        np.testing.assert_allclose(figures[f"{name}/psnr"][:, 0], psnr, rtol=1e-4)


def test_mean_motion_is_of_the_first_training_clips_alone(config, monkeypatch):
    monkeypatch.setattr(baselines, "MAX_CLIPS", 5)
    training = sources.open_split(config.data, "train")
    videos = [training.read(clip).video[:5] / 255.0 for clip in range(5)]
    expected = np.mean([video[2:] - video[1] for video in videos], axis=0)
    found = baselines.mean_change(training, CONTEXT, TARGETS)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_threads_are_as_many_as_the_config_says(config, source, monkeypatch):
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, num_threads=7))
    asked, reading = [], pipeline._reading
    spy = lambda count: (asked.append(count), reading(count))[1]  # noqa: E731
    monkeypatch.setattr(pipeline, "_reading", spy)
    next(measuring.Measurement(config, source)._batches(0))
    evaluate._mean_change(config, source)
    assert asked == [7, 7]


def test_a_validation_reads_its_own_clips_alone(config, source, params, monkeypatch):
    read, own = [], copy.copy(source)
    spy = lambda clip_id, *frames: (read.append(clip_id), source.read(clip_id, *frames))[1]  # noqa: E731
    monkeypatch.setattr(own, "read", spy)
    config = _evaluating(config, num_clips=3, num_samples=1)
    measuring.Measurement(config, own, thorough=False).measure(params)
    assert sorted(read) == [0, 1, 2]


def test_posterior_figures_are_of_the_free_running_posterior(config, source, params, figures):
    batch, model = _clips(source), CVAE(config.model)
    arrays = jax.tree.map(jnp.asarray, batch)
    conditions = rollout.align_conditions(arrays.action, arrays.position, "action_position")
    noise = passes.sample_noise(config, batch.clip_id, TARGETS, 0, 1)[:, 0]
    result = jax.jit(
        lambda: rollout.free_running(
            model, params, to_unit_range(arrays.video), conditions, noise, jnp.zeros((4, 3), bool)
        )
    )()
    (mean, logvar), prior = result.posterior, result.prior
    kl = 0.5 * (
        prior.logvar
        - logvar
        - 1
        + np.exp(logvar - prior.logvar)
        + (mean - prior.mean) ** 2 / np.exp(prior.logvar)
    )
    for name, value in (
        ("kl_of_frames", kl.sum(-1)),
        ("kl_of_dimensions", kl.mean(1)),
        ("mean", mean.mean(1)),
        ("variance", mean.var(1)),
    ):
        np.testing.assert_allclose(figures[f"posterior/{name}"], value, rtol=2e-3, atol=1e-5)
    error = ((result.frames - arrays.video[:, 2:] / 255.0) ** 2).mean((-3, -2, -1))
    np.testing.assert_allclose(figures["posterior/psnr"][:, 0], -10 * np.log10(error), rtol=1e-4)


def test_without_actions_there_is_nothing_to_shuffle(config, source):
    model = dataclasses.replace(config.model, condition="none")
    blind = dataclasses.replace(config, model=model)
    params = train_state.create(blind, 4, 3).params
    figures = measuring.Measurement(blind, source).measure(params)
    assert {name.split("/")[0] for name in figures} == {"model", "copy_last_frame", "posterior"}


def test_lpips_compares_each_sample_with_the_truth(monkeypatch, config, source, params, predicted):
    """What it is given; the network itself is tested in test_lpips.py."""
    distance = lambda weights, made, true: weights * jnp.abs(made - true).mean((-3, -2, -1))  # noqa: E731
    monkeypatch.setattr(lpips, "distance", distance)
    batch = jax.tree.map(jnp.asarray, _clips(source))
    score = passes.make_score(_evaluating(config, num_samples=2), 2)
    spread = passes.no_samples(4, (TARGETS, 64, 64, 3))
    found, _ = jax.jit(score)(passes.Networks(params, jnp.float32(2.0)), (batch, spread), 0)
    target = _clips(source).video[:, None, CONTEXT:] / 255.0
    expected = 2 * np.abs(predicted[:, :2] - target).mean((-3, -2, -1))
    np.testing.assert_allclose(found["model/lpips"], expected, rtol=1e-4)


def test_fvd_compares_whole_clips_of_truth_model_and_copying(
    monkeypatch, config, source, params, predicted
):
    """Which videos it is given; the network itself takes a minute to compile."""
    means = lambda weights, video: video.mean((-3, -2, -1)) * weights["scale"]  # noqa: E731
    monkeypatch.setattr(fvd, "features", means)
    features = passes.make_features(config)
    networks = passes.Networks(params, fvd={"scale": jnp.float32(2.0)})
    found = jax.jit(features)(networks, jax.tree.map(jnp.asarray, _clips(source)), None)
    video = _clips(source).video / 255.0
    context = video[:, :CONTEXT]
    copied = np.repeat(video[:, CONTEXT - 1, None], TARGETS, axis=1)
    for name, target in (
        ("true", video[:, CONTEXT:]),
        ("model", predicted[:, 0]),
        ("copy_last_frame", copied),
    ):
        whole = np.concatenate([context, target], axis=1)
        expected = 2 * whole.mean((-3, -2, -1))
        np.testing.assert_allclose(found[f"fvd/{name}"], expected, rtol=1e-4)
