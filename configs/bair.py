"""The full-size model with the settings of the lab that this project follows, on BAIR.

    python main.py --mode=prepare --config=configs/bair.py --config.data.path=TAR_OR_FOLDER
    python main.py --mode=train --config=configs/bair.py --workdir=runs/bair
    python main.py --mode=evaluate --workdir=runs/bair

TAR_OR_FOLDER is the original bair_robot_pushing_dataset_v0.tar, or softmotion30_44k unpacked from
it. Without it TFDS downloads 30 GB, and needs TensorFlow for this step (README says which).
--config.data.source=bair_test_256 prepares the test split alone (190 MB), to evaluate a run.

Batch 12, 2 + 10 frames, z 64, g 128, beta 1e-4, Adam at 2e-3, 300 epochs of 600 steps; the ratio
of teacher forcing falls from 1 to 0 over epochs 100 to 200. Frames feed back, as in SVG.
The published SVG-FP has the same values but two: it is teacher-forced throughout, and its batch is
100, 8 times the lab's, at the same 600 steps an epoch; batch 12 is what the lab's students fit on
one card, and their 25.2 to 25.6 dB belong to it. Time and result on BAIR: not measured yet.
"""

from cvae_jax import config as config_lib

STEPS_PER_EPOCH = 600


def get_config():
    """Width 64: the VGG encoder and decoder of SVG, a vector g, the window in place of LSTMs."""
    config = config_lib.defaults()
    config.data.source = "bair_robot_pushing_small"
    config.data.camera = "image_aux1"
    config.data.num_context_frames = 2
    config.data.num_predicted_frames = 10
    config.model.width = 64
    config.model.z_dim = 64
    config.model.g_dim = 128
    config.model.predictor = "mlp"
    config.model.output = "direct"
    config.model.feedback = "frame"
    config.kl.weight = 1e-4
    config.teacher_forcing.start_decay_step = 100 * STEPS_PER_EPOCH
    config.teacher_forcing.decay_steps = 100 * STEPS_PER_EPOCH
    config.teacher_forcing.lower_bound = 0.0
    config.optimizer.learning_rate = 2e-3
    config.train.batch_size = 12
    config.train.num_steps = 300 * STEPS_PER_EPOCH
    return config
