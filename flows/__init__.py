"""From Verilog to energy: synthesis, activity, timing, power, and the energy table."""
