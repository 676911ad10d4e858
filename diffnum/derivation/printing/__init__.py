"""Derived steps as formulas and programs."""

from diffnum.derivation.printing.formulas import LANGUAGES, FormalKernel, Formula, RecordingKernel, formal, formal_names
from diffnum.derivation.printing.formulas import written as written

__all__ = ["LANGUAGES", "FormalKernel", "Formula", "RecordingKernel", "formal", "formal_names", "written"]
