"""A configuration printed in full means what it meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.vmoc.config.test_loading import FULL, write
from vmoc.config import GrpcRole, Settings, load
from vmoc.config.schema import Document
from vmoc.config.show import to_document


@pytest.mark.parametrize("text", ["{}", FULL, "grpc: {listen: off}\nstate: {path: x.db}"])
def test_show_and_read_again(tmp_path: Path, text: str) -> None:
    settings = load(write(tmp_path, text))
    document = to_document(settings)
    assert load(write(tmp_path, yaml.safe_dump(document))) == settings
    assert load(write(tmp_path, json.dumps(document))) == settings  # JSON is YAML


def test_who_may_call_is_shown() -> None:
    roles = (GrpcRole("root", "admin"), GrpcRole("am-*", "am", "m"))
    grpc = to_document(Settings(grpc_roles=roles, grpc_insecure=True))["grpc"]
    shown = [{"name": "root", "role": "admin"}, {"name": "am-*", "role": "am", "manager": "m"}]
    assert grpc == {"listen": "127.0.0.1:50051", "roles": shown, "insecure": True}


def test_every_default_is_shown() -> None:
    document = to_document(Settings())
    assert set(document) == set(Document.model_fields) - {"handlers"}
    for name in ("policy", "limits", "timers"):
        section = Document.model_fields[name].annotation
        assert section is not None and set(document[name]) == set(section.model_fields)
        assert document[name] == {key: field.default for key, field in section.model_fields.items()}


def test_only_what_a_slice_changes_of_the_limits_is_shown(tmp_path: Path) -> None:
    text = "limits: {max_flows: 9}\nslices: [{id: a, limits: {max_flows: 9, stats_rate: 1}}, {id: b}]"
    a, b = to_document(load(write(tmp_path, text)))["slices"]
    assert a["limits"] == {"stats_rate": 1} and "limits" not in b
