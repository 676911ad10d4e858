"""Options of what is audited: every value that a class accepts is run, or the reason why not is true."""

from __future__ import annotations

import inspect
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest

pytest.importorskip("torch")

from diffnum.audits import AuditReport, audit, shipped_run, sweeps
from diffnum.audits.options import swept
from diffnum.audits.subjects import Subject, arguments, subjects, unswept
from diffnum.audits.sweeps import ALIASES, UNSWEPT
from diffnum.audits.unread import BY_OTHERS, read_in, unread
from diffnum.foreign.libraries import diffusers_schedulers

LIBRARIES = [("diffusers", "diffusers"), ("k-diffusion", "torchsde")]


COMPARED = re.compile(r'\b(\w+) (?:not in|in|==|!=) ([\[{(][^\])}]*[\])}]|"[^"]*")')


def compared(cls: type[Any]) -> dict[str, set[Any]]:
    """Texts that the source of a class compares with a name."""
    found: dict[str, set[Any]] = {}
    for name, values in COMPARED.findall(Path(inspect.getfile(cls)).read_text()):
        found.setdefault(name, set()).update(re.findall(r'"([^"]*)"', values))
    return found


def accepted(option: inspect.Parameter, texts: set[Any]) -> set[Any]:
    """Values that a class accepts for an option: those it declares, and those it compares it with."""
    kinds = option.annotation if isinstance(option.annotation, str) else ""
    listed = option.annotation if not kinds else eval(kinds, {"Literal": Literal, "torch": __import__("torch")})
    parts = get_args(listed) if get_origin(listed) is not Literal else (listed,)
    declared = {value for part in parts if get_origin(part) is Literal for value in get_args(part)}
    if isinstance(option.default, bool):
        return {False, True}
    return declared | texts


@pytest.mark.parametrize(("library", "needed"), LIBRARIES)
def test_every_value_of_every_option_is_swept_or_its_reason_is_written(library: str, needed: str) -> None:
    pytest.importorskip(needed)
    run: dict[tuple[str, str], list[Any]] = {}
    for subject in subjects(library)[0]:
        for option, values in subject.sweep.items():
            run.setdefault((subject.name, option), []).extend(values)
    reasons, missing, needless = unswept(library), [], set(unswept(library))
    for name, options in arguments(library).items():
        texts = compared(diffusers_schedulers()[name]) if library == "diffusers" else {}
        for word, option in options.items():
            seen = run.get((name, word), [])
            left = [v for v in accepted(option, texts.get(word, set())) if v not in seen]
            left = [v for v in left if v not in ALIASES.get(word, {})]
            if not seen or left or (not accepted(option, set()) and len({repr(v) for v in seen}) < 2):
                used = {word, f"{name}.{word}"} & reasons.keys()
                needless -= used
                if not used:
                    missing.append((name, word, left))
    assert not missing
    assert not needless, "they are swept, and need no reason"


def test_values_are_read_in_the_source_too() -> None:
    pytest.importorskip("diffusers")
    installed = diffusers_schedulers()
    assert "original_sample" in compared(installed["EulerDiscreteScheduler"])["prediction_type"]
    assert {"dpmsolver", "sde-dpmsolver"} <= compared(installed["DPMSolverMultistepScheduler"])["algorithm_type"]
    assert {"fixed_large_log", "learned_range"} <= compared(installed["DDPMScheduler"])["variance_type"]


def test_reasons_name_options_that_there_are() -> None:
    for _, needed in LIBRARIES:
        pytest.importorskip(needed)
    assert unswept("diffusers") | unswept("k-diffusion") == UNSWEPT
    found = audit("k-diffusion", only=["sample_lms order=1 |"], jobs=1)
    assert found.unswept == unswept("k-diffusion", {"sample_lms"})


def test_an_audit_tells_of_the_options_of_what_it_ran() -> None:
    pytest.importorskip("diffusers")
    every, of_one = unswept("diffusers"), unswept("diffusers", {"CosineDPMSolverMultistepScheduler"})
    assert of_one.items() < every.items()
    assert "CosineDPMSolverMultistepScheduler.sigma_min" in of_one
    assert "tau_func" not in of_one  # of another class
    text = str(AuditReport("diffusers", (), {}, {}, every))
    assert (
        f"not swept: dynamic_thresholding_ratio, sample_max_value, clip_sample_range: {every['sample_max_value']}"
        in text
    )
    assert text.count("not swept: ") == len(set(every.values()))


def test_values_of_other_classes_are_replaced_by_the_constructor() -> None:
    pytest.importorskip("diffusers")
    tried = 0
    for name, options in arguments("diffusers").items():
        for word in ALIASES.keys() & options.keys():
            own = {v for s in subjects("diffusers")[0] if s.name == name for v in s.sweep.get(word, ())}
            for value, becomes in ALIASES[word].items():
                if value in own or name == "EDMDPMSolverMultistepScheduler":
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        made = diffusers_schedulers()[name](**{word: value})
                    except (NotImplementedError, ValueError):  # refused
                        continue
                tried += 1
                assert made.config[word] != value, (name, word, value)
                assert made.config[word] == becomes or made.config[word] in own
    assert tried > 10


LEAVE_OUT = ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DPMSolverMultistepInverseScheduler")


@pytest.mark.parametrize("name", LEAVE_OUT)
def test_a_learned_variance_is_left_out_by_solvers_of_the_flow(name: str) -> None:
    pytest.importorskip("diffusers")
    made = diffusers_schedulers()[name]
    plain, learned, ranged = (
        shipped_run(made(variance_type=kind), 6).sample for kind in (None, "learned", "learned_range")
    )
    assert plain is not None
    assert plain.shape == (32, 1)
    assert np.allclose(learned, plain, atol=1e-6)
    assert np.allclose(ranged, plain, atol=1e-6)
    assert shipped_run(made(variance_type="learned", prediction_type="sample"), 6).failure.startswith("RuntimeError")


@pytest.mark.parametrize("kind", ["learned", "learned_range"])
def test_a_learned_variance_of_the_audit_is_the_smallest_one(kind: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    ends = []
    for which in ("fixed_small", kind, "fixed_large"):
        torch.manual_seed(0)
        made = diffusers_schedulers()["DDPMScheduler"](variance_type=which, clip_sample=False)
        ends.append(shipped_run(made, 10).sample)
    assert ends[0] is not None
    assert np.allclose(ends[1], ends[0], atol=1e-5)
    assert not np.allclose(ends[2], ends[0], atol=1e-2)


def test_options_of_a_step_are_swept_and_told() -> None:
    pytest.importorskip("diffusers")
    subject = Subject("diffusers", "LMSDiscreteScheduler", 1, sweep={"order": (1, 4)})
    chosen = subject.chosen({"order": 4, "timestep_spacing": "trailing"})
    assert (chosen.config, chosen.options) == ({"timestep_spacing": "trailing"}, {"order": 4})
    assert len(set(map(tuple, swept(subject).evidence["errors"].values()))) == 2
    wrong = replace(subject, sweep={"order": (1, "four")})
    (found,) = audit_of(wrong)
    assert "options=dict(order='four')" in found.snippet


def audit_of(subject: Subject) -> tuple[Any, ...]:
    """Findings with their lines."""
    from diffnum.audits import report

    return report._examined(subject).findings


@pytest.mark.parametrize(("flow", "parts"), [(False, set()), (True, {"direction"})])
def test_a_class_that_should_go_up_and_goes_down_is_found(flow: bool, parts: set[str]) -> None:
    pytest.importorskip("diffusers")
    kind = "flow_prediction" if flow else "epsilon"
    sweep = {"solver_order": (1, 2), "use_flow_sigmas": (flow,), "prediction_type": (kind,)}
    subject = Subject("diffusers", "DPMSolverMultistepInverseScheduler", 1, sweep=sweep, inverse=True)
    found = {f.part: f for f in audit_of(subject)}
    assert set(found) == parts
    if flow:
        assert "2 of 2 combinations" in found["direction"].text
        assert "print(run.rho_start > run.rho_end)" in found["direction"].snippet


@pytest.mark.parametrize("bounded", [False, True])
def test_thresholds_leave_data_within_them_alone(bounded: bool) -> None:
    pytest.importorskip("diffusers")
    made = diffusers_schedulers()["DPMSolverMultistepScheduler"]
    plain, same = (shipped_run(made(thresholding=b), 10).sample for b in (False, bounded))
    assert plain is not None
    assert np.allclose(plain, same, atol=1e-6)
    outside = shipped_run(made(thresholding=bounded, sample_max_value=1.0), 10, problem=wide()).sample
    assert (outside is not None and float(np.abs(outside).max()) > 1.5) != bounded


def test_a_step_that_changes_the_shape_of_its_sample_is_a_failure() -> None:
    pytest.importorskip("diffusers")
    options = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
    made = diffusers_schedulers()["DPMSolverSinglestepScheduler"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bounded, plain = (shipped_run(made(thresholding=b, **options), 6) for b in (True, False))
    assert bounded.failure == "ValueError: step makes a sample of shape (32, 1, 1000) of one of shape (32, 1, 1)"
    assert not plain.failure


def wide() -> Any:
    """Data beyond the threshold."""
    from diffnum.problems import Gaussian

    return Gaussian(np.array([3.0]), np.array([[0.25]]))


def test_options_that_say_where_nodes_are_are_not_read_by_a_step() -> None:
    pytest.importorskip("diffusers")
    nodes, tried = {word for word, reason in UNSWEPT.items() if reason == sweeps._NODES}, 0
    for name, options in arguments("diffusers").items():
        read = read_in(diffusers_schedulers()[name], "step", "scale_model_input")
        own = {word for word in nodes if f"{name}.{word}" in UNSWEPT}
        found = (nodes - own) & options.keys()
        tried += len(found)
        assert not found & read, name
    assert tried > 100
    for name, word in (("DDIMScheduler", "clip_sample"), ("UniPCMultistepScheduler", "solver_order")):
        assert word in read_in(diffusers_schedulers()[name], "step"), "a formula's option is read"


def test_options_that_nothing_reads_are_found_in_the_source() -> None:
    pytest.importorskip("diffusers")
    found = {name: unread(cls) for name, cls in diffusers_schedulers().items() if unread(cls)}
    assert found["FlowMatchEulerDiscreteScheduler"] == {"step": ("s_churn", "s_tmin", "s_tmax", "s_noise")}
    assert {"thresholding", "timestep_spacing", "sample_max_value"} <= {*found["TCDScheduler"]["__init__"]}
    assert "eta" in found["CogVideoXDDIMScheduler"]["step"]
    for reads in ("EulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "DDIMScheduler"):
        assert reads not in found


def test_options_that_others_read_are_read_there() -> None:
    diffusers = pytest.importorskip("diffusers")
    root = Path(diffusers.__file__).parent
    texts = [
        path.read_text() for folder in ("pipelines", "modular_pipelines") for path in (root / folder).rglob("*.py")
    ]
    for word in BY_OTHERS:
        assert any(f"config.{word}" in t or f'config, "{word}"' in t or f'config.get("{word}"' in t for t in texts), (
            word
        )


class Heeds:
    """A scheduler that reads what it takes, each in another way."""

    # fmt: off
    def __init__(
        self, kept: int = 1,
        read: int = 1, asked: int = 1, called: int = 1, dead: int = 1,  # noqa: ARG002  where they are kept, is not here
        idle: int = 1,
    ) -> None:
        # fmt: on
        self.kept_one = kept
        self.idle_one = idle
        self.config: Any = None

    def step(self, sample: float, scale: float = 1.0, unused: float = 1.0) -> float:  # noqa: ARG002
        """Reads all but two options and an argument."""
        return sample * scale * self.kept_one * self.config.read * getattr(self.config, "asked", 1) * self._more()

    def _more(self) -> int:
        return int(self.config.called)

    def _never(self) -> int:
        return int(self.config.dead)


def test_an_option_is_read_where_code_that_is_reached_reads_it() -> None:
    assert Heeds().idle_one, "it is kept"
    assert callable(Heeds()._never)
    assert unread(Heeds) == {"__init__": ("dead", "idle"), "step": ("unused",)}
    assert {"kept", "read", "asked", "called"} <= read_in(Heeds, "step")
    assert not {"dead", "idle"} & read_in(Heeds, "step")


def test_an_option_without_effect_is_a_finding_and_one_with_effect_is_none() -> None:
    pytest.importorskip("diffusers")
    churn = {"s_churn": (0.0, 10.0)}
    (found,) = audit_of(Subject("diffusers", "FlowMatchEulerDiscreteScheduler", 1, sweep=churn))
    assert (found.part, found.prints) == ("ignored options", "True")
    assert "step takes s_churn, s_tmin, s_tmax, s_noise" in found.text
    assert "for s_churn in (0.0, 10.0):" in found.snippet
    assert not audit_of(Subject("diffusers", "FlowMatchHeunDiscreteScheduler", 1, sweep=churn))


def test_findings_of_one_kind_on_several_grids_are_one_finding() -> None:
    pytest.importorskip("diffusers")
    terminal = {"timestep_spacing": ("linspace", "trailing"), "rescale_betas_zero_snr": (True,)}
    (found,) = audit_of(Subject("diffusers", "DDIMScheduler", 1, {"clip_sample": False}, sweep=terminal))
    assert "2 of 2 combinations" in found.text
    assert "not finite, such as after step 1 of 4, of sigma / alpha from inf to" in found.text


@pytest.mark.parametrize(("predictor", "part"), [("DDIMScheduler", None), ("EulerDiscreteScheduler", "failure")])
def test_another_class_may_predict_if_it_is_in_units_of_the_data(predictor: str, part: str | None) -> None:
    pytest.importorskip("diffusers")
    made = {"solver_p": (sweeps.Made(predictor),)}
    found = audit_of(Subject("diffusers", "UniPCMultistepScheduler", 1, sweep=made))
    assert [f.part for f in found] == ([part] if part else [])
    if part:
        assert "from diffusers import EulerDiscreteScheduler, UniPCMultistepScheduler" in found[0].snippet
