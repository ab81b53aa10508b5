"""Yosys: the script that maps a design, what its log tells, and how it is run."""
