"""Compares documents of statements with the statements that they are of, without any of Tally's code.

FOLDER has NAME.json as `tally settle statement --format json` printed it, and beside each NAME.parquet,
NAME.focus.csv, and NAME.zh and NAME.en as .csv, .xlsx, .html and .pdf. Workbooks are read by openpyxl, pages of PDF by pdftotext,
HTML by Python's own parser, Parquet by DuckDB. Amounts are `decimal.Decimal`. Exit codes: 0 all holds, 1 a check
failed, 2 usage.

    check_documents.py FOLDER
"""

import argparse
import csv
import json
import re
import subprocess
import sys
from calendar import monthrange
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation, localcontext
from html import unescape
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import openpyxl

COLUMNS = ("net", "tax", "gross")
SHEETS = {
    "zh": ["结算单", "明细", "调整", "余额", "控制总数"],
    "en": ["Statement", "Lines", "Adjustments", "Balances", "Control totals"],
}
CARRIED = {"zh": ("过次页", "承前页"), "en": ("Carried forward", "Brought forward")}
PAGE = {"zh": "第 {} 页，共 {} 页", "en": "Page {} of {}"}
DRAFT = {"zh": "草稿", "en": "DRAFT"}
# What a document is called by: number, period, up to where events count, the form of the statement, its hash.
BASIS = {
    "zh": {
        "sequence": "结算单序号",
        "period": "账期",
        "cut_offs": "数据截止（分区/批次）",
        "schema": "格式版本",
        "hash": "结算单哈希（BLAKE3）",
    },
    "en": {
        "sequence": "Statement number",
        "period": "Period",
        "cut_offs": "Cut-off (partition/epoch)",
        "schema": "Schema",
        "hash": "Hash of the statement (BLAKE3)",
    },
}
EVENTS = {
    "zh": {
        "events": "本期事件数",
        "late_events": "迟到事件数（往期）",
        "corrected_events": "更正事件数（往期）",
    },
    "en": {
        "events": "Events of the period",
        "late_events": "Late events of earlier periods",
        "corrected_events": "Corrected events of earlier periods",
    },
}
CSV_PARTS = {
    "zh": {"header": "表头", "control": "控制总数", "adjustment": "调整", "line": "明细", "total": "合计"},
    "en": {name: name for name in ("header", "control", "adjustment", "line", "total")},
}
CSV_NAMES = {
    "zh": {
        "sequence": "序号",
        "period": "账期",
        "cut_offs": "截止",
        "schema": "格式版本",
        "hash": "哈希",
        "events": "事件数",
        "late_events": "迟到事件数",
        "corrected_events": "更正事件数",
    },
    "en": {
        "cut_offs": "cut_off",
        **{name: name for name in ("sequence", "period", "schema", "hash")},
        **{name: name for name in ("events", "late_events", "corrected_events")},
    },
}
# What `pdftotext -bbox` says of a page and of a word, in points from the upper left corner.
SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)"')
WORD = re.compile(r'<word xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.-]+)" yMax="([\d.-]+)">(.*?)</word>')
# Printers do not reach the edge of the paper.
EDGE = 15.0
# A word's box goes from its font's ascender to its descender: those of two lines may touch by so much of the lower one.
TOUCHING = 0.25
# Letters of the watermark are taller than all others.
WATERMARK = 60.0
NUMBER = re.compile(r"(?<![\w.,-])-?\d[\d,]*(?:\.\d+)?(?![\w.])")


def exact(value: Any) -> Decimal:
    """A number or a text of a cell as the decimal that it was written as."""
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(str(value))


def number(value: Any) -> Decimal | None:
    """A cell's number; none where it is empty or words."""
    try:
        return None if value is None else exact(value)
    except InvalidOperation:
        return None


def shown(value: str) -> str:
    """An amount with commas between its thousands."""
    return f"{Decimal(value):,.2f}"


def without_spaces(text: str) -> str:
    """A text as it is found however its lines are broken."""
    return re.sub(r"\s", "", text)


def misplaced(boxes: str, watermark: str) -> list[str]:
    """Words beyond the edge of their page, and words that lie on others, but for the letters of a watermark."""
    found = []
    for number, page in enumerate(boxes.split("<page ")[1:], 1):
        size = SIZE.match(page)
        if size is None:
            return [f"page {number} has no size"]
        width, height = float(size[1]), float(size[2])
        words = []
        for match in WORD.finditer(page):
            left, top, right, bottom = map(float, match.groups()[:4])
            text = unescape(match[5])
            if not (text in watermark and bottom - top > WATERMARK):
                words.append((left, top, right, bottom, text))
        if not words:
            found.append(f"page {number} is empty")
        for left, top, right, bottom, text in words:
            if min(left, top, width - right, height - bottom) < EDGE:
                found.append(f"page {number}: {text!r} is beyond the edge")
        for one, other in combinations(words, 2):
            across = min(one[2], other[2]) - max(one[0], other[0])
            down = min(one[3], other[3]) - max(one[1], other[1])
            if across > 0.1 and down > TOUCHING * min(one[3] - one[1], other[3] - other[1]):
                found.append(f"page {number}: {one[4]!r} lies on {other[4]!r}")
    return found


class Cells(HTMLParser):
    """The texts of a page outside of its style; what is in a `small` counts apart."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self.hidden and data.strip():
            self.texts.append(data)


class Check:
    """The documents of one statement."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.printed = json.loads(path.read_text(encoding="utf-8"))
        self.body = self.printed["statement"]
        self.sections = self.body["sections"]
        self.lines = [(section, line) for section in self.sections for line in section["lines"]]
        self.adjustments = [(section, row) for section in self.sections for row in section["adjustments"]]
        self.failures: list[str] = []

    def same(self, what: str, document: Any, statement: Any) -> None:
        """Notes a difference."""
        if document != statement:
            self.failures.append(f"{self.path.stem}: {what}: the document has {document}, the statement {statement}")

    def file(self, suffix: str) -> Path:
        """A document of the statement."""
        return self.path.with_name(f"{self.path.stem}.{suffix}")

    def run(self) -> list[str]:
        """Every difference."""
        for language in ("zh", "en"):
            self.table(language)
            self.workbook(language)
            self.page(language)
            self.pdf(language)
        self.parquet()
        self.focus()
        return self.failures

    def amounts(self, of: dict[str, Any]) -> list[Decimal]:
        """Net, tax and gross."""
        return [Decimal(of[column]) for column in COLUMNS]

    def every_amount(self) -> Counter[str]:
        """Each amount that pages show in a row of its own, as they show it."""
        rows = [row["amounts"] for _, row in self.lines + self.adjustments]
        rows += [section[key] for section in self.sections for key in ("rounding", "total")]
        rows.append(self.body["total"])
        return Counter(shown(row[column]) for row in rows for column in COLUMNS)

    def basis(self) -> dict[str, str]:
        """What identifies the statement, as documents say it."""
        cut_offs = ", ".join(f"{cut['partition']}/{cut['epoch']}" for cut in self.printed["cut_offs"])
        of_body = {key: str(self.body[key]) for key in ("sequence", "period", "schema")}
        return {"cut_offs": cut_offs, "hash": self.printed["hash"], **of_body}

    def events(self) -> dict[str, int]:
        """The numbers of events; what corrections added is left out of a statement where it is 0."""
        return {key: int(self.body["control"].get(key, 0)) for key in EVENTS["en"]}

    # CSV

    def table(self, language: str) -> None:
        """The statement as one table: what identifies it, every amount, who posted what, and the control totals."""
        with self.file(f"{language}.csv").open(encoding="utf-8-sig", newline="") as file:
            head, *rows = csv.reader(file)
        what, parts, names = f"{language}.csv", CSV_PARTS[language], CSV_NAMES[language]
        self.same(f"{what} columns", {len(row) for row in rows}, {len(head)})
        facts: dict[tuple[str, str], list[str]] = {}
        for part, name, *_, note, _, _ in rows:
            facts.setdefault((part, name), []).append(note)
        for key, value in self.basis().items():
            found = ", ".join(facts.get((parts["header"], names[key]), []))
            self.same(f"{what} {key}", found, value)
        for key, count in self.events().items():
            self.same(f"{what} {key}", facts.get((parts["control"], names[key])), [str(count)])
        for part, wanted in (("line", self.lines), ("adjustment", self.adjustments)):
            found_rows = {row[1]: row for row in rows if row[0] == parts[part]}
            self.same(f"{what} {part} rows", sorted(found_rows), sorted(row["id"] for _, row in wanted))
            for section, row in wanted:
                cells = found_rows.get(row["id"], [""] * len(head))
                self.same(f"{what} {row['id']} terms", cells[2], section["terms"])
                self.same(f"{what} {row['id']}", [exact(cell) for cell in cells[14:17]], self.amounts(row["amounts"]))
                people = [row.get("posted_by") or "", row.get("approved_by") or ""]
                self.same(f"{what} {row['id']} people", cells[-2:], people)
        totals = [row for row in rows if row[0] == parts["total"] and row[14]]
        self.same(f"{what} total", [[exact(cell) for cell in row[14:17]] for row in totals], [self.amounts(self.body["total"])])
        control = [row for row in rows if row[0] == parts["control"]]
        values = Counter(exact(row[20] or row[11] or row[12]) for row in control)
        self.same(f"{what} control totals", values, Counter(self.control()))

    # Workbook

    def workbook(self, language: str) -> None:
        """Every amount and count of the workbook."""
        path = self.file(f"{language}.xlsx")
        book = openpyxl.load_workbook(path, data_only=True)
        formulas = openpyxl.load_workbook(path)
        self.same("sheets", book.sheetnames, SHEETS[language])
        first, lines, adjustments, balances, control = (list(sheet.values) for sheet in book)
        what = f"{language}.xlsx"
        for sheet in book.worksheets[1:]:
            self.same(f"{what} {sheet.title} frozen", sheet.freeze_panes, "A2")
            self.same(f"{what} {sheet.title} head of a print", sheet.print_title_rows, "$1:$1")
        year, month = map(int, self.body["period"].split("-"))
        last_day = datetime(year, month, monthrange(year, month)[1])
        properties = book.properties
        self.same(f"{what} times", (properties.created, properties.modified), (last_day, last_day))
        for sheet in book.worksheets:
            self.cells(f"{what} {sheet.title}", sheet)
        self.ledger(f"{what} lines", lines, [(section["terms"], row) for section, row in self.lines])
        for cells, (_, line) in zip(lines[1:], self.lines, strict=False):
            self.same(f"{what} units of {line['id']}", exact(cells[10]), Decimal(line["units"]))
            self.same(f"{what} listed of {line['id']}", cells[11], line["listed"])
            price = None if line["unit_price_micro"] is None else Decimal(line["unit_price_micro"]).scaleb(-6)
            self.same(f"{what} price of {line['id']}", None if cells[9] is None else exact(cells[9]), price)
        rows: list[tuple[str, dict[str, Any]]] = []
        for section in self.sections:
            rows += [(section["terms"], row) for row in section["adjustments"]]
            rows.append((section["terms"], {"id": None, "amounts": section["rounding"]}))
        self.ledger(f"{what} adjustments", adjustments, rows)
        total = [exact(lines[-1][at]) + exact(adjustments[-1][at]) for at in (-3, -2, -1)]
        self.same(f"{what} lines and adjustments", total, self.amounts(self.body["total"]))
        if self.lines:
            last = list(formulas.worksheets[1].values)[-1]
            self.same(f"{what} sum", [str(cell)[:5] for cell in last[-3:]], ["=SUM("] * 3)
        words = [cell for row in first for cell in row if isinstance(cell, str)]
        for text in (self.body["total_in_words"], self.printed["hash"], *self.printed["notes"]):
            self.same(f"{what} has {text}", text in words, True)
        self.same(f"{what} is a draft", DRAFT[language] in words, self.printed["status"] == "draft")
        pairs: set[tuple[Any, Any]] = set()
        for row in first:
            cells = [cell for cell in row if cell is not None]
            pairs.update(zip(cells, map(str, cells[1:]), strict=False))
        for key, value in self.basis().items():
            self.same(f"{what} has {key} {value}", (BASIS[language][key], value) in pairs, True)
        counts = {row[0]: exact(row[2]) for row in control[1:]}
        for key, count in self.events().items():
            self.same(f"{what} {key}", counts.get(EVENTS[language][key]), Decimal(count))
        numbers = [exact(cell) for row in first for cell in row if isinstance(cell, (int, float))]
        for column in COLUMNS:
            amount = Decimal(self.body["total"][column])
            self.same(f"{what} has the total {column}", amount in numbers, True)
        found = Counter(value for row in balances[1:] if len(row) > 4 and (value := number(row[4])) is not None)
        self.same(f"{what} balances", not self.balances() - found, True)
        values = Counter(exact(row[2]) for row in control[1:])
        self.same(f"{what} control totals", values, Counter(self.control()))

    def cells(self, what: str, sheet: Any) -> None:
        """Numbers have no more digits than a float keeps; decimals that are texts stand on the right."""
        for cell in (cell for row in sheet.iter_rows() for cell in row):
            if isinstance(cell.value, (int, float)):
                digits = exact(cell.value).normalize().as_tuple().digits
                self.same(f"{what} {cell.coordinate} digits", len(digits) <= 15, True)
            elif cell.number_format == "@":
                self.same(f"{what} {cell.coordinate} is on the right", cell.alignment.horizontal, "right")

    def ledger(self, what: str, cells: list[tuple[Any, ...]], rows: list[tuple[str, dict[str, Any]]]) -> None:
        """A head, a row each, and a sum: exact, and to the cent where floats are added."""
        self.same(f"{what}: rows", len(cells), len(rows) + 2)
        for found, (terms, row) in zip(cells[1:], rows, strict=False):
            self.same(f"{what}: terms and id", found[:2], (terms, row["id"]))
            self.same(f"{what} {row['id']}", [exact(cell) for cell in found[-3:]], self.amounts(row["amounts"]))
        for at, column in zip((-3, -2, -1), COLUMNS, strict=True):
            wanted = sum((Decimal(row["amounts"][column]) for _, row in rows), Decimal(0))
            self.same(f"{what}: sum of {column}", exact(cells[-1][at]), wanted)
            floats = 0.0
            for found in cells[1:-1]:
                floats += float(found[at])
            self.same(f"{what}: floats of {column}", Decimal(f"{floats:.2f}"), wanted)

    def balances(self) -> Counter[Decimal]:
        """Every balance."""
        found: list[str] = []
        for section in self.sections:
            if minimum := section["minimum"]:
                found += [minimum[key] for key in ("minimum", "used", "expired", "shortfall")]
                found += [carry["amount"] for key in ("opening", "closing") for carry in minimum[key]]
            if prepaid := section["prepaid"]:
                found += [prepaid[key] for key in ("opening", "paid", "drawn", "closing")]
        return Counter(Decimal(amount) for amount in found)

    def control(self) -> Iterable[Decimal]:
        """Every control total."""
        control = self.body["control"]
        yield from map(Decimal, self.events().values())
        for key in ("units", "wholesale", "retail"):
            yield from (Decimal(value) for value in control[key].values())

    # Pages

    def page(self, language: str) -> None:
        """HTML has every amount, the hash and the words."""
        cells = Cells()
        cells.feed(self.file(f"{language}.html").read_text(encoding="utf-8"))
        self.texts(f"{language}.html", language, cells.texts)
        self.facts(f"{language}.html", language, "".join(cells.texts))

    def pdf(self, language: str) -> None:
        """PDF too; its words have their places, its pages are numbered, and sums are carried from one to the next."""
        watermark = DRAFT[language] if self.printed["status"] == "draft" else ""
        self.same(f"{language}.pdf: words out of place", misplaced(self.read(language, "-bbox"), watermark)[:5], [])
        # In the order in which it was drawn: what identifies it has its label above, and others beside it.
        self.facts(f"{language}.pdf", language, self.read(language, "-raw"))
        pages = self.read(language, "-layout").split("\f")[:-1]
        self.texts(f"{language}.pdf", language, [line for page in pages for line in page.splitlines()])
        for number, page in enumerate(pages, 1):
            mark = without_spaces(PAGE[language].format(number, len(pages)))
            self.same(f"{language}.pdf page {number} of {len(pages)}", mark in without_spaces(page), True)
        sums = [[Decimal(0)] * 3]
        for _, row in self.lines:
            sums.append([sum_ + amount for sum_, amount in zip(sums[-1], self.amounts(row["amounts"]), strict=True)])
        carried, brought = CARRIED[language]
        for page, after in zip(pages, pages[1:], strict=False):
            out, into = self.carry(page, carried), self.carry(after, brought)
            self.same(f"{language}.pdf carried", into, out)
            if out is not None and self.has_one_table():
                self.same(f"{language}.pdf carries a sum of lines", out in sums, True)

    def read(self, language: str, how: str) -> str:
        """The document as pdftotext reads it."""
        run = subprocess.run(["pdftotext", how, self.file(f"{language}.pdf"), "-"], capture_output=True, check=True)
        return run.stdout.decode("utf-8")

    def has_one_table(self) -> bool:
        """Whether only lines are carried."""
        return len(self.sections) == 1 and not self.adjustments

    @staticmethod
    def carry(page: str, label: str) -> list[Decimal] | None:
        """The amounts beside a label."""
        for line in page.splitlines():
            if line.strip().startswith(label):
                return [Decimal(number.replace(",", "")) for number in NUMBER.findall(line)][-3:]
        return None

    def texts(self, what: str, language: str, texts: list[str]) -> None:
        """What every page for people has."""
        found: Counter[str] = Counter()
        for text in texts:
            found.update(NUMBER.findall(text))
        self.same(f"{what}: amounts that are missing", dict(self.every_amount() - found), {})
        whole = without_spaces("".join(texts))
        for text in (self.body["total_in_words"], self.printed["hash"], *self.printed["notes"]):
            self.same(f"{what} has {text}", without_spaces(text) in whole, True)
        self.same(f"{what} is a draft", DRAFT[language] in whole, self.printed["status"] == "draft")

    def facts(self, what: str, language: str, text: str) -> None:
        """What identifies it, and numbers of events, each behind its label."""
        whole = without_spaces(text)
        for key, value in self.basis().items():
            fact = without_spaces(BASIS[language][key] + value)
            self.same(f"{what} has {fact}", fact in whole, True)
        for key, count in self.events().items():
            pattern = re.escape(without_spaces(EVENTS[language][key])) + r"[^\d,.-]*" + re.escape(f"{count:,}") + r"(?![\d,.])"
            self.same(f"{what} has {count} {key}", re.search(pattern, whole) is not None, True)

    # Tables

    def parquet(self) -> None:
        """Decimals that sum to the total; a row a line, adjustment and section."""
        rows = duckdb.connect().execute(
            f"SELECT id, net, tax, gross, listed, units, statement_hash FROM '{self.file('parquet')}'"
        ).fetchall()  # fmt: skip
        self.same("parquet rows", len(rows), len(self.lines) + len(self.adjustments) + len(self.sections))
        for at, column in enumerate(COLUMNS, 1):
            self.same(f"parquet {column}", sum((row[at] for row in rows), Decimal(0)), Decimal(self.body["total"][column]))
        by_id = {row[0]: row for row in rows}
        for _, line in self.lines:
            found = by_id[line["id"]]
            self.same(f"parquet {line['id']}", [*found[1:4]], self.amounts(line["amounts"]))
            self.same(f"parquet listed of {line['id']}", found[4], Decimal(line["listed"]))
            self.same(f"parquet units of {line['id']}", found[5], Decimal(line["units"]))
        self.same("parquet hash", {row[6] for row in rows} <= {self.printed["hash"]}, True)

    def focus(self) -> None:
        """What is billed sums to the total."""
        with self.file("focus.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        billed = sum((Decimal(row["BilledCost"]) for row in rows), Decimal(0))
        self.same("focus", billed, Decimal(self.body["total"]["gross"]))
        by_id = {row["x_LineId"]: row for row in rows}
        for _, line in self.lines:
            found = by_id[line["id"]]
            self.same(f"focus {line['id']}", Decimal(found["BilledCost"]), Decimal(line["amounts"]["net"]))
            self.same(f"focus units of {line['id']}", found["ConsumedQuantity"], line["units"])


def main() -> int:
    """Checks every statement of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    folder = Path(parser.parse_args().folder)
    statements = sorted(folder.glob("*.json"))
    if not statements:
        parser.error(f"{folder} has no statement")
    failures: list[str] = []
    with localcontext() as context:
        context.prec = 100
        for path in statements:
            failures += Check(path).run()
    for failure in failures:
        print(failure, file=sys.stderr)
    if not failures:
        print(f"the documents of {len(statements)} statements have what the statements have")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
