"""Holds the rating of grouped rows to single events rated by the oracle, and shows that each wrong sum is noticed."""

import unittest
from decimal import Decimal

import duckdb
import rate_rows
import rating_oracle
from rate_rows import CLASSES, PICO


class RateRows(unittest.TestCase):
    """Rows at every kind of edge, in DuckDB as the tables have them."""

    def setUp(self) -> None:
        self.database = duckdb.connect()
        counts = ", ".join(f"{class_} BIGINT" for class_ in CLASSES)
        self.database.execute(f"""CREATE TABLE usage_events (model VARCHAR, billed_model VARCHAR, vendor VARCHAR,
            supplier VARCHAR, service_tier VARCHAR, product VARCHAR, completed_at TIMESTAMPTZ,
            wholesale_currency VARCHAR, points DECIMAL(38, 6), wholesale_amount DECIMAL(38, 12), {counts})""")
        self.failures: list[str] = []

    def add(self, event: dict, pico: int, currency: str, micro: int) -> None:
        model = event["model"]
        usage = [event["usage"].get(class_, 0) for class_ in CLASSES]
        values = [model, event.get("billed_model", model), event["vendor"], event.get("supplier"),
                  event.get("service_tier"), event.get("product"), rating_oracle.instant(event["completed_at"]),
                  currency, Decimal(micro) / 10**6, Decimal(pico) / PICO, *usage]  # fmt: skip
        self.database.execute(f"INSERT INTO usage_events VALUES ({', '.join('?' * len(values))})", values)

    def check(self) -> rate_rows.Totals:
        def equal(what: str, found: object, wanted: object) -> None:
            if found != wanted:
                self.failures.append(f"{what}: {found}, should be {wanted}")

        rows = self.database.execute(rate_rows.groups_query()).fetchall()
        return rate_rows.check_every_row(equal, rows)

    def test_groups_come_to_what_the_vectors_come_to(self) -> None:
        """Every vector of the oracle that is rated by all that is known, as a row."""
        expected: dict[str, int] = {}
        count = 0
        for vector in rating_oracle.vectors():
            expect, event = vector["expect"], vector["event"]
            plain = vector["known_at"] is None and vector["weights"] == "default" and not expect["suspense"]
            # Of a product the vendor's price a request is not given.
            if not plain or expect["wholesale_currency"] == "any":
                continue
            vendor, billed = rating_oracle.attribution(event, None)
            pico = int(Decimal(expect["wholesale_amount"]) * PICO)
            currency = expect["wholesale_currency"]
            self.add(event | {"vendor": vendor, "billed_model": billed}, pico, currency, int(expect["points_micro"]))
            expected[currency] = expected.get(currency, 0) + pico
            count += 1
        totals = self.check()
        self.assertEqual(self.failures, [])
        self.assertEqual((totals.seen, totals.rated, totals.unknown), (count, count, 0))
        self.assertEqual(totals.pico, expected)
        self.assertGreater(count, 1_500)

    def test_made_up_prices_are_chosen_by_rank(self) -> None:
        at = "2026-11-04T10:00:00+08:00"
        for event, pico, currency in [
            ({"model": "qwen3-plus", "vendor": "qwen", "usage": {"input": 10}}, 8_000_000, "CNY"),
            ({"model": "qwen3-plus", "vendor": "qwen", "usage": {"input": 10}, "service_tier": "batch"}, 4_000_000, "CNY"),
            # Published input, made-up output.
            ({"model": "gpt-5.5", "vendor": "openai", "usage": {"input": 1, "output": 1}}, 35_000_000, "USD"),
            ({"model": "glm-5", "vendor": "zhipu", "usage": {"cached_input": 4}, "supplier": "bailian"}, 4_800_000, "CNY"),
            ({"model": "qwen3-max", "vendor": "qwen", "usage": {"input": 32_000, "cached_input": 1}},
             32_000 * 4_000_000 + 800_000, "CNY"),
        ]:  # fmt: skip
            tokens = sum(event["usage"].values())
            self.add(event | {"completed_at": at}, pico, currency, tokens * 10**6)
        totals = self.check()
        self.assertEqual(self.failures, [])
        self.assertEqual(totals.rated, 5)

    def test_a_wrong_row_is_noticed_among_thousands(self) -> None:
        event = {"model": "deepseek-v4-pro", "vendor": "deepseek", "completed_at": "2026-11-04T10:00:00+08:00"}
        for n in range(1, 2_001):
            self.add(event | {"usage": {"output": n}}, 27 * 10**6 * n + (n == 1_234), "CNY", n * 10**6)
        self.check()
        self.assertEqual([failure.split(":")[0].split(" of ")[0] for failure in self.failures], ["price", "wholesale"])
        self.assertIn("price of 2000 rows of deepseek-v4-pro deepseek", self.failures[0])

    def test_what_is_taken_back_is_rated_by_its_own_tier(self) -> None:
        event = {"model": "qwen3-max", "vendor": "qwen", "completed_at": "2026-11-04T10:00:00+08:00"}
        for sign in [1, -1]:
            self.add(event | {"usage": {"input": sign * 200_000}}, sign * 7 * 10**6 * 200_000, "CNY", sign * 2 * 10**11)
        self.add(event | {"usage": {"input": -40_000}}, -4 * 10**6 * 40_000, "CNY", -4 * 10**10)
        self.check()
        self.assertEqual(self.failures, [])

    def test_models_of_no_list_are_counted_and_known_ones_need_a_price(self) -> None:
        at = {"completed_at": "2026-11-04T10:00:00+08:00"}
        self.add(at | {"model": "acme-1", "vendor": "acme", "usage": {"input": 5}}, 77, "CNY", 5 * 10**6)
        self.add(at | {"model": "claude-opus", "vendor": "anthropic", "usage": {"images": 5}}, 77, "USD", 0)
        totals = self.check()
        self.assertEqual((totals.seen, totals.rated, totals.unknown), (2, 0, 1))
        self.assertEqual(len(self.failures), 1)
        self.assertIn("should be no price for images", self.failures[0])


class Offers(unittest.TestCase):
    """Packages and tariffs of the domain."""

    def failures(self, check: object, rows: list[tuple]) -> tuple[int, list[str]]:
        failures = []

        def equal(what: str, found: object, wanted: object) -> None:
            if found != wanted:
                failures.append(what)

        return check(equal, rows), failures

    def test_pay_as_you_go_is_rounded_down_once(self) -> None:
        # S1: 336 points at 4 micro-yuan.
        good = [("A", "sh-telecom-payg", Decimal("-336"), Decimal("0.001344"), 0),
                ("B", "sh-mobile-payg", Decimal("-0.000001"), Decimal("0.000000000002"), 0),
                ("C", "sh-telecom-payg", Decimal("-336"), Decimal("9"), 1), ("D", "own-payg", Decimal("-1"), Decimal("9"), 0)]  # fmt: skip
        self.assertEqual(self.failures(rate_rows.check_tariffs, good), (2, []))
        for row in [("A", "sh-telecom-payg", Decimal("-336"), Decimal("0.001344000001"), 0),
                    ("B", "sh-mobile-payg", Decimal("-0.000001"), Decimal("0.000000000003"), 0)]:  # fmt: skip
            self.assertEqual(len(self.failures(rate_rows.check_tariffs, [row])[1]), 1, row)

    def test_a_grant_has_the_price_and_the_points_of_its_offer(self) -> None:
        good = [("telecom-10m", Decimal("10000000.000000"), Decimal("9.900000000000"), 3),
                ("mobile-gift-500k", Decimal(500_000), Decimal(0), 1), ("own", Decimal(1), Decimal(1), 9)]  # fmt: skip
        self.assertEqual(self.failures(rate_rows.check_grants, good), (4, []))
        for row in [("telecom-10m", Decimal(10_000_001), Decimal("9.9"), 1), ("telecom-10m", Decimal(10**7), Decimal(9), 1)]:
            self.assertEqual(len(self.failures(rate_rows.check_grants, [row])[1]), 1, row)


if __name__ == "__main__":
    unittest.main()
