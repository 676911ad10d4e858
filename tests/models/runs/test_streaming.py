"""Images in shards: whatever stops a run, the folder ends up with the same bits, each image once."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import diffnum as dn
from diffnum import cli
from diffnum.jobs.files import PARTIAL, digest, locked, write_file, write_folder
from diffnum.models import load
from diffnum.models.denoiser import NetworkDenoiser
from diffnum.models.runs.sampling import draw
from diffnum.models.runs.streaming import Manifest, _Run, read_images, stream
from diffnum.plans import plan_for
from tests.cli.test_progress import spoken

DIGITS = load("toy/digits")
PLAN = plan_for(DIGITS, "dpmpp_2m", 3)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in sorted((folder / "shards").iterdir())}


def streamed(folder: Path, n: int = 40, **options: Any) -> dict[str, str]:
    settings = {"micro_batch": 8, "shard": 16, "seed": 3, "labels": "each", **options}
    manifest = stream(DIGITS, PLAN, folder, n, **settings)
    assert manifest.complete
    found = digests(folder)
    assert found == {record["name"]: record["sha256"] for record in manifest.shards}
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    streamed(folder)
    return folder


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("batch", [1, 8, 11, 40, 1000])
def test_the_batch_changes_no_bit(tmp_path: Path, whole: Path, batch: int) -> None:
    assert streamed(tmp_path, batch=batch) == digests(whole)


def test_more_images_begin_with_the_same_ones(tmp_path: Path, whole: Path) -> None:
    streamed(tmp_path, n=43)
    assert np.array_equal(np.concatenate(list(read_images(tmp_path)))[:40], np.concatenate(list(read_images(whole))))


@pytest.mark.parametrize("fmt", ["npy", "png"])
@pytest.mark.parametrize(("first", "more"), [(40, 43), (32, 40), (16, 40), (5, 40)])
def test_a_finished_folder_grows_to_the_same_bits(tmp_path: Path, first: int, more: int, fmt: str) -> None:
    before = streamed(tmp_path / "grown", n=first, fmt=fmt)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "grown" / "shards").iterdir()}
    grown = streamed(tmp_path / "grown", n=more, fmt=fmt)
    assert grown == streamed(tmp_path / "at once", n=more, fmt=fmt)
    full = [path for path in kept if int(path.stem) < first // 16]
    assert all(path.stat().st_mtime_ns == kept[path] for path in full)  # drawn once
    assert len(before) <= len(grown)


def test_a_folder_does_not_shrink_and_grows_by_nothing_but_images(tmp_path: Path) -> None:
    streamed(tmp_path, n=16)
    with pytest.raises(ValueError, match="n 16 there and 8 now"):
        streamed(tmp_path, n=8)
    with pytest.raises(ValueError, match=r"settings \(seed 3 there and 4 now\)"):
        streamed(tmp_path, n=24, seed=4)
    assert len(list(read_images(tmp_path))) == 1


def test_images_are_those_of_sample_up_to_rounding(whole: Path) -> None:
    labels = [i % 10 for i in range(40)]
    expected = dn.sample(DIGITS.conditioned(labels), "dpmpp_2m", 3, 40, seed=3).numpy()
    np.testing.assert_allclose(np.concatenate(list(read_images(whole))), expected, rtol=0, atol=1e-4)


def test_another_micro_batch_is_another_arithmetic() -> None:
    """The control of the tests above: without fixed micro-batches the bits do depend on the batch."""
    found = [torch.cat(list(draw(DIGITS, PLAN, range(48), 3, batch=size))) for size in (1, 48)]
    assert not torch.equal(*found)
    torch.testing.assert_close(*found, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 5, 7)], ids=str)
@pytest.mark.parametrize("method", ["dpmpp_3m", "edm_heun", "unipc_3_bh2"])
def test_odd_shapes_are_as_independent_of_the_batch(shape: tuple[int, ...], method: str) -> None:
    size = int(np.prod(shape))
    weights = torch.randn(size, size, generator=torch.Generator().manual_seed(0)) / size**0.5

    class Linear(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x.flatten(1) @ weights + t[:, None]).reshape(x.shape)

    model = NetworkDenoiser(
        Linear(), "noise", dn.schedules.VPLinear(), shape, (-1.0, 1.0), "linear", default_t_start=1.0
    )
    plan = plan_for(model, method, 5)
    found = [torch.cat(list(draw(model, plan, range(21), 0, batch=b, micro_batch=4))) for b in (4, 8, 24)]
    assert all(torch.equal(found[0], x) for x in found[1:])


def test_stochastic_methods_draw_noise_by_image() -> None:
    plan = plan_for(DIGITS, "sde_dpmpp_2m", 3)
    found = [torch.cat(list(draw(DIGITS, plan, range(16), 5, batch=b, micro_batch=4))) for b in (4, 16)]
    assert torch.equal(*found)
    later = torch.cat(list(draw(DIGITS, plan, range(8, 16), 5, batch=8, micro_batch=4)))
    assert torch.equal(found[0][8:], later)


# ---------------------------------------------------------------- stopped and resumed


COMMAND = (
    *(sys.executable, "-m", "diffnum", "sample", "toy/digits", "--label", "each", "--seed", "3", "--steps", "3"),
    *("--micro-batch", "8", "--shard", "16"),
)


def environment() -> dict[str, str]:
    root = str(Path(dn.__file__).resolve().parents[1])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}


@pytest.mark.slow
def test_kill_9_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """Two kills at moments that differ from run to run; what was finished is kept, byte for byte."""
    n, words = 1600, ("--n", "1600", "--batch", "8", "--out", str(tmp_path / "killed"))
    kept: dict[str, float] = {}
    for enough in (2, 30):
        process = subprocess.Popen([*COMMAND, *words], env=environment(), stderr=subprocess.DEVNULL)
        records = tmp_path / "killed" / "records"
        deadline = time.monotonic() + 120
        while not records.is_dir() or len(list(records.glob("*.json"))) < enough:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        manifest = Manifest.read(tmp_path / "killed")
        assert manifest is not None
        assert not manifest.complete
        shards = tmp_path / "killed" / "shards"
        recorded = {json.loads(p.read_text())["name"] for p in records.glob("*.json")}
        assert all((shards / name).stat().st_mtime == at for name, at in kept.items())
        kept = {name: (shards / name).stat().st_mtime for name in recorded}
    subprocess.run([*COMMAND, *words], env=environment(), check=True, capture_output=True)
    assert all((shards / name).stat().st_mtime == at for name, at in kept.items())
    assert not list((tmp_path / "killed").rglob(f"*{PARTIAL}"))
    streamed(tmp_path / "whole", n=n, batch=64)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


@pytest.mark.parametrize("moment", range(1, 12))
def test_a_stop_between_any_two_writes_is_mended(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """The run stops at its k-th flush or rename, in the middle of a shard, a record or the manifest."""
    calls = 0

    def stop(real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment:
                raise KeyboardInterrupt
            return real(*arguments)

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stop(os.fsync))
        patch.setattr(os, "replace", stop(os.replace))
        with pytest.raises(KeyboardInterrupt):
            streamed(tmp_path)
    assert not list(tmp_path.rglob(f"*{PARTIAL}"))
    assert streamed(tmp_path) == digests(whole)


def test_what_a_killed_write_left_is_never_read(tmp_path: Path, whole: Path) -> None:
    streamed(tmp_path, n=16)
    (tmp_path / "shards" / f"000001.npy{PARTIAL}").write_bytes(b"half a shard")
    (tmp_path / "records" / "000000.json").write_text("{")
    manifest = stream(DIGITS, PLAN, tmp_path, 16, micro_batch=8, shard=16, seed=3, labels="each")
    assert manifest.complete
    assert np.array_equal(np.concatenate(list(read_images(tmp_path))), next(read_images(whole)))


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "record gone"])
def test_damaged_shards_are_drawn_again(tmp_path: Path, whole: Path, damage: str) -> None:
    streamed(tmp_path)
    victim = tmp_path / "shards" / "000001.npy"
    content = bytearray(victim.read_bytes())
    if damage == "flipped":
        content[-3] ^= 1
        victim.write_bytes(content)
    elif damage == "cut":
        victim.write_bytes(content[:-64])
    elif damage == "gone":
        victim.unlink()
    else:
        (tmp_path / "records" / "000001.json").unlink()
    if damage != "record gone":
        with pytest.raises(ValueError, match=r"000001\.npy is not what was recorded"):
            list(read_images(tmp_path))
    others = {p.name: p.stat().st_mtime_ns for p in victim.parent.iterdir() if p != victim}
    assert streamed(tmp_path) == digests(whole)
    assert {p.name: p.stat().st_mtime_ns for p in victim.parent.iterdir() if p != victim} == others


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 4}, "seed 3 there and 4 now"),
        ({"labels": 2}, "labels 'each' there and 2 now"),
        ({"micro_batch": 16}, "micro_batch 8 there and 16 now"),
        ({"n": 39}, "n 40 there and 39 now"),
        ({"settings": {"grid": "karras"}}, "grid None there and 'karras' now"),
        ({"fmt": "png"}, "format 'npy' there and 'png' now"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_settings_are_refused_and_named(whole: Path, changed: dict[str, Any], named: str) -> None:
    before = digests(whole)
    with pytest.raises(ValueError, match=named):
        streamed(whole, **changed)
    assert digests(whole) == before


def test_another_method_is_refused_and_named(whole: Path) -> None:
    with pytest.raises(ValueError, match=r"method 'dpmpp_2m' there and 'ddim' now"):
        stream(DIGITS, plan_for(DIGITS, "ddim", 3), whole, 40, micro_batch=8, shard=16, seed=3, labels="each")


# ---------------------------------------------------------------- several processes


@pytest.mark.slow
def test_two_processes_draw_the_same_bits(tmp_path: Path) -> None:
    words = (*COMMAND[2:], "-n", "200", "--out", str(tmp_path / "two"), "--json")
    # -n, not --n: torchrun takes words of the command that begin like its own options for these.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run([*launch, *words], env=environment(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 200
    manifest = Manifest.read(tmp_path / "two")
    assert manifest is not None
    assert manifest.complete
    assert digests(tmp_path / "two") == streamed(tmp_path / "one", n=200, batch=16)


# ---------------------------------------------------------------- writes that fail


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_one_shard(tmp_path: Path) -> None:
    """A limit on the size of files makes the system refuse the write in the middle of a shard."""
    words = ("--n", "200", "--out", str(tmp_path / "small"), "--batch", "16", "--shard", "64")
    limit = 10_000  # bytes; a shard of 64 digits has 16 kB
    done = subprocess.run(
        [*COMMAND, *words],
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2
    message = done.stderr.splitlines()[-1]
    assert "shard 0 cannot be written" in message
    assert "0 of 200 images are safe" in message
    assert list((tmp_path / "small" / "shards").iterdir()) == []
    subprocess.run([*COMMAND, *words], env=environment(), check=True, capture_output=True)
    assert sum(map(len, read_images(tmp_path / "small"))) == 200


def test_too_little_room_is_said_before_the_first_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(OSError, match=r"needs .* MB and .* MB are free") as caught:
        streamed(tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert list((tmp_path / "shards").iterdir()) == []


@pytest.mark.parametrize("n", [10**12, 2**63 - 1])
def test_an_absurd_number_of_images_is_answered_without_a_walk_over_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    asked: list[int] = []
    real = _Run.record
    monkeypatch.setattr(_Run, "record", lambda run, index: asked.append(index) or real(run, index))
    with pytest.raises(OSError, match=r"MB are free: make room, or draw fewer"):
        streamed(tmp_path, n=n)
    assert asked == []
    assert streamed(tmp_path, n=16)  # the refused run has left nothing that stands in the way


def test_the_size_of_pictures_is_not_known_before_and_their_shards_come_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Enough(Exception):
        pass

    def progress(done: int, total: int, what: str) -> None:
        assert total == 10**12
        if done > 24:
            raise Enough

    asked: list[int] = []
    real = _Run.record
    monkeypatch.setattr(_Run, "record", lambda run, index: asked.append(index) or real(run, index))
    for _ in range(2):
        with pytest.raises(Enough):
            streamed(tmp_path, n=10**12, fmt="png", batch=8, progress=progress)
    assert asked == [0]  # the second run asked for what the first had finished
    assert [p.name for p in (tmp_path / "shards").iterdir()] == ["000000"]


@pytest.mark.parametrize("name", ["many.png", "many.npy"])
def test_more_images_than_memory_holds_go_into_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["sample", "toy/digits", "-n", "1000000000000", "--out", str(tmp_path / name)])
    assert left.value.code == 2
    (line,) = spoken(capsys.readouterr().err).splitlines()
    assert "need 256000 GB together" in line
    with pytest.raises(ValueError, match="draw fewer, or into a folder"):
        dn.sample(DIGITS, n=10**12)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    def broken() -> Any:
        yield b"begin"
        raise OSError(errno.ENOSPC, "No space left on device")

    path, folder = tmp_path / "file", tmp_path / "folder"
    write_file(path, [b"old"])
    write_folder(folder, [("a", [b"old"])])
    before = digest(folder)
    with pytest.raises(OSError, match="No space"):
        write_file(path, broken())
    with pytest.raises(OSError, match="No space"):
        write_folder(folder, [("a", [b"new"]), ("b", broken())])
    assert path.read_bytes() == b"old"
    assert digest(folder) == before
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}
    write_folder(folder, [("b", [b"new"])])
    assert [p.name for p in folder.iterdir()] == ["b"]


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(OSError, match="is being written by another run"):
        streamed(tmp_path)
    assert streamed(tmp_path)


# ---------------------------------------------------------------- formats and bad input


def test_formats_hold_the_same_images(tmp_path: Path, whole: Path) -> None:
    from PIL import Image

    images = np.concatenate(list(read_images(whole)))
    streamed(tmp_path / "tensors", fmt="safetensors")
    assert np.array_equal(np.concatenate(list(read_images(tmp_path / "tensors"))), images)
    assert load_file(tmp_path / "tensors" / "shards" / "000000.safetensors")["images"].shape == (16, 1, 8, 8)
    streamed(tmp_path / "pictures", fmt="png")
    pictures = sorted((tmp_path / "pictures" / "shards").rglob("*.png"))
    assert [p.name for p in pictures] == [f"{i:08d}.png" for i in range(40)]
    found = np.stack([np.asarray(Image.open(p)) for p in pictures])
    expected = np.rint(255.0 * DIGITS.to_image(torch.from_numpy(images)))
    assert np.array_equal(found, expected)
    streamed(tmp_path / "pictures", fmt="png")
    with pytest.raises(ValueError, match="holds pictures"):
        list(read_images(tmp_path / "pictures"))


def test_an_unfinished_folder_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no complete set"):
        list(read_images(tmp_path))


@pytest.mark.parametrize("name", ["1.json", "000001 copy.json", "x.json", "²²²²²².json"])
@pytest.mark.parametrize("text", ["{}", "[]", "7", "{", "copy"])
def test_stray_records_count_for_nothing(tmp_path: Path, whole: Path, name: str, text: str) -> None:
    streamed(tmp_path / "out")
    record = (tmp_path / "out" / "records" / "000001.json").read_text()
    (tmp_path / "out" / "records" / name).write_text(record if text == "copy" else text)
    assert streamed(tmp_path / "out") == digests(whole)
    assert sum(len(part) for part in read_images(tmp_path / "out")) == 40


@pytest.mark.parametrize("text", ["[]", "7", "null", '{"sha256": 3}', "[" * 100_000])
def test_records_that_are_none_are_drawn_anew(tmp_path: Path, whole: Path, text: str) -> None:
    streamed(tmp_path / "out")
    (tmp_path / "out" / "records" / "000001.json").write_text(text)
    assert streamed(tmp_path / "out") == digests(whole)


@pytest.mark.parametrize("part", ["shards", "records", "lock", "manifest.json"])
def test_parts_that_are_links_are_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "out" / part).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=f"{part} is a link: remove it, or give another folder"):
        stream(DIGITS, PLAN, tmp_path / "out", 2)
    assert not list((tmp_path / "mine").iterdir())


def test_images_are_safe_only_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streamed(tmp_path / "out")
    (tmp_path / "out" / "shards" / "000002.npy").unlink()
    (tmp_path / "out" / "shards" / "000000.npy").write_bytes(b"")

    def full(path: Path, *_: Any) -> None:
        if path.suffix == ".npy":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("diffnum.models.runs.streaming.write_file", full)
    with pytest.raises(OSError, match="16 of 40 images are safe"):
        streamed(tmp_path / "out")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2, "settings": {}, "shards": []}'])
def test_a_foreign_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        streamed(tmp_path)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"n": 0}, "n=0"), ({"batch": 0}, "batch=0"), ({"shard": 12}, "shard=12"), ({"fmt": "jpeg"}, "fmt='jpeg'")],
)
def test_bad_numbers_are_named(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        streamed(tmp_path, **options)


def test_the_manifest_says_how_it_was_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sample", "toy/digits", "--nfe", "5", "--method", "ddim", "--n", "20", "--out", str(tmp_path / "a" / "b")]
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert not left.value.code
    assert "20 images of toy/digits by ddim, 5 evaluations" in capsys.readouterr().out
    data = json.loads((tmp_path / "a" / "b" / "manifest.json").read_text())
    assert data["complete"]
    assert data["settings"]["nfe"] == 5
    assert data["settings"]["grid"] == "uniform_half_log_snr"
    assert {"command", "t_start", "t_end", "versions", "shards"} <= set(data)
