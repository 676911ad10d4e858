"""Posterior samplers, one idea a file; each file ends in ``SAMPLERS``, and nothing is listed anywhere."""
