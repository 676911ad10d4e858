"""Ways to optimise the start, one idea a file; each file ends in ``STARTS``, and nothing is listed anywhere."""
