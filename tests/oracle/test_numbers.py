"""Our numbers and names against os-ken's: message types, ports, commands, errors, match fields."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.oracle.osken import NUMBERS
from vmoc import errors
from vmoc.openflow import features, header, names, stats, v10, v13
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import group as g13
from vmoc.openflow.v13 import oxm

OFP10, OFP13 = NUMBERS[1], NUMBERS[4]
VERSIONS = pytest.mark.parametrize("version", [1, 4])


def constants(version: int, prefix: str) -> dict[str, int]:
    """os-ken's constants of that prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in vars(NUMBERS[version]).items()
        if name.startswith(prefix) and isinstance(value, int)
    }


@VERSIONS
def test_message_types(version: int) -> None:
    theirs = constants(version, "OFPT_")
    renamed = {"VENDOR": "EXPERIMENTER"}
    assert {renamed.get(name, name): number for name, number in theirs.items()} == {
        name: number for number, name in enumerate(names.MESSAGES[version])
    }
    ours = {name: value for name, value in vars(header).items() if name in names.MESSAGES[version]}
    ours |= {
        name: value for name, value in vars(v10 if version == 1 else v13).items() if name in names.MESSAGES[version]
    }
    assert ours == {name: number for number, name in enumerate(names.MESSAGES[version])}


# How the constants of each error type begin.
PREFIXES = {
    "HELLO_FAILED": "OFPHFC_",
    "BAD_REQUEST": "OFPBRC_",
    "BAD_ACTION": "OFPBAC_",
    "BAD_INSTRUCTION": "OFPBIC_",
    "BAD_MATCH": "OFPBMC_",
    "FLOW_MOD_FAILED": "OFPFMFC_",
    "GROUP_MOD_FAILED": "OFPGMFC_",
    "PORT_MOD_FAILED": "OFPPMFC_",
    "TABLE_MOD_FAILED": "OFPTMFC_",
    "QUEUE_OP_FAILED": "OFPQOFC_",
    "SWITCH_CONFIG_FAILED": "OFPSCFC_",
    "ROLE_REQUEST_FAILED": "OFPRRFC_",
    "METER_MOD_FAILED": "OFPMMFC_",
    "TABLE_FEATURES_FAILED": "OFPTFFC_",
}


@VERSIONS
def test_error_names(version: int) -> None:
    kinds = {name: number for name, number in constants(version, "OFPET_").items() if number != 0xFFFF}
    assert set(kinds) <= set(PREFIXES)
    checked = 0
    for name, kind in kinds.items():
        codes = constants(version, PREFIXES[name])
        assert codes
        for code_name, code in codes.items():
            assert names.error_name(version, kind, code) == f"{name}/{code_name} ({kind},{code})"
            checked += 1
        beyond = max(codes.values()) + 1
        assert names.error_name(version, kind, beyond) == f"{name}/{beyond} ({kind},{beyond})"
    assert checked > (20 if version == 1 else 90)
    beyond = max(kinds.values()) + 1
    assert names.error_name(version, beyond, 0) == f"({beyond},0)"


@VERSIONS
def test_every_reason_has_an_error_the_specification_knows(version: int) -> None:
    for reason in errors.REASONS.values():
        code = reason.of10 if version == 1 else reason.of13
        if code is not None:
            name = names.error_name(version, *code)
            assert "/" in name and not name.split("/")[1][0].isdigit(), (reason.code, name)


@VERSIONS
def test_ports(version: int) -> None:
    module: ModuleType = v10 if version == 1 else v13
    for name, number in constants(version, "OFPP_").items():
        assert getattr(module, name) == number, name


@VERSIONS
def test_flow_mod_commands_and_flags(version: int) -> None:
    for name, number in constants(version, "OFPFC_").items():
        assert getattr(v10, name) == number, name
    module: ModuleType = v10 if version == 1 else v13
    flags = constants(version, "OFPFF_")
    for name, number in flags.items():
        assert getattr(module, name) == number, name
    assert version == 1 or sum(flags.values()) == v13.KNOWN_FLAGS


def test_statistics_types() -> None:
    for name, number in constants(1, "OFPST_").items():
        if name != "VENDOR":
            assert getattr(v10, "STATS_" + name) == number
    for name, number in constants(4, "OFPMP_").items():
        if name != "EXPERIMENTER":
            assert getattr(v13, "MP_" + name) == number
    assert tuple(range(6)) == (stats.DESC, stats.FLOW, stats.AGGREGATE, stats.TABLE, stats.PORT, stats.QUEUE)
    assert OFP13.OFPMP_PORT_DESC == stats.PORT_DESC13
    assert OFP10.OFPSF_REPLY_MORE == OFP13.OFPMPF_REPLY_MORE == v10.REPLY_MORE == v13.MP_MORE


def test_instructions() -> None:
    for name, number in constants(4, "OFPIT_").items():
        if name != "EXPERIMENTER":
            assert getattr(v13, name) == number, name


def test_action_types() -> None:
    for name, number in constants(4, "OFPAT_").items():
        assert getattr(a13, name) == number, name
    for name, number in constants(1, "OFPAT_").items():
        assert getattr(a10, name) == number, name


def test_wildcards_of_1_0() -> None:
    theirs = constants(1, "OFPFW_")
    for name in "IN_PORT DL_VLAN DL_SRC DL_DST DL_TYPE NW_PROTO TP_SRC TP_DST DL_VLAN_PCP NW_TOS ALL".split():
        assert getattr(m10, "W_" + name) == theirs[name], name
    assert (theirs["NW_SRC_SHIFT"], theirs["NW_DST_SHIFT"]) == (m10.NW_SRC_SHIFT, m10.NW_DST_SHIFT)


def test_sizes() -> None:
    assert OFP10.OFP_HEADER_SIZE == OFP13.OFP_HEADER_SIZE == header.HEADER_SIZE
    assert OFP10.OFP_MATCH_SIZE == m10.LENGTH
    assert OFP10.OFP_FLOW_MOD_SIZE == f10.FIXED
    assert OFP13.OFP_FLOW_MOD_SIZE == f13.MINIMUM
    assert OFP10.OFP_FLOW_STATS_SIZE == f10.ENTRY_FIXED
    assert OFP13.OFP_FLOW_STATS_SIZE - OFP13.OFP_MATCH_SIZE == f13.ENTRY_MATCH
    assert OFP10.OFP_FLOW_REMOVED_SIZE == f10.REMOVED_LENGTH
    assert {1: OFP10.OFP_PHY_PORT_SIZE, 4: OFP13.OFP_PORT_SIZE} == features.PORT_LENGTH
    assert {1: OFP10.OFP_PORT_STATS_SIZE, 4: OFP13.OFP_PORT_STATS_SIZE} == stats.PORT_STATS_LENGTH
    assert {1: OFP10.OFP_QUEUE_STATS_SIZE, 4: OFP13.OFP_QUEUE_STATS_SIZE} == stats.QUEUE_STATS_LENGTH
    assert {1: OFP10.OFP_STATS_MSG_SIZE, 4: OFP13.OFP_MULTIPART_REPLY_SIZE} == stats.BODY


def test_capabilities_and_port_bits() -> None:
    assert (OFP10.OFPC_FLOW_STATS, OFP13.OFPC_FLOW_STATS) == (features.C_FLOW_STATS,) * 2
    assert (OFP10.OFPC_STP, OFP13.OFPC_GROUP_STATS) == (features.C_STP_OR_GROUP,) * 2
    assert OFP10.OFPC_RESERVED == features.C_RESERVED10
    assert (OFP10.OFPC_IP_REASM, OFP13.OFPC_IP_REASM) == (features.C_IP_REASM,) * 2
    assert (OFP10.OFPC_QUEUE_STATS, OFP13.OFPC_QUEUE_STATS) == (features.C_QUEUE_STATS,) * 2
    assert OFP13.OFPC_PORT_BLOCKED == features.C_PORT_BLOCKED13
    assert OFP10.OFPPC_NO_FLOOD == features.NO_FLOOD10
    assert OFP10.OFPPC_NO_PACKET_IN == OFP13.OFPPC_NO_PACKET_IN == features.NO_PACKET_IN
    assert OFP10.OFPPC_PORT_DOWN == OFP13.OFPPC_PORT_DOWN == features.PORT_DOWN


def test_groups_and_meters() -> None:
    assert (OFP13.OFPG_MAX, OFP13.OFPG_ALL, OFP13.OFPG_ANY) == (g13.GROUP_MAX, g13.GROUP_ALL, v13.ANY_GROUP)
    assert OFP13.OFPM_MAX == g13.METER_MAX
    assert (OFP13.OFPM_SLOWPATH, OFP13.OFPM_CONTROLLER, OFP13.OFPM_ALL) == (
        g13.METER_SLOWPATH,
        g13.METER_CONTROLLER,
        g13.METER_ALL,
    )
    kinds = (OFP13.OFPGT_ALL, OFP13.OFPGT_SELECT, OFP13.OFPGT_INDIRECT, OFP13.OFPGT_FF)
    assert kinds == (g13.TYPE_ALL, g13.TYPE_SELECT, g13.TYPE_INDIRECT, g13.TYPE_FAST_FAILOVER)
    assert (OFP13.OFPMBT_DROP, OFP13.OFPMBT_DSCP_REMARK) == (g13.BAND_DROP, g13.BAND_DSCP_REMARK)


def test_match_fields() -> None:
    theirs = {
        field.oxm_type & 0x7F: (field.name, field.type.size)
        for field in OFP13.oxm_types
        if isinstance(field.num, int) and field.oxm_type >> 7 == OFP13.OFPXMC_OPENFLOW_BASIC
    }
    assert theirs.pop(oxm.PBB_ISID)[0] == "pbb_isid"  # left out on purpose
    assert {number: (field.name, field.size) for number, field in oxm.FIELDS.items()} == theirs
    for name, number in constants(4, "OFPXMT_OFB_").items():
        field = oxm.FIELDS.get(number)
        assert field is None or field.name == name.lower()
    assert OFP13.OFPVID_PRESENT == oxm.VID_PRESENT
    assert OFP13.OFPXMC_OPENFLOW_BASIC == oxm.BASIC
