"""The code book: what each refusal is called on the wire."""

from __future__ import annotations

import pytest

from vmoc import errors
from vmoc.errors import REASONS, OfError, Reason, Refused, VmocError

# The specification's table: condition, 1.0, 1.3 (None: that version cannot meet it, or the table does not say).
BOOK: list[tuple[Reason, OfError | None, OfError | None]] = [
    (errors.FOREIGN_VLAN, (3, 2), (5, 4)),
    (errors.FOREIGN_IN_PORT, (3, 2), (5, 4)),
    (errors.PRIORITY_TAKEN, (3, 2), (5, 4)),
    (errors.FOREIGN_OUT_PORT, (2, 4), (2, 4)),
    (errors.VLAN_ACTION, (2, 6), (2, 6)),
    (errors.ACTION_TYPE, (2, 0), (2, 0)),
    (errors.ACTION_EXPERIMENTER, (2, 2), (2, 2)),
    (errors.ACTION_ARGUMENT, (2, 5), (2, 5)),
    (errors.SET_FIELD_VALUE, None, (2, 15)),
    (errors.SET_FIELD_TYPE, None, (2, 13)),
    (errors.SET_FIELD_FORM, None, (2, 14)),
    (errors.FOREIGN_QUEUE, (2, 8), (2, 8)),
    (errors.UNKNOWN_GROUP, None, (2, 9)),
    (errors.UNKNOWN_METER, None, (12, 2)),
    (errors.TABLE_ID, None, (5, 2)),
    (errors.GOTO_TABLE, None, (3, 2)),
    (errors.STATS_TABLE, None, (1, 9)),
    (errors.INSTRUCTION_TYPE, None, (3, 0)),
    (errors.INSTRUCTION_EXPERIMENTER, None, (3, 5)),
    (errors.INSTRUCTION_DUPLICATE, None, (3, 1)),
    (errors.INSTRUCTION_LENGTH, None, (3, 7)),
    (errors.FLOW_QUOTA, (3, 0), (5, 1)),
    (errors.BUFFER_ID, (1, 8), (1, 8)),
    (errors.PACKET_VLAN, (1, 5), (1, 5)),
    (errors.PACKET_SHORT, (1, 6), (1, 12)),
    (errors.PACKET_IN_PORT, (1, 5), (1, 11)),
    (errors.FLOW_COMMAND, (3, 4), (5, 6)),
    (errors.FLOW_FLAGS, (3, 2), (5, 7)),
    (errors.EMERGENCY_FLOW, (3, 0), None),
    (errors.EMERGENCY_TIMEOUT, (3, 3), None),
    (errors.SWITCH_CONFIG, (1, 5), (10, 2)),
    (errors.SWITCH_CONFIG_FLAGS, (1, 5), (10, 0)),
    (errors.PORT_UNKNOWN, (4, 0), (7, 0)),
    (errors.PORT_ADDRESS, (4, 1), (7, 1)),
    (errors.PORT_FORBIDDEN, (1, 5), (7, 4)),
    (errors.QUEUE_PORT, (5, 0), (9, 0)),
    (errors.QUEUE_UNKNOWN, (5, 1), (9, 1)),
    (errors.STATS_TYPE, (1, 2), (1, 2)),
    (errors.EXPERIMENTER, (1, 3), (1, 3)),
    (errors.ROLE_SLAVE, None, (1, 10)),
    (errors.ROLE_STALE, None, (11, 0)),
    (errors.ROLE_UNKNOWN, None, (11, 2)),
    (errors.TABLE_CONFIG, None, (8, 2)),
    (errors.BAD_VERSION, (1, 0), (1, 0)),
    (errors.BAD_TYPE, (1, 1), (1, 1)),
    (errors.BAD_LENGTH, (1, 6), (1, 6)),
    (errors.CODEC_BUG, (1, 6), (1, 6)),
    (errors.ACTION_LENGTH, (2, 1), (2, 1)),
    (errors.TOO_MANY_ACTIONS, (2, 7), (2, 7)),
    (errors.MATCH_TYPE, None, (4, 0)),
    (errors.MATCH_LENGTH, None, (4, 1)),
    (errors.MATCH_WILDCARDS, None, (4, 5)),
    (errors.MATCH_FIELD, None, (4, 6)),
    (errors.MATCH_VALUE, None, (4, 7)),
    (errors.MATCH_MASK, None, (4, 8)),
    (errors.MATCH_PREREQ, None, (4, 9)),
    (errors.MATCH_DUPLICATE, None, (4, 10)),
    (errors.HELLO_FAILED, (0, 0), (0, 0)),
]


@pytest.mark.parametrize(("reason", "of10", "of13"), BOOK, ids=[row[0].code for row in BOOK])
def test_code(reason: Reason, of10: OfError | None, of13: OfError | None) -> None:
    assert reason.error(1) == (of10 or (1, 1))
    assert reason.error(4) == (of13 or (1, 1))


def test_every_reason_is_registered_under_a_stable_name() -> None:
    named = {name: value for name, value in vars(errors).items() if isinstance(value, Reason)}
    assert {reason.code: reason for reason in named.values()} == REASONS
    for name, reason in named.items():
        assert name.isupper() and reason.code == reason.code.lower() and " " not in reason.code
        assert reason.summary and not reason.summary.endswith(".")
        assert reason.of10 or reason.of13
        assert reason.exit_code == 1 and reason.grpc.isupper()


def test_a_refusal_tells_its_detail_or_else_the_summary() -> None:
    bare, detailed = Refused(errors.FOREIGN_VLAN), Refused(errors.FOREIGN_VLAN, "match names VLAN 200")
    assert isinstance(bare, VmocError)
    assert bare.detail == errors.FOREIGN_VLAN.summary and bare.detail in str(bare)
    assert detailed.detail == "match names VLAN 200" and str(detailed) == "foreign-vlan: match names VLAN 200"
    assert detailed.reason is errors.FOREIGN_VLAN
