"""Whatever is in the file: settings, or a list of located problems. Never anything else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmoc.config import ConfigError, Settings, load
from vmoc.config.schema import Document, SliceSection
from vmoc.config.show import to_document

KEYS = st.sampled_from(
    sorted(
        {"<<", "wibble", "", "2", "LOCAL"}
        | set(Document.model_fields)
        | set(SliceSection.model_fields)
        | {"listen", "tls", "cert", "key", "ca", "versions", "address", "port", "vlan", "path", "mode", "url", "qinq"}
        | {
            "pcp",
            "buffers",
            "max_flows",
            "handshake",
            "controllers",
            "attachments",
            "dpid",
            "ports",
            "queues",
            "config",
        }
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        [
            "tcp:127.0.0.1:6653",
            "ssl:a:1",
            "0x1",
            "LOCAL",
            "none",
            "builtin",
            "url",
            "127.0.0.1:1",
            ":memory:",
            ".",
            "1.3",
        ]
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)
SEGMENT = st.fixed_dictionaries(
    {"vlan": st.integers(0, 6) | VALUES},
    optional={
        "controllers": st.lists(st.sampled_from(["tcp:a:1", "tcp:localhost:6653", "ssl:a:1", 4]), max_size=3) | VALUES,
        "dpid": st.sampled_from(["vlan", "physical"]) | VALUES,
        "attachments": st.lists(
            st.fixed_dictionaries(
                {"dpid": st.integers(0, 3) | VALUES},
                optional={
                    "ports": st.lists(st.integers(0, 3) | st.just("LOCAL"), max_size=3) | VALUES,
                    "queues": st.dictionaries(st.integers(0, 3) | st.just("LOCAL"), st.lists(st.integers(-1, 3)))
                    | VALUES,
                },
            ),
            max_size=3,
        )
        | VALUES,
    },
)
SLICE = st.fixed_dictionaries(
    {"id": st.sampled_from("abc") | VALUES},
    optional={"segments": st.lists(SEGMENT | VALUES, max_size=4), "limits": VALUES},
)
SECTIONS = st.dictionaries(KEYS, VALUES, max_size=6)
DOCUMENT = VALUES | st.builds(lambda rest, slices: {**rest, "slices": slices}, SECTIONS, st.lists(SLICE, max_size=4))


def read(raw: bytes) -> Settings | None:
    """The settings, or None after checking that every problem is fit to be shown."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vmoc.yaml"
        file.write_bytes(raw)
        try:
            return load(file)
        except ConfigError as error:
            problems = error.problems
    assert problems
    for problem in problems:
        assert problem.file == str(file)
        assert 0 <= problem.line <= len(raw.decode(errors="replace").splitlines()) + 1
        assert problem.column >= (problem.line > 0)
        assert problem.text and problem.text.isprintable() and problem.key.isprintable()
        assert "Input should" not in problem.text, problem  # words of the validation library, not ours
    return None


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENT)
def test_any_structure_is_settings_or_problems(document: object) -> None:
    read(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "replace"))


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_problems(raw: bytes) -> None:
    read(raw)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.builds(
            lambda vlans, labels, limits: {
                "labels": labels,
                "limits": limits,
                "segments": [{"vlan": vlan, **rest} for vlan, rest in vlans.items()],
            },
            st.dictionaries(
                st.integers(1, 4094),
                st.fixed_dictionaries(
                    {"presentation": st.sampled_from(["tagged", "transparent"])},
                    optional={
                        "controllers": st.lists(
                            st.sampled_from(["tcp:a:1", "tcp:10.1.1.1:6640", "tcp:[2001:db8::9]:1"]), unique=True
                        ),
                        "fail_mode": st.sampled_from(["secure", "flush", "standalone"]),
                        "attachments": st.lists(st.integers(0, 9), unique=True, max_size=3).map(
                            lambda dpids: [{"dpid": dpid, "ports": [1, "LOCAL"], "queues": {1: [5]}} for dpid in dpids]
                        ),
                    },
                ),
                max_size=3,
            ),
            st.dictionaries(st.text(max_size=5).filter(lambda key: key != "<<"), st.text(max_size=5), max_size=2),
            st.fixed_dictionaries({}, optional={"max_flows": st.integers(0, 9), "barrier_rate": st.integers(0, 9)}),
        ),
        max_size=4,
    )
)
def test_what_show_prints_means_the_same(slices: list[dict[str, object]]) -> None:
    document = {"limits": {"max_flows": 5}, "slices": [{"id": f"s{n}", **one} for n, one in enumerate(slices)]}
    once = read(yaml.safe_dump(document, allow_unicode=True).encode())
    if once is not None:
        assert read(yaml.safe_dump(to_document(once), allow_unicode=True, sort_keys=False).encode()) == once
