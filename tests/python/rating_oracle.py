"""Rates usage events by the domain's facts without any of Tally's code, and writes what must come out as test vectors.

The facts are the tables at the top, typed from the domain's text; `rate` follows `docs/rating.md`. Nothing depends on
the clock or on chance: two runs write the same bytes. Exit codes: 0 done, 1 the calendars differ, 2 usage.

    rating_oracle.py > vectors.jsonl      one vector a line: name, known_at, weights, event, expect
    rating_oracle.py --calendar           one day of 2025 and 2026 a line: day, workday
    rating_oracle.py --check-calendar     compares these days with the packages chinesecalendar and holidays
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

BEIJING = timezone(timedelta(hours=8))
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MS = timedelta(milliseconds=1)
MILLION = 1_000_000


def at(text: str) -> datetime:
    """An instant of Beijing time; a date alone is its first instant."""
    return datetime.fromisoformat(text).replace(tzinfo=BEIJING)


def days(first: str, last: str) -> Iterator[date]:
    """Every day from `first` to `last`, both included."""
    day, end = date.fromisoformat(first), date.fromisoformat(last)
    while day <= end:
        yield day
        day += timedelta(1)


def prices(**by_class: str) -> dict[str, Decimal]:
    """A price list: currency per 1 M units, by class."""
    return {class_: Decimal(price) for class_, price in by_class.items()}


# --- Facts: calendars (domain §3.2, rules; 2025 by the State Council's notice) ---

HOLIDAYS = {
    year: {day for first, last in spans for day in days(f"{year}-{first}", f"{year}-{last}")}
    for year, spans in {
        2025: [("01-01", "01-01"), ("01-28", "02-04"), ("04-04", "04-06"), ("05-01", "05-05"), ("05-31", "06-02"),
               ("10-01", "10-08")],
        2026: [("01-01", "01-03"), ("02-15", "02-23"), ("04-04", "04-06"), ("05-01", "05-05"), ("06-19", "06-21"),
               ("09-25", "09-27"), ("10-01", "10-07")],
    }.items()
}  # fmt: skip

# --- Facts: DeepSeek (domain §3.2, the chronology; yuan, Beijing time) ---

PEAK_HOURS = [("09:00", "12:00"), ("14:00", "18:00")]


class Tariff(NamedTuple):
    """Prices from an instant on; `peak_days` is None without windows, "all", or "workdays"."""

    since: datetime
    peak_days: str | None
    off_peak: dict[str, Decimal]
    peak: dict[str, Decimal]


def tariff(since: str, peak_days: str | None, off_peak: str, peak: str) -> Tariff:
    """A tariff from prices in the chronology's order: hit, miss, out."""
    hit_miss_out = [prices(**dict(zip(CHARGED, text.split(), strict=True))) for text in (off_peak, peak)]
    return Tariff(at(since), peak_days, *hit_miss_out)


class Notice(NamedTuple):
    """All that is known of a model's prices from an instant on, until the next notice."""

    known_from: datetime
    tariffs: list[Tariff]


CHARGED = ["cached_input", "input", "output"]
LAUNCH = tariff("2026-04-24", None, "1 12 24", "1 12 24")
PROMOTION = tariff("2026-04-26 20:15", None, "0.025 3 6", "0.025 3 6")  # hit to a tenth, and 25 %
THEREAFTER = "0.1 12 24"  # the list with the hit at a tenth, had the promotion ended; up to 23:59 is the whole minute
EVERY_DAY = tariff("2026-08-17", "all", "0.15 4.5 13.5", "0.30 9 27")  # peak every day, off-peak half
WORKDAYS = tariff("2026-08-23", "workdays", "0.15 4.5 13.5", "0.30 9 27")  # weekends and holidays off-peak
FLASH_EVERY_DAY = tariff("2026-08-17", "all", "0.02 1 4", "0.04 2 8")
FLASH_WORKDAYS = tariff("2026-08-23", "workdays", "0.02 1 4", "0.04 2 8")
# The text does not say when the extension was told. The book takes the day on which the promotion would have ended.
DEEPSEEK = {
    "deepseek-v4-pro": [
        Notice(at("2026-04-24"), [LAUNCH]),
        Notice(at("2026-04-26 20:15"), [LAUNCH, PROMOTION, tariff("2026-05-06", None, THEREAFTER, THEREAFTER)]),
        Notice(at("2026-05-05"), [LAUNCH, PROMOTION, tariff("2026-06-01", None, THEREAFTER, THEREAFTER)]),
        Notice(at("2026-05-22"), [LAUNCH, PROMOTION]),
        Notice(at("2026-08-17"), [LAUNCH, PROMOTION, EVERY_DAY]),
        Notice(at("2026-08-23"), [LAUNCH, PROMOTION, EVERY_DAY, WORKDAYS]),
    ],
    "deepseek-flash": [  # no prices are given before 08-17
        Notice(at("2026-08-17"), [FLASH_EVERY_DAY]),
        Notice(at("2026-08-23"), [FLASH_EVERY_DAY, FLASH_WORKDAYS]),
    ],
}
# By its names before the renaming; "still accepted and billed as flash" since.
OLD_FLASH_NAMES = ["deepseek-v4-flash", "deepseek-v4-flash-vision-exp"]
for name in OLD_FLASH_NAMES:
    DEEPSEEK[name] = DEEPSEEK["deepseek-flash"]
CHANGES = [  # those without an effect on a price are here to show that they have none
    "2026-04-24", "2026-04-26 20:15", "2026-05-05 23:59", "2026-05-06", "2026-05-22", "2026-05-31 23:59", "2026-06-01",
    "2026-08-17", "2026-08-23", "2026-09-10 12:00", "2026-09-14 12:00", "2026-10-17", "2027-01-01",
]  # fmt: skip


class Alias(NamedTuple):
    """One version of what a model is billed as; with `until` = `since` it is never in force."""

    model: str
    vendor: str
    billed_model: str
    since: datetime
    until: datetime | None
    known_from: datetime


RENAMED, ANNOUNCED, CANCELLED = at("2026-09-10 12:00"), at("2026-09-14 12:00"), at("2026-09-14")
ALIASES = [
    Alias("deepseek-v4-flash", "deepseek", "deepseek-flash", RENAMED, None, RENAMED),
    Alias("deepseek-v4-flash-vision-exp", "deepseek", "deepseek-flash", RENAMED, None, RENAMED),
    Alias("deepseek-v4-pro", "deepseek", "deepseek-flash", ANNOUNCED, None, RENAMED),
    Alias("deepseek-v4-pro", "deepseek", "deepseek-flash", ANNOUNCED, ANNOUNCED, CANCELLED),
]

# --- Facts: other vendors (domain §3.2, "Others for the price book"; GLM-5's hits §3.1) ---

GLM_5_HITS = {"zhipu": Decimal("1.50"), "bailian": Decimal("1.20")}  # by supplier
QWEN3_MAX = [  # up to and including this context
    (32_000, prices(input="2.5", output="10")),
    (128_000, prices(input="4", output="16")),
    (256_000, prices(input="7", output="28")),
]
OPUS = prices(input="5", cached_input="0.50", cache_write_5m="6.25", cache_write_1h="10", output="25")
FLAT = {  # by model and service tier
    ("glm-5", "standard"): ("CNY", prices(input="6", output="22")),
    ("doubao-seed-2.1-pro", "standard"): ("CNY", prices(input="6", output="30")),
    ("claude-opus", "standard"): ("USD", OPUS),
    ("claude-opus", "batch"): ("USD", {class_: price / 2 for class_, price in OPUS.items()}),
    ("gpt-5.5", "standard"): ("USD", prices(input="5", cached_input="0.50")),
}
VENDORS = {
    "deepseek-v4-pro": "deepseek", "deepseek-flash": "deepseek", "glm-5": "zhipu", "qwen3-max": "qwen",
    "doubao-seed-2.1-pro": "bytedance", "claude-opus": "anthropic", "gpt-5.5": "openai",
} | dict.fromkeys(OLD_FLASH_NAMES, "deepseek")  # fmt: skip

# --- Facts: classes and points (interfaces §3, domain §4) ---

CONTEXT = ["input", "cached_input", "cache_write_5m", "cache_write_1h", "audio_input", "image_input"]
TOKENS = [*CONTEXT, "output", "audio_output", "image_output"]
COUNTED = ["images", "seconds", "characters"]  # beside requests
NEEDS_NO_PRICE = ["reasoning", "requests"]
CHARGES = {"photo-cutout": 31_000}  # points a request, by product
# The coding plan of domain §4 counts a flagship model three times at peak and twice off-peak; of the shipped example
# the flagship is GLM-5, and the peak 14:00 to 18:00 every day.
FLAGSHIP, FLAGSHIP_PEAK, AT_PEAK, OFF_PEAK = "glm-5", ("14:00", "18:00"), 3, 2
TABLES = ["default", "coding-plan-example"]  # of weights


# --- The rules (docs/rating.md) ---


class Held(Exception):
    """The event is held back; the argument is the reason."""


def instant(value: int | str) -> datetime:
    """A time of an event: milliseconds of UTC, or RFC 3339."""
    if isinstance(value, int):
        return EPOCH + value * MS
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


def is_workday(day: date) -> bool:
    """Monday to Friday that is not a statutory holiday; a year without holidays is unknown."""
    if day.year not in HOLIDAYS:
        raise Held("unknown_calendar_year")
    return day.weekday() < 5 and day not in HOLIDAYS[day.year]


def is_peak(moment: datetime, peak_days: str | None) -> bool:
    """Whether the peak price counts. The calendar is asked whatever the hour."""
    local = moment.astimezone(BEIJING)
    on_peak_day = is_workday(local.date()) if peak_days == "workdays" else peak_days == "all"
    hour = local.time().isoformat("milliseconds")
    return on_peak_day and any(first <= hour < end for first, end in PEAK_HOURS)


def weight(weights: str, model: str, moment: datetime) -> int:
    """Points a token of the billed model counts by a table of weights, whatever its class."""
    if weights not in TABLES:
        raise Held("unknown_weights")
    if weights != "coding-plan-example" or model != FLAGSHIP:
        return 1
    first, end = FLAGSHIP_PEAK
    hour = moment.astimezone(BEIJING).time().isoformat("milliseconds")
    return AT_PEAK if first <= hour < end else OFF_PEAK


def alias_of(model: str, moment: datetime, known_at: datetime | None) -> Alias | None:
    """The alias in force at `moment`, of the versions known at `known_at` (None: all are known)."""
    versions = [x for x in ALIASES if x.model == model and (known_at is None or x.known_from <= known_at)]
    newest = max(versions, key=lambda version: version.known_from, default=None)
    if newest and newest.since <= moment and (newest.until is None or moment < newest.until):
        return newest
    return None


def price_list(event: dict, vendor: str, model: str, moment: datetime,
               known_at: datetime | None) -> tuple[str, dict[str, Decimal]]:  # fmt: skip
    """The currency and the prices by class that are in force for the event's billed model, by what is known at
    `known_at` (None: everything)."""
    tier = event.get("service_tier", "standard")
    if VENDORS.get(model) != vendor:
        raise Held("no_price")
    if model in DEEPSEEK and tier == "standard":
        told = [notice.tariffs for notice in DEEPSEEK[model] if known_at is None or notice.known_from <= known_at]
        begun = [tariff for tariff in (told[-1] if told else []) if tariff.since <= moment]
        if not begun:
            raise Held("no_price")
        current = begun[-1]
        return "CNY", current.peak if is_peak(moment, current.peak_days) else current.off_peak
    if model == "qwen3-max" and tier == "standard":
        context = sum(event["usage"].get(class_, 0) for class_ in CONTEXT)
        fitting = [of_tier for limit, of_tier in QWEN3_MAX if context <= limit]
        if not fitting:
            raise Held("no_price")
        return "CNY", fitting[0]
    if (model, tier) not in FLAT:
        raise Held("no_price")
    currency, by_class = FLAT[model, tier]
    supplier = event.get("supplier", vendor)
    if model == "glm-5" and supplier in GLM_5_HITS:
        by_class = by_class | {"cached_input": GLM_5_HITS[supplier]}
    return currency, by_class


def attribution(event: dict, known_at: datetime | None) -> tuple[str, str]:
    """The vendor and the billed model. Aliases go by the completion."""
    alias = alias_of(event["model"], instant(event["completed_at"]), known_at)
    vendor = event.get("vendor") or (alias and alias.vendor) or VENDORS.get(event["model"])
    if not vendor:
        raise Held("unknown_model")
    return vendor, event.get("billed_model") or (alias.billed_model if alias else event["model"])


def wholesale(event: dict, vendor: str, model: str, known_at: datetime | None) -> tuple[int, str]:
    """The amount in pico-currency, and the currency. Every price here goes by the completion."""
    currency, by_class = price_list(event, vendor, model, instant(event["completed_at"]), known_at)
    pico = 0
    for class_, count in event["usage"].items():
        if count and class_ not in NEEDS_NO_PRICE:
            if class_ not in by_class:
                raise Held("no_price")
            pico += int(by_class[class_] * MILLION) * count
    return pico, currency


def micro_points(event: dict, weights: str, model: str) -> int:
    """A product's charge for each request, otherwise the tokens of every class by their weight."""
    usage = event["usage"]
    if event.get("product") in CHARGES:
        return CHARGES[event["product"]] * MILLION * usage.get("requests", 1)
    of_token = weight(weights, model, instant(event["completed_at"]))
    return MILLION * of_token * sum(usage.get(class_, 0) for class_ in TOKENS)


def rate(event: dict, known_at: str | None, weights: str = "default") -> dict:
    """What the event costs by the book known at `known_at`, which the aliases and prices of DeepSeek depend on, and what
    it counts by a table of weights: a vector's `expect`."""
    known = instant(known_at) if known_at else None
    try:
        vendor, model = attribution(event, known)
        pico, currency = wholesale(event, vendor, model, known)
        points = micro_points(event, weights, model)
    except Held as held:
        return {"points_micro": None, "wholesale_amount": None, "wholesale_currency": None, "suspense": held.args[0]}
    whole, fraction = divmod(pico, 10**12)
    return {"points_micro": str(points), "wholesale_amount": f"{whole}.{fraction:012}",
            "wholesale_currency": currency, "suspense": None}  # fmt: skip


# --- Vectors ---

PRO_AND_FLASH = ("deepseek-v4-pro", "deepseek-flash")
AROUND = [("-1ms", -MS), ("at", 0 * MS), ("+1ms", MS)]
WINDOW_EDGES = ["09:00", "12:00", "14:00", "18:00"]
AUTUMN = at("2026-11-04 10:00")  # a Wednesday on which every price of the text is in force
BIG = 2**53


class Vectors:
    """Collects the vectors; times are written in turn in each form that an event may have."""

    def __init__(self) -> None:
        self.vectors: list[dict] = []

    def written(self, moment: datetime) -> int | str:
        """The moment as Beijing time, UTC, milliseconds or the time of another zone, by the vector's number."""
        zone = [BEIJING, timezone.utc, None, timezone(timedelta(hours=-7))][len(self.vectors) % 4]
        if zone is None:
            return (moment - EPOCH) // MS
        return moment.astimezone(zone).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def count(self) -> int:
        """A count of tokens that differs from vector to vector."""
        return 1 + len(self.vectors) * 7_919 % 1_000_003

    def add(self, name: str, completed: datetime, usage: dict, model: str, known_at: str | None = None,
            started: datetime | None = None, weights: str = "default", **fields: str | None) -> None:  # fmt: skip
        """One vector; `fields` are further fields of the event, of which those that are None are left out."""
        known = known_at and at(known_at).isoformat(timespec="milliseconds")
        event = {"source": "oracle", "id": name, "account": "A000000001", "model": model}
        event |= {key: value for key, value in ({"vendor": VENDORS.get(model)} | fields).items() if value is not None}
        if started:
            event["started_at"] = self.written(started)
        event |= {"completed_at": self.written(completed), "usage": usage}
        expect = rate(event, known, weights)
        if event.get("product") in CHARGES and not expect["suspense"]:  # the vendor's price a request is not given
            expect |= {"wholesale_amount": "any", "wholesale_currency": "any"}
        vector = {"name": name, "known_at": known, "weights": weights, "event": event, "expect": expect}
        self.vectors.append(vector)

    def add_each(self, name: str, completed: datetime, models: Sequence[str] = PRO_AND_FLASH,
                 **options: str | datetime | None) -> None:  # fmt: skip
        """One vector for each model and each of the three classes."""
        for model in models:
            for class_ in CHARGED:
                self.add(f"{name} {model} {class_}", completed, {class_: self.count()}, model, **options)


def chronology(v: Vectors) -> None:
    """Every change, 1 ms before, at it and after; and events that are under way when it comes."""
    for change in CHANGES:
        for label, offset in AROUND:
            v.add_each(f"change {change} {label}", at(change) + offset)
        for label, offset in AROUND:
            v.add_each(f"under way at change {change} until {label}", at(change) + offset,
                       started=at(change) - timedelta(minutes=10))  # fmt: skip


def windows(v: Vectors) -> None:
    """Every window edge on each kind of day."""
    kinds = {
        "2026-08-14": "Friday before windows", "2026-08-15": "Saturday before windows",
        "2026-08-16": "Sunday before windows", "2026-08-17": "first Monday", "2026-08-19": "Wednesday of every day",
        "2026-08-22": "Saturday of every day", "2026-08-23": "first Sunday off-peak",
        "2026-08-24": "first Monday of workdays", "2026-08-29": "Saturday", "2026-09-16": "Wednesday",
        "2026-09-20": "worked Sunday", "2026-10-01": "holiday on Thursday", "2026-10-10": "worked Saturday",
        "2026-12-31": "last known day",
    }  # fmt: skip
    for day, kind in kinds.items():
        for edge in WINDOW_EDGES:
            for label, offset in AROUND:
                v.add_each(f"window {kind} {day} {edge} {label}", at(f"{day} {edge}") + offset)
    for edge in WINDOW_EDGES:
        moment = at(f"2026-09-16 {edge}")
        for label, offset in AROUND:
            v.add_each(f"window under way at {edge} until {label}", moment + offset, started=moment - 5 * MS)
    v.add_each("window whole morning", at("2026-09-16 12:00"), started=at("2026-09-16 09:00"))
    v.add_each("window begun on Friday", at("2026-09-12 10:00"), started=at("2026-09-11 10:00"))


def calendar_days(v: Vectors) -> None:
    """Each day from 08-17 to the year's end in both windows; the holidays and their neighbours at every edge."""
    for n, day in enumerate(days("2026-08-17", "2026-12-31")):
        for hour in ["10:00", "15:00"]:
            class_ = CHARGED[n % 3]
            v.add(f"day {day} {hour}", at(f"{day} {hour}"), {class_: v.count()}, PRO_AND_FLASH[n % 2])
    for day in [*days("2026-09-24", "2026-09-28"), *days("2026-09-30", "2026-10-08")]:
        for time in ["09:00", "11:59:59.999", "14:00", "17:59:59.999"]:
            v.add_each(f"holidays {day} {time}", at(f"{day} {time}"))


def unknown_years(v: Vectors) -> None:
    """2027 and later are held back whatever the hour; prices without a calendar go on."""
    for time in ["2027-01-01 03:00", "2027-01-02 10:00", "2027-01-04 09:00", "2027-01-04 13:00", "2027-06-30 23:00",
                 "2030-10-01 10:00"]:  # fmt: skip
        v.add_each(f"unknown year {time}", at(time))
    new_year = at("2027-01-01")
    v.add("unknown year of requests only", new_year, {"requests": 1}, "deepseek-v4-pro")
    v.add("unknown year counts before no price", new_year, {"input": 5, "image_input": 5}, "deepseek-flash")
    v.add("unknown model counts before unknown year", new_year, {"input": 5}, "no-such-model")
    for model in ["glm-5", "doubao-seed-2.1-pro", "claude-opus"]:
        v.add(f"no calendar in 2027 {model}", new_year, {"input": v.count()}, model)
    for model in PRO_AND_FLASH:
        v.add(f"no price in 2025 {model}", at("2025-10-09 10:00"), {"input": 1}, model)


def aliases(v: Vectors) -> None:
    """The old names of flash, and what an event gives itself."""
    for model in ["deepseek-v4-flash", "deepseek-v4-flash-vision-exp"]:
        for label, offset in AROUND:
            v.add_each(f"alias {label}", RENAMED + offset, [model])
            v.add_each(f"alias, vendor given, {label}", RENAMED + offset, [model], vendor="deepseek")
            v.add_each(f"alias by completion {label}", RENAMED + offset, [model], started=RENAMED - 1000 * MS)
        for time in ["2026-09-11 10:00", "2026-10-01 10:00", "2026-10-17 13:00", "2026-11-04 15:00", "2027-01-04"]:
            v.add_each(f"alias {time}", at(time), [model])
        v.add_each("alias in an earlier book", at("2026-09-15 10:00"), [model], known_at="2026-09-12")
        v.add_each("alias below billed_model", AUTUMN, [model], vendor="deepseek", billed_model="deepseek-v4-pro")
    v.add_each("billed_model of the event", AUTUMN, ["deepseek-v4-pro"], billed_model="deepseek-flash")
    v.add_each("billed_model of an unknown name", AUTUMN, ["customer-name"], vendor="deepseek",
               billed_model="deepseek-v4-pro")  # fmt: skip
    for class_ in CHARGED:
        usage = {class_: v.count()}
        v.add(f"unknown model {class_}", AUTUMN, usage, "no-such-model")
        v.add(f"unknown model of a vendor {class_}", AUTUMN, usage, "no-such-model", vendor="deepseek")
        v.add(f"unknown model of an unknown vendor {class_}", AUTUMN, usage, "no-such-model", vendor="no-such-vendor")


def known_times(v: Vectors) -> None:
    """V4-Pro billed as flash: announced, then cancelled (S5)."""
    books = ["2026-09-10 11:59:59.999", "2026-09-10 12:00", "2026-09-12", "2026-09-13 23:59:59.999", "2026-09-14",
             "2026-09-14 12:00", "2026-10-15", None]  # fmt: skip
    times = ["2026-09-14 11:59:59.999", "2026-09-14 12:00", "2026-09-14 12:00:00.001", "2026-09-14 14:00",
             "2026-09-15 10:00", "2026-09-15 13:00", "2026-10-01 10:00", "2027-01-04 10:00"]  # fmt: skip
    for book in books:
        for time in times:
            v.add_each(f"book {book} event {time}", at(time), ["deepseek-v4-pro"], known_at=book)
    given = {"known_at": "2026-09-12", "billed_model": "deepseek-v4-pro"}
    v.add_each("book 2026-09-12 billed_model given", at("2026-09-15 10:00"), ["deepseek-v4-pro"], **given)


def known_prices(v: Vectors) -> None:
    """Each notice of the chronology, by books read before it, at it and after: what was announced, extended, made
    permanent, and not yet told."""
    pro_books = ["2026-04-23 23:59:59.999", "2026-04-24", "2026-04-26 20:14:59.999", "2026-04-26 20:15",
                 "2026-05-04 23:59:59.999", "2026-05-05", "2026-05-21 23:59:59.999", "2026-05-22"]  # fmt: skip
    both_books = ["2026-08-16 23:59:59.999", "2026-08-17", "2026-08-22 23:59:59.999", "2026-08-23"]
    pro_times = ["2026-04-24", "2026-04-26 20:14:59.999", "2026-04-26 20:15", "2026-05-05 23:59:59.999", "2026-05-06",
                 "2026-05-22", "2026-05-31 23:59:59.999", "2026-06-01"]  # fmt: skip
    both_times = ["2026-08-16 10:00", "2026-08-17 09:00", "2026-08-22 10:00", "2026-08-23 10:00", "2026-08-24 10:00",
                  "2026-10-01 10:00", "2027-01-04 10:00", "2027-01-04 13:00"]  # fmt: skip
    for book in [*pro_books, *both_books]:
        for time in [*pro_times, *both_times]:
            v.add_each(f"notice {book} event {time}", at(time), ["deepseek-v4-pro"], known_at=book)
    for book in both_books:
        for time in both_times:
            v.add_each(f"notice {book} event {time}", at(time), ["deepseek-flash"], known_at=book)


def scenario_4(v: Vectors) -> None:
    """1,000,000 cached tokens of V4-Pro at the instants of S4."""
    for time in ["2026-04-26 20:14:59.999", "2026-04-26 20:15:00.000", "2026-05-20 12:00:00.000",
                 "2026-08-17 08:59:59.999", "2026-08-17 09:00:00.000", "2026-08-17 12:00:00.000",
                 "2026-08-22 10:00:00.000", "2026-08-23 10:00:00.000", "2026-10-01 10:00:00.000"]:  # fmt: skip
        v.add(f"S4 {time}", at(time), {"cached_input": MILLION}, "deepseek-v4-pro")


def other_vendors(v: Vectors) -> None:
    """Suppliers, tiers of context, cache writes, batch and the second currency."""
    for supplier in ["zhipu", "bailian", "no-such-supplier", None]:
        for class_ in CHARGED:
            v.add(f"glm-5 by {supplier} {class_}", AUTUMN, {class_: v.count()}, "glm-5", supplier=supplier)
        mixed = {"input": 1_001, "cached_input": 7_003, "output": 501}
        v.add(f"glm-5 by {supplier} mixed", AUTUMN, mixed, "glm-5", supplier=supplier)
    for context in [1, 31_999, 32_000, 32_001, 127_999, 128_000, 128_001, 255_999, 256_000, 256_001, 1_000_000, BIG]:
        v.add(f"qwen3-max context {context}", AUTUMN, {"input": context}, "qwen3-max")
        v.add(f"qwen3-max context {context}, output", AUTUMN, {"input": context, "output": 40_000}, "qwen3-max")
    for output in [1, 32_001, 256_001]:
        v.add(f"qwen3-max output {output} alone", AUTUMN, {"output": output}, "qwen3-max")
    for class_ in CONTEXT[1:]:  # beyond the last tier by tokens of this class, which the context counts
        v.add(f"qwen3-max beyond by {class_}", AUTUMN, {"input": 1_000, class_: 255_001}, "qwen3-max")
    for model in ["doubao-seed-2.1-pro", "gpt-5.5"]:
        for class_ in FLAT[model, "standard"][1]:
            for count in [1, 999, MILLION, BIG]:
                v.add(f"{model} {class_} {count}", AUTUMN, {class_: count}, model)
    for tier in ["standard", "batch", None]:
        for n, class_ in enumerate(OPUS):
            for count in [1, 333_333 + n, MILLION, BIG]:
                v.add(f"claude-opus {tier} {class_} {count}", AUTUMN, {class_: count}, "claude-opus", service_tier=tier)
        mixed = {class_: 1_009 * (n + 1) for n, class_ in enumerate(OPUS)}
        v.add(f"claude-opus {tier} mixed", AUTUMN, mixed, "claude-opus", service_tier=tier)


def counts(v: Vectors) -> None:
    """Big counts, several classes at once, and classes that cost nothing of their own."""
    times = ["2026-04-25 10:00", "2026-07-01", "2026-08-22 10:00", "2026-09-16 13:00", "2026-09-16 15:00"]
    for moment in map(at, times):
        for model in PRO_AND_FLASH:
            name = f"{moment:%m-%d %H:%M} {model}"
            for class_ in CHARGED:
                v.add(f"2^53 {class_} {name}", moment, {class_: BIG}, model)
                v.add(f"one {class_} {name}", moment, {class_: 1}, model)
            v.add(f"2^53 of each {name}", moment, dict.fromkeys(CHARGED, BIG), model)
            v.add(f"2^53 - 1 of each {name}", moment, dict.fromkeys(CHARGED, BIG - 1), model)
            mixed = {"input": 434, "cached_input": 800, "output": 345}
            v.add(f"mixed {name}", moment, mixed, model)
            v.add(f"mixed, supplier and region {name}", moment, mixed, model, supplier="bailian", region="sh")
            v.add(f"mixed, every class named {name}", moment, dict.fromkeys([*TOKENS, *COUNTED], 0) | mixed, model)
            v.add(f"reasoning {name}", moment, mixed | {"reasoning": 120}, model)
            v.add(f"reasoning is all the output {name}", moment, {"output": 345, "reasoning": 345}, model)
            v.add(f"requests beside tokens {name}", moment, mixed | {"requests": 7}, model)
            v.add(f"requests only {name}", moment, {"requests": 1}, model)
            v.add(f"2^53 requests only {name}", moment, {"requests": BIG}, model)
            v.add(f"nothing at all {name}", moment, {"input": 0, "requests": 0}, model)
    for model in ["glm-5", "qwen3-max", "doubao-seed-2.1-pro", "claude-opus", "gpt-5.5"]:
        v.add(f"requests only {model}", AUTUMN, {"requests": 3}, model)
        v.add(f"reasoning of input only {model}", AUTUMN, {"input": 100, "reasoning": 0, "requests": 1}, model)
    v.add("requests only of an unknown model", AUTUMN, {"requests": 1}, "no-such-model")


def products(v: Vectors) -> None:
    """Photo cut-outs count 31,000 points a request and no tokens; other products count tokens."""
    for model in ["deepseek-v4-pro", "deepseek-flash", "glm-5", "doubao-seed-2.1-pro"]:
        for requests in [0, 1, 2, 16, 17, BIG]:
            usage = {"input": 100, "output": 50, "requests": requests}
            v.add(f"photo-cutout {model} {requests} requests", AUTUMN, usage, model, product="photo-cutout")
        v.add(f"photo-cutout {model} default of requests", AUTUMN, {"input": 100}, model, product="photo-cutout")
        v.add(f"photo-cutout {model} requests only", AUTUMN, {"requests": 1}, model, product="photo-cutout")
        v.add(f"other product {model}", AUTUMN, {"input": 100, "requests": 4}, model, product="chat")
    v.add("photo-cutout of an unknown model", AUTUMN, {"requests": 1}, "no-such-model", product="photo-cutout")
    v.add("photo-cutout without price", at("2026-08-16 10:00"), {"input": 1}, "deepseek-flash", product="photo-cutout")


def weights(v: Vectors) -> None:
    """The coding plan's weights: by the billed model, by class, and at every edge of their window and of others."""
    plan = {"weights": "coding-plan-example"}
    kinds = {
        "2026-08-14": "Friday before windows", "2026-08-22": "Saturday", "2026-09-20": "worked Sunday",
        "2026-10-01": "holiday on Thursday", "2026-11-04": "Wednesday", "2027-01-04": "Monday of an unknown year",
    }  # fmt: skip
    for day, kind in kinds.items():
        for edge in ["00:00", *WINDOW_EDGES]:
            for label, offset in AROUND:
                v.add_each(f"weights {kind} {day} {edge} {label}", at(f"{day} {edge}") + offset, ["glm-5"],
                           supplier="zhipu", **plan)  # fmt: skip
    peak, evening = at("2026-11-04 15:00"), at("2026-11-04 19:00")
    mixed = {"input": 434, "cached_input": 800, "output": 345}
    for label, moment in [("peak", peak), ("off-peak", evening)]:
        for model in [*PRO_AND_FLASH, "qwen3-max", "doubao-seed-2.1-pro", "gpt-5.5"]:
            v.add(f"weights {label} of another model {model}", moment, {"input": 1_001}, model, **plan)
        opus = {class_: 1_009 * (n + 1) for n, class_ in enumerate(OPUS)}
        v.add(f"weights {label} of another model, every class", moment, opus, "claude-opus", **plan)
        v.add(f"weights {label} default table", moment, mixed, "glm-5", supplier="zhipu")
        v.add(f"weights {label} mixed", moment, mixed, "glm-5", supplier="bailian", **plan)
        v.add(f"weights {label} 2^53", moment, {"input": BIG, "output": BIG}, "glm-5", **plan)
        v.add(f"weights {label} reasoning", moment, {"output": 345, "reasoning": 120}, "glm-5", **plan)
        v.add(f"weights {label} requests beside tokens", moment, {"input": 10, "requests": 7}, "glm-5", **plan)
        v.add(f"weights {label} requests only", moment, {"requests": 7}, "glm-5", **plan)
        v.add(f"weights {label} nothing at all", moment, {"input": 0}, "glm-5", **plan)
        cut_out = {"input": 10, "requests": 2}
        v.add(f"weights {label} product", moment, cut_out, "glm-5", product="photo-cutout", **plan)
        v.add(f"weights {label} billed as the flagship", moment, {"input": 7}, "customer-name", vendor="zhipu",
              billed_model="glm-5", **plan)  # fmt: skip
        v.add(f"weights {label} flagship billed as another", moment, {"input": 7}, "glm-5", vendor="deepseek",
              billed_model="deepseek-flash", **plan)  # fmt: skip
        v.add(f"weights {label} held back", moment, {"images": 7}, "glm-5", **plan)
    unknown = {"weights": "no-such-table"}
    for model in ["glm-5", "deepseek-v4-pro"]:
        v.add(f"weights by an unknown table {model}", peak, mixed, model, **unknown)
        v.add(f"weights by an unknown table, nothing at all {model}", peak, {"input": 0}, model, **unknown)
        cut_out = {"input": 10, "requests": 2}
        v.add(f"weights by an unknown table, product {model}", peak, cut_out, model, product="photo-cutout", **unknown)
    v.add("weights no price counts before an unknown table", peak, {"images": 7}, "glm-5", **unknown)
    for edge in FLAGSHIP_PEAK:
        for label, offset in AROUND:
            moment = at(f"2026-11-04 {edge}") + offset
            v.add(f"weights under way at {edge} until {label}", moment, mixed, "glm-5", supplier="zhipu",
                  started=moment - 5 * MS, **plan)  # fmt: skip


def vectors() -> list[dict]:
    """Every vector, in the order in which it is written."""
    v = Vectors()
    for build in [chronology, windows, calendar_days, unknown_years, aliases, known_times, known_prices, scenario_4,
                  other_vendors, counts, products, weights]:  # fmt: skip
        build(v)
    return v.vectors


# --- Calendars ---


def calendar() -> list[dict]:
    """Whether each day of the known years is a workday."""
    known = days(f"{min(HOLIDAYS)}-01-01", f"{max(HOLIDAYS)}-12-31")
    return [{"day": day.isoformat(), "workday": is_workday(day)} for day in known]


def calendar_differences() -> list[str]:
    """Days on which the packages disagree. What they call a workday has the worked weekends too, which are left out."""
    import chinese_calendar
    import holidays

    of_china = holidays.country_holidays("CN", years=HOLIDAYS)
    differences = []
    for line in calendar():
        day = date.fromisoformat(line["day"])
        off, festival = chinese_calendar.get_holiday_detail(day)
        found = {
            "holiday by chinesecalendar": (off and festival is not None, day in HOLIDAYS[day.year]),
            "workday by chinesecalendar": (day.weekday() < 5 and not off, line["workday"]),
            "workday by holidays": (day.weekday() < 5 and day not in of_china, line["workday"]),
        }
        for what, (theirs, ours) in found.items():
            if theirs != ours:
                differences.append(f"{day} {what}: {theirs}, here {ours}")
    return differences


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--calendar", action="store_true", help="write the days of 2025 and 2026")
    modes.add_argument("--check-calendar", action="store_true", help="compare the days with PyPI packages")
    options = parser.parse_args()
    if options.check_calendar:
        try:
            differences = calendar_differences()
        except ImportError as error:
            parser.error(f"--check-calendar needs chinesecalendar and holidays: {error}")
        print("\n".join(differences) or "the calendars of 2025 and 2026 are equal")
        return 1 if differences else 0
    for line in calendar() if options.calendar else vectors():
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
