"""Every mistake in a configuration is found at its place, and what is right becomes the model's values."""

from __future__ import annotations

import gc
import os
import textwrap
from pathlib import Path

import pytest

from tests.vmoc.config.mistakes import MISTAKES
from vmoc.config import (
    ConfigError,
    DefaultController,
    Listener,
    Settings,
    load,
)
from vmoc.model import (
    Attachment,
    DpidScheme,
    Endpoint,
    FailMode,
    Limits,
    Policy,
    Presentation,
    Segment,
    Timers,
)

Found = tuple[int, int, str, str]


def write(folder: Path, text: str) -> Path:
    file = folder / "vmoc.yaml"
    file.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return file


def problems(folder: Path, text: str) -> list[Found]:
    """(line, column, key, text) of everything wrong."""
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    return [(one.line, one.column, one.key, one.text) for one in caught.value.problems]


FULL = """
openflow:
  listen:
    - {address: 0.0.0.0, port: 6653}
    - {address: "::1", port: 6634, vlan: 1001}
  versions: [1.3]
grpc: {listen: 127.0.0.1:50052}
metrics: {listen: "[::1]:9311"}
state: {path: ":memory:"}
default_controller: {mode: url, url: tcp:10.0.0.9:6640}
policy: {pcp: reject, foreign_flows: keep, qinq: on, mpls: on, on_restart: flush, port_counters: hidden, max_buckets: 8}
timers: {echo_interval: 2, reconnect_first: 0.5}
limits: {max_flows: 50, stats_rate: 0}
handlers: {config: handlers.yaml}
slices:
  - id: urn:publicid:IDN+example.org+slice+alice
    labels: {owner: alice@example.org}
    limits: {max_flows: 7}
    segments:
      - vlan: 101
        controllers: [tcp:127.0.0.1:6640, "tcp:[2001:db8::1]:6653"]
        presentation: transparent
        dpid: physical
        attachments:
          - {dpid: "0x0000000000000001", ports: [1, LOCAL], queues: {1: [7, 8], local: [0]}}
          - {dpid: 00:00:00:00:00:00:00:02}
          - {dpid: 0000000000000010, ports: []}
        fail_mode: standalone
      - vlan: 102
  - {id: bob}
"""


def test_everything_a_file_can_say(tmp_path: Path) -> None:
    settings = load(write(tmp_path, FULL))
    assert settings.listeners == (Listener(), Listener("::1", 6634, 1001))
    assert settings.versions == {4}
    assert settings.grpc_listen == ("127.0.0.1", 50052)
    assert settings.metrics_listen == ("::1", 9311)
    assert settings.state_path == ":memory:"
    assert settings.default_controller == DefaultController("url", Endpoint("tcp", "10.0.0.9", 6640))
    assert settings.policy == Policy(
        qinq=True,
        mpls=True,
        pcp="reject",
        foreign_flows="keep",
        on_restart="flush",
        port_counters="hidden",
        max_buckets=8,
    )
    assert settings.timers == Timers(echo_interval=2.0, reconnect_first=0.5)
    assert settings.limits == Limits(max_flows=50, stats_rate=0)
    assert settings.handlers == tmp_path / "handlers.yaml"
    alice, bob = settings.slices
    assert alice.id == "urn:publicid:IDN+example.org+slice+alice"
    assert dict(alice.labels) == {"owner": "alice@example.org"}
    assert alice.limits == Limits(max_flows=7, stats_rate=0)  # the file's default for what the slice does not say
    assert alice.segments == (
        Segment(
            101,
            (Endpoint("tcp", "127.0.0.1", 6640), Endpoint("tcp", "2001:db8::1", 6653)),
            Presentation.TRANSPARENT,
            DpidScheme.PHYSICAL,
            (
                Attachment(1, frozenset({1, 0xFFFFFFFE}), {1: frozenset({7, 8}), 0xFFFFFFFE: frozenset({0})}),
                Attachment(2),
                Attachment(0x10, frozenset()),
            ),
            FailMode.STANDALONE,
        ),
        Segment(102),
    )
    assert bob.segments == () and bob.limits == Limits(max_flows=50, stats_rate=0)


def test_no_file_is_all_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert load(None) == Settings(state_path=str(tmp_path / "vmoc" / "vmoc.db"))
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load(None).state_path == str(tmp_path / "home" / ".local" / "share" / "vmoc" / "vmoc.db")


def test_an_empty_mapping_is_the_system_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert load(write(tmp_path, "{}")) == Settings(state_path="/var/lib/vmoc/vmoc.db")
    monkeypatch.setattr("os.geteuid", lambda: 1)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert load(write(tmp_path, "state:")).state_path == str(tmp_path / "vmoc" / "vmoc.db")
    monkeypatch.setattr("os.access", lambda path, mode: path == "/var/lib/vmoc")
    assert load(write(tmp_path, "{}")).state_path == "/var/lib/vmoc/vmoc.db"


def test_keys_without_a_value_count_as_left_out(tmp_path: Path) -> None:
    text = """
        openflow:
          tls:
        policy:
        slices:
          - id: a
            labels:
            segments:
              - vlan: 7
                controllers:
                # - tcp:10.0.0.1:6640
    """
    assert load(write(tmp_path, text)).slices[0].segments == (Segment(7),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("default_controller: none", "none"),
        ("default_controller: builtin", "builtin"),
        ("default_controller:", "builtin"),
    ],
)
def test_default_controller_in_one_word(tmp_path: Path, text: str, expected: str) -> None:
    assert load(write(tmp_path, text)).default_controller == DefaultController(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("off", ["off", "none", "no", "false"])
def test_listening_can_be_switched_off(tmp_path: Path, off: str) -> None:
    settings = load(write(tmp_path, f"grpc: {{listen: {off}}}\nmetrics: {{listen: {off}}}"))
    assert settings.grpc_listen is None and settings.metrics_listen is None


@pytest.mark.parametrize(
    ("text", "versions"), [("[1.0, 1.3]", {1, 4}), ('["1.0"]', {1}), ("[1.3, '1.3']", {4}), ("[1.30]", {4})]
)
def test_versions(tmp_path: Path, text: str, versions: set[int]) -> None:
    assert load(write(tmp_path, f"openflow: {{versions: {text}}}")).versions == versions


def test_file_names_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    write(tmp_path / "etc", "state: {path: vmoc.db}\nhandlers: {config: sub/h.yaml}")
    monkeypatch.chdir(tmp_path)
    settings = load(Path("etc/vmoc.yaml"))
    assert settings.state_path == str(tmp_path / "etc" / "vmoc.db")
    assert settings.handlers == tmp_path / "etc" / "sub" / "h.yaml"


@pytest.mark.parametrize("name", MISTAKES)
def test_one_mistake_one_problem_at_its_place(tmp_path: Path, name: str) -> None:
    text, line, column, key, said = MISTAKES[name]
    (found,) = problems(tmp_path, text)
    assert found[:3] == (line, column, key)
    assert found[3].startswith(said), found[3]
    assert "\n" not in found[3]


def test_all_problems_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
        openflow:
          listen:
            - {address: 0.0.0.0, port: 6653, tls: maybe}
          versions: [1.5]
        polcy: {}
        slices:
          - id: a
            segments:
              - {vlan: 5000}
              - {vlan: 10, controllers: [tcp:10.0.0.1:6640]}
          - id: b
            limits: {max_flows: lots}
            segments:
              - {vlan: 10}
              - {vlan: 11}
          - id: c
            segments:
              - {vlan: 10}
              - {vlan: 12, controllers: [tcp:127.0.0.1:50051]}
    """
    assert [(line, key) for line, _, key, _ in problems(tmp_path, text)] == [
        (3, "openflow.listen[0].tls"),
        (4, "openflow.versions[0]"),
        (5, "polcy"),
        (9, "slices[0].segments[0].vlan"),
        (12, "slices[1].limits.max_flows"),
        (18, "slices[2].segments[0].vlan"),
        (19, "slices[2].segments[1].controllers[0]"),
    ]


def test_names_from_the_file_cannot_break_the_line(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, r'policy: {"a\n\e[31mb": 1}')
    assert found[2] == r"policy.a\n\x1b[31mb"


def test_how_a_problem_reads(tmp_path: Path) -> None:
    file = write(tmp_path, "slices:\n  - id: a\n    segments: [{vlan: 4097}]")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == f"{file}:3:23: slices[0].segments[0].vlan: must be a whole number 1..4094, not 4097"


@pytest.mark.parametrize(
    ("content", "line", "column", "said"),
    [
        (b"", 1, 1, "the file is empty; write {}"),
        (b"# only a comment\n", 1, 1, "the file is empty"),
        (b"null", 1, 1, "the file is empty"),
        (b"- a\n- b\n", 1, 1, "the file must be a mapping of sections, not a list"),
        (b"hello", 1, 1, "the file must be a mapping of sections, not 'hello'"),
        (b"openflow:\n  \xff: 1", 2, 3, "is not UTF-8 text"),
        ("policy: {}\né: \udcff".encode("utf-8", "surrogateescape"), 2, 4, "is not UTF-8 text"),
        (b"a: b: c", 1, 5, "not valid YAML: a second ': ' in one value"),
        (b"openflow:\n\tlisten: []", 2, 1, "not valid YAML: a tab, or"),
        (b"a: [1,\n b", 3, 1, "not valid YAML: did not find expected ',' or ']'"),
        (b"policy: {}\n\xc3\xa9: [\x07]", 2, 5, "not valid YAML: control characters"),
        (b"policy: {}\npolicy: {}", 2, 1, "the key 'policy' is already given at line 1, column 1"),
        (b"a: *nobody", 1, 4, "the alias *nobody has no anchor"),
        (b"{}\n---\n{}", 2, 1, "only one YAML document is read"),
        (b"a: !!python/object:os.system {}", 1, 4, "the tag !!python/object:os.system does not fit here"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, line: int, column: int, said: str) -> None:
    file = tmp_path / "vmoc.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.key) == (line, column, "")
    assert problem.text.startswith(said)
    assert str(problem).startswith(f"{file}:{line}:{column}: {said}")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "vmoc.yaml"
    file.write_bytes(b"\xef\xbb\xbfpolicy: {pcp: x}")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (1, 15)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def said(file: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load(file)
        return str(caught.value)

    assert said(tmp_path / "none.yaml") == f"{tmp_path}/none.yaml: cannot be read: no such file or directory"
    assert said(tmp_path) == f"{tmp_path}: cannot be read: is a directory"
    assert said(tmp_path / ("a" * 300)).endswith("cannot be read: file name too long")
    assert said(Path("/proc/self/mem")).startswith("/proc/self/mem: cannot be read: ")
    assert said(Path("nul\0")).endswith("this is not a file name")


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = write(tmp_path, "{}")
    file.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(ConfigError, match="cannot be read: permission denied"):
            load(file)
    finally:
        os.seteuid(user)


def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmoc.config.reader.MAX_BYTES", 1 << 20)
    with pytest.raises(ConfigError, match="is larger than 1 MiB"):
        load(Path("/dev/zero"))


def test_collecting_garbage_goes_on_after_reading(tmp_path: Path) -> None:
    load(write(tmp_path, "{}"))
    assert gc.isenabled()
    with pytest.raises(ConfigError):
        load(tmp_path)
    assert gc.isenabled()
    gc.disable()
    try:
        load(write(tmp_path, "{}"))
        assert not gc.isenabled()
    finally:
        gc.enable()
