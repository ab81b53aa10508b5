"""The activity engine: a netlist's transitions with and without glitches, in NumPy and in C."""
