"""The handlers of a catalogue: made when they are needed, by the back-end each entry names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from am_bridge.handlers.ansible import AnsibleHandler
from am_bridge.handlers.catalogue import Catalogue, HandlerConfig
from am_bridge.handlers.handler import Handler, TakesInventory, Verb
from am_bridge.handlers.noop import NoopHandler

Factory = Callable[[HandlerConfig], Handler]


class Backends:
    """See the module; ``more`` are back-ends beside those that are always there."""

    def __init__(self, catalogue: Catalogue, more: Mapping[str, Factory]) -> None:
        """Raises ``ValueError`` for an entry whose back-end nobody provides."""
        self._catalogue = catalogue
        self._factories: dict[str, Factory] = {"noop": lambda config: NoopHandler(), "ansible": AnsibleHandler, **more}
        for config in catalogue.handlers.values():
            if config.backend not in self._factories:
                raise ValueError(f"nobody provides the back-end {config.backend} of {config.resource_type}")

    def make(self, config: HandlerConfig) -> Handler:
        """The handler of an entry."""
        return self._factories[config.backend](config)

    def all(self) -> list[Handler]:
        """One of each entry."""
        return [self.make(config) for config in self._catalogue.handlers.values()]

    def takers(self) -> list[tuple[frozenset[str], TakesInventory]]:
        """Those that know what of them is on a host, each playbook or back-end once, with the types it makes."""
        types: dict[object, set[str]] = {}
        first: dict[object, HandlerConfig] = {}
        for name, config in self._catalogue.handlers.items():
            ansible = config.backend == "ansible"
            what: object = config.playbooks.get(Verb.INVENTORY.value) if ansible else config.backend
            if what is not None:
                types.setdefault(what, set()).add(name.partition("-")[0])
                first.setdefault(what, config)
        made = ((frozenset(types[what]), self.make(config)) for what, config in first.items())
        return [(names, one) for names, one in made if isinstance(one, TakesInventory)]
