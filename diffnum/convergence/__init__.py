"""convergence."""
