"""Slices from files: the configuration's form, the API's own, and every mistake with its place."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from vmoc.cli.document import to_document, to_yaml
from vmoc.cli.reading import InputError
from vmoc.cli.slice_file import read_slices
from vmoc.registry import LOCAL_PORT
from vmoc.v1 import resources_pb2 as r


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        file = tmp_path / "slices.yaml"
        file.write_text(text)
        return file

    return write


def test_the_configurations_form(written) -> None:
    (one,) = read_slices(
        written(
            """
slices:
  - id: alice
    labels: {owner: alice@example.org}
    limits: {max_flows: 10}
    enabled: false
    expires: 2030-01-31T12:00:00Z
    segments:
      - vlan: 101
        controllers: [tcp:127.0.0.1:6640]
        presentation: transparent
        dpid: physical
        fail_mode: flush
        attachments:
          - {dpid: "0x1", ports: [1, 2, LOCAL], queues: {2: [7], LOCAL: [8]}}
          - {dpid: 2}
          - {dpid: 00:00:00:00:00:00:00:10}
      - vlan: any
"""
        )
    )
    assert (one.slice_id, dict(one.labels), one.limits.max_flows) == ("alice", {"owner": "alice@example.org"}, 10)
    assert not one.limits.HasField("max_groups")
    assert one.admin_state == r.ADMIN_STATE_DISABLED
    assert one.expire_time.ToJsonString() == "2030-01-31T12:00:00Z"
    first, second = one.segments
    assert (first.vlan_id, second.vlan_id) == (101, 0)
    assert list(first.controllers) == ["tcp:127.0.0.1:6640"]
    assert first.presentation == r.PRESENTATION_TRANSPARENT
    assert first.dpid_scheme == r.DPID_SCHEME_PHYSICAL
    assert first.fail_mode == r.FAIL_MODE_FLUSH
    assert [(at.dpid, list(at.ports)) for at in first.attachments] == [
        ("0x1", [1, 2, LOCAL_PORT]),
        ("0x0000000000000002", []),
        ("00:00:00:00:00:00:00:10", []),
    ]
    assert [(q.port, list(q.queue_ids)) for q in first.attachments[0].queues] == [(2, [7]), (LOCAL_PORT, [8])]


def test_what_show_prints_can_be_registered_again(written) -> None:
    shown = r.Slice(
        slice_id="bob",
        owner="o",
        etag="17",
        origin=r.SLICE_ORIGIN_API,
        admin_state=r.ADMIN_STATE_ENABLED,
        limits={"max_flows": 0, "flow_mod_rate": 5},
        segments=[
            {"vlan_id": 7, "presentation": "PRESENTATION_TAGGED", "attachments": [{"dpid": "0x1", "ports": [3]}]}
        ],
        status={"virtual_datapaths": [{"dpid": "0x1"}]},
    )
    shown.expire_time.seconds = 1_900_000_000
    shown.create_time.seconds = 1_700_000_000
    (read,) = read_slices(written(to_yaml(to_document(shown))))
    for name in ("etag", "origin", "status", "create_time"):
        shown.ClearField(name)
    assert read == shown


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", r"slices\[0\]: must be a mapping"),
        ("slices: 5", "slices: must be a list of slices"),
        ("id: a\nsegments: [{vlan: x}]", r"segments\[0\]\.vlan: must be a number"),
        ("id: a\nsegments: [{vlan: true}]", r"segments\[0\]\.vlan: must be a number"),
        (
            "slices: [{id: a, segments: [{vlna: 5}]}]",
            r"slices\[0\]\.segments\[0\]\.vlna: is not a key here; there are vlan",
        ),
        ("id: 5", "id: must be a text, not 5; put it in quotes"),
        ("id: a\nsegments: [{presentation: odd}]", r"presentation: 'odd' is none of tagged, transparent"),
        ("id: a\nexpires: tomorrow", "expires: must be a time like"),
        ("id: a\nlabels: [x]", "labels: must be a mapping"),
        ("id: a\nlabels: {cost: 1.10}", "labels.cost: must be a text, not 1.1"),
        ("id: {", r"slices.yaml:2:1: "),
        ("id: a\nid: b", r"slices.yaml:2:1: the key 'id' is already given at line 1"),
        ("[" * 100_000, "nested deeper than"),
        ("id: a\nsegments: [{vlan: 5, attachments: }]", r"segments\[0\].attachments: must not be empty; leave it out"),
        ("segments: [{attachments: [{dpid: 1, ports: }]}]", r"attachments\[0\].ports: must not be empty"),
        ("segments: [{attachments: [{dpid: 1, ports: [all]}]}]", r"ports\[0\]: 'all' is not a port"),
        ("segments: [{attachments: [{dpid: 1, ports: [4294967296]}]}]", r"ports\[0\]: must be a number from 0"),
        ("segments: [{attachments: [{dpid: true}]}]", r"dpid: a DPID is a number or a hex string, not a boolean"),
        ("segments: [{attachments: [{dpid: -1}]}]", r"dpid: -1 does not fit"),
        ("id: a\nexpires: 0001-01-01T00:00:00+23:00", "expires: must be a time like"),
        ("id: a\nexpires: 5", "expires: must be a time like"),
        ("id: a\nsegments: {vlan: 5}", "segments: must be a list"),
    ],
)
def test_mistakes_are_placed(written, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_slices(written(text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_slices(tmp_path / "none")


def test_a_file_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"id: \xff")
    with pytest.raises(InputError, match="raw is not UTF-8 text"):
        read_slices(tmp_path / "raw")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b'{"slice_id": "x"}')))
    (one,) = read_slices(Path("-"))
    assert one.slice_id == "x"
