"""Fused combinations: the numbers of the plain ones, in a few buffers, without asking the device for anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import diffnum as dn
from diffnum.models import capture, compiled, fused, update
from diffnum.models.update import BLOCK
from diffnum.models.update.native import kernel
from diffnum.plans import plan_for
from diffnum.plans.buffers import layout
from diffnum.solver.noise import SampleStreams

ROOT = Path(__file__).resolve().parents[3]
SCHEDULE = dn.schedules.VPLinear()
METHODS = tuple(dn.methods("all"))
SMALL = (2, 3, 4, 4)
LARGE = (3, 3, 192, 192)  # more than a block, and not a whole number of them


@dataclass(frozen=True)
class Model:
    """A smooth network without parameters."""

    prediction: Any = "noise"
    schedule: Any = SCHEDULE
    dtype: Any = None

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        y = x if self.dtype is None else x.to(self.dtype)
        return torch.sin(y + 0.1 * t).mul_(0.7)


def planned(method: str, n: int = 7, schedule: Any = SCHEDULE) -> dn.Plan:
    low, high = (float(schedule.time(lam)) for lam in (1.5, -1.5))
    return dn.plan(method, schedule, dn.grids.uniform_half_log_snr(schedule, n, t_start=high, t_end=low))


def state(shape: tuple[int, ...] = SMALL, dtype: Any = torch.float64, **options: Any) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype, **options)


def both(plan: dn.Plan, model: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fused and plain."""
    noise = SampleStreams(3)
    found, plain = (dn.solve(plan, model, x, noise=noise, combine=combine) for combine in (fused, None))
    return found, plain


# -- the same numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_the_numbers_of_the_plain_combinations(method: str) -> None:
    found, plain = both(planned(method), Model(), state())
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["ddim", "dpmpp_3m", "unipc_3", "rho_rk_rk4", "ghvb_2.8", "pndm", "sa_solver_3_4"])
def test_block_by_block_the_numbers_are_the_same(method: str) -> None:
    found, plain = both(planned(method, 4), Model(), state(LARGE))
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=["small", "blocks"])
@pytest.mark.parametrize("method", ["dpmpp_3m", "unipc_3", "edm_heun"])
def test_channels_last_is_kept_and_changes_nothing(method: str, shape: tuple[int, ...]) -> None:
    x = state(shape, memory_format=torch.channels_last)
    found, plain = both(planned(method), Model(), x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    mixed = dn.solve(planned(method), lambda_model(lambda y, t: Model()(y, t).contiguous()), x, combine=fused)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(mixed, plain, rtol=1e-12, atol=1e-12)


def lambda_model(function: Any) -> Any:
    return type(
        "Function", (), {"prediction": "noise", "schedule": SCHEDULE, "__call__": lambda self, x, t: function(x, t)}
    )()


@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=["small", "blocks"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", ["dpmpp_2m", "unipc_3", "ghvb_2.8", "edm_heun"])
def test_models_of_half_precision_leave_the_state_in_float32(method: str, dtype: Any, shape: tuple[int, ...]) -> None:
    x = state(shape, torch.float32)
    # answers that do not depend on the state, since a model that rounds its input may jump to another neighbour
    found, plain = both(planned(method), lambda_model(lambda y, t: Model()(x, t).to(dtype)), x)
    exact = dn.solve(planned(method), lambda_model(lambda y, t: Model()(x, t).to(dtype).double()), x.double())
    assert found.dtype == plain.dtype == torch.float32
    for value in (found, plain):
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_last_step_that_only_denoises_has_the_dtype_of_the_state() -> None:
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 3, terminal="denoise")
    found = dn.solve(
        dn.plan("ddim", SCHEDULE, grid), Model("data", dtype=torch.bfloat16), state(dtype=torch.float32), combine=fused
    )
    assert found.dtype == torch.float32


def test_element_wise_weights_are_computed_too() -> None:
    rng = np.random.default_rng(0)
    lam = np.linspace(-2.0, 2.0, 9)
    tables = (0.1 * rng.standard_normal((9, *SMALL[1:])) for _ in range(3))
    method = dn.dpm_solver_v3(dn.ModelStatistics(lam, *tables, SCHEDULE))
    plan = planned(method)
    assert plan.steps[0].V.ndim > 2
    found, plain = both(plan, Model(), state())
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


def test_a_mean_reverting_process_is_shifted_as_ever() -> None:
    schedule = dn.schedules.MeanReverting(mean=0.4)
    found, plain = both(planned("unipc_3", schedule=schedule), Model("data", schedule), state())
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


# -- kernels -------------------------------------------------------------------------------------------


def written_out(targets: Any, sources: Any, weights: Any) -> None:
    """What a kernel computes."""
    assert len(targets) <= 2
    assert len(sources) <= 8
    for target, row in zip(targets, weights, strict=True):
        target.copy_(sum(w * s.to(target.dtype) for w, s in zip(row, sources, strict=True)))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("method", ["dpmpp_3m", "unipc_3", "ghvb_2.8", "sa_solver_3_4", "eab_4"])
def test_a_kernel_is_given_every_row_of_a_step(method: str, dtype: Any) -> None:
    calls: list[int] = []

    def kernel(targets: Any, sources: Any, weights: Any) -> None:
        calls.append(len(targets))
        written_out(targets, sources, weights)

    def combine(plan: dn.Plan, like: torch.Tensor) -> Any:
        return update._groups(plan, like, partial(update._in_kernel, kernel, False))

    plan, model, x, noise = planned(method), Model(dtype=dtype), state(dtype=torch.float32), SampleStreams(3)
    found, plain = (dn.solve(plan, model, x, noise=noise, combine=c) for c in (combine, None))
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    assert calls


@pytest.fixture(scope="module")
def native() -> Any:
    """The kernel in C++, which the first test builds."""
    if (
        shutil.which(os.environ.get("CXX", "c++")) is None
        or not Path(sysconfig.get_path("include"), "Python.h").exists()
    ):
        pytest.skip("needs a C++ compiler and the headers of Python")
    return kernel()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_compiled_kernel_gives_the_numbers_of_the_plain_combinations(method: str, native: Any) -> None:
    plan, noise = planned(method), SampleStreams(3)
    for returned in (Model(), lambda_model(lambda x, t: x.view_as(x))):
        found, plain = (dn.solve(plan, returned, state(), noise=noise, combine=c) for c in (compiled, None))
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_compiled_kernel_takes_all_memory_formats_and_precisions(threads: int, native: Any) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    x = state(LARGE, torch.float32, memory_format=torch.channels_last)
    model = lambda_model(lambda y, t: Model()(x, t).contiguous().to(torch.bfloat16))
    found, plain = (dn.solve(planned("unipc_3"), model, x, combine=c) for c in (compiled, None))
    torch.set_num_threads(before)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_compiled_kernel_may_write_where_it_reads(dtype: Any, native: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    for count in range(1, 9):
        for rows in range(1, min(count, 2) + 1):
            sources = [torch.randn(3, 1001, generator=generator, dtype=dtype) for _ in range(count)]
            weights = torch.randn(rows, count, generator=generator).tolist()
            expected = [sum(w * s for w, s in zip(row, sources, strict=True)) for row in weights]
            native(sources[:rows], sources, weights)
            torch.testing.assert_close(sources[:rows], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="one weight for each source"):
        native(sources[:1], sources, [[1.0]])
    with pytest.raises(RuntimeError, match="the shape of the targets"):
        native(sources[:1], [sources[1][:, :-1]], [[1.0]])


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for compiler in ("false", "no-such-compiler"):
        monkeypatch.setenv("CXX", compiler)
        with pytest.raises(RuntimeError, match="use combine=fused"):
            kernel.__wrapped__()
    assert not list(tmp_path.rglob("*.so"))


def test_a_compiler_may_be_several_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "echo-no-such-compiler first 'the second'")
    asked: list[list[str]] = []

    def refuse(command: list[str], **_: Any) -> None:
        asked.append(command)
        raise FileNotFoundError(command[0])

    monkeypatch.setattr("subprocess.run", refuse)
    with pytest.raises(RuntimeError, match="use combine=fused"):
        kernel.__wrapped__()
    assert asked[-1][:3] == ["echo-no-such-compiler", "first", "the second"]


INTERPRETED = """
import torch
from diffnum.models.update.kernel import combine
for size in (5, 1024, 3000):
    for count in range(1, 9):
        for rows in (1, 2):
            sources = [torch.randn(size, dtype=torch.float32 if i % 3 else torch.bfloat16) for i in range(count)]
            weights = torch.randn(rows, count).tolist()
            targets = [torch.full((size,), float("nan")) for _ in weights]
            combine(targets, sources, weights)
            for target, row in zip(targets, weights):
                torch.testing.assert_close(target, sum(w * s.float() for w, s in zip(row, sources)), rtol=0, atol=1e-5)
            if count > 2:  # in place
                combine([sources[1], sources[2]][:rows], sources, weights)
                torch.testing.assert_close([sources[1], sources[2]][:rows], targets, rtol=0, atol=1e-5)
print("same")
"""


@pytest.mark.slow
def test_the_triton_kernel_gives_the_same_in_triton_s_interpreter() -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "same", done.stderr


# -- memory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dpmpp_3m", "unipc_3", "eab_4", "edm_heun", "rho_rk_rk4"])
def test_states_and_history_live_in_a_few_buffers(method: str) -> None:
    places: set[int] = set()
    mine: set[int] = set()

    def answer(x: torch.Tensor, t: float) -> torch.Tensor:
        places.add(x.data_ptr())
        value = Model()(x, t)
        mine.add(value.data_ptr())
        return value

    x = state()
    for s in dn.iterate(planned(method, 30), lambda_model(answer), x, combine=fused):
        places |= {v.data_ptr() for v in s.vectors.values()}
    assert len(places - mine - {x.data_ptr()}) <= dn.method(method).depth + 5


def test_results_are_not_written_over_by_the_next_run() -> None:
    plan = planned("unipc_3")
    first = dn.solve(plan, Model(), state(), combine=fused)
    copy = first.clone()
    dn.solve(plan, Model(), 2.0 * state(), combine=fused)
    assert torch.equal(first, copy)


def test_a_trajectory_keeps_its_states() -> None:
    plan, model = planned("dpmpp_2m"), Model()
    found, plain = (dn.solve(plan, model, state(), return_trajectory=True, combine=c) for c in (fused, None))
    for a, b in zip(found.x, plain.x, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_returns_its_input_or_a_view_of_it_keeps_its_values(method: str) -> None:
    for returned in (lambda x, t: x, lambda x, t: x.view_as(x)):
        found, plain = both(planned(method), lambda_model(returned), state())
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


def test_the_initial_sample_stays_as_it_was() -> None:
    x = state(LARGE)
    copy = x.clone()
    dn.solve(planned("unipc_3"), Model(), x, combine=fused)
    assert torch.equal(x, copy)


# -- nothing waits for the device ----------------------------------------------------------------------

READS = {
    "item",
    "tolist",
    "numpy",
    "cpu",
    "__float__",
    "__bool__",
    "__int__",
    "__index__",
    "__array__",
    "nonzero",
    "equal",
}
READING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "_to_copy_device"}


class Reads(TorchFunctionMode):
    """Counts calls by which a program reads values of a tensor, and so waits for its device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in READS:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


class Dispatched(TorchDispatchMode):
    """Counts operators that hand values to the host, whoever calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in READING:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


def reads(action: Any) -> Counter[str]:
    with Reads() as outer, Dispatched() as inner:
        action()
    return outer.seen + inner.seen


@pytest.mark.parametrize("combine", [fused, None], ids=["fused", "plain"])
@pytest.mark.parametrize("method", METHODS)
def test_the_loop_reads_no_value_from_the_device(method: str, combine: Any) -> None:
    plan, x = planned(method), state(dtype=torch.float32)
    plan.for_prediction("noise")

    def action() -> None:
        noise = lambda step, index, like: torch.randn_like(like)  # noqa: E731
        dn.solve(plan, Model(), x, noise=noise, combine=combine, check_finite=False)

    assert reads(action) == Counter()


def test_reads_are_seen() -> None:
    x = state()
    plan = planned("ddim")
    assert reads(lambda: dn.solve(plan, Model(), x)).total() > 0  # the one look whether the end is finite
    assert reads(lambda: float(x[0, 0, 0, 0])).total() > 0
    assert reads(lambda: bool((x > 0).all())).total() > 0
    assert reads(lambda: x.tolist()).total() > 0


@pytest.mark.parametrize("method", ["dpmpp_2m", "unipc_3", "edm_heun"])
def test_a_network_is_sampled_without_reading_from_the_device(method: str) -> None:
    model = dn.load("toy/digits").conditioned(3)
    plan = plan_for(model, method, 5)
    x = torch.randn(2, *model.sample_shape)
    plan.for_prediction(model.prediction)
    assert reads(lambda: dn.solve(plan, model, x, combine=fused, check_finite=False)) == Counter()


def replayed(combine: Any, x: torch.Tensor) -> torch.Tensor:
    """A run that was traced with another sample."""
    from torch.fx.experimental.proxy_tensor import make_fx

    traced = make_fx(lambda y: dn.solve(planned("unipc_3"), Model(), y, combine=combine, check_finite=False))(state())
    found: torch.Tensor = traced(x)
    return found


def test_a_run_is_a_straight_line_that_can_be_traced_and_replayed() -> None:
    x = 0.5 * state()
    torch.testing.assert_close(replayed(fused, x), dn.solve(planned("unipc_3"), Model(), x), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_tracers_see_the_compiled_kernel(native: Any) -> None:
    x = 0.5 * state()
    torch.testing.assert_close(replayed(compiled, x), dn.solve(planned("unipc_3"), Model(), x), rtol=1e-12, atol=1e-12)


# -- half-precision networks ---------------------------------------------------------------------------


def test_a_network_in_bfloat16_is_sampled_with_a_float32_state() -> None:
    exact, narrow = (dn.load("toy/digits", dtype=d).conditioned(3) for d in ("float32", "bfloat16"))
    x = torch.randn(2, *exact.sample_shape, generator=torch.Generator().manual_seed(1))
    assert narrow(x, 0.5).dtype == torch.bfloat16
    images = dn.sample(narrow, "dpmpp_2m", 5, 2)
    assert images.dtype == torch.float32
    assert float((images - dn.sample(exact, "dpmpp_2m", 5, 2)).abs().mean()) < 0.1


# -- refusals ------------------------------------------------------------------------------------------


def test_what_cannot_be_fused_or_captured_is_refused() -> None:
    plan = planned("ddim")
    with pytest.raises(TypeError, match="leave combine out"):
        dn.solve(plan, PROBLEM, np.zeros((1, 2)), combine=fused)
    with pytest.raises(ValueError, match="requires gradients"):
        dn.solve(plan, Model(), state().requires_grad_(), combine=fused)
    with pytest.raises(ValueError, match="x is on cpu"):
        capture(plan, Model(), state())


PROBLEM = dn.GaussianMixture([1.0], [[0.0, 0.0]], [1.0]).denoiser(SCHEDULE)


def test_blocks_cover_every_element() -> None:
    x = state((3, BLOCK - 1), torch.float32)
    found = torch.empty_like(x)
    _, end = layout([(1, [("k1", {"x": 1.0}), ("x", {"x": 0.5, "k1": 2.0})])]).steps[0]
    update._in_blocks([found], end, {"x": x, "k1": x})
    torch.testing.assert_close(found, 2.5 * x)
