"""Steps and past nodes as hypothesis draws them."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

steps = st.floats(1e-6, 8.0)
"""Steps in half-log-SNR."""

predictions = st.sampled_from(["data", "noise"])


@st.composite
def past(draw: st.DrawFn, count: int | st.SearchStrategy[int]) -> tuple[float, ...]:
    """Past nodes u_1 > u_2 > ..., with step ratios from 1/20 to 20."""
    number = count if isinstance(count, int) else draw(count)
    sizes = draw(st.lists(st.floats(0.05, 20.0), min_size=number, max_size=number))
    return tuple(-distance for distance in itertools.accumulate(sizes))
