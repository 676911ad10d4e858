"""Long work: over processes, written down as it is done, in files that are whole or absent."""
