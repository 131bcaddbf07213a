"""Reads account commands as docs/quota.md has them: which fields there are, and what they may hold."""

import json
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from quota_reference import DAY, EPOCH, SHANGHAI, UTC8, WINDOWS, milliseconds

ID_BYTES, NAME_BYTES = 256, 261
WORD = 2**63
LAST_TIME = 10**14
QUANTITY = 1_000
DIGITS = re.compile(r"-?[0-9]+", re.ASCII)
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
RFC_3339 = re.compile(DATE.pattern + r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)


class HeldBackError(Exception):
    """A command that changes nothing; its argument is the code."""


class Twice(dict):
    """A JSON object in which a field stands twice."""


def require(condition: bool, code: str = "bad_command") -> None:
    if not condition:
        raise HeldBackError(code)


def pairs(items: list[tuple[str, object]]) -> dict:
    record = dict(items)
    return record if len(record) == len(items) else Twice(record)


def parse_line(line: str) -> dict:
    """An operation, whose objects remember that a field stands twice in them where it may matter."""
    return json.loads(line, object_pairs_hook=pairs if '"command"' in line else None)


def text(most: int | None) -> Callable[[object], str]:
    def read(value: object) -> str:
        require(isinstance(value, str) and value != "")
        require(most is None or len(value.encode()) <= most)
        return value

    return read


def whole(least: int = -WORD, most: int = WORD - 1) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, str) and DIGITS.fullmatch(value):
            value = int(value)
        require(type(value) is int and least <= value <= most and -WORD <= value < WORD)
        return value

    return read


def time(value: object) -> int:
    """Milliseconds, a moment with an offset, or a day of Asia/Shanghai, which begins at its midnight."""
    if isinstance(value, str):
        require(DATE.fullmatch(value) or RFC_3339.fullmatch(value))
        try:
            if DATE.fullmatch(value):
                value = milliseconds(datetime.fromisoformat(value).replace(tzinfo=timezone.utc)) - UTC8
            else:
                value = milliseconds(datetime.fromisoformat(value))
        except ValueError:
            raise HeldBackError("bad_command") from None
    return whole(-LAST_TIME, LAST_TIME)(value)


def not_zero(value: object) -> int:
    points = whole()(value)
    require(points != 0)
    return points


def truth(value: object) -> bool:
    require(isinstance(value, bool))
    return value


def fields(record: object, **readers: tuple | Callable) -> dict:
    """What the readers make of the fields of a record, which has no others.

    A reader in a tuple is of a field that may be absent, with what it is then.
    """
    require(isinstance(record, dict) and record.keys() <= readers.keys())
    values = {}
    for field, reader in readers.items():
        given = record.get(field)
        if isinstance(reader, tuple):
            reader, default = reader
            values[field] = default if given is None else reader(given)
        else:
            require(given is not None)
            values[field] = reader(given)
    return values


def caps(value: object) -> dict[str, int]:
    require(isinstance(value, list))
    limits: dict[str, int] = {}
    for cap in value:
        read = fields(cap, window=text(None), limit_micro=whole(0))
        require(read["window"] in WINDOWS and read["window"] not in limits)
        limits[read["window"]] = read["limit_micro"]
    return limits


def members(value: object) -> dict[str, dict[str, int]]:
    """The caps of each subscriber; none where they are removed."""
    require(isinstance(value, dict))
    read = text(ID_BYTES)
    return {read(name): {} if member is None else fields(member, caps=caps)["caps"] for name, member in value.items()}


def flags(value: object) -> dict:
    """What is set: only flags that are given. `unknown` says that there are others."""
    require(isinstance(value, dict))
    name = text(NAME_BYTES)
    found: dict = {flag: value[flag] and name(value[flag]) for flag in ("overflow", "region") if flag in value}
    require(all(flag is None or flag for flag in found.values()))
    found["members"] = members(value["members"]) if value.get("members") is not None else {}
    found["unknown"] = not value.keys() <= {"overflow", "region", "members"}
    return found


NAME = text(NAME_BYTES)
COMMANDS = {
    "purchase": {"package": NAME, "quantity": (whole(1, QUANTITY), 1)},
    "top_up": {"bucket": NAME, "points_micro": whole(1), "amount_micro": (whole(0), 0)},
    "transfer": {"from_bucket": NAME, "to_bucket": NAME, "points_micro": whole(1)},
    "cancel": {"bucket": NAME},
    "adjust": {"bucket": NAME, "points_micro": not_zero, "refund": (truth, False), "reason": text(None),
               "approver": text(None)},
    "set_flags": {"flags": flags},
}
EVERY = {"command": text(None), "id": text(ID_BYTES), "account": text(ID_BYTES), "at": time}


def is_strict(value: object) -> bool:
    """Whether nowhere in it a field stands twice or a number has a fraction."""
    if isinstance(value, dict):
        return not isinstance(value, Twice) and all(map(is_strict, value.values()))
    return all(map(is_strict, value)) if isinstance(value, list) else not isinstance(value, float)


def read_command(record: object) -> dict:
    """The command's fields; equal for every way to write the same command."""
    require(isinstance(record, dict) and is_strict(record))
    name = record.get("command")
    require(isinstance(name, str) and name in COMMANDS)
    command = fields(record, **EVERY, **COMMANDS[name])
    require(name != "transfer" or command["from_bucket"] != command["to_bucket"])
    require(name != "adjust" or not command["refund"] or command["points_micro"] < 0)
    require(name != "set_flags" or not command["flags"]["unknown"], "unknown_flag")
    return command


def written(command: dict, chance: random.Random) -> dict:
    """The same command in another way: numbers as texts, times as moments or days, absent fields as null."""
    command = dict(command)
    for field in ("quantity", "points_micro", "amount_micro"):
        if type(command.get(field)) is int and chance.randrange(2):
            command[field] = str(command[field])
    if command.get("command") == "purchase":
        command.setdefault("quantity", chance.choice((1, "1", None)))
    if command.get("command") == "adjust":
        command.setdefault("refund", chance.choice((False, None)))
    at = command["at"]
    if type(at) is int and abs(at) <= LAST_TIME:
        moment = EPOCH + timedelta(milliseconds=at)
        zone = chance.choice((SHANGHAI, timezone.utc, timezone(timedelta(hours=-5, minutes=-30))))
        command["at"] = moment.astimezone(zone).isoformat(timespec="milliseconds")
        if (at + UTC8) % DAY == 0:
            command["at"] = moment.astimezone(SHANGHAI).date().isoformat()
    return dict(chance.sample(list(command.items()), len(command)))
