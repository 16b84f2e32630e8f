"""VMOC is killed at any moment and started again: controllers are shown what private switches would show them.

What the machines of ``test_mux_flows`` and ``test_mux_groups`` do and check
goes on over kills. A message that was on its way when VMOC died has reached
the switch or it has not, as on any connection that breaks.
"""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.table import FlowError
from tests.property import test_mux_flows, test_mux_groups
from tests.property.test_mux_flows import VLAN, requests
from tests.vmoc.mux.ends import V10, V13, Killed

HOW = st.sampled_from(["before", "after"])


class _Killed:
    """Rules for both machines."""

    journal = True
    book: Any
    switch: Any

    def _restart(self) -> None:
        model = self.switch.model
        self.book.restart()
        self.switch = self.book.switch(model=model)
        self.book.advance(3)
        self.book.clear()

    def _dies_with(self, name: str, message: bytes, how: str) -> None:
        self.book.dies = how
        try:
            self.book.at(name).send(message)
        except Killed:
            pass
        else:
            self.book.dies = None
        self._restart()


class Flows(_Killed, test_mux_flows.SharedSwitch):
    version = V10

    @rule()
    def vmoc_is_killed(self) -> None:
        physical = self._physical()
        self._restart()
        if {2, 3, 5} <= set(self.switch.model.ports):  # else what leads to ports that are away is written anew
            assert self._physical() == physical, "the data plane is not disturbed"

    def _physical(self) -> set[tuple[object, ...]]:
        return {
            (e.table, e.priority, tuple(sorted(e.match.items())), e.cookie, e.actions)
            for e in self.switch.flows()  # without guards: those of ports that are away go
        }

    @rule(data=st.data(), name=st.sampled_from(sorted(VLAN)), how=HOW)
    def vmoc_is_killed_with_a_flow_mod_in_its_hands(self, data: st.DataObject, name: str, how: str) -> None:
        message = data.draw(requests(self.version, name))
        mod = of.parse_flow_mod(Message(message))
        after = copy.deepcopy(self.private[name])
        fine = self._may(name, mod)
        if fine:
            try:
                after.apply(mod)
            except FlowError:
                fine = False
        self._dies_with(name, message, how)
        shown = sorted(map(test_mux_flows.facts, self.book.at(name).flow_stats()))
        before = sorted(map(test_mux_flows.facts, self.private[name].entries))
        # A modify that was written down is brought to the switch after the restart; a delete is written down when
        # the switch has done it, so it may have been done before VMOC died; everything else is lost.
        if shown != before:
            assert fine and (how == "after" or mod.command.startswith("delete"))
            assert shown == sorted(map(test_mux_flows.facts, after.entries))
            self.private[name] = after


class Flows13(Flows):
    version = V13


class Objects(_Killed, test_mux_groups.SharedObjects):
    @rule()
    def vmoc_is_killed(self) -> None:
        physical = self._physical()
        self._restart()
        assert self._physical() == physical, "the data plane is not disturbed"
        self._forget_freed_slots()

    def _physical(self) -> tuple[object, ...]:
        model = self.switch.model
        return dict(model.groups), dict(model.meters), {(e.cookie, e.actions) for e in model.table.entries}

    def _forget_freed_slots(self) -> None:
        """A slot whose groups are proven gone may be another slice's after a restart."""
        held = {physical >> 20 for physical in self.switch.model.groups}
        self.gone = {physical for physical in self.gone if physical >> 20 in held}
        self.owners = {physical: owner for physical, owner in self.owners.items() if physical >> 20 in held}


TestFlows10 = Flows.TestCase
TestFlows10.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestFlows13 = Flows13.TestCase
TestFlows13.settings = TestFlows10.settings
TestObjects = Objects.TestCase
TestObjects.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
