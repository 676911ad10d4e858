"""Trajectories recorded from the authors' codes (``golden.json.gz``), and their replay by the package's own plans."""

from diffnum.certificates.recorded.case import Case, watched
from diffnum.certificates.recorded.solvers import PACKED, load, pack, replay

__all__ = ["PACKED", "Case", "load", "pack", "replay", "watched"]
