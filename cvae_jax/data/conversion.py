"""Turns the clips of a reader into a prepared data set, in steps that survive being killed.

The data set grows in a folder with an `.incomplete` name: shard by shard, each written under a
temporary name and renamed, then noted in `conversion.json`. It gets its own name when it is whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from cvae_jax.data import tfds_format
from cvae_jax.data.bad_clips import BadClips
from cvae_jax.data.readers import BadClip, ClipReader, ClipRef
from cvae_jax.errors import UserError
from cvae_jax.files import atomic_path, write_json

PROGRESS_FILE = "conversion.json"
MAX_CLIPS_PER_SHARD = 256
MIN_SHARDS = 8


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A part of a split that is written, or not, as a whole."""

    split: str
    path: pathlib.Path
    refs: Sequence[ClipRef]

    def input(self) -> str:
        """A hash of names, sizes and times of the files that its clips are read from."""
        paths = dict.fromkeys(path for ref in self.refs for path in ref.files)
        states = [_states(path) for path in paths]
        return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def convert(
    reader: ClipReader,
    folder: pathlib.Path,
    *,
    name: str,
    made_from: Mapping[str, Any],
    strict: bool,
) -> None:
    """Writes the data set `folder` from a reader's clips, or goes on where a killed call stopped.

    Args:
        reader: the clips.
        folder: the data set's folder, which must not exist yet.
        name: of the data set, for its files.
        made_from: what the user named, kept with the data in `conversion.json`.
        strict: whether to refuse at the first bad clip, rather than at more than 1 %.

    Raises:
        UserError: too many bad clips, clips of one name, no clips, or a disk that refuses.
    """
    splits = {split: list(refs) for split, refs in reader.splits().items()}
    _check_names(splits, made_from)
    incomplete = folder.with_name(f".incomplete-{folder.name}")
    incomplete.mkdir(parents=True, exist_ok=True)
    progress = _load_progress(incomplete, made_from, _digest(reader, splits))
    shards = list(_shards(incomplete, name, splits))
    _remove_others(incomplete, progress, shards)
    print(f"found {reader.describe()}")
    bad = BadClips(sum(map(len, splits.values())), strict, _flag(made_from))
    with tqdm.tqdm(total=bad.num_clips, desc=f"converting {name}", unit=" clips") as bar:
        for shard in shards:
            if shard.path.name not in progress["shards"]:
                progress["shards"][shard.path.name] = _write(shard, reader, bad, bar)
                write_json(incomplete / PROGRESS_FILE, progress)
            else:
                bar.update(len(shard.refs))
                bar.initial += len(shard.refs)  # no part of the speed
    bad.check()
    sizes: dict[str, list[tfds_format.ShardSize]] = {}
    for shard in shards:
        note = progress["shards"][shard.path.name]
        size = tfds_format.ShardSize(note["num_clips"], note["num_bytes"])
        sizes.setdefault(shard.split, []).append(size)
    for split, of_shards in sizes.items():
        if not any(size.num_clips for size in of_shards):
            raise UserError(f"{_flag(made_from)}: all {split} clips are bad; repair or remove them")
    tfds_format.write_metadata(incomplete, name, folder.name, reader, sizes)
    incomplete.rename(folder)
    notes = progress["shards"].values()
    for what in ("action", "position"):
        print(f"{what}: {_ranges([note[what] for note in notes if note['num_clips']])}")
    bad.summarise(folder / PROGRESS_FILE)


def _check_names(splits: Mapping[str, Sequence[ClipRef]], made_from: Mapping[str, Any]) -> None:
    where = _flag(made_from)
    if not any(splits.values()):
        raise UserError(f"{where}: no clips found; name a folder or file that holds some")
    for split, refs in splits.items():
        if not refs:
            raise UserError(f"{where}: the {split} split is empty; add clips or remove it")
        seen: set[str] = set()
        for ref in refs:
            if ref.name in seen:
                raise UserError(f"{where}: {split} has two clips {ref.name}; rename or remove one")
            seen.add(ref.name)


def _flag(made_from: Mapping[str, Any]) -> str:
    return f"--config.data.path={made_from['path']}"


def _digest(reader: ClipReader, splits: Mapping[str, Sequence[ClipRef]]) -> str:
    """What must be the same for shards to belong together."""
    names = {split: [ref.name for ref in refs] for split, refs in splits.items()}
    text = json.dumps([reader.describe(), names])
    return hashlib.sha256(text.encode()).hexdigest()


def _states(path: pathlib.Path) -> list[tuple[str, int, int]]:
    """Of a file, or of each in a folder; none where it cannot be seen, which reading will tell."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [(file.name, file.stat()) for file in files]
    except OSError:
        return []
    return [(name, state.st_size, state.st_mtime_ns) for name, state in found]


def _load_progress(folder: pathlib.Path, made_from: Mapping[str, Any], digest: str) -> dict:
    """What an earlier call with the same input finished. A shard with bad clips is done again."""
    fresh = {"made_from": dict(made_from), "input": digest, "shards": {}}
    try:
        found = json.loads((folder / PROGRESS_FILE).read_text())
        if (found["made_from"], found["input"]) != (fresh["made_from"], digest):
            return fresh
        done = {name: shard for name, shard in found["shards"].items() if not shard["bad"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return fresh
    return fresh | {"shards": done}


def _shards(
    folder: pathlib.Path, name: str, splits: Mapping[str, Sequence[ClipRef]]
) -> Iterator[_Shard]:
    for split, refs in splits.items():
        size = min(MAX_CLIPS_PER_SHARD, -(-len(refs) // MIN_SHARDS))
        starts = range(0, len(refs), size)
        for index, start in enumerate(starts):
            file = tfds_format.shard_name(name, split, index, len(starts))
            yield _Shard(split, folder / file, refs[start : start + size])


def _remove_others(folder: pathlib.Path, progress: dict, shards: Sequence[_Shard]) -> None:
    """Removes what a killed call left half done or made of files that have changed since."""
    noted = progress["shards"]
    progress["shards"] = {
        shard.path.name: noted[shard.path.name]
        for shard in shards
        if shard.path.name in noted
        and shard.path.exists()
        and noted[shard.path.name].get("input") == shard.input()
    }
    for path in folder.iterdir():
        if path.name not in progress["shards"] and path.name != PROGRESS_FILE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write(shard: _Shard, reader: ClipReader, bad: BadClips, bar: tqdm.tqdm) -> dict[str, Any]:
    """Writes a shard; what is to be noted of it."""
    skipped: dict[str, str] = {}
    sizes: list[int] = []
    made_of = shard.input()  # before reading: what changes meanwhile is read again
    seen: dict[str, list[np.ndarray]] = {"action": [], "position": []}

    def records() -> Iterator[bytes]:
        for ref in shard.refs:
            try:
                clip = tfds_format.checked(reader.read(ref), reader)
                record = tfds_format.serialise(clip)
            except (BadClip, OSError) as error:
                skipped[ref.name] = str(error)
                bad.add(f"{shard.split} {ref.name}", str(error))
            else:
                yield record
                sizes.append(len(record))
                seen["action"] += [clip.action.min(axis=0), clip.action.max(axis=0)]
                seen["position"] += [clip.position.min(axis=0), clip.position.max(axis=0)]
            bar.update()

    with atomic_path(shard.path) as temporary:
        tfds_format.write_shard(temporary, records())
    extremes = {what: _extremes(rows).tolist() for what, rows in seen.items() if rows}
    note = {"num_clips": len(sizes), "num_bytes": sum(sizes), "bad": skipped, "input": made_of}
    return note | extremes


def _extremes(rows: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The least and the greatest value of each column."""
    return np.stack([np.min(rows, axis=0), np.max(rows, axis=0)])


def _ranges(extremes: Sequence[list[list[float]]]) -> str:
    """The range of each column in words, from those of the shards."""
    low, high = _extremes(np.concatenate(extremes))
    return ", ".join(f"{a:.4g} to {b:.4g}" for a, b in zip(low, high, strict=True)) or "none"
