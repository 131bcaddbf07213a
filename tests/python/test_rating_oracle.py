"""Holds the rating oracle to the domain's own figures, literally, and to the vectors that it promises."""

import json
import os
import unittest
from collections import Counter
from decimal import Decimal

import rating_oracle

# S4: 1,000,000 cached tokens of V4-Pro, in yuan.
SCENARIO_4 = {
    "2026-04-26T20:14:59.999+08:00": "1.00",
    "2026-04-26T20:15:00.000+08:00": "0.025",
    "2026-05-20T12:00:00.000+08:00": "0.025",
    "2026-08-17T08:59:59.999+08:00": "0.15",
    "2026-08-17T09:00:00.000+08:00": "0.30",
    "2026-08-17T12:00:00.000+08:00": "0.15",
    "2026-08-22T10:00:00.000+08:00": "0.30",
    "2026-08-23T10:00:00.000+08:00": "0.15",
    "2026-10-01T10:00:00.000+08:00": "0.15",
}
# S5: V4-Pro on 2026-09-15 in a peak window, by when the book is known; hit, miss, out of a million tokens.
CLASSES = ("cached_input", "input", "output")
FLASH, PRO = ("0.04", "2", "8"), ("0.30", "9", "27")
SCENARIO_5 = {
    "2026-09-10T11:59:59.999+08:00": PRO,
    "2026-09-12T00:00:00.000+08:00": FLASH,
    "2026-09-13T23:59:59.999+08:00": FLASH,
    "2026-09-14T00:00:00.000+08:00": PRO,
    "2026-10-15T00:00:00.000+08:00": PRO,
    None: PRO,
}
# V4-Pro's output in yuan a million, by when the book is known and when the call was.
NOTICES = {
    ("2026-05-04T23:59:59.999+08:00", "2026-05-05T23:59:59.999+08:00"): "6",
    ("2026-05-04T23:59:59.999+08:00", "2026-05-06T00:00:00.000+08:00"): "24",
    ("2026-05-05T00:00:00.000+08:00", "2026-05-06T00:00:00.000+08:00"): "6",
    ("2026-05-05T00:00:00.000+08:00", "2026-06-01T00:00:00.000+08:00"): "24",
    ("2026-05-22T00:00:00.000+08:00", "2026-06-01T00:00:00.000+08:00"): "6",
    ("2026-08-16T23:59:59.999+08:00", "2026-08-17T09:00:00.000+08:00"): "6",
    ("2026-08-17T00:00:00.000+08:00", "2026-08-17T09:00:00.000+08:00"): "27",
    ("2026-08-22T23:59:59.999+08:00", "2026-08-23T10:00:00.000+08:00"): "27",
    ("2026-08-23T00:00:00.000+08:00", "2026-08-23T10:00:00.000+08:00"): "13.5",
    # Before weekdays are told apart, no calendar is needed.
    ("2026-08-22T23:59:59.999+08:00", "2027-01-04T10:00:00.000+08:00"): "27",
    ("2026-08-23T00:00:00.000+08:00", "2027-01-04T10:00:00.000+08:00"): None,
    ("2026-04-23T23:59:59.999+08:00", "2026-04-24T00:00:00.000+08:00"): None,
}


def pro(completed: str, class_: str) -> dict:
    """An event of a million tokens of one class of V4-Pro."""
    return {"source": "gw", "id": completed, "account": "A1", "model": "deepseek-v4-pro", "vendor": "deepseek",
            "completed_at": completed, "usage": {class_: 1_000_000}}  # fmt: skip


class RatingOracle(unittest.TestCase):
    """The scenarios are typed here once more, so that a slip in the oracle's tables shows."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.vectors = {vector["name"]: vector for vector in rating_oracle.vectors()}

    def test_scenario_4_literally(self) -> None:
        for completed, yuan in SCENARIO_4.items():
            name = "S4 " + completed.removesuffix("+08:00").replace("T", " ")
            for found in [rating_oracle.rate(pro(completed, "cached_input"), None), self.vectors[name]["expect"]]:
                with self.subTest(name):
                    self.assertEqual(Decimal(found["wholesale_amount"]), Decimal(yuan))
                    self.assertEqual(found["wholesale_currency"], "CNY")
                    self.assertEqual(found["points_micro"], "1000000000000")

    def test_scenario_5_literally(self) -> None:
        for known_at, hit_miss_out in SCENARIO_5.items():
            for class_, yuan, pro_yuan in zip(CLASSES, hit_miss_out, PRO, strict=True):
                with self.subTest(f"{known_at} {class_}"):
                    found = rating_oracle.rate(pro("2026-09-15T10:00:00+08:00", class_), known_at)
                    self.assertEqual(Decimal(found["wholesale_amount"]), Decimal(yuan))
                    before = rating_oracle.rate(pro("2026-09-14T11:59:59.999+08:00", class_), known_at)
                    self.assertEqual(Decimal(before["wholesale_amount"]), Decimal(pro_yuan))

    def test_what_is_not_told_yet_is_not_known(self) -> None:
        for (known_at, completed), yuan in NOTICES.items():
            with self.subTest(f"{known_at} {completed}"):
                found = rating_oracle.rate(pro(completed, "output"), known_at)["wholesale_amount"]
                self.assertEqual(found and Decimal(found), yuan and Decimal(yuan))

    def test_by_an_unknown_table_nothing_is_counted(self) -> None:
        event = pro("2026-09-15T10:00:00+08:00", "input")
        found = rating_oracle.rate(event, None, "no-such-table")
        self.assertEqual((found["suspense"], found["points_micro"]), ("unknown_weights", None))
        cut_out = rating_oracle.rate(event | {"product": "photo-cutout"}, None, "no-such-table")
        self.assertEqual(cut_out["points_micro"], "31000000000")

    def test_the_coding_plan_counts_its_flagship_three_times_at_peak_and_twice_else(self) -> None:
        event = {"model": "glm-5", "vendor": "zhipu", "usage": {"input": 1_000, "output": 10}}
        for time, times in [("13:59:59.999", 2), ("14:00:00.000", 3), ("17:59:59.999", 3), ("18:00:00.000", 2)]:
            completed = {"completed_at": f"2026-11-04T{time}+08:00"}
            for fields, weights, expected in [
                ({}, "coding-plan-example", times),
                ({}, "default", 1),
                ({"model": "x", "billed_model": "glm-5"}, "coding-plan-example", times),
                ({"billed_model": "deepseek-flash", "vendor": "deepseek"}, "coding-plan-example", 1),
            ]:
                with self.subTest(f"{time} {fields} {weights}"):
                    found = rating_oracle.rate(event | fields | completed, None, weights)
                    self.assertEqual(found["points_micro"], str(expected * 1_010 * 10**6))

    def test_amounts_have_twelve_decimals_and_nothing_is_rounded(self) -> None:
        expect = self.vectors["one cached_input 07-01 00:00 deepseek-v4-pro"]["expect"]
        self.assertEqual(expect["wholesale_amount"], "0.000000025000")
        expect = self.vectors["2^53 of each 09-16 15:00 deepseek-v4-pro"]["expect"]
        self.assertEqual(expect["wholesale_amount"], "326961332947.098009600000")  # 2^53 x 36.3 / 10^6
        self.assertEqual(expect["points_micro"], "27021597764222976000000")

    def test_the_vectors_are_many_and_their_events_distinct(self) -> None:
        vectors = rating_oracle.vectors()
        self.assertEqual(len(vectors), 3864)
        self.assertEqual(len(self.vectors), len(vectors))
        self.assertEqual(len({(v["event"]["source"], v["event"]["id"]) for v in vectors}), len(vectors))
        reasons = Counter(vector["expect"]["suspense"] for vector in vectors)
        held = {"unknown_model", "unknown_calendar_year", "no_price", "unknown_weights"}
        self.assertEqual(reasons.keys(), {None} | held)

    def test_what_is_held_back_has_no_amounts(self) -> None:
        for vector in self.vectors.values():
            expect = vector["expect"]
            for field in ["points_micro", "wholesale_amount", "wholesale_currency"]:
                self.assertEqual(expect[field] is None, expect["suspense"] is not None, vector["name"])

    def test_two_runs_are_equal(self) -> None:
        self.assertEqual(json.dumps(rating_oracle.vectors()), json.dumps([*self.vectors.values()]))

    def test_workdays(self) -> None:
        workdays = Counter(line["day"][:4] for line in rating_oracle.calendar() if line["workday"])
        self.assertEqual(len(rating_oracle.calendar()), 730)
        # 261 days each from Monday to Friday, of which 18 are holidays in 2025 and 19 in 2026.
        self.assertEqual(workdays, {"2025": 243, "2026": 242})

    def test_the_packages_have_the_same_calendar(self) -> None:
        try:
            differences = rating_oracle.calendar_differences()
        except ImportError as error:
            # `make test` has installed them.
            if "TALLY_TEST_PYTHON" in os.environ:
                raise
            self.skipTest(str(error))
        self.assertEqual(differences, [])


if __name__ == "__main__":
    unittest.main()
