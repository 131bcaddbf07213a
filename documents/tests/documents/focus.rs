//! The FOCUS columns keep the rules of the specification that can be checked row by row, and sum
//! to the statement.

use std::collections::BTreeMap;

use crate::support::{credit, every, sealed};
use tally_documents::statement_focus;
use tally_settlement::{Language, Statement, parse_decimal};

type Row = BTreeMap<String, String>;

fn rows(statement: &Statement) -> Vec<Row> {
    let bytes = statement_focus(&sealed(statement, Language::En)).unwrap();
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let names = reader.headers().unwrap().clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.unwrap();
        let fields = names.iter().zip(record.iter());
        rows.push(fields.map(|(name, field)| (name.to_owned(), field.to_owned())).collect());
    }
    rows
}

fn cents(row: &Row, column: &str) -> i128 {
    parse_decimal(&row[column], 2).unwrap()
}

#[test]
fn billed_cost_is_what_is_owed() {
    for (name, statement) in every() {
        let rows = rows(&statement);
        let billed: i128 = rows.iter().map(|row| cents(row, "BilledCost")).sum();
        assert_eq!(billed, statement.total.gross.0, "{name}");
        let tax = rows.iter().filter(|row| row["ChargeCategory"] == "Tax");
        let tax: i128 = tax.map(|row| cents(row, "BilledCost")).sum();
        assert_eq!(tax, statement.total.tax.0, "{name}");
    }
}

/// What is drawn from advance payments lowers what is billed and not what was used.
#[test]
fn a_payment_is_no_saving() {
    let statement = credit();
    let drawn = statement.sections[0].adjustments.iter();
    let drawn = drawn.filter(|row| row.reason.name() == "prepaid_drawn");
    let drawn: i128 = drawn.map(|row| row.amounts.gross.0).sum();
    assert!(drawn < 0);
    let effective: i128 = rows(&statement).iter().map(|row| cents(row, "EffectiveCost")).sum();
    assert_eq!(effective, statement.total.gross.0 - drawn);
}

#[test]
fn every_row_keeps_the_rules_of_its_category() {
    for (name, statement) in every() {
        for row in rows(&statement) {
            let is = |column: &str, value: &str| row[column] == value;
            let category = row["ChargeCategory"].as_str();
            assert!(matches!(category, "Usage" | "Tax" | "Credit" | "Adjustment"), "{name}");
            for column in [
                "BilledCost",
                "EffectiveCost",
                "ListCost",
                "ContractedCost",
                "BillingAccountId",
                "BillingCurrency",
                "ChargeDescription",
                "ChargeFrequency",
                "InvoiceIssuerName",
                "PricingCurrency",
                "ProviderName",
                "PublisherName",
                "ServiceName",
            ] {
                assert!(!row[column].is_empty(), "{name}: {column} of {row:?}");
            }
            let corrects = is("ChargeClass", "Correction");
            assert!(corrects || is("ChargeClass", ""));
            let priced =
                ["PricingQuantity", "PricingUnit", "SkuId", "SkuPriceId", "PricingCategory"];
            if category == "Usage" && !corrects {
                for column in priced {
                    assert!(!row[column].is_empty(), "{name}: {column} of {row:?}");
                }
            }
            if category == "Tax" {
                for column in priced.iter().chain(&["ConsumedQuantity"]) {
                    assert!(row[*column].is_empty(), "{name}: {column} of {row:?}");
                }
            }
            assert_eq!(row["SkuId"].is_empty(), row["SkuMeter"].is_empty(), "{name}: {row:?}");
            let own = row["ChargePeriodStart"] == row["BillingPeriodStart"];
            assert_eq!(own, !corrects, "{name}: {row:?}");
            // A month in Shanghai begins in the afternoon before, in UTC.
            assert!(is("BillingPeriodStart", "2026-09-30T16:00:00Z"), "{row:?}");
            assert!(is("BillingPeriodEnd", "2026-10-31T16:00:00Z"), "{row:?}");
        }
    }
}

#[test]
fn tokens_are_priced_by_the_million() {
    let rows = rows(&crate::support::short());
    let output = rows.iter().find(|row| row["SkuMeter"] == "Output").unwrap();
    for (column, value) in [
        ("ConsumedQuantity", "123456789"),
        ("ConsumedUnit", "Tokens"),
        ("PricingQuantity", "123.456789"),
        ("PricingUnit", "1000000 Tokens"),
        ("x_UnitPrice", "10.000000"),
        ("x_RatedAmount", "1234.567890000000"),
        ("BilledCost", "1234.57"),
        ("SkuId", "qwen3-max/output"),
        ("PublisherName", "qwen"),
        ("ProviderName", "acme-cloud"),
        ("ServiceCategory", "AI and Machine Learning"),
    ] {
        assert_eq!(output[column], value, "{column}");
    }
}
