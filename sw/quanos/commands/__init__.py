"""The commands of `quanos`, one a file: a frozen dataclass of options with `run()`.

A module here imports at its top only what parsing needs; torch and the rest come in `run`, so that
help and bad arguments answer at once. `quanos.cli.COMMANDS` lists them.
"""
