"""The big networks, built once for all tests that only read them. Copy before you train one."""

import pytest
import torch
from deoldify_golden import filled_network

from nogan import deoldify


@pytest.fixture(scope="session", autouse=True)
def two_threads():
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def deep():
    """DeOldify's artistic generator under the goldens' fill, in eval mode."""
    return deoldify.generator_from(filled_network("deep"), source="deep")


@pytest.fixture(scope="session")
def wide():
    """DeOldify's stable generator under the goldens' fill, in eval mode."""
    return deoldify.generator_from(filled_network("wide"), source="wide")


@pytest.fixture(scope="session")
def critic():
    """DeOldify's critic under the goldens' fill, in eval mode."""
    return deoldify.critic_from(filled_network("critic"), source="critic")
