"""What a command says that refuses its words."""

from collections.abc import Callable, Sequence

import pytest


def refusal(
    main: Callable[[list[str]], int], words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """The one line on standard error; the status is 2, and nothing else is printed."""
    try:
        status = main(list(words))
    except SystemExit as end:  # by the parser of options
        status = end.code
    out, error = capsys.readouterr()
    assert (status, out, error.count("\n")) == (2, "", 1), error
    return error
