"""Everything that wants an accelerator: ``python -m tests.benchmarks.gpu [--out DIR] [--quick]`` (``make gpu``).

Correctness against float64 on the CPU, calls that make the host wait, capture in a CUDA graph, overhead of a step by
diffusers' and k-diffusion's, bandwidth of the update beside that of a copy, images per second of the networks that are
there. The numbers go to ``book/results/gpu-<device>-<date>.json``. Without an accelerator the CPU takes its place, and
what needs CUDA is left out and said so. Things are timed in turn in one process, by the seconds that the process had on
the CPU where there is no accelerator (one thread; a busy machine adds waiting, not work); ratios are medians.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import diffnum as dn
from diffnum.interop import PlanScheduler, k_diffusion
from diffnum.models import capture, compiled, fused, model_ids
from diffnum.models.runs.sampling import initial_noise
from diffnum.plans import plan_for

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ((1, 4, 64, 64), (16, 4, 64, 64), (4, 3, 512, 512))
STEPS = 20
TARGETS = {
    f"{place}: {method}{kernel} / {base}": target
    for kernel in ("", ", compiled")
    for place, method, base, target in (
        ("smallest", "dpmpp_2m", "DPMSolverMultistep(order 2)", 1 / 10),
        ("smallest", "unipc_2_bh2", "UniPCMultistep(order 2)", 1 / 25),
        ("largest", "dpmpp_2m", "DPMSolverMultistep(order 2)", 1 / 5),
        ("largest", "dpmpp_2m", "one pass over the same memory", 1.5),
    )
}
DPM, UNIPC, UNIPC_3 = (
    "diffusers DPMSolverMultistep(order 2)",
    "diffusers UniPCMultistep(order 2)",
    "diffusers UniPCMultistep(order 3)",
)
PASS = "one pass over the same memory"
COMPARED = (
    ("ours dpmpp_2m", DPM),
    ("ours dpmpp_2m, compiled", DPM),
    ("floor of eager dpmpp_2m", DPM),
    ("ours unipc_2_bh2", UNIPC),
    ("ours unipc_2_bh2, compiled", UNIPC),
    ("floor of eager unipc_2_bh2", UNIPC),
    ("ours unipc_3_bh2", UNIPC_3),
    ("ours dpmpp_2m", "k-diffusion dpmpp_2m"),
    ("ours dpmpp_2m", PASS),
    ("ours dpmpp_2m, compiled", PASS),
)
"""What is divided by what: the floor is what the operations of torch take that the rows need, one a term."""
CHECKED = ("ddim", "dpmpp_2m", "dpmpp_3m_corrected", "unipc_3", "edm_heun", "ghvb_2.8", "deis_tab3")

Thing = tuple[Callable[[], object], Callable[[], object]]
"""What is done before the clock starts, and what is timed."""


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(device: torch.device) -> float:
    """Seconds: of the wall on an accelerator, of this process on the CPU."""
    synchronise(device)
    return time.perf_counter() if device.type == "cuda" else time.process_time()


def in_turn(things: Mapping[str, Thing], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each thing in each round; two rounds warm up."""
    times: dict[str, list[float]] = {name: [] for name in things}
    for number in range(rounds + 2):
        for name, (prepare, run) in things.items():
            prepare()
            start = clock(device)
            run()
            seconds = clock(device) - start
            if number >= 2:
                times[name].append(seconds)
    return times


def ratio(times: Mapping[str, list[float]], name: str, base: str) -> float:
    """Median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def nothing() -> None:
    pass


def given(answer: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return answer


# -- overhead ------------------------------------------------------------------------------------------


class Free:
    """A model that costs nothing."""

    prediction = "noise"

    def __init__(self, schedule: Any, answer: torch.Tensor) -> None:
        self.schedule, self.answer = schedule, answer

    def __call__(self, *_: Any) -> torch.Tensor:
        return self.answer


def scheduler_thing(scheduler: Any, latent: torch.Tensor, answer: torch.Tensor) -> Thing:
    """The step calls of a scheduler; making its table is not timed."""

    def run() -> None:
        x = latent
        for t in scheduler.timesteps:
            x = scheduler.step(answer, t, x, return_dict=False)[0]

    return partial(scheduler.set_timesteps, STEPS, device=latent.device), run


def memory_pass(plan: dn.Plan, like: torch.Tensor) -> tuple[Callable[[], None], int]:
    """Passes that read and write what one fused update of each step reads and writes, and how many bytes.

    A sum of two tensors into a third reads two and writes one, a copy reads and writes one; with r reads and w writes a
    step needs r - w sums and 2 w - r copies.
    """
    pool = [torch.randn_like(like) for _ in range(10)]
    script: list[tuple[int, int]] = []
    size = 0
    for step, rows in zip(plan.steps, plan.programme, strict=True):
        for group in (*((row,) for row in rows[: step.nfe]), rows[step.nfe :]):
            real = [row for _, row in group if len(row) > 1 or set(row.values()) != {1.0}]
            reads, writes = len({name for row in real for name in row}), len(real)
            if writes:
                script.append((max(reads - writes, 0), max(2 * writes - reads, 0)))
                size += (reads + writes) * like.numel() * like.element_size()

    def run() -> None:
        turn = 0
        for sums, copies in script:
            for _ in range(sums):
                torch.add(pool[turn % 10], pool[(turn + 1) % 10], out=pool[(turn + 2) % 10])
                turn += 3
            for _ in range(copies):
                pool[(turn + 1) % 10].copy_(pool[turn % 10])
                turn += 2

    return run, size


def floor(plan: dn.Plan, like: torch.Tensor) -> Callable[[], None]:
    """Operations of torch that the rows of a plan need at least, one a term, without anything around them."""
    pool = [torch.randn_like(like) for _ in range(1 + max(len(row) for rows in plan.programme for _, row in rows))]
    counts = [len(row) for rows in plan.programme for _, row in rows if len(row) > 1 or set(row.values()) != {1.0}]

    def run() -> None:
        out, first, *others = pool
        for count in counts:
            torch.mul(first, 0.5, out=out)
            for other in others[: count - 1]:
                out.add_(other, alpha=0.5)

    return run


def overhead(device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """Microseconds a step of ours, diffusers' and k-diffusion's, on a model that costs nothing."""
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    from diffnum.audits import k_diffusion_samplers

    rows = []
    schedule = dn.schedules.VPLinear()
    grid = dn.grids.uniform_half_log_snr(schedule, n=STEPS, t_start=1.0, t_end=1e-3)
    methods = ("ddim", "dpmpp_2m", "unipc_2_bh2", "unipc_3_bh2")
    for shape in SHAPES:
        latent, answer = (torch.randn(shape, device=device) for _ in range(2))
        model = Free(schedule, answer)
        plans = {name: dn.plan(name, schedule, grid, prediction="noise") for name in methods}
        sigmas = torch.exp(-torch.tensor(grid.lam, dtype=torch.float32, device=device))
        solve = partial(dn.solve, check_finite=False)
        reference, size = memory_pass(plans["dpmpp_2m"], latent)
        k = k_diffusion_samplers()
        denoised = partial(given, answer)
        things: dict[str, Thing] = {
            DPM: scheduler_thing(DPMSolverMultistepScheduler(solver_order=2), latent, answer),
            UNIPC: scheduler_thing(UniPCMultistepScheduler(solver_order=2), latent, answer),
            UNIPC_3: scheduler_thing(UniPCMultistepScheduler(solver_order=3), latent, answer),
            "k-diffusion dpmpp_2m": (nothing, partial(k["sample_dpmpp_2m"], denoised, latent, sigmas, disable=True)),
            "ours dpmpp_2m, k-diffusion style": (
                nothing,
                partial(k_diffusion.sample_dpmpp_2m, denoised, latent, sigmas, disable=True),
            ),
            "ours dpmpp_2m, PlanScheduler": scheduler_thing(PlanScheduler(method="dpmpp_2m"), latent, answer),
            "ours unipc_2_bh2, PlanScheduler": scheduler_thing(PlanScheduler(method="unipc_2_bh2"), latent, answer),
            **{f"ours {n}": (nothing, partial(solve, plan, model, latent, combine=fused)) for n, plan in plans.items()},
            **{
                f"ours {n}, compiled": (nothing, partial(solve, plans[n], model, latent, combine=compiled))
                for n in ("dpmpp_2m", "unipc_2_bh2")
            },
            **{f"floor of eager {n}": (nothing, floor(plans[n], latent)) for n in ("dpmpp_2m", "unipc_2_bh2")},
            "ours dpmpp_2m, plain": (nothing, partial(solve, plans["dpmpp_2m"], model, latent)),
            PASS: (nothing, reference),
        }
        count = rounds if latent.numel() < 1e6 or device.type == "cuda" else max(rounds // 6, 8)
        with torch.no_grad():
            times = in_turn(things, count, device)
        rows.append(
            {
                "shape": list(shape),
                "rounds": count,
                "microseconds_per_step": {n: 1e6 * statistics.median(t) / STEPS for n, t in times.items()},
                "ratio_to_DPMSolverMultistep": {n: ratio(times, n, DPM) for n in times},
                "ratios": {
                    f"{what.removeprefix('ours ')} / {against.removeprefix('diffusers ')}": ratio(times, what, against)
                    for what, against in COMPARED
                },
                "bytes_per_step_of_dpmpp_2m": size / STEPS,
                "gigabytes_per_second_of_dpmpp_2m": size / 1e9 / statistics.median(times["ours dpmpp_2m"]),
            }
        )
    return rows


def against_targets(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Measured ratio, target, and whether it is met."""
    places = {"smallest": rows[0], "largest": rows[-1]}
    found = {}
    for name, target in TARGETS.items():
        place, what = name.split(": ")
        measured = places[place]["ratios"][what]
        found[name] = {"measured": measured, "target": target, "met": measured <= target}
    return found


# -- what must be right --------------------------------------------------------------------------------


def correctness(device: torch.device) -> dict[str, float]:
    """Largest error of float32 on the device, relative to float64 on the CPU, on toy/digits."""
    exact = dn.load("toy/digits", dtype="float64").conditioned(3)
    model = dn.load("toy/digits", device=device).conditioned(3)
    x = initial_noise(4, exact.sample_shape, 0, dtype=torch.float64)
    errors = {}
    for name in CHECKED:
        plan = plan_for(exact, name, STEPS)
        expected = dn.solve(plan, exact, x)
        found = dn.solve(plan, model, x.to(device, torch.float32), combine=fused).cpu().double()
        errors[name] = float((found - expected).abs().max() / expected.abs().max())
    return errors


def catalogue(device: torch.device) -> dict[str, Any]:
    """All methods on a mixture: largest relative differences from numpy, by dtype, plain and fused."""
    schedule = dn.schedules.VPLinear()
    grid = dn.grids.uniform_half_log_snr(schedule, n=STEPS, t_start=0.9, t_end=1e-3)
    model = dn.problems.three_peaks().denoiser(schedule)
    names = tuple(dn.methods(kind="all"))
    plans = {name: dn.plan(name, schedule, grid) for name in names}
    draws = max(len(step.noises) for plan in plans.values() for step in plan.steps)
    bank = np.random.default_rng(1).standard_normal((STEPS, draws, 64, 1))
    x = np.random.default_rng(0).standard_normal((64, 1))
    on_device = torch.tensor(x, device=device)

    def noise(step: int, index: int, like: Any) -> Any:
        draw = bank[step, index]
        return draw if isinstance(like, np.ndarray) else torch.tensor(draw, dtype=like.dtype, device=like.device)

    found: dict[str, Any] = {"methods": len(names)}
    for dtype in (torch.float64, torch.float32):
        for way, combine in (("plain", None), ("fused", fused)):
            errors = {}
            for name, plan in plans.items():
                exact = dn.solve(plan, model, x, noise=noise)
                answer = dn.solve(plan, model, on_device.to(dtype), noise=noise, combine=combine).cpu().numpy()
                errors[name] = float(np.abs(answer - exact).max() / np.abs(exact).max())
            worst = max(errors, key=errors.__getitem__)
            found[f"{str(dtype).removeprefix('torch.')}, {way}"] = {"largest": errors[worst], "method": worst}
    return found


def precision(device: torch.device) -> dict[str, Any]:
    """toy/digits in half precision with a float32 state, and channels last: error against float64 on the CPU."""
    exact = dn.load("toy/digits", dtype="float64").conditioned(3)
    x = initial_noise(4, exact.sample_shape, 0, dtype=torch.float64)
    plan = plan_for(exact, "dpmpp_2m", STEPS)
    expected = dn.solve(plan, exact, x)
    found: dict[str, Any] = {}
    for dtype in ("float32", "float16", "bfloat16"):
        model = dn.load("toy/digits", device=device, dtype=dtype).conditioned(3)
        start = x.to(device, torch.float32).contiguous(memory_format=torch.channels_last)
        answer = dn.solve(plan, model, start, combine=fused)
        found[dtype] = {
            "error": float((answer.cpu().double() - expected).abs().max() / expected.abs().max()),
            "state": str(answer.dtype).removeprefix("torch."),
            "channels last kept": answer.is_contiguous(memory_format=torch.channels_last),
        }
    return found


def processes(device: torch.device) -> str:
    """Whether ``torchrun``, one process a device, fills a folder with the bytes that one process alone does."""
    count = torch.cuda.device_count() if device.type == "cuda" else 2
    words = ["-m", "diffnum", "sample", "toy/digits", "-n", "96", "--shard", "32", "--device", device.type, "--out"]
    ways = {"alone": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run", "--standalone"]}
    ways["torchrun"] += ["--nproc-per-node", str(count)]
    with tempfile.TemporaryDirectory() as folder:
        for way, start in ways.items():
            done = subprocess.run([*start, *words, f"{folder}/{way}"], capture_output=True, text=True, cwd=ROOT)
            if done.returncode:
                return f"{way}: {done.stderr.strip().splitlines()[-1]}"
        alone, together = (
            {path.name: path.read_bytes() for path in Path(folder, way).rglob("*.npy")} for way in ("alone", "torchrun")
        )
    backend = "NCCL" if device.type == "cuda" else "gloo"
    verdict = "the same bytes" if alone == together and alone else "differ"
    return f"{count} process(es), {backend}, {len(alone)} shards: {verdict}"


@contextmanager
def no_synchronisation() -> Any:
    """Make every call that waits for the device an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def synchronisation(device: torch.device) -> dict[str, str]:
    """Whether a whole run is launched without waiting for the device, by method."""
    model = dn.load("toy/digits", device=device).conditioned(3)
    x = initial_noise(4, model.sample_shape, 0, device=device)
    noise = lambda step, index, like: torch.randn_like(like)  # noqa: E731
    found = {}
    for name in (*CHECKED, "sde_dpmpp_2m"):
        plan = plan_for(model, name, 5)
        run = partial(dn.solve, plan, model, x, noise=noise, combine=fused, check_finite=False)
        run()
        try:
            with no_synchronisation():
                run()
            found[name] = "none"
        except RuntimeError as error:
            found[name] = str(error).splitlines()[0]
    return found


def graphs(device: torch.device, rounds: int) -> dict[str, Any]:
    """A captured run beside the same run launched from Python: largest difference, and time."""
    model = dn.load("toy/digits", device=device).conditioned(3)
    x, other = (initial_noise(16, model.sample_shape, seed, device=device) for seed in (0, 1))
    found: dict[str, Any] = {}
    for name in ("dpmpp_2m", "unipc_3", "edm_heun"):
        plan = plan_for(model, name, STEPS)
        run = capture(plan, model, x)
        eager = dn.solve(plan, model, other, combine=fused)
        difference = float((run(other) - eager).abs().max())
        things: dict[str, Thing] = {
            "graph": (nothing, partial(run, other)),
            "eager": (nothing, partial(dn.solve, plan, model, other, combine=fused, check_finite=False)),
        }
        times = in_turn(things, rounds, device)
        found[name] = {
            "largest_difference": difference,
            "milliseconds": {k: 1e3 * statistics.median(t) for k, t in times.items()},
            "graph / eager": ratio(times, "graph", "eager"),
        }
    return found


# -- how fast ------------------------------------------------------------------------------------------


def bandwidth(device: torch.device, rounds: int) -> dict[str, Any]:
    """Bytes a second of the update of dpmpp_2m on a large state, beside a copy of the same size on the device."""
    shape = (64, 4, 256, 256) if device.type == "cuda" else SHAPES[-1]
    schedule = dn.schedules.VPLinear()
    grid = dn.grids.uniform_half_log_snr(schedule, n=STEPS, t_start=1.0, t_end=1e-3)
    plan = dn.plan("dpmpp_2m", schedule, grid, prediction="noise")
    latent, answer, target = (torch.randn(shape, device=device) for _ in range(3))
    _, size = memory_pass(plan, latent)
    run = partial(dn.solve, plan, Free(schedule, answer), latent, combine=fused, check_finite=False)
    things: dict[str, Thing] = {"update": (nothing, run), "copy": (nothing, partial(target.copy_, latent))}
    if device.type == "cuda":
        captured = capture(plan, Free(schedule, answer), latent)
        things["update in a graph"] = (nothing, captured.graph.replay)
    times = in_turn(things, rounds, device)
    copied = 2 * latent.numel() * latent.element_size()
    speed = {n: (copied if n == "copy" else size) / 1e9 / statistics.median(t) for n, t in times.items()}
    return {"shape": list(shape), "gigabytes_per_second": speed, "update / copy": speed["update"] / speed["copy"]}


def images_per_second(device: torch.device, quick: bool) -> dict[str, Any]:
    """Images a second with 20 evaluations of dpmpp_2m, of every network that is there."""
    found: dict[str, Any] = {}
    n = 256 if device.type == "cuda" else 8
    wanted = [name for name in model_ids() if name.startswith("toy/")] if quick else list(model_ids())
    for name in wanted:
        try:
            model = dn.load(name, device=device)
        except FileNotFoundError as error:
            found[name] = f"left out: {error}"
            continue
        count = n if name.startswith("toy/") or device.type == "cuda" else 2
        draw = partial(dn.sample, model, "dpmpp_2m", nfe=STEPS, n=count, batch=count)
        if device.type == "cuda":
            draw()
        start = clock(device)
        draw()
        found[name] = {"batch": count, "images_per_second": count / (clock(device) - start)}
    return found


# -- the whole -----------------------------------------------------------------------------------------


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """Name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results", help="folder of the JSON file")
    parser.add_argument("--rounds", type=int, default=60, help="timed rounds")
    parser.add_argument("--quick", action="store_true", help="leave the larger networks out")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    needs_cuda = "left out: needs CUDA"
    rows = overhead(device, options.rounds)
    report = {
        "command": f"python -m tests.benchmarks.gpu --rounds {options.rounds}" + " --quick" * options.quick,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {
            "diffnum": dn.__version__,
            **{p: installed(p) for p in ("torch", "diffusers", "k-diffusion", "triton")},
        },
        "steps": STEPS,
        "targets": against_targets(rows) if device.type == "cpu" else {},
        "overhead": rows,
        "bandwidth": bandwidth(device, max(options.rounds // 4, 8)),
        "error_against_float64": correctness(device),
        "error_against_numpy": catalogue(device),
        "precision": precision(device),
        "processes": processes(device),
        "synchronisation": synchronisation(device) if device.type == "cuda" else f"{needs_cuda} (tests count reads)",
        "graphs": graphs(device, options.rounds) if device.type == "cuda" else needs_cuda,
        "images_per_second": images_per_second(device, options.quick),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    slug = "cpu" if device.type == "cpu" else re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    path = options.out / f"gpu-{slug}-{report['date']}.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(*row["shape"], "  ".join(f"{n}: {v:.3f}" for n, v in row["ratios"].items()), sep="  ")
    for what, result in report["targets"].items():  # type: ignore[attr-defined]
        verdict = "met   " if result["met"] else "MISSED"
        print(f"{verdict} {what}: {result['measured']:.3f} (target {result['target']:.3f})")
    print(path)


if __name__ == "__main__":
    main()
