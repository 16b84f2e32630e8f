"""The slices: the one place where they change, durably; their expiry, their VLANs, and why a change is refused."""

from vmoc.ledger.book import SliceBook
from vmoc.ledger.entries import Entry, Once, Outcome
from vmoc.ledger.rules import Rules, rules_of
from vmoc.ledger.vlans import VlanUse

__all__ = ["Entry", "Once", "Outcome", "Rules", "SliceBook", "VlanUse", "rules_of"]
