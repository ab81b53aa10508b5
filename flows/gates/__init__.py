"""What a gate netlist says without being run: constants, clocks, order; and its formats."""
