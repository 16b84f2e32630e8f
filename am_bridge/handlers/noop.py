"""A handler that makes nothing: for trying out the rest, and the base of those written in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from am_bridge.handlers.handler import (
    Difference,
    HandlerResult,
    NicStatus,
    Run,
    SliverSpec,
    SliverState,
)


class NoopHandler:
    """Claims that every sliver is as it should be."""

    def create(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """See ``Handler``."""
        return _as_specified(spec)

    def modify(self, run: Run, old: SliverSpec, new: SliverSpec, difference: Difference) -> HandlerResult:
        """See ``Handler``."""
        return _as_specified(new)

    def delete(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """See ``Handler``."""
        return HandlerResult(SliverState.ABSENT)

    def probe(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """See ``Handler``."""
        return _as_specified(spec)

    def action(self, run: Run, spec: SliverSpec, name: str, parameters: Mapping[str, Any]) -> HandlerResult:
        """See ``Handler``."""
        return HandlerResult(SliverState.STOPPED if name == "stop" else SliverState.READY)

    def clean(self, operation: str) -> None:
        """Nothing is ever left running."""


def _as_specified(spec: SliverSpec) -> HandlerResult:
    cards = tuple(NicStatus(nic.name, nic.mac, nic.vlan, addresses=nic.addresses) for nic in spec.interfaces)
    return HandlerResult(SliverState.READY, instance=spec.sliver_id, interfaces=cards)
