"""Properties are looked for in many examples: on a busy machine that takes its time."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PATIENCE))
