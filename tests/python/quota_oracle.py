"""Charges quota events by docs/quota.md, independently of the program, to compare the answers line by line.

`quota_oracle.py charge < ops.jsonl > out.jsonl` answers each line by the page's protocol;
`quota_oracle.py generate --seed N --steps N > ops.jsonl` makes up a reference and operations (`quota_operations.py`);
`quota_oracle.py compare --ours A --theirs B --ops OPS` shows the first line in which two answers differ.

Everything is an integer: micro-points, pico-currency, milliseconds of UTC.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import zip_longest

from quota_commands import LAST_TIME, HeldBackError, parse_line, read_command, require
from quota_identity import identity
from quota_reference import DAY, GRACE, HOUR, MONTHS, PICO, SPIKE, Package, Tariff, Versions, Window
from quota_reference import packages_of, thresholds_of
from quota_state import Account, Bucket, Member, Usage

GATEWAYS_KNOW_AFTER = 1_000
SAFE = 2**53  # what a JSON number holds exactly
ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
NO_WATERMARK = -(10**13)  # before all times that there are
MOST_POINTS, MOST_KEPT, MOST_PRODUCT = 2**96, 2**120, 2**127 - 1
COMPARED = ("error", "charged", "entries", "alerts")


def number(value: int | None) -> int | str | None:
    return value if value is None or -SAFE <= value <= SAFE else str(value)


class Oracle:
    """The state of one partition, and the answer to each line."""

    def __init__(self) -> None:
        self.packages: Versions[Package] = packages_of([])
        self.tariffs: Versions[Tariff] = Versions([], Tariff)
        self.account_thresholds: dict[str, list[int]] = {}
        self.watermark = NO_WATERMARK
        self.accounts: dict[str, Account] = {}
        self.commands: dict[tuple[str, str], dict] = {}
        self.timers: list[tuple[int, str, str, int, int]] = []
        self.seen: Counter[str] = Counter()
        self.entries: list[dict] = []
        self.alerts: list[dict] = []

    def answer(self, operation: dict) -> dict:
        """What the operation brings about, but for the line's number."""
        self.entries, self.alerts = [], []
        error = charged = None
        if "event" in operation:
            try:
                charged = self.charge(operation["event"])
            except HeldBackError as refused:
                error = str(refused)
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
        self.packages = packages_of(reference["packages"])
        self.tariffs = Versions(reference["tariffs"], Tariff)
        self.account_thresholds = thresholds_of(reference["account_thresholds"])

    def account(self, name: str) -> Account:
        if name not in self.accounts:
            self.accounts[name] = Account(name)
        return self.accounts[name]

    # --- Rows ---

    def entry(self, kind: str, account: Account, points: int, amount: int, currency: str | None, at: int, *,
              bucket: Bucket | None = None, package: str | None = None, cause: str | None = None,
              event: dict | None = None, command: str | None = None) -> None:  # fmt: skip
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
            "event_id": event["id"] if event else None,
            "command_id": command,
            "at": at,
        })  # fmt: skip

    def alert(self, kind: str, account: Account, threshold: int, period_start: int, counter: str, at: int, *,
              name: str, used: int, allowance: int | None, bucket: Bucket | None = None,
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
            "used": number(used),
            "allowance": number(allowance),
            "at": at,
            "event_source": event["source"] if event else None,
            "event_id": event["id"] if event else None,
            "command_id": command,
            "superseded_by": superseded_by,
            "corrects": corrects,
        })  # fmt: skip

    # --- Clock ---

    def raise_watermark(self, watermark: int) -> None:
        if watermark > self.watermark:
            self.watermark = watermark
            self.fire_timers()

    def fire_timers(self) -> None:
        """Fires what is due, in the order of due time, account, bucket."""
        while self.timers and self.timers[0][0] <= self.watermark:
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
        """Arms every threshold of the bucket."""
        bucket.fired = {}
        self.pass_due(bucket)
        self.set_timers(account, bucket)

    def pass_due(self, bucket: Bucket) -> None:
        """An `expires_soon` whose due time the watermark has reached by now does not fire."""
        for days in bucket.package.thresholds.get("expires_soon", ()):
            if self.watermark >= bucket.end - days * DAY:
                bucket.fired.setdefault(("expires_soon", days), None)

    def close(self, account: Account, bucket: Bucket, due: int) -> None:
        """Writes off what is left, be it nothing, and what of the price was not earned. The bucket is forgotten."""
        del account.buckets[bucket.id]
        package = bucket.package
        left, breakage = bucket.left, bucket.price - bucket.allocated
        bucket.used = bucket.allowance
        self.entry("expire", account, -left, 0, package.currency, due, bucket=bucket)
        if breakage:
            self.entry("breakage", account, 0, breakage, package.currency, due, bucket=bucket)

    def expires_soon(self, account: Account, bucket: Bucket, days: int, due: int) -> None:
        bucket.fired["expires_soon", days] = None
        if bucket.left > 0:
            counter = f"expires_soon:{bucket.armed}"
            name = identity(account.id, bucket.id, bucket.valid_from, counter, days)
            self.alert("expires_soon", account, days, bucket.valid_from, counter, due, name=name,
                       used=bucket.used, allowance=bucket.allowance, bucket=bucket)  # fmt: skip

    # --- Commands ---

    def command(self, record: dict) -> None:
        """A held-back command changes nothing, so its identity is not remembered either."""
        command = read_command(record)
        key = command["account"], command["id"]
        known = self.commands.get(key)
        if known is None:
            account = self.accounts.get(key[0]) or Account(key[0])
            handler = getattr(self, f"command_{command['command']}")
            handler(account, command, command["id"], command["at"])
            self.accounts[account.id] = account
            self.commands[key] = command
        else:
            require(known == command, "conflicting_duplicate")

    def command_purchase(self, account: Account, command: dict, name: str, at: int) -> None:
        package_id, quantity = command["package"], command["quantity"]
        names = [name] if quantity == 1 else [f"{name}/{n}" for n in range(1, quantity + 1)]
        require(not any(each in account.buckets for each in names), "conflicting_duplicate")
        require(package_id in self.packages, "unknown_package")
        package = self.packages.at(package_id, at)
        require(package is not None and package.is_sold(account.region, at), "package_not_sold")
        bought, queue = [], [b for b in account.buckets.values() if package.queues and b.package.id == package_id]
        for each in names:
            bucket = self.bucket_of(queue, package, each, account.bought + len(bought) + 1, at)
            bought.append(bucket)
            if package.queues:
                queue.append(bucket)
        account.exhausted = None
        account.bought += quantity
        for bucket in bought:
            account.buckets[bucket.id] = bucket
            self.arm(account, bucket)
            self.entry("grant", account, bucket.allowance, bucket.price, package.currency, at,
                       bucket=bucket, command=name)  # fmt: skip
        self.accounts[account.id] = account
        self.fire_timers()

    def bucket_of(self, queue: list[Bucket], package: Package, name: str, number: int, at: int) -> Bucket:
        """A new bucket, behind the last of the queue."""
        ends = [bucket.valid_to for bucket in queue if bucket.valid_to > at]
        start = anchor = max(ends, default=at)
        period = 0
        if ends:
            for last in queue:
                if last.valid_to == last.regular_end == start and last.package.term == package.term:
                    anchor, period = last.anchor, last.period + 1
        try:
            bucket = Bucket(name, package, number, start, anchor, period)
            after = package.period_end(bucket.valid_to, anchor, period + 2)
        except (ValueError, OverflowError):  # beyond the years that Python knows
            raise HeldBackError("amount_overflow") from None
        require(after <= LAST_TIME, "amount_overflow")
        return bucket

    def bucket_at(self, account: Account, command: dict, field: str) -> Bucket:
        """A closed bucket is forgotten, so it is unknown."""
        bucket = account.buckets.get(command[field])
        require(bucket is not None, "unknown_bucket")
        return bucket

    def countable(self, allowance: int, price: int) -> None:
        require(price * max(allowance, 100) <= MOST_PRODUCT, "amount_overflow")

    def command_top_up(self, account: Account, command: dict, name: str, at: int) -> None:
        points, amount = command["points_micro"], command["amount_micro"] * PICO
        bucket = self.bucket_at(account, command, "bucket")
        require(at < bucket.end, "bucket_expired")
        self.countable(bucket.allowance + points, bucket.price + amount)
        bucket.change(points, amount)
        self.arm_again(account, bucket)
        account.exhausted = None
        self.entry("top_up", account, points, amount, bucket.package.currency, at, bucket=bucket, command=name)

    def arm_again(self, account: Account, bucket: Bucket) -> None:
        bucket.armed += 1
        self.arm(account, bucket)

    def command_transfer(self, account: Account, command: dict, name: str, at: int) -> None:
        points = command["points_micro"]
        giver = self.bucket_at(account, command, "from_bucket")
        taker = self.bucket_at(account, command, "to_bucket")
        require(at < giver.end and at < taker.end, "bucket_expired")
        currency = giver.package.currency
        require(currency == taker.package.currency, "currency_mismatch")
        require(points <= giver.left, "transfer_out_of_range")
        part = min(giver.price * points // giver.allowance, giver.price - giver.allocated)
        self.countable(taker.allowance + points, taker.price + part)
        giver.change(-points, -part)
        taker.change(points, part)
        self.arm_again(account, taker)
        account.exhausted = None
        self.entry("transfer_out", account, -points, -part, currency, at, bucket=giver, command=name)
        self.entry("transfer_in", account, points, part, currency, at, bucket=taker, command=name)

    def command_cancel(self, account: Account, command: dict, name: str, at: int) -> None:
        bucket = self.bucket_at(account, command, "bucket")
        if at >= bucket.end:
            return
        if at < bucket.valid_to:
            bucket.valid_to = bucket.end = max(at, bucket.valid_from)
        else:
            bucket.end = at
        self.pass_due(bucket)
        self.set_timers(account, bucket)
        self.fire_timers()

    def command_adjust(self, account: Account, command: dict, name: str, at: int) -> None:
        points = command["points_micro"]
        bucket = self.bucket_at(account, command, "bucket")
        require(0 <= bucket.used - points <= bucket.allowance, "adjust_out_of_range")
        if command["refund"]:
            money = bucket.price - bucket.allocation(bucket.allowance + points)
            bucket.change(points, -money)
            self.entry("refund", account, points, -money, bucket.package.currency, at, bucket=bucket, command=name)
            return
        revenue = bucket.use(-points)
        if points > 0 and at >= bucket.valid_to:
            bucket.used_rolled = max(bucket.used_rolled - points, 0)
        bucket.used_rolled = min(bucket.used_rolled, bucket.used)
        self.entry("adjust", account, points, revenue, bucket.package.currency, at, bucket=bucket, command=name)
        if points > 0:
            account.exhausted = None
            self.correct(account, bucket, name, at)
        else:
            self.bucket_alerts(account, bucket, -points, at, command=name)

    def correct(self, account: Account, bucket: Bucket, command: str, at: int) -> None:
        """Corrects each sent alert whose threshold is no longer crossed."""
        for kind, is_crossed in (
            ("percent_used", lambda value: bucket.used * 100 >= bucket.allowance * value),
            ("points_left", lambda value: bucket.left <= value),
        ):
            for value in bucket.package.thresholds.get(kind, ()):
                sent = bucket.fired.get((kind, value))
                if sent and not is_crossed(value):
                    bucket.fired[kind, value] = None
                    self.alert("corrected", account, value, bucket.valid_from, f"{kind}:{bucket.armed}", at,
                               name=identity(sent, command), used=bucket.used, allowance=bucket.allowance,
                               bucket=bucket, command=command, corrects=sent)  # fmt: skip

    def command_set_flags(self, account: Account, command: dict, name: str, at: int) -> None:
        """Flags of one command hold together, so a tariff must fit the region that the command sets."""
        flags = command["flags"]
        region, tariff_id = flags.get("region", account.region), flags.get("overflow")
        if tariff_id is not None:
            tariff = self.tariffs.at(tariff_id, at)
            require(tariff is not None, "unknown_tariff")
            require(tariff.region in (None, region), "package_not_sold")
        account.region = region
        if "overflow" in flags:
            account.overflow = tariff_id
        for subscriber, limits in flags["members"].items():
            before = account.members.pop(subscriber, None)
            if limits:
                account.members[subscriber] = Member(limits, before)

    # --- Charging ---

    def charge(self, event: dict) -> dict:
        """Splits the event's points over buckets, pay as you go and overrun, in this order."""
        account, t, watermark = self.account(event["account"]), event["completed_at"], self.watermark
        model, billed, product = event["model"], event["billed_model"], event["product"]
        candidates = [
            bucket
            for bucket in account.buckets.values()
            if bucket.valid_from <= t < bucket.end and bucket.package.fits(model, billed, product)
        ]
        candidates.sort(key=lambda bucket: bucket.rank(t))
        table = candidates[0].package.weights if candidates else "default"
        require(table in event["points_micro"], "unknown_weights")
        points = left = int(event["points_micro"][table])
        require(0 <= points <= MOST_POINTS, "amount_overflow")
        member = account.members.get(event["subscriber"])
        member_room = member.room(t, watermark) if member else left
        currency, shares, given = None, [], Counter()
        for bucket in candidates:
            package = bucket.package
            if currency not in (None, package.currency):
                continue
            part = min(left, member_room, self.room(account, bucket, t, given[package.id]))
            if part <= 0:
                continue
            currency = package.currency
            shares.append((bucket, part))
            given[package.id] += part
            left -= part
            member_room -= part
        self.seen["split 3+" if len(shares) > 2 else f"split {len(shares)}"] += 1
        tariff = self.tariffs.at(account.overflow, t)
        paid = amount = 0
        if left and tariff and tariff.region in (None, account.region) and currency in (None, tariff.currency):
            paid = min(left, member_room) if member else left
            amount = self.price_of(account, tariff, paid)
            if paid:
                currency = tariff.currency
            member_room -= paid
        overrun = left - paid
        self.check_sums(account, t, amount, overrun, tariff)
        member_capped = member is not None and overrun > 0 and member_room == 0
        if left:
            if account.exhausted is None and candidates and not member_capped:
                account.exhausted = t, event["log_time"]
        elif points:
            account.exhausted = None
        retail = amount
        for bucket, part in shares:
            revenue = self.take(account, bucket, part, t)
            self.entry("debit", account, -part, revenue, bucket.package.currency, t, bucket=bucket, event=event)
            retail += revenue
        if paid:
            account.payg[tariff.id] = account.payg.get(tariff.id, 0) + paid
            account.spent.setdefault(tariff.currency, Usage(MONTHS)).add(t, amount, watermark)
            self.entry("payg", account, -paid, amount, tariff.currency, t, package=tariff.id, event=event)
        if member and points > overrun:
            member.add(t, points - overrun, watermark)
        if overrun:
            cost = int(event["wholesale_pico"])
            cost -= cost * (points - overrun) // points
            cause = self.cause(account, event, member_capped)
            self.seen[f"cause {cause}"] += 1
            if member_capped:
                self.seen["member cap"] += 1
            account.overrun.add(t, overrun, watermark)
            package = candidates[0].package.id if candidates else None
            self.entry("overrun", account, -overrun, cost, event["wholesale_currency"], t, cause=cause,
                       package=package, event=event)  # fmt: skip
        self.event_alerts(account, event, shares, amount, overrun)
        return {"points_micro": number(points), "retail_pico": str(retail), "retail_currency": currency}

    def room(self, account: Account, bucket: Bucket, t: int, given: int) -> int:
        """What the bucket may give at `t` by its allowance, its rolled phase and its package's caps.

        `given` is what the package's other buckets give to the same event.
        """
        package, room = bucket.package, bucket.left
        if package.rollover_max is not None and bucket.is_rolled(t):
            room = min(room, package.rollover_max - bucket.used_rolled)
        if package.caps and room > 0:
            usages = account.cap_usages(package)
            for window, limit in package.caps:
                free = limit - usages[window.name].at(t, self.watermark) - given
                if free < room:
                    self.seen[f"cap {window.name}"] += 1
                    room = free
        return room

    def price_of(self, account: Account, tariff: Tariff, points: int) -> int:
        """What so many points more cost at a tariff."""
        before = account.payg.get(tariff.id, 0)
        after = before + points
        require(after <= MOST_KEPT and tariff.price * after <= MOST_PRODUCT, "amount_overflow")
        return tariff.price * after // 10**6 - tariff.price * before // 10**6

    def check_sums(self, account: Account, t: int, amount: int, overrun: int, tariff: Tariff | None) -> None:
        """Refuses an event that would make a sum of the account too large."""
        if amount and tariff.currency in account.spent:
            require(account.spent[tariff.currency].at(t, self.watermark) + amount <= MOST_KEPT, "amount_overflow")
        require(amount <= MOST_KEPT, "amount_overflow")
        if overrun:
            require(account.overrun.at(t, self.watermark) + overrun <= MOST_KEPT, "amount_overflow")

    def take(self, account: Account, bucket: Bucket, points: int, t: int) -> int:
        """Takes points from the bucket, counts them in its package's windows, and returns the revenue allocated."""
        package = bucket.package
        if bucket.is_rolled(t):
            self.seen["rolled phase"] += 1
            bucket.used_rolled += points
        if package.counted:
            for usage in account.cap_usages(package).values():
                usage.add(t, points, self.watermark)
        if package.watched:
            account.spikes.setdefault(package.id, Usage(SPIKE)).add(t, points, self.watermark)
        return bucket.use(points)

    def cause(self, account: Account, event: dict, member_capped: bool) -> str:
        started = event["started_at"]
        if event["completed_at"] < self.watermark:
            return "late"
        kind = event["model"], event["billed_model"], event["product"]
        was_there = any(bucket.end > started and bucket.package.fits(*kind) for bucket in account.buckets.values())
        if member_capped or not was_there or account.exhausted is None:
            return "configuration"
        exhausted_at, logged_at = account.exhausted
        if started <= exhausted_at:
            return "in_flight"
        return "lag" if started <= logged_at + GATEWAYS_KNOW_AFTER else "configuration"

    # --- Alerts of an event ---

    def event_alerts(self, account: Account, event: dict, taken: list[tuple[Bucket, int]],
                     amount: int, overrun: int) -> None:  # fmt: skip
        """First the buckets in the order of the split, then their packages, then the month.

        An account that consented to a tariff has that tariff's thresholds, whether the tariff fits or not. What is
        spent in a month is that of all tariffs of the same currency.
        """
        for bucket, part in taken:
            self.bucket_alerts(account, bucket, part, event["completed_at"], event=event)
        parts, versions = Counter(), {}
        for bucket, part in taken:
            parts[bucket.package.id] += part
            versions.setdefault(bucket.package.id, bucket.package)
        for package_id, package in versions.items():
            self.package_alerts(account, package, parts[package_id], event)
        t = event["completed_at"]
        tariff = self.tariffs.at(account.overflow, t)
        thresholds, subject = (tariff.thresholds, tariff.id) if tariff else (self.account_thresholds, None)
        if amount:
            spent = account.spent[tariff.currency].at(t, self.watermark)
            crossed = [v for v in thresholds.get("overflow_spent", ()) if spent - amount < v * PICO <= spent]
            self.send_window(account, "overflow_spent", subject, MONTHS, crossed, spent // PICO, None, event)
        if overrun:
            used = account.overrun.at(t, self.watermark)
            crossed = [v for v in thresholds.get("overrun", ()) if used - overrun < v <= used]
            self.send_window(account, "overrun", subject, MONTHS, crossed, used, None, event)

    def bucket_alerts(self, account: Account, bucket: Bucket, part: int, t: int, *, event: dict | None = None,
                      command: str | None = None) -> None:  # fmt: skip
        """Alerts of what using `part` more has crossed, while the bucket's period is open."""
        if not bucket.package.thresholds or self.watermark >= bucket.end:
            return
        thresholds, allowance, left = bucket.package.thresholds, bucket.allowance, bucket.left
        before, after = (bucket.used - part) * 100, bucket.used * 100
        percents = [v for v in thresholds.get("percent_used", ()) if before < allowance * v <= after]
        lefts = [v for v in thresholds.get("points_left", ()) if left <= v < left + part]
        forecasts = thresholds.get("forecast", ())
        if forecasts:
            forecasts = self.forecasts(forecasts, bucket, t)
        for kind, values in (("percent_used", percents), ("points_left", lefts), ("forecast", forecasts)):
            values = [value for value in values if (kind, value) not in bucket.fired]
            if not values:
                continue
            values.sort(reverse=kind == "percent_used")
            counter, sent = f"{kind}:{bucket.armed}", None
            for value in values:
                name = identity(account.id, bucket.id, bucket.valid_from, counter, value)
                bucket.fired[kind, value] = None if sent else name
                self.alert(kind, account, value, bucket.valid_from, counter, t, name=name, used=bucket.used,
                           allowance=allowance, bucket=bucket, event=event, command=command,
                           superseded_by=sent)  # fmt: skip
                sent = sent or name

    def forecasts(self, hours: list[int], bucket: Bucket, t: int) -> list[int]:
        """The values at which the bucket will be used up before its period ends."""
        elapsed, period = t - bucket.valid_from, bucket.valid_to - bucket.valid_from
        if elapsed < HOUR or not bucket.used:
            return []
        lasts = elapsed * bucket.allowance // bucket.used
        return [v for v in hours if lasts < period and lasts <= elapsed + v * HOUR]

    def package_alerts(self, account: Account, package: Package, part: int, event: dict) -> None:
        """Each window of a cap is for itself; only thresholds of the same window supersede each other."""
        t, thresholds = event["completed_at"], package.thresholds
        percents = thresholds.get("cap", ())
        if percents and package.caps:
            usages = account.cap_usages(package)
            for window, limit in package.caps:
                used = usages[window.name].at(t, self.watermark)
                crossed = [v for v in percents if (used - part) * 100 < limit * v <= used * 100]
                self.send_window(account, "cap", package.id, window, crossed, used, limit, event)
        if "spike" in thresholds:
            used = account.spikes[package.id].at(t, self.watermark)
            crossed = [v for v in thresholds["spike"] if used - part < v <= used]
            self.send_window(account, "spike", package.id, SPIKE, crossed, used, None, event)

    def send_window(self, account: Account, kind: str, subject: str | None, window: Window, crossed: list[int],
                    used: int, allowance: int | None, event: dict) -> None:  # fmt: skip
        """Sends the highest of the crossed thresholds of a window that is still open, and records the others."""
        t = event["completed_at"]
        if not crossed or not window.is_open(t, self.watermark):
            return
        start, end = window.period(t)
        if len(account.fired) > 100:
            account.fired = {key: until for key, until in account.fired.items() if until > self.watermark}
        counter, sent = f"cap:{window.name}" if kind == "cap" else kind, None
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
        yield ENCODER.encode({"line": n} | oracle.answer(parse_line(line)))


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
