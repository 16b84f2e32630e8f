"""What becomes of operations that were not over when the service died: pure.

* Waiting, never begun: it is aborted, and a sliver that was to be created is no
  more. The caller is told, and asks again; its secrets are not on disk.
* A delete, waiting or running: begins anew. It is idempotent, needs no secrets,
  and nobody wants half of it.
* A create that ran: is undone. A modify or an action that ran: a probe finds
  out what is true. All three end as aborted.
* What a delete of the same sliver waits for is over at once: the delete does
  all that is left to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from am_bridge.handlers.handler import Verb
from am_bridge.handlers.operations import Operation, OperationState
from am_bridge.handlers.queue import Limits, Phase

NO_LIMITS: Final = Limits({"default": 60.0}, {})
"""For operations whose type is no longer in ``handlers.yaml``."""


def resume_at(record: Operation) -> Phase | None:
    """The phase to go on with, None when it is over at once."""
    if record.verb is Verb.DELETE:
        return Phase.MAIN
    if record.state is OperationState.QUEUED or record.verb is Verb.PROBE:
        return None
    return Phase.UNDO if record.verb is Verb.CREATE else Phase.CHECK


def find_covered(records: Iterable[Operation]) -> frozenset[str]:
    """The ids of those that a later delete of their sliver makes superfluous."""
    records = list(records)
    deletes = {record.sliver: record.id for record in records if record.verb is Verb.DELETE}
    return frozenset(one.id for one in records if deletes.get(one.sliver, one.id) != one.id)
