//! What a vendor sees: tables, columns, and what else must hold of a row beside its vendor.
//!
//! Left out on purpose: accounts and subscribers, who sold it where (`region`, `channel`, `product`),
//! what it is sold at (`retail_…`, `points`), gateways, labels, where rows come from in the log, and
//! the names and notes of people. What the operator has not sealed or put down is not there either:
//! an adjustment that is only proposed, a period in review.

use tally_schemas::{RollUp, TokenClass};

use super::{Part, TableSight};

/// A table of which a vendor sees its own rows.
pub(super) struct VendorTable {
    pub(super) schema: &'static str,
    pub(super) name: &'static str,
    /// Columns, without those of token classes.
    columns: &'static [&'static str],
    /// Whether it has a column for each token class.
    classes: bool,
    /// What must hold beside `vendor`.
    also: Option<(&'static str, &'static str)>,
}

/// Column that every table has of which vendors see a part.
pub(super) const VENDOR: &str = "vendor";

/// Views over the tables below.
pub(super) const VENDOR_VIEWS: [(&str, &str); 3] = [
    ("settlement", "vendor_payable"),
    ("settlement", "vendor_payable_by_price"),
    ("settlement", "vendor_report"),
];

impl VendorTable {
    pub(super) fn part(&self, vendor: &str) -> Part {
        let mut columns = self.columns.to_vec();
        if self.classes {
            columns.extend(TokenClass::ALL.map(TokenClass::name));
        }
        let mut only = vec![(VENDOR, vendor.to_owned())];
        only.extend(self.also.map(|(column, value)| (column, value.to_owned())));
        Part { columns, only }
    }
}

/// What views over a vendor's rows may read of a table that is summed up: what it has of
/// `usage_events`, and no more. It is no table of theirs, because its rows are told apart by what is
/// hidden from them.
pub(super) fn roll_up_of_vendor(roll_up: RollUp, vendor: &str) -> TableSight {
    match roll_up {
        RollUp::UsageByDay => TableSight::Part(Part {
            columns: vec![
                "day",
                "model",
                VENDOR,
                "wholesale_currency",
                "events",
                "wholesale_amount",
            ],
            only: vec![(VENDOR, vendor.to_owned())],
        }),
        // No view of theirs sums these up.
        RollUp::UsageByGatewayHour
        | RollUp::GatewayRuns
        | RollUp::BucketsByDay
        | RollUp::UsageByEpoch
        | RollUp::UsageBySubscriber => TableSight::Hidden,
    }
}

/// The tables.
pub(super) const VENDOR_TABLES: [VendorTable; 12] = [
    VendorTable {
        schema: "public",
        name: "usage_events",
        columns: &[
            "model",
            "billed_model",
            VENDOR,
            "supplier",
            "service_tier",
            "started_at",
            "completed_at",
            "day",
            "finish_reason",
            "usage_source",
            "vendor_request_id",
            "wholesale_amount",
            "wholesale_currency",
            "wholesale_price_ids",
            "price_book_version",
            "correction",
        ],
        classes: true,
        also: None,
    },
    VendorTable {
        schema: "public",
        name: "usage_by_model",
        columns: &[
            "window_start",
            "window_end",
            "kind",
            "model",
            VENDOR,
            "supplier",
            "service_tier",
            "wholesale_currency",
            "events",
            "wholesale_amount",
        ],
        classes: true,
        also: None,
    },
    VendorTable {
        schema: "public",
        name: "model_aliases",
        columns: &[
            "alias_id",
            "model",
            VENDOR,
            "billed_model",
            "valid_from",
            "valid_to",
            "version",
            "known_from",
            "superseded_at",
        ],
        classes: false,
        also: None,
    },
    VendorTable {
        schema: "settlement",
        name: "price_book",
        columns: &[
            "price_id",
            "side",
            "contract_id",
            VENDOR,
            "supplier",
            "model_pattern",
            "class",
            "unit",
            "currency",
            "price_micro_per_million",
            "price_per_million",
            "tier_basis",
            "tier_from",
            "tier_to",
            "tier_mode",
            "service_tier",
            "region",
            "calendar_id",
            "windows",
            "time_basis",
            "valid_from",
            "valid_to",
            "free",
            "promotion",
            "version",
            "known_from",
            "superseded_at",
        ],
        classes: false,
        also: Some(("side", "wholesale")),
    },
    VendorTable {
        schema: "settlement",
        name: "contracts",
        columns: &[
            "contract_id",
            "applies_to",
            VENDOR,
            "model_pattern",
            "form",
            "figures",
            "currency",
            "discount_ppm",
            "tax_ppm",
            "amounts_include_tax",
            "rounding",
            "minimum",
            "carry_months",
            "cap",
            "prepaid",
            "trial",
            "tolerance",
            "valid_from",
            "valid_to",
            "version",
            "known_from",
            "superseded_at",
        ],
        classes: false,
        also: None,
    },
    VendorTable {
        schema: "settlement",
        name: "statements",
        columns: &[
            "period",
            VENDOR,
            "sequence",
            "state",
            "currency",
            "net",
            "tax",
            "gross",
            "total_in_words",
            "events",
            "late_events",
            "corrected_events",
            "hash",
            "paid_on",
            "payment_reference",
        ],
        classes: false,
        also: None,
    },
    VendorTable {
        schema: "settlement",
        name: "statement_lines",
        columns: &[
            "period",
            VENDOR,
            "terms",
            "kind",
            "line_id",
            "model",
            "class",
            "supplier",
            "service_tier",
            "price_id",
            "price_book_version",
            "unit_price",
            "trial",
            "units",
            "listed",
            "listed_currency",
            "currency",
            "net",
            "tax",
            "gross",
            "reason",
            "orig_period",
            "orig_line_id",
        ],
        classes: false,
        also: None,
    },
    VendorTable {
        schema: "settlement",
        name: "adjustments",
        columns: &[
            "adjustment",
            VENDOR,
            "state",
            "period",
            "wanted_period",
            "terms",
            "reason",
            "orig_period",
            "orig_line_id",
            "posted",
            "amount",
            "net",
            "gross",
            "currency",
            // It stands on the statement, too.
            "note",
            "dispute",
        ],
        classes: false,
        // Before that it is a matter between two people of the operator.
        also: Some(("state", "on_statement")),
    },
    VendorTable {
        schema: "settlement",
        name: "disputes",
        columns: &[
            "dispute",
            VENDOR,
            "period",
            "state",
            "currency",
            "our_amount",
            "their_amount",
            "at_stake",
            "differences",
            "classes",
            "bill",
            "bill_hash",
            "evidence_hash",
            "deadline",
            "opened_at",
            "resolved_at",
            "credit",
            "adjustment",
        ],
        classes: false,
        also: None,
    },
    VendorTable {
        schema: "settlement",
        name: "reconciliation",
        columns: &[
            VENDOR,
            "period",
            "bill",
            "bill_hash",
            "mapping",
            "currency",
            "our_amount",
            "their_amount",
            "difference",
            "inside",
            "bill_lines",
            "our_events",
            "differences",
            "disputed",
            "classes",
            "compared_at",
        ],
        classes: false,
        also: None,
    },
    VendorTable {
        schema: "settlement",
        name: "reconciliation_classes",
        columns: &[
            VENDOR,
            "period",
            "bill",
            "bill_hash",
            "compared_at",
            "class",
            "currency",
            "differences",
            "difference",
        ],
        classes: false,
        also: None,
    },
    VendorTable {
        schema: "settlement",
        name: "reconciliation_differences",
        columns: &[
            VENDOR,
            "period",
            "bill",
            "bill_hash",
            "compared_at",
            "place",
            "level",
            "class",
            "detail",
            "disputed",
            "difference",
            "our_amount",
            "our_currency",
            "their_amount",
            "their_currency",
            "our_day",
            "their_day",
            "our_model",
            "their_model",
            "our_service_tier",
            "their_service_tier",
            "our_counts",
            "their_counts",
            "unit_price",
            "vendor_request_id",
            "bill_line",
            "wholesale_price_ids",
        ],
        classes: false,
        also: None,
    },
];
