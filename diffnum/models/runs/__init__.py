"""Runs of networks: sampling in micro-batches, streaming to shards that survive an interruption."""
