"""
Alarms and notifications through anything: each transition is stored once, each notification delivered, and rarely twice.

The real counting, evaluating and delivering run over real databases, one step after another as a seed says. Around them every
call of the alarm store may fail or end the process, before it does anything or after it did everything; so may every delivery.
The clock jumps by an hour, events come late, receivers refuse, and others evaluate and deliver at the same time. `make test`
runs some schedules, `make soak N=1000` as many as asked; TALLY_SEED=… runs the same ones again.
"""

import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import pytest

from tallystream.core.alarm import NEW
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import StorageError
from tallystream.engine.alarms import AlarmStep
from tallystream.engine.count import CountStep
from tallystream.engine.notify import DeliveryError, NotifyStep
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.local.data import DataDirectory
from tallystream.ports.alarms import Acknowledgement, AlarmChange, AlarmKey, AlarmStore, HistoryItem, Message
from tallystream.ports.stream import Append

SCHEDULES = int(os.environ.get("TALLY_SOAK_SCHEDULES") or 20)
ACTIONS = 120  # of a schedule
START_MS = 1_795_433_580_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000

DEFINITION = parse_definition("""
name = "alarms"
[stream]
event_time = "t"
shards = 2
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]

[[alarm]]
name = "low"
counter = "events"
window = "1m"
group = { event = "a" }
comparison = "<"
threshold = 3
evaluation_periods = 3
datapoints_to_alarm = 2
treat_missing_data = "breaching"
notify = ["mail", "hook"]

[[alarm]]
name = "high"
counter = "events"
window = "1m"
group = { event = "a" }
comparison = ">"
threshold = 8
treat_missing_data = "notBreaching"
notify = { alarm = ["hook"], ok = ["mail"] }

[[alarm]]
name = "each"
counter = "events"
window = "1m"
group_by = "each"
comparison = ">="
threshold = 6
treat_missing_data = "notBreaching"
notify = ["hook"]

[[alarm]]
name = "trouble"
when = "each and not high"
notify = ["mail"]

[[notify]]
name = "mail"
type = "email"
to = ["support@example.com"]
from = "tally@example.com"
host = "mail.example.com"
group_wait = "10s"

[[notify]]
name = "hook"
type = "webhook"
url = "https://example.com/hook"
group_wait = "0s"
""")


class Crash(BaseException):  # nothing may take it for an error
    """The process ends here."""


class Sent(NamedTuple):
    """A message that a receiver has taken."""

    channel: str
    id: str
    items: list[HistoryItem]


Fault = Literal["crash", "error"]


class Faults:
    """Decides at each place where something may go wrong whether it does."""

    def __init__(self) -> None:
        self.is_on = True
        self.places: list[str] = []  # that were passed
        self.struck: Counter[str] = Counter()

    def choose(self, place: str) -> Fault | None:
        return None

    def pass_by(self, place: str) -> None:
        if not self.is_on:
            return
        self.places.append(place)
        fault = self.choose(place)
        if fault is not None:
            self.struck[fault] += 1
            raise Crash(place) if fault == "crash" else StorageError(f"a fault {place}")


class RandomFaults(Faults):
    def __init__(self, random_: random.Random) -> None:
        super().__init__()
        self._random = random_
        self._rate = random_.choice((0.0, 0.005, 0.03, 0.1))

    def choose(self, place: str) -> Fault | None:
        return self._random.choice(("crash", "error")) if self._random.random() < self._rate else None


class OneFault(Faults):
    """A fault at one place, counted from the start."""

    def __init__(self, number: int, fault: Fault) -> None:
        super().__init__()
        self._number = number
        self._fault = fault

    def choose(self, place: str) -> Fault | None:
        return self._fault if len(self.places) == self._number else None


class FaultyAlarms:
    """An alarm store whose calls fail before they do anything, or after they did everything, and the answer is lost."""

    def __init__(self, store: AlarmStore, faults: Faults, on_call: Callable[[str, tuple[Any, ...], Any], None]) -> None:
        self._store = store
        self._faults = faults
        self._on_call = on_call

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self._faults.pass_by(f"before {name}")
            answer = getattr(self._store, name)(*arguments, **options)
            self._on_call(name, arguments, answer)
            self._faults.pass_by(f"after {name}")
            return answer

        return call


class World:
    """A data directory, the processes that work on it, a clock, and receivers."""

    def __init__(self, directory: Path, faults: Faults, random_: random.Random) -> None:
        self.clock_ms = START_MS
        self.faults = faults
        self.random = random_
        self.sent: list[Sent] = []
        self.excused = 0  # deliveries that may rightly be made again
        self.refused: set[str] = set()  # channels whose receivers take nothing
        self.committed: list[AlarmChange] = []
        self.handed_to_replaced = 0  # messages, of which there must be none
        self.outdated = 0  # commits that were refused, since somebody else evaluated meanwhile
        self.overlaps: Callable[[], bool] = lambda: False
        self._overlapping = False
        self._data = DataDirectory(directory)
        self._data.path.mkdir(exist_ok=True)
        self._data.declare(DEFINITION)
        self._stack = ExitStack()
        self.start()

    def start(self) -> None:
        """Start the processes."""
        self._stack = ExitStack()
        self.stream, self.store = self._data.open(DEFINITION)
        self.alarms = SQLiteAlarmStore(self._data.alarms_path, new_id=lambda: f"{self.random.getrandbits(64):x}")
        for opened in (self.stream, self.store, self.alarms):
            self._stack.callback(opened.close)
        self.counting = CountStep(self.stream, self.store, DEFINITION)
        self.deliveries: list[NotifyStep] = []
        self.replaced: list[NotifyStep] = []  # that do not know that others deliver in their place
        self.take_over()

    def take_over(self) -> None:
        """Open a session, and evaluate and deliver in it."""
        faulty = cast("AlarmStore", FaultyAlarms(self.alarms, self.faults, self._on_call))
        session = self.alarms.open_session(self.clock_ms)
        self.replaced += self.deliveries
        self.evaluation = AlarmStep(DEFINITION, self.store, self.stream, faulty)
        self.deliveries = [
            NotifyStep(faulty, session, channel.name, channel.group_wait_ms, self, lambda: self.clock_ms)
            for channel in DEFINITION.channels
        ]

    def crash(self) -> None:
        """End the processes, and start them again."""
        self.excused += 1
        self.stop()
        self.start()

    def stop(self) -> None:
        self._stack.close()

    # What the processes do.

    @contextmanager
    def surviving(self) -> Iterator[None]:
        """Do as the processes do when something goes wrong: an error is tried again later, a crash is followed by a start."""
        try:
            yield
        except StorageError:
            pass
        except Crash:
            self.crash()

    def append(self, name: str, times_ms: list[int]) -> None:
        lines = [json.dumps({"t": at_ms, "event": name}).encode() for at_ms in times_ms]
        self.stream.append([Append(lines)], self.clock_ms)

    def count(self) -> None:
        while self.counting.step(self.clock_ms):
            pass

    def evaluate(self) -> None:
        with self.surviving():
            self.evaluation.step(self.clock_ms)

    def deliver(self) -> None:
        for number in range(len(DEFINITION.channels)):
            with self.surviving():
                while self.deliveries[number].step():
                    assert len(self.sent) < 10_000, "there is no end to the messages"

    def _on_call(self, name: str, arguments: tuple[Any, ...], answer: Any) -> None:
        if name == "commit":
            if answer:
                self.committed += arguments[0]
            else:
                self.outdated += 1
        elif name == "version" and not self._overlapping and self.overlaps():
            # Somebody else evaluates between what this one read and what it commits.
            self._overlapping = True
            try:
                AlarmStep(DEFINITION, self.store, self.stream, cast("AlarmStore", self._observed())).step(self.clock_ms)
            finally:
                self._overlapping = False

    def _observed(self) -> FaultyAlarms:
        return FaultyAlarms(self.alarms, Faults(), self._on_call)

    # As a receiver of notifications.

    def send(self, message: Message) -> None:
        self.faults.pass_by("before send")
        self.clock_ms += self.random.choice((0, 20, 3_000))
        if message.channel in self.refused:
            if self.random.random() < 0.1:
                raise ValueError("a fault of the sender")
            raise DeliveryError("connection refused")
        for step in self.replaced if self.overlaps() else ():
            with suppress(StorageError):
                self.handed_to_replaced += step.step()
        self.sent.append(Sent(message.channel, message.id, message.items))
        if self.overlaps() and self.random.random() < 0.3:
            # Somebody takes this process for dead, and delivers in its place; then it goes on.
            self.excused += 1
            self.take_over()
            with self.surviving():
                self.deliveries[[channel.name for channel in DEFINITION.channels].index(message.channel)].step()
        elif self.overlaps() and self.random.random() < 0.3:
            self._lose_answer()
        try:
            self.faults.pass_by("after send")
        except StorageError:
            self._lose_answer()

    def _lose_answer(self) -> None:
        self.excused += 1
        raise DeliveryError("timed out while waiting for the answer")

    def settle(self, for_ms: int) -> None:
        """Let all go well until nothing is left to do, which takes longer after failures."""
        self.faults.is_on = False
        self.overlaps = lambda: False
        self.refused = set()
        self.count()
        for _ in range(0, for_ms, 5 * MINUTE_MS):
            self.clock_ms += 5 * MINUTE_MS
            while self.evaluation.step(self.clock_ms):
                pass
            self.deliver()

    def updates(self) -> list[HistoryItem]:
        """Return all transitions, oldest first."""
        return [item for item in reversed(self.alarms.history(limit=10**6)) if item.transition]

    # What must be true when all is settled.

    def check_transitions(self) -> None:
        """Each transition is stored once: those of a key follow from each other, and lead to its state."""
        ends: dict[AlarmKey, HistoryItem] = {}
        for item in self.updates():
            assert item.transition is not None
            before = ends.get(item.key)
            assert item.transition.old_state == (before.transition.new_state if before and before.transition else NEW)
            assert item.transition.new_state != item.transition.old_state
            ends[item.key] = item
        statuses = self.alarms.statuses()
        assert {key: status.transition_id for key, status in statuses.items()} == {key: item.id for key, item in ends.items()}
        for key, status in statuses.items():
            transition = ends[key].transition
            assert transition is not None
            assert (status.state, status.since_ms) == (transition.new_state, ends[key].at_ms)
        stored = Counter((item.key, item.transition) for item in self.updates())
        assert stored == Counter((change.key, change.transition) for change in self.committed if change.transition)

    def check_states(self) -> None:
        """All that happened on the way has left no trace: whoever evaluates for the first time now finds the same states."""
        with tempfile.TemporaryDirectory(dir=self._data.path) as directory:
            alarms = SQLiteAlarmStore(Path(directory) / "alarms.db")
            first = AlarmStep(DEFINITION, self.store, self.stream, alarms)
            while first.step(self.clock_ms):
                pass
            expected = {key: status.state for key, status in alarms.statuses().items()}
            alarms.close()
        assert {key: status.state for key, status in self.alarms.statuses().items()} == expected

    def check_deliveries(self, *, was_muted: bool = False) -> None:
        """Each notification came at least once, always in the same message, and twice only for a reason."""
        expected = self.announced()
        if not was_muted:
            assert expected == self.to_be_announced()
        messages: dict[tuple[str, int], str] = {}
        contents: dict[str, list[HistoryItem]] = {}
        for sent in self.sent:
            assert contents.setdefault(sent.id, sent.items) == sent.items
            for item in sent.items:
                assert messages.setdefault((sent.channel, item.id), sent.id) == sent.id
        assert set(messages) == expected
        assert self.handed_to_replaced == 0
        assert len(self.sent) - len(contents) <= self.excused
        assert self.alarms.undelivered(self.clock_ms) == []
        told = Counter(item.key.alarm for item in self.alarms.history(limit=10**6) if item.kind == "Action")
        assert told.total() == len(messages)

    def announced(self) -> set[tuple[str, int]]:
        """Return (channel, transition) of all that was committed to be announced."""
        found = set()
        newest: dict[AlarmKey, int] = {}
        ids: dict[AlarmKey, Iterator[int]] = {}
        for item in self.updates():
            ids[item.key] = iter([each.id for each in self.updates() if each.key == item.key])
        for change in self.committed:
            if change.transition is not None:
                newest[change.key] = next(ids[change.key])
            found |= {(channel, newest[change.key]) for channel in change.channels}
        return found

    def to_be_announced(self) -> set[tuple[str, int]]:
        """Return (channel, transition) of all that the definition wants to be told of, as long as nothing is muted."""
        actions = {alarm.name: alarm.actions for alarm in DEFINITION.alarms}
        seen: set[AlarmKey] = set()
        found = set()
        for item in self.updates():
            assert item.transition is not None
            is_first_ok = item.key not in seen and item.transition.new_state == "OK"
            seen.add(item.key)
            if not is_first_ok:
                found |= {(channel, item.id) for channel in actions[item.key.alarm].of(item.transition.new_state)}
        return found


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory, in memory where there is such a thing: thousands of commits wait for no disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="tallystream-", dir=shared if os.access(shared, os.W_OK) else None) as path:
        yield Path(path)


def test_nothing_is_lost_or_doubled_whatever_happens(memory: Path) -> None:
    seed = int(os.environ.get("TALLY_SEED") or random.randrange(10**9))
    happened: Counter[str] = Counter()
    for number in range(SCHEDULES):
        print(f"TALLY_SEED={seed + number}")
        happened += run_schedule(memory / str(number), seed + number)
    print(dict(happened))
    for what in ("crash", "error", "outdated", "transitions", "messages", "again", "mutes"):
        assert happened[what] > 0 or SCHEDULES < 20, f"{what} never happened in {SCHEDULES} schedules: {happened}"


def run_schedule(directory: Path, seed: int) -> Counter[str]:
    """Run a schedule, check what must be true, and return how often what happened."""
    random_ = random.Random(seed)
    world = World(directory, RandomFaults(random_), random_)
    world.overlaps = lambda: random_.random() < overlap_rate
    overlap_rate = random_.choice((0.0, 0.2))
    with_mutes = random_.random() < 0.4
    traffic = {"a": 0, "b": 0, "c": 0}
    mutes = 0
    for _ in range(ACTIONS):
        world.clock_ms += random_.choice((200, 5_000, 20_000))
        match random_.randrange(24):
            case 0:
                world.clock_ms += random_.choice((-HOUR_MS, HOUR_MS))
            case 1 | 2 | 3:
                traffic[random_.choice("aabc")] = random_.choice((0, 1, 4, 9))
            case 4:
                world.refused ^= {random_.choice(("mail", "hook"))}
            case 5 if with_mutes:
                world.alarms.add_mute(random_.choice(([], ["low"], ["each"])), world.clock_ms, world.clock_ms + 300_000, "", "")
                mutes += 1
            case 6:
                keys = [key for key, status in world.alarms.statuses().items() if status.state == "ALARM"]
                if keys:
                    assert world.alarms.acknowledge(random_.choice(keys), Acknowledgement(world.clock_ms, "ada", ""))
            case 7:
                world.crash()
        for name, events in traffic.items():
            late_ms = random_.choice((0, 0, 0, 30_000, 10 * MINUTE_MS))
            world.append(name, [world.clock_ms - late_ms] * random_.randint(0, events))
        if random_.random() < 0.7:
            world.count()
        for _ in range(random_.choice((0, 1, 1, 2))):
            world.evaluate()
        if random_.random() < 0.6:
            world.deliver()
    world.settle(80 * MINUTE_MS)
    world.check_transitions()
    world.check_states()
    world.check_deliveries(was_muted=with_mutes)
    world.stop()
    delivered = Counter(sent.id for sent in world.sent)
    return world.faults.struck + Counter(
        outdated=world.outdated,
        transitions=len(world.committed),
        messages=len(delivered),
        again=delivered.total() - len(delivered),
        mutes=mutes,
    )


@pytest.mark.parametrize("fault", ["crash", "error"])
def test_one_fault_at_any_place_changes_nothing(memory: Path, fault: Fault) -> None:
    undisturbed = run_story(memory / "undisturbed", Faults())
    assert len(undisturbed.updates()) >= 6
    for number, place in enumerate(undisturbed.faults.places, 1):
        world = run_story(memory / str(number), OneFault(number, fault))
        assert world.faults.struck == {fault: 1}, place
        assert [item[1:] for item in world.updates()] == [item[1:] for item in undisturbed.updates()], place
        duplicates = len(world.sent) - len({sent.id for sent in world.sent})
        # An error of the disk after a delivery is no reason to deliver again: the process knows that it did.
        excuses = ("after send", "before mark_sent") if fault == "crash" else ("after send",)
        assert duplicates == (place in excuses), place
        world.stop()
    undisturbed.stop()


def run_story(directory: Path, faults: Faults) -> World:
    """Let traffic rise and end, and every step be made twice, so that a disturbed one is made again at the same time."""
    world = World(directory, faults, random.Random(0))
    for minute in range(5):
        world.append("a", [world.clock_ms] * (10 if minute in (1, 2) else 0))
        world.count()
        for _ in range(2):
            world.evaluate()
        world.clock_ms += 30_000
        for _ in range(2):
            world.deliver()
        world.clock_ms = START_MS + (minute + 1) * MINUTE_MS
    world.settle(10 * MINUTE_MS)
    world.check_transitions()
    world.check_deliveries()
    return world
