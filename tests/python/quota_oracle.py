"""Charges quota events by docs/quota.md, independently of the program, to compare the answers line by line.

`quota_oracle.py charge < ops.jsonl > out.jsonl` answers each line by the page's protocol;
`quota_oracle.py generate --seed N --steps N > ops.jsonl` makes up a reference and operations (`quota_operations.py`);
`quota_oracle.py compare --ours A --theirs B --ops OPS` shows the first line in which two answers differ.

Everything is an integer: micro-points, pico-currency, milliseconds of UTC. Where the page leaves a choice, a docstring
says which one is taken, after "Reading:".
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import zip_longest

from quota_identity import identity
from quota_reference import DAY, GRACE, HOUR, MONTHS, PICO, SPIKE, WINDOWS, Package, Tariff, Window, thresholds_of
from quota_state import Account, Bucket, Member, Usage

GATEWAYS_KNOW_AFTER = 1_000
SAFE = 2**53  # what a JSON number holds exactly
ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
COMPARED = ("error", "charged", "entries", "alerts")


class HeldBackError(Exception):
    """A command that changes nothing; its argument is the code."""


def text(record: dict, field: str) -> str:
    value = record.get(field)
    if not isinstance(value, str) or not value:
        raise HeldBackError("bad_command")
    return value


def whole(record: dict, field: str, default: int | None = None) -> int:
    value = record.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise HeldBackError("bad_command")
    return value


def require(condition: bool, code: str) -> None:
    if not condition:
        raise HeldBackError(code)


def number(value: int | None) -> int | str | None:
    return value if value is None or -SAFE <= value <= SAFE else str(value)


class Oracle:
    """The state of one partition, and the answer to each line."""

    def __init__(self) -> None:
        self.packages: dict[str, Package] = {}
        self.tariffs: dict[str, Tariff] = {}
        self.account_thresholds: dict[str, list[int]] = {}
        self.watermark = 0
        self.accounts: dict[str, Account] = {}
        self.commands: dict[tuple[str, str], str] = {}
        self.timers: list[tuple[int, str, str, int, int]] = []
        self.seen: Counter[str] = Counter()
        self.entries: list[dict] = []
        self.alerts: list[dict] = []

    def answer(self, operation: dict) -> dict:
        """What the operation brings about, but for the line's number."""
        self.entries, self.alerts = [], []
        error = charged = None
        if "event" in operation:
            charged = self.charge(operation["event"])
        elif "watermark" in operation:
            self.raise_watermark(operation["watermark"])
        elif "command" in operation:
            try:
                self.command(operation["command"])
            except HeldBackError as held_back:
                error = str(held_back)
        else:
            self.read_reference(operation["reference"])
        return {"error": error, "charged": charged, "entries": self.entries, "alerts": self.alerts}

    def read_reference(self, reference: dict) -> None:
        self.packages = {record["id"]: Package(record) for record in reference["packages"]}
        self.tariffs = {record["id"]: Tariff(record) for record in reference["tariffs"]}
        self.account_thresholds = thresholds_of(reference["account_thresholds"])

    def account(self, name: str) -> Account:
        if name not in self.accounts:
            self.accounts[name] = Account(name)
        return self.accounts[name]

    # --- Rows ---

    def entry(self, kind: str, account: Account, points: int, amount: int, currency: str | None, at: int, *,
              bucket: Bucket | None = None, package: str | None = None, cause: str | None = None,
              event: dict | None = None, command: str | None = None) -> None:  # fmt: skip
        """Reading: a row of a command has the command's id as `event_id` and no source; a row of a timer neither."""
        self.entries.append({
            "account": account.id,
            "subscriber": event["subscriber"] if event else None,
            "bucket": bucket.id if bucket else None,
            "package": bucket.package.id if bucket else package,
            "kind": kind,
            "cause": cause,
            "points_micro": number(points),
            "amount_pico": str(amount),
            "currency": currency,
            "balance_after_micro": number(bucket.left) if bucket else None,
            "event_source": event["source"] if event else None,
            "event_id": event["id"] if event else command,
            "at": at,
        })  # fmt: skip

    def alert(self, kind: str, account: Account, threshold: int, period_start: int, counter: str, at: int, *,
              name: str, used: int | str, allowance: int | None, bucket: Bucket | None = None,
              package: str | None = None, event: dict | None = None, command: str | None = None,
              superseded_by: str | None = None, corrects: str | None = None) -> None:  # fmt: skip
        self.alerts.append({
            "id": name,
            "kind": kind,
            "account": account.id,
            "subscriber": event["subscriber"] if event else None,
            "package": bucket.package.id if bucket else package,
            "bucket": bucket.id if bucket else None,
            "period_start": period_start,
            "counter": counter,
            "threshold": number(threshold),
            "used": used if isinstance(used, str) else number(used),
            "allowance": number(allowance),
            "at": at,
            "event_source": event["source"] if event else None,
            "event_id": event["id"] if event else command,
            "superseded_by": superseded_by,
            "corrects": corrects,
        })  # fmt: skip

    # --- Clock ---

    def raise_watermark(self, watermark: int) -> None:
        """Reading: a timer that a command made due in the past fires when the watermark next rises."""
        if watermark <= self.watermark:
            return
        self.watermark = watermark
        while self.timers and self.timers[0][0] <= watermark:
            due, account_id, bucket_id, schedule, days = heappop(self.timers)
            account = self.accounts[account_id]
            bucket = account.buckets.get(bucket_id)
            if bucket is None or bucket.schedule != schedule:
                continue
            if days < 0:
                self.close(account, bucket, due)
            else:
                self.expires_soon(account, bucket, days, due)

    def set_timers(self, account: Account, bucket: Bucket) -> None:
        """Sets the bucket's timers by its present end; earlier ones count no more."""
        bucket.schedule += 1
        heappush(self.timers, (bucket.end + GRACE, account.id, bucket.id, bucket.schedule, -1))
        for days in bucket.package.thresholds.get("expires_soon", ()):
            if ("expires_soon", days) not in bucket.fired:
                heappush(self.timers, (bucket.end - days * DAY, account.id, bucket.id, bucket.schedule, days))

    def arm(self, account: Account, bucket: Bucket) -> None:
        """Arms every threshold of the bucket. One whose due time the watermark has reached by now does not fire."""
        days = bucket.package.thresholds.get("expires_soon", ())
        bucket.fired = {("expires_soon", n): None for n in days if self.watermark >= bucket.end - n * DAY}
        self.set_timers(account, bucket)

    def close(self, account: Account, bucket: Bucket, due: int) -> None:
        """Reading: rows of nothing (no points left, no revenue left) are not written."""
        del account.buckets[bucket.id]
        package = bucket.package
        account.closed[package.id] = max(bucket.end, account.closed.get(package.id, bucket.end))
        left, breakage = bucket.left, bucket.price - bucket.allocated
        bucket.used = bucket.allowance
        if left:
            self.entry("expire", account, -left, 0, package.currency, due, bucket=bucket)
        if breakage:
            self.entry("breakage", account, 0, breakage, package.currency, due, bucket=bucket)

    def expires_soon(self, account: Account, bucket: Bucket, days: int, due: int) -> None:
        bucket.fired["expires_soon", days] = None
        if bucket.left > 0:
            counter = f"expires_soon/{bucket.armed}"
            name = identity(account.id, bucket.id, bucket.valid_from, counter, days)
            self.alert("expires_soon", account, days, bucket.valid_from, counter, due, name=name,
                       used=bucket.used, allowance=bucket.allowance, bucket=bucket)  # fmt: skip

    # --- Commands ---

    def command(self, command: dict) -> None:
        """Reading: a held-back command changes nothing, so its identity is not remembered either."""
        handler = getattr(self, f"command_{text(command, 'command')}", None)
        require(handler is not None, "bad_command")
        key = text(command, "account"), text(command, "id")
        at = whole(command, "at")
        content = json.dumps(command, sort_keys=True)
        known = self.commands.get(key)
        if known is None:
            account = self.accounts.get(key[0]) or Account(key[0])
            handler(account, command, key[1], at)
            self.accounts[account.id] = account
            self.commands[key] = content
        else:
            require(known == content, "conflicting_duplicate")

    def command_purchase(self, account: Account, command: dict, name: str, at: int) -> None:
        """Reading: a purchase of empty buckets gives no points, and leaves an exhausted account exhausted."""
        package_id, quantity = text(command, "package"), whole(command, "quantity", 1)
        require(1 <= quantity <= 1000, "bad_command")
        require(package_id in self.packages, "unknown_package")
        package = self.packages[package_id]
        require(package.is_sold(account.region, at), "package_not_sold")
        for n in range(1, quantity + 1):
            account.bought += 1
            bucket = self.bucket_of(account, package, name if quantity == 1 else f"{name}/{n}", at)
            account.buckets[bucket.id] = bucket
            self.arm(account, bucket)
            self.entry("grant", account, bucket.allowance, bucket.price, package.currency, at,
                       bucket=bucket, command=name)  # fmt: skip
        if package.allowance:
            account.exhausted = None

    def bucket_of(self, account: Account, package: Package, name: str, at: int) -> Bucket:
        """A new bucket, in its place of the queue.

        Reading: in a queue a bucket ends at `valid_to`, and buckets that were closed are forgotten. Where the last
        one was cut short so that its end is no period's beginning, the new bucket begins a chain of its own.
        """
        chain = [b for b in account.buckets.values() if package.queues and b.package is package and b.valid_to > at]
        start, anchor, period = at, at, 0
        if chain:
            last = max(chain, key=lambda bucket: (bucket.valid_to, bucket.number))
            start = anchor = last.valid_to
            if package.unit == "months" and not package.calendar:
                continued = last.begins_period(start)
                if continued is not None:
                    anchor, period = last.anchor, continued
        return Bucket(name, package, account.bought, start, anchor, period)

    def bucket_at(self, account: Account, command: dict, field: str) -> Bucket:
        """Reading: a closed bucket is forgotten, so it is unknown."""
        bucket = account.buckets.get(text(command, field))
        require(bucket is not None, "unknown_bucket")
        return bucket

    def command_top_up(self, account: Account, command: dict, name: str, at: int) -> None:
        points, amount = whole(command, "points_micro"), whole(command, "amount_micro", 0) * PICO
        text(command, "bucket")
        require(points > 0 and amount >= 0, "bad_command")
        bucket = self.bucket_at(account, command, "bucket")
        require(at < bucket.end, "bucket_expired")
        bucket.allowance += points
        bucket.price += amount
        self.arm_again(account, bucket)
        account.exhausted = None
        self.entry("top_up", account, points, amount, bucket.package.currency, at, bucket=bucket, command=name)

    def arm_again(self, account: Account, bucket: Bucket) -> None:
        bucket.armed += 1
        self.arm(account, bucket)

    def command_transfer(self, account: Account, command: dict, name: str, at: int) -> None:
        """Reading: more than what is unused, a bucket to itself and another currency are each a `bad_command`."""
        points = whole(command, "points_micro")
        names = text(command, "from_bucket"), text(command, "to_bucket")
        require(points > 0 and names[0] != names[1], "bad_command")
        giver = self.bucket_at(account, command, "from_bucket")
        taker = self.bucket_at(account, command, "to_bucket")
        require(at < giver.end and at < taker.end, "bucket_expired")
        currency = giver.package.currency
        require(currency == taker.package.currency and points <= giver.left, "bad_command")
        part = giver.price * points // giver.allowance
        giver.allowance -= points
        giver.price -= part
        taker.allowance += points
        taker.price += part
        self.arm_again(account, taker)
        self.entry("transfer_out", account, -points, -part, currency, at, bucket=giver, command=name)
        self.entry("transfer_in", account, points, part, currency, at, bucket=taker, command=name)

    def command_cancel(self, account: Account, command: dict, name: str, at: int) -> None:
        """Reading: its timers follow the new end; an `expires_soon` that is thereby due fires with the next rise."""
        bucket = self.bucket_at(account, command, "bucket")
        if at >= bucket.end:
            return
        if at < bucket.valid_to:
            bucket.valid_to = bucket.end = max(at, bucket.valid_from)
        else:
            bucket.end = at
        self.set_timers(account, bucket)

    def command_adjust(self, account: Account, command: dict, name: str, at: int) -> None:
        """Reading: only `used` moves, `used_rolled` stays; taking points is no charge and alerts nobody."""
        points = whole(command, "points_micro")
        for field in ("bucket", "reason", "approver"):
            text(command, field)
        require(points != 0, "bad_command")
        bucket = self.bucket_at(account, command, "bucket")
        require(0 <= bucket.used - points <= bucket.allowance, "adjust_out_of_range")
        revenue = bucket.use(-points)
        self.entry("adjust", account, points, revenue, bucket.package.currency, at, bucket=bucket, command=name)
        if points > 0:
            account.exhausted = None
            self.correct(account, bucket, name, at)

    def correct(self, account: Account, bucket: Bucket, command: str, at: int) -> None:
        """Corrects each sent alert whose threshold is no longer crossed.

        Reading: the alert's own id is the hash of the identity that it corrects and the command's id.
        """
        for kind, is_crossed in (
            ("percent_used", lambda value: bucket.used * 100 >= bucket.allowance * value),
            ("points_left", lambda value: bucket.left <= value),
        ):
            for value in bucket.package.thresholds.get(kind, ()):
                sent = bucket.fired.get((kind, value))
                if sent and not is_crossed(value):
                    bucket.fired[kind, value] = None
                    self.alert("corrected", account, value, bucket.valid_from, f"{kind}/{bucket.armed}", at,
                               name=identity(sent, command), used=bucket.used, allowance=bucket.allowance,
                               bucket=bucket, command=command, corrects=sent)  # fmt: skip

    def command_set_flags(self, account: Account, command: dict, name: str, at: int) -> None:
        """Reading: flags of one command hold together, so a tariff must fit the region that the command sets."""
        flags = command.get("flags")
        require(isinstance(flags, dict), "bad_command")
        require(flags.keys() <= {"overflow", "region", "members"}, "unknown_flag")
        named = {flag: None if flags[flag] is None else text(flags, flag) for flag in flags if flag != "members"}
        members = flags.get("members", {})
        require(isinstance(members, dict), "bad_command")
        caps = {subscriber: self.member_caps(member) for subscriber, member in members.items()}
        region = named.get("region", account.region)
        tariff_id = named.get("overflow")
        if tariff_id is not None:
            require(tariff_id in self.tariffs, "unknown_tariff")
            require(self.tariffs[tariff_id].region in (None, region), "package_not_sold")
        account.region = region
        if "overflow" in named:
            account.overflow = self.tariffs.get(tariff_id)
        for subscriber, limits in caps.items():
            before = account.members.pop(subscriber, None)
            if limits:
                account.members[subscriber] = Member(limits, before)

    def member_caps(self, member: object) -> dict[str, int] | None:
        if member is None:
            return None
        require(isinstance(member, dict) and isinstance(member.get("caps"), list), "bad_command")
        limits = {}
        for cap in member["caps"]:
            require(isinstance(cap, dict), "bad_command")
            window, limit = text(cap, "window"), whole(cap, "limit_micro")
            require(window in WINDOWS and window not in limits and limit >= 0, "bad_command")
            limits[window] = limit
        return limits

    # --- Charging ---

    def charge(self, event: dict) -> dict:
        """Splits the event's points over buckets, pay as you go and overrun, in this order.

        Reading: the first bucket that takes points says which currency the event's retail amount is in.
        """
        account, t, watermark = self.account(event["account"]), event["completed_at"], self.watermark
        model, billed, product = event["model"], event["billed_model"], event["product"]
        candidates = [
            bucket
            for bucket in account.buckets.values()
            if bucket.valid_from <= t < bucket.end and bucket.package.fits(model, billed, product)
        ]
        candidates.sort(key=lambda bucket: bucket.rank(t))
        table = candidates[0].package.weights if candidates else "default"
        points = left = int(event["points_micro"][table])
        member = account.members.get(event["subscriber"])
        member_room = member.room(t, watermark) if member else left
        currency, retail, taken = None, 0, []
        for bucket in candidates:
            if not left:
                break
            if currency not in (None, bucket.package.currency):
                continue
            part = min(left, member_room, self.room(account, bucket, t))
            if part <= 0:
                continue
            currency = bucket.package.currency
            revenue = self.take(account, bucket, part, t)
            self.entry("debit", account, -part, revenue, currency, t, bucket=bucket, event=event)
            retail += revenue
            left -= part
            member_room -= part
            taken.append((bucket, part))
        self.seen["split 3+" if len(taken) > 2 else f"split {len(taken)}"] += 1
        tariff = account.overflow
        paid = overrun = amount = 0
        if left:
            if account.exhausted is None:
                account.exhausted = t, event["log_time"]
            if tariff and tariff.region in (None, account.region) and currency in (None, tariff.currency):
                paid = min(left, member_room) if member else left
            overrun = left - paid
        if paid:
            amount = self.pay_as_you_go(account, tariff, paid, t)
            self.entry("payg", account, -paid, amount, tariff.currency, t, package=tariff.id, event=event)
            currency, retail, member_room = tariff.currency, retail + amount, member_room - paid
        if member and points > overrun:
            member.add(t, points - overrun, watermark)
        if overrun:
            cost = int(event["wholesale_pico"])
            cost -= cost * (points - overrun) // points
            member_capped = member is not None and member_room == 0
            cause = self.cause(account, event, member_capped)
            self.seen[f"cause {cause}"] += 1
            if member_capped:
                self.seen["member cap"] += 1
            account.overrun.add(t, overrun, watermark)
            self.entry("overrun", account, -overrun, cost, event["wholesale_currency"], t, cause=cause, event=event)
        self.event_alerts(account, event, taken, amount, overrun)
        return {"points_micro": number(points), "retail_pico": str(retail), "retail_currency": currency}

    def room(self, account: Account, bucket: Bucket, t: int) -> int:
        """What the bucket may give at `t` by its allowance, its rolled phase and its package's caps."""
        package, room = bucket.package, bucket.left
        if package.rollover_max is not None and bucket.is_rolled(t):
            room = min(room, package.rollover_max - bucket.used_rolled)
        if package.caps and room > 0:
            for usage, (window, limit) in zip(account.cap_usages(package), package.caps, strict=True):
                free = limit - usage.at(t, self.watermark)
                if free < room:
                    self.seen[f"cap {window.name}"] += 1
                    room = free
        return room

    def take(self, account: Account, bucket: Bucket, points: int, t: int) -> int:
        """Takes points from the bucket, counts them in its package's windows, and returns the revenue allocated."""
        package = bucket.package
        if bucket.is_rolled(t):
            self.seen["rolled phase"] += 1
            bucket.used_rolled += points
        if package.caps:
            for usage in account.cap_usages(package):
                usage.add(t, points, self.watermark)
        if "spike" in package.thresholds:
            account.spikes.setdefault(package.id, Usage(SPIKE)).add(t, points, self.watermark)
        return bucket.use(points)

    def pay_as_you_go(self, account: Account, tariff: Tariff, points: int, t: int) -> int:
        before = account.payg.get(tariff.id, 0)
        account.payg[tariff.id] = before + points
        amount = tariff.price * (before + points) // 10**6 - tariff.price * before // 10**6
        account.spent.setdefault(tariff.currency, Usage(MONTHS)).add(t, amount, self.watermark)
        return amount

    def cause(self, account: Account, event: dict, member_capped: bool) -> str:
        """Reading: a bucket that ends at `started_at` has not ended before it."""
        started = event["started_at"]
        if event["completed_at"] < self.watermark:
            return "late"
        ends = [(bucket.package, bucket.end) for bucket in account.buckets.values()]
        ends += [(self.packages[package], end) for package, end in account.closed.items()]
        kind = event["model"], event["billed_model"], event["product"]
        if member_capped or not any(end >= started and package.fits(*kind) for package, end in ends):
            return "configuration"
        exhausted_at, logged_at = account.exhausted
        if started <= exhausted_at:
            return "in_flight"
        return "lag" if started <= logged_at + GATEWAYS_KNOW_AFTER else "configuration"

    # --- Alerts of an event ---

    def event_alerts(self, account: Account, event: dict, taken: list[tuple[Bucket, int]],
                     amount: int, overrun: int) -> None:  # fmt: skip
        """Reading: first the buckets in the order of the split, then their packages, then the month.

        An account that consented to a tariff has that tariff's thresholds, whether the tariff fits or not. What is
        spent in a month is that of all tariffs of the same currency.
        """
        for bucket, part in taken:
            if bucket.package.thresholds and self.watermark < bucket.end:
                self.bucket_alerts(account, bucket, part, event)
        parts: dict[str, int] = {}
        for bucket, part in taken:
            parts[bucket.package.id] = parts.get(bucket.package.id, 0) + part
        for package_id, part in parts.items():
            self.package_alerts(account, self.packages[package_id], part, event)
        tariff = account.overflow
        thresholds = tariff.thresholds if tariff else self.account_thresholds
        t, subject = event["completed_at"], tariff.id if tariff else None
        if amount:
            spent = account.spent[tariff.currency].at(t, self.watermark)
            crossed = [v for v in thresholds.get("overflow_spent", ()) if spent - amount < v * PICO <= spent]
            self.send_window(account, "overflow_spent", subject, MONTHS, crossed, str(spent), None, event)
        if overrun:
            used = account.overrun.at(t, self.watermark)
            crossed = [v for v in thresholds.get("overrun", ()) if used - overrun < v <= used]
            self.send_window(account, "overrun", subject, MONTHS, crossed, used, None, event)

    def bucket_alerts(self, account: Account, bucket: Bucket, part: int, event: dict) -> None:
        thresholds, allowance, left = bucket.package.thresholds, bucket.allowance, bucket.left
        before, after = (bucket.used - part) * 100, bucket.used * 100
        percents = [v for v in thresholds.get("percent_used", ()) if before < allowance * v <= after]
        lefts = [v for v in thresholds.get("points_left", ()) if left <= v < left + part]
        forecasts = thresholds.get("forecast", ())
        if forecasts:
            forecasts = self.forecasts(forecasts, bucket, part, event["completed_at"])
        for kind, values in (("percent_used", percents), ("points_left", lefts), ("forecast", forecasts)):
            values = [value for value in values if (kind, value) not in bucket.fired]
            if not values:
                continue
            values.sort(reverse=kind != "points_left")
            counter, sent = f"{kind}/{bucket.armed}", None
            for value in values:
                name = identity(account.id, bucket.id, bucket.valid_from, counter, value)
                bucket.fired[kind, value] = None if sent else name
                self.alert(kind, account, value, bucket.valid_from, counter, event["completed_at"], name=name,
                           used=bucket.used, allowance=allowance, bucket=bucket, event=event,
                           superseded_by=sent)  # fmt: skip
                sent = sent or name

    def forecasts(self, hours: list[int], bucket: Bucket, part: int, t: int) -> list[int]:
        """Reading: before and after the charge are compared at the event's own time, first hour included."""
        elapsed, period = t - bucket.valid_from, bucket.valid_to - bucket.valid_from
        if elapsed < HOUR:
            return []

        def is_crossed(used: int, value: int) -> bool:
            lasts = elapsed * bucket.allowance // used if used else period
            return lasts < period and lasts <= elapsed + value * HOUR

        return [v for v in hours if is_crossed(bucket.used, v) and not is_crossed(bucket.used - part, v)]

    def package_alerts(self, account: Account, package: Package, part: int, event: dict) -> None:
        """Reading: each window of a cap is for itself; only thresholds of the same window supersede each other."""
        t, thresholds = event["completed_at"], package.thresholds
        percents = thresholds.get("cap", ())
        if percents and package.caps:
            for usage, (window, limit) in zip(account.cap_usages(package), package.caps, strict=True):
                used = usage.at(t, self.watermark)
                crossed = [v for v in percents if (used - part) * 100 < limit * v <= used * 100]
                self.send_window(account, "cap", package.id, window, crossed, used, limit, event)
        if "spike" in thresholds:
            used = account.spikes[package.id].at(t, self.watermark)
            crossed = [v for v in thresholds["spike"] if used - part < v <= used]
            self.send_window(account, "spike", package.id, SPIKE, crossed, used, None, event)

    def send_window(self, account: Account, kind: str, subject: str | None, window: Window, crossed: list[int],
                    used: int | str, allowance: int | None, event: dict) -> None:  # fmt: skip
        """Sends the highest of the crossed thresholds of a window that is still open, and records the others."""
        t = event["completed_at"]
        if not crossed or not window.is_open(t, self.watermark):
            return
        start, end = window.period(t)
        if len(account.fired) > 100:
            account.fired = {key: until for key, until in account.fired.items() if until > self.watermark}
        counter, sent = f"cap/{window.name}" if kind == "cap" else kind, None
        for value in sorted(crossed, reverse=True):
            key = subject, counter, start, value
            if key in account.fired:
                continue
            account.fired[key] = end
            name = identity(account.id, subject or "", start, counter, value)
            self.alert(kind, account, value, start, counter, t, name=name, used=used, allowance=allowance,
                       package=subject, event=event, superseded_by=sent)  # fmt: skip
            sent = sent or name


# --- Programs ---


def count_answer(seen: Counter[str], answer: dict) -> None:
    """Counts what the answer shows; the oracle counts by itself what it does not show."""
    if answer["error"]:
        seen[f"error {answer['error']}"] += 1
    for entry in answer["entries"]:
        seen[f"entry {entry['kind']}"] += 1
    for alert in answer["alerts"]:
        seen[f"alert {alert['kind']}"] += 1
        if alert["superseded_by"]:
            seen["superseded"] += 1


def print_counts(seen: Counter[str]) -> None:
    for what in sorted(seen):
        print(f"{what:32} {seen[what]}", file=sys.stderr)


def charge(lines: Iterable[str]) -> Iterator[str]:
    oracle = Oracle()
    for n, line in enumerate(lines, 1):
        yield ENCODER.encode({"line": n} | oracle.answer(json.loads(line)))


def first_difference(ours: Iterable[str], theirs: Iterable[str]) -> tuple[int, dict | None, dict | None] | None:
    """The number of the first line in which two answers differ, from 1, and both."""
    for n, lines in enumerate(zip_longest(ours, theirs), 1):
        ours_n, theirs_n = (json.loads(line) if line else None for line in lines)
        if ours_n != theirs_n:
            return n, ours_n, theirs_n
    return None


def compare(arguments: argparse.Namespace) -> int:
    with open(arguments.ours) as ours, open(arguments.theirs) as theirs:
        difference = first_difference(ours, theirs)
    if difference is None:
        print("no difference")
        return 0
    n, ours_n, theirs_n = difference
    print(f"line {n} differs")
    if ours_n and theirs_n:
        print("in:", ", ".join(field for field in ("line", *COMPARED) if ours_n.get(field) != theirs_n.get(field)))
    print("ours:  ", json.dumps(ours_n))
    print("theirs:", json.dumps(theirs_n))
    if arguments.ops:
        with open(arguments.ops) as operations:
            print("operation:", next((line.rstrip() for i, line in enumerate(operations, 1) if i == n), None))
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    programs = parser.add_subparsers(dest="program", required=True)
    programs.add_parser("charge", help="answer each line of the standard input")
    generate = programs.add_parser("generate", help="make up a reference and operations")
    generate.add_argument("--seed", type=int, required=True)
    generate.add_argument("--steps", type=int, required=True)
    generate.add_argument("--stats", action="store_true", help="count what the operations reach, to the standard error")
    comparison = programs.add_parser("compare", help="show the first line in which two answers differ")
    comparison.add_argument("--ours", required=True)
    comparison.add_argument("--theirs", required=True)
    comparison.add_argument("--ops")
    arguments = parser.parse_args()
    if arguments.program == "compare":
        return compare(arguments)
    if arguments.program == "charge":
        sys.stdout.writelines(f"{line}\n" for line in charge(sys.stdin))
        return 0
    from quota_operations import Operations

    operations = Operations(arguments.seed)
    sys.stdout.writelines(f"{ENCODER.encode(operation)}\n" for operation in operations.make(arguments.steps))
    if arguments.stats:
        print_counts(operations.seen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
