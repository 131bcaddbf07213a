"""Shows that the quota oracle follows docs/quota.md: scenarios of the domain, the edges of rules, sums of long runs."""

import json
import unittest
from collections import Counter

from quota_identity import blake3, identity
from quota_operations import MILLION, PACKAGES, POINT, REFERENCE, TARIFFS, Operations, caps, package, thresholds
from quota_oracle import Oracle, charge, first_difference
from quota_reference import DAY, HOUR, MINUTE, instant

YUAN = 10**12  # pico-currency
NOON = instant("2028-03-15T12:00:00+08:00")
FEN_990 = 990 * YUAN // 100
CAUSES = ("configuration", "in_flight", "lag", "late")
ALERTS = ("cap", "corrected", "expires_soon", "forecast", "overflow_spent", "overrun", "percent_used", "points_left",
          "spike")  # fmt: skip
ENTRIES = ("adjust", "breakage", "debit", "expire", "grant", "overrun", "payg", "refund", "top_up", "transfer_in",
           "transfer_out")  # fmt: skip
ERRORS = ("adjust_out_of_range", "amount_overflow", "bad_command", "bucket_expired", "conflicting_duplicate",
          "currency_mismatch", "package_not_sold", "transfer_out_of_range", "unknown_bucket", "unknown_flag",
          "unknown_package", "unknown_tariff", "unknown_weights")  # fmt: skip
CAPS = ("day", "month", "rolling_5h", "rolling_day", "rolling_week", "week")
COVERED = {
    *(f"cause {cause}" for cause in CAUSES),
    *(f"alert {kind}" for kind in ALERTS),
    *(f"entry {kind}" for kind in ENTRIES),
    *(f"error {code}" for code in ERRORS),
    *(f"cap {window}" for window in CAPS),
    *("member cap", "rolled phase", "split 0", "split 1", "split 2", "split 3+", "superseded"),
}


class Account:
    """One account of an oracle, driven by short calls; `answers` keeps what came out."""

    def __init__(self, *packages: dict, name: str = "a") -> None:
        self.oracle = Oracle()
        self.name = name
        self.serial = 0
        self.oracle.answer({"reference": REFERENCE | {"packages": PACKAGES + list(packages), "tariffs": TARIFFS}})

    def command(self, command: str, at: int = NOON, **fields: object) -> dict:
        self.serial += 1
        record = {"command": command, "id": f"c{self.serial}", "account": self.name, "at": at}
        return self.oracle.answer({"command": record | fields})

    def event(self, points: int, t: int = NOON, **fields: object) -> dict:
        """Charges whole points, the same by every weight table."""
        self.serial += 1
        micro = str(points * POINT)
        record = {
            "source": "gw", "id": f"e{self.serial}", "account": self.name, "subscriber": "s", "model": "glm-5",
            "billed_model": "glm-5", "product": None, "started_at": t, "completed_at": t, "log_time": t + 500,
            "points_micro": dict.fromkeys(("default", "flagship", "half"), micro), "wholesale_pico": str(points),
            "wholesale_currency": "CNY",
        }  # fmt: skip
        return self.oracle.answer({"event": record | fields})

    def watermark(self, ms: int) -> dict:
        return self.oracle.answer({"watermark": ms})

    def buckets(self) -> list:
        return list(self.oracle.accounts[self.name].buckets.values())


def parts(answer: dict) -> list[tuple]:
    """The entries in short: kind, bucket, points, amount."""
    return [(e["kind"], e["bucket"], int(e["points_micro"]), int(e["amount_pico"])) for e in answer["entries"]]


def points(answer: dict) -> list[tuple]:
    return [(kind, bucket, micro // POINT) for kind, bucket, micro, _ in parts(answer)]


def alerts(answer: dict) -> list[tuple]:
    return [(alert["kind"], alert["threshold"], alert["superseded_by"] is None) for alert in answer["alerts"]]


class Scenarios(unittest.TestCase):
    """S1, S2 and S3 of the domain."""

    def test_s1_a_package_is_used_up(self) -> None:
        account = Account()
        account.command("set_flags", flags={"region": "sh", "overflow": "sh-telecom-payg"})
        account.command("purchase", package="telecom-10m")
        alerted, revenue = {}, 0
        for n in range(1, 8105):
            answer = account.event(1234)
            if n < 8104:
                self.assertEqual(points(answer), [("debit", "c2", -1234)])
            revenue += parts(answer)[0][3]
            for kind, value, is_sent in alerts(answer):
                alerted[n] = kind, value, is_sent
        at_events = {4052: 50, 6483: 80, 8104: 100}
        self.assertEqual(alerted, {n: ("percent_used", value, True) for n, value in at_events.items()})
        self.assertEqual(points(answer), [("debit", "c2", -898), ("payg", None, -336)])
        self.assertEqual(parts(answer)[1][3], 1_344_000_000)  # 0.001344 yuan
        self.assertEqual(revenue, FEN_990)
        self.assertEqual(answer["charged"]["retail_pico"], str(sum(amount for *_, amount in parts(answer))))

    def test_s2_a_trial_is_used_first(self) -> None:
        account = Account()
        account.command("set_flags", flags={"region": "sh"})
        account.command("purchase", package="telecom-10m", at=NOON - DAY)
        account.command("purchase", package="sh-telecom-trial-25m")
        self.assertEqual(points(account.event(24_999_999)), [("debit", "c3", -24_999_999)])
        self.assertEqual(points(account.event(2)), [("debit", "c3", -1), ("debit", "c2", -1)])

    def test_s3_photo_cutouts(self) -> None:
        account = Account()
        account.command("purchase", package="mobile-gift-500k")
        account.command("purchase", package="telecom-10m")
        for _ in range(16):
            self.assertEqual(points(account.event(31_000, product="photo-cutout")), [("debit", "c1", -31_000)])
        answer = account.event(31_000, product="photo-cutout")
        self.assertEqual(points(answer), [("debit", "c1", -4_000), ("debit", "c2", -27_000)])


class Periods(unittest.TestCase):
    """Chains, calendars, rollover, closing."""

    def ends(self, account: Account) -> list[int]:
        return [bucket.valid_to for bucket in account.buckets()]

    def test_the_31st_comes_back(self) -> None:
        account = Account()
        account.command("purchase", package="telecom-10m", quantity=3, at=instant("2028-01-31T10:00:00+08:00"))
        account.command("purchase", package="telecom-10m", at=instant("2028-02-10"))
        days = ("2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31")
        self.assertEqual(self.ends(account), [instant(f"{day}T10:00:00+08:00") for day in days])
        self.assertEqual([bucket.id for bucket in account.buckets()], ["c1/1", "c1/2", "c1/3", "c2"])

    def test_a_cancelled_successor_is_replaced(self) -> None:
        account = Account()
        start = instant("2027-12-31")
        account.command("purchase", package="telecom-10m", quantity=3, at=start)
        account.command("cancel", bucket="c1/3", at=start)
        account.command("purchase", package="telecom-10m", at=start)
        days = ("2028-01-31", "2028-02-29", "2028-02-29", "2028-03-31")
        self.assertEqual(self.ends(account), [instant(day) for day in days])

    def test_calendar_anchors(self) -> None:
        account = Account()
        at = instant("2028-01-31T23:59:59.999+08:00")
        account.command("purchase", package="two-months", quantity=2, at=at)
        account.command("purchase", package="day-pass", quantity=2, at=at)
        days = ("2028-03-01", "2028-05-01", "2028-02-01", "2028-02-02")
        self.assertEqual(self.ends(account), [instant(day) for day in days])

    def test_rollover_is_limited_and_used_first(self) -> None:
        fields = {"period": {"days": 2}, "rollover": "next_period", "rollover_max_micro": MILLION}
        account = Account(package("rolling-on", 300, 3 * MILLION, **fields))
        account.command("purchase", package="rolling-on", quantity=2)
        account.event(1_000_000)
        later = NOON + 2 * DAY
        answer = account.event(1_500_000, later)
        self.assertEqual(points(answer), [("debit", "c1/1", -1_000_000), ("debit", "c1/2", -500_000)])
        self.assertEqual(points(account.event(900_000, later - 1)), [("debit", "c1/1", -900_000)])
        account.watermark(NOON + 6 * DAY - 1)
        answer = account.watermark(NOON + 6 * DAY)
        closed = [("expire", "c1/1", -100_000 * POINT, 0), ("breakage", "c1/1", 0, YUAN // 10)]
        self.assertEqual(parts(answer), closed)

    def test_a_bucket_takes_late_events_until_it_closes(self) -> None:
        account = Account()
        account.command("purchase", package="five-hours")
        end = NOON + 5 * HOUR
        account.watermark(end + 2 * DAY - 1)
        self.assertEqual(points(account.event(10, end)), [("overrun", None, -10)])
        answer = account.event(125_000, end - 1)
        self.assertEqual((points(answer), alerts(answer)), ([("debit", "c1", -125_000)], []))
        closed = [("expire", "c1", -125_000 * POINT, 0), ("breakage", "c1", 0, YUAN // 4)]
        self.assertEqual(parts(account.watermark(end + 2 * DAY)), closed)
        self.assertEqual(points(account.event(10, end - 1)), [("overrun", None, -10)])


class Rules(unittest.TestCase):
    """Caps, members, causes, alerts, commands."""

    def test_a_late_event_counts_in_its_own_slice(self) -> None:
        account = Account()
        account.command("purchase", package="coding", at=NOON - DAY)
        self.assertEqual(points(account.event(2_000_000, NOON)), [("debit", "c1", -2_000_000)])
        account.watermark(NOON)
        self.assertEqual(points(account.event(2_000_000, NOON - 3 * HOUR)), [("debit", "c1", -2_000_000)])
        self.assertEqual(points(account.event(1, NOON + 5 * MINUTE)), [("overrun", None, -1)])
        # Once the slice of the late event has left the window, a million is free, and no more.
        answer = account.event(1_500_000, NOON + 2 * HOUR)
        self.assertEqual(points(answer), [("debit", "c1", -1_000_000), ("overrun", None, -500_000)])

    def test_a_member_cap_stops_pay_as_you_go(self) -> None:
        account = Account()
        limits = {"s": {"caps": caps(day=30 * POINT)}}
        account.command("set_flags", flags={"overflow": "national-payg", "members": limits})
        account.command("purchase", package="five-hours")
        self.assertEqual(points(account.event(20)), [("debit", "c2", -20)])
        answer = account.event(20)
        self.assertEqual(points(answer), [("debit", "c2", -10), ("overrun", None, -10)])
        self.assertEqual(answer["entries"][1]["cause"], "configuration")
        self.assertEqual(points(account.event(20, subscriber="other")), [("debit", "c2", -20)])
        account.command("set_flags", flags={"members": {"s": None}})
        self.assertEqual(points(account.event(20)), [("debit", "c2", -20)])

    def test_causes(self) -> None:
        def cause(t: int, started: int) -> str:
            return account.event(1, t, started_at=started, log_time=t + 500)["entries"][-1]["cause"]

        account = Account()
        self.assertEqual(cause(NOON, NOON), "configuration")
        account.command("purchase", package="five-hours")
        account.event(250_000)
        late = NOON + MINUTE
        self.assertEqual(cause(late, late), "in_flight")
        self.assertEqual(cause(late + 9, late + 1), "lag")
        self.assertEqual(cause(late + 2000, late + 1500), "lag")
        self.assertEqual(cause(late + 2000, late + 1501), "configuration")
        account.watermark(late + 1)
        self.assertEqual(cause(late, late), "late")
        self.assertEqual(cause(NOON + 5 * HOUR, NOON + 5 * HOUR + 1), "configuration")

    def test_the_overrun_carries_its_part_of_the_wholesale_cost(self) -> None:
        account = Account(package("small", 0, 2 * POINT))
        account.command("purchase", package="small")
        answer = account.event(3, wholesale_pico="100")
        self.assertEqual(parts(answer)[1], ("overrun", None, -1 * POINT, 34))

    def test_another_currency_is_passed_over(self) -> None:
        account = Account()
        account.command("purchase", package="intl")
        account.command("purchase", package="telecom-10m")
        account.command("set_flags", flags={"overflow": "intl-payg"})
        answer = account.event(6_000_001, model="claude-opus")
        self.assertEqual(points(answer), [("debit", "c1", -6_000_000), ("payg", None, -1)])
        self.assertEqual(answer["charged"]["retail_currency"], "USD")

    def test_an_adjustment_corrects_an_alert_once(self) -> None:
        account = Account()
        account.command("purchase", package="telecom-10m")
        answer = account.event(9_000_000)
        self.assertEqual(alerts(answer), [("percent_used", 80, True), ("percent_used", 50, False)])
        sent = answer["alerts"][0]["id"]
        self.assertEqual(answer["alerts"][1]["superseded_by"], sent)
        self.assertEqual(sent, identity("a", "c1", NOON, "percent_used:0", 80))
        back = {"bucket": "c1", "points_micro": 2 * MILLION, "reason": "complaint", "approver": "care"}
        answer = account.command("adjust", **back)
        self.assertEqual([(alert["kind"], alert["corrects"]) for alert in answer["alerts"]], [("corrected", sent)])
        self.assertEqual(parts(answer), [("adjust", "c1", 2 * MILLION, -FEN_990 // 5)])
        self.assertEqual(account.command("adjust", **back)["alerts"], [])
        self.assertEqual(account.event(4_000_000)["alerts"], [])
        account.command("top_up", bucket="c1", points_micro=20 * MILLION, amount_micro=9_900_000)
        answer = account.event(18_000_000)
        self.assertEqual(alerts(answer), [("percent_used", 80, True), ("percent_used", 50, False)])
        self.assertEqual(answer["alerts"][0]["counter"], "percent_used:1")

    def test_thresholds_of_windows_and_months(self) -> None:
        account = Account()
        account.command("purchase", package="coding", at=NOON - DAY)
        answer = account.event(2_900_000)
        fives = [("cap", 80, True), ("cap", 50, False)]
        self.assertEqual(alerts(answer), [*fives, ("spike", 2_000_000 * POINT, True), ("spike", MILLION, False)])
        self.assertEqual({alert["counter"] for alert in answer["alerts"]}, {"cap:rolling_5h", "spike"})
        self.assertEqual(answer["alerts"][0]["period_start"], NOON - (NOON + 8 * HOUR) % (5 * HOUR))
        account.command("set_flags", flags={"overflow": "national-payg"})
        answer = account.event(1_000_000)
        self.assertIn(("overflow_spent", 2 * POINT, True), alerts(answer))
        self.assertEqual(answer["alerts"][-1]["period_start"], instant("2028-03-01"))

    def test_timers_fire_in_the_order_of_their_due_times(self) -> None:
        days = thresholds(expires_soon=(1, 2))
        account = Account(*(package(f"p{n}", 0, POINT, period={"days": n}, thresholds=days) for n in (4, 3)))
        account.command("purchase", package="p4")
        account.command("purchase", package="p3")
        answer = account.watermark(NOON + 10 * DAY)
        fired = [(alert["bucket"], alert["threshold"], alert["at"]) for alert in answer["alerts"]]
        due = (("c2", 2, 1), ("c1", 2, 2), ("c2", 1, 2), ("c1", 1, 3))
        self.assertEqual(fired, [(bucket, value, NOON + after * DAY) for bucket, value, after in due])
        self.assertEqual(points(answer), [("expire", "c2", -1), ("expire", "c1", -1)])

    def test_a_transfer_takes_its_part_of_the_price_along(self) -> None:
        account = Account()
        account.command("purchase", package="telecom-10m")
        account.command("purchase", package="telecom-40m")
        answer = account.command("transfer", from_bucket="c1", to_bucket="c2", points_micro=5 * MILLION)
        self.assertEqual([part[3] for part in parts(answer)], [-FEN_990 // 2, FEN_990 // 2])
        self.assertEqual([entry["balance_after_micro"] for entry in answer["entries"]], [5 * MILLION, 45 * MILLION])

    def test_money_is_given_back_for_points_that_go(self) -> None:
        account = Account()
        account.command("purchase", package="telecom-10m")
        account.event(4_000_000)
        refund = {"bucket": "c1", "refund": True, "reason": "complaint", "approver": "care"}
        answer = account.command("adjust", points_micro=-MILLION, **refund)
        self.assertEqual(parts(answer), [("refund", "c1", -MILLION, -FEN_990 // 10)])
        self.assertEqual(account.command("adjust", points_micro=MILLION, **refund)["error"], "bad_command")
        account.command("cancel", bucket="c1", at=NOON + HOUR)
        answer = account.command("adjust", at=NOON + DAY, points_micro=-5 * MILLION, **refund)
        self.assertEqual(parts(answer), [("refund", "c1", -5 * MILLION, -FEN_990 // 2)])
        # Nothing is left, and the ledger says that the bucket closed.
        self.assertEqual(parts(account.watermark(NOON + 10 * DAY)), [("expire", "c1", 0, 0)])

    def test_a_bucket_used_up_has_allocated_its_price(self) -> None:
        account = Account()
        account.command("purchase", package="telecom-10m")
        first = parts(account.event(4_000_000))[0][3]
        self.assertEqual(first, FEN_990 * 4 // 10)
        account.command("top_up", bucket="c1", points_micro=MILLION + 1, amount_micro=1)
        back = parts(account.command("adjust", bucket="c1", points_micro=MILLION, reason="r", approver="a"))[0][3]
        self.assertEqual(back, first * 3 // 4 - first)
        rest = sum(amount for *_, amount in parts(account.event(7_999_999)))
        last = parts(account.command("adjust", bucket="c1", points_micro=-POINT - 1, reason="r", approver="a"))[0][3]
        self.assertEqual(first + back + rest + last, FEN_990 + 10**6)

    def test_exhaustion_ends_with_an_event_without_overflow(self) -> None:
        def cause(points: int, t: int) -> str:
            return account.event(points, t)["entries"][-1]["cause"]

        account = Account()
        for n in range(2):
            account.command("purchase", package="five-hours", at=NOON + n * HOUR)
        self.assertEqual(cause(250_001, NOON), "in_flight")
        self.assertEqual(cause(250_001, NOON + HOUR), "configuration")
        account.command("purchase", package="shell")
        self.assertEqual(cause(1, NOON + 2 * HOUR), "in_flight")
        account.command("top_up", bucket="c2", points_micro=2 * POINT)
        account.event(1, NOON + 2 * HOUR)
        self.assertEqual(cause(2, NOON + 3 * HOUR), "in_flight")

    def test_a_bucket_that_is_long_over_closes_at_once(self) -> None:
        account = Account()
        account.watermark(NOON + 5 * HOUR + 2 * DAY)
        answer = account.command("purchase", package="five-hours", quantity=10)
        self.assertEqual([e["bucket"] for e in answer["entries"][10:14]], ["c1/1", "c1/1", "c1/10", "c1/10"])
        self.assertEqual({e["at"] for e in answer["entries"][10:]}, {NOON + 5 * HOUR + 2 * DAY})
        self.assertEqual(account.buckets(), [])

    def test_versions(self) -> None:
        later = package("v", 200, 5 * POINT, period={"days": 2}, known_from="2028-03-16T00:00:00+08:00")
        draft = package("v", 300, 6 * POINT, known_from="2028-03-17T00:00:00+08:00", approved_by=None)
        account = Account(later, draft, package("v", 100, 4 * POINT, period={"days": 1}))
        answers = [account.command("purchase", package="v", at=NOON + n * DAY) for n in (0, 3)]
        self.assertEqual([parts(answer)[0][2] for answer in answers], [4 * POINT, 5 * POINT])

    def test_the_same_command_again(self) -> None:
        account = Account()
        first = account.command("purchase", id="c", package="telecom-10m")
        again = account.command("purchase", id="c", package="telecom-10m")
        other = account.command("purchase", id="c", package="telecom-40m")
        self.assertEqual([len(answer["entries"]) for answer in (first, again, other)], [1, 0, 0])
        self.assertEqual([answer["error"] for answer in (first, again, other)], [None, None, "conflicting_duplicate"])
        respelled = account.command("purchase", "2028-03-15T04:00:00Z", id="c", package="telecom-10m", quantity="1")
        self.assertEqual((respelled["error"], respelled["entries"]), (None, []))

    def test_held_back_commands_change_nothing(self) -> None:
        account = Account()
        account.command("purchase", package="telecom-10m")
        ended = instant("2028-04-15T12:00:00+08:00")
        held_back = {
            "unknown_package": ("purchase", {"package": "x"}),
            "package_not_sold": ("purchase", {"package": "sh-telecom-trial-25m"}),
            "bad_command": ("purchase", {"package": "telecom-10m", "quantity": 1001}),
            "unknown_bucket": ("cancel", {"bucket": "x"}),
            "bucket_expired": ("top_up", {"bucket": "c1", "points_micro": 1, "at": ended}),
            "adjust_out_of_range": ("adjust", {"bucket": "c1", "points_micro": 1, "reason": "r", "approver": "a"}),
            "unknown_flag": ("set_flags", {"flags": {"x": 1}}),
            "unknown_tariff": ("set_flags", {"flags": {"overflow": "x"}}),
        }
        for code, (command, fields) in held_back.items():
            answer = account.command(command, **fields)
            self.assertEqual((answer["error"], answer["entries"]), (code, []))
        answer = account.command("set_flags", flags={"overflow": TARIFFS[0]["id"]})
        self.assertEqual(answer["error"], "package_not_sold")
        self.assertEqual(account.event(1)["entries"][0]["balance_after_micro"], 10 * MILLION - POINT)


class LongRuns(unittest.TestCase):
    """What must hold for each operation of a random run."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.operations = Operations(seed=7)
        lines = [json.dumps(operation) for operation in cls.operations.make(20_000)]
        cls.lines = [json.loads(line) for line in lines]
        cls.answers = [json.loads(answer) for answer in charge(lines)]

    def test_reaches_every_rule(self) -> None:
        self.assertEqual(COVERED - set(self.operations.seen), set())

    def test_the_parts_of_an_event_are_its_points(self) -> None:
        for operation, answer in zip(self.lines, self.answers, strict=True):
            if "event" not in operation or answer["error"]:
                continue
            charged, split = answer["charged"], parts(answer)
            self.assertEqual(-sum(micro for _, _, micro, _ in split), int(charged["points_micro"]))
            retail = sum(amount for kind, _, _, amount in split if kind != "overrun")
            self.assertEqual(retail, int(charged["retail_pico"]))
            sold = {entry["currency"] for entry in answer["entries"] if entry["kind"] != "overrun"}
            self.assertEqual(sold, {charged["retail_currency"]} - {None})

    def test_balances_revenue_and_breakage_of_each_bucket(self) -> None:
        balance, unallocated, shown, closed = Counter(), Counter(), {}, set()
        for answer in self.answers:
            for entry, (kind, bucket, micro, amount) in zip(answer["entries"], parts(answer), strict=True):
                if bucket is None:
                    continue
                self.assertNotIn((bucket, kind), {(name, "debit") for name in closed})
                balance[bucket] += micro
                unallocated[bucket] += -amount if kind in ("debit", "adjust", "breakage") else amount
                shown[bucket] = int(entry["balance_after_micro"])
                self.assertTrue(balance[bucket] == shown[bucket] >= 0 or kind in ("expire", "breakage"))
                closed |= {bucket} if kind in ("expire", "breakage") else set()
        self.assertEqual(dict(balance), shown)
        accounts = self.operations.oracle.accounts.values()
        still_open = {name: bucket for account in accounts for name, bucket in account.buckets.items()}
        for name in balance:
            bucket = still_open.get(name)
            left = (bucket.left, bucket.price - bucket.allocated) if bucket else (0, 0)
            self.assertEqual((balance[name], unallocated[name]), left, name)

    def test_each_alert_goes_out_once(self) -> None:
        sent, superseded = Counter(), Counter()
        for alert in (alert for answer in self.answers for alert in answer["alerts"]):
            (superseded if alert["superseded_by"] else sent)[alert["id"]] += 1
            self.assertTrue(alert["superseded_by"] is None or alert["superseded_by"] in sent)
            self.assertTrue(alert["corrects"] is None or alert["corrects"] in sent)
        self.assertEqual(set((sent + superseded).values()), {1})

    def test_the_same_seed_makes_the_same_operations(self) -> None:
        self.assertEqual(list(Operations(seed=7).make(200)), self.lines[:201])

    def test_a_field_that_stands_twice(self) -> None:
        line = '{"command":{"command":"cancel","id":"c","id":"c","account":"a","at":1,"bucket":"b"}}'
        self.assertEqual([json.loads(answer)["error"] for answer in charge([line])], ["bad_command"])

    def test_names_the_first_difference(self) -> None:
        ours = [json.dumps(answer) for answer in self.answers[:50]]
        self.assertIsNone(first_difference(ours, ours))
        other = [*ours[:20], ours[20].replace('"line": 21', '"line": 0'), *ours[21:]]
        self.assertEqual(first_difference(ours, other)[0], 21)
        self.assertEqual(first_difference(ours, ours[:49])[::2], (50, None))


class Identities(unittest.TestCase):
    """The hash against published values."""

    def test_blake3(self) -> None:
        self.assertEqual(blake3(b"").hex(), "af1349b9f5f9a1a6a0404dea36dcc949")
        self.assertEqual(blake3(b"abc").hex(), "6437b3ac38465133ffb63b75273a8db5")
        self.assertNotEqual(identity("a", "bc"), identity("ab", "c"))


if __name__ == "__main__":
    unittest.main()
