//! Budgets as they are written.

use crate::BudgetBook;
use crate::budget::Period;

const GOOD: &str = r#"
[[budget]]
id = "b"
kind = "budget"
title = "t"
title_en = "t"
vendor = "deepseek"
side = "wholesale"
currency = "CNY"
amount_micro = 1000000
period = "day"
valid_from = "2026-01-01"
thresholds = [80, 50]
source = "test"
known_from = "2026-01-01"
approved_by = "a"
approved_at = "2026-01-01"
"#;

#[test]
fn the_shipped_budgets_are_examples_of_every_form() {
    let book = BudgetBook::shipped().unwrap();
    assert!(book.versions().iter().all(|budget| budget.example));
    for period in [Period::Day, Period::Month, Period::Once] {
        assert!(book.versions().iter().any(|budget| budget.period == period), "{period:?}");
    }
}

#[test]
fn thresholds_rise_however_they_are_written() {
    let book = BudgetBook::from_toml(GOOD).unwrap();
    assert_eq!(book.versions()[0].thresholds, [50, 80]);
}

#[test]
fn each_defect_is_told_with_its_place() {
    let changed = |from: &str, to: &str| BudgetBook::from_toml(&GOOD.replace(from, to));
    for (from, to, told) in [
        ("kind = \"budget\"", "kind = \"limit\"", "budget b: kind: \"limit\" is none of"),
        ("period = \"day\"", "period = \"week\"", "budget b: period"),
        ("period = \"day\"", "period = \"once\"", "budget b: valid_to: is missing"),
        ("kind = \"budget\"", "kind = \"commitment\"", "budget b: period: a commitment"),
        ("side = \"wholesale\"", "side = \"both\"", "budget b: side"),
        ("side = \"wholesale\"\n", "", "budget b: side"),
        ("currency = \"CNY\"", "currency = \"yuan\"", "budget b: currency"),
        ("amount_micro = 1000000", "tokens = 5", "are of amounts"),
        ("amount_micro = 1000000", "amount_micro = 5\ntokens = 5", "exactly one"),
        ("amount_micro = 1000000", "", "exactly one"),
        ("amount_micro = 1000000", "amount_micro = 0", "must be above 0"),
        ("amount_micro = 1000000", "amount_micro = 1.5", "amount_micro"),
        ("[80, 50]", "[]", "there is none"),
        ("[80, 50]", "[80, 80]", "twice"),
        ("[80, 50]", "[0]", "percent from 1"),
        ("[80, 50]", "[1001]", "percent from 1"),
        ("valid_from = \"2026-01-01\"", "valid_from = \"yesterday\"", "budget b: valid_from"),
        ("period = \"day\"", "period = \"day\"\nvalid_to = \"2025-01-01\"", "not after"),
        ("vendor = \"deepseek\"", "vendor = \"\"", "matches nothing"),
        ("vendor = \"deepseek\"", "model = \"a*b\"", "budget b: model"),
        ("vendor = \"deepseek\"", "vender = \"deepseek\"", "vender"),
        ("approved_at = \"2026-01-01\"", "", "both or none"),
        ("[[budget]]", "[[budgets]]", "budgets"),
    ] {
        let told_of = changed(from, to).map(|_| ()).unwrap_err().to_string();
        assert!(told_of.contains(told), "{from} -> {to}: {told_of}");
    }
    let twice = BudgetBook::from_toml(&format!("{GOOD}{GOOD}")).unwrap_err();
    assert!(twice.to_string().contains("there is a version"), "{twice}");
    let several = GOOD.replace("[80, 50]", "[]").replace("\"CNY\"", "\"x\"");
    assert_eq!(BudgetBook::from_toml(&several).unwrap_err().defects.len(), 2);
}

#[test]
fn what_nobody_approved_is_not_there() {
    let unapproved =
        GOOD.replace("approved_by = \"a\"\n", "").replace("approved_at = \"2026-01-01\"\n", "");
    assert!(BudgetBook::from_toml(&unapproved).unwrap().versions().is_empty());
}

mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,200}") {
            drop(BudgetBook::from_toml(&text));
        }

        #[test]
        fn no_change_of_a_good_text_is_a_panic(at in 0..GOOD.len(), with in "\\PC{0,3}") {
            let mut text = GOOD.to_owned();
            text.replace_range(at..=at, &with);
            drop(BudgetBook::from_toml(&text));
        }

        #[test]
        fn no_stored_state_is_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let book = std::sync::Arc::new(BudgetBook::default());
            drop(crate::BudgetStage::restored(book, [bytes.as_slice()], &[], None));
        }
    }
}
