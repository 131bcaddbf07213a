//! The rated groups of a statement, read from `usage_events` by sums alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use tally_schemas::{CLASS_COUNT, Currency, TokenClass};
use tally_settlement::{CallSpans, CutOff, DiscountSpans, Period, RatedGroup};
use tally_tables::PinnedTables;

use crate::answer_rows::{decimal, integer, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::instant_sql::instant_sql;

/// Which rows belong to a statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The period.
    pub(super) period: Period,
    /// Up to which epochs rows count.
    pub(super) cut_offs: &'a [CutOff],
    /// Up to which epochs the periods before are sealed; `None` leaves late usage out.
    pub(super) sealed: Option<&'a [CutOff]>,
    /// One vendor, or all of them.
    pub(super) vendor: Option<&'a str>,
}

/// The rows of epochs up to cut-offs; none of a partition that has no cut-off.
pub(crate) fn within(cut_offs: &[CutOff]) -> String {
    if cut_offs.is_empty() {
        return "false".to_owned();
    }
    let mut sql = "epoch <= CASE kafka_partition".to_owned();
    for CutOff { partition, epoch } in cut_offs {
        sql.push_str(&format!(" WHEN {partition} THEN {epoch}"));
    }
    sql.push_str(" ELSE -1 END");
    sql
}

impl Scope<'_> {
    pub(super) fn condition(&self) -> String {
        let counted = within(self.cut_offs);
        let (first, end) = (self.period.first_day(), self.period.end_day());
        let own = format!("(day >= DATE '{first}' AND day < DATE '{end}')");
        let rows = match self.sealed {
            Some(sealed) => {
                format!("({own} OR (day < DATE '{first}' AND NOT ({})))", within(sealed))
            }
            None => own,
        };
        let vendor =
            self.vendor.map_or(String::new(), |vendor| format!(" AND vendor = {}", quoted(vendor)));
        format!("{counted} AND {rows}{vendor}")
    }
}

/// What one row adds to a number of events.
pub(super) const EVENTS: &str = "CASE WHEN correction = 'reversal' THEN -1 ELSE 1 END";

const KEYS: [&str; 10] = [
    "CAST(day AS VARCHAR)",
    "vendor",
    "billed_model",
    "supplier",
    "service_tier",
    "coalesce(wholesale_price_ids, '')",
    "coalesce(price_book_version, '')",
    "coalesce(wholesale_currency, '')",
    "coalesce(retail_price_ids, '')",
    "coalesce(retail_currency, '')",
];

/// Where the days of vendors are parted, by vendor.
pub(super) type SpansOf = BTreeMap<String, DiscountSpans>;

/// The number of the span that a call of a scope began or ended in, in SQL; `None` where days are
/// not parted by it.
fn span_number(
    scope: &Scope<'_>,
    spans: &SpansOf,
    column: &str,
    changes: fn(&DiscountSpans) -> &[i64],
) -> Option<String> {
    // No call of a scope ends once its period is over, and none begins after its end: what changes
    // later parts nothing.
    let end_ms = scope.period.end_ms();
    let mut sql = String::new();
    for (vendor, spans) in spans {
        if scope.vendor.is_some_and(|only| only != vendor) {
            continue;
        }
        let before_end = (1_u32..).zip(changes(spans)).take_while(|(_, at_ms)| **at_ms < end_ms);
        for (number, at_ms) in before_end.collect::<Vec<_>>().iter().rev() {
            sql.push_str(&format!(
                " WHEN vendor = {} AND {column} >= {} THEN {number}",
                quoted(vendor),
                instant_sql(**at_ms)
            ));
        }
    }
    (!sql.is_empty()).then(|| format!("CASE{sql} ELSE 0 END"))
}

/// A text in SQL.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Reads the groups of a scope on a pin. Days are summed in the parts that `spans` has of them.
///
/// # Errors
/// `Data` for rows without a price or currency, `Retry` while the store is away.
pub(super) async fn read(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    scope: &Scope<'_>,
    spans: &SpansOf,
) -> Result<Vec<RatedGroup>, QueryError> {
    let keys = KEYS.join(", ");
    let parts = [
        span_number(scope, spans, "started_at", DiscountSpans::started),
        span_number(scope, spans, "completed_at", DiscountSpans::completed),
    ];
    // Columns of the instants are read only where they part something.
    let by: String = parts.iter().flatten().map(|part| format!(", {part}")).collect();
    let [started, completed] = parts.map(|part| part.unwrap_or_else(|| "0".to_owned()));
    // Within the period, what a correction takes back is summed with what it takes back.
    let corrected =
        format!("(correction IS NOT NULL AND day < DATE '{}')", scope.period.first_day());
    let classes: Vec<String> =
        TokenClass::ALL.iter().map(|class| format!("sum({})", class.name())).collect();
    let from = source_of(engine, pin, scope).await?;
    let sql = format!(
        "SELECT {keys}, sum({EVENTS}), {}, sum(wholesale_amount), sum(retail_amount), \
         CASE WHEN {corrected} THEN 1 ELSE 0 END, {started} AS started_span, {completed} AS completed_span \
         FROM {from} WHERE {} GROUP BY {keys}, CASE WHEN {corrected} THEN 1 ELSE 0 END{by}",
        classes.join(", "),
        scope.condition()
    );
    let mut groups = Vec::new();
    for columns in rows_of(engine, pin, &sql).await? {
        let rows = columns.first().map_or(0, |column| column.len());
        for row in 0..rows {
            let group = group(&columns, row, spans)?;
            // Everything of it was taken back.
            let is_nothing = group.events == 0
                && group.units == [0; CLASS_COUNT]
                && (group.wholesale_pico, group.retail_pico) == (0, 0);
            if !is_nothing {
                groups.push(group);
            }
        }
    }
    Ok(groups)
}

/// Where the rows of a scope are. What retention has removed was sealed before, so that a scope of
/// what is not sealed reaches none of it; one that does is told so by `usage_events`.
async fn source_of(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    scope: &Scope<'_>,
) -> Result<&'static str, QueryError> {
    let sql = format!("SELECT 1 FROM system.removed_usage WHERE {} LIMIT 1", scope.condition());
    let reaches = rows_of(engine, pin, &sql).await?;
    let reaches = reaches.iter().flatten().any(|column| !column.is_empty());
    Ok(if reaches { "usage_events" } else { "system.kept_events" })
}

fn group(columns: &[ArrayRef], row: usize, spans: &SpansOf) -> Result<RatedGroup, QueryError> {
    let [
        day,
        vendor,
        billed_model,
        supplier,
        service_tier,
        price_ids,
        version,
        currency,
        packages,
        revenue,
    ] = keys(columns, row)?;
    let first = KEYS.len();
    let mut units = [0; CLASS_COUNT];
    for (class, sum) in units.iter_mut().enumerate() {
        *sum = i128::from(integer(columns, first + 1 + class, row)?);
    }
    let wholesale_pico = decimal(columns, first + 1 + CLASS_COUNT, row)?;
    let retail_pico = decimal(columns, first + 2 + CLASS_COUNT, row)?;
    let data = |what: String| QueryError::Data(format!("rows of {billed_model} on {day} {what}"));
    let retail_currency = Currency::parse(&revenue);
    if retail_currency.is_none() && retail_pico != 0 {
        return Err(data(format!("have a retail amount in the currency {revenue:?}")));
    }
    let day = day.parse().map_err(|_| data("have no such day".to_owned()))?;
    let part = |column: usize| part_number(columns, first + column + CLASS_COUNT, row);
    let parts = (part(4)?, part(5)?);
    let calls =
        spans.get(&vendor).map_or_else(|| CallSpans::of_day(day), |spans| spans.spans(day, parts));
    Ok(RatedGroup {
        day,
        calls,
        currency: Currency::parse(&currency)
            .ok_or_else(|| data(format!("have a wholesale amount in the currency {currency:?}")))?,
        vendor,
        billed_model: billed_model.clone(),
        supplier,
        service_tier,
        price_ids,
        price_book_version: version,
        retail_price_ids: packages,
        retail_currency,
        corrected: integer(columns, first + 3 + CLASS_COUNT, row)? != 0,
        events: integer(columns, first, row)?,
        units,
        wholesale_pico,
        retail_pico,
    })
}

/// The number that `span_number` gave a row.
fn part_number(columns: &[ArrayRef], column: usize, row: usize) -> Result<usize, QueryError> {
    let number = integer(columns, column, row)?;
    usize::try_from(number)
        .map_err(|_| QueryError::Internal(format!("the part {number} of a day is none")))
}

fn keys(columns: &[ArrayRef], row: usize) -> Result<[String; KEYS.len()], QueryError> {
    let mut keys: [String; KEYS.len()] = Default::default();
    for (column, key) in keys.iter_mut().enumerate() {
        *key = text(columns, column, row)?;
    }
    Ok(keys)
}

/// The first day of events up to cut-offs that lies before a period.
///
/// # Errors
/// `Retry` while the store is away.
pub(super) async fn first_day_before(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    period: Period,
    cut_offs: &[CutOff],
) -> Result<Option<Period>, QueryError> {
    let sql = format!(
        "SELECT coalesce(CAST(min(day) AS VARCHAR), '') FROM usage_events \
         WHERE day < DATE '{}' AND {}",
        period.first_day(),
        within(cut_offs)
    );
    for columns in rows_of(engine, pin, &sql).await? {
        if columns.first().is_some_and(|column| !column.is_empty()) {
            let day = text(&columns, 0, 0)?;
            return Ok(day.parse().ok().map(Period::of_day));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use tally_rating::{Book, BookFile};
    use tally_settlement::PriceLists;

    use super::*;

    const PRICES: &str = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,time_basis,valid_from,known_from,approved_by,approved_at,service_tier
of-acme,wholesale,acme,m,input,token,CNY,10000000,start,2026-01-01,2026-01-01,a,2026-01-01,*
of-far,wholesale,far,n,input,token,CNY,10000000,start,2026-01-01,2026-01-01,a,2026-01-01,*
";

    fn contract(vendor: &str, from: &str, to: &str) -> String {
        format!(
            "[[contract]]\nid = \"{vendor}-10\"\nvendor = \"{vendor}\"\nmodel_pattern = \"*\"\n\
             form = \"price_list\"\ndiscount_ppm = 100000\ncurrency = \"CNY\"\nvalid_from = \"{from}\"\n\
             valid_to = \"{to}\"\nsource = \"test\"\nknown_from = \"2026-01-01\"\napproved_by = \"a\"\n\
             approved_at = \"2026-01-01\"\n"
        )
    }

    fn spans() -> SpansOf {
        let contracts = [
            contract("acme", "2026-10-15T12:00:00+08:00", "2026-11-15T12:00:00+08:00"),
            contract("far", "1600-01-01T00:00:01Z", "9999-12-30T23:59:59+08:00"),
        ];
        let contracts = contracts.concat();
        let files = [
            BookFile { name: "prices.csv", text: PRICES },
            BookFile { name: "contracts.toml", text: &contracts },
        ];
        let mut prices = PriceLists::default();
        prices.add(&Book::read(&files).unwrap());
        prices.discount_spans()
    }

    /// The columns of the instants are read only where they part something, so that what concerns
    /// other vendors and other times costs nothing.
    #[test]
    fn days_are_parted_only_by_what_a_scope_can_reach() {
        let spans = spans();
        let of = |period: &str, vendor: Option<&str>| {
            let period = Period::parse(period).unwrap();
            let scope = Scope { period, cut_offs: &[], sealed: None, vendor };
            span_number(&scope, &spans, "completed_at", DiscountSpans::completed)
        };
        let by_acme = |instant: &str, number: u32| {
            format!(
                " WHEN vendor = 'acme' AND completed_at >= TIMESTAMP(6) '{instant}' THEN {number}"
            )
        };
        let october = by_acme("2026-10-15T12:00:00+08:00", 1);
        let november = by_acme("2026-11-15T12:00:00+08:00", 2);
        let far = " WHEN vendor = 'far' AND completed_at >= TIMESTAMP(6) '1600-01-01T08:00:01+08:00' THEN 1";
        assert_eq!(of("2026-09", Some("acme")), None);
        assert_eq!(of("2026-10", Some("other")), None);
        assert_eq!(of("2026-10", Some("acme")), Some(format!("CASE{october} ELSE 0 END")));
        // Late usage may be as old as anything.
        let both = format!("CASE{november}{october} ELSE 0 END");
        assert_eq!(of("2027-01", Some("acme")), Some(both));
        assert_eq!(of("2026-10", None), Some(format!("CASE{october}{far} ELSE 0 END")));
        let period = Period::parse("2026-10").unwrap();
        let scope = Scope { period, cut_offs: &[], sealed: None, vendor: Some("far") };
        let started = span_number(&scope, &spans, "started_at", DiscountSpans::started);
        assert_eq!(started, Some(format!("CASE{far} ELSE 0 END").replace("completed", "started")));
    }

    #[test]
    fn a_part_that_there_is_not_is_no_first_one() {
        let columns: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![1, -1]))];
        assert_eq!(part_number(&columns, 0, 0).unwrap(), 1);
        let error = part_number(&columns, 0, 1).unwrap_err();
        assert!(matches!(error, QueryError::Internal(_)), "{error}");
    }
}
