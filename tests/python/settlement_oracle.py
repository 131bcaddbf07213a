"""Settles random contracts and usage without any of Tally's code, and writes what must come out as test vectors.

Everything follows `docs/settlement.md` and the domain's text: amounts are `fractions.Fraction`, rounded once where the
text says so. A case is one vendor over several months: prices and contracts as files, rated groups month by month (late
ones and corrections of earlier months among them), and the statement of every month. The discount on the list changes
at an instant, for some prices by the end of a call and for others by its beginning. The same seed writes the same bytes.

    settlement_oracle.py --seed 1 --cases 1000 > vectors.jsonl      one case a line
    settlement_oracle.py --words                                    amounts and their words, one pair a line
"""

import argparse
import json
import random
import re
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

PPM = 1_000_000
PICO = 10**12
VENDOR = "acme"
MODELS = ["m-a", "m-b", "x-c"]
PRICED = ["input", "cached_input", "output"]
TRIALS = ["trial-1", "gift-2"]
BEIJING = timezone(timedelta(hours=8))

# --- Rounding and words ---


def rounded(amount: Fraction, mode: str) -> int:
    """Hundredths of an amount of currency."""
    hundredths = amount * 100
    if mode == "half_even":
        return round(hundredths)  # Fraction rounds half to even
    sign = -1 if hundredths < 0 else 1
    return sign * ((2 * abs(hundredths) + 1) // 2).__floor__()


def in_words(cents: int, currency: str) -> str:
    """Chinese words: every digit with its unit first, then the zeros are joined as the rules say."""
    names = {"CNY": "人民币", "USD": "美元"}
    yuan, jiao, fen = abs(cents) // 100, abs(cents) // 10 % 10, abs(cents) % 10
    digits, units = "零壹贰叁肆伍陆柒捌玖", ["", *"拾佰仟万拾佰仟亿拾佰仟"]
    text = "".join(digits[int(d)] + units[i] for i, d in zip(reversed(range(len(str(yuan)))), str(yuan), strict=True))
    text = re.sub("零[拾佰仟]", "零", text)
    text = re.sub("零+", "零", text)
    text = text.replace("零亿", "亿").replace("亿零万", "亿零").replace("零万", "万")
    text = re.sub("零+", "零", text)
    text = text.rstrip("零")
    out = f"{text}元" if yuan else ""
    if jiao:
        out += "零" if yuan and yuan % 10 == 0 else ""
        out += f"{digits[jiao]}角"
    elif fen and yuan:
        out += "零"
    if fen:
        out += f"{digits[fen]}分"
    if not jiao and not fen:
        out = f"{out or '零元'}整"
    return names.get(currency, currency) + ("负" if cents < 0 else "") + out


def money(cents: int) -> str:
    """Hundredths as a decimal."""
    return str(Decimal(cents).scaleb(-2).quantize(Decimal("0.01")))


def plain(value: int, places: int) -> str:
    """An integer of `10^-places` as a decimal, without an exponent."""
    return format(Decimal(value).scaleb(-places), f".{places}f")


# --- Months ---


def month_of(day: date) -> str:
    """The month of a day."""
    return day.strftime("%Y-%m")


def shifted(month: str, months: int) -> str:
    """The month so many months later."""
    number = int(month[:4]) * 12 + int(month[5:]) - 1 + months
    return f"{number // 12:04}-{number % 12 + 1:02}"


def first_day(month: str) -> date:
    """First day of a month."""
    return date.fromisoformat(f"{month}-01")


def last_day(month: str) -> date:
    """Last day of a month."""
    return first_day(shifted(month, 1)) - timedelta(1)


# --- A random case ---


def midnight(day: date) -> datetime:
    """The first instant of a day in Beijing."""
    return datetime(day.year, day.month, day.day, tzinfo=BEIJING)


class Price(NamedTuple):
    """A price: micro-currency per million, on days [since, until) of the instant that its basis names."""

    id: str
    model: str
    cls: str
    micro: int
    basis: str
    since: date
    until: date | None


class Case:
    """One vendor over several months."""

    def __init__(self, seed: int, number: int) -> None:
        self.dice = random.Random(f"{seed}/{number}")
        self.name = f"seed {seed} case {number}"
        self.start = "2026-07"
        self.months = [shifted(self.start, n) for n in range(self.dice.randint(2, 5))]
        self.list_currency = self.dice.choice(["CNY", "CNY", "CNY", "USD"])
        self.currency = self.dice.choice(["CNY", "CNY", self.list_currency])
        self.revenue_currency = "CNY"
        self.discounts = list(self.make_discounts())
        self.prices = list(self.make_prices())
        self.terms = list(self.make_terms())
        self.rates = {month: self.dice.randint(6_900_000, 7_300_000) for month in self.months}

    def make_discounts(self):
        """What comes off the list from when on: the same always, or another from a midnight or some instant on."""
        dice = self.dice
        yield midnight(date(2026, 1, 1)), dice.choice([0, 0, 150_000, 500_000])
        if dice.random() < 0.6:
            at = midnight(first_day(dice.choice(self.months)) + timedelta(dice.randint(0, 27)))
            yield at + dice.choice([0, 1]) * timedelta(milliseconds=dice.randint(1, 86_399_999)), dice.choice(
                [0, 150_000, 250_000, 500_000]
            )

    def make_prices(self):
        """A price for every model and class, some of them changed in the middle of a month."""
        dice = self.dice
        for model in MODELS:
            for cls in [*PRICED, *(["requests"] if dice.random() < 0.2 else [])]:
                micro = dice.randint(1, 400) * 20 * dice.choice([1, 1_000, 10_000])
                basis = dice.choice(["completion", "completion", "start"])
                change = first_day(dice.choice(self.months)) + timedelta(dice.randint(0, 27))
                if dice.random() < 0.4:
                    yield Price(f"{model}.{cls}.1", model, cls, micro, basis, date(2026, 1, 1), change)
                    yield Price(f"{model}.{cls}.2", model, cls, micro * 20, basis, change, None)
                else:
                    yield Price(f"{model}.{cls}.1", model, cls, micro, basis, date(2026, 1, 1), None)

    def make_terms(self):
        """Terms for every model; some more closely for one, some followed by others."""
        dice = self.dice
        yield self.one_terms("all", "*", date(2026, 1, 1), None)
        pattern = dice.choice(["m-a", "m-*", None, None])
        if pattern:
            change = first_day(dice.choice(self.months)) + timedelta(dice.randint(0, 27))
            # Whichever of them comes first by name.
            before, after = dice.choice([("first", "then"), ("old", "new")])
            yield self.one_terms(before, pattern, date(2026, 1, 1), change)
            yield self.one_terms(after, pattern, change, None)

    def one_terms(self, name: str, pattern: str, since: date, until: date | None) -> dict[str, Any]:
        """Random terms."""
        dice = self.dice
        form = dice.choice(["price_list", "price_list", "share_of_gross", "share_of_net", "cost_plus",
                            "graduated_tiers", "all_units_tiers"])  # fmt: skip
        terms: dict[str, Any] = {
            "id": name, "pattern": pattern, "form": form, "since": since, "until": until,
            "tax_ppm": dice.choice([0, 60_000, 60_000, 130_000, 33_333]), "inclusive": dice.random() < 0.3,
            "rounding": dice.choice(["half_up", "half_even"]), "minimum": None, "carry": 0, "cap": None,
            "prepaid": [], "burden": None,
        }  # fmt: skip
        if form == "share_of_gross":
            terms["share_ppm"] = dice.randint(1, PPM)
        if form == "share_of_net":
            terms |= {"share_ppm": dice.randint(1, PPM), "revenue_tax_ppm": dice.choice([0, 60_000, 90_000]),
                      "channel_fee_ppm": dice.randint(0, 300_000), "bad_debt_ppm": dice.randint(0, 50_000)}  # fmt: skip
        if form == "cost_plus":
            terms["markup_ppm"] = dice.randint(0, 400_000)
        if form.endswith("_tiers"):
            terms["classes"] = dice.sample(PRICED, dice.randint(1, 3))
            edges = [0, *sorted(dice.sample(range(1, 40), dice.randint(1, 3)))]
            price = dice.randint(500_000, 9_000_000)
            terms["steps"] = [(edge * 10_000_000, price // (n + 1)) for n, edge in enumerate(edges)]
        if dice.random() < 0.4:
            terms |= {"minimum": dice.randint(1, 400_000), "carry": dice.randint(0, 3)}
        if dice.random() < 0.2:
            terms["cap"] = max(terms["minimum"] or 0, dice.randint(50_000, 300_000))
        if dice.random() < 0.3:
            days = [first_day(dice.choice(self.months)) + timedelta(dice.randint(-40, 60)) for _ in range(2)]
            terms["prepaid"] = [(day, dice.randint(1, 500_000)) for day in days]
        if form in ("price_list", "cost_plus") and dice.random() < 0.5:
            terms["burden"] = dice.choice([0, PPM, dice.randint(1, PPM - 1)])
        return terms

    # --- Files ---

    def prices_csv(self) -> str:
        """The price list as the book has it."""
        rows = ["price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,service_tier,"
                "time_basis,valid_from,valid_to,known_from,source,approved_by,approved_at"]  # fmt: skip
        for price in self.prices:
            unit = "request" if price.cls == "requests" else "token"
            until = price.until.isoformat() if price.until else ""
            rows.append(f"{price.id},wholesale,{VENDOR},{price.model},{price.cls},{unit},{self.list_currency},"
                        f"{price.micro},*,{price.basis},{price.since},{until},2026-01-01,oracle,a,2026-01-01")  # fmt: skip
        return "\n".join(rows) + "\n"

    def rating_toml(self) -> str:
        """The contracts that take a discount off list prices, one after the other."""
        out = []
        ends = [since.isoformat() for since, _ in self.discounts[1:]] + [None]
        for number, ((since, ppm), until) in enumerate(zip(self.discounts, ends, strict=True), 1):
            out += ["[[contract]]", f'id = "discount-{number}"', f'vendor = "{VENDOR}"', 'model_pattern = "*"',
                    'form = "price_list"', f"discount_ppm = {ppm}", f'currency = "{self.list_currency}"',
                    f'valid_from = "{since.isoformat()}"', 'known_from = "2026-01-01"', 'approved_by = "oracle"',
                    'approved_at = "2026-01-01"', *([f'valid_to = "{until}"'] if until else [])]  # fmt: skip
        return "\n".join(out) + "\n"

    def contracts_toml(self) -> str:
        """The settlement terms."""
        out = []
        for terms in self.terms:
            out += ["[[terms]]", f'id = "{terms["id"]}"', f'vendor = "{VENDOR}"',
                    f'model_pattern = "{terms["pattern"]}"', f'form = "{terms["form"]}"',
                    f'currency = "{self.currency}"', f"tax_ppm = {terms['tax_ppm']}",
                    f"amounts_include_tax = {str(terms['inclusive']).lower()}", f'rounding = "{terms["rounding"]}"',
                    f'valid_from = "{terms["since"]}"', 'known_from = "2026-01-01"', 'source = "oracle"',
                    'approved_by = "oracle"', 'approved_at = "2026-01-01"']  # fmt: skip
            if terms["until"]:
                out.append(f'valid_to = "{terms["until"]}"')
            for key in ("share_ppm", "markup_ppm", "revenue_tax_ppm", "channel_fee_ppm", "bad_debt_ppm"):
                if key in terms:
                    out.append(f"{key} = {terms[key]}")
            if "steps" in terms:
                out.append(f"tier_classes = {json.dumps(terms['classes'])}")
                step = "{{ above_units = {}, price_micro_per_million = {} }}"
                steps = [step.format(edge, price) for edge, price in terms["steps"]]
                out.append(f"tiers = [{', '.join(steps)}]")
            if terms["minimum"] is not None:
                out += [f'minimum = "{money(terms["minimum"])}"', f"carry_months = {terms['carry']}"]
            if terms["cap"] is not None:
                out.append(f'cap = "{money(terms["cap"])}"')
            if terms["prepaid"]:
                paid = [f'{{ paid_on = "{day}", amount = "{money(cents)}" }}' for day, cents in terms["prepaid"]]
                out.append(f"prepaid = [{', '.join(paid)}]")
            if terms["burden"] is not None:
                shared = f'"shared", vendor_ppm = {terms["burden"]}'
                burden = {0: '"operator"', PPM: '"vendor"'}.get(terms["burden"], shared)
                out.append(f"trial = {{ burden = {burden}, packages = {json.dumps(TRIALS)} }}")
        for month, rate in self.rates.items():
            out += ["[[fx]]", f'from = "{self.list_currency}"', f'to = "{self.currency}"', f'period = "{month}"',
                    f'rate = "{plain(rate, 6)}"', f'date = "{last_day(month)}"', 'source = "oracle"'] \
                if self.list_currency != self.currency else []  # fmt: skip
            if self.currency != self.revenue_currency and self.list_currency != self.revenue_currency:
                out += ["[[fx]]", f'from = "{self.revenue_currency}"', f'to = "{self.currency}"', f'period = "{month}"',
                        f'rate = "{plain(rate, 6)}"', f'date = "{last_day(month)}"', 'source = "oracle"']  # fmt: skip
        return "\n".join(out) + "\n"

    # --- Usage ---

    def price_of(self, model: str, cls: str, group: dict[str, Any]) -> tuple[Price, int] | None:
        """The price of a class for the calls of a group, and what it comes to less the discount."""
        for price in self.prices:
            at = datetime.fromisoformat(group["started_at" if price.basis == "start" else "completed_at"])
            day = at.date()
            holds = price.since <= day and (not price.until or day < price.until)
            if (price.model, price.cls) == (model, cls) and holds:
                discount = [ppm for since, ppm in self.discounts if since <= at][-1]
                micro = price.micro * (PPM - discount)
                assert micro % PPM == 0, self.name
                return price, micro // PPM
        return None

    def group(self, month: str) -> dict[str, Any]:
        """One rated group of a day of a month."""
        dice = self.dice
        day = first_day(month) + timedelta(dice.randint(0, last_day(month).day - 1))
        # Around the instants at which something changes, too.
        completed = midnight(day) + timedelta(milliseconds=dice.choice([0, 86_399_999, dice.randint(0, 86_399_999)]))
        edge = dice.choice(self.discounts)[0] - timedelta(milliseconds=dice.randint(0, 1))
        if dice.random() < 0.2 and edge.date().isoformat()[:7] == month:
            day, completed = edge.date(), edge
        started = completed - timedelta(milliseconds=dice.choice([0, 1, dice.randint(0, 1_800_000)]))
        model = dice.choice(MODELS)
        units = {cls: dice.randint(1, 80_000_000) for cls in PRICED if dice.random() < 0.7}
        units["requests"] = dice.randint(1, 5_000)
        times = {"started_at": started.isoformat(), "completed_at": completed.isoformat()}
        used = [(cls, self.price_of(model, cls, times)) for cls in units]
        wholesale = sum(units[cls] * price[1] for cls, price in used if price)
        revenue = dice.choice([0, dice.randint(0, 900 * PICO)])
        packages = dice.choice(["telecom-10m", "telecom-10m", "trial-1", "gift-2,trial-1", "trial-1,telecom-10m", ""])
        return {
            "day": day.isoformat(), **times, "corrected": False, "model": model, "supplier": dice.choice([VENDOR, "bailian"]),
            "service_tier": dice.choice(["standard", "standard", "batch"]),
            "price_ids": ",".join(price[0].id for _, price in used if price), "currency": self.list_currency,
            "packages": packages, "retail_currency": self.revenue_currency if packages else None,
            "events": units["requests"], "units": units, "wholesale_pico": str(wholesale),
            "retail_pico": str(revenue if packages else 0),
        }  # fmt: skip

    def usage(self) -> list[list[dict[str, Any]]]:
        """The groups of every month, with what comes late for the ones before it, and what corrections take back of
        these and count in its stead."""
        dice, months = self.dice, []
        counted: list[dict[str, Any]] = []
        for number, month in enumerate(self.months):
            groups = [self.group(month) for _ in range(dice.randint(0, 12))]
            if number and dice.random() < 0.7:
                groups += [self.group(dice.choice(self.months[:number])) for _ in range(dice.randint(1, 4))]
            closed = [group for group in counted if group["day"][:7] < month]
            for wrong in dice.sample(closed, min(len(closed), dice.choice([0, 0, 1, 2]))):
                counted.remove(wrong)
                groups.append(taken_back(wrong))
                if dice.random() < 0.5:
                    groups.append(self.group(wrong["day"][:7]) | {"corrected": True})
            counted += [group for group in groups if not group["corrected"]]
            months.append(groups)
        return months

    def posted(self, month: str, number: int) -> list[dict[str, Any]]:
        """Adjustments that people post to a month."""
        dice = self.dice
        if dice.random() < 0.7:
            return []
        reason = dice.choice(["dispute_credit", "volume_correction", "tax_correction", "complaint_refund", "re_rate",
                              "fx_difference", "suspense_write_off", "correction_event"])  # fmt: skip
        orig = dice.choice([*self.months[:number], None])
        return [{"id": f"P-{month}", "terms": "all", "reason": reason, "amount": money(dice.randint(-90_000, 90_000)),
                 "orig_period": orig, "orig_line_id": None, "note": "", "by": "ann", "approved_by": "bob"}]  # fmt: skip


def taken_back(group: dict[str, Any]) -> dict[str, Any]:
    """What takes a group back: everything of it below 0."""
    return group | {
        "corrected": True, "events": -group["events"], "units": {cls: -n for cls, n in group["units"].items()},
        "wholesale_pico": str(-int(group["wholesale_pico"])), "retail_pico": str(-int(group["retail_pico"])),
    }  # fmt: skip


# --- Settlement ---


def amounts(cents: int, terms: dict[str, Any]) -> tuple[int, int, int]:
    """Net, tax and gross of an amount as the contract gives it."""
    if terms["inclusive"]:
        net = rounded(Fraction(cents, 100) * PPM / (PPM + terms["tax_ppm"]), terms["rounding"])
        return net, cents - net, cents
    tax = rounded(Fraction(cents, 100) * terms["tax_ppm"] / PPM, terms["rounding"])
    return cents, tax, cents + tax


class Vendor:
    """What a vendor's statements remember from month to month."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.volume: dict[tuple[str, str], int] = {}
        self.carry: dict[str, list[tuple[str, int, str]]] = {}
        self.prepaid: dict[str, tuple[int, int]] = {}
        self.lines: set[tuple[Any, ...]] = set()

    def terms_of(self, model: str, day: date) -> dict[str, Any]:
        """The terms in force that name a model most closely."""
        best = None
        for terms in self.case.terms:
            pattern = terms["pattern"]
            if pattern.endswith("*"):
                close = len(pattern) - 1 if model.startswith(pattern[:-1]) else None
            else:
                close = 1_000 if model == pattern else None
            in_force = terms["since"] <= day and (terms["until"] is None or day < terms["until"])
            if close is not None and in_force and (best is None or close > best[0]):
                best = close, terms
        assert best, self.case.name
        return best[1]

    def statement(self, month: str, groups: list[dict[str, Any]], posted: list[dict[str, Any]]) -> dict[str, Any]:
        """The statement of a month."""
        sections = []
        for terms in sorted(self.case.terms, key=lambda terms: terms["id"]):
            mine = [g for g in groups if self.terms_of(g["model"], date.fromisoformat(g["day"])) is terms]
            section = Section(self, month, terms).settle(mine, [p for p in posted if p["terms"] == terms["id"]])
            sections += [section] if section else []
        total = [sum(section["total"][n] for section in sections) for n in range(3)]
        units: dict[str, int] = {}
        for group in groups:
            for cls, count in group["units"].items():
                units[cls] = units.get(cls, 0) + count
        corrected = sum(g["events"] for g in groups if g["corrected"])
        late = sum(g["events"] for g in groups if g["day"][:7] < month and not g["corrected"])
        return {"sections": [printable(section) for section in sections], "total": [money(cents) for cents in total],
                "words": in_words(total[2], self.case.currency), "units": {cls: str(n) for cls, n in units.items()},
                "events": sum(g["events"] for g in groups) - late - corrected, "late_events": late,
                "corrected_events": corrected,
                "wholesale": plain(sum(int(g["wholesale_pico"]) for g in groups), 12)}  # fmt: skip


def printable(section: dict[str, Any]) -> dict[str, Any]:
    """A section with its amounts as decimals."""
    def texts(triple):
        return [money(cents) for cents in triple]

    return section | {
        "lines": [[*key[:6], str(units), plain(listed, 12), *texts(row)] for key, units, listed, row in section["lines"]],
        "adjustments": [[*key, str(units), *texts(triple)] for key, units, triple in section["adjustments"]],
        "rounding": texts(section["rounding"]), "total": texts(section["total"]),
    }  # fmt: skip


class Section:
    """What one month owes by one set of terms."""

    def __init__(self, vendor: Vendor, month: str, terms: dict[str, Any]) -> None:
        self.vendor, self.case, self.month, self.terms = vendor, vendor.case, month, terms
        self.exact = Fraction(0)
        self.lines: list[Any] = []
        self.adjustments: list[Any] = []

    def owed(self, listed: Fraction, currency: str) -> Fraction:
        """What the terms pay for a listed amount, in the contract's currency."""
        terms = self.terms
        if terms["form"] == "share_of_gross":
            listed *= Fraction(terms["share_ppm"], PPM)
        elif terms["form"] == "share_of_net":
            without_tax = listed / (1 + Fraction(terms["revenue_tax_ppm"], PPM))
            less = 1 - Fraction(terms["channel_fee_ppm"], PPM) - Fraction(terms["bad_debt_ppm"], PPM)
            listed = without_tax * less * Fraction(terms["share_ppm"], PPM)
        elif terms["form"] == "cost_plus":
            listed *= 1 + Fraction(terms["markup_ppm"], PPM)
        if currency != self.case.currency:
            listed *= Fraction(self.case.rates[self.month], PPM)
        return listed

    def enter(self, amount: Fraction) -> tuple[int, int, int]:
        """Adds an exact amount and rounds it for its own row."""
        self.exact += amount
        return amounts(rounded(amount, self.terms["rounding"]), self.terms)

    def write(self, origin: tuple[str, bool], key: tuple[Any, ...], units: int, listed_pico: int,
              currency: str) -> Fraction:  # fmt: skip
        """A line, or an adjustment where the month of the usage is closed."""
        owed = self.owed(Fraction(listed_pico, PICO), currency)
        month, corrected = origin
        if month == self.month:
            self.lines.append((key, units, listed_pico, self.enter(owed)))
        else:
            self.adjust("correction_event" if corrected else "late_usage", month, key, units, owed)
        return owed

    def adjust(self, reason: str, month: str, key: tuple[Any, ...], units: int, owed: Fraction) -> None:
        """An adjustment for usage of a month."""
        late = month != self.month
        has_line = reason != "tier_true_up" and (not late or (self.terms["id"], month, key) in self.vendor.lines)
        row = (reason, month if late else None, has_line, key[0], key[1], key[4])
        self.adjustments.append((row, units, self.enter(owed)))

    def settle(self, groups: list[dict[str, Any]], posted: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Everything, in the order of the document."""
        terms, case = self.terms, self.case
        sums: dict[tuple[Any, ...], list[int]] = {}
        volumes: dict[tuple[str, bool], int] = {}
        tiers = "steps" in terms
        for group in groups:
            origin = group["day"][:7], group["corrected"]
            trial = (terms["burden"] is not None and group["packages"] != ""
                     and all(package in TRIALS for package in group["packages"].split(",")))  # fmt: skip
            if terms["form"].startswith("share"):
                if group["retail_currency"]:
                    key = (group["model"], "revenue", group["supplier"], group["service_tier"], "", trial, 0)
                    entry = sums.setdefault((origin, key, group["retail_currency"]), [0, 0])
                    entry[0] += group["events"]
                    entry[1] += int(group["retail_pico"])
                continue
            for cls, units in group["units"].items():
                found = case.price_of(group["model"], cls, group)
                if found is None:
                    continue
                price, micro = found
                if tiers and cls in terms["classes"]:
                    volumes[origin] = volumes.get(origin, 0) + units
                    continue
                # Each discount has a line of its own.
                key = (group["model"], cls, group["supplier"], group["service_tier"], price.id, trial, micro)
                entry = sums.setdefault((origin, key, group["currency"]), [0, 0])
                entry[0] += units
                entry[1] += units * micro
        for (origin, key, currency), (units, pico) in sums.items():
            owed = self.write(origin, key, units, pico, currency)
            if key[5] and terms["burden"]:
                self.adjust("free_trial", origin[0], key, units, -owed * Fraction(terms["burden"], PPM))
        if tiers:
            self.settle_tiers(volumes)
        payable = rounded(self.exact, terms["rounding"])
        for adjustment in posted:
            cents = int(Decimal(adjustment["amount"]).scaleb(2))
            payable += cents
            row = (adjustment["reason"], adjustment["orig_period"], False, "", "", "")
            self.adjustments.append((row, 0, amounts(cents, terms)))
        if terms["cap"] is not None and payable > terms["cap"]:
            payable = self.whole("cap", payable, terms["cap"] - payable)
        minimum = prepaid = None
        month_end = last_day(self.month)
        in_force = terms["since"] <= month_end and (not terms["until"] or month_end < terms["until"])
        if terms["minimum"] is not None and in_force:
            difference, minimum = self.guarantee(payable)
            payable = self.whole("minimum_guarantee_true_up", payable, difference)
        opening, known = self.vendor.prepaid.get(terms["id"], (0, 0))
        to_date = sum(cents for day, cents in terms["prepaid"] if day <= month_end)
        if opening or to_date != known:
            drawn = min(max(payable, 0), opening + to_date - known)
            payable = self.whole("prepaid_drawn", payable, -drawn)
            closing = opening + to_date - known - drawn
            self.vendor.prepaid[terms["id"]] = closing, to_date
            prepaid = [money(cents) for cents in (opening, to_date - known, drawn, closing)]
        if not self.lines and not self.adjustments and minimum is None and prepaid is None:
            return None
        self.vendor.lines |= {(terms["id"], self.month, line[0]) for line in self.lines}
        total = amounts(payable, terms)
        parts = [sum(row[-1][n] for row in self.lines + self.adjustments) for n in range(3)]
        return {"terms": terms["id"], "lines": sorted(self.lines), "adjustments": self.adjustments, "total": total,
                "rounding": [whole - part for whole, part in zip(total, parts, strict=True)],
                "minimum": minimum, "prepaid": prepaid}  # fmt: skip

    def whole(self, reason: str, payable: int, cents: int) -> int:
        """An adjustment of the whole section; what is payable after it."""
        if cents:
            self.adjustments.append(((reason, None, False, "", "", ""), 0, amounts(cents, self.terms)))
        return payable + cents

    def settle_tiers(self, volumes: dict[tuple[str, bool], int]) -> None:
        """Slices of the volume by tier, and what reaching a tier changes; corrections go on where late usage ended,
        and what they take back comes out of the highest tiers that were reached."""
        steps = self.terms["steps"]
        ends = [edge for edge, _ in steps[1:]] + [None]

        def graduated(units: int) -> int:
            return sum(max(0, (units if end is None else min(units, end)) - edge) * price
                       for (edge, price), end in zip(steps, ends, strict=True))  # fmt: skip

        def whole(units: int) -> int:
            if self.terms["form"] == "graduated_tiers" or units == 0:
                return graduated(units)
            return units * [price for edge, price in steps if edge < units][-1]

        for origin, units in sorted(volumes.items()):
            month, _ = origin
            if units == 0:
                continue
            before = self.vendor.volume.get((self.terms["id"], month), 0)
            after = before + units
            self.vendor.volume[self.terms["id"], month] = after
            for number, ((edge, price), end) in enumerate(zip(steps, ends, strict=True), 1):
                low, high = min(before, after), max(before, after)
                here = (high if end is None else min(high, end)) - max(low, edge)
                if here > 0:
                    key = (self.terms["pattern"], "units", "", "", str(number), False, price)
                    here = here if after > before else -here
                    self.write(origin, key, here, here * price, self.case.currency)
            difference = (whole(after) - graduated(after)) - (whole(before) - graduated(before))
            if difference:
                key = (self.terms["pattern"], "units", "", "", "", False, 0)
                owed = self.owed(Fraction(difference, PICO), self.case.currency)
                self.adjust("tier_true_up", month, key, units, owed)

    def guarantee(self, payable: int) -> tuple[int, dict[str, Any]]:
        """What a guaranteed minimum adds or takes."""
        least, opening = self.terms["minimum"], self.vendor.carry.get(self.terms["id"], [])
        usable = sorted(carry for carry in opening if carry[2] >= self.month)
        closing, used = [], 0
        for since, cents, until in usable:
            use = max(0, min(cents, payable - used - least))
            used += use
            if use < cents:
                closing.append((since, cents - use, until))
        short = max(0, least - payable)
        if short and self.terms["carry"]:
            closing.append((self.month, short, shifted(self.month, self.terms["carry"])))
        self.vendor.carry[self.terms["id"]] = closing
        shown = [[since, money(cents), until] for since, cents, until in closing]
        return short - used, {"used": money(used), "shortfall": money(short), "closing": shown}


def vector(seed: int, number: int) -> dict[str, Any]:
    """A case with every month's input and statement."""
    case = Case(seed, number)
    vendor, months = Vendor(case), []
    for place, (month, groups) in enumerate(zip(case.months, case.usage(), strict=True)):
        posted = case.posted(month, place)
        months.append({"period": month, "groups": groups, "posted": posted,
                       "expect": vendor.statement(month, groups, posted)})  # fmt: skip
    return {"name": case.name, "prices_csv": case.prices_csv(), "rating_toml": case.rating_toml(),
            "contracts_toml": case.contracts_toml(), "vendor": VENDOR, "months": months}  # fmt: skip


def main() -> int:
    """Writes vectors or words."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--words", action="store_true")
    options = parser.parse_args()
    if options.words:
        dice = random.Random(options.seed)
        amounts_of = [*range(-1_200, 1_200), *(10**n + d for n in range(2, 13) for d in (-1, 0, 1, 10, 100, 1_000))]
        amounts_of += [int("".join(dice.choice("00012345") for _ in range(dice.randint(1, 14)))) for _ in range(5_000)]
        for cents in amounts_of:
            sys.stdout.write(json.dumps([money(cents), in_words(cents, "CNY")], ensure_ascii=False) + "\n")
        return 0
    for number in range(options.cases):
        sys.stdout.write(json.dumps(vector(options.seed, number)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
