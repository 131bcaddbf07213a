"""Makes a vendor's bill without request ids, and reads the evidence of a dispute back without any of Tally's code.

    check_dispute.py amounts ROWS.jsonl --bill FILE --truth FILE   DeepSeek's `amount` export of our rows of October in
                                                                   UTC, three groups of it changed
    check_dispute.py pack FOLDER --store STORE [--truth FILE]      dispute/ against differences.json (bills with request
                                                                   ids) or the truth and groups.csv, and the table

ROWS.jsonl is what `plant_differences.py table` writes. The truth: [[day, model], …]. DuckDB reads the Parquet files,
delta-rs the table's log. Exit codes: 0 all holds, 1 a check failed.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
from deltalake import DeltaTable

TYPES = {"input": "input_cache_miss_tokens", "cached_input": "input_cache_hit_tokens", "output": "output_tokens"}
CLASSES = [*TYPES, "requests"]
MICRO = Decimal(10) ** -12  # yuan a token, of micro-yuan for 1,000,000 tokens
PRICES = Path(__file__).parents[2] / "rating/data/prices.csv"
POSITION = "kafka_partition, kafka_offset, batch_index"


def price_list():
    """Micro-yuan for a million tokens by price id; the versions of an id differ in their times only."""
    lines = [line for line in PRICES.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {row["price_id"]: (row["class"], int(row["price_micro_per_million"])) for row in csv.DictReader(lines)}


def amounts(rows, bill, truth):
    prices = price_list()
    sums = defaultdict(int)
    for row in rows:
        day = datetime.fromtimestamp(row["at_ms"] / 1000, timezone.utc).strftime("%Y-%m-%d")
        if not day.startswith("2026-10"):
            continue
        used = dict(prices[price_id.strip()] for price_id in row["price_ids"].split(","))
        for name in TYPES:
            if row["counts"][name]:
                sums[day, row["model"], name, used[name]] += row["counts"][name]
        sums[day, row["model"], "requests", None] += 1
    # Seven tokens more, a line that is missing, a price that no list has.
    changed = []
    for day, model, change in [("2026-10-07", "deepseek-flash", "more"), ("2026-10-12", "deepseek-v4-pro", "missing"),
                               ("2026-10-20", "deepseek-flash", "price")]:
        key = next(key for key in sorted(sums, key=str) if key[:3] == (day, model, "output"))
        if change == "more":
            sums[key] += 7
        else:
            count = sums.pop(key)
            if change == "price":
                sums[(*key[:3], 2 * key[3] + 1)] = count
        changed.append([day, model])
    with open(bill, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["user_id", "utc_date", "model", "api_key_name", "api_key", "type", "price", "amount"])
        for (day, model, name, price), count in sorted(sums.items(), key=str):
            cost = f"{price * MICRO:f}" if price is not None else ""
            writer.writerow(["u1", day, model, "k", "sk-1", TYPES.get(name, "request_count"), cost, count])
    Path(truth).write_text(json.dumps(changed), encoding="utf-8")


def check(holds, what):
    if not holds:
        sys.exit(f"check failed: {what}")


def rows_of(query, files):
    return duckdb.execute(query, [files]).fetchall()


def check_records(events, differences):
    """By record: exactly our side of the differences in dispute, under the same ids and amounts."""
    wanted = {(row["kafka_partition"], row["kafka_offset"], row["batch_index"]):
              (row["request_id"], Decimal(row["our_amount"]))
              for row in differences if row["disputed"] and row["kafka_offset"] is not None}
    found = {tuple(position): (request_id, amount) for *position, request_id, amount in rows_of(
        f"SELECT {POSITION}, coalesce(vendor_request_id, ''), wholesale_amount FROM read_parquet(?)", events)}
    check(wanted and found == wanted, f"{len(found)} events of {len(wanted)} records in dispute")


def check_groups(events, table, groups, truth):
    """By group: every event of the groups that were changed, no other, and their sums are our side of groups.csv."""
    day = "strftime(completed_at, '%Y-%m-%d')"
    counted = f"SELECT {day}, billed_model, {POSITION} FROM read_parquet(?, hive_partitioning = false)"
    of_table = {tuple(row) for row in rows_of(f"{counted} WHERE vendor = 'deepseek'", table) if list(row[:2]) in truth}
    found = rows_of(counted, events)
    check(set(found) == of_table and len(found) == len(of_table) > 0, f"{len(found)} events of {len(of_table)}")
    ours = defaultdict(lambda: [0] * len(CLASSES) + [Decimal(0)])
    for row in groups:
        if [row["day"], row["model"]] in truth:
            sums = ours[row["day"], row["model"]]
            sums[CLASSES.index(row["token_class"])] += int(row["our_quantity"])
            sums[-1] += Decimal(row["our_amount"])
    sums = ", ".join(f"sum({name})::BIGINT" for name in CLASSES)
    summed = {(day, model): list(rest) for day, model, *rest in rows_of(
        f"SELECT {day}, billed_model, {sums}, sum(wholesale_amount) FROM read_parquet(?) GROUP BY ALL", events)}
    check(summed == dict(ours), f"the events sum to {summed}, the groups to {dict(ours)}")
    outside = {(row["day"], row["model"]) for row in groups if row["outside"] == "true"}
    check(outside == {tuple(group) for group in truth}, f"outside are {outside}")


def pack(folder, store, truth):
    duckdb.sql("SET TimeZone = 'UTC'")
    dispute = folder / "dispute"
    events = [str(dispute / "our-events.parquet")]
    if truth is None:
        check_records(events, json.loads((folder / "differences.json").read_text()))
    else:
        with open(folder / "groups.csv", encoding="utf-8") as groups:
            table = DeltaTable(f"{store}/tables/usage_events").file_uris()
            check_groups(events, table, list(csv.DictReader(groups)), json.loads(Path(truth).read_text()))
    used = {price_id.strip() for (ids,) in rows_of("SELECT DISTINCT wholesale_price_ids FROM read_parquet(?)", events)
            for price_id in ids.split(",")}
    with open(dispute / "prices.csv", encoding="utf-8") as prices:
        told = {row["price_id"]: (row["token_class"], int(row["price_micro_per_million"]))
                for row in csv.DictReader(prices)}
    check(set(told) == used, f"prices {sorted(told)} of {sorted(used)}")
    check(all(price_list()[price_id] == price for price_id, price in told.items()), f"prices {told}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("amounts")
    made.add_argument("rows")
    made.add_argument("--bill", required=True)
    made.add_argument("--truth", required=True)
    checked = commands.add_parser("pack")
    checked.add_argument("folder", type=Path)
    checked.add_argument("--store", required=True)
    checked.add_argument("--truth")
    options = parser.parse_args()
    if options.command == "pack":
        return pack(options.folder, options.store, options.truth)
    with open(options.rows, encoding="utf-8") as lines:
        amounts([json.loads(line) for line in lines], options.bill, options.truth)


if __name__ == "__main__":
    main()
