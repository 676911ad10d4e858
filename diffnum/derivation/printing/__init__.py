"""Derived steps as formulas and programs."""
