"""From files to networks: one loader for each format, one door to them all."""
