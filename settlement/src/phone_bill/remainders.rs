//! What rounding left: carried to the next line of the same account, kind, package and currency,
//! so that nothing is lost or charged twice however many days a sum is spread over.

use std::collections::BTreeMap;

use tally_schemas::{Currency, PICO};

use super::charge::ChargeKind;
use super::error::BillError;
use super::line::LineKey;
use crate::decimal::{Cents, Pico, parse_decimal};
use crate::fraction::{Fraction, Rounding};

/// Pico-currency of 0.01.
const PICO_PER_CENT: i128 = PICO / 100;

const COLUMNS: [&str; 5] = ["account", "kind", "package", "currency", "remainder"];

/// What was not charged yet, or too much, by key: never more than half a hundredth either way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remainders(BTreeMap<LineKey, Pico>);

/// An amount and what it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rounded {
    pub(super) before: Pico,
    pub(super) amount: Cents,
    pub(super) after: Pico,
}

impl Remainders {
    /// What is carried of a key.
    pub fn of(&self, key: &LineKey) -> Pico {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// Number of keys of which something is carried.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is carried.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every key with what is carried of it.
    pub fn iter(&self) -> impl Iterator<Item = (&LineKey, Pico)> {
        self.0.iter().map(|(key, remainder)| (key, *remainder))
    }

    /// Rounds an exact sum and what was carried, half up (away from zero), and carries the rest.
    pub(super) fn charge(&mut self, key: &LineKey, exact: Pico) -> Result<Rounded, BillError> {
        let before = self.of(key);
        let rounded =
            round(exact, before).ok_or_else(|| BillError::Overflow(key.account.clone()))?;
        if rounded.after.0 == 0 {
            self.0.remove(key);
        } else {
            self.0.insert(key.clone(), rounded.after);
        }
        Ok(rounded)
    }

    /// As they are stored: CSV, in the order of the keys.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn to_csv(&self) -> Result<Vec<u8>, BillError> {
        let failed = |error: &dyn std::fmt::Display| BillError::damaged("remainders", error);
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS).map_err(|error| failed(&error))?;
        for (key, remainder) in &self.0 {
            let LineKey { account, kind, package, currency } = key;
            let remainder = remainder.to_string();
            let record = [account.as_str(), kind.name(), package, currency.code(), &remainder];
            writer.write_record(record).map_err(|error| failed(&error))?;
        }
        writer.into_inner().map_err(|error| failed(&error))
    }

    /// Reads stored remainders; `what` is for messages.
    ///
    /// # Errors
    /// `Stored` for anything that [`Self::to_csv`] does not write.
    pub fn from_csv(what: &str, bytes: &[u8]) -> Result<Self, BillError> {
        let damaged = |why: &dyn std::fmt::Display| BillError::damaged(what, why);
        let mut reader = csv::Reader::from_reader(bytes);
        if reader.headers().map_err(|error| damaged(&error))? != COLUMNS.as_slice() {
            return Err(damaged(&"has other columns"));
        }
        let mut remainders = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(|error| damaged(&error))?;
            let field = |at: usize| record.get(at).unwrap_or_default();
            let wrong = || damaged(&format!("{record:?} is no remainder"));
            let key = LineKey {
                account: field(0).to_owned(),
                kind: ChargeKind::from_name(field(1)).ok_or_else(wrong)?,
                package: field(2).to_owned(),
                currency: Currency::parse(field(3)).ok_or_else(wrong)?,
            };
            let remainder = parse_decimal(field(4), 12).map_err(|_| wrong())?;
            remainders.insert(key, Pico(remainder));
        }
        Ok(Self(remainders))
    }
}

fn round(exact: Pico, before: Pico) -> Option<Rounded> {
    let due = exact.0.checked_add(before.0)?;
    let amount = Fraction::whole(due).rounded(Rounding::HalfUp)?;
    let after = due.checked_sub(amount.0.checked_mul(PICO_PER_CENT)?)?;
    Some(Rounded { before, amount, after: Pico(after) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(account: &str) -> LineKey {
        LineKey {
            account: account.to_owned(),
            kind: ChargeKind::PayAsYouGo,
            package: "sh-telecom-payg".to_owned(),
            currency: Currency::CNY,
        }
    }

    #[test]
    fn a_third_of_a_fen_is_charged_on_the_second_day_and_once() {
        let mut remainders = Remainders::default();
        let third = Pico(PICO_PER_CENT / 3);
        let amounts: Vec<i128> =
            (0..6).map(|_| remainders.charge(&key("A"), third).unwrap().amount.0).collect();
        assert_eq!(amounts, [0, 1, 0, 0, 1, 0]);
        assert_eq!(remainders.of(&key("A")), Pico(-2));
        assert_eq!(remainders.of(&key("B")), Pico(0));
    }

    #[test]
    fn half_a_fen_is_rounded_away_from_zero_and_given_back() {
        let mut remainders = Remainders::default();
        let half = PICO_PER_CENT / 2;
        let rounded = remainders.charge(&key("A"), Pico(half)).unwrap();
        assert_eq!((rounded.amount, rounded.after), (Cents(1), Pico(-half)));
        let rounded = remainders.charge(&key("A"), Pico(half)).unwrap();
        assert_eq!(
            (rounded.before, rounded.amount, rounded.after),
            (Pico(-half), Cents(0), Pico(0))
        );
        assert!(remainders.is_empty(), "nothing is carried of nothing");
        let rounded = remainders.charge(&key("A"), Pico(-half)).unwrap();
        assert_eq!((rounded.amount, rounded.after), (Cents(-1), Pico(half)));
    }

    proptest! {
        /// What was charged so far is what was used so far, but for half a hundredth at most.
        #[test]
        fn nothing_is_lost_or_charged_twice(sums in prop::collection::vec(-30_000_000_000_i128..50_000_000_000, 1..60)) {
            let mut remainders = Remainders::default();
            let (mut exact, mut charged) = (0, 0);
            for sum in sums {
                let rounded = remainders.charge(&key("A"), Pico(sum)).unwrap();
                exact += sum;
                charged += rounded.amount.0 * PICO_PER_CENT;
                prop_assert_eq!(exact - charged, rounded.after.0);
                prop_assert!(rounded.after.0.abs() <= PICO_PER_CENT / 2);
                prop_assert_eq!(remainders.of(&key("A")), rounded.after);
            }
        }

        #[test]
        fn what_is_stored_is_read_back(accounts in prop::collection::btree_map("[ -~]{1,12}|订户,\"1\"\n", -5_000_000_000_i128..5_000_000_000, 0..20)) {
            let mut remainders = Remainders::default();
            for (account, exact) in &accounts {
                remainders.charge(&key(account), Pico(*exact)).unwrap();
            }
            let bytes = remainders.to_csv().unwrap();
            prop_assert_eq!(Remainders::from_csv("test", &bytes).unwrap(), remainders);
        }
    }

    #[test]
    fn what_was_not_written_here_is_not_read() {
        for text in [
            "",
            "account,kind,package,currency\n",
            "account,kind,package,currency,remainder\nA,payg,p,CNY\n",
            "account,kind,package,currency,remainder\nA,debit,p,CNY,0.001000000000\n",
            "account,kind,package,currency,remainder\nA,payg,p,yuan,0.001000000000\n",
            "account,kind,package,currency,remainder\nA,payg,p,CNY,0.001x\n",
        ] {
            assert!(Remainders::from_csv("test", text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_an_error_and_changes_nothing() {
        let mut remainders = Remainders::default();
        remainders.charge(&key("A"), Pico(1)).unwrap();
        let before = remainders.clone();
        assert!(remainders.charge(&key("A"), Pico(i128::MAX)).is_err());
        assert_eq!(remainders, before);
    }
}
