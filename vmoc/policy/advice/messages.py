"""What concerns any message, the switch, its ports, and questions."""

from __future__ import annotations

from typing import Final

from vmoc import errors
from vmoc.policy.advice.entry import LIBRARY, Entry

FRAMING: Final = (
    Entry(
        errors.BAD_VERSION,
        "any",
        "version",
        "The message's header carries another version than the one agreed on in HELLO.",
        "Use the negotiated version for every message; VMOC offers a controller exactly what the switch speaks.",
    ),
    Entry(
        errors.BAD_TYPE,
        "any",
        "type",
        "The version has no such message, or it is one that only switches send, or a second HELLO.",
        "Check which version was negotiated. What a later version added does not exist in an earlier one.",
    ),
    Entry(
        errors.BAD_LENGTH,
        "any",
        "decode",
        "The message is shorter or longer than what it says it contains.",
        LIBRARY,
    ),
    Entry(
        errors.HELLO_FAILED,
        "HELLO",
        "decode",
        "Switch and controller have no OpenFlow version in common, or the HELLO is malformed.",
        "Let the controller speak the version of the switch, or the switch the controller's; "
        "`openflow.versions` in the configuration may be the limit.",
    ),
    Entry(
        errors.CODEC_BUG,
        "any",
        "any",
        "VMOC itself failed on this message and refused it to be safe.",
        "A fault of VMOC: please report it together with the message, which is in the controller's error.",
    ),
)

SWITCH: Final = (
    Entry(
        errors.SWITCH_CONFIG,
        "SET_CONFIG",
        "decode",
        "How IP fragments are treated is the same for the whole switch, hence for every slice on it.",
        "Send flags 0. miss_send_len may be anything.",
    ),
    Entry(
        errors.SWITCH_CONFIG_FLAGS,
        "SET_CONFIG",
        "decode",
        "The flags have bits that the version does not define.",
        "Send flags 0.",
    ),
    Entry(
        errors.PORT_UNKNOWN,
        "PORT_MOD",
        "decode",
        "The slice has no such port.",
        "Use the ports that the features or port description reply lists.",
    ),
    Entry(
        errors.PORT_ADDRESS,
        "PORT_MOD",
        "decode",
        "The hardware address in the message is not the port's.",
        "Copy it from the port's description.",
    ),
    Entry(
        errors.PORT_FORBIDDEN,
        "PORT_MOD",
        "decode",
        "The port carries other slices' VLANs too, so it cannot be brought down, or told to drop or to advertise.",
        "Only NO_FLOOD (1.0) and NO_PACKET_IN may be changed; they hold for this slice alone.",
    ),
    Entry(
        errors.TABLE_CONFIG,
        "TABLE_MOD (1.3)",
        "decode",
        "What happens to packets no flow matches would be changed for every slice.",
        "Add a flow with priority 0 and an empty match instead: it holds for this slice alone.",
    ),
    Entry(
        errors.TABLE_CONFIG_ID,
        "TABLE_MOD (1.3)",
        "decode",
        "The virtual switch has no such table.",
        "Do without TABLE_MOD: tables are shared, and it is refused for existing ones too.",
    ),
    Entry(
        errors.EXPERIMENTER,
        "VENDOR, EXPERIMENTER, statistics requests",
        "decode",
        "Vendors' extensions act on the whole switch or its connection, or show what belongs to others.",
        "Do without; most controllers carry on when the extension is refused.",
    ),
)

ASKING: Final = (
    Entry(
        errors.STATS_TYPE,
        "STATS_REQUEST, MULTIPART_REQUEST",
        "decode",
        "The version has no statistics of this kind.",
        "Ports are in the features reply in 1.0; the port description request is a later version's.",
    ),
    Entry(
        errors.STATS_MORE,
        "MULTIPART_REQUEST (1.3)",
        "decode",
        "The request says that more of it follows; only table features may be asked for in parts.",
        "Clear the flag.",
    ),
    Entry(
        errors.STATS_TABLE,
        "MULTIPART_REQUEST (1.3)",
        "decode",
        "The virtual switch has no table of this number.",
        "Stay below `n_tables` of the features reply, or ask for table 255, which means all.",
    ),
    Entry(
        errors.TABLE_FEATURES_SET,
        "MULTIPART_REQUEST (1.3)",
        "decode",
        "The request would change the tables' features, which every slice shares.",
        "Ask for table features with an empty body.",
    ),
    Entry(
        errors.QUEUE_PORT,
        "QUEUE_GET_CONFIG_REQUEST, queue statistics",
        "decode",
        "The slice has no such port.",
        "Use the ports that the features or port description reply lists.",
    ),
    Entry(
        errors.QUEUE_UNKNOWN,
        "queue statistics",
        "decode",
        "The queue is not granted to the slice on this port.",
        "Ask for all queues to see which are.",
    ),
    Entry(
        errors.ROLE_STALE,
        "ROLE_REQUEST (1.3)",
        "decode",
        "The generation id is older than the last one that any controller of this segment used.",
        "Read the present one with a role request NOCHANGE, and count on from there.",
    ),
    Entry(
        errors.ROLE_UNKNOWN,
        "ROLE_REQUEST (1.3)",
        "decode",
        "The role is not one of nochange, equal, master, slave.",
        "Use one of these.",
    ),
    Entry(
        errors.ROLE_SLAVE,
        "FLOW_MOD, PACKET_OUT, GROUP_MOD, METER_MOD, PORT_MOD, TABLE_MOD (1.3)",
        "decode",
        "The controller has the role of a slave for this virtual switch, and may read only.",
        "Ask for the role equal or master first.",
    ),
)
