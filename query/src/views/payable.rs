//! What vendors are owed, as it was sealed.

use tally_schemas::Column;
use tally_schemas::ColumnType::{Amount, Int64, Text};

use super::{View, always, maybe};

const PERIOD: Column = always("period", Text, "Month in Asia/Shanghai, such as 2026-10");
const VENDOR: Column = always("vendor", Text, "Vendor");
const CURRENCY: Column = always("currency", Text, "Currency of the amounts");
const NET: Column = always("net", Amount, "What is owed, without tax");
const TAX: Column = always("tax", Amount, "Tax");
const GROSS: Column = always("gross", Amount, "What is owed, with tax");

/// The views.
pub(super) const VIEWS: &[View] = &[PAYABLE, BY_PRICE, REPORT];

const PAYABLE: View = View {
    schema: "settlement",
    name: "vendor_payable",
    comment: "What is owed to vendors by model and class, from sealed statements; what is for no model has none (rounding, minimum, cap, posted adjustments)",
    columns: &[
        PERIOD,
        VENDOR,
        maybe("model", Text, "Billed model or pattern of models"),
        maybe("class", Text, "Token class; revenue for a share, units for tiers"),
        CURRENCY,
        always("units", Int64, "Units of the period's lines; events for a share"),
        NET,
        TAX,
        GROSS,
    ],
    sql: "\
SELECT period, vendor, model, class, currency,
  sum(CASE WHEN kind = 'line' THEN units ELSE 0 END) AS units, sum(net) AS net, sum(tax) AS tax, sum(gross) AS gross
FROM settlement.statement_lines
GROUP BY period, vendor, model, class, currency",
};

const BY_PRICE: View = View {
    schema: "settlement",
    name: "vendor_payable_by_price",
    comment: "What is owed to vendors by price and version of the price book, from sealed statements; adjustments by the price that they correct, what is for no price has none",
    columns: &[
        PERIOD,
        VENDOR,
        maybe("model", Text, "Billed model or pattern of models"),
        maybe("class", Text, "Token class; revenue for a share, units for tiers"),
        maybe("price_id", Text, "Price, or the number of a tier"),
        maybe("price_book_version", Text, "Version of the price book that rated it; none of adjustments"),
        maybe("unit_price", Amount, "Price of 1,000,000 units; none of adjustments"),
        CURRENCY,
        always("units", Int64, "Units of the period's lines; events for a share"),
        NET,
        TAX,
        GROSS,
    ],
    sql: "\
SELECT period, vendor, model, class, price_id, price_book_version, unit_price, currency,
  sum(CASE WHEN kind = 'line' THEN units ELSE 0 END) AS units, sum(net) AS net, sum(tax) AS tax, sum(gross) AS gross
FROM settlement.statement_lines
GROUP BY period, vendor, model, class, price_id, price_book_version, unit_price, currency",
};

const REPORT: View = View {
    schema: "settlement",
    name: "vendor_report",
    comment: "A vendor's share step by step, from sealed statements: usage by model and class, then adjustments by reason, then rounding; the sum of a period is the statement's total",
    columns: &[
        PERIOD,
        VENDOR,
        always("terms", Text, "Id of the terms that it is by"),
        always("step", Text, "usage, trial (usage that is a free trial), the reason of an adjustment, or rounding"),
        maybe("model", Text, "Billed model or pattern of models"),
        maybe("class", Text, "Token class; revenue for a share, units for tiers"),
        maybe("orig_period", Text, "Period that an adjustment belongs to"),
        always("units", Int64, "Units; events for a share"),
        maybe("listed", Amount, "What it was rated at, or what subscribers owe, exactly"),
        maybe("listed_currency", Text, "Currency of listed"),
        CURRENCY,
        NET,
        TAX,
        GROSS,
    ],
    sql: "\
SELECT period, vendor, terms, step, model, class, orig_period, sum(units) AS units, sum(listed) AS listed,
  listed_currency, currency, sum(net) AS net, sum(tax) AS tax, sum(gross) AS gross
FROM (
  SELECT period, vendor, terms,
    CASE WHEN kind = 'line' AND trial THEN 'trial' WHEN kind = 'line' THEN 'usage' WHEN kind = 'rounding' THEN 'rounding'
      ELSE coalesce(reason, '') END AS step,
    model, class, orig_period, units, listed, listed_currency, currency, net, tax, gross
  FROM settlement.statement_lines
) GROUP BY period, vendor, terms, step, model, class, orig_period, listed_currency, currency",
};
