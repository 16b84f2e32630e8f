"""What concerns groups and meters."""

from __future__ import annotations

from typing import Final

from vmoc import errors
from vmoc.policy.advice.entry import LIBRARY, Entry

GROUPS: Final = (
    Entry(
        errors.GROUP_COMMAND,
        "GROUP_MOD (1.3)",
        "command",
        "The command is not one of add, modify, delete.",
        "Buckets cannot be inserted or removed singly in 1.3: modify the whole group.",
    ),
    Entry(
        errors.GROUP_INVALID,
        "GROUP_MOD (1.3)",
        "group-id",
        "The id is reserved: groups are numbered 0 to 0xffffff00.",
        "Use another id; every slice has the whole range to itself.",
    ),
    Entry(
        errors.GROUP_EXISTS,
        "GROUP_MOD (1.3)",
        "group-id",
        "The slice has a group of this id already.",
        "Modify it, or delete it first.",
    ),
    Entry(
        errors.GROUP_UNKNOWN,
        "GROUP_MOD (1.3)",
        "group-id",
        "The group to be modified does not exist for this slice.",
        "Add it first.",
    ),
    Entry(
        errors.GROUP_TYPE,
        "GROUP_MOD (1.3)",
        "group-shape",
        "The type is not one of all, select, indirect, fast failover.",
        "Use one of these, and of them what the group features reply lists.",
    ),
    Entry(
        errors.BUCKET_LENGTH,
        "GROUP_MOD (1.3)",
        "decode",
        "A bucket's length is below 16, no multiple of 8, or goes beyond the message.",
        LIBRARY,
    ),
    Entry(
        errors.BUCKET_QUOTA,
        "GROUP_MOD (1.3)",
        "group-shape",
        "The group has more buckets than `policy.max_buckets` allows.",
        "Use fewer buckets, or ask the operator for more.",
    ),
    Entry(
        errors.GROUP_WATCH,
        "GROUP_MOD (1.3)",
        "buckets",
        "A bucket watches a port or a group that is not the slice's: whether it is alive is not the slice's to know.",
        "Watch the slice's own ports and groups.",
    ),
    Entry(
        errors.GROUP_QUOTA,
        "GROUP_MOD (1.3)",
        "quota",
        "The slice has as many groups on this switch as its `max_groups` allows.",
        "Delete groups, or ask the operator for a higher limit.",
    ),
    Entry(
        errors.GROUP_LOOP,
        "GROUP_MOD (1.3)",
        "group-chain",
        "A packet could come back to this group through the groups its buckets lead to.",
        "Break the circle.",
    ),
    Entry(
        errors.GROUP_CHAIN,
        "GROUP_MOD (1.3)",
        "group-chain",
        "Groups that lead to groups would be deeper than `policy.chain_depth` allows.",
        "Shorten the chain, or ask the operator for more.",
    ),
    Entry(
        errors.GROUP_CHAINED,
        "GROUP_MOD (1.3)",
        "group-chain",
        "Another group still leads to the group to be deleted.",
        "Delete or modify that one first; deleting all groups at once takes care of the order.",
    ),
    Entry(
        errors.METER_COMMAND,
        "METER_MOD (1.3)",
        "command",
        "The command is not one of add, modify, delete.",
        "Use one of these.",
    ),
    Entry(
        errors.METER_INVALID,
        "METER_MOD (1.3)",
        "meter-id",
        "The id is 0 or reserved. The meters for packets to the controller and for the slow path are everybody's.",
        "Use 1 to 0xffff0000; every slice has the whole range to itself.",
    ),
    Entry(
        errors.METER_EXISTS,
        "METER_MOD (1.3)",
        "meter-id",
        "The slice has a meter of this id already.",
        "Modify it, or delete it first.",
    ),
    Entry(
        errors.METER_UNKNOWN,
        "METER_MOD, statistics requests (1.3)",
        "meter-id",
        "The meter to be modified or asked about does not exist for this slice.",
        "Add it first.",
    ),
    Entry(
        errors.METER_BAND,
        "METER_MOD (1.3)",
        "decode",
        "A band is not of the type drop or dscp_remark.",
        "Use one of these, and of them what the meter features reply lists.",
    ),
    Entry(
        errors.METER_QUOTA,
        "METER_MOD (1.3)",
        "quota",
        "The slice has as many meters on this switch as its `max_meters` allows, or the switch has none left.",
        "Delete meters, or ask the operator for a higher limit.",
    ),
)
