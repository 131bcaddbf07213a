//! Schema `quota`: what accounts have left, how fast it goes, and what went beyond it.

use tally_schemas::ColumnType::{Amount, Date, Int64, Points, Text, Timestamp};

use super::{View, always, maybe};

const PACKAGE_OF_EVENTS: &str =
    "Packages and tariffs that paid, with commas where an event was split; null where nobody did";

/// The views.
pub(super) const VIEWS: &[View] = &[
    View {
        schema: "quota",
        name: "balance",
        comment: "What each bucket has left, and what of its price is earned: one row a bucket, as quota_ledger says",
        columns: &[
            always("account", Text, "Holder of the bucket"),
            always("bucket", Text, "Bucket"),
            maybe("package", Text, "Package of the bucket"),
            maybe("currency", Text, "Currency of paid, earned, breakage and unearned"),
            always("granted", Points, "Points granted, with top-ups and transfers in, less transfers out and refunds"),
            always("used", Points, "Points used, less what was given back by hand"),
            always("expired", Points, "Points that were left when the bucket closed"),
            always("remaining", Points, "Points that are left: granted - used - expired"),
            always("paid", Amount, "Price paid, with top-ups and transfers, less refunds"),
            always("earned", Amount, "Revenue allocated to what was used"),
            always("breakage", Amount, "Revenue of what was left when the bucket closed"),
            always("unearned", Amount, "Liability: paid - earned - breakage"),
            maybe("granted_at", Timestamp, "When the bucket was granted, UTC"),
            maybe("last_used_at", Timestamp, "End of the last call that used it, UTC"),
            maybe("closed_at", Timestamp, "When what was left of it was written off, be it nothing, UTC; null while it is open"),
        ],
        sql: "\
SELECT account, bucket, package, currency,
  sum(CASE WHEN kind IN ('grant', 'top_up', 'transfer_in', 'transfer_out', 'refund') THEN points
    ELSE CAST(0 AS DECIMAL(38,6)) END) AS granted,
  -sum(CASE WHEN kind IN ('debit', 'adjust') THEN points ELSE CAST(0 AS DECIMAL(38,6)) END) AS used,
  -sum(CASE WHEN kind = 'expire' THEN points ELSE CAST(0 AS DECIMAL(38,6)) END) AS expired,
  sum(points) AS remaining,
  sum(CASE WHEN kind IN ('grant', 'top_up', 'transfer_in', 'transfer_out', 'refund') THEN amount
    ELSE CAST(0 AS DECIMAL(38,12)) END) AS paid,
  sum(CASE WHEN kind IN ('debit', 'adjust') THEN amount ELSE CAST(0 AS DECIMAL(38,12)) END) AS earned,
  sum(CASE WHEN kind = 'breakage' THEN amount ELSE CAST(0 AS DECIMAL(38,12)) END) AS breakage,
  sum(CASE WHEN kind IN ('grant', 'top_up', 'transfer_in', 'transfer_out', 'refund') THEN amount ELSE -amount END)
    AS unearned,
  min(CASE WHEN kind = 'grant' THEN at END) AS granted_at,
  max(CASE WHEN kind = 'debit' THEN at END) AS last_used_at,
  max(CASE WHEN kind IN ('expire', 'breakage') THEN at END) AS closed_at
FROM quota_ledger WHERE bucket IS NOT NULL
GROUP BY account, bucket, package, currency",
    },
    View {
        schema: "quota",
        name: "account_balance",
        comment: "What each account has left over all its buckets, and what went beyond them: one row an account",
        columns: &[
            always("account", Text, "Holder of the buckets"),
            always("buckets", Int64, "Buckets with points left"),
            always("remaining", Points, "Points left in all buckets"),
            always("used", Points, "Points used from buckets, less what was given back by hand"),
            always("payg", Points, "Points paid as they went"),
            always("overrun", Points, "Points that nobody pays for"),
            maybe("last_used_at", Timestamp, "End of the last call, UTC"),
        ],
        sql: "\
SELECT account,
  count(CASE WHEN bucket IS NOT NULL AND remaining > 0 THEN 1 END) AS buckets,
  sum(CASE WHEN bucket IS NOT NULL THEN remaining ELSE CAST(0 AS DECIMAL(38,6)) END) AS remaining,
  sum(used) AS used, sum(payg) AS payg, sum(overrun) AS overrun, max(last_used_at) AS last_used_at
FROM (
  SELECT account, bucket, sum(points) AS remaining,
    -sum(CASE WHEN kind IN ('debit', 'adjust') THEN points ELSE CAST(0 AS DECIMAL(38,6)) END) AS used,
    -sum(CASE WHEN kind = 'payg' THEN points ELSE CAST(0 AS DECIMAL(38,6)) END) AS payg,
    -sum(CASE WHEN kind = 'overrun' THEN points ELSE CAST(0 AS DECIMAL(38,6)) END) AS overrun,
    max(CASE WHEN kind IN ('debit', 'payg', 'overrun') THEN at END) AS last_used_at
  FROM quota_ledger GROUP BY account, bucket
) GROUP BY account",
    },
    View {
        schema: "quota",
        name: "burn_rate",
        comment: "Points and amounts of each day by account and package",
        columns: &[
            always("day", Date, "Day in Asia/Shanghai"),
            always("account", Text, "Holder of the buckets"),
            maybe("package", Text, PACKAGE_OF_EVENTS),
            always("events", Int64, "Number of events"),
            maybe("points", Points, "Points that the events count"),
            maybe("retail_currency", Text, "Currency of retail_amount"),
            maybe("retail_amount", Amount, "What the subscribers owe for them"),
            maybe("wholesale_currency", Text, "Currency of wholesale_amount"),
            maybe("wholesale_amount", Amount, "What the vendors are owed for them"),
        ],
        sql: "\
SELECT day, account, retail_price_ids AS package,
  sum(CASE WHEN correction = 'reversal' THEN -1 ELSE 1 END) AS events, sum(points) AS points,
  retail_currency, sum(retail_amount) AS retail_amount,
  wholesale_currency, sum(wholesale_amount) AS wholesale_amount
FROM usage_events
GROUP BY day, account, retail_price_ids, retail_currency, wholesale_currency",
    },
    View {
        schema: "quota",
        name: "burn_rate_by_hour",
        comment: "Points and amounts of each hour by account and package",
        columns: &[
            always("day", Date, "Day in Asia/Shanghai"),
            always("hour", Timestamp, "Start of the hour in which the calls ended, UTC"),
            always("account", Text, "Holder of the buckets"),
            maybe("package", Text, PACKAGE_OF_EVENTS),
            always("events", Int64, "Number of events"),
            maybe("points", Points, "Points that the events count"),
            maybe("retail_currency", Text, "Currency of retail_amount"),
            maybe("retail_amount", Amount, "What the subscribers owe for them"),
            maybe("wholesale_currency", Text, "Currency of wholesale_amount"),
            maybe("wholesale_amount", Amount, "What the vendors are owed for them"),
        ],
        sql: "\
SELECT day, hour, account, package, sum(event) AS events, sum(points) AS points,
  retail_currency, sum(retail_amount) AS retail_amount,
  wholesale_currency, sum(wholesale_amount) AS wholesale_amount
FROM (
  SELECT day, date_trunc('hour', completed_at) AS hour, account, retail_price_ids AS package,
    CASE WHEN correction = 'reversal' THEN -1 ELSE 1 END AS event, points,
    retail_currency, retail_amount, wholesale_currency, wholesale_amount
  FROM usage_events
) GROUP BY day, hour, account, package, retail_currency, wholesale_currency",
    },
    View {
        schema: "quota",
        name: "exhaustion_forecast",
        comment: "When each bucket that has points runs out if its use of the last seven days goes on",
        columns: &[
            always("account", Text, "Holder of the bucket"),
            always("bucket", Text, "Bucket"),
            maybe("package", Text, "Package of the bucket"),
            always("remaining", Points, "Points that are left"),
            maybe("since", Timestamp, "Start of what the rate is taken from: seven days before as_of, or the bucket's first use where that is later, UTC"),
            maybe("as_of", Timestamp, "The account's newest use, UTC"),
            always("recent_points", Points, "Points used from the bucket between since and as_of"),
            maybe("exhausted_at", Timestamp, "When the bucket runs out at that rate, UTC; null where it cannot be said: no use in those days, or only at one instant"),
        ],
        sql: "\
WITH newest AS (
  SELECT account, max(at) AS as_of FROM quota_ledger
  WHERE kind IN ('debit', 'payg', 'overrun') GROUP BY account
), buckets AS (
  SELECT account, bucket, package, sum(points) AS remaining,
    min(CASE WHEN kind = 'debit' THEN at END) AS first_used_at
  FROM quota_ledger WHERE bucket IS NOT NULL GROUP BY account, bucket, package
  HAVING sum(points) > 0
), recent AS (
  SELECT l.account, l.bucket, -sum(l.points) AS used
  FROM quota_ledger l JOIN newest n ON n.account = l.account
  WHERE l.kind = 'debit' AND l.at >= n.as_of - INTERVAL '7 days'
  GROUP BY l.account, l.bucket
), rated AS (
  SELECT b.account, b.bucket, b.package, b.remaining, n.as_of,
    greatest(b.first_used_at, n.as_of - INTERVAL '7 days') AS since,
    coalesce(r.used, CAST(0 AS DECIMAL(38,6))) AS recent_points
  FROM buckets b
  LEFT JOIN newest n ON n.account = b.account
  LEFT JOIN recent r ON r.account = b.account AND r.bucket = b.bucket
)
SELECT account, bucket, package, remaining, since, as_of, recent_points,
  exhausted_at(since, as_of, recent_points, remaining) AS exhausted_at
FROM rated",
    },
    View {
        schema: "quota",
        name: "overrun_by_cause",
        comment: "Usage that nobody pays for, by day, cause and package, and what it costs",
        columns: &[
            always("day", Date, "Day in Asia/Shanghai"),
            maybe("cause", Text, "late, configuration, in_flight or lag"),
            maybe("package", Text, "Package that would have taken the usage; null where the account had none for it"),
            always("events", Int64, "Number of events"),
            always("accounts", Int64, "Number of accounts"),
            always("points", Points, "Points beyond what the accounts had"),
            maybe("currency", Text, "Currency of wholesale_amount"),
            always("wholesale_amount", Amount, "What the vendors are owed for these points"),
        ],
        sql: "\
SELECT day, cause, package, count(*) AS events, count(DISTINCT account) AS accounts,
  -sum(points) AS points, currency, sum(amount) AS wholesale_amount
FROM (
  SELECT shanghai_day(at) AS day, cause, package, account, points, currency, amount
  FROM quota_ledger WHERE kind = 'overrun'
) GROUP BY day, cause, package, currency",
    },
    View {
        schema: "quota",
        name: "alerts_outstanding",
        comment: "Alerts that went out and are still about something: not taken back, and their bucket not closed, their window or their budget's period not over",
        columns: &[
            always("id", Text, "Identity of the alert"),
            always("kind", Text, "Kind of the threshold"),
            maybe("account", Text, "Holder of the buckets"),
            maybe("subscriber", Text, "Whose usage crossed it"),
            maybe("model", Text, "Model, vendor or supplier that a budget or commitment is for; * for all"),
            maybe("package", Text, "Package or tariff; id of a budget or commitment"),
            maybe("bucket", Text, "Bucket"),
            always("period_start", Timestamp, "Start of the bucket or of the window's period, UTC"),
            always("counter", Text, "Kind, window and how often the bucket was armed again"),
            always("threshold", Int64, "The threshold's value, in the unit of its kind"),
            always("used", Points, "Points used of it when it was crossed; currency for pay as you go; what a budget counts"),
            maybe("allowance", Points, "The bucket's allowance, the cap's limit, or what the budget has, at that time"),
            always("at", Timestamp, "When it was crossed, UTC"),
        ],
        sql: "\
SELECT a.id, a.kind, a.account, a.subscriber, a.model, a.package, a.bucket, a.period_start, a.counter,
  a.threshold, a.used, a.allowance, a.at
FROM alerts a
CROSS JOIN (SELECT max(watermark) AS as_of FROM stream_time.watermarks) stream
LEFT JOIN settlement.budgets b ON a.account IS NULL AND b.budget = a.package AND b.period_start = a.period_start
WHERE a.superseded_by IS NULL AND a.kind <> 'corrected'
  AND NOT EXISTS (SELECT 1 FROM alerts c WHERE c.corrects = a.id)
  AND NOT EXISTS (SELECT 1 FROM quota_ledger l WHERE l.account = a.account AND l.bucket = a.bucket
    AND l.kind IN ('expire', 'breakage') AND l.at >= a.at)
  AND CASE WHEN a.account IS NULL THEN b.period_end > stream.as_of
    WHEN a.bucket IS NULL THEN alert_window_end(a.counter, a.period_start) > stream.as_of
    ELSE TRUE END",
    },
];
