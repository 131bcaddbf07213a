"""Rates every row of `usage_events` again, in groups, and what buckets and tariffs cost, without any of Tally's code.

A price is linear in the counts, so rows that are rated alike are rated by their sums: the same names, the same
quarter of an hour (every change and every window of the chronology begins with one), the same tier of context, the
same classes.
Published prices are `rating_oracle`'s. What nobody published is priced by the made-up list that ships, read here by the
rules of `docs/rating.md`. Rows of models that neither has are left out and counted: `check_tables.py` fails by them.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import rating_oracle

CLASSES = [
    "input", "cached_input", "cache_write_5m", "cache_write_1h", "output", "reasoning",
    "audio_input", "audio_output", "image_input", "image_output",
    "requests", "images", "seconds", "characters",
]  # fmt: skip
SLOT_MS = 900_000
MADE_UP = Path(__file__).resolve().parents[2] / "rating" / "data" / "example_prices.csv"
# Domain §1: packages on sale, yuan and points; and what a yuan buys as one goes.
PACKAGES = {
    "telecom-10m": ("9.90", 10_000_000), "telecom-40m": ("29.90", 40_000_000), "telecom-80m": ("49.90", 80_000_000),
    "telecom-dev-15m": ("39.90", 15_000_000), "telecom-dev-70m": ("159.90", 70_000_000),
    "telecom-dev-150m": ("299.90", 150_000_000), "sh-telecom-trial-25m": ("0", 25_000_000),
    "mobile-gift-500k": ("0", 500_000), "unicom-opc-30m": ("0", 30_000_000),
}  # fmt: skip
POINTS_A_YUAN = {"sh-telecom-payg": 250_000, "sh-mobile-payg": 400_000}
PICO = 10**12


class Row(NamedTuple):
    """One price of the made-up list."""

    supplier: str
    pattern: str
    class_: str
    tier: str
    context: tuple[int, int] | None
    currency: str
    micro_per_million: int

    def rank(self) -> tuple:
        """The more specific price counts: the longer name, the whole one first, then supplier and service tier."""
        return (len(self.pattern.rstrip("*")), not self.pattern.endswith("*"), bool(self.supplier), self.tier != "*")

    def fits(self, group: dict) -> bool:
        model, context = group["billed_model"], group["context"]
        named = model == self.pattern or (self.pattern.endswith("*") and model.startswith(self.pattern[:-1]))
        # A tier from 0 includes 0.
        first, last = self.context or (0, context)
        in_tier = first < context <= last or context == first == 0
        supplied = self.supplier in ("", group["supplier"])
        return named and in_tier and supplied and self.tier in ("*", group["service_tier"])


def made_up(path: Path = MADE_UP) -> dict[str, list[Row]]:
    """The made-up list by vendor. It has no windows, contracts or regions."""
    rows: dict[str, list[Row]] = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for line in csv.DictReader(line for line in file if not line.startswith("#")):
            if line["side"] != "wholesale" or any(line[field] for field in ("contract_id", "region", "windows")):
                raise ValueError(f"{line['price_id']}: this reader does not know such a price")
            context = (int(line["tier_from"]), int(line["tier_to"])) if line["tier_basis"] else None
            row = Row(line["supplier"], line["model_pattern"], line["class"], line["service_tier"] or "standard",
                      context, line["currency"], int(line["price_micro_per_million"]))  # fmt: skip
            rows[line["vendor"]].append(row)
    return rows


class Rates:
    """Both lists, asked for the prices of a group."""

    def __init__(self, path: Path = MADE_UP) -> None:
        self.made_up = made_up(path)

    def knows(self, group: dict) -> bool:
        """Whether a list has a price of the group's model."""
        published = rating_oracle.VENDORS.get(group["billed_model"]) == group["vendor"]
        return published or any(
            row.pattern.rstrip("*") and row._replace(context=None, tier="*", supplier="").fits(group)
            for row in self.made_up[group["vendor"]]
        )

    def published(self, group: dict, moment: datetime) -> dict[str, tuple[str, int]]:
        """Currency and micro-currency a million, by class, as vendors published them."""
        event = {"usage": {"input": group["context"]}, "service_tier": group["service_tier"],
                 "supplier": group["supplier"]}  # fmt: skip
        try:
            currency, prices = rating_oracle.price_list(event, group["vendor"], group["billed_model"], moment, None)
        except rating_oracle.Held:
            return {}
        return {class_: (currency, int(price * 10**6)) for class_, price in prices.items()}

    def price(self, group: dict, class_: str, published: dict) -> tuple[str, int] | None:
        """The price of a class; None where neither list has one."""
        if class_ in published:
            return published[class_]
        fitting = [row for row in self.made_up[group["vendor"]] if row.class_ == class_ and row.fits(group)]
        best = max(fitting, key=Row.rank, default=None)
        return best and (best.currency, best.micro_per_million)

    def rate(self, group: dict, sums: dict[str, int]) -> tuple[str | None, int] | str:
        """Currency and pico-currency of the sums; the currency is None where nothing has a price. A text says what
        has none."""
        moment = rating_oracle.instant(group["slot"] * SLOT_MS)
        published = self.published(group, moment)
        currencies, pico = set(), 0
        for class_ in group["classes"]:
            if class_ == "reasoning":
                continue
            price = self.price(group, class_, published)
            if price is None:
                if class_ == "requests":
                    continue
                return f"no price for {class_}"
            currencies.add(price[0])
            pico += price[1] * sums[class_]
        if len(currencies) > 1:
            return f"prices in {sorted(currencies)}"
        return next(iter(currencies), None), pico


def micro_points(group: dict, sums: dict[str, int]) -> int:
    """A point a token; a product with a charge counts its requests."""
    charge = rating_oracle.CHARGES.get(group["product"])
    return 10**6 * (charge * sums["requests"] if charge else sum(sums[class_] for class_ in rating_oracle.TOKENS))


def groups_query() -> str:
    """Groups of rows that are rated alike, with their sums. The context of what is taken back is below 0."""
    context = " + ".join(rating_oracle.CONTEXT)
    limits = [limit for limit, _ in rating_oracle.QWEN3_MAX]
    tier = " + ".join(f"(CASE WHEN abs({context}) > {limit} THEN 1 ELSE 0 END)" for limit in limits)
    classes = " || ".join(f"(CASE WHEN {class_} <> 0 THEN '1' ELSE '0' END)" for class_ in CLASSES)
    sums = ", ".join(f"sum({class_})" for class_ in CLASSES)
    return f"""SELECT model, billed_model, vendor, coalesce(supplier, vendor), coalesce(service_tier, 'standard'),
        coalesce(product, ''), epoch_ms(completed_at) // {SLOT_MS}, {classes}, min(abs({context})), {tier},
        coalesce(wholesale_currency, ''), count(*), sum(points), sum(wholesale_amount), {sums}
        FROM usage_events WHERE points IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 10, 11"""


class Totals(NamedTuple):
    """Rows that were looked at, that were rated again, and of models that no list has; what they come to in
    pico-currency, by currency."""

    seen: int
    rated: int
    unknown: int
    pico: dict[str, int]


def check_every_row(equal: Callable, rows: Iterable[tuple], rates: Rates | None = None) -> Totals:
    """Compares points and amounts of every group with what they come to; `equal(what, found, wanted)` takes them."""
    rates = rates or Rates()
    seen = rated = unknown = 0
    found_totals: dict[str, int] = defaultdict(int)
    totals: dict[str, int] = defaultdict(int)
    for row in rows:
        names = ["model", "billed_model", "vendor", "supplier", "service_tier", "product", "slot", "classes", "context"]
        group = dict(zip(names, row, strict=False))
        currency, count, points, amount, *counts = row[len(names) + 1 :]
        group["classes"] = [class_ for class_, there in zip(CLASSES, group["classes"], strict=True) if there == "1"]
        group["context"] = int(group["context"])
        sums = {class_: int(sum_) for class_, sum_ in zip(CLASSES, counts, strict=True)}
        seen += count
        if not rates.knows(group):
            unknown += count
            continue
        what = " ".join(str(group[name]) for name in names[1:7])
        comes_to = rates.rate(group, sums)
        if isinstance(comes_to, str):
            equal(f"price of {count} rows of {what}", "rated", comes_to)
            continue
        rated += count
        own_currency, pico = comes_to
        found = int(amount * PICO)
        if own_currency is not None:
            equal(f"currency of {count} rows of {what}", currency, own_currency)
        equal(f"price of {count} rows of {what}, pico", found, pico)
        equal(f"points of {count} rows of {what}, micro", int(points * 10**6), micro_points(group, sums))
        found_totals[currency] += found
        totals[currency] += pico
    for currency, pico in totals.items():
        equal(f"wholesale of every row in {currency or 'no currency'}, pico", found_totals[currency], pico)
    return Totals(seen, rated, unknown, dict(totals))


TARIFFS_QUERY = """SELECT account, package, sum(points), sum(amount), count(*) FILTER (points > 0)
    FROM quota_ledger WHERE kind = 'payg' GROUP BY account, package"""
GRANTS_QUERY = "SELECT package, points, amount, count(*) FROM quota_ledger WHERE kind = 'grant' GROUP BY ALL"


def check_tariffs(equal: Callable, rows: Iterable[tuple]) -> int:
    """What an account paid as it went is the price of all its points at the tariff, rounded down once, however many
    events made it up. Where usage was taken back the roundings of before stay. The sums that were compared."""
    compared = 0
    for account, tariff, points, amount, taken_back in rows:
        if tariff not in POINTS_A_YUAN or taken_back:
            continue
        compared += 1
        pico = -int(points * 10**6) * PICO // (POINTS_A_YUAN[tariff] * 10**6)
        equal(f"pay as you go of {account} by {tariff}, pico", int(amount * PICO), pico)
    return compared


def check_grants(equal: Callable, rows: Iterable[tuple]) -> int:
    """What is sold has the price and the points of the offer. The grants that were compared."""
    compared = 0
    for package, points, amount, count in rows:
        if package in PACKAGES:
            price, allowance = PACKAGES[package]
            compared += count
            equal(f"{count} grants of {package}", (amount, points), (Decimal(price), Decimal(allowance)))
    return compared
