//! What the books need at the end of a month: revenue and liability of packages, the cost of what
//! was given away, and what is owed for usage that no statement has yet.

use tally_schemas::Column;
use tally_schemas::ColumnType::{Amount, Date, Int64, Points, Text};

use super::{View, always, maybe};

const MONTH: Column = always("month", Date, "First day of the month in Asia/Shanghai");
const VENDOR: Column = always("vendor", Text, "Vendor of the model");

/// The views.
pub(super) const VIEWS: &[View] = &[
    View {
        schema: "settlement",
        name: "package_revenue",
        comment: "What packages were sold for, what of it was earned by use, what lapsed (breakage), and the liability at the end of each month with any movement",
        columns: &[
            MONTH,
            maybe("package", Text, "Package of the buckets"),
            maybe("currency", Text, "Currency of the amounts"),
            always("sold", Amount, "Prices paid, with top-ups and transfers, less refunds"),
            always("earned", Amount, "Revenue allocated to what was used, less what was given back"),
            always("breakage", Amount, "Revenue of what was left when buckets closed"),
            always("change", Amount, "What the month adds to the liability: sold - earned - breakage"),
            always("liability", Amount, "Paid and neither earned nor lapsed at the end of the month: the sum of the changes up to it"),
        ],
        sql: "\
SELECT month, package, currency, sold, earned, breakage, sold - earned - breakage AS change,
  sum(sold - earned - breakage) OVER (PARTITION BY package, currency ORDER BY month) AS liability
FROM (
  SELECT month, package, currency,
    sum(CASE WHEN kind IN ('grant', 'top_up', 'transfer_in', 'transfer_out', 'refund') THEN amount
      ELSE CAST(0 AS DECIMAL(38,12)) END) AS sold,
    sum(CASE WHEN kind IN ('debit', 'adjust') THEN amount ELSE CAST(0 AS DECIMAL(38,12)) END) AS earned,
    sum(CASE WHEN kind = 'breakage' THEN amount ELSE CAST(0 AS DECIMAL(38,12)) END) AS breakage
  FROM (
    SELECT shanghai_month(day) AS month, package, currency, kind, amount
    FROM roll_ups.buckets_by_day
  ) GROUP BY month, package, currency
)",
    },
    View {
        schema: "settlement",
        name: "free_usage_cost",
        comment: "What usage from free and trial packages costs, by month, package and vendor, and who bears it; an event that a free package paid in part counts whole",
        columns: &[
            MONTH,
            always("package", Text, "Packages and tariffs that paid; with commas where a free one was used up within an event, whose cost then is not all of the free one's"),
            maybe("funded_by", Text, "Who bears the free ones: operator, vendor or shared"),
            VENDOR,
            maybe("currency", Text, "Currency of wholesale_amount"),
            always("events", Int64, "Number of events"),
            maybe("points", Points, "Points that the events count"),
            maybe("wholesale_amount", Amount, "What the vendor is owed for them at list price"),
        ],
        sql: "\
WITH given AS (
  SELECT id, max(funded_by) AS funded_by FROM packages
  WHERE kind IN ('trial', 'free') AND superseded_at IS NULL GROUP BY id
), used AS (
  SELECT shanghai_month(day) AS month, retail_price_ids AS package, vendor, wholesale_currency AS currency,
    sum(events) AS events, sum(points) AS points, sum(wholesale_amount) AS wholesale_amount
  FROM roll_ups.usage_by_day WHERE retail_price_ids IS NOT NULL
  GROUP BY shanghai_month(day), retail_price_ids, vendor, wholesale_currency
)
SELECT month, package, string_agg(DISTINCT funded_by, ',' ORDER BY funded_by) AS funded_by, vendor, currency,
  events, points, wholesale_amount
FROM used JOIN given ON strpos(concat(',', package, ','), concat(',', id, ',')) > 0
GROUP BY month, package, vendor, currency, events, points, wholesale_amount",
    },
    View {
        schema: "settlement",
        name: "accrual",
        comment: "Usage of each month at list price, by vendor, currency and the sealed statement that has it; what is on none is accrued, late usage of a sealed month too",
        columns: &[
            MONTH,
            VENDOR,
            maybe("currency", Text, "Currency of wholesale_amount"),
            maybe("statement", Text, "Period of the sealed statement that has it, a later one for late usage; null while it is open"),
            always("state", Text, "open: on no sealed statement; closed; or settled, where that was paid"),
            always("events", Int64, "Number of events"),
            maybe("wholesale_amount", Amount, "What the vendor is owed at list price, before shares, tiers, minimum and cap of the contract"),
        ],
        // An epoch came with one seal. What it has of that month or of earlier ones is on the
        // statements of that seal; what it has of a later month, on those of the later month.
        sql: "\
SELECT u.month, u.vendor, u.currency, u.statement,
  CASE WHEN u.statement IS NULL THEN 'open' ELSE coalesce(s.state, 'closed') END AS state,
  sum(u.events) AS events, sum(u.wholesale_amount) AS wholesale_amount
FROM (
  SELECT e.month, e.vendor, e.currency, e.events, e.wholesale_amount, sealed.period AS statement
  FROM (
    SELECT shanghai_month(day) AS month, vendor, wholesale_currency AS currency, kafka_partition, epoch,
      sum(events) AS events, sum(wholesale_amount) AS wholesale_amount
    FROM roll_ups.usage_by_epoch GROUP BY shanghai_month(day), vendor, wholesale_currency, kafka_partition, epoch
  ) e LEFT JOIN settlement.cut_offs came
    ON came.kafka_partition = e.kafka_partition AND e.epoch > came.after_epoch AND e.epoch <= came.epoch
  LEFT JOIN (SELECT DISTINCT period FROM settlement.cut_offs) sealed
    ON sealed.period = CASE WHEN came.period IS NOT NULL
      THEN greatest(came.period, substr(CAST(e.month AS VARCHAR), 1, 7)) END
) u LEFT JOIN settlement.statements s ON s.vendor = u.vendor AND s.period = u.statement
GROUP BY u.month, u.vendor, u.currency, u.statement, s.state",
    },
];
