"""What every table does alike: the one in memory, which the simulation counts into, and DynamoDB's, over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest

from tallystream.aws.dynamodb import DynamoDBTable
from tallystream.aws.table import Admit, At, Below, Find, Item, Key, PutAll, Table, Update
from tallystream.testing import MemoryTable

KEY = Key("events#0#1m#[]", "1000000000000000#7")
HEAD = Key("catalogue", "#")


@pytest.fixture(params=["memory", "dynamodb"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "memory":
        return MemoryTable()
    name = request.getfixturevalue("table_name")
    return DynamoDBTable(request.getfixturevalue("connect")(), name)


def update(condition: Below | At, mark: str, count: int = 1, **assign: Any) -> Update:
    return Update(KEY, condition, {"count": count}, {**assign, "hwm": mark})


def row(table: Table) -> Item:
    (item,) = table.query(KEY.pk)
    return item


@pytest.mark.parametrize(
    ("condition", "mark", "holds"),
    [
        (Below("05"), None, True),
        (Below("05"), "04", True),
        (Below("05"), "05", False),
        (Below("05"), "06", False),
        (At(None), None, True),
        (At(None), "05", False),
        (At("05"), None, False),
        (At("05"), "04", False),
        (At("05"), "05", True),
    ],
)
def test_an_update_is_written_if_its_condition_holds(
    table: Table, condition: Below | At, mark: str | None, holds: bool
) -> None:
    if mark is not None:
        assert table.perform(update(At(None), mark, 3, ttl=5)) is None
    before = {"pk": KEY.pk, "sk": KEY.sk, "count": 3, "hwm": mark, "ttl": 5} if mark is not None else {}
    answer = table.perform(update(condition, "09", 4, ttl=6))
    if holds:
        assert answer is None
        assert row(table) == {"pk": KEY.pk, "sk": KEY.sk, "count": 7 if mark else 4, "hwm": "09", "ttl": 6}
    else:
        assert answer == before
        assert list(table.query(KEY.pk)) == ([before] if before else [])


def test_an_update_that_is_repeated_is_answered_with_what_it_wrote(table: Table) -> None:
    assert table.perform(update(Below("05"), "09")) is None
    assert table.perform(update(Below("05"), "09")) == row(table)
    assert row(table)["count"] == 1


def test_attributes_are_assigned_and_removed(table: Table) -> None:
    fields = {"size.width": {"count": 2, "sum": "1000000000000000000.000000000000000001", "min": "-1", "max": "2"}}
    table.perform(Update(KEY, At(None), {}, {"count": 2, "fields": fields, "ttl": 3, "hwm": "1"}))
    assert row(table) == {"pk": KEY.pk, "sk": KEY.sk, "count": 2, "fields": fields, "ttl": 3, "hwm": "1"}
    table.perform(Update(KEY, At("1"), {}, {"ttl": None, "hwm": "2"}))
    assert row(table) == {"pk": KEY.pk, "sk": KEY.sk, "count": 2, "fields": fields, "hwm": "2"}


def test_a_mark_of_129_digits_and_a_large_count_are_kept(table: Table) -> None:
    table.perform(update(At(None), "9" * 129, 10**27))
    assert row(table)["count"] == 10**27
    assert row(table)["hwm"] == "9" * 129


def test_items_are_put_over_what_is_there(table: Table) -> None:
    items = [{"pk": "rejected#7", "sk": f"{number:03d}", "data": bytes(range(256)), "number": number} for number in range(60)]
    table.perform(PutAll(items))
    table.perform(PutAll(items[:1]))
    assert list(table.query("rejected#7")) == items


def test_keys_are_found(table: Table) -> None:
    keys = [Key("p", f"{number:04d}") for number in range(230)]
    table.perform(PutAll([{**key._asdict(), "number": 1} for key in keys[::2]]))
    assert table.perform(Find(keys)) == set(keys[::2])
    assert table.perform(Find([Key("q", "0")])) == set()


def test_a_range_of_a_partition_is_read_in_order_and_without_its_end(table: Table) -> None:
    table.perform(PutAll([{"pk": pk, "sk": sk} for pk in "pq" for sk in ("10#1", "10", "09#1", "11", "11#1", "12")]))
    assert [item["sk"] for item in table.query("p", "10", "11")] == ["10", "10#1"]
    assert [item["sk"] for item in table.query("p", "10#1")] == ["10#1", "11", "11#1", "12"]
    assert [item["sk"] for item in table.query("p")] == ["09#1", "10", "10#1", "11", "11#1", "12"]


def test_as_many_items_are_admitted_as_there_is_room_for(table: Table) -> None:
    def admit(sk: str, items_max: int = 2) -> bool:
        admitted: bool = table.perform(Admit(HEAD, {"pk": HEAD.pk, "sk": sk, "group": f"of {sk}"}, items_max))
        return admitted

    assert [admit("a"), admit("a"), admit("b"), admit("c"), admit("b"), admit("a")] == [True, True, True, False, True, True]
    head, *items = table.query(HEAD.pk)
    assert (head["sk"], head["entered"]) == ("#", 2)
    assert [(item["sk"], item["group"]) for item in items] == [("a", "of a"), ("b", "of b")]


@pytest.mark.parametrize("make", [lambda: Key("p" * 2_049, "s"), lambda: Key("p", "s" * 1_025), lambda: Key("p", "")])
def test_keys_that_dynamodb_does_not_take_are_refused(make: Callable[[], Key]) -> None:
    with pytest.raises(ValueError, match="DynamoDB takes keys"):
        MemoryTable().perform(PutAll([make()._asdict()]))


@pytest.mark.parametrize("data", [b"x" * 409_600, 1.5, None])
def test_items_that_dynamodb_does_not_take_are_refused(data: object) -> None:
    with pytest.raises(ValueError, match="DynamoDB"):
        MemoryTable().perform(PutAll([{"pk": "p", "sk": "s", "data": data}]))
