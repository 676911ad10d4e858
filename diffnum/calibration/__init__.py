"""Numbers found for one model or spectrum: statistics, compensation ratios, decisions."""
