"""cocotb test benches, and the harness that builds and runs them."""
