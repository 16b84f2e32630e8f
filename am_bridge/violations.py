"""What is wrong with a request, collected: the caller learns of every field at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from am_bridge.reasons import FIELD_INVALID, ApiReason
from am_bridge.status import ApiError


@dataclass(slots=True)
class Violations:
    """Field violations in the order they were found. Paths are like ``slice.segments[2].vlan_id``.

    After ``most`` of them only their number is kept, so that a hostile request costs no more than an honest one.
    """

    most: int = 100
    found: list[tuple[str, str]] = field(default_factory=list)
    count: int = 0

    def add(self, path: str, description: str) -> None:
        """Note that the field at ``path`` is wrong; ``description`` says what it must be."""
        self.count += 1
        if len(self.found) < self.most:
            self.found.append((path, description))

    def error(self, reason: ApiReason = FIELD_INVALID) -> ApiError:
        """What to raise for them."""
        path, description = self.found[0]
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        text = f"{path}: {description}{more}"
        return ApiError(reason, text, violations=self.found, violation_count=self.count)

    def check(self) -> None:
        """Raise ``ApiError`` if there is any."""
        if self.count:
            raise self.error()


def violation(path: str, description: str, reason: ApiReason = FIELD_INVALID) -> ApiError:
    """The error for a single wrong field."""
    one = Violations()
    one.add(path, description)
    return one.error(reason)
