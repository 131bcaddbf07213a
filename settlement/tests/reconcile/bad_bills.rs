//! Bills and mappings that are wrong: each error names the file, the place, the column, what was
//! found and what to do. Nothing is compared then.

use encoding_rs::GB18030;
use tally_settlement::reconcile::{BillMapping, ReconcileErrorKind};

use crate::support::Case;

const MAPPING: &str = r#"
name = "test"
source = "made for this test"

[columns]
request_id = "id"
time = "time"
model = "model"
amount = "amount"
currency = "currency"

[time]
format = "rfc3339"
zone = "Asia/Shanghai"

[classes]
input = ["prompt", "-cached"]
cached_input = "cached"

[amount]
currency = "CNY"

[total]
column = "id"
words = ["合计"]
"#;

const HEADER: &str = "id,time,model,prompt,cached,amount,currency\n";
const GOOD: &str = "r1,2026-10-05T10:00:00+08:00,deepseek-flash,10,4,0.5,CNY\n";

fn mapping(changes: &[(&str, &str)]) -> BillMapping {
    let mut text = MAPPING.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    BillMapping::parse("test.toml", &text).unwrap()
}

/// The error of a bill whose lines follow the header.
fn error(lines: &str) -> String {
    let bill = format!("{HEADER}{lines}");
    Case::new("bill.csv", bill.as_bytes(), &mapping(&[])).error()
}

fn line(id: &str, changes: &[(usize, &str)]) -> String {
    let mut cells: Vec<&str> = GOOD.trim_end().split(',').collect();
    cells[0] = id;
    for (at, cell) in changes {
        cells[*at] = cell;
    }
    format!("{}\n", cells.join(","))
}

#[test]
fn a_good_bill_is_no_error() {
    let bill = format!("{HEADER}{GOOD}");
    let mapping = mapping(&[]);
    let (outcome, differences) = Case::new("bill.csv", bill.as_bytes(), &mapping).run(&[]).unwrap();
    assert_eq!((outcome.bill_lines, differences.len()), (1, 1));
}

#[test]
fn a_missing_column_is_named_with_what_is_there() {
    let bill = "id,when,model,prompt,cached,amount,currency\n";
    assert_eq!(
        Case::new("bill.csv", bill.as_bytes(), &mapping(&[])).error(),
        "bill.csv, line 1, column \"time\": the column is missing; the header has id, when, model, \
         prompt, cached, amount, currency; correct the mapping"
    );
    let bill = "id,time,time,model,prompt,cached,amount,currency\n";
    let error = Case::new("bill.csv", bill.as_bytes(), &mapping(&[])).error();
    assert!(
        error.starts_with(
            "bill.csv, line 1, column \"time\": two columns have this name; rename one"
        )
    );
}

#[test]
fn a_bill_in_another_currency_is_refused() {
    assert_eq!(
        error(&line("r1", &[(6, "USD")])),
        "bill.csv, line 2, column \"currency\": the bill is in USD where the contract is in CNY; \
         ask for the bill in the contract's currency, or correct currency under [amount] in the \
         mapping"
    );
    assert_eq!(
        error(&line("r1", &[(6, "dollars")])),
        "bill.csv, line 2, column \"currency\": \"dollars\" is no currency; write a code such as \
         CNY"
    );
}

#[test]
fn numbers_that_are_none_are_told_by_line_and_column() {
    for (column, cell, words) in [
        (
            5,
            "\"1,23\"",
            "column \"amount\": \"1,23\": its thousands separators are not three digits apart",
        ),
        (5, "1.2.3", "column \"amount\": \"1.2.3\": it is not a number"),
        (5, "", "column \"amount\": there is no amount; every line needs one"),
        (5, "0.0000000000001", "has more decimals than twelve"),
        (3, "1.5", "column \"prompt\": \"1.5\" is no count; a count is a whole number from 0 on"),
        (3, "-2", "column \"prompt\": \"-2\" is no count"),
        (3, "1000000000000000000", "is no count; a count is a whole number from 0 on, below 10^18"),
        (3, "18446744073709551615", "is no count"),
        (3, "\"18,446,744,073,709,551,615\"", "is no count"),
        (
            4,
            "11",
            "column \"prompt, cached\": what remains of the first column is -1; the parts are more",
        ),
        (
            1,
            "5 October",
            "column \"time\": \"5 October\" is not a time such as 2026-10-01T00:00:00Z",
        ),
        (0, "", "column \"id\": there is no request id"),
        (2, "", "column \"model\": there is no model"),
    ] {
        let mut cells = vec![(column, cell)];
        cells.sort_unstable();
        let id = if column == 0 { cell } else { "r2" };
        let error = error(&format!("{GOOD}{}", line(id, &cells)));
        assert!(error.starts_with("bill.csv, line 3, ") && error.contains(words), "{error}");
    }
    // With the separators where they belong it is a number.
    let bill = format!("{HEADER}{}", line("r1", &[(3, "\"1,234\""), (5, "\"1,234.5\"")]));
    let mapping = mapping(&[]);
    let (outcome, _) = Case::new("bill.csv", bill.as_bytes(), &mapping).run(&[]).unwrap();
    assert_eq!(outcome.totals[0].their_amount, "1234.500000000000");
    assert_eq!(outcome.totals[0].their_quantity, "1234");
}

#[test]
fn negative_amounts_are_credits_only_where_the_mapping_says_so() {
    let negative = line("", &[(5, "-0.25")]);
    assert_eq!(
        error(&format!("{GOOD}{negative}")),
        "bill.csv, line 3, column \"amount\": the amount is -0.25; only a credit may be below \
         zero; write negative = \"credit\" under [amount] if this vendor lists credits as lines"
    );
    let credits =
        mapping(&[("currency = \"CNY\"\n\n", "currency = \"CNY\"\nnegative = \"credit\"\n\n")]);
    let bill = format!("{HEADER}{GOOD}{negative}");
    let (outcome, differences) = Case::new("bill.csv", bill.as_bytes(), &credits).run(&[]).unwrap();
    assert_eq!(outcome.totals[0].credits, "-0.250000000000");
    assert_eq!(outcome.totals[0].their_amount, "0.250000000000");
    assert_eq!(differences.len(), 1, "a credit is no record");
}

#[test]
fn a_price_times_its_quantity_stays_what_can_be_counted() {
    let priced = mapping(&[
        ("request_id = \"id\"\n", ""),
        ("amount = \"amount\"\n", "class = \"id\"\nprice = \"amount\"\nquantity = \"prompt\"\n"),
        (
            "[classes]\ninput = [\"prompt\", \"-cached\"]\ncached_input = \"cached\"\n",
            "[class_words]\nin = \"input\"\n",
        ),
        ("[total]\ncolumn = \"id\"\nwords = [\"合计\"]\n", ""),
    ]);
    let error = |quantity: &str, price: &str| {
        let bill = format!("{HEADER}{}", line("in", &[(3, quantity), (5, price)]));
        Case::new("bill.csv", bill.as_bytes(), &priced).error()
    };
    // It fits 64 bits, and the price beside it does too.
    assert_eq!(
        error("18446744073709551615", "18446744.073709551615"),
        "bill.csv, line 2, column \"prompt\": \"18446744073709551615\" is no count; a count is a \
         whole number from 0 on, below 10^18"
    );
}

#[test]
fn a_sum_of_columns_stays_what_can_be_counted() {
    let added = mapping(&[("[\"prompt\", \"-cached\"]", "[\"prompt\", \"cached\"]")]);
    let run = |prompt: &str, cached: &str| {
        let bill = format!("{HEADER}{}", line("r1", &[(3, prompt), (4, cached)]));
        let ran = Case::new("bill.csv", bill.as_bytes(), &added).run(&[]);
        ran.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(
        run("999999999999999999", "1").unwrap_err(),
        "bill.csv, line 2, column \"prompt, cached\": their sum is 1000000000000000000; what \
         columns come to together is below 10^18: ask for the file again"
    );
    assert_eq!(run("999999999999999998", "1"), Ok(()));
}

#[test]
fn a_header_behind_the_end_of_the_file_is_missing() {
    let far = mapping(&[("source =", "header = 9223372036854775807\nsource =")]);
    let bill = format!("{HEADER}{GOOD}");
    let error = Case::new("bill.csv", bill.as_bytes(), &far).error();
    assert!(error.contains("the file has no header"), "{error}");
}

#[test]
fn a_total_row_must_be_the_sum_of_its_lines() {
    let two = format!("{GOOD}{}", line("r2", &[]));
    let total = |prompt: &str, amount: &str| format!("{two}合计,,,{prompt},8,{amount},\n");
    assert_eq!(
        error(&total("20", "1.01")),
        "bill.csv, line 4, column \"amount\": the total row says 1.01, the lines before it are 1; \
         lines are missing or the row is wrong: ask for the bill again"
    );
    let found = error(&total("21", "1.00"));
    assert!(
        found.contains(
            "line 4, column \"prompt, cached\": the total row says 13, the lines before it are 12"
        ),
        "{found}"
    );
    let bill = format!("{HEADER}{}", total("20", "1.00"));
    let mapping = mapping(&[]);
    let (outcome, _) = Case::new("bill.csv", bill.as_bytes(), &mapping).run(&[]).unwrap();
    assert!(outcome.total_row_agreed && outcome.bill_lines == 2);
}

#[test]
fn unknown_models_are_told_and_known_names_go_through_the_aliases() {
    assert_eq!(
        error(&line("r1", &[(2, "deepseek-v9")])),
        "bill.csv, line 2, column \"model\": model \"deepseek-v9\" is not known; name ours for it \
         under [models] in the mapping, or import an alias into the price book"
    );
    assert_eq!(
        error(&line("r1", &[(2, "glm-5")])),
        "bill.csv, line 2, column \"model\": model \"glm-5\" is of vendor \"zhipu\"; this bill is \
         of \"deepseek\"; give --vendor"
    );
    let own = mapping(&[(
        "[amount]",
        "[models]\n\"DeepSeek V4 Flash\" = \"deepseek-v4-flash\"\n\n[amount]",
    )]);
    let bill = format!("{HEADER}{}", line("r1", &[(2, "DeepSeek V4 Flash")]));
    let (outcome, differences) = Case::new("bill.csv", bill.as_bytes(), &own).run(&[]).unwrap();
    assert_eq!(outcome.bill_lines, 1);
    assert_eq!(differences[0].their_model.as_deref(), Some("deepseek-flash"));
}

#[test]
fn a_model_that_only_prices_name_is_known_by_that_name() {
    let prices = |pattern: &str| {
        format!(
            "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,\
             valid_from,known_from,approved_by,approved_at\n\
             p,wholesale,deepseek,{pattern},output,token,CNY,1000000,2026-01-01,2026-01-01,a,2026-01-01\n"
        )
    };
    let bill = format!("{HEADER}{}", line("r1", &[(2, "house-model-1")]));
    let mapping = mapping(&[]);
    for (pattern, known) in
        [("house-model-1", true), ("house-*", true), ("house", false), ("*", false)]
    {
        let text = prices(pattern);
        let case = Case { prices: Some(&text), ..Case::new("bill.csv", bill.as_bytes(), &mapping) };
        match case.run(&[]) {
            Ok((_, differences)) => {
                assert_eq!(differences[0].their_model.as_deref(), Some("house-model-1"));
                assert!(known, "{pattern}");
            }
            Err(error) => {
                assert!(error.to_string().contains("\"house-model-1\" is not known"), "{error}");
                assert!(!known, "{pattern}");
            }
        }
    }
}

#[test]
fn lines_that_say_the_same_are_refused_where_they_cannot_be_told_apart() {
    let grouped = mapping(&[("request_id = \"id\"\n", "")]);
    let bill = format!("{HEADER}{GOOD}{}{GOOD}", line("r1", &[(5, "0.6")]));
    assert_eq!(
        Case::new("bill.csv", bill.as_bytes(), &grouped).error(),
        "bill.csv, line 4: says the same as line 2 in every column that is read; ask the vendor \
         whether it is meant twice; write duplicates = \"report\" into the mapping to compare it \
         nevertheless"
    );
    let strict = mapping(&[("source =", "duplicates = \"refuse\"\nsource =")]);
    assert_eq!(
        Case::new("bill.csv", bill.as_bytes(), &strict).error(),
        "bill.csv, line 3: request \"r1\" is billed on line 2 too; ask the vendor which one holds; \
         write duplicates = \"report\" into the mapping to have it as a difference"
    );
}

#[test]
fn a_bill_of_another_month_or_without_lines_is_refused() {
    assert_eq!(
        error(&line("r1", &[(1, "2026-09-30T23:59:59.999+08:00")])),
        "bill.csv, column \"time\": no line is in the period; the first is of 2026-09-30; give \
         --period the month of the bill, or correct time.zone in the mapping"
    );
    assert!(error("").contains("the bill has no lines"));
    let empty = Case::new("bill.csv", b"", &mapping(&[])).error();
    assert!(empty.contains("the file has no header"), "{empty}");
    let only_total = error("合计,,,0,0,0,\n");
    assert!(only_total.contains("the bill has no lines"), "{only_total}");
}

#[test]
fn lines_of_another_length_and_bytes_that_are_no_text_are_told() {
    assert_eq!(
        error("r1,2026-10-05T10:00:00+08:00,deepseek-flash,1,000,4,0.5,CNY\n"),
        "bill.csv, line 2: 8 fields where the header has 7; a field with the delimiter in it must \
         be in quotes"
    );
    let mut bytes = format!("{HEADER}{GOOD}").into_bytes();
    bytes.extend_from_slice(b"r2\x81");
    let error = Case::new("bill.csv", &bytes, &mapping(&[])).error();
    assert!(error.contains("bytes that are no GB18030; save the file as UTF-8"), "{error}");
    let utf16: Vec<u8> = "\u{feff}id".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = Case::new("bill.csv", &utf16, &mapping(&[])).error();
    assert_eq!(error, "bill.csv: the file is UTF-16, which is not read; save it as UTF-8");
    let utf8 = mapping(&[("source =", "encoding = \"utf-8\"\nsource =")]);
    let (gb, _, _) = GB18030.encode("合计");
    let bytes = [HEADER.as_bytes(), GOOD.as_bytes(), &gb].concat();
    let error = Case::new("bill.csv", &bytes, &utf8).error();
    assert!(error.starts_with("bill.csv, line 3: bytes that are no UTF-8"), "{error}");
}

#[test]
fn at_most_twenty_defects_are_listed() {
    let lines: String = (0..50).map(|n| line(&format!("r{n}"), &[(5, "x")])).collect();
    let error = error(&lines);
    assert_eq!(error.lines().count(), 21);
    assert!(error.ends_with("bill.csv: there may be more; reading stopped here"), "{error}");
}

#[test]
fn json_and_workbooks_are_refused_in_the_same_way() {
    let json = mapping(&[("source =", "rows = [\"data\"]\nsource =")]);
    for (file, bytes, words) in [
        ("bill.json", &b"{\"data\": ["[..], "bill.json, line 1: no JSON: EOF"),
        ("bill.json", b"{\"rows\": []}", "bill.json, row 1: there is no \"data\"; there are rows"),
        ("bill.json", b"{\"data\": 5}", "bill.json: 5 where an array is expected"),
        ("bill.json", b"{\"data\": [5]}", "bill.json, row 1: 5 where an object is expected"),
        (
            "bill.json",
            b"{\"data\": [{\"id\": \"r\", \"time\": \"x\", \"model\": \"m\", \"prompt\": 1}]}",
            "bill.json, row 1, column \"time\": \"x\" is not a time",
        ),
        ("bill.ndjson", b"{}\n[1]\n", "bill.ndjson, line 2: no JSON object"),
        ("bill.xlsx", b"PK\x03\x04 no workbook", "bill.xlsx: the file is no workbook"),
        ("bill.pdf", b"", "bill.pdf: the name does not tell the format"),
    ] {
        let error = Case::new(file, bytes, &json).error();
        assert!(error.contains(words), "{file}: {error}");
    }
    let row = "{\"id\": \"r\", \"time\": \"2026-10-05T10:00:00Z\", \"model\": \"deepseek-flash\", \
               \"prompt\": 1, \"amount\": 1, \"currency\": null}";
    let bill = format!("{{\"data\": [{row}]}}");
    assert_eq!(
        Case::new("bill.json", bill.as_bytes(), &json).error(),
        "bill.json, column \"cached\": the column is missing in every row; correct the mapping, or \
         ask for the export with this field"
    );
}

#[test]
fn a_wrong_mapping_says_what_to_write() {
    for (from, to, words) in [
        ("[columns]", "[column]", "unknown field `column`"),
        ("zone = \"Asia/Shanghai\"", "zone = \"CST\"", "time.zone \"CST\" is not known; write"),
        ("format = \"rfc3339\"", "format = \"iso\"", "time.format = \"iso\" is not known; write"),
        ("cached_input = ", "cache = ", "classes names no class \"cache\"; the classes are input,"),
        ("currency = \"CNY\"", "currency = \"yuan\"", "amount.currency = \"yuan\": write a code"),
        ("amount = \"amount\"\n", "", "there is no amount: name columns.amount"),
        ("source =", "delimiter = \"ab\"\nsource =", "delimiter = \"ab\": write one character"),
        ("source =", "duplicates = \"keep\"\nsource =", "write one of \"refuse\", \"report\""),
        ("[amount]", "[tolerance]\namt_abs = \"-1\"\n\n[amount]", "tolerance.amt_abs = \"-1\""),
        ("[total]", "[numbers]\ndecimal = \",\"\nthousands = \",\"\n\n[total]", "are both ','"),
    ] {
        assert!(MAPPING.contains(from), "{from}");
        let error = BillMapping::parse("own.toml", &MAPPING.replace(from, to)).unwrap_err();
        assert_eq!(error.kind(), ReconcileErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.starts_with("mapping own.toml: ") && text.contains(words), "{text}");
    }
}
