"""The trained network in integers: traced, lowered, run, and written for others."""
