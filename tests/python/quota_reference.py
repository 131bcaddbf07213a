"""What quota rules refer to: the calendar, the windows of caps, packages and tariffs (docs/quota.md)."""

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Generic, TypeVar

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
UTC8 = 8 * HOUR
GRACE = 48 * HOUR
DEFAULT_THRESHOLDS = {"percent_used": [50, 80, 100]}  # of a package that does not say (domain §4)
PICO = 10**6  # pico-currency of one micro-currency
SHANGHAI = timezone(timedelta(hours=8))
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EPOCH_DAY = EPOCH.toordinal()


@lru_cache(maxsize=8192)
def month_of_day(day: int) -> int:
    """The number of the month, twelve a year from year 0, in which a local day since 1970 lies."""
    local = date.fromordinal(EPOCH_DAY + day)
    return local.year * 12 + local.month - 1


@lru_cache(maxsize=8192)
def first_day(month: int) -> int:
    """The first local day, counted from 1970, of a month by its number."""
    return date(month // 12, month % 12 + 1, 1).toordinal() - EPOCH_DAY


def month_at(t: int) -> int:
    return month_of_day((t + UTC8) // DAY)


def month_start(month: int) -> int:
    return first_day(month) * DAY - UTC8


def add_months(t: int, months: int) -> int:
    """The same time of day some months later, on the same day of the month or the month's last day."""
    day, time = divmod(t + UTC8, DAY)
    month = month_of_day(day)
    target = month + months
    length = first_day(target + 1) - first_day(target)
    return (first_day(target) + min(day - first_day(month), length - 1)) * DAY + time - UTC8


class Window:
    """A window of a cap: the slice that a time is in and the `slices - 1` before it. Calendar windows are one slice."""

    def __init__(self, name: str, slices: int, index: Callable[[int], int], start: Callable[[int], int]) -> None:
        self.name, self.slices, self.index, self.start = name, slices, index, start

    def period(self, t: int) -> tuple[int, int]:
        """The multiple of the window's length that `t` is in; for a calendar window the window itself."""
        multiple = self.index(t) // self.slices * self.slices
        return self.start(multiple), self.start(multiple + self.slices)

    def is_open(self, t: int, watermark: int) -> bool:
        """Whether the watermark has not reached the end of the window that ends with the slice of `t`."""
        return watermark < self.start(self.index(t) + 1)

    def first_kept(self, watermark: int) -> int:
        """The oldest slice whose last window the watermark has not passed by the grace."""
        return self.index(watermark - GRACE) - self.slices + 1


def rolling(name: str, slices: int, width: int) -> Window:
    return Window(name, slices, lambda t: (t + UTC8) // width, lambda i: i * width - UTC8)


# The week of day 0, a Thursday, begins three days before it.
DAYS = rolling("day", 1, DAY)
WEEKS = Window("week", 1, lambda t: (t + UTC8 + 3 * DAY) // (7 * DAY), lambda i: (7 * i - 3) * DAY - UTC8)
MONTHS = Window("month", 1, month_at, month_start)
ROLLING = (("rolling_5h", 30, 10 * MINUTE), ("rolling_day", 24, HOUR), ("rolling_week", 28, 6 * HOUR))
WINDOWS = {window.name: window for window in (DAYS, WEEKS, MONTHS, *(rolling(*fields) for fields in ROLLING))}
SPIKE = rolling("spike", 6, 10 * MINUTE)


def milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def instant(text: str | None) -> int | None:
    """Milliseconds of UTC. A time without a zone is Shanghai's, a date alone its first instant."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=SHANGHAI))


def thresholds_of(records: list[dict]) -> dict[str, list[int]]:
    """The values of each kind, in the order in which they are given."""
    values: dict[str, list[int]] = {}
    for record in records:
        values.setdefault(record["kind"], []).append(int(record["at"]))
    return values


def matches(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


class Package:
    """A package on sale, read from the reference."""

    def __init__(self, record: dict) -> None:
        self.id: str = record["id"]
        self.price = int(record["price_micro"]) * PICO
        self.currency: str = record["currency"]
        ((self.unit, self.count),) = record["period"].items()
        self.calendar: bool = record.get("anchor", "purchase") == "calendar"
        self.allowance = int(record["allowance_micro"])
        self.weights: str = record.get("weights", "default")
        self.gratis: bool = record.get("kind", "paid") in ("free", "trial")
        self.priority: int = record.get("priority", 0)
        self.directed: bool = record.get("directed", False)
        self.models: list[str] = record.get("models", [])
        self.products: list[str] = record.get("products", [])
        self.rolls_over: bool = record.get("rollover", "none") == "next_period"
        limit = record.get("rollover_max_micro")
        self.rollover_max = None if limit is None else int(limit)
        self.caps = [(WINDOWS[cap["window"]], int(cap["limit_micro"])) for cap in record.get("caps", [])]
        given = record.get("thresholds")
        self.thresholds = DEFAULT_THRESHOLDS if given is None else thresholds_of(given)
        # The windows that are counted for all versions; completed when all are read.
        self.counted = {window.name: window for window, _ in self.caps}
        self.watched = "spike" in self.thresholds
        self.queues: bool = record.get("stacking", "queue") == "queue"
        self.region: str | None = record.get("region")
        self.term = self.unit, self.count, self.calendar
        self.fitting: dict[tuple, bool] = {}
        self.sold_from, self.sold_to = instant(record.get("valid_from")), instant(record.get("valid_to"))

    def is_sold(self, region: str | None, at: int) -> bool:
        """An account without a region buys only packages without one."""
        return (
            self.region in (None, region)
            and (self.sold_from is None or self.sold_from <= at)
            and (self.sold_to is None or at < self.sold_to)
        )

    def fits(self, model: str, billed_model: str, product: str | None) -> bool:
        """Whether a bucket of this package may take such an event, whenever it happens."""
        kind = model, billed_model, product
        if kind not in self.fitting:
            self.fitting[kind] = (not self.products or product in self.products) and (
                not self.models or any(matches(p, model) or matches(p, billed_model) for p in self.models)
            )
        return self.fitting[kind]

    def period_end(self, start: int, anchor: int, periods: int) -> int:
        """The end of the period that begins at `start` and is the last of `periods` since the chain's anchor."""
        if self.unit == "hours":
            return start + self.count * HOUR
        if self.unit == "days":
            day = DAYS.start(DAYS.index(start)) if self.calendar else start
            return day + self.count * DAY
        if self.calendar:
            return month_start(month_at(start) + self.count)
        return add_months(anchor, periods * self.count)


class Tariff:
    """A pay-as-you-go tariff, read from the reference."""

    def __init__(self, record: dict) -> None:
        self.id: str = record["id"]
        self.currency: str = record["currency"]
        self.region: str | None = record.get("region")
        self.price = int(record["price_micro_per_million_points"])
        self.thresholds = thresholds_of(record.get("thresholds", []))


Kind = TypeVar("Kind", Package, Tariff)


class Versions(Generic[Kind]):
    """Every version of each package or tariff by its id, the older first; only approved ones hold."""

    def __init__(self, records: list[dict], kind: type[Kind]) -> None:
        self.by_id: dict[str, list[tuple[int, Kind]]] = {}
        for record in sorted(records, key=lambda record: instant(record["known_from"])):
            if record.get("approved_by"):
                self.by_id.setdefault(record["id"], []).append((instant(record["known_from"]), kind(record)))

    def __contains__(self, name: str) -> bool:
        return name in self.by_id

    def at(self, name: str | None, t: int) -> Kind | None:
        """The version that is known at a time."""
        for known_from, version in reversed(self.by_id.get(name, ())):
            if known_from <= t:
                return version
        return None

    def all_at(self, t: int) -> list[Kind]:
        return [version for name in self.by_id if (version := self.at(name, t))]


def packages_of(records: list[dict]) -> Versions[Package]:
    packages = Versions(records, Package)
    for versions in packages.by_id.values():
        counted = {name: window for _, version in versions for name, window in version.counted.items()}
        watched = any(version.watched for _, version in versions)
        for _, version in versions:
            version.counted, version.watched = counted, watched
    return packages
