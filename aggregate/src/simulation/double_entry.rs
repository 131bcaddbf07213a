//! Double entry of what accounts were charged, summed here from the stored rows alone and without
//! the code that charges: I5 and I9.

use std::collections::BTreeMap;

use super::oracle::Place;

/// A row of `quota_ledger`.
#[derive(Debug, Clone)]
pub(super) struct ChargeRow {
    /// Of the record that caused it.
    pub(super) place: Place,
    pub(super) account: String,
    /// None of pay as you go and overrun.
    pub(super) bucket: Option<String>,
    pub(super) kind: String,
    pub(super) points_micro: i128,
    pub(super) amount_pico: i128,
    pub(super) balance_micro: Option<i128>,
}

/// What the rows of a bucket come to.
#[derive(Debug, Default)]
struct BucketSums {
    /// Points that each record moved, and the balances that its rows name.
    by_place: BTreeMap<Place, (i128, Vec<Option<i128>>)>,
    paid_pico: i128,
    allocated_pico: i128,
    written_off_pico: i128,
    /// Usage was taken back. Here that may be of a charge that the workload made up, to a bucket that
    /// is bought later or never: what a reversal does to money is for the oracle of corrections.
    taken_back: bool,
    closed: bool,
}

impl BucketSums {
    fn add(&mut self, row: &ChargeRow) -> Result<(), String> {
        let of_record = self.by_place.entry(row.place).or_default();
        of_record.0 += row.points_micro;
        of_record.1.push(row.balance_micro);
        match row.kind.as_str() {
            // What is moved away or given back is below 0.
            "grant" | "top_up" | "transfer_in" | "transfer_out" | "refund" => {
                self.paid_pico += row.amount_pico;
            }
            "debit" | "adjust" => {
                self.allocated_pico += row.amount_pico;
                self.taken_back |= row.points_micro > 0;
            }
            "expire" => self.closed = true,
            "breakage" => {
                self.closed = true;
                self.written_off_pico += row.amount_pico;
            }
            other => return Err(format!("I9: a row of a bucket is a {other}")),
        }
        Ok(())
    }

    /// Grants less uses and expiries are the balance, record by record (I9); what was paid is what
    /// was allocated, and breakage once the bucket is closed (I5).
    fn check(&self) -> Result<(), String> {
        let mut balance_micro = 0_i128;
        for (place, (points_micro, named)) in &self.by_place {
            balance_micro += points_micro;
            // Of several rows of one record one has what is left after all of them.
            if balance_micro < 0 || !named.contains(&Some(balance_micro)) {
                return Err(format!("I9: {balance_micro} is left at {place:?}, not {named:?}"));
            }
            if named.iter().any(|named| named.is_none_or(|micro| micro < 0)) {
                return Err(format!("I9: at {place:?} {named:?} is left"));
            }
        }
        let Self { paid_pico, allocated_pico, written_off_pico, .. } = self;
        if self.taken_back {
            return Ok(());
        }
        if !(0..=*paid_pico).contains(allocated_pico) {
            return Err(format!("I5: {allocated_pico} of {paid_pico} is allocated"));
        }
        if self.closed && (balance_micro, allocated_pico + written_off_pico) != (0, *paid_pico) {
            return Err(format!(
                "I5: closed with {balance_micro} left, {allocated_pico} and {written_off_pico} of {paid_pico}"
            ));
        }
        Ok(())
    }
}

/// Checks every bucket, and that each account's events were charged their points.
pub(super) fn check_double_entry<'a>(
    rows: &'a [ChargeRow],
    points_of_events: impl Iterator<Item = (&'a str, i128)>,
) -> Result<(), String> {
    let mut buckets: BTreeMap<(&str, &str), BucketSums> = BTreeMap::new();
    let mut owed: BTreeMap<&str, i128> = BTreeMap::new();
    for (account, points_micro) in points_of_events {
        *owed.entry(account).or_default() += points_micro;
    }
    for row in rows {
        if matches!(row.kind.as_str(), "debit" | "payg" | "overrun") {
            *owed.entry(row.account.as_str()).or_default() += row.points_micro;
        }
        if let Some(bucket) = &row.bucket {
            buckets.entry((row.account.as_str(), bucket.as_str())).or_default().add(row)?;
        }
    }
    for ((account, bucket), sums) in &buckets {
        sums.check().map_err(|error| {
            let of_bucket =
                |row: &&ChargeRow| row.account == *account && row.bucket.as_deref() == Some(bucket);
            let rows: Vec<&ChargeRow> = rows.iter().filter(of_bucket).collect();
            format!("{error}: bucket {bucket} of {account}: {rows:#?}")
        })?;
    }
    match owed.iter().find(|(_, micro)| **micro != 0) {
        Some((account, micro)) => Err(format!("I9: {micro} of {account} is charged to nothing")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: u64, kind: &str, points: i128, amount: i128, balance: i128) -> ChargeRow {
        let bucket = (kind != "overrun").then(|| "b".to_owned());
        ChargeRow {
            place: (at, 0),
            account: "A".to_owned(),
            balance_micro: bucket.is_some().then_some(balance),
            bucket,
            kind: kind.to_owned(),
            points_micro: points,
            amount_pico: amount,
        }
    }

    /// Bought, used beyond its end, and closed.
    fn rows() -> Vec<ChargeRow> {
        vec![
            row(0, "grant", 10, 99, 10),
            row(1, "debit", -3, 29, 7),
            row(2, "overrun", -1, 5, 0),
            row(3, "expire", -7, 0, 0),
            row(3, "breakage", 0, 70, 0),
        ]
    }

    fn checked(rows: &[ChargeRow]) -> Result<(), String> {
        check_double_entry(rows, [("A", 3), ("A", 1)].into_iter())
    }

    #[test]
    fn a_bucket_that_adds_up_passes() {
        checked(&rows()).unwrap();
    }

    type Change = fn(&mut Vec<ChargeRow>);

    #[test]
    fn each_row_that_is_changed_is_found() {
        let changes: [(Change, &str); 7] = [
            (|rows| rows[1].points_micro = -2, "I9"),
            (|rows| rows[1].balance_micro = Some(6), "I9"),
            (|rows| rows[1].balance_micro = None, "I9"),
            (|rows| rows[1].amount_pico = 30, "I5"),
            (|rows| rows[4].amount_pico = 69, "I5"),
            (|rows| drop(rows.remove(2)), "I9"),
            (|rows| rows[1].kind = "gift".to_owned(), "I9"),
        ];
        for (at, (change, invariant)) in changes.into_iter().enumerate() {
            let mut rows = rows();
            change(&mut rows);
            let error = checked(&rows).unwrap_err();
            assert!(error.starts_with(invariant), "change {at}: {error}");
        }
    }
}
