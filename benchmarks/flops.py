"""Multiply-adds of one training step, counted from layers; forward and backward together.

A layer's backward pass takes twice its forward pass (one product for the gradient of its input,
one for its weights), so a step is 3 forward passes of 2 floating-point operations per
multiply-add. The vectors' networks (LSTMs, MLPs, heads: under 0.2 %) are left out, and a first
layer is charged for a gradient of its input that nobody needs.

SVG's layers are those of its paper. Independent of both implementations: tests/test_peer.py
holds its own numbers for this file and for the PyTorch model.
"""

G_DIM = 128


def conv(side: int, kernel: int, inputs: int, outputs: int) -> int:
    """Multiply-adds of a square convolution whose output is side x side."""
    return side * side * kernel * kernel * inputs * outputs


def encoder(width: int) -> int:
    """Of one 64x64 frame, in SVG and in ours."""
    w = width
    return (
        conv(64, 3, 3, w)
        + conv(64, 3, w, w)
        + conv(32, 3, w, 2 * w)
        + conv(32, 3, 2 * w, 2 * w)
        + conv(16, 3, 2 * w, 4 * w)
        + 2 * conv(16, 3, 4 * w, 4 * w)
        + conv(8, 3, 4 * w, 8 * w)
        + 2 * conv(8, 3, 8 * w, 8 * w)
        + conv(1, 4, 8 * w, G_DIM)
    )


def merged_half(width: int) -> int:
    """Of the skip's half, or the other one, of the first convolutions of all decoder stages."""
    w = width
    return (
        conv(8, 3, 8 * w, 8 * w)
        + conv(16, 3, 4 * w, 4 * w)
        + conv(32, 3, 2 * w, 2 * w)
        + conv(64, 3, w, w)
    )


def decoder(width: int) -> int:
    """Of one frame in SVG."""
    w = width
    after_the_first = (
        conv(8, 3, 8 * w, 8 * w)
        + conv(8, 3, 8 * w, 4 * w)
        + conv(16, 3, 4 * w, 4 * w)
        + conv(16, 3, 4 * w, 2 * w)
        + conv(32, 3, 2 * w, w)
        + conv(64, 3, w, 3)
    )
    return conv(1, 4, G_DIM, 8 * w) + 2 * merged_half(w) + after_the_first


def svg_step(width: int, frames: int, context: int, *, free: bool, targets_apart: bool) -> int:
    """Floating-point operations of SVG's training step for each clip."""
    targets = frames - 1  # the published loop predicts the later context frames too
    encoded = 2 * targets if targets_apart else frames
    if free and not targets_apart:
        encoded += frames - 1 - context  # predictions, but for the last, which nothing reads
    return 6 * (encoded * encoder(width) + targets * decoder(width))


def our_step(width: int, frames: int, context: int, *, reencoded: bool) -> int:
    """Floating-point operations of our training step (predictor=mlp) for each clip.

    Skips are convolved once for each clip, and a convolution of an enlarged map takes 16
    products where the plain form has 36. Winograd's form, which takes fewer on a CPU, is not
    counted. `reencoded`: free running with feedback=frame.
    """
    targets = frames - context
    half = merged_half(width)
    decoded = decoder(width) - 2 * half + half * 16 // 36
    encoded = frames + (targets - 1 if reencoded else 0)  # nothing reads the last one
    return 6 * (encoded * encoder(width) + targets * decoded + half)
