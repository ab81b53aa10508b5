"""The paper's experiments, run in slices, kept as results, and set beside what it printed.

`python -m quanos.reproduce --scale cpu|fast|full` runs what `experiments/*.toml` describe, writes
one `docs/results/NAME.json` per experiment and generates `docs/reproduction.md` from these and
the audit of the paper's own numbers.
"""
