"""Draw videos and contact sheets, and write them as GIF, MP4 and PNG.

Drawing maps uint8 arrays to uint8 arrays; only the `write_` functions touch the disk. A frame's
border says what it is: green was given to the model (context), red was predicted by it, and grey
is the truth that the model did not see.
"""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import imageio.v3 as imageio
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from cvae_jax.files import atomic_path, write_atomically

GREEN, RED, GREY = (64, 192, 96), (204, 32, 40), (160, 164, 170)
INK, CANVAS = (40, 43, 48), (255, 255, 255)
TEXT_SIZE, LINE_HEIGHT, GAP = 14, 20, 8
PALETTE_PIXELS = 200_000

Picture = UInt8[np.ndarray, "_ _ 3"]
Drawn = UInt8[np.ndarray, "time _ _ 3"]  # a video whose size is nobody else's
Video = UInt8[np.ndarray, "time height width 3"]
Videos = UInt8[np.ndarray, "videos time height width 3"]  # several samples, or several clips


def frame_with_border(
    video: Video,
    num_context_frames: int,
    predicted_colour: tuple[int, int, int] = RED,
    thickness: int = 4,
) -> Drawn:
    """Puts a border around every frame, outside of its pixels, so that none is hidden.

    Args:
        video: whose first `num_context_frames` frames are the context.
        num_context_frames: these frames get a green border.
        predicted_colour: RGB of the border of all later frames.
        thickness: of the border, in pixels on each side.
    """
    pad = ((0, 0), (thickness, thickness), (thickness, thickness), (0, 0))
    framed = np.pad(video, pad)
    inside = np.pad(np.ones(video.shape[1:3], bool), thickness)
    framed[:num_context_frames, ~inside] = GREEN
    framed[num_context_frames:, ~inside] = predicted_colour
    return framed


def panel(
    video: Video, num_context_frames: int, predicted_colour: tuple[int, int, int], scale: int
) -> Drawn:
    """Enlarges a clip without blurring it and frames it."""
    enlarged = video.repeat(scale, axis=1).repeat(scale, axis=2)
    return frame_with_border(enlarged, num_context_frames, predicted_colour)


def side_by_side(truth: Video, samples: Videos, num_context_frames: int, scale: int = 3) -> Drawn:
    """Draws one clip to be watched: the truth above, its predictions in a row below.

    Args:
        truth: the true clip.
        samples: what the model makes of its context; each is as long as `truth` and begins with
            the context frames.
        num_context_frames: how many frames the model was given.
        scale: whole factor by which frames are enlarged.
    """
    times = [f"t = {time}" for time in range(len(truth))]
    above = _captioned([panel(truth, num_context_frames, GREY, scale)], ["truth"], times)
    names = _sample_names(len(samples))
    panels = [panel(sample, num_context_frames, RED, scale) for sample in samples]
    return _stack([above, _captioned(panels, names, None)])


def grid(truths: Videos, predictions: Videos, num_context_frames: int, scale: int = 3) -> Drawn:
    """Draws several clips at once: a column for each, the truth above, the prediction below."""
    times = [f"t = {time}" for time in range(truths.shape[1])]
    above = [panel(truth, num_context_frames, GREY, scale) for truth in truths]
    below = [panel(prediction, num_context_frames, RED, scale) for prediction in predictions]
    blanks = [""] * (len(truths) - 1)
    rows = [
        _captioned(above, ["truth", *blanks], times),
        _captioned(below, ["prediction", *blanks], None),
    ]
    return _stack(rows)


def strip(truth: Video, samples: Videos, num_context_frames: int, scale: int = 2) -> Picture:
    """Draws one clip to be read: time from left to right, the truth above its predictions.

    Takes the arguments of `side_by_side`.
    """
    names = ["truth", *_sample_names(len(samples))]
    colours = [GREY] + [RED] * len(samples)
    margin = max(_text_width(name) for name in names) + GAP
    rows = []
    for name, colour, video in zip(names, colours, [truth, *samples], strict=True):
        frames = panel(video, num_context_frames, colour, scale)
        title = _text(name, margin, frames.shape[1], align="left")
        rows.append(_beside([title[None], *(frame[None] for frame in frames)]))
    width = frames.shape[2]
    numbers = [_text(f"t = {time}", width, LINE_HEIGHT, "centre") for time in range(len(truth))]
    header = _beside([_blank(LINE_HEIGHT, margin)[None], *(number[None] for number in numbers)])
    return _stack([header, *rows], gap=GAP // 2)[0]


def write_gif(path: Path, video: Video, frames_per_second: int | float) -> None:
    """Writes an endless GIF that rests on its last frame for a second.

    One palette serves all frames and nothing is dithered: what stands still does not flicker.
    Readers see neighbouring frames that are equal as one, shown for longer.
    """
    palette = _shared_palette(video)
    images = [Image.fromarray(indices) for indices in _nearest(video, palette)]
    for image in images:
        image.putpalette(palette.tobytes())
    duration = round(1000 / frames_per_second)
    durations = [duration] * (len(images) - 1) + [max(duration, 1000)]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0
    )
    write_atomically(path, buffer.getvalue())


def write_mp4(path: Path, video: Video, frames_per_second: int | float) -> None:
    """Writes H.264 in yuv420p, which every browser and player shows; odd sizes get a black edge."""
    height, width = video.shape[1:3]
    even = np.pad(video, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # JAX warns of any fork; this one becomes ffmpeg at once and touches no lock of JAX's.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\)", category=RuntimeWarning)
        imageio.imwrite(
            temporary,
            even,
            plugin="FFMPEG",
            fps=frames_per_second,
            codec="libx264",
            pixelformat="yuv420p",
            quality=8,
            macro_block_size=2,
            output_params=["-movflags", "+faststart"],
        )


def write_png(path: Path, picture: Picture) -> None:
    """Writes one picture, lossless."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _shared_palette(video: Video) -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours that serve all frames of `video` best.

    The colours of our own drawing are among them exactly; the others come from a sample of the
    pixels, which is as good as all of them and ten times faster.
    """
    own = np.array([GREEN, RED, GREY, INK, CANVAS], np.uint8)
    pixels = video.reshape(-1, 1, 3)
    few = Image.fromarray(pixels[:: max(1, len(pixels) // PALETTE_PIXELS)])
    others = few.quantize(256 - len(own), Image.Quantize.MEDIANCUT, kmeans=4).getpalette()
    colours = np.concatenate([own, np.array(others, np.uint8).reshape(-1, 3)])
    return np.pad(colours, ((0, 256 - len(colours)), (0, 0)))


def _nearest(
    video: Video, palette: UInt8[np.ndarray, "256 3"]
) -> UInt8[np.ndarray, "time height width"]:
    """Index of the palette's nearest colour for each pixel: exact, unlike Pillow's (1 dB less)."""
    packed = video.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    distinct, inverse = np.unique(packed, return_inverse=True)
    colours = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], 1).astype(np.float32)
    targets = palette.astype(np.float32)
    chunks = np.array_split(colours, len(colours) // 4096 + 1)
    nearest = [np.argmin((targets**2).sum(1) - 2 * chunk @ targets.T, 1) for chunk in chunks]
    return np.concatenate(nearest).astype(np.uint8)[inverse].reshape(video.shape[:3])


def _captioned(panels: Sequence[Drawn], names: Sequence[str], times: Sequence[str] | None) -> Drawn:
    """A row of panels, a name over the left edge of each, the time over the last one's right."""
    width = panels[0].shape[2]
    named = []
    for panel, name in zip(panels, names, strict=True):
        line = _text(name, width, LINE_HEIGHT, "left")
        named.append(np.concatenate([np.broadcast_to(line, (len(panel), *line.shape)), panel], 1))
    if times is not None:
        for frame, time in zip(named[-1], times, strict=True):
            label = _text(time, _text_width(time), LINE_HEIGHT, "left")
            frame[:LINE_HEIGHT, -label.shape[1] :] = label
    return _beside(named)


def _beside(videos: Sequence[Drawn]) -> Drawn:
    """Videos of one length and height in a row, with gaps between them."""
    blank = _blank(videos[0].shape[1], GAP // 2)
    gap = np.broadcast_to(blank, (len(videos[0]), *blank.shape))
    parts = [part for video in videos for part in (video, gap)][:-1]
    return np.concatenate(parts, axis=2)


def _stack(rows: Sequence[Drawn], gap: int = GAP) -> Drawn:
    """Rows of one length under each other, centred on a canvas with a margin."""
    width = max(row.shape[2] for row in rows)
    height = sum(row.shape[1] + gap for row in rows) + gap
    canvas = np.full((len(rows[0]), height, width + 2 * gap, 3), CANVAS, np.uint8)
    top = gap
    for row in rows:
        left = (canvas.shape[2] - row.shape[2]) // 2
        canvas[:, top : top + row.shape[1], left : left + row.shape[2]] = row
        top += row.shape[1] + gap
    return canvas


def _sample_names(num_samples: int) -> list[str]:
    """What stands over each of the predictions of one clip."""
    if num_samples == 1:
        return ["prediction"]
    return [f"sample {number}" for number in range(1, num_samples + 1)]


def _blank(height: int, width: int) -> Picture:
    """A piece of empty canvas."""
    return np.full((height, width, 3), CANVAS, np.uint8)


def _text_width(text: str) -> int:
    """Pixels that `text` takes from left to right."""
    return int(np.ceil(ImageFont.load_default(TEXT_SIZE).getlength(text)))


def _text(text: str, width: int, height: int, align: Literal["left", "centre"]) -> Picture:
    """One line of text, in the middle of the height; what is too long is cut off."""
    image = Image.new("RGB", (width, height), CANVAS)
    left, anchor = (0, "lm") if align == "left" else (width // 2, "mm")
    font = ImageFont.load_default(TEXT_SIZE)
    ImageDraw.Draw(image).text((left, height // 2), text, INK, font, anchor)
    return np.asarray(image)
