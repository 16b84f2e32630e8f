"""Which worker gets a switch, and for how long."""

from __future__ import annotations

from collections import Counter

from vmoc.daemon.workers.placing import Placing

SAME = 0x0000_0000_0000_00AA
TWIN = 0x0123_0000_0000_00AA  # shows the same DPID for the same VLAN


def place(placing: Placing, dpid: int, number: int, ready: tuple[int, ...] = (0, 1), native: int = 0) -> int:
    worker = placing.choose(dpid, ready)
    assert worker is not None
    placing.put((dpid, native), worker, number)
    return worker


def test_switches_that_come_at_once_are_spread_evenly():
    placing = Placing(3)
    got = Counter(place(placing, dpid, dpid, (0, 1, 2)) for dpid in range(1, 32))
    assert sorted(got.values()) == [10, 10, 11]


def test_a_busy_worker_gets_none_while_another_is_idle():
    placing = Placing(2)
    place(placing, 1, 1)
    place(placing, 2, 2)
    place(placing, 3, 3)
    placing.report(0, 0.02, 2)
    placing.report(1, 0.9, 1)
    assert [place(placing, dpid, dpid) for dpid in (4, 5)] == [0, 0]


def test_noise_is_no_load():
    placing = Placing(2)
    placing.report(0, 0.001, 3)
    placing.report(1, 0.04, 2)
    assert placing.choose(9, (0, 1)) == 1


def test_what_was_given_since_the_last_report_counts_as_much_as_an_average_switch():
    placing = Placing(2)
    placing.report(0, 0.4, 4)
    placing.report(1, 0.8, 4)  # 0.15 each
    assert [place(placing, dpid, dpid) for dpid in (1, 2, 3)] == [0, 0, 0]
    assert place(placing, 4, 4) == 1 or placing.choose(5, (0, 1)) == 1


def test_a_switch_stays_where_it_is_whatever_the_load():
    placing = Placing(2)
    home = place(placing, 7, 1)
    placing.report(home, 1.0, 50)
    assert placing.choose(7, (0, 1)) == home
    assert placing.choose(7, ()) == home  # also while nobody is ready


def test_a_new_switch_goes_to_nobody_who_is_not_ready():
    placing = Placing(2)
    assert placing.choose(1, ()) is None
    assert placing.choose(1, (1,)) == 1


def test_all_that_may_show_one_dpid_meet_in_one_worker():
    placing = Placing(4)
    everyone = (0, 1, 2, 3)
    home = place(placing, SAME, 1, everyone)
    assert place(placing, TWIN, 2, everyone) == home
    assert place(placing, SAME, 3, everyone, native=101) == home
    assert {place(placing, dpid, dpid, everyone) for dpid in (4, 5, 6)} == set(everyone) - {home}


def test_what_is_forgotten_may_go_elsewhere():
    placing = Placing(2)
    home = place(placing, SAME, 1)
    place(placing, SAME, 2, native=101)
    placing.forget((SAME, 0), home, 2)
    assert placing.worker_of(TWIN) == home  # the instance of VLAN 101 is still known
    placing.forget((SAME, 101), home, 2)
    assert placing.worker_of(SAME) is None


def test_a_switch_handed_over_again_is_not_forgotten_by_a_word_from_before():
    placing = Placing(2)
    home = place(placing, 7, 1)
    place(placing, 7, 5)
    placing.forget((7, 0), home, 4)  # sent before hand-over 5 arrived
    assert placing.worker_of(7) == home
    placing.forget((7, 0), 1 - home, 9)  # and nobody forgets for others
    assert placing.worker_of(7) == home
    placing.forget((7, 0), home, 5)
    assert placing.worker_of(7) is None


def test_what_the_journal_knows_has_its_worker_before_it_connects():
    placing = Placing(2)
    placing.put((7, 0), 1)
    assert placing.choose(7, (0, 1)) == 1
    placing.forget((7, 0), 1, 0)
    assert placing.worker_of(7) is None


def test_a_worker_that_is_started_again_knows_what_its_journal_tells():
    placing = Placing(2)
    for dpid in range(1, 7):
        place(placing, dpid, dpid)
    lost = [dpid for dpid in range(1, 7) if placing.worker_of(dpid) == 0]
    placing.begin(0, [(lost[0], 0), (lost[0], 101)])
    assert [placing.worker_of(dpid) for dpid in lost] == [0, None, None]
    assert all(placing.worker_of(dpid) == 1 for dpid in range(1, 7) if dpid not in lost)
