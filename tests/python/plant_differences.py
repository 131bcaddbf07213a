"""Makes a vendor's bill of our own rows, with differences planted in it, and writes which ones.

Nothing here knows Tally's code: the classes are those of `docs/reconciliation.md`, and each is planted by doing to a
line what its name says. Everything follows from the seed.

    plant_differences.py rows   --seed S --rows N --out ROWS.jsonl     rows of a made-up month, as the tables have them
    plant_differences.py events --seed S --rows N --out EVENTS.jsonl   the same as usage events, for the log
    plant_differences.py table  STORE --vendor V --out ROWS.jsonl      rows as they are in the table usage_events
    plant_differences.py bill  ROWS.jsonl --seed S --per-class K --form FORM --bill FILE --mapping FILE --truth FILE

A row: request_id, at_ms, model, tier, counts, amount_pico, currency, usage_source, finish_reason, price_ids.
FORM: csv, bom, gb18030 (Chinese header, semicolons, thousands separators), xlsx, ndjson.
The truth: {"planted": [[request_id, class], …], "lines": n, "amount": pico of the bill by currency}.
"""

import argparse
import csv
import io
import json
import random
import zipfile
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from xml.sax.saxutils import escape

BEIJING = timezone(timedelta(hours=8))
PICO = 10**12
HOUR = 3_600_000
DAY = 24 * HOUR
CLASSES = ["input", "cached_input", "output"]
# yuan for 1 M tokens, in micro-yuan: input, cached input, output
PRICES = {"deepseek-flash": (1_000_000, 20_000, 4_000_000), "deepseek-v4-pro": (4_500_000, 150_000, 13_500_000)}
TAX_PPM = 60_000
# Half of the last decimal of the bill that rounds.
ROUNDING_PICO = 500_000


def month(year, number):
    """First millisecond of a month in Beijing, and the one after its last."""
    begin = datetime(year, number, 1, tzinfo=BEIJING)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=BEIJING)
    return int(begin.timestamp()) * 1000, int(end.timestamp()) * 1000


def priced(model, counts):
    return sum(price * counts[name] for name, price in zip(CLASSES, PRICES[model]))


def make_rows(seed, count):
    draws = random.Random(seed)
    begin, end = month(2026, 10)
    rows = []
    for number in range(count):
        model = draws.choice(list(PRICES))
        counts = {"input": draws.randint(50, 4000), "cached_input": draws.choice([0, draws.randint(1, 9000)]),
                  "output": draws.randint(20, 3000)}
        finish, source = draws.choices(
            [("stop", "reported"), ("length", "reported"), ("client_disconnect", "partial"), ("error", "estimated")],
            [80, 10, 5, 5])[0]
        at_ms = draws.randrange(begin, end)
        if number % 10 == 0:  # enough of them at the edges of days and of the month
            at_ms = begin + (at_ms - begin) // DAY * DAY + draws.randrange(DAY - 10 * 60_000, DAY)
        if number % 25 == 0:
            at_ms = draws.randrange(end - 6 * HOUR, end)
        if number % 50 == 1:  # of the next month by our clock
            at_ms = draws.randrange(end, end + 6 * HOUR)
        rows.append({"request_id": f"chatcmpl-{seed}-{number:06x}", "at_ms": at_ms, "model": model, "tier": "standard",
                     "counts": counts, "amount_pico": priced(model, counts), "currency": "CNY",
                     "usage_source": source, "finish_reason": finish, "price_ids": f"{model}.made-up"})
    return rows


def make_events(seed, count):
    """Usage events; the last ones have no request id of the vendor, or are of another vendor."""
    for number, row in enumerate(make_rows(seed, count)):
        usage = {name: n for name, n in row["counts"].items() if n}
        event = {"source": "gw-1", "id": f"e-{number}", "account": f"A{number % 97}", "model": row["model"],
                 "completed_at": row["at_ms"], "usage": usage, "usage_source": row["usage_source"],
                 "finish_reason": row["finish_reason"], "vendor_request_id": row["request_id"]}
        if number >= count - 10:
            del event["vendor_request_id"]
        elif number >= count - 20:
            event["model"] = "glm-5"
        yield event


def table_rows(store, vendor):
    """Rows of the table, by delta-rs' reading of its log and DuckDB's of its files."""
    import duckdb
    from deltalake import DeltaTable

    files = DeltaTable(f"{store}/tables/usage_events").file_uris()
    names = ", ".join(CLASSES)
    query = f"""SELECT coalesce(vendor_request_id, ''), epoch_ms(completed_at), billed_model, service_tier, {names},
        CAST(wholesale_amount AS VARCHAR), wholesale_currency, usage_source, coalesce(finish_reason, ''),
        wholesale_price_ids FROM read_parquet(?, hive_partitioning = false) WHERE vendor = ? ORDER BY 1, 2, 3"""
    for found in duckdb.execute(query, [files, vendor]).fetchall():
        request_id, at_ms, model, tier, *counts = found[:4 + len(CLASSES)]
        amount, currency, source, finish, price_ids = found[4 + len(CLASSES):]
        yield {"request_id": request_id, "at_ms": at_ms, "model": model, "tier": tier,
               "counts": dict(zip(CLASSES, counts)), "amount_pico": int(Decimal(amount).scaleb(12)),
               "currency": currency, "usage_source": source, "finish_reason": finish, "price_ids": price_ids}


def line_of(row):
    return {"request_id": row["request_id"], "at_ms": row["at_ms"], "model": row["model"], "tier": row["tier"],
            "counts": dict(row["counts"]), "amount_pico": row["amount_pico"], "currency": row["currency"],
            "credit_pico": 0}


def scaled(amount, before, after):
    """The amount of other counts, in proportion; what price the vendor took is not the question here."""
    return amount * (sum(after.values()) + 1) // (sum(before.values()) + 1) + 1


MONTH_END = month(2026, 10)[1]


def in_month(row):
    return row["at_ms"] < MONTH_END


class Planter:
    """Takes rows that a class can be planted in, and makes the bill's lines."""

    def __init__(self, rows, seed):
        self.draws = random.Random(seed)
        self.rows = [row for row in rows if row["request_id"]]
        self.draws.shuffle(self.rows)
        self.used = set()
        # A call of the next month is not on this bill, unless its time is shifted.
        self.lines = {row["request_id"]: [line_of(row)] if in_month(row) else [] for row in self.rows}
        # What the gateway has no id for cannot be on the bill under one.
        self.planted = [["", "missing_at_theirs"] for row in rows if not row["request_id"] and in_month(row)]

    def take(self, count, wanted):
        plain = [row for row in self.rows if row["request_id"] not in self.used and wanted(row)][:count]
        if len(plain) < count:
            raise SystemExit(f"only {len(plain)} of {count} rows can have {wanted.__name__}")
        self.used.update(row["request_id"] for row in plain)
        return plain

    def plant(self, name, count, wanted, change):
        for row in self.take(count, wanted):
            self.lines[row["request_id"]] = change(row, line_of(row))
            self.planted.append([row["request_id"], name])


def reported(row):
    return in_month(row) and row["usage_source"] == "reported" and row["finish_reason"] != "client_disconnect"


def plant(rows, seed, per_class):
    planter = Planter(rows, seed)
    draws = planter.draws
    models = sorted({row["model"] for row in rows})
    month_end = MONTH_END

    def extra(row, line):
        other = dict(line, request_id=row["request_id"] + "-unknown", counts=dict(line["counts"]))
        return [line, other]

    def twice(row, line):
        again = dict(line, counts=dict(line["counts"]))
        if draws.random() < 0.3:
            again["amount_pico"] += draws.choice([-7, 7]) * ROUNDING_PICO
        if draws.random() < 0.3:
            again["at_ms"] += 60_000
        return [line, again]

    def more_output(row, line):
        line["counts"]["output"] += draws.randint(1, 50)
        line["amount_pico"] = scaled(row["amount_pico"], row["counts"], line["counts"])
        return [line]

    def uncached(row, line):
        moved = draws.randint(1, line["counts"]["cached_input"])
        line["counts"]["cached_input"] -= moved
        line["counts"]["input"] += moved
        line["amount_pico"] += moved * 1_000_000
        return [line]

    def other_model(row, line):
        line["model"] = draws.choice([model for model in models if model != row["model"]])
        line["amount_pico"] = row["amount_pico"] * 3
        return [line]

    def other_price(row, line):
        line["amount_pico"] = row["amount_pico"] * draws.choice([2, 3]) if draws.random() < 0.5 \
            else row["amount_pico"] * 3 // 4
        return [line]

    def to_month_end(row):
        return reported(row) and month_end - 7 * HOUR < row["at_ms"]

    def of_next_month(row):
        return not in_month(row)

    def to_midnight(row):
        return reported(row) and 0 < DAY - (row["at_ms"] + 8 * HOUR) % DAY < 10 * 60_000 \
            and row["at_ms"] < month_end - DAY

    def anywhere(row):
        return reported(row) and row["at_ms"] < month_end - DAY

    def shifted(by):
        def change(row, line):
            line["at_ms"] += by
            return [line]
        return change

    def dollars(row, line):
        line["currency"] = "USD"
        return [line]

    def fraction(row):
        return reported(row) and row["amount_pico"] % 1_000_000 != 0

    def rounded(row, line):
        line["amount_pico"] = (row["amount_pico"] + ROUNDING_PICO) // 1_000_000 * 1_000_000
        return [line]

    def estimated(row):
        return in_month(row) and row["usage_source"] == "estimated" and row["finish_reason"] != "client_disconnect"

    def aborted(row):
        return in_month(row) and row["finish_reason"] == "client_disconnect"

    def batch(row, line):
        line["tier"] = "batch"
        line["amount_pico"] = row["amount_pico"] // 2
        return [line]

    def free(row, line):
        if draws.random() < 0.5:
            line["credit_pico"] = row["amount_pico"]
        line["amount_pico"] = 0
        return [line]

    def with_tax(row, line):
        line["amount_pico"] += row["amount_pico"] * TAX_PPM // 1_000_000
        return [line]

    def large(row):
        """Large enough that no difference passes as rounding."""
        return reported(row) and row["amount_pico"] > 1_000 * ROUNDING_PICO

    def cached(row):
        return reported(row) and row["counts"]["cached_input"] > 0

    third = per_class // 3
    # The rarer the rows that can have it, the earlier.
    planter.plant("time_shift", third // 2, to_month_end, shifted(8 * HOUR))
    planter.plant("time_shift", third - third // 2, of_next_month, shifted(-8 * HOUR))
    planter.plant("time_shift", third, to_midnight, shifted(10 * 60_000))
    planter.plant("time_shift", per_class - 2 * third, anywhere, shifted(-8 * HOUR))
    planter.plant("estimated", per_class, estimated, more_output)
    planter.plant("client_aborted", per_class, aborted, more_output)
    planter.plant("rounding", per_class, fraction, rounded)
    planter.plant("token_class", per_class, cached, uncached)
    planter.plant("missing_at_theirs", per_class, reported, lambda row, line: [])
    planter.plant("missing_at_ours", per_class, reported, extra)
    for found in planter.planted:
        if found[1] == "missing_at_ours":
            found[0] += "-unknown"
    planter.plant("duplicate", per_class, reported, twice)
    planter.plant("token_count", per_class, reported, more_output)
    planter.plant("model", per_class, reported, other_model)
    planter.plant("price_version", per_class, large, other_price)
    planter.plant("currency", per_class, reported, dollars)
    planter.plant("service_tier", per_class, reported, batch)
    planter.plant("free_quota", per_class, large, free)
    planter.plant("tax", per_class, large, with_tax)
    lines = [line for row in planter.rows for line in planter.lines[row["request_id"]]]
    draws.shuffle(lines)
    return lines, planter.planted


def decimal(pico, thousands=False):
    whole, part = divmod(pico, PICO)
    text = f"{whole:,}" if thousands else str(whole)
    return f"{text}.{part:012d}".rstrip("0").rstrip(".")


HEADER = ["request_id", "completed_at", "model", "service_tier", "input_tokens", "cached_tokens", "output_tokens",
          "amount", "currency", "free_quota"]
CHINESE = ["请求编号", "完成时间", "模型", "服务等级", "输入", "缓存命中", "输出", "金额", "币种", "免费额度"]

MAPPING = """name = "{form}"
verified = false
source = "made by plant_differences.py"
format = "{format}"

[columns]
request_id = "{c[0]}"
time = "{c[1]}"
model = "{c[2]}"
service_tier = "{c[3]}"
amount = "{c[7]}"
currency = "{c[8]}"
credit = "{c[9]}"

[time]
format = "{time}"
zone = "Asia/Shanghai"

[classes]
input = "{c[4]}"
cached_input = "{c[5]}"
output = "{c[6]}"

[amount]
currency = "CNY"
rounding = "0.0000005"
tax_ppm = 60000

[total]
column = "{c[0]}"
words = ["合计", "Total"]
"""


def cells(line, thousands=False, local=False):
    at = datetime.fromtimestamp(0, BEIJING) + timedelta(milliseconds=line["at_ms"])
    time = at.strftime("%Y-%m-%d %H:%M:%S.%f") if local else at.isoformat(timespec="milliseconds")
    count = (lambda number: f"{number:,}") if thousands else str
    return [line["request_id"], time, line["model"], line["tier"], *(count(line["counts"][name]) for name in CLASSES),
            decimal(line["amount_pico"], thousands), line["currency"],
            decimal(line["credit_pico"], thousands) if line["credit_pico"] else ""]


def total_cells(lines, word, thousands):
    counts = [sum(line["counts"][name] for line in lines) for name in CLASSES]
    amount = sum(line["amount_pico"] for line in lines)
    return [word, "", "", "", *(f"{n:,}" if thousands else str(n) for n in counts), decimal(amount, thousands), "", ""]


def write_csv(lines, header, delimiter, word, thousands, local):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(cells(line, thousands, local) for line in lines)
    writer.writerow(total_cells(lines, word, thousands))
    return out.getvalue()


def column_name(number):
    return chr(ord("A") + number)


def write_xlsx(path, lines):
    strings, index = [], {}

    def shared(text):
        if text not in index:
            index[text] = len(strings)
            strings.append(text)
        return index[text]

    rows = []
    for number, values in enumerate([HEADER, *(cells(line) for line in lines)], 1):
        row = []
        for column, value in enumerate(values):
            at = f"{column_name(column)}{number}"
            if value == "":
                continue
            if number > 1 and column in (4, 5, 6, 7, 9):
                row.append(f'<c r="{at}"><v>{value}</v></c>')
            elif column == 1:
                row.append(f'<c r="{at}" t="inlineStr"><is><t>{escape(value)}</t></is></c>')
            else:
                row.append(f'<c r="{at}" t="s"><v>{shared(value)}</v></c>')
        rows.append(f'<row r="{number}">{"".join(row)}</row>')
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets>'
                           '<sheet name="Bill" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{relations}'
                                      '/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{"".join(rows)}</sheetData></worksheet>',
        "xl/sharedStrings.xml": f'<sst xmlns="{main}">'
                                + "".join(f"<si><t>{escape(text)}</t></si>" for text in strings) + "</sst>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, '<?xml version="1.0" encoding="UTF-8"?>' + text)


def write_bill(lines, form, bill, mapping):
    columns, time, file_format = HEADER, "rfc3339", "csv"
    if form in ("csv", "bom"):
        text = write_csv(lines, HEADER, ",", "Total", False, False)
        Path(bill).write_bytes(text.encode("utf-8-sig" if form == "bom" else "utf-8"))
    elif form == "gb18030":
        columns, time = CHINESE, "%Y-%m-%d %H:%M:%S%.f"
        Path(bill).write_bytes(write_csv(lines, CHINESE, ";", "合计", True, True).encode("gb18030"))
    elif form == "xlsx":
        file_format = "xlsx"
        write_xlsx(bill, lines)
    elif form == "ndjson":
        file_format = "ndjson"
        with open(bill, "w", encoding="utf-8") as out:
            for line in lines:
                record = dict(zip(HEADER, cells(line)))
                # Counts and amounts as JSON numbers with all their digits.
                plain = json.dumps({name: record[name] for name in HEADER[:4] + ["currency"]}, ensure_ascii=False)
                numbers = "".join(f', "{name}": {record[name] or "null"}' for name in HEADER[4:8] + ["free_quota"])
                out.write(plain[:-1] + numbers + "}\n")
    Path(mapping).write_text(MAPPING.format(form=form, format=file_format, time=time, c=columns), encoding="utf-8")


def read_rows(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    made = [commands.add_parser("rows"), commands.add_parser("events")]
    for command in made:
        command.add_argument("--rows", type=int, required=True)
        command.add_argument("--out", required=True)
    table = commands.add_parser("table")
    table.add_argument("store")
    table.add_argument("--vendor", required=True)
    table.add_argument("--out", required=True)
    bill = commands.add_parser("bill")
    bill.add_argument("rows")
    bill.add_argument("--per-class", type=int, required=True)
    bill.add_argument("--form", required=True, choices=["csv", "bom", "gb18030", "xlsx", "ndjson"])
    for name in ["bill", "mapping", "truth"]:
        bill.add_argument(f"--{name}", required=True)
    for command in [*made, bill]:
        command.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    if options.command != "bill":
        made = {"rows": lambda: make_rows(options.seed, options.rows),
                "events": lambda: make_events(options.seed, options.rows),
                "table": lambda: table_rows(options.store, options.vendor)}[options.command]()
        with open(options.out, "w", encoding="utf-8") as out:
            for row in made:
                out.write(json.dumps(row) + "\n")
        return
    lines, planted = plant(read_rows(options.rows), options.seed, options.per_class)
    write_bill(lines, options.form, options.bill, options.mapping)
    amounts = defaultdict(int)
    for line in lines:
        amounts[line["currency"]] += line["amount_pico"]
    truth = {"planted": planted, "lines": len(lines), "amount": {key: str(pico) for key, pico in amounts.items()}}
    Path(options.truth).write_text(json.dumps(truth), encoding="utf-8")


if __name__ == "__main__":
    main()
