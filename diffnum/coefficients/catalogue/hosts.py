"""Names that ComfyUI and RES4LYF have for methods: ours where the formula is the same, else what differs.

That two formulas are one is not said by their names: tests probe them, RES4LYF's by the rows that its own function
returns, ComfyUI's by its functions or by their formulas evaluated on unit vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["HOST_NAMES", "HostName", "host_name"]


@dataclass(frozen=True)
class HostName:
    """A method as another program calls it.

    Parameters
    ----------
    program : {"ComfyUI", "RES4LYF"}
        Whose name it is.
    name : str
        The name.
    record : str
        Method of the catalogue with the same formula, or the nearest.
    differs : str
        How the formula differs from that of the record; empty where it does not.
    runs : str
        How a run differs where the formula does not: start-up, fallback.
    source : str
        Where the formula stands.
    """

    program: str
    name: str
    record: str
    differs: str = ""
    runs: str = ""
    source: str = ""

    @property
    def equal(self) -> bool:
        """Whether the formula is that of the record."""
        return not self.differs


_RES4LYF = "ClownsharkBatwing/RES4LYF at 022c873c, beta/rk_coefficients_beta.py, get_rk_methods_beta"
_COMFY = "comfyanonymous/ComfyUI at 02159d81, comfy/k_diffusion/sampling.py, sample_"
_COMFY_LINES = "Comfy-Org/ComfyUI at a125cd84, comfy/k_diffusion/sampling.py, lines "
_UNIPC = "Comfy-Org/ComfyUI at a125cd84, comfy/extra_samplers/uni_pc.py, lines 579-748, sample_unipc"
_UNIPC_RUN = "the order falls at the end (terminal='lower_order'), and a last level of 0 is taken for 0.001"
_HELD = "the data prediction is held, ours and the authors' hold the noise prediction"
_CFG_PP = "CFG++: the slope is that of the prediction without guidance; the same where there is none"

_ON_GPU: Mapping[str, str] = MappingProxyType(
    {
        "dpmpp_sde": "dpmpp_sde",
        "dpmpp_2m_sde": "sde_dpmpp_2m",
        "dpmpp_2m_sde_heun": "sde_dpmpp_2m_heun",
        "dpmpp_3m_sde": "sde_dpmpp_3m",
    }
)
"""ComfyUI's functions that differ from those without ``_gpu`` by where they draw noise."""

_WITH_CFG_PP: Mapping[str, str] = MappingProxyType(
    {
        "euler": "ddim",
        "euler_ancestral": "ddpm",
        "dpmpp_2s_ancestral": "dpmpp_2s_ancestral",
        "dpmpp_2m": "dpmpp_2m",
        "res_multistep": "eab_2",
        "res_multistep_ancestral": "sde_dpmpp_2m_heun",
        "gradient_estimation": "lms_2",
    }
)
"""ComfyUI's functions with a variant for CFG++."""

_SAME: Mapping[str, str] = MappingProxyType(
    {
        "res_2s": "dpmpp_2s_taylor",
        "res_2s_stable": "dpmpp_2s_taylor_r1",
        "res_2s_rkmk2e": "dpmpp_2s_taylor_r1",
        "etdrk2_2s": "dpmpp_2s_taylor_r1",
        "res_3s": "res_3s",
        "res_3s_alt": "dpmpp_3s",
        "res_3s_cox_matthews": "etd_rk3",
        "res_3s_lie": "dpmpp_3s_taylor",
        "res_4s_krogstad": "krogstad_4",
        "res_4s_cox_matthews": "etd_rk4",
        "res_5s": "hochbruck_ostermann_4",
        "dpmpp_2s": "dpmpp_2s",
        "dpmpp_sde_2s": "dpmpp_2s_r1",
        "ddim": "ddim",
        "euler": "ddim",
        "ralston_2s": "rho_rk_ralston2",
        "ralston_3s": "rho_rk_ralston3",
        "midpoint_2s": "rho_rk_midpoint",
        "heun_2s": "rho_rk_heun",
        "heun_3s": "rho_rk_heun3",
        "houwen-wray_3s": "rho_rk_vdh3",
        "kutta_3s": "rho_rk_kutta3",
        "ssprk3_3s": "rho_rk_ssprk3",
        "rk38_4s": "rho_rk_kutta38",
        "rk4_4s": "rho_rk_rk4",
        "rk6_7s": "rho_rk_butcher6",
        "dormand-prince_6s": "rho_rk_dopri5",
    }
)
"""RES4LYF's one-step methods whose rows are those of a record."""

_START = "the first two steps are those of {}, and so is every step of half-log-SNR 1 or longer"

_OTHER: tuple[HostName, ...] = (
    HostName("RES4LYF", "res_2m", "eab_2", runs=_START.format("res_2s")),
    HostName("RES4LYF", "dpmpp_2m", "dpmpp_2m", runs=_START.format("dpmpp_2s (or res_2s)")),
    HostName(
        "RES4LYF", "res_3m", "eab_3",
        "its weights are those of res_3s with past nodes, whose second moment is not that of the kernel: order 2",
    ),
    HostName("RES4LYF", "dpmpp_3m", "dpmpp_3m", "its weights are those of dpmpp_3s with past nodes: order 2"),
    HostName("RES4LYF", "abnorsett_2m", "eab_2", "its weights are those of equal steps: order 1 on others"),
    HostName("RES4LYF", "abnorsett_3m", "eab_3", "its weights are those of equal steps: order 1 on others"),
    HostName(
        "RES4LYF", "dpmpp_3s", "dpmpp_3s",
        "inner nodes 1/2 and 1 for 1/3 and 2/3, where the second moment of the weights is not that of the kernel",
    ),
    HostName("RES4LYF", "res_4s_cfree4", "etd_rk4", "another last stage"),
    HostName("RES4LYF", "res_5s_hochbruck-ostermann", "hochbruck_ostermann_4", "another stage"),
    HostName("RES4LYF", "ralston_4s", "rho_rk_rk4", "Ralston's nodes and weights of order 4, which are not recorded"),
    HostName(
        "ComfyUI", "res_multistep", "eab_2", source=f"{_COMFY}res_multistep",
        runs="a last step to sigma = 0 is Euler's",
    ),
    HostName(
        "ComfyUI", "res_multistep_ancestral", "sde_dpmpp_2m_heun", source=f"{_COMFY}res_multistep_ancestral",
        runs="at its default eta = 1; a last step to sigma = 0 is Euler's",
    ),
    HostName("ComfyUI", "exp_heun_2_x0", "dpmpp_2s_taylor_r1", source=f"{_COMFY}exp_heun_2_x0"),
    HostName("ComfyUI", "exp_heun_2_x0_sde", "sde_trapezoid", source=f"{_COMFY}exp_heun_2_x0_sde"),
    HostName("ComfyUI", "ipndm", "plms_4", source=f"{_COMFY}ipndm"),
    HostName("ComfyUI", "ddpm", "ddpm", source=f"{_COMFY}ddpm"),
    HostName("ComfyUI", "lcm", "cps_1", source=f"{_COMFY}lcm"),
    HostName("ComfyUI", "deis", "deis_tab2_edm_official", source=f"{_COMFY}deis"),
    HostName(
        "ComfyUI", "er_sde", "er_sde_3", source=f"{_COMFY}er_sde", runs="its integrals are sums over 200 cells",
    ),
    HostName("ComfyUI", "uni_pc", "unipc_3_bh1", runs=_UNIPC_RUN, source=_UNIPC),
    HostName("ComfyUI", "uni_pc_bh2", "unipc_3_bh2", runs=_UNIPC_RUN, source=_UNIPC),
    HostName(
        "ComfyUI", "sa_solver", "sa_solver_3_4_exact_given", source=f"{_COMFY}sa_solver",
        runs="tau is 1 where a step ends between 20 and 80 per cent of the run, and 0 outside",
    ),
    HostName(
        "ComfyUI", "sa_solver_pece", "sa_solver_3_4_exact_given", "the corrected state is evaluated again",
        source=f"{_COMFY}sa_solver_pece",
    ),
    HostName("ComfyUI", "seeds_2", "seeds_2", _HELD, source=f"{_COMFY_LINES}1560-1611, sample_seeds_2"),
    HostName("ComfyUI", "seeds_3", "seeds_3", _HELD, source=f"{_COMFY_LINES}1614-1677, sample_seeds_3"),
    HostName(
        "ComfyUI", "gradient_estimation", "lms_2",
        "past derivatives are weighted 2 and -1 whatever the steps, which is order 1",
        source=f"{_COMFY}gradient_estimation",
    ),
    HostName(
        "ComfyUI", "heunpp2", "rho_rk_heun",
        "derivatives are weighted by sigma over that of the first level, and a third one looks a step ahead: order 1",
        source=f"{_COMFY}heunpp2",
    ),
    HostName(
        "ComfyUI", "dpm_adaptive", "dpm_solver_3",
        "its steps are chosen by their error, as diffnum.solve_adaptive(EmbeddedPair(3), controller='k-diffusion')",
        source=f"{_COMFY}dpm_adaptive",
    ),
    *(
        HostName("ComfyUI", f"{name}_gpu", record, runs="draws its noise on x's device", source=f"{_COMFY}{name}_gpu")
        for name, record in _ON_GPU.items()
    ),
    *(
        HostName("ComfyUI", f"{name}_cfg_pp", record, _CFG_PP, source=f"{_COMFY}{name}_cfg_pp")
        for name, record in _WITH_CFG_PP.items()
    ),
)  # fmt: skip


def _named() -> Mapping[tuple[str, str], HostName]:
    same = [HostName("RES4LYF", name, record) for name, record in _SAME.items()]
    listed = [HostName(h.program, h.name, h.record, h.differs, h.runs, h.source or _RES4LYF) for h in (*same, *_OTHER)]
    return MappingProxyType({(h.program, h.name): h for h in listed})


HOST_NAMES: Final = _named()
"""(program, name) -> :class:`HostName`."""


def host_name(name: str) -> HostName | None:
    """Entry of a name, one with the formula of a record before one that differs; None where it is unknown.

    Parameters
    ----------
    name : str
        Name in ComfyUI or RES4LYF, with or without RES4LYF's folder.
    """
    found = [entry for (_, known), entry in HOST_NAMES.items() if known == name.rpartition("/")[2]]
    return next((entry for entry in found if entry.equal), found[0] if found else None)
