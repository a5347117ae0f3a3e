"""The networks of SVG-FP with VGG frames of 64x64, conditioned on what the arm does.

Frames are (batch, 3, 64, 64) in [0, 1]. Each network maps one time step; what an LSTM remembers
goes in and comes out.
"""

import itertools

import torch
from torch import Tensor, nn

HIDDEN = 256
PREDICTOR_LAYERS, POSTERIOR_LAYERS = 2, 1
State = list[tuple[Tensor, Tensor]]
"""Output and cell of each LSTM layer, both (batch, HIDDEN)."""


class Encoder(nn.Module):
    """Frame to a vector of g_dim in -1 .. 1 and the outputs of the four stages, largest first."""

    def __init__(self, width: int, g_dim: int):
        super().__init__()
        w = width
        self.stages = nn.ModuleList(
            [
                _stage(3, w, w),
                _stage(w, 2 * w, 2 * w),
                _stage(2 * w, 4 * w, 4 * w, 4 * w),
                _stage(4 * w, 8 * w, 8 * w, 8 * w),
            ]
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Sequential(nn.Conv2d(8 * w, g_dim, 4), nn.BatchNorm2d(g_dim), nn.Tanh())

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, skips = frames, []
        for stage in self.stages:
            x = stage(self.pool(x) if skips else x)
            skips.append(x)
        return self.head(self.pool(x)).flatten(1), skips


class Decoder(nn.Module):
    """A vector of g_dim and an encoder's skips to a frame."""

    def __init__(self, width: int, g_dim: int):
        super().__init__()
        w = width
        self.opening = nn.Sequential(
            nn.ConvTranspose2d(g_dim, 8 * w, 4), nn.BatchNorm2d(8 * w), nn.LeakyReLU(0.2, True)
        )
        self.stages = nn.ModuleList(
            [
                _stage(16 * w, 8 * w, 8 * w, 4 * w),
                _stage(8 * w, 4 * w, 4 * w, 2 * w),
                _stage(4 * w, 2 * w, w),
                _stage(2 * w, w),
            ]
        )
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Sequential(nn.ConvTranspose2d(w, 3, 3, padding=1), nn.Sigmoid())

    def forward(self, vector: Tensor, skips: list[Tensor]) -> Tensor:
        x = self.opening(vector[:, :, None, None])
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            x = stage(torch.cat([self.enlarge(x), skip], dim=1))
        return self.head(x)


class Predictor(nn.Module):
    """(h_{t-1}, z_t, c_t) and what is remembered to the representation of frame t."""

    def __init__(self, inputs: int, g_dim: int):
        super().__init__()
        self.recurrent = _Recurrent(inputs, PREDICTOR_LAYERS)
        self.head = nn.Sequential(nn.Linear(HIDDEN, g_dim), nn.Tanh())

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        out, state = self.recurrent(x, state)
        return self.head(out), state


class Posterior(nn.Module):
    """(h_t, c_t) and what is remembered to the mean and log-variance of z_t."""

    def __init__(self, inputs: int, z_dim: int):
        super().__init__()
        self.recurrent = _Recurrent(inputs, POSTERIOR_LAYERS)
        self.mean = nn.Linear(HIDDEN, z_dim)
        self.logvar = nn.Linear(HIDDEN, z_dim)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        out, state = self.recurrent(x, state)
        return self.mean(out), self.logvar(out), state


class SVG(nn.Module):
    """The four networks. Width 64 is the published size.

    `precision`: bfloat16 lets PyTorch choose what it computes in that type (torch.autocast);
    parameters and their updates are float32.
    """

    def __init__(self, width=64, g_dim=128, z_dim=64, condition_dim=7, precision="float32"):
        super().__init__()
        self.z_dim = z_dim
        self.precision = precision
        self.encoder = Encoder(width, g_dim)
        self.decoder = Decoder(width, g_dim)
        self.predictor = Predictor(g_dim + z_dim + condition_dim, g_dim)
        self.posterior = Posterior(g_dim + condition_dim, z_dim)
        self.apply(_initialise)
        self.to(memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        """What passes of the networks run within."""
        device = next(self.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16")

    def initial_states(self, batch: int) -> tuple[State, State]:
        """Of predictor and posterior, before the first frame."""
        zeros = next(self.parameters()).new_zeros(batch, HIDDEN)
        return [(zeros, zeros)] * PREDICTOR_LAYERS, [(zeros, zeros)] * POSTERIOR_LAYERS


class _Recurrent(nn.Module):
    """An embedding, then LSTM cells."""

    def __init__(self, inputs: int, layers: int):
        super().__init__()
        self.embedding = nn.Linear(inputs, HIDDEN)
        self.cells = nn.ModuleList([nn.LSTMCell(HIDDEN, HIDDEN) for _ in range(layers)])

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        x, after = self.embedding(x), []
        for cell, before in zip(self.cells, state, strict=True):
            x, memory = cell(x, before)
            after.append((x, memory))
        return x, after


def _stage(*channels: int) -> nn.Sequential:
    """3x3 convolutions from each number of channels to the next, normalised and activated."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
        layers += [nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    """As the authors: weights from N(0, 0.02), scales of BatchNorm from N(1, 0.02), no biases."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
