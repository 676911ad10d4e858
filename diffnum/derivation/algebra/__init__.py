"""What derivations compute with: symbols, power series, rooted trees, B-series, the exact reverse process."""
