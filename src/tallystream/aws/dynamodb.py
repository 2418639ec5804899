"""
The counter table in DynamoDB.

Any answer may be lost, and a request that took effect is then made again: every operation is such that this does no harm (an
update that is repeated finds its own mark). Throttling and failures are retried after pauses that grow and are drawn at
random, and then raised: the batch will be delivered again, which costs time and nothing else.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pybase64 import b64decode

from tallystream.aws.client import DynamoDBError, NoAnswerError
from tallystream.aws.table import Admit, At, Below, Find, Item, Key, Operation, PutAll, Update

ATTEMPTS_MAX = 8
_PAUSE_S = 0.05  # at most, before the second attempt; twice as much before each further one
_PUT_ITEMS_MAX = 25  # DynamoDB's own, for one request
_PUT_BYTES_MAX = 8 * 1024 * 1024  # of its 16 MB
_FIND_KEYS_MAX = 100
_REFUSED = "ConditionalCheckFailedException"
_CANCELLED = "TransactionCanceledException"
_PASSING = {  # errors, and reasons why a transaction was cancelled, that another attempt may not meet
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingError",
    "ThrottlingException",
    "TransactionConflict",
    "TransactionConflictException",
    "TransactionInProgressException",
}


class TableBusyError(Exception):
    """DynamoDB did not do what it was asked, time after time."""


class Client(Protocol):
    """What is used of a client, see client.py."""

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]: ...


class DynamoDBTable:
    """The table of a name. Used by several threads at once."""

    def __init__(self, client: Client, name: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._name = name
        self._sleep = sleep

    def perform(self, operation: Operation) -> Any:
        match operation:
            case Update():
                return self._update(operation)
            case Find(keys):
                return {
                    key
                    for start in range(0, len(keys), _FIND_KEYS_MAX)
                    for key in self._find(keys[start : start + _FIND_KEYS_MAX])
                }
            case Admit(head, item, items_max):
                return self._admit(head, item, items_max)
            case PutAll(items):
                for part in _parts(items):
                    self._put(part)
                return None

    def query(
        self, pk: str, from_sk: str = "", to_sk: str | None = None, *, descending: bool = False, at_once: int | None = None
    ) -> Iterator[Item]:
        """Yield items, strongly consistent. Cost: a read unit for each 4 KB, one request for each MB or `at_once` items."""
        values = {":pk": pk, ":from": from_sk or " "}
        condition = "pk = :pk AND sk >= :from"
        if to_sk is not None:
            # BETWEEN takes both of its ends; a key of to_sk itself is left out below.
            values[":to"] = to_sk
            condition = "pk = :pk AND sk BETWEEN :from AND :to"
        request = {
            "TableName": self._name,
            "ConsistentRead": True,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": encode_item(values),
            "ScanIndexForward": not descending,
        }
        if at_once is not None:
            request["Limit"] = at_once
        while True:
            answer = self._attempt(lambda: self._client.call("Query", request))
            for encoded in answer["Items"]:
                item = decode_item(encoded)
                if item["sk"] != to_sk:
                    yield item
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _update(self, update: Update) -> Item | None:
        request = {"TableName": self._name, **update_request(update)}
        try:
            self._attempt(lambda: self._client.call("UpdateItem", request) or True)
        except DynamoDBError as error:
            if error.code != _REFUSED:
                raise
            return decode_item(error.answer.get("Item", {}))
        return None

    def _find(self, keys: Sequence[Key]) -> Iterator[Key]:
        asked = {"Keys": [encode_item(key._asdict()) for key in keys], "ConsistentRead": True, "ProjectionExpression": "pk, sk"}
        wanted: Mapping[str, Any] = {self._name: asked}
        found: list[Item] = []

        def find() -> bool:
            nonlocal wanted
            answer = self._client.call("BatchGetItem", {"RequestItems": wanted})
            found.extend(map(decode_item, answer["Responses"].get(self._name, ())))
            wanted = answer.get("UnprocessedKeys") or {}
            return not wanted

        self._attempt(find)
        return (Key(**item) for item in found)

    def _put(self, items: Sequence[Item]) -> None:
        unwritten: Mapping[str, Any] = {self._name: [{"PutRequest": {"Item": encode_item(item)}} for item in items]}

        def put() -> bool:
            nonlocal unwritten
            answer = self._client.call("BatchWriteItem", {"RequestItems": unwritten})
            unwritten = answer.get("UnprocessedItems") or {}
            return not unwritten

        self._attempt(put)

    def _admit(self, head: Key, item: Item, items_max: int) -> bool:
        requests = admit_requests(self._name, head, item, items_max)
        try:
            self._attempt(lambda: self._client.call("TransactWriteItems", {"TransactItems": requests}) or True)
        except DynamoDBError as error:
            if error.code != _CANCELLED:
                raise
            of_head, of_item = (reason["Code"] for reason in error.answer["CancellationReasons"])
            if of_item == "ConditionalCheckFailed":  # it is there already
                return True
            if of_head == "ConditionalCheckFailed":
                return False
            raise
        return True

    def _attempt(self, request: Callable[[], Any]) -> Any:
        """
        Make a request until it is done, its answer being something true, or cannot be done.

        Raises:
            DynamoDBError: DynamoDB answered that it will not do it.
            TableBusyError: it did not do it in ATTEMPTS_MAX attempts.
        """
        failure: Exception | None = None
        for attempt in range(ATTEMPTS_MAX):
            if attempt:  # drawn anew each time, so that many who were refused together do not come back together
                self._sleep(random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311
            try:
                if answer := request():
                    return answer
            except NoAnswerError as error:
                failure = error
            except DynamoDBError as error:
                if not _may_pass(error):
                    raise
                failure = error
        raise TableBusyError(
            f"DynamoDB's table {self._name} did not do in {ATTEMPTS_MAX} attempts what it was asked"
            f" ({failure or 'it left part of the request undone'}); the batch will be delivered again, and nothing is counted"
            " twice. If it lasts, see the table's metric ThrottledRequests: raise its limits, or its write shards if one group"
            " has most of the events"
        ) from failure


def _may_pass(error: DynamoDBError) -> bool:
    if error.code == _CANCELLED:
        reasons = {reason["Code"] for reason in error.answer["CancellationReasons"]}
        return "ConditionalCheckFailed" not in reasons and not reasons.isdisjoint(_PASSING)
    return error.code in _PASSING or error.status >= 500


def update_request(update: Update) -> dict[str, Any]:
    """Return an update as DynamoDB takes it. Every attribute has a placeholder: `count` and `ttl` are reserved words."""
    assigned = {name: value for name, value in update.assign.items() if value is not None}
    removed = [name for name in update.assign if name not in assigned]
    begun = [f"#{name} = if_not_exists(#{name}, :{name})" for name in update.begin]
    clauses = [
        ("ADD", [f"#{name} :{name}" for name in update.add]),
        ("SET", [*(f"#{name} = :{name}" for name in assigned), *begun]),
        ("REMOVE", [f"#{name}" for name in removed]),
    ]
    condition, mark = _condition(update.condition)
    values = {f":{name}": value for name, value in {**update.add, **assigned, **update.begin}.items()} | mark
    return {
        "Key": encode_item(update.key._asdict()),
        "UpdateExpression": " ".join(f"{word} {', '.join(parts)}" for word, parts in clauses if parts),
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {f"#{name}": name for name in {"hwm": 0, **update.add, **update.assign, **update.begin}},
        "ExpressionAttributeValues": encode_item(values),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _condition(condition: Below | At) -> tuple[str, dict[str, Any]]:
    match condition:
        case Below(first):
            return "attribute_not_exists(#hwm) OR #hwm < :mark", {":mark": first}
        case At(None):
            return "attribute_not_exists(#hwm)", {}
        case At(mark):
            return "#hwm = :mark", {":mark": mark}


def admit_requests(table: str, head: Key, item: Item, items_max: int) -> list[dict[str, Any]]:
    """Return the two writes of an admission: the count of items at the head, and the item."""
    return [
        {
            "Update": {
                "TableName": table,
                "Key": encode_item(head._asdict()),
                "UpdateExpression": "ADD #entered :one",
                "ConditionExpression": "attribute_not_exists(#entered) OR #entered < :max",
                "ExpressionAttributeNames": {"#entered": "entered"},
                "ExpressionAttributeValues": encode_item({":one": 1, ":max": items_max}),
            }
        },
        {"Put": {"TableName": table, "Item": encode_item(item), "ConditionExpression": "attribute_not_exists(pk)"}},
    ]


def encode_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with their types, as DynamoDB's API has them."""
    return {name: _encode(value) for name, value in item.items()}


def decode_item(encoded: Mapping[str, Any]) -> Item:
    """Return typed attributes as plain values; numbers are whole ones."""
    return {name: _decode(value) for name, value in encoded.items()}


def _encode(value: Any) -> dict[str, Any]:
    match value:
        case str():
            return {"S": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case _:
            return {"M": encode_item(value)}


def _decode(typed: Mapping[str, Any]) -> Any:
    ((kind, value),) = typed.items()
    match kind:
        case "N":
            return int(value)
        case "M":
            return decode_item(value)
        case "B":
            return b64decode(value)
        case _:
            return value


def _parts(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Cut items to what one request takes."""
    part: list[Item] = []
    size = 0
    for item in items:
        item_bytes = 1_024 + len(item.get("data", b""))
        if part and (len(part) == _PUT_ITEMS_MAX or size + item_bytes > _PUT_BYTES_MAX):
            yield part
            part, size = [], 0
        part.append(item)
        size += item_bytes
    if part:
        yield part
