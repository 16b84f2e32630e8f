"""The readers of ``ovs-ofctl`` lines: a message or a ``TextError``, and a message reads back as itself."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from fuzz.grammar import CONTROLLER as SIDE
from fuzz.grammar import Speaker, make
from fuzz.watch import limit, timed
from vmoc.errors import Refused
from vmoc.openflow.text import flow, group
from vmoc.openflow.text.values import TextError

_SEEDS: Final = (
    "table=0,priority=100,in_port=1,dl_vlan=100,actions=output:2",
    "dl_vlan=100,ip,nw_src=10.0.0.0/8,actions=mod_vlan_vid:100,FLOOD",
    "cookie=0x1/-1,tcp,tp_dst=80,idle_timeout=5,send_flow_rem,actions=enqueue:2:7",
    "ipv6,ipv6_dst=2001:db8::/32,actions=set_field:fe80::1->ipv6_src,goto_table:1",
    "vlan_vid=0x1000/0x1000,actions=push_vlan:0x8100,set_field:4196->vlan_vid,group:1,write_metadata:1/1",
    "in_port=CONTROLLER packet=ffffffffffff0200000000018100006408000000 actions=TABLE",
    "group_id=1,type=all,bucket=output:1,bucket=watch_port:2,actions=output:2",
    "meter=1,kbps,burst,bands=type=drop,rate=100,burst_size=10",
    "delete_strict dl_src=02:00:00:00:00:01/ff:00:00:00:00:00",
)
_PIECES: Final = (
    *"=,:/->()[]{} \t\0\x7f\u00e9",
    "0x",
    "-1",
    "99999999999999999999",
    "actions=",
    "\n",
    "e9",
    "1_0",
    "٣",
)
Reader = Callable[[str], bytes]
READERS: Final[tuple[Reader, ...]] = (
    lambda text: flow.parse_flow(text, 1),
    lambda text: flow.parse_flow(text, 4),
    lambda text: flow.parse_packet_out(text, 1),
    lambda text: flow.parse_packet_out(text, 4),
    group.parse_group,
    group.parse_meter,
)


def line(random: Random) -> str:
    """A line that is almost one."""
    text = random.choice(_SEEDS)
    for _ in range(random.choice((0, 1, 2, 5))):
        at, other = random.randrange(len(text) + 1), random.choice(_SEEDS)
        what = random.randrange(5)
        if what == 0:
            text = text[:at] + random.choice(_PIECES) * random.choice((1, 1, 2, 5000)) + text[at:]
        elif what == 1:
            text = text[:at] + text[at + random.choice((1, 2, 10)) :]
        elif what == 2:
            start = random.randrange(len(other))
            text = text[:at] + other[start : start + random.choice((5, 20, 100))] + text[at:]
        elif what == 3:
            words = text.split(",")
            random.shuffle(words)
            text = ",".join(words)
        elif text:
            at = min(at, len(text) - 1)
            text = text[:at] + chr(random.choice((random.randrange(128), random.randrange(0x3000)))) + text[at + 1 :]
        text = text or ","
    return text[:20_000]


def attempt(seed: int) -> str:
    """One line through every reader, and one message through every writer; what went wrong, or nothing."""
    random = Random(seed)
    text = line(random)
    for number, read in enumerate(READERS):
        try:
            made, seconds = timed(lambda: _made(read, text))  # noqa: B023
            if seconds > limit():
                return f"reader {number} took {seconds * 1000:.0f} ms for {text[:200]!r}"
            if made is not None and int.from_bytes(made[2:4], "big") != len(made):
                return f"reader {number} made a message with a wrong length from {text[:200]!r}"
            if made is not None and number < 2 and not _same(made):
                return f"written and read again it is another flow: {text[:200]!r}"
        except Exception as problem:
            return f"reader {number}: {problem!r} for {text[:500]!r}"
    version = random.choice((1, 4))
    message = make(Speaker(random, version, b"mark"), SIDE[version])
    try:
        if message[1] == 14:
            flow.format_flow(message)
        elif message[1] == 13:
            flow.format_packet_out(message)
    except Refused:
        pass
    except Exception as problem:
        return f"a writer: {problem!r} for {message.hex()}"
    return ""


def _made(read: Reader, text: str) -> bytes | None:
    try:
        return read(text)
    except TextError:
        return None


def _same(message: bytes) -> bool:
    return flow.parse_flow(flow.format_flow(message), message[0]) == message
