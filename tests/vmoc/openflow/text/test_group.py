"""Groups and meters as text, both ways."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from vmoc.openflow.text.group import format_group, format_meter, parse_group, parse_meter
from vmoc.openflow.text.values import TextError
from vmoc.openflow.v13 import group as g13

OFCTL = shutil.which("ovs-ofctl") or "ovs-ofctl"

GROUPS = [
    "add group_id=1,type=all,bucket=actions=output:1,bucket=actions=set_field:10.0.0.1->ip_src,output:2",
    "add group_id=2,type=select,bucket=weight:5,actions=output:1,bucket=actions=drop",
    "add group_id=3,type=ff,bucket=watch_port:1,actions=output:1,bucket=watch_group:2,actions=group:2",
    "modify group_id=4294967040,type=indirect,bucket=actions=IN_PORT",
    "add group_id=9,type=all",
    "delete group_id=5",
    "delete group_id=all",
]
METERS = [
    "add meter=1,kbps,burst,stats,band=type=drop,rate=1000,burst_size=10",
    "modify meter=2,pktps,band=type=drop,rate=5,band=type=dscp_remark,rate=3,prec_level=1",
    "add meter=controller,pktps,band=type=drop,rate=5",
    "delete meter=3",
    "delete meter=all",
]


@pytest.mark.parametrize("line", GROUPS)
def test_groups_there_and_back(line: str) -> None:
    message = parse_group(line, xid=9)
    assert message[:2] == b"\x04\x0f" and int.from_bytes(message[2:4], "big") == len(message)
    assert format_group(message) == line


@pytest.mark.parametrize("line", METERS)
def test_meters_there_and_back(line: str) -> None:
    message = parse_meter(line, xid=9)
    assert message[:2] == b"\x04\x1d" and int.from_bytes(message[2:4], "big") == len(message)
    assert format_meter(message) == line


@pytest.mark.parametrize(
    ("line", "canonical"),
    [
        (
            "group_id=1 type=ALL bucket=1 buckets=drop",
            "add group_id=1,type=all,bucket=actions=output:1,bucket=actions=drop",
        ),
        ("group_id=1,type=fast_failover,bucket=weight=2,1", "add group_id=1,type=ff,bucket=weight:2,actions=output:1"),
        ("group_id=1,type=all,bucket=watch_group=any,drop", "add group_id=1,type=all,bucket=actions=drop"),
        ("delete", "delete group_id=all"),
    ],
)
def test_other_words_for_the_same_group(line: str, canonical: str) -> None:
    assert format_group(parse_group(line)) == canonical


@pytest.mark.parametrize(
    ("line", "canonical"),
    [
        ("meter=1 bands=type=drop rate=5 type=drop rate=6", "add meter=1,band=type=drop,rate=5,band=type=drop,rate=6"),
        ("delete", "delete meter=all"),
        ("meter=SLOWPATH", "add meter=slowpath"),
    ],
)
def test_other_words_for_the_same_meter(line: str, canonical: str) -> None:
    assert format_meter(parse_meter(line)) == canonical


def test_what_the_reader_makes_of_it() -> None:
    group = g13.parse_group_mod(parse_group("group_id=7,type=select,bucket=weight:3,watch_port:2,output:1"))
    assert (group.command, group.kind, group.group) == (0, g13.TYPE_SELECT, 7)
    assert g13.parse_group_mod(parse_group("group_id=7,type=select,bucket=1")).buckets[0].weight == 1
    assert group.buckets == [g13.Bucket(3, 2, 0xFFFFFFFF, [(0, 1, 0)])]
    meter = g13.parse_meter_mod(parse_meter("meter=7,kbps,band=type=dscp_remark,rate=9,burst_size=8,prec_level=2"))
    assert meter == (0, 1, 7, [g13.Band(g13.BAND_DSCP_REMARK, 9, 8, 2)])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("type=all", "group_id= is missing"),
        ("", "group_id= is missing"),
        ("group_id=1", "type=: write type= and one of all,"),
        ("group_id=1,type=frob", "type=frob: write type= and one of all,"),
        ("group_id=x,type=all", "group_id: 'x' is not a number"),
        ("group_id=1,type=all,frob=1", "'frob=1': a group has"),
        ("group_id", "'group_id': a group has"),
        ("group_id=1,type=all,bucket=weight:x", "weight: 'x' is not a number"),
        ("group_id=1,type=all,bucket=watch_port:x", "watch_port: 'x' is not a number"),
        ("group_id=1,type=all,bucket=watch_group:x", "watch_group: 'x' is not a number"),
        ("group_id=1,type=all,bucket=frob", "'frob' is not an action"),
        ("group_id=1,type=all,bucket=" + "2," * 9000, "bucket: so many do not fit"),
        ("group_id=1,type=all" + ",bucket=2" * 9000, "bucket: so many do not fit"),
    ],
)
def test_a_complaint_about_a_group_names_the_word(line: str, said: str) -> None:
    with pytest.raises(TextError) as raised:
        parse_group(line)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kbps", "meter= is missing"),
        ("meter=x", "meter: 'x' is not a number"),
        ("meter=1,frob", "'frob': a meter has"),
        ("meter=1,band=rate=5", "'rate=5': a band has type= first"),
        ("meter=1,band=type=frob", "type=frob: a band's type is one of drop"),
        ("meter=1,band=type=drop,frob=1", "'frob=1': a band has"),
        ("meter=1,band=type=drop,rate=x", "rate: 'x' is not a number"),
        ("meter=1" + ",band=type=drop" * 5000, "band: so many do not fit"),
    ],
)
def test_a_complaint_about_a_meter_names_the_word(line: str, said: str) -> None:
    with pytest.raises(TextError) as raised:
        parse_meter(line)
    assert str(raised.value).startswith(said)


def test_what_has_no_name_is_written_as_a_number() -> None:
    assert format_group(g13.group_mod(0, 7, 9, 1)) == "7 group_id=1,type=9"
    assert format_meter(g13.meter_mod(0, 7, 0, 1)) == "7 meter=1"


@pytest.mark.ovs
@pytest.mark.parametrize(
    ("message", "printed"),
    [
        *[(parse_group(line), line.replace("add", "ADD")) for line in GROUPS[:3]],
        (parse_group(GROUPS[5]), "DEL group_id=5,type=all"),
        (parse_meter(METERS[0]), "ADD meter=1 kbps burst stats bands= type=drop rate=1000 burst_size=10"),
        (parse_meter(METERS[1]), "MOD meter=2 pktps bands= type=drop rate=5 type=dscp_remark rate=3 prec_level=1"),
        (parse_meter(METERS[4]), "DEL meter=all"),
    ],
)
def test_ovs_ofctl_prints_what_was_meant(message: bytes, printed: str) -> None:
    done = subprocess.run([OFCTL, "ofp-print", message.hex()], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split("):", 2)[-1].split())
    assert printed in said
