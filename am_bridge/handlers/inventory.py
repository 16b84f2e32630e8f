"""What of ours is on a host, against what should be: strays, and slivers that are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from am_bridge.handlers.handler import HandlerError, HandlerResult, Run, SliverState, TakesInventory
from am_bridge.handlers.operations import Sliver
from am_bridge.handlers.queue import Limits
from am_bridge.handlers.spec import SliverKey

HOST_KEY: Final = "*"
"""In place of a slice in the key of an operation on a host; no slice is called so."""
LIMITS: Final = Limits({"default": 300.0}, {})
_THERE: Final = (SliverState.READY, SliverState.STOPPED, SliverState.DEGRADED)


def host_key(host: str) -> SliverKey:
    """The key of an operation on a host."""
    return SliverKey(HOST_KEY, host)


def take(
    run: Run,
    handlers: Sequence[tuple[frozenset[str], TakesInventory]],
    wanted: Sequence[Sliver],
    everywhere: Callable[[], Sequence[Sliver]],
    remove: bool,
) -> HandlerResult:
    """Ask every handler (with the resource types it makes) what is there, and have strays removed if ``remove``.

    ``wanted`` should be on the host, which must get no new ones meanwhile if strays are removed. Who is in
    ``everywhere`` is no stray: two hosts of handlers.yaml may be one machine. A handler that cannot be asked does
    not keep the others from being; then it is raised, as ``HandlerError``, with what they found.
    """
    instances = {one.result.instance for one in everywhere() if one.result is not None} - {""}
    strays: list[str] = []
    removed: list[str] = []
    left: list[str] = []
    missing: list[str] = []
    failures: list[HandlerError] = []
    for types, handler in handlers:
        known = [one.key for one in everywhere()]
        try:
            found = _instances(handler.inventory(run, known, ()))
        except HandlerError as error:
            if run.stop.asked:
                raise
            failures.append(error)
            continue
        extra = sorted(name for name, key in found.items() if key not in known and name not in instances)
        strays += [name for name in extra if name not in strays]
        there = {key for key in found.values() if key is not None}
        for one in wanted:
            made = one.spec.resource_type in types and one.state in _THERE
            instance = "" if one.result is None else one.result.instance
            if made and one.key not in there and instance not in found:
                missing.append(one.key.sliver_id)
        if remove and extra:
            try:
                result = handler.inventory(run, [one.key for one in everywhere()], extra)
            except HandlerError as error:
                if run.stop.asked:
                    raise
                failures.append(error)
                continue
            after = _instances(result)
            removed += [name for name in extra if name not in after]
            left += result.leftovers
    if failures:
        first = failures[0].failure
        lists = (("strays", strays), ("removed", removed), ("missing", missing))
        found_text = "; ".join(f"{what}: {', '.join(names)}" for what, names in lists if names) or "nothing"
        text = f"{len(failures)} of {len(handlers)} handlers failed: {first.message}; the others found {found_text}"
        raise HandlerError(replace(first, message=text), (*left, *failures[0].leftovers))
    facts: dict[str, Any] = {"strays": strays, "missing": missing, "removed": removed}
    return HandlerResult(SliverState.READY, facts=facts, leftovers=tuple(left))


def _instances(result: HandlerResult) -> dict[str, SliverKey | None]:
    """Names of instances, and whose they are as far as the handler knows."""
    found: dict[str, SliverKey | None] = {}
    listed = result.facts.get("instances", [])
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            slice_id, sliver_id = one.get("slice_id"), one.get("sliver_id")
            known = isinstance(slice_id, str) and isinstance(sliver_id, str)
            found[one["name"]] = SliverKey(str(slice_id), str(sliver_id)) if known else None
    return found


def of_host(slivers: Iterable[Sliver], host: str, default: str) -> list[Sliver]:
    """The slivers on a host; those that name none are on the default one."""
    return [one for one in slivers if (one.spec.host or default) == host]
