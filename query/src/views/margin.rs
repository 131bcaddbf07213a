//! `settlement.margin` and its likes: what subscribers owe less what vendors are owed, by currency.
//!
//! Where an event is sold in one currency and bought in another, its retail amount counts in the
//! one and its wholesale amount in the other, in two rows: yuan and dollars are never added, and a
//! rate between them is settlement's to say.

use tally_schemas::Column;
use tally_schemas::ColumnType::{Amount, Date, Int64, Points, Text, Timestamp};

use super::{View, always, maybe};

/// A margin by some keys, which are columns of the inner query.
macro_rules! margin_by {
    ($keys:literal) => {
        concat!(
            "SELECT ",
            $keys,
            ", currency, sum(events) AS events, sum(points) AS points,
  sum(retail_amount) AS retail_amount, sum(wholesale_amount) AS wholesale_amount,
  sum(retail_amount) - sum(wholesale_amount) AS margin
FROM (
  SELECT shanghai_month(day) AS month, day, retail_price_ids AS package, vendor, model, region, channel,
    wholesale_currency AS currency, events, points,
    CASE WHEN retail_currency <> wholesale_currency THEN CAST(0 AS DECIMAL(38,12)) ELSE retail_amount END
      AS retail_amount,
    wholesale_amount
  FROM roll_ups.usage_by_day
  UNION ALL
  SELECT shanghai_month(day), day, retail_price_ids, vendor, model, region, channel,
    retail_currency, 0, CAST(0 AS DECIMAL(38,6)), retail_amount, CAST(0 AS DECIMAL(38,12))
  FROM roll_ups.usage_by_day WHERE retail_currency <> wholesale_currency
) GROUP BY ",
            $keys,
            ", currency"
        )
    };
}

const MONTH: Column = always("month", Date, "First day of the month in Asia/Shanghai");
const DAY: Column = always("day", Date, "Day in Asia/Shanghai");
const PACKAGE: Column = maybe(
    "package",
    Text,
    "Packages and tariffs that paid, with commas where an event was split; null where nobody did",
);
const VENDOR: Column = always("vendor", Text, "Vendor of the model");
const MODEL: Column = always("model", Text, "Requested model");
const REGION: Column = maybe("region", Text, "Region: the province");
const CHANNEL: Column = maybe("channel", Text, "Sales channel");
const CURRENCY: Column =
    maybe("currency", Text, "Currency of the amounts; null for events without a price");
const EVENTS: Column = always(
    "events",
    Int64,
    "Number of events; one that is sold in another currency than it is bought in counts where it is bought",
);
const POINTS: Column = maybe("points", Points, "Points that the events count");
const RETAIL: Column = maybe("retail_amount", Amount, "What subscribers owe in this currency");
const WHOLESALE: Column =
    maybe("wholesale_amount", Amount, "What vendors are owed in this currency");
const MARGIN: Column = maybe("margin", Amount, "retail_amount - wholesale_amount");

/// The views.
pub(super) const VIEWS: &[View] = &[
    View {
        schema: "settlement",
        name: "margin",
        comment: "Retail less wholesale by day, package, model, province, channel and currency",
        columns: &[
            MONTH, DAY, PACKAGE, VENDOR, MODEL, REGION, CHANNEL, CURRENCY, EVENTS, POINTS, RETAIL,
            WHOLESALE, MARGIN,
        ],
        sql: margin_by!("month, day, package, vendor, model, region, channel"),
    },
    View {
        schema: "settlement",
        name: "margin_by_package",
        comment: "Retail less wholesale by month, package and currency: which packages lose money",
        columns: &[MONTH, PACKAGE, CURRENCY, EVENTS, POINTS, RETAIL, WHOLESALE, MARGIN],
        sql: margin_by!("month, package"),
    },
    View {
        schema: "settlement",
        name: "margin_by_model",
        comment: "Retail less wholesale by month, model and currency",
        columns: &[MONTH, VENDOR, MODEL, CURRENCY, EVENTS, POINTS, RETAIL, WHOLESALE, MARGIN],
        sql: margin_by!("month, vendor, model"),
    },
    View {
        schema: "settlement",
        name: "margin_by_region",
        comment: "Retail less wholesale by month, province and currency",
        columns: &[MONTH, REGION, CURRENCY, EVENTS, POINTS, RETAIL, WHOLESALE, MARGIN],
        sql: margin_by!("month, region"),
    },
    View {
        schema: "settlement",
        name: "margin_by_channel",
        comment: "Retail less wholesale by month, sales channel and currency",
        columns: &[MONTH, CHANNEL, CURRENCY, EVENTS, POINTS, RETAIL, WHOLESALE, MARGIN],
        sql: margin_by!("month, channel"),
    },
    View {
        schema: "settlement",
        name: "margin_by_month",
        comment: "Retail less wholesale by month and currency",
        columns: &[MONTH, CURRENCY, EVENTS, POINTS, RETAIL, WHOLESALE, MARGIN],
        sql: margin_by!("month"),
    },
    View {
        schema: "settlement",
        name: "margin_by_event",
        comment: "Retail and wholesale of each event, and its margin where both are in one currency",
        columns: &[
            always("source", Text, "Gateway that reported the event; identity together with id"),
            always("id", Text, "Id of the event at its source"),
            DAY,
            always("completed_at", Timestamp, "End of the call, UTC"),
            always("account", Text, "Holder of the buckets"),
            always("subscriber", Text, "Who consumed"),
            PACKAGE,
            VENDOR,
            MODEL,
            REGION,
            CHANNEL,
            maybe("points", Points, "Points that the event counts"),
            maybe("retail_currency", Text, "Currency of retail_amount; null where nobody paid"),
            maybe("retail_amount", Amount, "What the subscriber owes"),
            maybe("wholesale_currency", Text, "Currency of wholesale_amount and margin"),
            maybe("wholesale_amount", Amount, "What the vendor is owed"),
            maybe(
                "margin",
                Amount,
                "retail_amount - wholesale_amount; null where these are in two currencies",
            ),
        ],
        sql: "\
SELECT source, id, day, completed_at, account, subscriber, retail_price_ids AS package, vendor, model,
  region, channel, points, retail_currency, retail_amount, wholesale_currency, wholesale_amount,
  CASE WHEN retail_currency IS NULL OR retail_currency = wholesale_currency
    THEN retail_amount - wholesale_amount END AS margin
FROM usage_events",
    },
];
