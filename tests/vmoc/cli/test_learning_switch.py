"""``vmoc learning-switch``: its address and timeout reach the application."""

from __future__ import annotations

from typing import Any

import pytest

from vmoc.cli import main


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ([], (("127.0.0.1", 6640), {"idle_timeout": 60})),
        (["--listen", "0.0.0.0:0", "--idle-timeout", "5"], (("0.0.0.0", 0), {"idle_timeout": 5})),
        (["--listen", "[::1]:6653"], (("::1", 6653), {"idle_timeout": 60})),
    ],
)
def test_options_reach_the_application(
    arguments: list[str], called: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def stand_in(*args: Any, **kwargs: Any) -> int:
        calls.append((args, kwargs))
        return 1

    monkeypatch.setattr("vmoc.apps.learning_switch.main", stand_in)
    assert main(["learning-switch", *arguments]) == 1
    assert calls == [called]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--listen", ":6640"],
        ["--listen", "a:70000"],
        ["--listen", "::1:1"],
        ["--idle-timeout", "0"],
        ["--idle-timeout", "65536"],
    ],
)
def test_what_is_not_an_address_or_a_timeout(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learning-switch", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"vmoc: Invalid value for '{arguments[0]}': ")
