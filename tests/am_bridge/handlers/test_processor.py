"""Operations from the request to the journal, with a handler the test conducts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from am_bridge.handlers.catalogue import Catalogue, UnsupportedError
from am_bridge.handlers.handler import FailureKind, HandlerResult, Host, SliverState
from am_bridge.handlers.journal import JournalError, SqliteJournal
from am_bridge.handlers.operations import Answered, Operation, OperationState, Request, Sliver
from am_bridge.handlers.processor import ClosedError, ExistsError, MissingError, Processor, StateError
from am_bridge.handlers.queue import BusyError, Limits
from am_bridge.handlers.spec import SliverKey, SpecError
from tests.am_bridge.handlers.scripted import WAIT, Gate, ScriptedHandler, catalogue, document, fail, processor

KEY = SliverKey("alice", "vm1")
READY = HandlerResult(SliverState.READY, instance="i-1")
Make = Callable[..., Processor]


@pytest.fixture
def handler() -> ScriptedHandler:
    return ScriptedHandler()


@pytest.fixture
def make(handler: ScriptedHandler) -> Iterator[Make]:
    made: list[Processor] = []

    def build(**more: Any) -> Processor:
        made.append(processor(handler, **more))
        return made[-1]

    yield build
    for one in made:
        one.close()


def done(one: Processor, operation: Operation) -> Operation:
    ended = one.wait(operation.id, WAIT)
    assert ended.over, ended
    return ended


def test_a_life(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    created = done(one, one.create(document(), request=Request(name="am", id="r1")))
    assert created.state is OperationState.SUCCEEDED and created.requested_by == "am" and created.tasks_done == 1
    assert one.sliver(KEY).state is SliverState.READY and one.sliver(KEY).generation == 1
    done(one, one.modify(document(memory_mib=128)))
    assert one.sliver(KEY).generation == 2 and one.sliver(KEY).spec.memory_mib == 128
    assert done(one, one.probe(KEY)).state is OperationState.SUCCEEDED
    assert done(one, one.action(KEY, "reboot")).state is OperationState.SUCCEEDED
    assert done(one, one.delete(KEY)).state is OperationState.SUCCEEDED
    assert handler.verbs() == ["create", "modify", "probe", "reboot", "delete"]
    assert one.slivers() == []
    assert [each.verb.value for each in one.operations(KEY)] == ["delete", "action", "probe", "modify", "create"]


def test_what_is_refused(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    with pytest.raises(UnsupportedError, match="no handler makes Toaster"):
        one.create(document() | {"resource_type": "Toaster"})
    with pytest.raises(UnsupportedError, match="there is no host h9"):
        one.create(document(host="h9"))
    with pytest.raises(SpecError, match=r"properties\.colour"):
        one.create(document(properties={"colour": "green"}))
    with pytest.raises(MissingError):
        one.delete(KEY)
    done(one, one.create(document()))
    with pytest.raises(ExistsError):
        one.create(document())
    with pytest.raises(UnsupportedError, match="it has reboot"):
        one.action(KEY, "explode")
    with pytest.raises(SpecError, match="host cannot be modified"):
        one.modify(document(host="h2"))
    with pytest.raises(MissingError):
        one.operation("nope")
    assert handler.verbs() == ["create"]


def test_the_refusal_of_a_secret_does_not_repeat_it(make: Make) -> None:
    with pytest.raises(SpecError) as caught:
        make().create(document(properties={"password": 12345678}))
    assert "12345678" not in str(caught.value) and "properties.password" in str(caught.value)


def test_a_failed_create_is_undone_and_gone(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    handler.steps = {"create": [fail("disk on fire")]}
    ended = done(one, one.create(document()))
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None and ended.failure.message == "disk on fire"
    assert handler.verbs() == ["create", "delete"] and one.slivers() == []


def test_leftovers_of_a_failed_undo_are_listed_until_a_delete_succeeds(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    handler.steps = {"create": [fail()], "delete": [fail("stuck", leftovers=("port:p1",))] * 2}
    ended = done(one, one.create(document()))
    assert ended.leftovers == ("port:p1",) and ended.failure is not None and ended.failure.message == "no"
    assert one.sliver(KEY).state is SliverState.FAILED and one.sliver(KEY).leftovers == ("port:p1",)
    with pytest.raises(StateError):
        one.modify(document(memory_mib=1))
    done(one, one.delete(KEY))
    assert one.slivers() == []


def test_a_delete_that_leaves_something_is_tried_again_and_fails(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    done(one, one.create(document()))
    left = HandlerResult(SliverState.ABSENT, leftovers=("netns:x",))
    handler.steps = {"delete": [lambda run: left, lambda run: left]}
    ended = done(one, one.delete(KEY))
    assert ended.state is OperationState.FAILED and ended.leftovers == ("netns:x",) and ended.attempt == 2
    assert one.sliver(KEY).leftovers == ("netns:x",)
    one.forget(KEY)
    assert one.slivers() == []


def test_delete_overtakes_a_running_create(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    gate = Gate(READY)
    handler.steps = {"create": [gate]}
    created = one.create(document())
    assert gate.began.wait(WAIT)
    with pytest.raises(BusyError, match=created.id):
        one.probe(KEY)
    with pytest.raises(BusyError):
        one.create(document())
    with pytest.raises(StateError):
        one.forget(KEY)
    deleted = one.delete(KEY)
    assert one.delete(KEY).id == deleted.id
    assert done(one, deleted).state is OperationState.SUCCEEDED
    assert one.operation(created.id).state is OperationState.CANCELLED
    assert handler.verbs() == ["create", "delete"] and one.slivers() == []


def test_a_cancelled_create_is_undone(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    gate = Gate(READY)
    handler.steps = {"create": [gate]}
    created = one.create(document())
    assert gate.began.wait(WAIT)
    assert one.cancel(created.id).cancel_requested
    ended = done(one, created)
    assert ended.state is OperationState.CANCELLED and ended.failure is not None
    assert ended.failure.kind is FailureKind.STOPPED
    assert handler.verbs() == ["create", "delete"] and one.slivers() == []
    assert one.cancel(created.id) == ended, "cancelling what is over changes nothing"


def test_a_time_limit_ends_a_run(make: Make, handler: ScriptedHandler) -> None:
    one = make(timeouts={"create": 0.05})
    handler.steps = {"create": [Gate(READY)]}
    ended = done(one, one.create(document()))
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None and ended.failure.kind is FailureKind.TIMEOUT
    assert one.slivers() == []


def test_a_failed_modify_is_probed_and_keeps_the_old_specification(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    done(one, one.create(document()))
    handler.steps = {
        "modify": [fail("half way")],
        "probe": [lambda run: HandlerResult(SliverState.DEGRADED, problems=("eth2 is missing",))],
    }
    ended = done(one, one.modify(document(memory_mib=99)))
    assert ended.state is OperationState.FAILED
    sliver = one.sliver(KEY)
    assert sliver.state is SliverState.DEGRADED and sliver.spec.memory_mib == 0 and sliver.generation == 1
    assert sliver.failure is not None and sliver.failure.message == "half way"


def test_a_handler_that_breaks_is_a_failure_not_a_crash(make: Make, handler: ScriptedHandler) -> None:
    one = make()

    def broken(run: Any) -> HandlerResult:
        raise KeyError("oops hunter22")

    handler.steps = {"create": [broken]}
    ended = done(one, one.create(document(properties={"password": "hunter22"})))
    assert ended.failure is not None and ended.failure.kind is FailureKind.CRASHED
    assert "hunter22" not in ended.failure.message and "KeyError" in ended.failure.message


def test_secrets_reach_the_handler_and_nothing_else(make: Make, handler: ScriptedHandler, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path)
    one = make(journal=journal)
    secret = "hunter2\n\"x'"
    handler.steps = {"create": [lambda run: HandlerResult(SliverState.READY, facts={"echo": f"<{secret}>"})]}
    created = done(one, one.create(document(properties={"password": secret, "colour": "red"})))
    assert handler.specs[0].properties["password"] == secret
    events, _ = one.events(created.id)
    assert created.result is not None and created.result.facts == {"echo": "<********>"}
    shown = f"{created} {one.sliver(KEY)} {events}"
    assert "hunter2" not in shown and "red" in shown and "create ********" in shown
    done(one, one.probe(KEY))
    assert handler.specs[-1].properties == {"colour": "red"}
    assert path.stat().st_mode & 0o777 == 0o600
    one.close()
    journal.close()
    assert all(b"hunter2" not in each.read_bytes() for each in tmp_path.iterdir())


def test_workers_bound_what_runs_at_once(make: Make, handler: ScriptedHandler) -> None:
    one = make(workers=2)
    operations = [one.create(document(f"vm{n}")) for n in range(12)]
    assert all(done(one, each).state is OperationState.SUCCEEDED for each in operations)
    assert handler.most <= 2 and len(one.slivers()) == 12


def test_events_are_numbered_and_end(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    created = done(one, one.create(document()))
    events, more = one.events(created.id)
    assert [each.sequence for each in events] == list(range(1, len(events) + 1)) and not more
    assert [each.kind for each in events] == ["queued", "main", "task", "ok", "succeeded"]
    assert one.events(created.id, after=3)[0] == events[3:]
    assert one.events("nope", timeout=60.0) == ([], False), "does not wait for what nobody knows"


# -- another life ------------------------------------------------------------------------------------------------------


def interrupted(path: Path, verb: str, *, deleting: bool = False) -> str:
    """A journal as kill -9 leaves it while that verb runs; the operation's id."""
    handler = ScriptedHandler()
    one = processor(handler, SqliteJournal(path))
    if verb != "create":
        done(one, one.create(document()))
    gate = Gate(READY)
    handler.steps = {verb: [gate]}
    calls: dict[str, Callable[[], Operation]] = {
        "create": lambda: one.create(document()),
        "modify": lambda: one.modify(document(memory_mib=7)),
        "reboot": lambda: one.action(KEY, "reboot"),
        "probe": lambda: one.probe(KEY),
        "delete": lambda: one.delete(KEY),
    }
    operation = calls[verb]()
    assert gate.began.wait(WAIT)
    if deleting:
        one._queue.close()  # so that the delete waits and never begins
        one.delete(KEY)
    one.close()
    return operation.id


@pytest.mark.parametrize(
    ("verb", "calls", "state", "left"),
    [
        ("create", ["delete"], OperationState.ABORTED, None),
        ("modify", ["probe"], OperationState.ABORTED, SliverState.READY),
        ("reboot", ["probe"], OperationState.ABORTED, SliverState.READY),
        ("probe", [], OperationState.ABORTED, SliverState.READY),
        ("delete", ["delete"], OperationState.SUCCEEDED, None),
    ],
)
def test_what_ran_when_the_service_died(
    make: Make,
    handler: ScriptedHandler,
    tmp_path: Path,
    verb: str,
    calls: list[str],
    state: OperationState,
    left: SliverState | None,
) -> None:
    name = interrupted(tmp_path / "j.db", verb)
    one = make(journal=SqliteJournal(tmp_path / "j.db"))
    assert done(one, one.operation(name)).state is state
    assert handler.verbs() == calls
    assert handler.cleaned == [name], "its processes were ended first"
    assert [each.state for each in one.slivers()] == ([] if left is None else [left])


def test_a_delete_that_waited_for_a_create_is_all_that_is_left_to_do(
    make: Make, handler: ScriptedHandler, tmp_path: Path
) -> None:
    name = interrupted(tmp_path / "j.db", "create", deleting=True)
    journal = SqliteJournal(tmp_path / "j.db")
    record = journal.operation(name)
    assert record is not None
    # As if the create had not even ended by then.
    journal.save(replace(record, state=OperationState.RUNNING, end_time=0.0, failure=None), one_of(journal))
    one = make(journal=journal)
    deleted = next(each for each in one.operations(KEY) if each.id != name)
    assert done(one, deleted).state is OperationState.SUCCEEDED
    assert one.operation(name).state is OperationState.ABORTED
    assert handler.verbs() == ["delete"] and one.slivers() == []


def one_of(journal: SqliteJournal) -> Sliver:
    (sliver,) = journal.slivers()
    return sliver


def test_a_create_that_never_began_is_aborted_and_gone(make: Make, handler: ScriptedHandler, tmp_path: Path) -> None:
    other = ScriptedHandler()
    first = processor(other, SqliteJournal(tmp_path / "j.db"))
    first._queue.close()
    name = first.create(document()).id
    first.close()
    one = make(journal=SqliteJournal(tmp_path / "j.db"))
    assert one.operation(name).state is OperationState.ABORTED
    assert handler.verbs() == [] and one.slivers() == []


def test_a_closed_processor_takes_nothing(make: Make) -> None:
    one = make()
    one.close()
    with pytest.raises(ClosedError):
        one.create(document())


# -- a full disk -------------------------------------------------------------------------------------------------------


class FullDisk(SqliteJournal):
    """Refuses to write while ``full``."""

    full = False

    def save(
        self,
        operation: Operation,
        sliver: Sliver | None = None,
        *,
        gone: bool = False,
        answered: Answered | None = None,
    ) -> None:
        if self.full:
            raise JournalError("the journal cannot be written: disk is full")
        super().save(operation, sliver, gone=gone, answered=answered)


def test_nothing_begins_that_cannot_be_written_down(make: Make, handler: ScriptedHandler) -> None:
    journal = FullDisk(":memory:")
    one = make(journal=journal)
    journal.full = True
    with pytest.raises(JournalError):
        one.create(document())
    assert handler.verbs() == [] and one.slivers() == []
    journal.full = False
    assert done(one, one.create(document())).state is OperationState.SUCCEEDED


def test_an_end_that_cannot_be_written_is_written_later(make: Make, handler: ScriptedHandler) -> None:
    journal = FullDisk(":memory:")
    one = make(journal=journal)
    gate = Gate(READY)
    handler.steps = {"create": [gate]}
    created = one.create(document())
    assert gate.began.wait(WAIT)
    journal.full = True
    gate.go.set()
    assert done(one, created).state is OperationState.SUCCEEDED
    assert journal.unfinished()
    journal.full = False
    one.close()
    assert not journal.unfinished() and journal.slivers()[0].state is SliverState.READY


def test_another_catalogue_is_for_what_comes_and_not_for_what_is_under_way(
    make: Make, handler: ScriptedHandler
) -> None:
    one = make(catalogue=catalogue(workers=1, attempts={"create": 1}))
    gate = Gate(READY)
    handler.steps = {"create": [gate]}
    running, waiting = one.create(document("vm1")), one.create(document("vm2"))
    assert gate.began.wait(WAIT)
    old = one.catalogue
    slower = replace(old.handlers["Scripted"], limits=Limits({"default": 99.0}, {}), backend="other")
    with pytest.raises(ValueError, match="nobody provides the back-end other"):
        one.use(replace(old, handlers={"Scripted": slower}))
    assert one.catalogue is old
    slower = replace(slower, backend="scripted", schema={}, actions=frozenset())
    one.use(Catalogue({"Scripted": slower}, {"h3": Host("h3")}, workers=2, queue=2))
    assert done(one, waiting).state is OperationState.SUCCEEDED, "the second worker is there at once"
    gate.go.set()
    assert done(one, running).state is OperationState.SUCCEEDED
    assert handler.runs[0].host.name in old.hosts and handler.runs[1].host.name in old.hosts
    assert {run.time_limit for run in handler.runs} == {30.0}, "both were accepted before"
    done(one, one.create(document("vm3")))
    assert (handler.runs[2].host.name, handler.runs[2].time_limit) == ("h3", 99.0)
    with pytest.raises(UnsupportedError, match="it has none"):
        one.action(SliverKey("alice", "vm3"), "reboot")


def test_a_failed_create_is_undone_with_what_it_began_with(make: Make, handler: ScriptedHandler) -> None:
    one = make()
    gate = Gate(READY)
    handler.steps = {"create": [gate]}
    running = one.create(document("vm1", host="h2"))
    assert gate.began.wait(WAIT)
    one.use(Catalogue({}, {"h9": Host("h9")}))
    one.cancel(running.id)
    assert done(one, running).state is OperationState.CANCELLED
    assert [run.host.name for run in handler.runs] == ["h2", "h2"] and handler.verbs() == ["create", "delete"]
    assert one.slivers() == []


def test_a_journal_knows_whose_it_is_and_handlers_are_told(
    make: Make, handler: ScriptedHandler, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        SqliteJournal(tmp_path / name).close()
    ids = [SqliteJournal(tmp_path / name).installation for name in ("a", "a", "b", "b")]
    assert ids[0] == ids[1] != ids[2] == ids[3] and len(ids[0]) == 16
    one = make(journal=SqliteJournal(tmp_path / "a"))
    done(one, one.create(document()))
    assert handler.runs[0].installation == ids[0]


def test_runs_weigh_what_the_file_says(make: Make, handler: ScriptedHandler) -> None:
    one = make(catalogue=replace(catalogue(), cpu_weight=7))
    done(one, one.create(document()))
    assert handler.runs[0].cpu_weight == 7
