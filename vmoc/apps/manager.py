"""Starting and stopping os-ken applications in this process, without os-ken's listener."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Any

from os_ken.base.app_manager import AppManager, OSKenApp
from os_ken.controller import ofp_handler
from os_ken.lib import hub

from vmoc.errors import VmocError

LOG = logging.getLogger(__name__)


class AppError(VmocError):
    """An os-ken application cannot be loaded or started; one sentence says which and why."""


class SilentHandler(ofp_handler.OFPHandler):
    """os-ken's provider of OpenFlow events and of the handshake, minus the listener it would open on start."""

    def start(self) -> None:
        """Start the event loop only; ``OFPHandler.start`` would listen on 6653 and 6633."""
        OSKenApp.start(self)


class Manager(AppManager):
    """os-ken's AppManager with ``handler`` in the place of ``os_ken.controller.ofp_handler``.

    Applications ask for that service by its module's name, and the manager
    answers with a class: here is the one place where both meet. os-ken keeps
    its applications in module globals, so one manager lives at a time.
    """

    def __init__(self, handler: type[SilentHandler] = SilentHandler) -> None:
        super().__init__()
        self._handler = handler
        self._asked: frozenset[str] = frozenset()

    def load_app(self, name: str) -> Any:
        """The application class of module ``name``, None if it is loaded; ``AppError`` when there is none."""
        if name in self.applications_cls:
            return None  # our handler depends on the service it provides: os-ken would load it for ever
        if name == ofp_handler.__name__:
            return self._handler
        try:
            found = super().load_app(name)
        except ImportError as error:
            raise AppError(f"cannot import the os-ken application {name}: {error}") from error
        if found is None and name in self._asked:
            raise AppError(f"{name} has no os-ken application; name a module that defines an OSKenApp")
        return found

    def launch(self, names: Iterable[str], *, threads: str = "os-ken", **arguments: Any) -> None:
        """Load and start the applications; returns when all of them run.

        ``arguments`` reach every constructor. Raises ``AppError``.
        """
        if hub.HUB_TYPE != "native":
            raise AppError("os-ken must run on native threads here; unset OSKEN_HUB_TYPE")
        if AppManager._instance is not None:
            raise AppError("os-ken applications are already running in this process")
        failure: list[Exception] = []

        def run() -> None:
            try:
                self._launch(names, arguments)
            except Exception as error:
                failure.append(error)

        AppManager._instance = self  # what AppManager.get_instance() hands to applications
        # os-ken's threads inherit this one's daemon flag: an application that hangs cannot keep the process alive.
        starter = threading.Thread(target=run, name=f"{threads}-start", daemon=True)
        starter.start()
        starter.join()
        if failure:
            self.shut()
            if isinstance(failure[0], AppError):
                raise failure[0]
            raise AppError(f"an os-ken application did not start: {failure[0]!r}") from failure[0]

    def _launch(self, names: Iterable[str], arguments: dict[str, Any]) -> None:
        names = list(dict.fromkeys(names))
        self._asked = frozenset(names)
        self.load_apps(names)
        contexts = self.create_contexts()
        self.instantiate_apps(**{**contexts, **arguments})

    def shut(self, timeout: float = 5.0) -> bool:
        """Stop every application, waiting at most ``timeout`` seconds; False if one did not stop in time."""
        closer = threading.Thread(target=self._shut, name="os-ken-stop", daemon=True)
        closer.start()
        closer.join(timeout)
        if AppManager._instance is self:
            AppManager._instance = None
        if closer.is_alive():
            LOG.warning("an os-ken application did not stop within %g s", timeout)
            return False
        return True

    def _shut(self) -> None:
        try:
            self.close()
        except Exception as error:
            LOG.warning("an os-ken application failed while stopping: %r", error)
