"""From Verilog to energy: synthesis, activity, timing, power, and the energy table."""

from hw.command import ask_for

ask_for("flows", "pyosys", "liberty", "rich", "distributed")
