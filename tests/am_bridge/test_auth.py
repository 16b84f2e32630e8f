"""Who a caller is, and what it may call."""

from __future__ import annotations

import pytest

from am_bridge import reasons
from am_bridge.auth import LOCAL, METHODS, Access, Caller, Callers, Role, RoleRule, authorise
from am_bridge.status import ApiError


def peer(*names: str, common: str = "") -> dict[str, list[bytes]]:
    return {
        "transport_security_type": [b"ssl"],
        "x509_common_name": [common.encode()] if common else [],
        "x509_subject_alternative_name": [name.encode() for name in names],
    }


RULES = [
    RoleRule("root", Role.ADMIN),
    RoleRule("am-?.example.org", Role.AM, "am"),
    RoleRule("urn:am:*", Role.AM, "urns"),
    RoleRule("[a-z]", Role.ADMIN),
    RoleRule("*.example.org", Role.VIEWER),
]


@pytest.mark.parametrize(
    ("who", "caller"),
    [
        (peer(common="root"), Caller("root", Role.ADMIN)),
        (peer("am-1.example.org", common="x"), Caller("am-1.example.org", Role.AM, "am")),
        (peer("urn:am:7"), Caller("urn:am:7", Role.AM, "urns")),
        (peer("am-10.example.org"), Caller("am-10.example.org", Role.VIEWER)),
        (peer("lab.example.org", common="root"), Caller("root", Role.ADMIN)),  # the first rule, not the first name
        (peer("[a-z]"), Caller("[a-z]", Role.ADMIN)),
        (peer("b"), None),
        (peer("Root"), None),
        (peer("root.example.net"), None),
        (peer(), None),
        ({**peer(common="root"), "transport_security_type": [b"insecure"]}, None),
        ({}, None),
    ],
)
def test_certificates_to_roles(who: dict[str, list[bytes]], caller: Caller | None) -> None:
    assert Callers(lambda: RULES).identify(who) == caller


def test_rules_may_change_and_without_certificates_everybody_is_here() -> None:
    rules: list[RoleRule] = []
    callers = Callers(lambda: rules)
    assert callers.identify(peer(common="root")) is None
    rules.append(RULES[0])
    assert callers.identify(peer(common="root")) == Caller("root", Role.ADMIN)
    assert Callers(None).identify({}) is LOCAL


def allowed(method: str, caller: Caller | None) -> str:
    try:
        authorise(method, caller)
    except ApiError as error:
        return error.reason.code
    return "yes"


def test_only_health_is_for_callers_without_a_role() -> None:
    anyone = {method for method in METHODS if allowed(method, None) == "yes"}
    assert anyone == {f"/grpc.health.v1.Health/{name}" for name in ("Check", "List", "Watch")}
    assert allowed("/vmoc.v1.SliceService/GetSlice", None) == reasons.NO_IDENTITY.code


def test_a_viewer_changes_nothing_and_nobody_calls_what_is_not_in_the_table() -> None:
    viewer, am = Caller("v", Role.VIEWER), Caller("a", Role.AM, "am")
    for method, access in METHODS.items():
        assert allowed(method, am) == allowed(method, LOCAL) == "yes"
        assert allowed(method, viewer) == ("ROLE_FORBIDS" if access is Access.WRITE else "yes"), method
    assert allowed("/vmoc.v1.SliceService/Rm", LOCAL) == "ROLE_FORBIDS"


def test_an_am_knows_its_own_only() -> None:
    am = Caller("a", Role.AM, "am")
    assert am.may_know("am") and not am.may_know("") and not am.may_know("else")
    assert LOCAL.may_know("am") and Caller("v", Role.VIEWER).may_know("am")
