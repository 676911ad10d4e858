"""All guidance rules by name, gathered from the files of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from diffnum.guidance.record import GuidanceRule
from diffnum.jobs.stems import gathered

__all__ = ["RULES"]

RULES: Final[Mapping[str, GuidanceRule]] = gathered("diffnum.guidance", [str(Path(__file__).parent)], "RULES")
"""Rules by name; each is called with a model, a scale and its parts."""
