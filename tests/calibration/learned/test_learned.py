"""Learned solvers are plans: the unrolled coefficients of each equal its own loop, to rounding."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.calibration import LearnedGrid, LearnedSolver, learned_names, read_learned
from diffnum.calibration.learned import Unrolled, epd, neural_solver_flow, neural_solver_vp, rolled, unroll
from diffnum.calibration.weights import SolverSpace, unrolled
from tests.official import learned_loops as official
from tests.optional import optional

MIXTURE = dn.problems.rotated_product(5)
VP, FLOW, EDM = dn.schedules.VPLinear(), dn.schedules.FlowMatching(), dn.schedules.EDM()
X = np.random.default_rng(0).standard_normal((7, 5))
SOLVERS = [name for name in learned_names() if name.startswith("neuralsolver")]


def triangle(rows: list[list[float]]) -> np.ndarray:
    full = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        full[i, : len(row)] = row
    return full


def tables(process: str) -> dict[str, Any]:
    path = Path(dn.__file__).parent / "calibration/learned/data/neural_solver.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))[process])


@pytest.mark.parametrize("steps", sorted(tables("flow"), key=int))
def test_neural_solver_on_flows_is_its_own_loop(steps: str) -> None:
    table, model = tables("flow")[steps], MIXTURE.denoiser(FLOW, "velocity")
    loop = official.neural_solver_flow(lambda x, t: -model(x, 1.0 - t), X, table["deltas"], triangle(table["rows"]))
    found = dn.solve(read_learned(f"neuralsolver/flow/{steps}").plan, model, X)
    np.testing.assert_allclose(found, loop, rtol=1e-12, atol=1e-12)


def clipped(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda t: float(function(min(max(t, 1e-3), 1.0)))


def vp_loop(steps: str, net: Callable[..., np.ndarray], *, second_update: bool) -> np.ndarray:
    table = tables("vp")[steps]
    levels = clipped(VP.alpha), clipped(VP.sigma)
    return official.neural_solver_ddpm(
        net, X, table["deltas"], triangle(table["rows"]), *levels, second_update=second_update
    )


@pytest.mark.parametrize("steps", sorted(tables("vp"), key=int))
def test_neural_solver_on_vp_is_its_own_loop_without_the_second_update(steps: str) -> None:
    model = MIXTURE.denoiser(VP, "noise")
    found = dn.solve(read_learned(f"neuralsolver/vp/{steps}").plan, model, X)
    np.testing.assert_allclose(found, vp_loop(steps, model, second_update=False), rtol=1e-12, atol=1e-12)


def test_as_shipped_neural_solver_on_vp_takes_each_step_twice() -> None:
    """The noise in a state is then not that of its level: factor (sigma'/sigma)^2 instead of sigma'/sigma a step."""
    table, model = tables("vp")["8"], MIXTURE.denoiser(VP, "noise")

    def loop(m: Any, x: Any) -> Any:
        return neural_solver_vp(m, x, table["deltas"], table["rows"], VP, as_shipped=True)

    numbers = unroll(loop, 8)
    shipped = rolled(numbers, 1e-3, VP, "data", "as shipped")
    found = dn.solve(shipped, model, X)
    np.testing.assert_allclose(found, vp_loop("8", model, second_update=True), rtol=1e-12, atol=1e-12)
    meant = read_learned("neuralsolver/vp/8")
    ratio = clipped(VP.sigma)(0.999 - table["deltas"][0]) / clipped(VP.sigma)(0.999)
    assert numbers.states[1, 0] == pytest.approx(ratio**2, rel=1e-12)
    assert meant.numbers.states[1, 0] == pytest.approx(ratio, rel=1e-12)
    x = float(VP.sigma(0.999)) * np.random.default_rng(1).standard_normal((256, 5))
    exact = MIXTURE.flow(x, VP, 0.999, 1e-3)
    errors = [float(np.sqrt(((dn.solve(p, model, x) - exact) ** 2).mean())) for p in (meant.plan, shipped)]
    assert errors[1] > 3.0 * errors[0]


def written(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = tmp_path / "solver.json"
    path.write_text(json.dumps({name: value.tolist() for name, value in arrays.items()}), encoding="utf-8")
    return path


@pytest.mark.parametrize("afs", [False, True])
def test_dyweight_is_its_own_loop(tmp_path: Path, afs: bool) -> None:
    rng = np.random.default_rng(3)
    sigmas = dn.grids.karras(EDM, 5).t
    weights = np.tril(0.3 * rng.standard_normal((5, 5)) / 5) + np.diag(np.full(5, 0.97))
    scales = 1.0 + 0.05 * rng.standard_normal(5 - afs)
    model = MIXTURE.denoiser(EDM, "data")
    loop = official.dyweight(model, X, sigmas, weights, scales, afs)
    path = written(tmp_path, {"weights": weights, "sigmas": sigmas, "scales": scales})
    solver = read_learned(path, kind="dyweight", analytic_first=afs)
    assert isinstance(solver, LearnedSolver)
    assert solver.nfe == 5 - afs
    np.testing.assert_allclose(dn.solve(solver.plan, model, sigmas[0] * X), loop, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_gs_is_its_own_loop_though_it_uses_all_states(tmp_path: Path, order: int) -> None:
    rng = np.random.default_rng(order)
    times = dn.grids.uniform_half_log_snr(VP, 5, t_start=1.0, t_end=1e-3).t
    shifts = 1e-3 * rng.uniform(-1.0, 0.0, 5)
    shifts[-1] = abs(shifts[-1])
    weights, carries = 0.05 * rng.standard_normal((2, 5, order))
    model = MIXTURE.denoiser(VP, "noise")
    lam, alpha, sigma = (lambda t, f=f: float(f(t)) for f in (VP.half_log_snr, VP.alpha, VP.sigma))
    solver = official.GeneralizedSolver(model, lam, alpha, sigma, shifts, weights, carries)
    loop = solver.sample(X, times, order)
    path = written(tmp_path, {"times": times, "shifts": shifts, "weights": weights, "carries": carries})
    found = read_learned(path, kind="gs")
    np.testing.assert_allclose(dn.solve(found.plan, model, X), loop, rtol=1e-12, atol=1e-12)


def test_epd_is_its_own_loop_and_has_an_evaluation_more_than_points() -> None:
    rng = np.random.default_rng(5)
    sigmas = dn.grids.karras(EDM, 3).t.tolist()
    r, w, scale = rng.uniform(0.2, 0.8, (3, 2)), rng.uniform(0.3, 0.7, (3, 2)), rng.uniform(0.95, 1.05, (3, 2))
    model = MIXTURE.denoiser(EDM, "data")
    loop = official.epd(model, sigmas[0] * X, np.array(sigmas), r, w, scale)
    numbers = unroll(lambda m, x: epd(m, x, sigmas, r, w, scale), 9)
    plan = rolled(numbers, sigmas[-1], EDM, "data", "epd")
    assert plan.nfe == 9
    np.testing.assert_allclose(dn.solve(plan, model, sigmas[0] * X), loop, rtol=1e-12, atol=1e-12)


def learned_times(n: int, schedule: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Times of states, and times that a network is told, which differ in between as in LD3."""
    times = dn.grids.karras(schedule, n).t
    moved = np.abs(np.diff(times)).min() * 0.5 * np.random.default_rng(seed).uniform(-1.0, 1.0, n + 1)
    return times, times + np.concatenate([[0.0], moved[1:-1], [0.0]])


@pytest.mark.parametrize("schedule", [EDM, VP], ids=lambda s: s.name)
@pytest.mark.parametrize("method", ["ipndm_4", "dpmpp_2m", "dpmpp_3m"])
def test_ld3_is_its_own_loop(tmp_path: Path, method: str, schedule: Any) -> None:
    times, told = learned_times(6, schedule)
    model, falls = MIXTURE.denoiser(schedule, "noise"), method != "ipndm_4"
    levels = tuple(lambda t, f=f: float(f(t)) for f in (schedule.half_log_snr, schedule.alpha, schedule.sigma))
    x = float(schedule.sigma(times[0])) * X
    if falls:
        loop = official.ld3_dpmpp(model, x, times, told, int(method[-2]), *levels)
    else:
        loop = official.ld3_ipndm(model, x, times, told, *levels)
    path = written(tmp_path, {"times": times, "told": told})
    solver = read_learned(path, kind="ld3", schedule=schedule, method=method, lower_order_final=falls)
    assert isinstance(solver, LearnedSolver)
    np.testing.assert_allclose(dn.solve(solver.plan, model, x), loop, rtol=1e-12, atol=1e-12)
    untold = read_learned(
        written(tmp_path, {"times": times}), kind="ld3", schedule=schedule, method=method, lower_order_final=falls
    )
    assert np.abs(dn.solve(untold.plan, model, x) - loop).max() > 1e-4


def test_a_checkpoint_of_ld3_needs_no_flag(tmp_path: Path) -> None:
    torch = optional("torch")
    times, told = learned_times(5, EDM)
    saved = {"params1": torch.ones(6), "params2": torch.zeros(6), "best_t_steps": torch.tensor([*times, *told])}
    torch.save(saved, tmp_path / "best_v2.pt")
    torch.save(saved["best_t_steps"], tmp_path / "t_steps.pt")
    arrays = written(tmp_path, {"times": times, "told": told})
    words: dict[str, Any] = {"kind": "ld3", "method": "unipc_3_bh1", "lower_order_final": True}
    plans = [read_learned(path, **words).plan for path in (arrays, tmp_path / "best_v2.pt", tmp_path / "t_steps.pt")]
    assert plans[0].nfe == 5
    for plan in plans[1:]:
        np.testing.assert_allclose(plan.stages, plans[0].stages, rtol=1e-12)


def test_a_checkpoint_of_gs_needs_no_flag(tmp_path: Path) -> None:
    """As ``training.py`` of 3145tttt/GAS writes it: parameters in a row, times as logits of broken sticks."""
    torch = optional("torch")
    rng = np.random.default_rng(1)
    times = dn.grids.uniform_half_log_snr(VP, 5, t_start=1.0, t_end=1e-3).t
    inner = 1.0 - (times[-2:0:-1] - 1e-3) / (1.0 - 1e-3)
    share = (inner / np.concatenate([[1.0], inner[:-1]]) - 1e-5) / (1.0 - 2e-5)
    shifts = 1e-3 * rng.uniform(-1.0, 0.0, 5)
    shifts[-1] = 1e-4
    weights, carries = 0.05 * rng.standard_normal((2, 5, 3))
    rows = [row for pair in zip(weights.T, carries.T, strict=True) for row in pair]
    shadow = [torch.tensor(row.copy()) for row in (np.log(share / (1.0 - share)), shifts, *rows)]
    ema = {"decay": 0.999, "num_updates": 7, "shadow_params": shadow, "collected_params": None}
    state = {"ema": ema, "model": [torch.nn.Parameter(p) for p in shadow], "optim": {"state": {}}, "step": 7}
    torch.save(state, tmp_path / "7.pt")
    found = read_learned(tmp_path / "7.pt", kind="gs")
    arrays = written(tmp_path, {"times": times, "shifts": shifts, "weights": weights, "carries": carries})
    wanted = read_learned(arrays, kind="gs")
    assert isinstance(found, LearnedSolver)
    assert isinstance(wanted, LearnedSolver)
    np.testing.assert_allclose(found.numbers.states, wanted.numbers.states, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.numbers.told, wanted.numbers.told, rtol=1e-9)


def test_a_checkpoint_of_dyweight_is_read_and_nothing_of_it_runs(tmp_path: Path) -> None:
    """A bare pickle of a class with its source, as that of Westlake-AGI-Lab/DyWeight; stand-ins take its place."""
    torch = optional("torch")
    rng = np.random.default_rng(3)
    weights = np.tril(0.05 * rng.standard_normal((5, 5))) + np.diag(np.full(5, 0.97))
    scales = 1.0 + 0.05 * rng.standard_normal(4)
    meta = {
        "module_src": "raise SystemExit",
        "state": {
            "_parameters": {
                "hybrid_weights": torch.nn.Parameter(torch.tensor(weights)),
                "t_scale": torch.tensor(scales),
            },
            "_buffers": {"mask": torch.ones(5, 5, dtype=torch.float64)},
            "afs": True,
        },
    }
    path = tmp_path / "network-snapshot-000010.pkl"
    path.write_bytes(pickle.dumps({"predictor": _Persistent(meta), "trap": _Trap()}))
    _Trap.ran.clear()
    with pytest.raises(ValueError, match=r"allow_pickle=True"):
        read_learned(path, kind="dyweight")
    found = read_learned(path, kind="dyweight", allow_pickle=True)
    assert not _Trap.ran
    arrays = written(tmp_path, {"weights": weights, "sigmas": dn.grids.karras(EDM, 5).t, "scales": scales})
    wanted = read_learned(arrays, kind="dyweight", analytic_first=True)
    assert isinstance(found, LearnedSolver)
    assert isinstance(wanted, LearnedSolver)
    np.testing.assert_allclose(found.numbers.states, wanted.numbers.states, rtol=1e-10, atol=1e-12)


def every_kind(tmp_path: Path) -> dict[str, LearnedSolver]:
    """A solver from a file of each kind."""
    rng = np.random.default_rng(8)
    sigmas, (times, told) = dn.grids.karras(EDM, 5).t, learned_times(5, EDM)
    gs = dn.grids.uniform_half_log_snr(VP, 5, t_start=1.0, t_end=1e-3).t
    small = 0.02 * rng.standard_normal((2, 5, 3))
    files: dict[str, tuple[dict[str, np.ndarray], dict[str, Any]]] = {
        "dyweight": ({"weights": np.eye(5) * 0.98, "sigmas": sigmas}, {"analytic_first": True}),
        "gs": ({"times": gs, "shifts": np.zeros(5), "weights": small[0], "carries": small[1]}, {}),
        "ld3": ({"times": times, "told": told}, {"method": "dpmpp_2m", "lower_order_final": True}),
        "epd": ({"sigmas": sigmas, "fractions": rng.uniform(0.3, 0.7, (5, 2)), "weights": np.full((5, 2), 0.5)}, {}),
    }
    found = {}
    for kind, (arrays, words) in files.items():
        solver = read_learned(written(tmp_path, arrays), kind=kind, **words)
        assert isinstance(solver, LearnedSolver)
        found[kind] = solver
    return found


def test_of_every_kind_it_is_said_what_its_rows_keep_and_what_its_weights_gain(tmp_path: Path) -> None:
    for kind, solver in every_kind(tmp_path).items():
        rows, verdict = solver.rows(), solver.verdict("lms_2")
        assert rows.zeroth.shape == (solver.nfe,)
        assert np.isfinite(rows.largest)
        assert (np.abs(rows.zeroth).max() < 1e-6) == (kind != "gs"), kind
        assert 0.0 < verdict.learned_rms_log < 5.0
        assert 0.0 < verdict.plain_rms_log < 5.0
        assert solver.cite


def test_epd_from_a_file_is_the_record_where_its_points_are(tmp_path: Path) -> None:
    """Equal shares at thirds are ``epd_2``; each point is an evaluation."""
    sigmas = dn.grids.karras(EDM, 4).t
    arrays = {"sigmas": sigmas, "fractions": np.tile([1 / 3, 2 / 3], (4, 1)), "weights": np.full((4, 2), 0.5)}
    solver = read_learned(written(tmp_path, arrays), kind="epd")
    record = dn.plan("epd_2", EDM, dn.grids.from_times(EDM, sigmas))
    assert solver.plan.nfe == record.nfe == 12
    model = MIXTURE.denoiser(EDM, "data")
    np.testing.assert_allclose(
        dn.solve(record, model, 80.0 * X), dn.solve(solver.plan, model, 80.0 * X), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", SOLVERS)
def test_every_learned_solver_is_a_point_of_one_space(name: str) -> None:
    """The plan of a solver unrolls to the numbers that it was rolled from, and its rows keep constants."""
    solver = read_learned(name)
    assert isinstance(solver, LearnedSolver)
    states, told = unrolled(solver.plan)
    np.testing.assert_allclose(states, solver.numbers.states, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(told, solver.numbers.told)
    rows = solver.rows()
    assert np.abs(rows.carry).max() < 1e-14
    assert np.abs(rows.zeroth[:-1]).max() < 1e-9
    deltas = tables(name.split("/")[1])[name.split("/")[2]]["deltas"]  # of four digits: they add up to 1 as nearly
    assert abs(rows.zeroth[-1]) < 1.01 * abs(1.0 - sum(deltas)) / deltas[-1] + 1e-9
    assert np.nanmax(np.abs(rows.first)) > 0.1  # and do not integrate linear functions, on purpose or not


def test_the_classics_are_points_of_the_same_space() -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 4, t_end=1e-3)
    for name in ("ddim", "dpmpp_2m", "eab_noise_3", "unipc_2_bh2"):
        plan = dn.plan(name, VP, grid).for_prediction("data")
        states, told = unrolled(plan)
        again = rolled(Unrolled(states, told, told), 1e-3, VP, "data", name)
        model = MIXTURE.denoiser(VP, "noise")
        np.testing.assert_allclose(dn.solve(again, model, X), dn.solve(plan, model, X), rtol=1e-11)


def test_a_learned_vp_solver_is_a_vector_of_the_space_that_fits_search() -> None:
    solver = read_learned("neuralsolver/vp/6")
    assert isinstance(solver, LearnedSolver)
    space = SolverSpace(VP, dn.forms.DATA, float(solver.plan.times[0]), float(solver.plan.times[-1]), 6)
    again = space.plan(space.vector_of(solver.plan))
    model = MIXTURE.denoiser(VP, "data")
    np.testing.assert_allclose(dn.solve(again, model, X), dn.solve(solver.plan, model, X), rtol=1e-9)


def test_a_wrong_weight_is_seen() -> None:
    """Negative control of the equality with the loop."""
    table = tables("flow")["6"]
    rows = triangle(table["rows"])
    rows[3, 1] += 1e-6
    model = MIXTURE.denoiser(FLOW, "velocity")
    loop = official.neural_solver_flow(lambda x, t: -model(x, 1.0 - t), X, table["deltas"], rows)
    assert np.abs(dn.solve(read_learned("neuralsolver/flow/6").plan, model, X) - loop).max() > 1e-9


def test_names_come_with_fewest_steps_first() -> None:
    flows = [name for name in SOLVERS if "/flow/" in name]
    assert [int(name.rsplit("/", 1)[1]) for name in flows] == [5, 6, 7, 8, 9, 10, 15]
    stems = [name.split("/")[0] for name in learned_names()]
    assert stems == sorted(stems)


@pytest.mark.parametrize("name", sorted(set(learned_names()) - set(SOLVERS)))
def test_published_levels_become_grids(name: str) -> None:
    found = read_learned(name)
    assert isinstance(found, LearnedGrid)
    assert found.source
    assert found.cite
    schedule = FLOW if name.startswith("oss") else EDM if name in ("ays/svd", "gits/cifar10/6") else VP
    if name == "ays/svd":
        schedule = dn.schedules.EDM(sigma_max=700.0)
    grid = found.grid(schedule)
    levels = found.levels[found.levels > 0]
    np.testing.assert_allclose(np.exp(-grid.lam[np.isfinite(grid.lam)]), levels, rtol=1e-9)
    numbers = found.plan("dpmpp_2m", schedule)
    end = dn.solve(numbers, MIXTURE.denoiser(schedule, "data"), float(schedule.sigma(float(grid.t[0]))) * X)
    assert np.isfinite(end).all()
    assert found.grid(schedule, 6).n + (grid.terminal.name == "denoise") == 6


def test_the_verdict_holds_the_weights_against_plain_ones_on_the_same_grid() -> None:
    solver = read_learned("neuralsolver/vp/8")
    assert isinstance(solver, LearnedSolver)
    verdict = solver.verdict("eab_2")
    assert verdict.plain_rms_log < verdict.learned_rms_log
    assert verdict.plain_rms_log == pytest.approx(dn.analysis.spectrum_error(dn.plan("eab_2", VP, solver.grid)).rms_log)


def test_the_licence_travels_with_the_tables() -> None:
    solver = read_learned("neuralsolver/flow/5")
    assert isinstance(solver, LearnedSolver)
    assert "MIT License" in solver.license
    assert "Copyright" in solver.license
    assert "71887944" in solver.source


class _Persistent:
    """A class whose pickle brings its own source, as those of EDM's ``torch_utils.persistence``."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta

    def __reduce__(self) -> Any:
        return _reconstruct, (self.meta,)


def _reconstruct(meta: dict[str, Any]) -> Any:
    exec(meta["module_src"])


class _Trap:
    """What a hostile pickle would do."""

    ran: list[bool] = []  # noqa: RUF012

    def __reduce__(self) -> Any:
        return _spring, ()


def _spring() -> dict[str, Any]:
    _Trap.ran.append(True)
    torch = optional("torch")
    return {"levels": torch.tensor([3.0, 1.0, 0.1])}


def test_a_file_is_never_unpickled_without_the_flag(tmp_path: Path) -> None:
    torch = optional("torch")
    _Trap.ran.clear()
    path = tmp_path / "found.pkl"
    torch.save(_Trap(), path)
    with pytest.raises(ValueError, match=r"allow_pickle=True"):
        read_learned(path, kind="grid")
    assert not _Trap.ran
    assert read_learned(path, kind="grid", allow_pickle=True).levels.tolist() == pytest.approx([3.0, 1.0, 0.1])
    assert _Trap.ran
    plain = tmp_path / "raw.pkl"
    plain.write_bytes(pickle.dumps(_Trap()))
    _Trap.ran.clear()
    with pytest.raises(ValueError, match="allow_pickle"):
        read_learned(plain, kind="grid")
    assert not _Trap.ran


def test_tensors_alone_need_no_flag(tmp_path: Path) -> None:
    torch = optional("torch")
    path = tmp_path / "levels.pt"
    torch.save({"levels": torch.tensor([5.0, 1.0, 0.0], dtype=torch.float64)}, path)
    assert read_learned(path, kind="grid").levels.tolist() == [5.0, 1.0, 0.0]
    np.savez(tmp_path / "levels.npz", levels=np.array([5.0, 1.0]))
    assert read_learned(tmp_path / "levels.npz", kind="grid").levels.tolist() == [5.0, 1.0]


def test_bad_input_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither a file nor one of .*neuralsolver/flow/5"):
        read_learned("nobody/5")
    path = written(tmp_path, {"levels": np.array([1.0, 2.0])})
    with pytest.raises(ValueError, match=r"kind=None: say whose"):
        read_learned(path)
    with pytest.raises(ValueError, match="decreasing"):
        read_learned(path, kind="grid")
    with pytest.raises(ValueError, match=r"no array 'weights'"):
        read_learned(path, kind="dyweight")
    with pytest.raises(ValueError, match="has no settings"):
        read_learned(path, kind="grid", order=3)
    with pytest.raises(ValueError, match="is a folder"):
        read_learned(tmp_path, kind="grid")
    with pytest.raises(ValueError, match=r"needs method=\.\.\., .* and lower_order_final"):
        read_learned(path, kind="ld3", method="dpmpp_2m")
    for arrays, message in (
        ({"times": np.array([80.0, 1.0]), "told": np.array([80.0])}, "array 'told' .* has shape"),
        ({"told": np.array([80.0])}, "no array 'times'"),
    ):
        with pytest.raises(ValueError, match=message):
            read_learned(written(tmp_path, arrays), kind="ld3", method="dpmpp_2m", lower_order_final=True)
    sigmas = np.array([80.0, 1.0, 0.1])
    for weights, message in (
        (np.array([[1.0, 0.5], [0.0, 1.0]]), "not lower triangular"),
        (np.eye(3), r"array 'weights' .* has shape \(3, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            read_learned(written(tmp_path, {"weights": weights, "sigmas": sigmas}), kind="dyweight")
    path.write_text('{"levels": [1.0, null, 0.5]}', encoding="utf-8")
    with pytest.raises(ValueError, match="something else than finite numbers"):
        read_learned(path, kind="grid")
    path.write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(ValueError, match="no arrays by name"):
        read_learned(path, kind="grid")
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="no archive of numbers"):
        read_learned(tmp_path / "broken.npz", kind="grid")
    table = tables("flow")["5"]
    with pytest.raises(ValueError, match="makes 5 evaluations"):
        unroll(lambda m, x: neural_solver_flow(m, x, table["deltas"], table["rows"]), 6)
