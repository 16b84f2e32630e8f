"""Throw-away environments for controllers that need packages of their own.

The fixtures are the session's so that they are made before a test's namespace,
from which no package registry can be reached. Where none answers at all, or
``VMOC_OFFLINE=1`` says so, these tests are skipped; else they fail.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.compat.environments import NotToBeHadError, environment, registry_answers
from tests.ovs.conftest import lab, namespace

__all__ = ["lab", "namespace"]


@pytest.fixture(scope="session")
def faucet_programs() -> Path:
    """The folder of Faucet's programs."""
    return _environment("faucet")


@pytest.fixture(scope="session")
def ryu_programs() -> Path:
    """The folder of the Python that has Ryu."""
    return _environment("ryu")


def _environment(name: str) -> Path:
    try:
        return environment(name)
    except NotToBeHadError as error:
        if os.environ.get("VMOC_OFFLINE") or not registry_answers():
            pytest.skip(f"no package registry: {error}")
        pytest.fail(f"{error}; where there is no package registry, set VMOC_OFFLINE=1", pytrace=False)
