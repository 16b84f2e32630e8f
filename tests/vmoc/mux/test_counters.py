from __future__ import annotations

from vmoc.mux.counters import UNCLASSIFIED_KEYS, Counters


def test_hosts_cannot_make_up_keys_for_ever():
    counters = Counters()
    for vid in range(UNCLASSIFIED_KEYS + 10):
        counters.count_unclassified(1, 1, vid)
    counters.count_unclassified(1, 1, 0)
    assert len(counters.unclassified) == UNCLASSIFIED_KEYS
    assert counters.unclassified[1, 1, 0] == 2
    assert counters.dropped_packet_ins["no-slice"] == UNCLASSIFIED_KEYS + 11


def test_starts_at_nothing():
    counters = Counters()
    assert (counters.south_in, counters.north_in, counters.packet_ins) == (0, 0, 0)
    assert not counters.refused
