"""The policy's own vectors: raw bytes in, a refusal or raw bytes out.

A ``.vet`` file holds blocks of lines, a word and its value:

    vector  NAME: what it is, in words
    version 1.0 | 1.3
    grant   a letter of ``GRANTS``
    in      the controller's message
    refuse  TYPE,CODE reason        either this,
    out     a physical message      or these (xid 0; cookie: tag 1, and serial 1 where it is an entry's),
    nothing                         or this: allowed, and the switch need not be told

``in`` and ``out`` were written with another library's serialisers (os-ken) or,
where they are malformed, by hand; none of them by the code under test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vmoc.errors import OfError
from vmoc.mux.flows import FlowTable
from vmoc.policy.flowmod import vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.packetout import PacketOutPolicy
from vmoc.policy.recipes import FlowModPolicy
from vmoc.policy.verdict import Refusal

HERE = Path(__file__).parent
LOCAL = {1: 0xFFFE, 4: 0xFFFFFFFE}
COOKIE = 1 << 48 | 1


def grants(version: int) -> dict[str, Grant]:
    """The virtual datapaths on a switch with the ports 1..6 and LOCAL; N is alone on a per-VLAN listener."""
    common = {"version": version, "n_tables": 1 if version == 1 else 4, "guarded": True}
    return {
        "A": Grant(vlan=100, ports=frozenset((1, 2, 3)), queues={2: frozenset((7,))}, **common),
        "B": Grant(vlan=200, ports=frozenset((2, 3, 4)), **common),
        "T": Grant(vlan=300, ports=frozenset((1, 2, 5)), hides_tag=True, **common),
        "U": Grant(vlan=400, ports=frozenset(range(1, 7)), hides_tag=True, **common),
        "N": Grant(vlan=500, ports=frozenset((1, 2, 3)), hides_tag=True, native=True, **common),
        "L": Grant(vlan=100, ports=frozenset((1, LOCAL[version])), **common),
    }


@dataclass
class Vector:
    file: str
    name: str = ""
    text: str = ""
    version: int = 0
    grant: str = ""
    message: bytes = b""
    refused: tuple[OfError, str] | None = None
    nothing: bool = False
    out: list[bytes] = field(default_factory=list)


def read(path: Path) -> Iterator[Vector]:
    for block in path.read_text().split("\n\n"):
        vector = Vector(path.stem)
        for line in block.splitlines():
            word, _, value = line.partition(" ")
            value = value.strip()
            match word:
                case "vector":
                    vector.name, _, vector.text = value.partition(": ")
                case "version":
                    vector.version = {"1.0": 1, "1.3": 4}[value]
                case "grant":
                    vector.grant = value
                case "in":
                    vector.message = bytes.fromhex(value)
                case "out":
                    vector.out.append(bytes.fromhex(value))
                case "nothing":
                    vector.nothing = True
                case "refuse":
                    code, reason = value.split()
                    kind, number = code.split(",")
                    vector.refused = (int(kind), int(number)), reason
                case _:
                    assert word == "#", f"{path.name}: {line!r}"
        if vector.name:
            yield vector


VECTORS = [vector for path in sorted(HERE.glob("*.vet")) for vector in read(path)]


def verdict_on(grant: Grant, message: bytes) -> Refusal | list[bytes]:
    """What the controller is told or the switch gets, xid 0; fast and slow forms of the policy must agree."""
    if message[1] == 13:
        policy = PacketOutPolicy(grant)
        first, again = policy.vet(message, 0), policy.vet(message, 0)
        assert first == again
        return first if isinstance(first, Refusal) else [first]
    change = vet_flow_mod(grant, message)
    policy = FlowModPolicy(grant)
    if isinstance(change, Refusal):
        assert policy.vet(message) == change and policy.recipe(message) is None
        return change
    plan = FlowTable(grant.version, 1, 10).plan(change)
    assert not isinstance(plan, Refusal)
    policy.vet(message)
    recipe = policy.recipe(message)
    assert (recipe is not None) is (change.command == 0)
    if recipe is not None:
        assert [recipe.message(message, recipe.identity(message), 0, COOKIE.to_bytes(8, "big"))] == plan.messages
    return plan.messages


@pytest.mark.parametrize("vector", [pytest.param(each, id=f"{each.file}/{each.name}") for each in VECTORS])
def test_vector(vector: Vector) -> None:
    expected = [vector.refused is not None, vector.nothing, bool(vector.out)]
    assert expected.count(True) == 1, "a vector says refuse, nothing or out"
    got = verdict_on(grants(vector.version)[vector.grant], vector.message)
    if isinstance(got, Refusal):
        assert (got.error(vector.version), got.reason.code) == vector.refused, vector.text
    else:
        assert [message.hex() for message in got] == [message.hex() for message in vector.out], vector.text


def test_names_are_unique() -> None:
    names = [(vector.file, vector.name) for vector in VECTORS]
    assert len(names) == len(set(names)) > 150
