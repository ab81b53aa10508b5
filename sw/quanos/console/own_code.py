"""Code of the user's own: modules named by `quanos --import MODULE`, and by nothing else.

Such a module makes its networks known with `quanos.models.register`. Configurations, checkpoints
and measurements hold names of networks alone, so that no file can bring code along.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

VARIABLE = "QUANOS_IMPORT"
"""Environment variable with the modules' names, commas between: processes of a run inherit it."""


def ask_for(module: str) -> None:
    """Have `module` imported, here and in processes started from here."""
    names = [name for name in os.environ.get(VARIABLE, "").split(",") if name]
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*names, module]))


def options() -> list[str]:
    """The options that ask for the same modules again."""
    names = filter(None, os.environ.get(VARIABLE, "").split(","))
    return [word for name in names for word in ("--import", name)]


def import_asked() -> None:
    """Import what was asked for, the working folder searched last.

    Raises ValueError where there is no such module; what is wrong inside one keeps its traceback.
    """
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        if name.endswith(".py"):
            raise ValueError(f"--import takes a module, not its file: --import {name[:-3]}.")
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"--import {name!r} is no name of a module, such as my_net.")
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.append(here)
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"--import {name}: there is no module {error.name}; it must be installed or lie in "
                "the working folder."
            ) from None
