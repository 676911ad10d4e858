"""Time several things in turn, many times, so that a busy machine slows them all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def in_turn(things: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each thing in each round; the first two rounds warm up and do not count."""
    times: dict[str, list[float]] = {name: [] for name in things}
    for number in range(rounds + 2):
        for name, thing in things.items():
            start = time.perf_counter()
            thing()
            if number >= 2:
                times[name].append(time.perf_counter() - start)
    return times


def table(times: Mapping[str, list[float]], base: str, target: str) -> str:
    """Median times, and medians of the ratios to ``base`` within a round."""
    width = max(map(len, times))
    lines = [f"{'':<{width}}  {'median':>10}  {'best':>10}  ratio (target {target})"]
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(values, times[base], strict=True))
        median, best = statistics.median(values) * 1e3, min(values) * 1e3
        lines.append(f"{name:<{width}}  {median:7.3f} ms  {best:7.3f} ms  {ratio:.3f}")
    return "\n".join(lines)
