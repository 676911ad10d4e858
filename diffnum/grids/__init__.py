"""Grids: the decreasing times, and increasing half-log-SNRs, at which a sampler visits the data.

A builder takes ``(schedule, n, *, t_start=None, t_end=None, terminal="stop")``: ``n`` steps, hence ``n + 1``
nodes, from ``t_start`` to ``t_end`` (by default the schedule's ``default_t_start``, ``default_t_end``).
The first and last times are the requested ones bit for bit. Builders in the half-log-SNR keep their
half-log-SNRs exactly and compute times from them; builders in time do the reverse. :data:`GRIDS` names them.
"""

from diffnum.grids.builders import (
    GRIDS,
    irregular,
    karras,
    power_time,
    quadratic_time,
    rho_power,
    smooth,
    uniform_half_log_snr,
    uniform_rho,
    uniform_time,
)
from diffnum.grids.grid import TERMINALS, Grid, Terminal
from diffnum.grids.nodes import from_half_log_snr, from_times, model_timesteps, to_zero
from diffnum.grids.resampling import resampled

__all__ = [
    "GRIDS",
    "TERMINALS",
    "Grid",
    "Terminal",
    "from_half_log_snr",
    "from_times",
    "irregular",
    "karras",
    "model_timesteps",
    "power_time",
    "quadratic_time",
    "resampled",
    "rho_power",
    "smooth",
    "to_zero",
    "uniform_half_log_snr",
    "uniform_rho",
    "uniform_time",
]
