//! The mapping as it is written in TOML, and what must hold in it.

use std::collections::BTreeMap;

use serde::Deserialize;
use tally_schemas::{Currency, TokenClass};

use super::decimal::{Decimal, NumberFormat};
use super::encoding::TextEncoding;
use super::instant::TimeFormat;
use super::mapping::{
    AmountRules, BeyondPico, BillFormat, BillMapping, BillTimeBasis, ColumnSum, DuplicateLines,
    Layout, NegativeAmounts, TimeRules, TotalRow, zone_offset_ms,
};
use super::tolerance::{Binding, Inside, Tolerance, ToleranceSource};

/// Default of `time.tolerance_ms`: a long streamed answer takes minutes.
const TIME_TOLERANCE_MS: i64 = 900_000;

/// Units that amounts are written in, with their decimals below the currency.
const UNITS: [(&str, i32); 3] = [("1", 0), ("cent", 2), ("mill", 3)];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MappingFile {
    name: String,
    #[serde(default)]
    verified: bool,
    #[expect(dead_code, reason = "for people: where the shape is documented")]
    source: String,
    format: Option<String>,
    delimiter: Option<String>,
    encoding: Option<String>,
    header: Option<u64>,
    sheet: Option<String>,
    #[serde(default)]
    rows: Vec<String>,
    duplicates: Option<String>,
    #[serde(default)]
    numbers: NumbersTable,
    columns: ColumnsTable,
    time: TimeTable,
    #[serde(default)]
    classes: BTreeMap<String, Columns>,
    #[serde(default)]
    class_words: BTreeMap<String, String>,
    #[serde(default)]
    fold: BTreeMap<String, String>,
    amount: AmountTable,
    #[serde(default)]
    models: BTreeMap<String, String>,
    #[serde(default)]
    tiers: BTreeMap<String, String>,
    total: Option<RowTable>,
    skip: Option<RowTable>,
    #[serde(default)]
    tolerance: ToleranceTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NumbersTable {
    decimal: Option<char>,
    thousands: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnsTable {
    time: String,
    request_id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    class: Option<String>,
    quantity: Option<String>,
    amount: Option<String>,
    currency: Option<String>,
    tax: Option<String>,
    credit: Option<String>,
    price: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeTable {
    format: String,
    zone: String,
    basis: Option<String>,
    tolerance_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Columns {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AmountTable {
    currency: String,
    compared: Option<bool>,
    unit: Option<String>,
    price_units: Option<u32>,
    rounding: Option<String>,
    tax_ppm: Option<u64>,
    negative: Option<String>,
    beyond_pico: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowTable {
    column: String,
    words: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToleranceTable {
    qty_ppm: Option<u64>,
    amt_ppm: Option<u64>,
    amt_abs: Option<String>,
    binding: Option<String>,
    inside: Option<String>,
}

/// One of several words, or what else to write.
fn one_of<T: Copy>(
    key: &str,
    given: Option<&str>,
    words: &[(&str, T)],
) -> Result<Option<T>, String> {
    let Some(given) = given else { return Ok(None) };
    let found = words.iter().find(|(word, _)| *word == given);
    found.map(|(_, value)| Some(*value)).ok_or_else(|| {
        let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("{key} = {given:?} is not known; write one of {}", known.join(", "))
    })
}

fn class_of(key: &str, name: &str) -> Result<TokenClass, String> {
    TokenClass::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = TokenClass::ALL.iter().map(|class| class.name()).collect();
        format!("{key} names no class {name:?}; the classes are {}", known.join(", "))
    })
}

fn amount_pico(key: &str, text: Option<&str>) -> Result<i128, String> {
    let Some(text) = text else { return Ok(0) };
    let wrong = |why: &str| format!("{key} = {text:?}: {why}; write a decimal such as \"0.01\"");
    let number = Decimal::parse(text, NumberFormat::default()).map_err(wrong)?;
    number.units(12).filter(|pico| *pico >= 0).ok_or_else(|| wrong("it is below zero or too fine"))
}

/// Checks a file and makes the mapping of it.
pub(crate) fn check(file: MappingFile) -> Result<BillMapping, String> {
    let columns = file.columns;
    let layout = layout(&columns, file.classes, file.class_words)?;
    if columns.request_id.is_some() && matches!(layout, Layout::Long { .. }) {
        return Err("columns.request_id needs a line a request: a bill with a line a class \
                    is compared by groups; leave request_id out"
            .to_owned());
    }
    let compared = file.amount.compared.unwrap_or(true);
    if compared
        && columns.amount.is_none()
        && (columns.price.is_none() || columns.quantity.is_none())
    {
        return Err("there is no amount: name columns.amount, or columns.price and \
                    columns.quantity, or write compared = false under [amount]"
            .to_owned());
    }
    let time = time(&file.time, &columns.time)?;
    let amount = amount(file.amount, &columns)?;
    let mut fold = Vec::new();
    for (from, to) in &file.fold {
        fold.push((class_of("fold", from)?, class_of("fold", to)?));
    }
    let formats = [
        ("csv", BillFormat::Csv),
        ("json", BillFormat::Json),
        ("ndjson", BillFormat::Ndjson),
        ("xlsx", BillFormat::Xlsx),
    ];
    let encodings = [("utf-8", TextEncoding::Utf8), ("gb18030", TextEncoding::Gb18030)];
    let duplicates = [("refuse", DuplicateLines::Refuse), ("report", DuplicateLines::Report)];
    let default_duplicates =
        if columns.request_id.is_some() { DuplicateLines::Report } else { DuplicateLines::Refuse };
    Ok(BillMapping {
        name: file.name,
        verified: file.verified,
        format: one_of("format", file.format.as_deref(), &formats)?,
        delimiter: delimiter(file.delimiter.as_deref())?,
        encoding: one_of("encoding", file.encoding.as_deref(), &encodings)?,
        header: file.header.unwrap_or(1).max(1),
        sheet: file.sheet,
        rows: file.rows,
        numbers: numbers(&file.numbers)?,
        request_id: columns.request_id,
        model: columns.model,
        models: file.models,
        service_tier: columns.service_tier,
        tiers: file.tiers,
        time,
        layout,
        fold,
        amount,
        total: file.total.map(row),
        skip: file.skip.map(row),
        duplicates: one_of("duplicates", file.duplicates.as_deref(), &duplicates)?
            .unwrap_or(default_duplicates),
        tolerance: tolerance(&file.tolerance)?,
        tolerance_source: ToleranceSource::Mapping,
    })
}

fn row(table: RowTable) -> TotalRow {
    TotalRow { column: table.column, words: table.words }
}

fn layout(
    columns: &ColumnsTable,
    classes: BTreeMap<String, Columns>,
    class_words: BTreeMap<String, String>,
) -> Result<Layout, String> {
    if let Some(class) = &columns.class {
        if !classes.is_empty() {
            return Err("[classes] is for a column a class and columns.class for a line a class; \
                        keep one of them"
                .to_owned());
        }
        let mut words = BTreeMap::new();
        for (word, name) in class_words {
            let class = match name.as_str() {
                "ignore" => None,
                name => Some(class_of("class_words", name)?),
            };
            words.insert(word, class);
        }
        if words.is_empty() {
            return Err("columns.class needs [class_words]: the class of each word".to_owned());
        }
        let quantity = columns.quantity.clone();
        return Ok(Layout::Long { class: class.clone(), quantity, words });
    }
    let mut wide = Vec::new();
    for (name, columns) in classes {
        let class = class_of("classes", &name)?;
        let parts = match columns {
            Columns::One(column) => vec![column],
            Columns::Many(columns) => columns,
        };
        let parts = parts
            .into_iter()
            .map(|part| match part.strip_prefix('-') {
                Some(column) => (true, column.to_owned()),
                None => (false, part),
            })
            .collect();
        wide.push((class, ColumnSum(parts)));
    }
    wide.sort_by_key(|(class, _)| *class);
    Ok(Layout::Wide(wide))
}

fn time(table: &TimeTable, column: &str) -> Result<TimeRules, String> {
    let bases = [("completion", BillTimeBasis::Completion), ("start", BillTimeBasis::Start)];
    Ok(TimeRules {
        column: column.to_owned(),
        format: TimeFormat::parse(&table.format)?,
        offset_ms: zone_offset_ms(&table.zone)?,
        basis: one_of("time.basis", table.basis.as_deref(), &bases)?.unwrap_or_default(),
        tolerance_ms: table.tolerance_ms.unwrap_or(TIME_TOLERANCE_MS).max(0),
    })
}

fn amount(table: AmountTable, columns: &ColumnsTable) -> Result<AmountRules, String> {
    let currency = Currency::parse(&table.currency).ok_or_else(|| {
        format!("amount.currency = {:?}: write a code such as \"CNY\"", table.currency)
    })?;
    let negative = [("refuse", NegativeAmounts::Refuse), ("credit", NegativeAmounts::Credit)];
    let beyond = [("refuse", BeyondPico::Refuse), ("round", BeyondPico::Round)];
    let units = |key: &str, given: Option<u32>| match given {
        Some(0) => Err(format!("{key} = 0: write at least 1")),
        given => Ok(given.unwrap_or(1)),
    };
    let price_units = units("amount.price_units", table.price_units)?;
    Ok(AmountRules {
        compared: table.compared.unwrap_or(true),
        column: columns.amount.clone().filter(|_| table.compared.unwrap_or(true)),
        currency,
        currency_column: columns.currency.clone(),
        unit_decimals: one_of("amount.unit", table.unit.as_deref(), &UNITS)?.unwrap_or(0),
        tax_column: columns.tax.clone(),
        tax_ppm: table.tax_ppm.unwrap_or(0),
        credit_column: columns.credit.clone(),
        price: columns.price.clone().map(|column| (column, price_units)),
        rounding_pico: amount_pico("amount.rounding", table.rounding.as_deref())?,
        negative: one_of("amount.negative", table.negative.as_deref(), &negative)?
            .unwrap_or_default(),
        beyond_pico: one_of("amount.beyond_pico", table.beyond_pico.as_deref(), &beyond)?
            .unwrap_or_default(),
    })
}

fn delimiter(given: Option<&str>) -> Result<Option<u8>, String> {
    match given.map(str::as_bytes) {
        None => Ok(None),
        Some([byte]) if byte.is_ascii() => Ok(Some(*byte)),
        Some(_) => Err(format!(
            "delimiter = {:?}: write one character, such as \";\", or leave it out",
            given.unwrap_or_default()
        )),
    }
}

fn numbers(table: &NumbersTable) -> Result<NumberFormat, String> {
    let decimal = table.decimal.unwrap_or('.');
    let thousands = match table.thousands.as_deref() {
        None if decimal == ',' => Some('.'),
        None => Some(','),
        Some("") => None,
        Some(text) => {
            let mut characters = text.chars();
            match (characters.next(), characters.next()) {
                (Some(character), None) => Some(character),
                _ => return Err(format!("numbers.thousands = {text:?}: write one character")),
            }
        }
    };
    if thousands == Some(decimal) {
        return Err(format!("numbers.decimal and numbers.thousands are both {decimal:?}"));
    }
    Ok(NumberFormat { decimal, thousands })
}

fn tolerance(table: &ToleranceTable) -> Result<Tolerance, String> {
    let bindings =
        [("total", Binding::Total), ("group", Binding::Group), ("record", Binding::Record)];
    let inside = [("ours", Inside::Ours), ("theirs", Inside::Theirs)];
    Ok(Tolerance {
        qty_ppm: table.qty_ppm.unwrap_or(0),
        amt_ppm: table.amt_ppm.unwrap_or(0),
        amt_abs_pico: amount_pico("tolerance.amt_abs", table.amt_abs.as_deref())?,
        binding: one_of("tolerance.binding", table.binding.as_deref(), &bindings)?
            .unwrap_or_default(),
        inside: one_of("tolerance.inside", table.inside.as_deref(), &inside)?.unwrap_or_default(),
    })
}
