"""Flows, packets, groups and meters as ``ovs-ofctl`` writes them, in both directions.

``flow.parse_flow`` and ``flow.parse_packet_out`` read one line into a whole
message; ``flow.format_flow`` and ``flow.format_packet_out`` write a message
as a line; ``group`` does both for groups and meters. Reading raises ``TextError`` that says which word is wrong.
"""
