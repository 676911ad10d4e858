"""Small scores are the calling thread's own work; larger ones keep every thread; the answers are the same."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from diffnum.problems import _components, _threads
from diffnum.schedules import VPLinear

from .cases import make_mixture

torch = pytest.importorskip("torch")


@pytest.fixture
def two_threads():
    """Two threads in torch, whatever the machine and the environment say."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Watched:
    """A core's evaluation order that notes the number of torch's threads, and can fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.seen: list[int] = []
        self.error = error

    def predict(self, *args: Any) -> Any:
        self.seen.append(torch.get_num_threads())
        if self.error:
            raise self.error
        return args[-1]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("samples", "threads"), [(4, 1), (10**6, 2)])
def test_a_small_score_uses_one_thread_and_a_large_one_all(monkeypatch, samples, threads):
    watched, mixture = Watched(), make_mixture(0, "isotropic")
    monkeypatch.setattr(_components.Components, "_road", lambda *_: watched)
    mixture.denoiser(VPLinear())(torch.zeros(samples, mixture.dim), 0.5)
    assert set(watched.seen) == {threads}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_threads_come_back_after_an_error(monkeypatch):
    mixture = make_mixture(0, "isotropic")
    monkeypatch.setattr(_components.Components, "_road", lambda *_: Watched(RuntimeError("planted")))
    with pytest.raises(RuntimeError, match="planted"):
        mixture.denoiser(VPLinear())(torch.zeros(4, mixture.dim), 0.5)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_other_threads_of_the_process_keep_theirs(monkeypatch):
    mixture, elsewhere = make_mixture(0, "isotropic"), []

    class Elsewhere(Watched):
        def predict(self, *args: Any) -> Any:
            other = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
            other.start()
            other.join()
            return super().predict(*args)

    watched = Elsewhere()
    monkeypatch.setattr(_components.Components, "_road", lambda *_: watched)
    mixture.denoiser(VPLinear())(torch.zeros(4, mixture.dim), 0.5)
    assert (watched.seen, elsewhere) == ([1], [2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "k", "m"),
    [(64, 640, 32), (64, 64, 256), (1, 1500, 700), (2, 700, 1000), (900, 800, 1), (300, 2, 900), (0, 3, 2)],
)
def test_a_divided_product_is_the_product(n, k, m, dtype):
    xp = _components.array_namespace(np.zeros(1))
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((n, k)).astype(dtype), rng.standard_normal((k, m)).astype(dtype)
    for factor in (b, np.asfortranarray(b)):
        out = _threads.product(xp, a, factor)
        assert out.dtype == dtype
        assert np.allclose(out, a @ b, rtol=0, atol=k * np.finfo(dtype).eps * 8)


@pytest.mark.parametrize(
    ("shape", "divided"),
    [((64, 64, 64), False), ((64, 640, 32), True), ((2, 700, 1000), True), ((64, 256, 1000), False)],
)
def test_products_of_middle_size_are_divided_until_openblas_leaves_them_to_one_thread(monkeypatch, shape, divided):
    xp = _components.array_namespace(np.zeros(1))
    (n, k, m), works, matmul = shape, [], np.matmul

    def noted(a: Any, b: Any, **options: Any) -> Any:
        works.append(a.shape[0] * a.shape[1] * b.shape[1])
        return matmul(a, b, **options)

    monkeypatch.setattr(np, "matmul", noted)
    _threads.product(xp, np.ones((n, k)), np.ones((k, m)))
    assert sum(works) == n * k * m
    assert (len(works) > 1) == divided
    assert max(works) <= _threads.UNSPREAD or not divided
