"""Every deviation on record, and every repository that is cited with a commit, has a report or a reason for none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("torch")

from diffnum.audits import REPORTS
from diffnum.audits.elsewhere import CODES
from diffnum.coefficients.catalogue.flow_sde import _FAMILIES
from diffnum.plans.reversible import SCHEMES

ROOT = Path(__file__).resolve().parents[2]
STEMS = {r.stem: r for r in (*REPORTS, *CODES)}

PAPER = "it is what the paper says, and the book says what follows"
OURS = "what this package does otherwise, or its limit"
HARMLESS = "the law or the order is the same, and the record says so"
CHOICE = "a choice of the code, stated there, whose effect the book measures"
FIRST = "others have published it before, and the book cites them"
UNRUN = "it was read in the code only, and the book says so: no lines here could show it"
REASONS = {PAPER, OURS, HARMLESS, CHOICE, FIRST, UNRUN}

OWNERS: Mapping[str, str] = {
    # catalogue
    "puts the divided difference for the second derivative": "dpm-solver-3m",
    "left Riemann sums of 10000 cells": "deis-quadrature",
    "sums over 10000 points": "deis-quadrature",
    "starts over from the base state": PAPER,
    "A bracket of the second difference's weight": "ipndm-v-bracket",
    "Besides the bracket of order 3": "ipndm-v-bracket",
    "weights are those of constant steps": PAPER,
    "a cube for a square in gamma": "res-3s-gamma",
    "The slope is that of constant steps": PAPER,
    "Their weights are Gegenbauer's": "stork-times",
    "The virtual stages are values of a polynomial": "stork-times",
    "first step of the code spans one interval": OURS,
    "Where the points stand and what they weigh is learned": PAPER,
    "delay of the average is not undone": PAPER,
    "The authors' two codes start the average differently": UNRUN,
    "puts 1/2 for the solution of the paper's system": HARMLESS,
    "with a stale loop index": "unipc-vary",
    "Inner nodes are those of the grid": "diffusers-singlestep-3",
    "The pseudo derivatives are divided differences": PAPER,
    "official step to s = 0 adds its noise too": "flow-grpo-density",
    "Keeps the law of known data but not that of a distribution": PAPER,
    # reversible schemes
    "Its other root is": PAPER,
    "gamma = 1 is close to the leapfrog": PAPER,
    "second evaluation sees a state of the new level": PAPER,
    "Written with two evaluations a step": HARMLESS,
    # tokens
    "fills remaining masks with the most likely token": HARMLESS,
    "Gumbel noise in the precision of the score": FIRST,
    "leaves the probability to stay negative": HARMLESS,
    "adds the jumps of a token up": "tauldr-reject",
    "corrects late in the run only": CHOICE,
    "jumps of the inner leap are drawn anew": PAPER,
    "extrapolated rate is negative and counts as zero": PAPER,
    "the share exceeds its bound": "remdm-last-step",
    "ends at the time 1e-5 and fills the masks": "remdm-last-step",
    "this code keeps the times as well": "bd3lms-steps",
    "only the numbers are those of the source": OURS,
    "draws at temperature 0 unless told otherwise": "llada-eos",
    # guidance
    "largest posterior variance times sin": OURS,
    "softplus in place of ReLU": OURS,
    "only the abstract was read": OURS,
    "lengths are taken sample by sample": CHOICE,
    "mean squares by default": OURS,
    "momentum over the steps of a run is left out": OURS,
    "diffusers projects what the network predicts": CHOICE,
    "zero-init is given by a noise level": OURS,
    # measurements
    "tau = 0.01 for a noise of 0.05": "daps-likelihood",
    "twice that of the log-likelihood": "daps-likelihood",
    "100 steps of 5e-5": CHOICE,
    "replaced by an exact draw": OURS,
    "gamma is one number for all steps": PAPER,
    "is not that of DDIM's eta": PAPER,
    "the predicted noise is that of the prior": PAPER,
    "the branch for the last step is taken one step early": "dds-last-step",
    "measures the noise on images of [0, 1]": "diffpir-noise",
    "pasted into the state after the image has been made": "diffpir-noise",
    "the step has the same length for any noise": PAPER,
    "half of zeta' / ||.||": FIRST,
    "the norm is taken over the whole batch": "dps-batch",
    "a constant step stands for the factor": PAPER,
    "it takes a model of the data given the measurement": OURS,
    "the system is solved exactly": OURS,
    "weighed by the pseudo-inverse alone": PAPER,
    "the factor alpha_t alpha_s of both nodes": CHOICE,
    "it starts at alpha_T times": CHOICE,
    "both terms of the loss are means over entries": CHOICE,
    "obs_weight stands for it": PAPER,
    "pasted as if they had no noise": PAPER,
    "not pasted into the first state": CHOICE,
    "resampled where fewer than half are effective": OURS,
    "likelihood is that of pseudo-inverse guidance": OURS,
    # starts
    "counts among the scores": OURS,
    "the divergence from the prior is part of the problem": OURS,
    "the mean of the other samples' losses": OURS,
    "the map is affine": OURS,
    "a fixed sample of normals": OURS,
    "couplings by increasing functions": OURS,
    "the part of the slope whose mean is zero": OURS,
    "the paper's one step is that of a distilled model": OURS,
    "here the run is deterministic": OURS,
    "L-BFGS in place of Adam": OURS,
}
"""Report, or reason for none, by words of the deviation."""

NOTHING = "cited for its formulas, lists or options; nothing was found that its owners are to be told"
SILENT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "Anuska-Roy/CAB", "BeierZhu/EPD", "QinpengCui/ER-SDE-Solver", "Westlake-AGI-Lab/DyWeight",
            "jin01020/rx-dpm", "nfsrules/SEEDS", "onefly123/PFDiff", "scxue/SA-Solver",
            "wl-zhao/DC-Solver",
            "AIRI-Institute/Guide-and-Rescale", "AlexMaOLS/EluCD", "CFGpp-diffusion/CFGpp",
            "ChenWu98/generative-visual-prompt", "KU-CVLAB/Perturbed-Attention-Guidance", "Mingxiao-Li/TS-DPM",
            "NVlabs/edm2", "WeichenFan/CFG-Zero-star", "avik-pal/LocalRegNeuralDE.jl", "bahjat-kawar/ddrm",
            "bebebe666/OptimalSteps", "google-research/maskgit", "kynkaat/guidance-interval",
            "lilijiangg/AutoDiffusion", "nguyenngocbaocmt02/BOSS", "soobin-um/minority-guidance",
            "thu-ml/prolificdreamer", "cognaclee/DPM-OT",
        ),
        NOTHING,
    ),
    "Comfy-Org/ComfyUI": CHOICE,
    "NVlabs/RED-diff": CHOICE,
    "andreas128/RePaint": CHOICE,
    "comfyanonymous/ComfyUI": CHOICE,
    "grrrute/mr-sampler": CHOICE,
    "kuleshov-group/mdlm": HARMLESS,
    "louaaron/Score-Entropy-Discrete-Diffusion": HARMLESS,
    "luping-liu/PNDM": PAPER,
    "masa-ue/SVDD": CHOICE,
    "sWizad/momentum-diffusion": UNRUN,
    "thu-ml/DPM-Solver-v3": UNRUN,
    "thu-nics/USF": CHOICE,
    "tianweiy/DMD2": CHOICE,
}  # fmt: skip
"""Repositories whose owners are told nothing, with the reason."""

CITED = re.compile(r"([\w.-]+/[\w.-]+)`? at [0-9a-f]{7,8}\b")


def pieces(tree: ast.Module, node: ast.expr) -> Iterator[str]:
    """Texts of an expression; those of names of the module are looked up."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(part.value for part in node.values if isinstance(part, ast.Constant))
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str) and node.value:
            yield node.value
    elif isinstance(node, ast.Name):
        for one in tree.body:
            targets = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
            if any(isinstance(t, ast.Name) and t.id == node.id for t in targets):
                yield from pieces(tree, one.value)
    elif isinstance(node, ast.IfExp):
        yield from (*pieces(tree, node.body), *pieces(tree, node.orelse))
    elif isinstance(node, ast.Tuple):
        for one in node.elts:
            yield from pieces(tree, one)
    elif isinstance(node, ast.Dict):
        for one in node.values:
            yield from pieces(tree, one)
    elif isinstance(node, ast.BinOp):
        yield "".join((*pieces(tree, node.left), *pieces(tree, node.right)))
    elif isinstance(node, ast.Call):
        yield from pieces(tree, node.func.value if isinstance(node.func, ast.Attribute) else node.func)


@cache
def deviations() -> frozenset[str]:
    """All that records of the package say of departures."""
    found = {record.deviation for record in (*SCHEMES.values(), *_FAMILIES.values()) if record.deviation}
    for path in sorted((ROOT / "diffnum").rglob("*.py")):
        text = path.read_text()
        if not re.search(r"\bdeviations?=", text):
            continue
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ("deviation", "deviations"):
                found |= set(pieces(tree, node.value))
    return frozenset(found)


def unowned(texts: Set[str], owners: Mapping[str, str]) -> list[str]:
    return sorted(text for text in texts if not any(words in text for words in owners))


def test_every_deviation_has_a_report_or_a_reason() -> None:
    texts = deviations()
    assert len(texts) > 70
    assert not unowned(texts, OWNERS)
    assert not [words for words in OWNERS if not any(words in text for text in texts)], "of nothing on record"
    assert set(OWNERS.values()) <= {*STEMS, *REASONS}


def test_a_deviation_of_which_nobody_is_told_is_found_out() -> None:
    slip = "the code squares its noise"
    assert unowned({*deviations(), slip}, OWNERS) == [slip]
    fewer = {words: owner for words, owner in OWNERS.items() if owner != "dds-last-step"}
    assert [text for text in unowned(deviations(), fewer) if "j == 0" in text]


def cited() -> dict[str, str]:
    """Repositories that the book or the package cites with a commit, and where."""
    found: dict[str, str] = {}
    for folder, ending in (("book", "*.md"), ("diffnum", "*.py")):
        for path in sorted((ROOT / folder).rglob(ending)):
            if "upstream" not in path.parts and "_build" not in path.parts and "audits" not in path.parts:
                found |= dict.fromkeys(CITED.findall(path.read_text()), path.name)
    return found


def test_every_repository_on_record_has_a_report_or_a_reason() -> None:
    told = " ".join(f"{r.where} {getattr(r, 'what', '')} {getattr(r, 'why', '')}" for r in STEMS.values())
    every = {name for name in cited() if name.count("/") == 1 and not name.endswith(".py")}
    assert len(every) > 50
    reported = {name for name in every if name in told}
    assert sorted(every - reported - SILENT.keys()) == []
    assert sorted(SILENT.keys() - every) == [], "nothing on record cites them"
    assert not SILENT.keys() & {name for name in every if any(name in code.where for code in CODES)}
    assert set(SILENT.values()) <= {*REASONS, NOTHING}


def test_a_repository_that_is_in_no_list_is_found_out() -> None:
    assert CITED.findall("as in someone/sampler at 0123abcd, step.py") == ["someone/sampler"]
    assert "someone/sampler" not in SILENT
