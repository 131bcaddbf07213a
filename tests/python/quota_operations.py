"""Makes up a reference and operations for the quota rules, from a seed: commands, events and watermarks.

The operations are designed to reach every rule often: a clock that mostly creeps, sometimes jumps, and likes to stand
on an edge (midnight, month, the ends and dues of buckets); a few accounts at a time with many buckets each; events of
a size that just fits, just does not, or meets a threshold. To aim so, it charges what it makes with the oracle.
"""

import random
from collections import Counter
from collections.abc import Iterator

from quota_commands import LAST_TIME, WORD, written
from quota_oracle import GATEWAYS_KNOW_AFTER, Oracle, count_answer
from quota_reference import DAY, GRACE, HOUR, MINUTE, WINDOWS, Package, instant
from quota_state import Account, Bucket

SECOND = 1_000
POINT = 10**6
MILLION = 10**6 * POINT
HUGE = 2**53 * POINT
HUGE_POINTS = 2**96  # the most that an event may have
START = instant("2027-11-20T08:00:00+08:00")
ACCOUNTS = 14
MODELS = ("deepseek-v4-pro", "deepseek-flash", "glm-5", "qwen3-max", "claude-opus")
PRODUCTS = (None, None, None, "chat", "photo-cutout")
REGIONS = (None, "sh", "sh", "bj", "hb", "ha")
TABLES = ("default", "flagship", "half")
CUTOUT = 31_000 * POINT
APPROVED = {
    "known_from": "2025-01-01T00:00:00+08:00",
    "source": "made up",
    "approved_by": "made up",
    "approved_at": "2025-01-01T00:00:00+08:00",
}


# --- The reference ---


def thresholds(**values: tuple[int, ...]) -> list[dict]:
    return [{"kind": kind, "at": at} for kind, ats in values.items() for at in ats]



def package(name: str, price_fen: int, allowance_micro: int, **fields: object) -> dict:
    """A package of the shape of rating/data/packages.toml; what is not given is as in most of those, and thresholds
    are left out: the default counts."""
    return {
        "id": name, "title": name, "title_en": name, "price_micro": price_fen * 10_000, "currency": "CNY",
        "period": {"months": 1}, "anchor": "purchase", "allowance_micro": allowance_micro, "weights": "default",
        "kind": "paid", "priority": 100, "directed": False, "models": ["*"], "products": [], "rollover": "none",
        "caps": [], "overflow": "payg", "stacking": "queue", "funded_by": "operator",
        "example": True, "valid_from": "2025-01-01T00:00:00+08:00",
    } | APPROVED | fields  # fmt: skip


def gift(name: str, kind: str, allowance_micro: int, **fields: object) -> dict:
    return package(name, 0, allowance_micro, kind=kind, priority=50, overflow="block", **fields)


def caps(**limits: int) -> list[dict]:
    return [{"window": window, "limit_micro": limit} for window, limit in limits.items()]


def tariff(name: str, price: int, currency: str = "CNY", **fields: object) -> dict:
    return {
        "id": name, "title": name, "title_en": name, "currency": currency, "price_micro_per_million_points": price,
    } | APPROVED | fields  # fmt: skip


PACKAGES = [
    package("telecom-10m", 990, 10 * MILLION),
    package("telecom-40m", 2_990, 40 * MILLION),
    package("telecom-80m", 4_990, 80 * MILLION),
    package("telecom-dev-15m", 3_990, 15 * MILLION),
    package("telecom-dev-70m", 15_990, 70 * MILLION),
    package("telecom-dev-150m", 29_990, 150 * MILLION),
    gift("sh-telecom-trial-25m", "trial", 25 * MILLION, region="sh"),
    gift("mobile-gift-500k", "free", MILLION // 2, stacking="parallel"),
    gift("unicom-opc-30m", "free", 30 * MILLION, region="sh"),
    package("bj-mobile-20m", 1_590, 20 * MILLION, region="bj", caps=caps(day=2 * MILLION)),
    package("hb-mobile-30m", 2_290, 30 * MILLION, region="hb", rollover="next_period",
            rollover_max_micro=15 * MILLION),
    package("ha-mobile-50m", 3_590, 50 * MILLION, region="ha", anchor="calendar", overflow="throttle",
            stacking="parallel", caps=caps(rolling_5h=5 * MILLION, week=20 * MILLION)),
    # What the offers do not have: each shape of period, anchor, rollover, cap and threshold.
    gift("cutouts", "free", 700_000 * POINT, directed=True, products=["photo-cutout"], period={"days": 3},
         thresholds=thresholds(points_left=(200_000 * POINT, 50_000 * POINT), expires_soon=(1,))),
    package("coding", 4_900, 30 * MILLION + 1, weights="flagship", models=["deepseek-*", "glm-5"], priority=10,
            caps=caps(rolling_5h=3 * MILLION, rolling_week=8 * MILLION, month=12 * MILLION),
            thresholds=thresholds(cap=(80, 100, 50), spike=(MILLION, 2 * MILLION), percent_used=(90, 50))),
    package("coding-monthly", 1_999, 7 * MILLION, weights="half", rollover="next_period", priority=90,
            caps=caps(rolling_day=2 * MILLION, day=3 * MILLION),
            thresholds=thresholds(expires_soon=(7, 1, 3), forecast=(24, 240), cap=(60, 100), percent_used=(25, 75))),
    package("two-days", 300, 3 * MILLION + 333_333, period={"days": 2}, rollover="next_period",
            rollover_max_micro=MILLION,
            thresholds=thresholds(expires_soon=(1, 0), points_left=(0, MILLION, 2 * POINT))),
    package("day-pass", 100, MILLION, period={"days": 1}, anchor="calendar", rollover="next_period",
            thresholds=thresholds(percent_used=(100, 10), forecast=(1, 6, 24))),
    package("family", 2_600, 25 * MILLION, overflow="block",
            caps=caps(week=8 * MILLION, day=3 * MILLION, month=15 * MILLION),
            thresholds=thresholds(cap=(90,), points_left=(5 * MILLION,), forecast=(72,), expires_soon=(5,))),
    package("two-months", 1_700, 20 * MILLION, period={"months": 2}, anchor="calendar", priority=20,
            thresholds=thresholds(expires_soon=(30, 2), forecast=(100, 400), percent_used=(1,))),
    package("five-hours", 50, MILLION // 4, period={"hours": 5}, stacking="parallel",
            thresholds=thresholds(percent_used=(50, 100), forecast=(2,), spike=(MILLION // 2,), expires_soon=(1, 0))),
    package("twelve-hours", 80, MILLION // 2, period={"hours": 12}, rollover="next_period",
            thresholds=thresholds(points_left=(MILLION // 10,), forecast=(3, 9))),
    package("intl", 500, 6 * MILLION, currency="USD", models=["claude-opus", "qwen3-*"], priority=5, directed=True,
            thresholds=thresholds(percent_used=(50, 99), spike=(MILLION,))),
    package("nights", 90, MILLION // 2, period={"hours": 8}, rollover="next_period", stacking="parallel",
            rollover_max_micro=MILLION // 10),
    package("shell", 0, 0, period={"days": 20}, stacking="parallel", priority=1,
            thresholds=thresholds(percent_used=(50, 100), points_left=(MILLION,), expires_soon=(2,))),
    package("enterprise", 100_000_000, 2**53 - 1, period={"days": 10}, priority=500),
    package("retired", 700, 5 * MILLION, valid_to="2028-04-01T00:00:00+08:00"),
]  # fmt: skip
TARIFFS = [
    tariff("sh-telecom-payg", 4_000_000, region="sh",
           thresholds=thresholds(overflow_spent=(POINT, 5 * POINT, 50 * POINT), overrun=(MILLION, 10 * MILLION))),
    tariff("sh-mobile-payg", 2_500_000, region="sh"),
    tariff("national-payg", 3_333_333, thresholds=thresholds(overflow_spent=(2 * POINT, 20 * POINT))),
    tariff("dear-payg", 2**62, thresholds=thresholds(overflow_spent=(2**62,), overrun=(2**62,))),
    tariff("intl-payg", 700_001, "USD", thresholds=thresholds(overflow_spent=(POINT,), overrun=(3 * MILLION,))),
]  # fmt: skip
CHANGING = ("2027-11-01", "2027-12-01", "2027-12-15", "2028-01-01", "2028-01-15", "2028-02-01", "2028-03-01")
CHANGES = (
    {"caps": caps(rolling_5h=MILLION, day=2 * MILLION), "thresholds": thresholds(cap=(50, 100), spike=(MILLION // 2,))},
    {"caps": caps(day=3 * MILLION // 2, week=4 * MILLION), "thresholds": thresholds(cap=(70, 90, 100))},
)
# Later versions: another price, period, caps, thresholds; and what nobody has approved.
LATER_PACKAGES = [
    package("telecom-10m", 1_090, 11 * MILLION, period={"months": 2}, known_from="2028-01-15T00:00:00+08:00"),
    package("telecom-10m", 1, 12 * MILLION, known_from="2028-01-20T00:00:00+08:00", approved_by=None, approved_at=None),
    package("two-days", 400, 4 * MILLION, period={"days": 3}, known_from="2027-12-24T00:00:00+08:00",
            thresholds=thresholds(points_left=(MILLION,))),
    package("coding", 5_900, 31 * MILLION, weights="half", models=["deepseek-*", "glm-5"], priority=10,
            caps=caps(day=4 * MILLION, rolling_5h=2 * MILLION), known_from="2027-12-24T00:00:00+08:00",
            thresholds=thresholds(cap=(100, 70), percent_used=(50,))),
    package("day-pass", 100, MILLION, period={"days": 1}, known_from="2028-01-10T00:00:00+08:00"),
    package("draft", 100, MILLION, approved_by=None, approved_at=None),
    package("next-year", 100, MILLION, known_from="2028-03-01T00:00:00+08:00"),
    package("two-months", 1_700, 21 * MILLION, period={"months": 2}, anchor="calendar", rollover="next_period",
            priority=20, known_from="2028-04-10T00:00:00+08:00", thresholds=thresholds(forecast=(300,))),
    # Buckets of two versions side by side, time and again.
    *(package("changing", 900, 3 * MILLION, period={"days": 20}, stacking="parallel",
              known_from=f"{day}T00:00:00+08:00", **CHANGES[n % 2]) for n, day in enumerate(CHANGING)),
]  # fmt: skip
LATER_TARIFFS = [
    tariff("national-payg", 5_000_001, known_from="2028-02-01T00:00:00+08:00",
           thresholds=thresholds(overflow_spent=(3 * POINT, 20 * POINT), overrun=(2 * MILLION,))),
    tariff("next-payg", 1_000_003, known_from="2028-01-05T00:00:00+08:00"),
    tariff("draft-payg", 1, approved_by=None, approved_at=None),
]  # fmt: skip
REFERENCE = {
    "packages": PACKAGES + LATER_PACKAGES,
    "tariffs": TARIFFS + LATER_TARIFFS,
    "account_thresholds": thresholds(overrun=(5 * MILLION, 500_000 * POINT, 50 * MILLION), overflow_spent=(POINT,)),
}
SMALL = ("cutouts", "two-days", "day-pass", "five-hours", "twelve-hours", "shell", "mobile-gift-500k", "intl", "nights",
         "changing")  # fmt: skip


class Operations:
    """An endless source of operations; `seen` counts what those made so far have reached."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.oracle = Oracle()
        self.now = START
        self.serial = 0
        self.accounts = [self.new_name("a") for _ in range(ACCOUNTS)]
        self.name = self.accounts[0]
        self.burst = 0  # steps for which the present account stays in focus
        self.edge = START
        self.near_edge = 0  # steps for which times keep to the edge
        self.given: list[dict] = []  # the last commands

    @property
    def seen(self) -> Counter[str]:
        return self.oracle.seen

    def make(self, steps: int) -> Iterator[dict]:
        """The reference, then so many operations."""
        yield self.done({"reference": REFERENCE})
        opening = self.opening()
        for operation in opening[:steps]:
            yield self.done(operation)
        self.now += 3 * DAY
        for _ in range(steps - len(opening)):
            yield self.done(self.next())

    def done(self, operation: dict) -> dict:
        count_answer(self.seen, self.oracle.answer(operation))
        return operation

    def next(self) -> dict:
        self.advance()
        chance = self.random.randrange(100)
        if chance < 12:
            return {"watermark": self.watermark()}
        if chance < 32:
            return {"command": self.command()}
        return {"event": self.event()}

    def opening(self) -> list[dict]:
        """Edges that chance does not meet: a call that starts when the last bucket ends, and a slice's last moment."""

        def event(name: str, at: int, points: int, started: int) -> dict:
            record = self.event() | {"account": name, "subscriber": name, "model": "glm-5", "billed_model": "glm-5"}
            times = {"product": None, "started_at": started, "completed_at": at, "log_time": at + 500}
            return {"event": record | times | {"points_micro": dict.fromkeys(TABLES, str(points))}}

        def purchase(name: str, package: str) -> dict:
            command = {"command": "purchase", "id": self.new_name("c"), "account": name, "at": START}
            return {"command": command | {"package": package}}

        five = START + 5 * HOUR
        return [
            purchase("ends", "five-hours"),
            event("ends", five - 1, MILLION, five - 1),
            *(event("ends", five + 9, POINT, started) for started in (five - 1, five)),
            purchase("slices", "coding"),
            event("slices", START, 3 * MILLION, START),
            {"watermark": five + GRACE - 1},
            event("slices", five - 1, MILLION, five - 1),
            {"watermark": five + GRACE},
            event("slices", five - 1, MILLION, five - 1),
        ]

    # --- Choices ---

    def one_in(self, n: int) -> bool:
        return self.random.randrange(n) == 0

    def up_to(self, n: int) -> int:
        """A number from 0 to `n`."""
        return self.random.randrange(n + 1)

    def choose(self, *weighted: tuple[int, object]) -> object:
        """One of the values, each as often as its weight."""
        left = self.random.randrange(sum(weight for weight, _ in weighted))
        for weight, value in weighted:
            left -= weight
            if left < 0:
                return value
        raise AssertionError("weights are positive")

    def new_name(self, kind: str) -> str:
        self.serial += 1
        return f"{kind}{self.serial}"

    def account(self) -> Account:
        """The account in focus, an empty one where nothing is known of it yet."""
        return self.oracle.accounts.get(self.name) or Account(self.name)

    def buckets(self) -> list[Bucket]:
        return list(self.account().buckets.values())

    # --- Time ---

    def advance(self) -> None:
        """Moves the clock, and the focus to another account when its time is over. Accounts come and go."""
        if self.burst == 0:
            if self.one_in(40):
                self.accounts[self.up_to(ACCOUNTS - 1)] = self.new_name("a")
            self.name = self.random.choice(self.accounts)
            self.burst = 3 + self.up_to(50)
        self.burst -= 1
        if self.near_edge:
            self.near_edge -= 1
            self.now += self.up_to(2)
        elif self.one_in(80):
            self.edge = self.next_edge()
            self.now, self.near_edge = max(self.now, self.edge - self.up_to(1)), 4 + self.up_to(10)
        else:
            self.now += self.up_to(
                self.choose((650, 3 * SECOND), (300, 10 * MINUTE), (45, 5 * HOUR), (5, 3 * DAY))
            )  # fmt: skip

    def next_edge(self) -> int:
        """A time that rules speak of, in the next days."""
        edges = [window.start(window.index(self.now) + 1) for window in WINDOWS.values()]
        for bucket in self.buckets():
            edges += [bucket.valid_from, bucket.valid_to, bucket.end, bucket.end + GRACE]
            edges += [bucket.end - n * DAY for n in bucket.package.thresholds.get("expires_soon", ())]
        return self.random.choice([edge for edge in edges if self.now <= edge < self.now + 2 * DAY] or [self.now])

    def watermark(self) -> int:
        """Mostly some time behind the clock, sometimes exactly at a timer, sometimes not risen."""
        if self.oracle.timers and self.one_in(4):
            due = self.oracle.timers[0][0]
            if self.oracle.watermark < due <= self.now:
                return due - self.up_to(1)
        if self.near_edge and self.one_in(3):
            return self.near(self.edge)
        if self.one_in(10):
            # Where a slice is forgotten.
            window = self.random.choice(list(WINDOWS.values()))
            return self.near(window.start(window.index(self.now - GRACE)) + GRACE)
        if self.one_in(20):
            return max(0, self.oracle.watermark - self.up_to(HOUR))
        return self.now - self.choose((4, 0), (3, SECOND), (4, self.up_to(2 * MINUTE)), (1, self.up_to(2 * HOUR)))

    def past_grace(self) -> int:
        """What ends here is closed by the watermark."""
        return max(self.oracle.watermark, START) - GRACE

    def near(self, t: int) -> int:
        return t - 1 + self.up_to(2)

    def completed_at(self) -> int:
        if self.near_edge and self.one_in(2):
            return self.near(self.edge)
        buckets = self.buckets()
        chance = self.random.randrange(100)
        if chance < 3 and buckets:
            bucket = self.random.choice(buckets)
            times = (bucket.valid_from, bucket.valid_from + HOUR, bucket.valid_to, bucket.end)
            return self.near(self.random.choice(times))
        limited = [each for each in buckets if each.used_rolled and each.package.rollover_max is not None]
        if limited and self.one_in(8):
            bucket = self.random.choice(limited)
            return max(bucket.valid_to, bucket.end - 1 - self.up_to(HOUR))
        if self.one_in(50):
            return self.past_grace() - self.up_to(2)
        if chance < 6 and buckets:
            bucket = self.random.choice(buckets)
            return bucket.valid_from + self.up_to(max(bucket.end - bucket.valid_from, 0))
        late = self.choose((75, 3 * SECOND), (12, 30 * MINUTE), (10, 8 * HOUR), (3, 60 * HOUR))
        return self.now - self.up_to(late)

    def started_at(self, t: int) -> int:
        """Often at the times at which the cause of an overrun changes."""
        account = self.account()
        if account.exhausted and not self.one_in(3):
            exhausted_at, logged_at = account.exhausted
            started = self.near(self.random.choice((exhausted_at, logged_at + GATEWAYS_KNOW_AFTER)))
            if started <= t:
                return started
        if self.near_edge and self.one_in(2):
            started = self.near(self.edge)
            if started <= t:
                return started
        buckets = self.buckets()
        if buckets and self.one_in(6):
            started = self.near(max(bucket.end for bucket in buckets))
            if started <= t:
                return started
        return t - self.up_to(self.choose((2, 0), (4, 2 * SECOND), (3, MINUTE), (1, 20 * MINUTE)))

    # --- Events ---

    def event(self) -> dict:
        t = self.completed_at()
        model = self.random.choice(MODELS)
        product = self.random.choice(PRODUCTS)
        if product == "photo-cutout" and not self.one_in(4):
            points = self.choose((6, 1), (1, 2), (1, 20)) * CUTOUT
            weighed = {"default": points, "flagship": points, "half": points}
        else:
            points = self.points(t)
            weighed = {"default": points, "flagship": 3 * points, "half": points // 2}
        price = self.random.choice((0, 20_000, 3_000_000, 27_000_000))
        return {
            "source": self.random.choice(("gw-1", "gw-2")),
            "id": self.new_name("e"),
            "account": self.name,
            "subscriber": self.name if self.one_in(20) else f"{self.name}-m{self.up_to(2)}",
            "model": model,
            "billed_model": self.random.choice(MODELS) if self.one_in(5) else model,
            "product": product,
            "started_at": self.started_at(t),
            "completed_at": t,
            "log_time": max(self.now, t) + self.up_to(self.choose((3, 0), (1, 2 * SECOND))),
            "points_micro": {table: str(n) for table, n in weighed.items() if not self.one_in(1000)},
            "wholesale_pico": str(self.choose((200, points // POINT * price + self.up_to(999) * (price > 0)),
                                              (1, 2**127 - 1), (1, self.up_to(2**127 - 1)))),
            "wholesale_currency": "USD" if model == "claude-opus" else "CNY",
        }

    def points(self, t: int) -> int:
        """Of a size that says something to one of the account's buckets."""
        buckets = [b for b in self.buckets() if b.valid_from <= t < b.end and (b.left or self.one_in(20))]
        chance = self.random.randrange(200)
        if chance < 3:
            return 0
        if chance == 3:
            return self.choose((4, HUGE), (12, self.up_to(HUGE)), (1, HUGE_POINTS), (1, HUGE_POINTS + 1),
                               (1, self.up_to(HUGE_POINTS)), (1, -1))  # fmt: skip
        if not buckets or chance < 40:
            return self.choose((8, self.up_to(5_000) * POINT), (3, self.up_to(3_000_000) * POINT), (1, self.up_to(9)))
        bucket = self.random.choice(buckets)
        if chance < 48:
            return max(0, self.near(bucket.left))
        limited = [each for each in buckets if each.is_rolled(t) and each.package.rollover_max is not None]
        if limited and chance < 120:
            bucket = self.random.choice(limited)
            return max(0, self.near(bucket.package.rollover_max - bucket.used_rolled))
        if chance < 64:
            buckets.sort(key=lambda each: each.rank(t))
            several = buckets[: 2 + self.up_to(2)]
            return sum(each.left for each in several) - self.up_to(several[-1].left)
        if chance < 80:
            percents = bucket.package.thresholds.get("percent_used") or (10,)
            missing = bucket.allowance * self.random.choice(percents) // 100 - bucket.used + self.up_to(1)
            return missing if missing >= 0 else bucket.left // 2
        part = bucket.allowance // (4 + self.up_to(200))
        return part if self.one_in(5) else -(-part // POINT) * POINT

    # --- Commands ---

    def command(self) -> dict:
        buckets = self.buckets()
        crowded = len(buckets) >= 14
        often, seldom = (5, 20) if crowded else (90, 6)
        make = self.choose(
            (often, self.purchase), (seldom, self.cancel), (14, self.top_up), (12, self.transfer), (18, self.adjust),
            (12, self.set_flags), (20, self.bad), (5, self.again),
        )  # fmt: skip
        needed = {self.top_up: 1, self.transfer: 2, self.cancel: 1, self.adjust: 1}.get(make, 0)
        if len(buckets) < needed:
            make = self.purchase
        command = {"id": self.new_name("c"), "account": self.name, "at": self.command_time()} | make()
        self.given = [*self.given[-30:], command]
        return written(command, self.random) if self.one_in(6) else command

    def again(self) -> dict:
        """A command that was given before, or another one of its identity."""
        if not self.given:
            return self.set_flags()
        before = self.random.choice(self.given)
        return self.choose((3, before), (1, before | {"at": self.now}), (1, self.set_flags() | {"id": before["id"]}))

    def command_time(self) -> int:
        if self.near_edge and self.one_in(2):
            return self.near(self.edge)
        back = self.choose((160, 0), (30, 2 * HOUR), (8, 30 * HOUR), (2, 90 * HOUR), (1, 40 * DAY))
        return self.now - self.up_to(back)

    def bucket(self) -> Bucket:
        return self.random.choice(self.buckets())

    def purchase(self) -> dict:
        """Mostly of what is sold to the account; chains are bought whole, and rarely very many at once."""
        region = self.account().region
        sold = [p for p in self.oracle.packages.all_at(self.now) if p.is_sold(region, self.now)]
        owned = [bucket.package for bucket in self.buckets()]
        small = [p for p in sold if p.id in SMALL]
        chosen: Package = self.random.choice(self.choose((5, sold), (3, small), (2, owned or sold)))
        command = {"command": "purchase", "package": chosen.id}
        if chosen.id == "five-hours" and self.one_in(20):
            return command | {"quantity": self.choose((9, 12 + self.up_to(40)), (1, 100 + self.up_to(900)))}
        if self.one_in(3):
            command["quantity"] = 1 + self.up_to(3)
        return command

    def top_up(self) -> dict:
        bucket = self.bucket()
        points = self.choose(
            (8, (1 + self.up_to(3_000)) * 1_000 * POINT), (2, bucket.allowance or POINT), (2, 1 + self.up_to(POINT)),
            (1, 2**53), (1, WORD - 1),
        )  # fmt: skip
        command = {"command": "top_up", "bucket": bucket.id, "points_micro": points}
        amount = self.choose((20, self.up_to(10_000_000)), (1, WORD - 1))
        return command if self.one_in(4) else command | {"amount_micro": amount}

    def transfer(self) -> dict:
        giver, taker = self.random.sample(self.buckets(), 2)
        points = self.choose((1, giver.left), (2, giver.left // 2), (3, self.up_to(giver.left)), (1, 1))
        return {"command": "transfer", "from_bucket": giver.id, "to_bucket": taker.id, "points_micro": max(points, 1)}

    def cancel(self) -> dict:
        bucket = self.bucket()
        command = {"command": "cancel", "bucket": bucket.id}
        times = (bucket.valid_from, bucket.valid_to, bucket.end, self.past_grace())
        return command | {"at": self.near(self.random.choice(times))} if self.one_in(5) else command

    def adjust(self) -> dict:
        """Gives back or takes within what is possible, often just past a threshold that was crossed; some for money."""
        bucket = self.bucket()
        if self.one_in(6):
            points = self.choose((2, bucket.left), (3, self.up_to(bucket.left)), (1, 1)) or POINT
            return self.adjustment(bucket, -points) | {"refund": True}
        rolled = [each for each in self.buckets() if each.used_rolled and each.package.rollover_max is not None]
        if rolled and self.one_in(2):
            bucket = self.random.choice(rolled)
            points = self.choose((1, bucket.used_rolled), (2, 1 + self.up_to(bucket.used_rolled)), (1, bucket.used))
            at = {"at": self.near(bucket.valid_to)} if self.one_in(2) else {}
            return self.adjustment(bucket, min(points, bucket.used) or POINT) | at
        sent = [value for (kind, value), name in bucket.fired.items() if kind == "percent_used" and name]
        chance = self.random.randrange(10)
        if sent and chance < 5:
            below = bucket.used - bucket.allowance * self.random.choice(sent) // 100
            points = below + self.up_to(1)
        elif chance < 7:
            points = self.up_to(bucket.used) if self.one_in(2) else bucket.used
        elif self.one_in(2):
            points = -self.up_to(bucket.left)
        else:
            percents = bucket.package.thresholds.get("percent_used") or (10,)
            points = bucket.used - bucket.allowance * self.random.choice(percents) // 100 - self.up_to(1)
            points = max(points, -bucket.left)
        return self.adjustment(bucket, min(points, bucket.used) or POINT)

    def adjustment(self, bucket: Bucket, points: int) -> dict:
        return {"command": "adjust", "bucket": bucket.id, "points_micro": points, "reason": "complaint",
                "approver": "care"}  # fmt: skip

    def set_flags(self) -> dict:
        """Consent and its withdrawal, moves between regions, members and their caps."""
        account, flags = self.account(), {}
        chance = self.random.randrange(10)
        if chance < 5:
            fitting = [t.id for t in self.oracle.tariffs.all_at(self.now) if t.region in (None, account.region)]
            flags["overflow"] = None if self.one_in(3) else self.random.choice(fitting)
        elif chance < 7:
            flags["region"] = self.random.choice(REGIONS)
        else:
            flags["members"] = {f"{self.name}-m{self.up_to(2)}": self.member() for _ in range(1 + self.up_to(2))}
        return {"command": "set_flags", "flags": flags}

    def member(self) -> dict | None:
        if self.one_in(2):
            return None
        windows = self.random.sample(list(WINDOWS), 1 + self.up_to(1))
        return {"caps": caps(**{window: self.up_to(30) * MILLION // (1 + self.up_to(2)) for window in windows})}

    # --- Commands that are held back ---

    def bad(self) -> dict:
        buckets = self.buckets()
        if not buckets or self.one_in(2):
            return self.random.choice(self.refused())
        bucket = self.random.choice(buckets)
        top_up = {"command": "top_up", "bucket": bucket.id, "points_micro": POINT}
        other = self.random.choice(buckets)
        transfer = {"command": "transfer", "from_bucket": bucket.id, "to_bucket": other.id}
        adjust = self.adjustment(bucket, 1)
        purchase = {"command": "purchase", "package": bucket.package.id}
        return self.random.choice([
            top_up | {"at": bucket.end + self.up_to(1)},
            top_up | {"points_micro": -self.up_to(1)},
            top_up | {"amount_micro": -1},
            transfer | {"points_micro": 1, "at": min(bucket.end, other.end)},
            transfer | {"points_micro": bucket.left + 1},
            transfer | {"points_micro": 0},
            transfer | {"points_micro": 1, "to_bucket": bucket.id},
            transfer | {"points_micro": 1, "to_bucket": "nowhere"},
            transfer | {"points_micro": bucket.left + 1, "at": max(bucket.end, other.end)},
            transfer | {"points_micro": bucket.left + 1, "to_bucket": "nowhere", "at": bucket.end},
            purchase | {"id": bucket.id},
            purchase | {"id": bucket.id, "package": "no-such-package"},
            {"command": "cancel", "bucket": bucket.id, "points_micro": 1},
            adjust | {"points_micro": bucket.used + 1},
            adjust | {"points_micro": -bucket.left - 1},
            adjust | {"points_micro": 0},
            adjust | {"points_micro": 1, "refund": True},
            adjust | {"points_micro": -1, "refund": 1},
            adjust | {"points_micro": -bucket.left - 1, "refund": True},
            {field: value for field, value in adjust.items() if field != "approver"},
        ])  # fmt: skip

    def refused(self) -> list[dict]:
        """Commands that are held back whatever the account has."""
        purchase = {"command": "purchase", "package": "telecom-10m"}
        region = self.account().region
        abroad = [p.id for p in self.oracle.packages.all_at(self.now) if p.region not in (None, region)]
        tariffs = [t.id for t in self.oracle.tariffs.all_at(self.now) if t.region not in (None, region)]
        day = {"window": "day", "limit_micro": 1}
        bad_times = ("now", "2028-04-01T00:00:00", None, 1.5, LAST_TIME + 1, "2028-13-01")
        bad_caps = [1, [day | {"window": "year"}], [day | {"limit_micro": -1}], [day, day], [day | {"from": 1}], [{}]]
        bad_flags = [
            {"overflow": "no-such-tariff"}, {"overflow": "draft-payg"}, {"overflow": "next-payg"}, {"colour": "red"},
            {"colour": "red", "region": 7}, {"colour": 0.5}, {"region": 7}, {"region": ""}, {"region": "x" * 262},
            {"members": []}, {"members": {"": None}}, {"members": {"m" * 257: None}}, {"members": {"m": {}}},
            {"members": {"m": {"caps": [], "until": 1}}},
            *({"members": {"m": {"caps": each}}} for each in bad_caps),
        ]  # fmt: skip
        bad_flags += [{"overflow": name} for name in tariffs]
        return [
            {"command": "purchase", "package": self.random.choice(("no-such-package", "draft"))},
            {"command": "purchase", "package": "next-year"},
            {"command": "purchase", "package": self.random.choice(abroad)},
            purchase | {"package": "retired", "at": instant("2028-04-01T00:00:00+08:00")},
            purchase | {"quantity": self.random.choice((0, 1001, -1))},
            purchase | {"quantity": self.random.choice(("", "two", "1.0", 1.0, True, [], "1001"))},
            purchase | {"at": self.random.choice(bad_times)},
            purchase | {"at": LAST_TIME - self.up_to(DAY)},
            {"command": "purchase", "package": "five-hours", "at": self.near(LAST_TIME - 10 * HOUR)},
            purchase | {"colour": None},
            purchase | {"id": "c" * 257},
            purchase | {"package": "p" * 262},
            purchase | {"account": ""},
            {"command": "purchase"},
            {"command": "refund"},
            {"command": "cancel", "bucket": "nowhere"},
            {"command": "set_flags"},
            {"command": "top_up", "bucket": "nowhere", "points_micro": self.random.choice((POINT, WORD, -WORD - 1))},
            *({"command": "set_flags", "flags": flags} for flags in bad_flags),
        ]
