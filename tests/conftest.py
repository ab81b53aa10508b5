"""What all tests share: properties are not judged by how busy the machine is."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread: the order of sums is then the same on any machine."""
    import torch  # not every test needs it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
