//! What is held back, and for how long.

use tally_schemas::ColumnType::{Date, Int64, Text, Timestamp};

use super::{View, always, maybe};

/// The views.
pub(super) const VIEWS: &[View] = &[View {
    schema: "settlement",
    name: "suspense_aging",
    comment: "Events that are held back and open, by reason, model and the day they came, with their age",
    columns: &[
        always("reason", Text, "Why they are held back"),
        maybe("model", Text, "Model, where it could be read"),
        always("day", Date, "Day in Asia/Shanghai at which the log received them"),
        always("age_days", Int64, "Days since then, in Asia/Shanghai, at the time of the query"),
        always("age", Text, "0-1 days, 2-7 days, 8-30 days or over 30 days"),
        always("events", Int64, "Number of events"),
        always("oldest", Timestamp, "When the first of them was received, UTC"),
    ],
    sql: "\
SELECT reason, model, day, age_days,
  CASE WHEN age_days <= 1 THEN '0-1 days' WHEN age_days <= 7 THEN '2-7 days'
    WHEN age_days <= 30 THEN '8-30 days' ELSE 'over 30 days' END AS age,
  events, oldest
FROM (
  SELECT reason, model, day,
    CAST(CAST(shanghai_day(now()) AS INTEGER) - CAST(day AS INTEGER) AS BIGINT) AS age_days,
    count(*) AS events, min(first_seen) AS oldest
  FROM (SELECT reason, model, shanghai_day(first_seen) AS day, first_seen FROM suspense WHERE status = 'open')
  GROUP BY reason, model, day
)",
}];
