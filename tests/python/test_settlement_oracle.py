"""Holds the settlement oracle to the domain's own figures, literally: S6, S7, and known amounts in words."""

import unittest
from datetime import date

import settlement_oracle
from settlement_oracle import Case, Section, Vendor, in_words, rounded

# The examples of the People's Bank's rules for filling in payment vouchers.
WORDS = {
    140_950: "人民币壹仟肆佰零玖元伍角",
    600_714: "人民币陆仟零柒元壹角肆分",
    168_032: "人民币壹仟陆佰捌拾元零叁角贰分",
    10_700_053: "人民币壹拾万柒仟元零伍角叁分",
    1_640_902: "人民币壹万陆仟肆佰零玖元零贰分",
    32_504: "人民币叁佰贰拾伍元零肆分",
    0: "人民币零元整",
    10_000_100_000: "人民币壹亿零壹仟元整",
    -20_000: "人民币负贰佰元整",
}


def terms(form: str, **more) -> dict:
    """Terms without tax."""
    return {"id": "t", "pattern": "*", "form": form, "since": date(2026, 1, 1), "until": None, "tax_ppm": 0,
            "inclusive": False, "rounding": "half_up", "minimum": None, "carry": 0, "cap": None, "prepaid": [],
            "burden": None} | more  # fmt: skip


class Scenarios(unittest.TestCase):
    """The scenarios of the domain's section 6."""

    def setUp(self) -> None:
        self.case = Case(1, 1)
        self.case.currency = self.case.list_currency = "CNY"
        self.vendor = Vendor(self.case)

    def test_tiers(self) -> None:
        """S6: one and a half billion tokens."""
        steps = [(0, 1_000_000), (1_000_000_000, 800_000)]
        for form, total in (("graduated_tiers", 140_000), ("all_units_tiers", 120_000)):
            section = Section(Vendor(self.case), "2026-10", terms(form, classes=["input"], steps=steps))
            section.settle_tiers({("2026-10", False): 1_500_000_000})
            self.assertEqual([line[3][0] for line in section.lines], [100_000, 40_000])
            true_ups = [row[2][0] for row in section.adjustments]
            self.assertEqual(true_ups, [] if form == "graduated_tiers" else [-20_000])
            self.assertEqual(rounded(section.exact, "half_up"), total)

    def test_minimum(self) -> None:
        """S7: 700, 900 and 1,600 with a minimum of 1,000 and three months of carry."""
        paid = []
        for month, usage in (("2026-07", 70_000), ("2026-08", 90_000), ("2026-09", 160_000)):
            section = Section(self.vendor, month, terms("price_list", minimum=100_000, carry=3))
            paid.append(usage + section.guarantee(usage)[0])
        self.assertEqual(paid, [100_000, 100_000, 120_000])
        self.assertEqual(self.vendor.carry["t"], [])

    def test_words(self) -> None:
        """Published pairs."""
        for cents, words in WORDS.items():
            self.assertEqual(in_words(cents, "CNY"), words)

    def test_a_seed_repeats(self) -> None:
        """The same seed gives the same case, and every form comes up."""
        vectors = [settlement_oracle.vector(1, number) for number in range(100)]
        self.assertEqual(vectors, [settlement_oracle.vector(1, number) for number in range(100)])
        text = "".join(vector["contracts_toml"] for vector in vectors)
        for word in ("price_list", "share_of_gross", "share_of_net", "cost_plus", "graduated_tiers", "all_units_tiers",
                     "minimum", "cap", "prepaid", "trial", "[[fx]]"):  # fmt: skip
            self.assertIn(word, text)
        months = [month for vector in vectors for month in vector["months"]]
        groups = [group for month in months for group in month["groups"]]
        # What is taken back of closed months and what counts in its stead, and calls on both sides of a discount.
        signs = {group["events"] > 0 for group in groups if group["corrected"]}
        self.assertEqual(signs, {True, False})
        self.assertGreater(sum(vector["rating_toml"].count("T00:00:00") > 2 for vector in vectors), 5)
        self.assertGreater(sum("discount-2" in vector["rating_toml"] for vector in vectors), 20)
        parted = 0
        for month in months:
            for section in month["expect"]["sections"]:
                keys = [tuple(line[:6]) for line in section["lines"]]
                parted += len(keys) - len(set(keys))
        self.assertGreater(parted, 10)
        reasons = {row[0] for month in months for section in month["expect"]["sections"] for row in section["adjustments"]}
        self.assertLessEqual({"late_usage", "correction_event", "re_rate", "fx_difference", "suspense_write_off"}, reasons)


if __name__ == "__main__":
    unittest.main()
