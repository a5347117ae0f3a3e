import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax import rollout
from cvae_jax.config import ModelConfig
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.gaussian import sample
from cvae_jax.types import Motion, Scene

BATCH, CONTEXT, TARGETS, SIZE = 2, 2, 3, 16
TIME = CONTEXT + TARGETS
SMALL = ModelConfig(width=2, z_dim=3, g_dim=4, predictor_width=8, predictor_depth=1, window=2)
VARIANTS = {
    "vector, latent, condition action": {"condition": "action"},
    "vector, frame, composite, skips of the latest, window 4": {
        "output": "composite",
        "feedback": "frame",
        "last_frame_skip": True,
        "window": 4,
    },
    "map, latent, composite, no condition": {
        "predictor": "conv",
        "output": "composite",
        "condition": "none",
    },
    "map, latent, composite, condition action": {
        "predictor": "conv",
        "output": "composite",
        "condition": "action",
    },
    "map, frame, learned prior": {
        "predictor": "conv",
        "feedback": "frame",
        "prior": "learned",
    },
}
# Compiling is most of these tests' time, and the programs are tiny.
_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def random_parameters(shapes):
    """Like trained ones: nothing zero, activations at scale, the sprite inside the frame."""
    rng = np.random.default_rng(0)

    def parameter(path, leaf):
        layer, name = (place.key for place in path[-2:])
        noise = rng.normal(size=leaf.shape) / np.sqrt(max(np.prod(leaf.shape[:-1]), 10))
        scale = 0.02 if layer == "place" else 1.0
        return jnp.asarray(scale * noise + (name == "gain"), jnp.float32)

    return jax.tree_util.tree_map_with_path(parameter, shapes)


class Setting:
    """A small model with random parameters, and a batch for it."""

    def __init__(self, **options):
        self.config = dataclasses.replace(SMALL, **options)
        self.model = CVAE(self.config)
        keys = jax.random.split(jax.random.key(0), 6)
        self.video = jax.random.uniform(keys[0], (BATCH, TIME, SIZE, SIZE, 3))
        action = jax.random.normal(keys[1], (BATCH, TIME, 4))
        position = jax.random.normal(keys[2], (BATCH, TIME, 3))
        self.conditions = rollout.align_conditions(action, position, self.config.condition)
        self.noise = jax.random.normal(keys[3], (BATCH, TARGETS, self.config.z_dim))
        step, path = (x[:, 0] for x in self.conditions)
        windows = jnp.stack([step] * self.config.window, axis=1)
        shapes = jax.eval_shape(
            self.model.init, keys[4], self.video[:, 0], self.noise[:, 0], windows, path
        )["params"]
        self.params = random_parameters(shapes)

    @functools.cached_property
    def without_posterior(self):
        """The parameters of a model whose latents no frame reaches: they are the noise."""
        return self.params | {
            "posterior_head": jax.tree.map(jnp.zeros_like, self.params["posterior_head"])
        }

    def results(self, params, way):
        """The rollout, and for each target the gradients of a function of all it predicts.

        Gradients have a leading axis of targets, and are with respect to the parameters, the
        video and the conditions.
        """
        return _results(self, "all" if params is self.params else "without posterior", way)

    @functools.cached_property
    def programs(self):
        """The two ways of training, each with gradients, and generation; compiled once."""

        def of_targets(run, inputs, use_true, weights):
            result = run(self.model, *inputs, self.noise, *use_true)
            terms = [jnp.square(result.frames - 0.3), jnp.sin(3 * result.prior.mean)]
            total = sum(term.sum(axis=(0, *range(2, term.ndim))) for term in terms)
            return (weights * total).sum(), result

        programs = {
            run.__name__: _jit(jax.value_and_grad(functools.partial(of_targets, run), has_aux=True))
            for run in (rollout.teacher_forced, rollout.free_running)
        }
        return programs | {"generate": _jit(functools.partial(rollout.generate, self.model))}

    def run(self, params, way, weights=np.zeros(TARGETS, np.float32), use_true=None):  # noqa: B008
        """The rollout, and gradients of a weighted sum over targets of all that they predict."""
        if way == "parallel":
            program, masks = self.programs["teacher_forced"], ()
        else:
            mask = np.full((BATCH, TARGETS), way == "true frames")
            masks = (jnp.asarray(mask if use_true is None else use_true),)
            program = self.programs["free_running"]
        (_, result), gradient = program((params, self.video, self.conditions), masks, weights)
        return result, gradient

    def generate(self, noise):
        context = self.video[:, :CONTEXT]
        return self.programs["generate"](self.params, context, self.conditions, noise)

    @functools.cached_property
    def steps(self):
        """The model's methods, bound to the parameters."""

        def bound(name):
            apply = _jit(functools.partial(self.model.apply, method=name))
            return lambda *arguments: apply({"params": self.params}, *arguments)

        names = (
            "encode",
            "posterior",
            "prior",
            "predict",
            "hold",
            "start_pushing",
            "push",
            "decode",
        )
        return SimpleNamespace(**{name: bound(name) for name in names})


@functools.cache
def _setting(variant):
    return Setting(**VARIANTS[variant])


@functools.cache
def _results(setting, which, way):
    params = setting.params if which == "all" else setting.without_posterior
    gradients = []
    for weights in np.eye(TARGETS, dtype=np.float32):
        result, gradient = setting.run(params, way, weights)
        gradients.append(gradient)
    return result, jax.tree.map(lambda *leaves: np.stack(leaves), *gradients)


@pytest.fixture(params=VARIANTS)
def setting(request):
    return _setting(request.param)


def _assert_close(left, right, **tolerance):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def test_loop_on_true_frames_equals_the_parallel_pass_and_its_gradients(setting):
    parallel, loop = (setting.results(setting.params, way) for way in ("parallel", "true frames"))
    _assert_close(parallel[0], loop[0], atol=1e-5)
    _assert_close(parallel[1], loop[1], rtol=1e-3, atol=1e-3)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(parallel[1][0])) > 0.1


def test_a_loop_over_frames_keeps_half_size_maps_of_all_steps_and_none_of_full_size():
    setting = Setting(feedback="frame")

    def frames(params):
        given = setting.video, setting.conditions, setting.noise, jnp.zeros((BATCH, TARGETS), bool)
        return rollout.free_running(setting.model, params, *given).frames

    _, kept = jax.eval_shape(lambda params: jax.vjp(frames, params), setting.params)
    of_steps = [leaf.shape for leaf in jax.tree.leaves(kept) if leaf.shape[:1] == (TARGETS,)]
    sizes = {shape[2:4] for shape in of_steps if len(shape) == 5 and shape[-1] != 3}  # no frames
    assert (SIZE // 2, SIZE // 2) in sizes
    assert (SIZE, SIZE) not in sizes


def test_mask_replaces_the_frames_that_it_names_and_no_others(setting):
    """After a clip's first false, its predictions are its own; other clips are left alone."""
    use_true = [[True, False, True], [False, True, True]]
    result = setting.run(setting.params, "mixed", use_true=use_true)[0].frames
    forced = setting.results(setting.params, "parallel")[0].frames
    own = setting.results(setting.params, "own frames")[0].frames
    np.testing.assert_allclose(result[0, :2], forced[0, :2], atol=1e-5)
    np.testing.assert_allclose(result[1, :2], own[1, :2], atol=1e-5)
    for clip, target in ((0, 2), (1, 1)):
        assert float(jnp.abs(result - forced)[clip, target].max()) > 1e-5


@pytest.mark.parametrize("way", ["parallel", "own frames", "generate"])
def test_each_way_equals_a_plain_loop_of_single_steps(setting, way):
    config, step = setting.config, setting.steps
    video, noise, (conditions, path) = setting.video, setting.noise, setting.conditions
    h = [step.encode(video[:, t]) for t in range(TIME)]
    memory = [h[t][0] for t in range(CONTEXT)]
    last, skips, frames = CONTEXT - 1, h[CONTEXT - 1][1], []
    things, has_arm = None, setting.model.has_arm
    if has_arm:
        scene = Scene(skips, video[:, last], conditions[:, last])
        pushed, filling = step.start_pushing(scene)
    for t in range(CONTEXT, TIME):
        times = [max(time, 0) for time in range(t - config.window, t)]
        steps = [max(time, 1) for time in range(t - config.window + 1, t + 1)]
        window = jnp.stack([memory[time] for time in times], axis=1)
        if way == "generate":
            gaussian = step.prior(window, conditions[:, t])
        else:
            gaussian = step.posterior(h[t][0], h[t - 1][0], conditions[:, t])
        latent = sample(gaussian, noise[:, t - CONTEXT])
        g = step.predict(window, latent, jnp.stack([conditions[:, s] for s in steps], axis=1))
        motion = Motion(conditions[:, t], path[:, t] - path[:, last])
        scene = Scene(skips, video[:, last], conditions[:, last])
        arm = step.hold(g, motion, scene)
        if has_arm:
            pushed, things = step.push(pushed, filling, arm)
        frames.append(step.decode(g, scene, arm, things))
        if way == "parallel" or config.feedback == "frame":
            entering, latest = step.encode(video[:, t] if way == "parallel" else frames[-1])
            skips = latest if config.last_frame_skip else skips
            memory.append(entering)
        else:
            memory.append(g)
    if way == "generate":
        result = setting.generate(jnp.stack([noise, -noise], axis=1))[:, 0]
    else:
        result = setting.results(setting.params, way)[0].frames
    np.testing.assert_allclose(result, jnp.stack(frames, axis=1), atol=1e-5)


def test_samples_of_a_clip_differ_and_depend_on_their_own_noise_alone(setting):
    noise = jax.random.normal(jax.random.key(7), (BATCH, 2, TARGETS, setting.config.z_dim))
    both, swapped = setting.generate(noise), setting.generate(noise[:, ::-1])
    np.testing.assert_allclose(both, swapped[:, ::-1], atol=1e-6)
    assert float(jnp.abs(both[:, 1] - both[:, 0]).max()) > 1e-4


@pytest.mark.parametrize("target", range(TARGETS))
@pytest.mark.parametrize("way", ["parallel", "own frames"])
def test_no_prediction_depends_on_later_frames(setting, way, target):
    """Through the posterior, frame t reaches z_t; frames after t reach nothing."""
    _, (_, video, _) = setting.results(setting.params, way)
    time = CONTEXT + target
    assert np.abs(video[target][:, time + 1 :]).sum() == 0.0
    assert np.abs(video[target][:, time]).max() > 0.0  # the posterior does see x_t


@pytest.mark.parametrize("target", range(TARGETS))
def test_no_forced_prediction_depends_on_its_own_frame_but_through_its_latent(setting, target):
    _, (_, video, _) = setting.results(setting.without_posterior, "parallel")
    time = CONTEXT + target
    assert np.abs(video[target][:, time:]).sum() == 0.0
    assert np.abs(video[target][:, time - 1]).max() > 0.0


@pytest.mark.parametrize("target", range(TARGETS))
def test_free_running_reads_no_frame_after_the_context_but_for_its_latents(setting, target):
    _, (_, video, _) = setting.results(setting.without_posterior, "own frames")
    assert np.abs(video[target][:, CONTEXT:]).sum() == 0.0
    assert np.abs(video[target][:, CONTEXT - 1]).max() > 0.0


@pytest.mark.parametrize("way", ["parallel", "own frames"])
@pytest.mark.parametrize("target", range(TARGETS))
def test_prediction_depends_on_the_condition_of_its_frame_and_on_no_later_one(setting, way, target):
    if setting.config.condition == "none":
        pytest.skip("there is none")
    _, (_, _, conditions) = setting.results(setting.params, way)
    time = CONTEXT + target
    for condition in conditions if setting.config.output == "composite" else conditions[:1]:
        assert np.abs(condition[target][:, time + 1 :]).sum() == 0.0
        assert np.abs(condition[target][:, time]).max() > 0.0


def test_the_posterior_sees_its_frame_the_one_before_and_what_is_known_of_the_arm(setting):
    h, conditions = setting.steps.encode(setting.video[:, 2])[0], setting.conditions.step[:, 2]
    given = h, h + 1.0, conditions
    found = setting.steps.posterior(*given).mean
    for place in range(3 if setting.config.condition != "none" else 2):
        changed = [x - 0.5 * (place == other) for other, x in enumerate(given)]
        assert np.abs(setting.steps.posterior(*changed).mean - found).max() > 1e-3


def test_condition_of_a_frame_is_the_action_into_it_and_the_position_at_it():
    action = jnp.arange(1.0, 6.0).reshape(1, 5, 1)
    position = 10 * jnp.arange(5.0).reshape(1, 5, 1)
    both = rollout.align_conditions(action, position, "action_position")
    np.testing.assert_array_equal(both.step[0], [[0, 0], [1, 10], [2, 20], [3, 30], [4, 40]])
    np.testing.assert_array_equal(both.path[0], [[0], [1], [3], [6], [10]])
    alone = rollout.align_conditions(action, position, "action")
    np.testing.assert_array_equal(alone.step[0], [[0], [1], [2], [3], [4]])
    np.testing.assert_array_equal(alone.path, both.path)
    none = rollout.align_conditions(action, position, "none")
    assert none.step.shape == none.path.shape == (1, 5, 0)
