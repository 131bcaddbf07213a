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
pub(super) const VIEWS: &[View] = &[View {
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
}];
