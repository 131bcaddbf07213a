//! Instants as SQL has them.

use tally_rating::instant_text;

/// The first instant of the year 1, milliseconds UTC: the engine reads no year before it, and no
/// row is as old.
const YEAR_ONE_MS: i64 = -62_135_596_800_000;

/// An instant in SQL, in the unit of the columns. Without it the engine counts in nanoseconds, which
/// end in 2262; what people write down may be later, `9999-12-31` for one.
pub fn instant_sql(at_ms: i64) -> String {
    format!("TIMESTAMP(6) '{}'", instant_text(at_ms.max(YEAR_ONE_MS)))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::TimestampMicrosecondType;
    use datafusion::prelude::SessionContext;
    use tally_rating::parse_instant;

    use super::*;

    /// What the engine reads, microseconds since 1970.
    async fn micros(at: &str) -> i64 {
        let sql = format!("SELECT {}", instant_sql(parse_instant(at).unwrap()));
        let answer = SessionContext::new().sql(&sql).await.unwrap().collect().await.unwrap();
        answer[0].column(0).as_primitive::<TimestampMicrosecondType>().value(0)
    }

    #[tokio::test]
    async fn every_instant_that_a_book_may_have_can_be_read() {
        for (at, expected) in [
            ("2026-10-15T11:59:59.999+08:00", 1_792_036_799_999_000),
            ("1600-01-01T00:00:01Z", -11_676_095_999_000_000),
            ("9999-12-31", 253_402_185_600_000_000),
            ("9999-12-30T23:59:59+08:00", 253_402_185_599_000_000),
            // Before all that there is.
            ("-000100-01-01T00:00:00Z", YEAR_ONE_MS * 1_000),
        ] {
            assert_eq!(micros(at).await, expected, "{at}");
        }
    }
}
