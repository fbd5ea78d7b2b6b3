"""One DynamoDB table, and the few operations of which all else is made.

Every write is a conditional write of one item: a new one (`add`), or one that nobody has written since it was read
(`replace`, by the item's `version`). Each carries a token of its own, so that a write whose reply was lost and which
botocore has sent again is known for done.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from reelmill.errors import DatabaseRefused, DatabaseUnavailable, SettingInvalid, TableUnfit
from reelmill.stores.dynamo.clock import Clock
from reelmill.stores.dynamo.items import NAMES, RENAMED, Item, attribute, from_table
from reelmill.stores.dynamo.items import to_table as as_stored
from reelmill.stores.dynamo.place import Place

DEFINITION = Path(__file__).with_name("table.json")
TRIES = 3  #: of one request, by botocore
BATCH = 100  #: items in one BatchGetItem
FANOUT = 8  #: requests of one call at a time
WAIT_S = 5
BUSY = {
    "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "InternalServerError",
    "ServiceUnavailable", "LimitExceededException", "TransactionInProgressException", "ResourceInUseException",
}  # fmt: skip

Key = tuple[str, str]


class Written(Exception):
    """Somebody has written the item since it was read. repeated: whether botocore has sent the write twice."""

    def __init__(self, repeated: bool = False) -> None:
        super().__init__()
        self.repeated = repeated


@cache
def definition() -> dict[str, Any]:
    """Return what the table must be like; Terraform reads the same file."""
    read: dict[str, Any] = json.loads(DEFINITION.read_text())
    return read


class Table:
    """The operations on one table. Raises DatabaseUnavailable, DatabaseRefused, TableUnfit, by every method."""

    def __init__(self, place: Place, clock: Clock | None = None) -> None:
        self.place = place
        self.clock = clock or Clock()
        self.requests = 0  #: sent so far
        self.retries = 0  #: of them, repeated by botocore
        if place.hash_key in NAMES:
            raise SettingInvalid(f"REELMILL_DATABASE_URL: {place.hash_key!r} can't be the hash key: a field has it.")
        config = Config(
            retries={"mode": "standard", "total_max_attempts": TRIES},
            connect_timeout=WAIT_S,
            read_timeout=2 * WAIT_S,
            max_pool_connections=4 * FANOUT,
            proxies={} if place.endpoint else None,
            parameter_validation=False,  # `items.py` makes them all, and DynamoDB looks again
        )
        try:
            self._client = boto3.session.Session().client(
                "dynamodb", endpoint_url=place.endpoint, region_name=place.region, config=config
            )
        except BotoCoreError as error:
            raise SettingInvalid(f"REELMILL_DATABASE_URL: {error}") from error
        self._pool = ThreadPoolExecutor(FANOUT, thread_name_prefix="dynamodb")

    def close(self) -> None:
        """Give all connections back."""
        self._pool.shutdown()
        self._client.close()

    # ── items ─────────────────────────────────────────────────────────────────────────────────

    def get(self, pk: str, sk: str) -> Item | None:
        """Return an item as it is now."""
        reply = self._call("get_item", Key=self._key(pk, sk), ConsistentRead=True)
        return self._read(reply["Item"]) if "Item" in reply else None

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """Return those items that are there, as they are now, each by its key."""
        wanted = list(dict.fromkeys(keys))
        found: dict[Key, Item] = {}
        for first in range(0, len(wanted), BATCH):
            left = [self._key(*key) for key in wanted[first : first + BATCH]]
            while left:
                asked = {self.place.table: {"Keys": left, "ConsistentRead": True}}
                reply = self._call("batch_get_item", RequestItems=asked)
                for stored in reply["Responses"].get(self.place.table, ()):
                    item = self._read(stored)
                    found[item["pk"], item["sk"]] = item
                left = reply["UnprocessedKeys"].get(self.place.table, {}).get("Keys", [])
        return found

    def add(self, item: Item) -> bool:
        """Write an item if there is none under its key; tell whether this did it."""
        item["version"] = 1
        try:
            self._put(item, "attribute_not_exists(#pk)", {"#pk": self.place.hash_key}, {})
        except Written:
            return False
        return True

    def replace(self, item: Item) -> Item:
        """Write an item anew; return it as it is now. Raises Written when it isn't as it was read."""
        read = item["version"]
        new = Item(item, version=read + 1)
        self._put(new, "#version = :read", {"#version": "version"}, {":read": {"N": str(read)}})
        return new

    def remove(self, pk: str, sk: str, **only_if: Any) -> bool:
        """Delete an item while its fields are these; tell whether it is gone by this."""
        guard: dict[str, Any] = {}
        if only_if:
            guard = {
                "ConditionExpression": " AND ".join(f"#{name} = :{name}" for name in only_if),
                "ExpressionAttributeNames": {f"#{name}": RENAMED.get(name, name) for name in only_if},
                "ExpressionAttributeValues": {f":{name}": attribute(name, v) for name, v in only_if.items()},
            }
        try:
            self._call("delete_item", Key=self._key(pk, sk), **guard)
        except Written:
            return False
        return True

    def _put(self, item: Item, guard: str, names: Mapping[str, str], values: Mapping[str, Any]) -> None:
        token = uuid.uuid4().hex
        item["token"] = token
        more = {"ExpressionAttributeValues": values} if values else {}
        try:
            self._call(
                "put_item",
                Item=as_stored(item, self.place.hash_key),
                ConditionExpression=guard,
                ExpressionAttributeNames=names,
                **more,
            )
        except Written as written:
            if not written.repeated:
                raise
            there = self.get(item["pk"], item["sk"])  # it may be ours: a lost reply lets botocore send twice
            if there is None or there["token"] != token:
                raise

    # ── many items ────────────────────────────────────────────────────────────────────────────

    def query(
        self, pk: str, prefix: str = "", *, after: str = "", before: str = "", forward: bool = True,
        limit: int | None = None,
    ) -> Iterator[Item]:  # fmt: skip
        """Yield the items under `pk` whose sort keys begin with `prefix`, as they are now, in their order.

        after, before: sort keys between which they lie.
        """
        low, high = after or prefix, before or f"{prefix}~"
        asked = {
            "ExpressionAttributeNames": {"#pk": self.place.hash_key, "#sk": definition()["range_key"]},
            "ExpressionAttributeValues": {
                ":pk": {"S": pk},
                ":high": {"S": high},
                **({":low": {"S": low}} if low else {}),
            },
            "ConsistentRead": True,
        }
        where = "#pk = :pk AND " + ("#sk BETWEEN :low AND :high" if low else "#sk <= :high")
        for item in self._pages(where, asked, forward, limit):
            if item["sk"] not in (after, before):
                yield item

    def index(
        self, name: str, value: str, *, before: str | None = None, prefix: str | None = None, forward: bool = True,
        limit: int | None = None, having: Mapping[str, Any] | None = None,
    ) -> Iterator[Item]:  # fmt: skip
        """Yield what an index has under `value`, in its order; it may be some milliseconds behind the items.

        before: only places below this one; or prefix: only places that begin so.
        having: fields that must be so; a field of a map is named by a pair.
        """
        (index,) = (each for each in definition()["indexes"] if each["name"] == name)
        names = {"#value": index["hash_key"]}
        values: dict[str, Any] = {":value": {"S": value}}
        where = "#value = :value"
        if before is not None:
            names["#at"] = index["range_key"]
            values[":before"] = {"S": before}
            where += " AND #at < :before"
        elif prefix is not None:
            names["#at"] = index["range_key"]
            values[":prefix"] = {"S": prefix}
            where += " AND begins_with(#at, :prefix)"
        asked: dict[str, Any] = {"IndexName": name}
        guards = []
        for number, (field, wanted) in enumerate((having or {}).items()):
            path = field if isinstance(field, tuple) else (RENAMED.get(field, field),)
            steps = {f"#f{number}_{depth}": part for depth, part in enumerate(path)}
            names |= steps
            values[f":f{number}"] = attribute(path[0], wanted)
            guards.append(f"{'.'.join(steps)} = :f{number}")
        if guards:
            asked["FilterExpression"] = " AND ".join(guards)
        asked |= {"ExpressionAttributeNames": names, "ExpressionAttributeValues": values}
        yield from self._pages(where, asked, forward, limit)

    def count(self, name: str, value: str, before: str, most: int) -> int:
        """Return how many items an index has under `value`, before a place; `most` at most."""
        (index,) = (each for each in definition()["indexes"] if each["name"] == name)
        asked = {
            "IndexName": name,
            "Select": "COUNT",
            "ExpressionAttributeNames": {"#value": index["hash_key"], "#at": index["range_key"]},
            "ExpressionAttributeValues": {":value": {"S": value}, ":before": {"S": before}},
        }
        found = 0
        for page in self._replies("#value = :value AND #at < :before", asked, True, most):
            found += page["Count"]
            if found >= most:
                break
        return min(found, most)

    def scan(self) -> Iterator[Item]:
        """Yield every item of the table: for a look at all of it, not for work."""
        more: dict[str, Any] = {}
        while True:
            reply = self._call("scan", ConsistentRead=True, **more)
            yield from map(self._read, reply["Items"])
            if "LastEvaluatedKey" not in reply:
                return
            more = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    def _pages(self, where: str, asked: Mapping[str, Any], forward: bool, limit: int | None) -> Iterator[Item]:
        for reply in self._replies(where, asked, forward, limit):
            yield from map(self._read, reply["Items"])

    def _replies(self, where: str, asked: Mapping[str, Any], forward: bool, limit: int | None) -> Iterator[Any]:
        more: dict[str, Any] = {} if limit is None else {"Limit": limit}
        while True:
            reply = self._call("query", KeyConditionExpression=where, ScanIndexForward=forward, **asked, **more)
            yield reply
            if "LastEvaluatedKey" not in reply:
                return
            more["ExclusiveStartKey"] = reply["LastEvaluatedKey"]

    def each(self, act: Any, given: Sequence[Any]) -> list[Any]:
        """Do the same to several items, some at a time; raise what any of them raised, after all have ended."""
        if len(given) < 2:
            return [act(one) for one in given]
        waiting = [self._pool.submit(act, one) for one in given]
        results, first = [], None
        for future in waiting:
            try:
                results.append(future.result())
            except Exception as error:
                first = first or error
        if first is not None:
            raise first
        return results

    # ── the table itself ──────────────────────────────────────────────────────────────────────

    def create(self) -> bool:
        """Make the table as its definition says, and wait until it can be used; tell whether it wasn't there."""
        told = definition()
        hash_key = self.place.hash_key
        keys = [(hash_key, told["range_key"])] + [(i["hash_key"], i["range_key"]) for i in told["indexes"]]
        indexes = [
            {
                "IndexName": index["name"],
                "KeySchema": _schema(index["hash_key"], index["range_key"]),
                "Projection": {
                    "ProjectionType": index["projection"],
                    **({"NonKeyAttributes": index["non_key_attributes"]} if "non_key_attributes" in index else {}),
                },
            }
            for index in told["indexes"]
        ]
        made = True
        try:
            self._client.create_table(
                TableName=self.place.table,
                KeySchema=_schema(hash_key, told["range_key"]),
                AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for pair in keys for n in pair],
                GlobalSecondaryIndexes=indexes,
                BillingMode=told["billing_mode"],
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise self._named(error) from error
            made = False
        except BotoCoreError as error:
            raise self._named(error) from error
        try:
            waiter = self._client.get_waiter("table_exists")
            waiter.wait(TableName=self.place.table, WaiterConfig={"Delay": 0.2, "MaxAttempts": 600})
        except BotoCoreError as error:
            raise self._named(error) from error
        self.check()
        if made and told["point_in_time_recovery"]:
            with suppress(ClientError):  # not every server that speaks DynamoDB has it
                self._client.update_continuous_backups(
                    TableName=self.place.table,
                    PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
                )
        return made

    def check(self) -> None:
        """See that the table is there, with the keys and indexes that are needed. Raises TableUnfit."""
        table = self._call("describe_table")["Table"]
        told = definition()
        there = [key["AttributeName"] for key in table["KeySchema"]]
        wanted = [self.place.hash_key, told["range_key"]]
        if there != wanted:
            raise TableUnfit(f"The table {self.place.table} has the keys {', '.join(there)}; it needs {wanted}.")
        indexes = {index["IndexName"]: index for index in table.get("GlobalSecondaryIndexes", ())}
        for index in told["indexes"]:
            found = indexes.get(index["name"])
            keys = [key["AttributeName"] for key in found["KeySchema"]] if found else None
            if keys != [index["hash_key"], index["range_key"]]:
                raise TableUnfit(f"The table {self.place.table} lacks the index {index['name']}, or it has other keys.")

    # ── parts ─────────────────────────────────────────────────────────────────────────────────

    def _key(self, pk: str, sk: str) -> dict[str, Any]:
        return {self.place.hash_key: {"S": pk}, definition()["range_key"]: {"S": sk}}

    def _read(self, stored: Mapping[str, Any]) -> Item:
        return from_table(stored, self.place.hash_key)

    def _call(self, operation: str, **given: Any) -> Any:
        if operation != "batch_get_item":
            given["TableName"] = self.place.table
        asked = self.clock.ticks()
        self.requests += 1
        try:
            reply = getattr(self._client, operation)(**given)
        except ClientError as error:
            self._hear(error.response, asked)
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise Written(error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0) from error
            raise self._named(error) from error
        except BotoCoreError as error:
            raise self._named(error) from error
        self._hear(reply, asked)
        return reply

    def _hear(self, reply: Mapping[str, Any], asked: float) -> None:
        told = reply.get("ResponseMetadata", {})
        self.retries += told.get("RetryAttempts", 0)
        if "date" in told.get("HTTPHeaders", {}):
            self.clock.hear(told["HTTPHeaders"]["date"], asked)

    def _named(self, error: Exception) -> Exception:
        """Return an outage as DatabaseUnavailable, what the account may not as DatabaseRefused; a defect as it is."""
        if isinstance(error, ClientError):
            code: str = error.response["Error"]["Code"]
            status: int = error.response["ResponseMetadata"].get("HTTPStatusCode", 400)
            if code == "ResourceNotFoundException":
                return TableUnfit(
                    f"There is no table {self.place.table} in this account and region, or it lacks an index."
                )
            if code in BUSY or status >= 500:
                return DatabaseUnavailable(f"DynamoDB doesn't answer: {code}.")
            if code == "ValidationException":
                return RuntimeError(f"DynamoDB doesn't take this request: {error}")
            return DatabaseRefused(f"DynamoDB refused: {code}.")
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return DatabaseRefused("DynamoDB needs credentials: a role, or AWS_ACCESS_KEY_ID with its secret.")
        return DatabaseUnavailable(f"DynamoDB doesn't answer: {type(error).__name__}.")


def _schema(hash_key: str, range_key: str) -> list[dict[str, str]]:
    return [{"AttributeName": hash_key, "KeyType": "HASH"}, {"AttributeName": range_key, "KeyType": "RANGE"}]
