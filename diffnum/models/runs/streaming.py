"""Many images to disk: in shards, by one process or several, to be stopped and resumed at any point.

A folder holds ``manifest.json`` (what is drawn and how), ``shards/`` and ``records/``: one record a shard, with its
SHA-256. A shard counts when its record is there and its digest is right, so whatever stops a run (``kill -9``, a full
disk, a power cut) costs the shards in progress and nothing else. Image ``i`` depends on the seed and on ``i`` alone, to
the last bit: the network is always called with ``micro_batch`` samples, each always in the same place.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch

from diffnum._version import __version__
from diffnum.jobs.data import read_json
from diffnum.jobs.environment import versions
from diffnum.jobs.files import digest, locked, sweep, write_file, write_folder, write_json
from diffnum.jobs.ledger import Progress
from diffnum.models.denoiser import resolve_device
from diffnum.models.runs.sampling import draw
from diffnum.plans import Plan

__all__ = ["Format", "Manifest", "Processes", "check_folder", "processes", "read_images", "stream"]

Format: TypeAlias = Literal["npy", "safetensors", "png"]
"""Shards as one array file (npy, safetensors; in the range of the model) or as a folder of pictures (png, 8 bits)."""

_VERSION = 1
_INDEX = re.compile(r"[0-9]{6,}")
_RECORD = ("name", "first", "n", "sha256")
_PARTS = ("lock", "manifest.json", "records", "shards")
"""What a folder of images holds."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """Which process of how many this is."""

    rank: int = 0
    world: int = 1
    device: torch.device = _CPU

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            torch.distributed.barrier()


@contextmanager
def processes(device: str = "cpu") -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started: NCCL on GPUs, gloo otherwise; alone without ``torchrun``.

    Parameters
    ----------
    device : str
        Where the network shall live; ``"cuda"`` becomes the GPU of this process.

    Raises
    ------
    ValueError
        If there is no such device, or the environment says half of what ``torchrun`` says.
    """
    cuda = device == "cuda"
    own = resolve_device(f"cuda:{_whole('LOCAL_RANK', '0')}" if cuda else device)
    if "WORLD_SIZE" not in os.environ:
        yield Processes(0, 1, own)
        return
    world, rank = _whole("WORLD_SIZE"), _whole("RANK")
    if cuda:
        torch.cuda.set_device(own)
    # Processes wait for one another only before the first shard and after the last, which may be days apart.
    torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(days=30))
    try:
        yield Processes(rank, world, own)
    finally:
        torch.distributed.destroy_process_group()


def _whole(name: str, default: str | None = None) -> int:
    """Number in the environment, as ``torchrun`` sets it."""
    text = os.environ.get(name, default)
    if text is None or not text.isdecimal():
        was = "is missing" if text is None else f"is {text!r}, no whole number"
        msg = (
            f"{name} {was} in the environment, where WORLD_SIZE says that torchrun began this process: begin it "
            "with torchrun, or unset WORLD_SIZE"
        )
        raise ValueError(msg)
    return int(text)


@dataclass(frozen=True)
class Manifest:
    """What a folder of images is.

    Parameters
    ----------
    settings : mapping
        All that decides the images; a run is resumed with the same settings or refused.
    facts : mapping
        What is worth knowing and decides nothing: command, evaluations, versions.
    shards : tuple of mapping
        Name, first image, number of images and SHA-256 of every shard; filled when the folder is complete.
    """

    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    shards: tuple[Mapping[str, Any], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every shard is there."""
        return bool(self.shards)

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``."""
        data = {
            "format": _VERSION,
            "complete": self.complete,
            "settings": dict(self.settings),
            **self.facts,
            "shards": list(self.shards),
        }
        write_json(folder / "manifest.json", data)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a folder, or ``None`` where there is none.

        Raises
        ------
        ValueError
            If it cannot be read.
        """
        path = folder / "manifest.json"
        if not path.exists():
            return None
        try:
            data = read_json(path)
            facts = {k: v for k, v in data.items() if k not in ("format", "complete", "settings", "shards")}
            version, found = data["format"], cls(dict(data["settings"]), facts, tuple(map(dict, data["shards"])))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"{path} is no manifest of diffnum ({error!r}): give another folder"
            raise ValueError(msg) from error
        if version != _VERSION:
            msg = f"{path} has format {version}, this version writes {_VERSION}: give another folder"
            raise ValueError(msg)
        return found


def stream(
    model: Any,
    numbers: Plan,
    out: str | Path,
    n: int,
    *,
    seed: int = 0,
    batch: int = 64,
    micro_batch: int = 16,
    shard: int = 512,
    fmt: Format = "npy",
    labels: int | Literal["each"] | None = None,
    settings: Mapping[str, Any] | None = None,
    command: Sequence[str] | None = None,
    group: Processes | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Draw images into a folder, going on where an earlier run with the same settings stopped.

    A folder grows: with a larger ``n`` the images that are there are kept, and the others drawn.

    Parameters
    ----------
    model : NetworkDenoiser
        From :func:`diffnum.load`.
    numbers : Plan
        Numbers of the run, from :func:`~diffnum.plans.plan_for`.
    out : str or Path
        The folder; made where it is missing.
    n : int
        Number of images; not fewer than the folder holds.
    seed : int
        Image ``i`` depends on ``seed`` and ``i`` alone.
    batch : int
        Images in flight at once, in each process; rounded up to a multiple of ``micro_batch``. Changes no bit.
    micro_batch : int
        Samples in each call of the network; part of the settings, since other sizes round otherwise.
    shard : int
        Images a shard, a multiple of ``micro_batch``; what is lost when a run is stopped.
    fmt : {"npy", "safetensors", "png"}
        Format of the shards.
    labels : int or "each", optional
        A label for all images, or the labels in turn.
    settings : mapping, optional
        More that decides the images, such as the grid, to be recorded by name.
    command : sequence of str, optional
        Words that began this run, to be recorded.
    group : Processes, optional
        From :func:`processes`.
    progress : callable, optional
        Called as ``progress(done, total, what)`` in images of this process.

    Returns
    -------
    Manifest

    Raises
    ------
    ValueError
        If a number is out of range, or the folder holds images of other settings, which are named.
    OSError
        If the disk is full, or another run is writing the folder.
    """
    _check(n, batch, micro_batch, shard, fmt)
    group = group or Processes()
    out = Path(out)
    decided = {
        "model": model.name,
        "method": numbers.method,
        "steps": len(numbers),
        "nfe": numbers.nfe,
        "plan": hashlib.sha256(numbers.to_json().encode()).hexdigest(),
        "n": n,
        "seed": seed,
        "terminal": numbers.terminal,
        "labels": labels,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "micro_batch": micro_batch,
        "shard": shard,
        "format": fmt,
        "diffnum": __version__,
        "torch": torch.__version__,
        **(settings or {}),
    }
    facts = {
        "command": list(command) if command else None,
        "t_start": float(numbers.times[0]),
        "t_end": float(numbers.times[-1]),
        "shape": list(model.sample_shape),
        "value_range": list(model.value_range),
        "versions": {**versions("numpy"), "platform": platform.platform()},
    }
    check_folder(out)
    for folder in (out / "shards", out / "records"):
        folder.mkdir(parents=True, exist_ok=True)
    # One process of the group holds the lock, for all of them.
    with locked(out / "lock") if group.rank == 0 else nullcontext():
        if group.rank == 0:
            _begin(out, Manifest(decided, facts))
        group.wait()
        run = _Run(
            model, numbers, out, n, seed, -(-batch // micro_batch) * micro_batch, micro_batch, shard, fmt, labels
        )
        run.draw(range(group.rank, run.count, group.world), progress)
        group.wait()
        manifest = Manifest(decided, facts, run.records())
        if group.rank == 0:
            manifest.write(out)
        group.wait()
    return manifest


def read_images(folder: str | Path) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the arrays of a complete folder, shard by shard, each checked against its digest.

    Parameters
    ----------
    folder : str or Path
        As written by :func:`stream` in the format npy or safetensors.

    Raises
    ------
    ValueError
        If the folder is not complete, holds pictures, or a shard is not what was recorded.
    """
    folder = Path(folder)
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.complete:
        msg = f"{folder} holds no complete set of images: run the same command again to finish it"
        raise ValueError(msg)
    if manifest.settings["format"] == "png":
        msg = f"{folder} holds pictures: draw in the format npy or safetensors to have numbers"
        raise ValueError(msg)
    for record in manifest.shards:
        path = folder / "shards" / record["name"]
        if not path.exists() or digest(path) != record["sha256"]:
            msg = f"{path} is not what was recorded: run the same command again to draw it anew"
            raise ValueError(msg)
        if path.suffix == ".npy":
            yield np.load(path, allow_pickle=False)
        else:
            from safetensors.numpy import load_file

            yield load_file(path)["images"]


@dataclass(frozen=True)
class _Run:
    """One process's part of a run."""

    model: Any
    numbers: Plan
    out: Path
    n: int
    seed: int
    batch: int
    micro_batch: int
    shard: int
    fmt: Format
    labels: int | Literal["each"] | None

    @property
    def count(self) -> int:
        """Number of shards."""
        return -(-self.n // self.shard)

    def samples(self, index: int) -> range:
        """Images of a shard."""
        return range(index * self.shard, min((index + 1) * self.shard, self.n))

    def path(self, index: int) -> Path:
        """File or folder of a shard."""
        return self.out / "shards" / (f"{index:06d}" + ("" if self.fmt == "png" else f".{self.fmt}"))

    def record(self, index: int) -> dict[str, Any] | None:
        """Record of a shard, if it is there and can be read."""
        try:
            found = read_json(self.out / "records" / f"{index:06d}.json")
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def recorded(self) -> list[int]:
        """Shards that have a record; found in the folder, as the shards of a run may be too many to ask for each.

        Other files are none of ours, whatever number their names begin with.
        """
        names = (path.stem for path in (self.out / "records").glob("*.json"))
        return sorted(i for i in map(int, filter(_INDEX.fullmatch, names)) if i < self.count)

    def records(self) -> tuple[dict[str, Any], ...]:
        """All records."""
        return tuple(r for r in map(self.record, self.recorded()) if r is not None and {*_RECORD} <= {*r})

    def done(self, index: int) -> bool:
        """Whether a shard is there, is what was recorded, and is full: the last one of a folder that grows is not."""
        record = self.record(index)
        if record is None or record.get("n") != len(self.samples(index)) or not self.path(index).exists():
            return False
        return digest(self.path(index)) == record.get("sha256")

    def draw(self, indices: range, progress: Progress | None) -> None:
        """Draw the shards that are not done."""
        total = self.shard * len(indices)
        if self.count - 1 in indices:
            total -= self.shard - len(self.samples(self.count - 1))
        done = {i for i in self.recorded() if i in indices and self.done(i)}
        finished = sum(len(self.samples(i)) for i in done)
        self._check_space(total - finished)
        model = self.model if not isinstance(self.labels, int) else self.model.conditioned(self.labels)
        for index in indices:
            if index in done:
                continue
            samples = self.samples(index)
            parts = []
            for images in draw(
                model,
                self.numbers,
                samples,
                self.seed,
                batch=self.batch,
                micro_batch=self.micro_batch,
                label_of=(lambda i: i % model.num_classes) if self.labels == "each" else None,
            ):
                parts.append(images.cpu())
                if progress is not None:
                    progress(finished + sum(map(len, parts)), total, "images")
            finished += len(samples)
            self._keep(index, torch.cat(parts))

    def _keep(self, index: int, images: torch.Tensor) -> None:
        """Write a shard, then its record."""
        path, samples = self.path(index), self.samples(index)
        try:
            if self.fmt == "png":
                pictures = zip(samples, self.model.to_image(images), strict=True)
                write_folder(path, ((f"{i:08d}.png", [_png(picture)]) for i, picture in pictures))
            else:
                write_file(path, _array_file(images.float().numpy(), self.fmt))
            record = {"name": path.name, "first": samples.start, "n": len(samples), "sha256": digest(path)}
            write_json(self.out / "records" / f"{index:06d}.json", record, indent=None)
        except OSError as error:
            safe = sum(len(self.samples(i)) for i in self.recorded() if self.done(i))
            raise OSError(
                error.errno,
                f"shard {index} cannot be written ({error.strerror or error}); {safe} of {self.n} images are safe in "
                f"{self.out}: make room and run the same command again",
            ) from error

    def _check_space(self, images: int) -> None:
        """Refuse at once what cannot fit; pictures are compressed, so their size is not known before."""
        if self.fmt == "png":
            return
        needed = 4 * math.prod(self.model.sample_shape) * images
        free = shutil.disk_usage(self.out).free
        if needed > free:
            raise OSError(
                28, f"{self.out} needs {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free: make room, or draw fewer"
            )


def check_folder(out: Path) -> None:
    """Refuse a folder that images cannot go to: one of other things, or one whose parts are links.

    Raises
    ------
    ValueError
        If it holds other files and no images of diffnum; one of them is named.
    OSError
        If it is a file, or a part of it is a link.
    """
    if not out.is_dir():
        if os.path.lexists(out):
            raise NotADirectoryError(errno.ENOTDIR, f"{out} is no folder: give another place")
        return
    linked = [name for name in _PARTS if (out / name).is_symlink()]
    if linked:
        raise OSError(errno.ELOOP, f"{out / linked[0]} is a link: remove it, or give another folder")
    others = sorted({path.name for path in out.iterdir()} - {*_PARTS})
    if others and not (out / "manifest.json").exists():
        msg = f"{out} holds other files, such as {others[0]}, and no images of diffnum: give a new or empty folder"
        raise ValueError(msg)


def _begin(out: Path, manifest: Manifest) -> None:
    """Write the manifest of a new run, or check that of an old one; clear away what a stopped one left half written."""
    for folder in (out, out / "shards", out / "records"):
        sweep(folder)
    before = Manifest.read(out)
    empty = not any((out / "records").iterdir())
    if before is None and not empty:
        msg = f"{out} holds records and no manifest: give an empty folder"
        raise ValueError(msg)
    if before is None or (empty and not before.complete):  # nothing is drawn yet
        manifest.write(out)
        return
    old, new = before.settings, json.loads(json.dumps(manifest.settings))
    grows = old.get("n", 0) < new["n"]  # image i depends on seed and i alone: those that are there stay
    differing = [k for k in {**old, **new} if old.get(k) != new.get(k) and not (k == "n" and grows)]
    named = [k for k in differing if k != "plan"] or differing
    if named:
        listed = ", ".join(f"{k} {old.get(k)!r} there and {new.get(k)!r} now" for k in named)
        msg = f"{out} holds images of other settings ({listed}): repeat those, or give another folder"
        raise ValueError(msg)
    if before.complete or grows:  # checked again, and repaired where need be
        replace(manifest, facts=before.facts if not grows else manifest.facts).write(out)


def _check(n: int, batch: int, micro_batch: int, shard: int, fmt: str) -> None:
    for name, value in (("n", n), ("batch", batch), ("micro_batch", micro_batch), ("shard", shard)):
        if not 0 < value < 2**63:
            msg = f"{name}={value}: use a positive whole number below 2**63"
            raise ValueError(msg)
    if shard % micro_batch:
        msg = f"shard={shard} is no multiple of micro_batch={micro_batch}: make it one"
        raise ValueError(msg)
    if fmt not in get_args(Format):
        msg = f"fmt={fmt!r} is unknown: use one of {', '.join(get_args(Format))}"
        raise ValueError(msg)


def _array_file(array: np.ndarray[Any, Any], fmt: Format) -> Iterator[bytes | memoryview]:
    """Content of an array file."""
    array = np.ascontiguousarray(array)
    if fmt == "safetensors":
        from safetensors.numpy import save

        yield save({"images": array})
        return
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    yield header.getvalue()
    yield array.data.cast("B")


def _png(picture: np.ndarray[Any, Any]) -> bytes:
    """A picture of intensities in [0, 1] as PNG, 8 bits a channel."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.rint(255.0 * picture).astype(np.uint8)).save(file, format="png")
    return file.getvalue()
