"""Samplers that are not ours: how they are called, in which picture, and in which precision."""
