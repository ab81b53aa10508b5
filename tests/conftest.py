"""Tests that other tools must confirm take minutes: they run when asked for by `-m`."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if not config.option.markexpr and not any("::" in argument for argument in config.args):
        config.option.markexpr = "not oracle"
