//! What a comparison came to, as the books put it down, and the evidence of a dispute read back.

use std::path::Path;

use serde::Deserialize;
use tally_settlement::{ClassSum, CurrencySum, Period, Pico, Reconciled, parse_decimal};

use super::pack::hash;
use crate::exit::{Failure, file_failure};

/// `summary.json`, as far as the books have it.
#[derive(Debug, Deserialize)]
struct Summary {
    vendor: String,
    bill: String,
    mapping: String,
    days: [String; 2],
    bill_lines: u64,
    our_rows: u64,
    differences: u64,
    disputed: u64,
    outside: Outside,
    totals: Vec<Total>,
    classes: Vec<Class>,
}

#[derive(Debug, Deserialize)]
struct Outside {
    total: bool,
    groups: u64,
    records: u64,
}

#[derive(Debug, Deserialize)]
struct Total {
    currency: String,
    our_amount: String,
    their_amount: String,
    inside: bool,
}

#[derive(Debug, Deserialize)]
struct Class {
    class: String,
    currency: String,
    count: u64,
    difference: String,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    bill: Named,
    files: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    bytes: u64,
    blake3: String,
}

/// The evidence of a dispute, every file of it as its manifest says.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// What the comparison came to.
    pub(crate) reconciled: Reconciled,
    /// BLAKE3 of the manifest, in hex.
    pub(crate) manifest: String,
}

impl Evidence {
    /// Reads the folder of a comparison.
    ///
    /// # Errors
    /// `Usage` for a folder without evidence, `Data` for a file that is not the one that was
    /// written.
    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("dispute/manifest.json");
        if folder.is_dir() && !path.exists() {
            return Err(Failure::usage(format!(
                "{} has no dispute/manifest.json: the bill was within the tolerance, or this is no folder of tally settle reconcile",
                folder.display()
            )));
        }
        let text = read(&path)?;
        let manifest: Manifest = parse(&path, &text)?;
        for Named { name, bytes, blake3 } in &manifest.files {
            let file = folder.join(name);
            let found = hash(&file).map_err(|_| {
                Failure::data(format!("{} is gone, which its manifest names", file.display()))
            })?;
            if found != (*bytes, blake3.clone()) {
                return Err(Failure::data(format!(
                    "{} is not the file that was written: its hash is another",
                    file.display()
                )));
            }
        }
        let summary = folder.join("summary.json");
        let named = manifest.files.iter().any(|file| file.name == "summary.json");
        if !named {
            return Err(Failure::data(format!("{} does not name summary.json", path.display())));
        }
        let reconciled = reconciled(&summary, &read(&summary)?, manifest.bill.blake3)?;
        Ok(Self { reconciled, manifest: blake3::hash(text.as_bytes()).to_hex().to_string() })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| file_failure(path, &error))
}

fn parse<'t, T: Deserialize<'t>>(path: &Path, text: &'t str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::data(format!("{}: {error}", path.display())))
}

/// What a summary says, with the hash of its bill; `path` is for messages.
pub(super) fn reconciled(
    path: &Path,
    text: &str,
    bill_hash: String,
) -> Result<Reconciled, Failure> {
    let summary: Summary = parse(path, text)?;
    let wrong = |what: String| Failure::data(format!("{}: {what}", path.display()));
    let pico = |text: &str| parse_decimal(text, 12).map(Pico).map_err(wrong);
    let month = summary.days[0].get(..7).unwrap_or_default();
    let period = Period::parse(month).map_err(|error| wrong(error.to_string()))?;
    let mut totals = Vec::new();
    for Total { currency, our_amount, their_amount, inside } in summary.totals {
        let (ours, theirs) = (pico(&our_amount)?, pico(&their_amount)?);
        totals.push(CurrencySum { currency, ours, theirs, inside });
    }
    let mut classes = Vec::new();
    for Class { class, currency, count, difference } in summary.classes {
        classes.push(ClassSum { class, currency, count, difference: pico(&difference)? });
    }
    let Outside { total, groups, records } = summary.outside;
    Ok(Reconciled {
        vendor: summary.vendor,
        period,
        bill: summary.bill,
        bill_hash,
        mapping: summary.mapping,
        bill_lines: summary.bill_lines,
        our_events: summary.our_rows,
        differences: summary.differences,
        disputed: summary.disputed,
        inside: !total && groups == 0 && records == 0,
        totals,
        classes,
        largest: Vec::new(),
    })
}
