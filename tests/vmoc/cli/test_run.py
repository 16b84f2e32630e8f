"""``vmoc run`` hands over what the command line and the file say, after the file has been found good."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vmoc.cli import main
from vmoc.config import load


class Service:
    """Stands for the daemon: remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> int:
        self.calls.append((args, kwargs))
        return 7


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    stand_in = Service()
    monkeypatch.setattr("vmoc.daemon.run", stand_in)
    return stand_in


def test_options_reach_the_service(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "vmoc.yaml"
    file.write_text("slices: [{id: a}]")
    arguments = ["run", "-c", str(file), "--app", "my.app", "--app", "other"]
    assert main([*arguments, "--workers", "3", "--log-level", "info,net=debug", "--log-format", "json"]) == 7
    assert service.calls == [
        (
            (load(file),),
            {
                "config_path": file,
                "apps": ("my.app", "other"),
                "log_level": "info,net=debug",
                "log_format": "json",
                "workers": 3,
            },
        )
    ]


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (3, 3), (20, 8)])
def test_workers_are_one_per_core_unless_told_otherwise(
    service: Service, monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.delenv("VMOC_WORKERS", raising=False)
    for arguments in (["run"], ["run", "--workers", "auto"], ["run", "--workers", "0"]):
        assert main(arguments) == 7
    assert [options["workers"] for _, options in service.calls] == [workers, workers, 0]


@pytest.mark.parametrize("words", ["65", "-1", "many", "1.5"])
def test_a_number_of_workers_that_is_none_is_refused(
    service: Service, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert main(["run", f"--workers={words}"]) == 2
    assert "neither auto nor a number from 0 to 64" in capsys.readouterr().err
    assert not service.calls


def test_without_a_file_it_runs_on_defaults(service: Service) -> None:
    assert main(["run"]) == 7
    ((settings,), options) = service.calls[0]
    assert settings == load(None) and options["config_path"] is None and options["apps"] == ()


def test_the_real_service_takes_these_arguments() -> None:
    import inspect

    from vmoc.daemon import run

    bound = inspect.signature(run).bind(load(None), config_path=None, apps=(), log_level="info", log_format="auto")
    assert set(bound.arguments) == {"settings", "config_path", "apps", "log_level", "log_format"}


def test_a_wrong_file_is_told_and_nothing_runs(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vmoc.yaml"
    file.write_text("slices:\n  - id: a\n    segments: [{vlan: 0}, {vlann: 7}]\n")
    assert main(["run", "--config", str(file)]) == 2
    assert not service.calls
    assert capsys.readouterr().err.splitlines() == [
        f"{file}:3:23: slices[0].segments[0].vlan: must be a whole number 1..4094, not 0",
        f"{file}:3:27: slices[0].segments[1].vlan: is required",
        f"{file}:3:28: slices[0].segments[1].vlann: unknown key; did you mean 'vlan'?",
    ]
