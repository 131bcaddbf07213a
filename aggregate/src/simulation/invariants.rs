//! The invariants of a partition, checked on what lies in the store: the ledger and the files that
//! it lists, against the oracle. `reliability.md` numbers them.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

use tally_schemas::{
    AlertMessage, ControlTotals, EntryKind, Flow, LedgerEntry, StateFile, entry_path, partition_of,
};

use super::double_entry::check_double_entry;
use super::oracle::{Sum, Truth};
use super::simulated_alerts::{ALERT_PARTITIONS, AlertRecord};
use super::stored_rows::StoredRows;
use super::straight_run::StraightRun;
use crate::core::{OpenWindow, PartitionConfig};
use crate::epoch_files::object_path;
use crate::ledger::hash_of;

/// Objects of a store.
pub(super) type Objects = BTreeMap<String, Bytes>;

/// The ledger of a partition, checked entry by entry.
pub(super) fn check_ledger(
    objects: &Objects,
    config: &PartitionConfig,
) -> Result<Vec<LedgerEntry>, String> {
    let mut entries: Vec<LedgerEntry> = Vec::new();
    let mut previous_hash = String::new();
    let mut owners = BTreeSet::new();
    loop {
        let n = entries.len() as u64;
        let Some(bytes) = objects.get(&entry_path(&config.topic, config.partition, n)) else {
            break;
        };
        let entry: LedgerEntry =
            serde_json::from_slice(bytes).map_err(|error| format!("I3: entry {n}: {error}"))?;
        if entry.n != n || entry.previous != previous_hash {
            return Err(format!("I3: entry {n} does not follow the one before it"));
        }
        previous_hash = hash_of(bytes);
        if !entry.totals.conserved() || !entry.cumulative.conserved() {
            return Err(format!("I1: entry {n}: received is not what became of it"));
        }
        if entry.to < entry.from {
            return Err(format!("I3: entry {n} goes back from {} to {}", entry.from, entry.to));
        }
        check_kind(&entry, entries.last(), &mut owners)?;
        if let Some(before) = entries.last() {
            check_step(before, &entry)?;
        } else if entry.cumulative != ControlTotals::default() {
            return Err("I1: the first entry begins with totals".to_owned());
        }
        entries.push(entry);
    }
    // Nothing may lie beyond the end.
    let prefix = format!("ledger/{}/{}/", config.topic, config.partition);
    let stored = objects.keys().filter(|path| path.starts_with(&prefix)).count();
    if stored != entries.len() {
        return Err(format!("I3: {stored} entries are stored, {} are a chain", entries.len()));
    }
    Ok(entries)
}

/// An owner begins with a claim, and nobody else commits after it.
fn check_kind(
    entry: &LedgerEntry,
    before: Option<&LedgerEntry>,
    owners: &mut BTreeSet<String>,
) -> Result<(), String> {
    let n = entry.n;
    match entry.kind {
        EntryKind::Claim => {
            if !owners.insert(entry.owner.clone()) {
                return Err(format!("I3: entry {n}: {} claims twice", entry.owner));
            }
            let idle = entry.totals == ControlTotals::default() && entry.files.is_empty();
            if !idle || entry.from != entry.to {
                return Err(format!("I3: entry {n} is a claim with rows"));
            }
        }
        EntryKind::Frozen | EntryKind::Moved => {
            return Err(format!("entry {n}: nobody changes the partition count here"));
        }
        EntryKind::Epoch => {
            if before.is_none_or(|before| before.owner != entry.owner) {
                return Err(format!("I3: entry {n}: {} commits without a claim", entry.owner));
            }
        }
    }
    Ok(())
}

fn check_step(before: &LedgerEntry, entry: &LedgerEntry) -> Result<(), String> {
    let n = entry.n;
    if entry.from != before.to {
        return Err(format!("I3: entry {n} begins at {}, not at {}", entry.from, before.to));
    }
    if entry.watermark_ms < before.watermark_ms {
        return Err(format!("I11: the watermark falls at entry {n}"));
    }
    let mut cumulative = before.cumulative.clone();
    cumulative.merge(&entry.totals);
    if cumulative != entry.cumulative {
        return Err(format!("I1: entry {n}: the totals do not add up from the one before it"));
    }
    Ok(())
}

/// Reads every file that the ledger lists.
pub(super) fn read_files(objects: &Objects, entries: &[LedgerEntry]) -> Result<StoredRows, String> {
    let mut stored = StoredRows::default();
    for entry in entries {
        for file in &entry.files {
            let path = object_path(file);
            let bytes =
                objects.get(&path).ok_or(format!("I10: {path} is listed but not stored"))?;
            if hash_of(bytes) != file.hash || bytes.len() as u64 != file.bytes {
                return Err(format!("I10: {path} is not what entry {} says", entry.n));
            }
            stored.add_file(file, bytes, entry.partition, entry.n, entry.from..entry.to)?;
        }
        let manifest = &entry.state;
        for file in manifest.base.iter().chain(&manifest.deltas) {
            check_state_file(objects, file)?;
        }
    }
    Ok(stored)
}

fn check_state_file(objects: &Objects, file: &StateFile) -> Result<(), String> {
    match objects.get(&file.path) {
        Some(bytes) if hash_of(bytes) == file.hash => Ok(()),
        _ => Err(format!("I10: {} is not there as listed", file.path)),
    }
}

/// Compares what is stored with what must be (I1, I2, I13).
pub(super) fn check_truth<'a>(
    truth: &Truth,
    straight: &StraightRun,
    entries: &[LedgerEntry],
    stored: &mut StoredRows,
    open: impl Iterator<Item = OpenWindow<'a>>,
) -> Result<(), String> {
    compare("I2: accepted events", &truth.rows, &stored.rows)?;
    compare("I1: held-back events", &truth.held_back, &stored.held_back)?;
    compare("I2: rows out of suspense", &truth.resolutions, &stored.resolutions)?;
    compare("I13: usage_by_model", &truth.by_model, &stored.by_model)?;
    for window in open {
        let what = window.what;
        let key = [window.account, window.subscriber, what.model, what.vendor].map(Some);
        let key = key.into_iter().chain([what.retail_currency, what.wholesale_currency]);
        let key = key.map(|text| text.map(str::to_owned)).collect();
        let sum = Sum {
            events: window.events.cast_signed(),
            counts: window.sums.map(i128::from),
            points_micro: window.amounts.points_micro,
            wholesale_pico: window.amounts.wholesale_pico,
            retail_pico: window.amounts.retail_pico,
        };
        if sum.events > 0 {
            let row = stored.by_subscriber.entry((window.start_ms, false, key));
            row.or_default().merge(&sum);
        }
    }
    compare("I13: usage_by_subscriber", &truth.by_subscriber, &stored.by_subscriber)?;
    let totals = entries.last().map(|entry| entry.cumulative.clone()).unwrap_or_default();
    if totals.records != truth.records {
        return Err(format!("I1: {} records of {}", totals.records, truth.records));
    }
    for (name, flow, sum) in [
        ("received", &totals.received, &truth.received),
        ("accepted", &totals.accepted, &truth.accepted),
        ("suspended", &totals.suspended, &truth.suspended),
        ("duplicates", &totals.duplicates, &truth.duplicates),
        ("recycled", &totals.recycled, &truth.recycled),
        ("written off", &totals.written_off, &truth.written_off),
        ("corrected", &totals.corrected.flow, &truth.corrected),
    ] {
        let Flow { events, tokens } = flow;
        let is = (events.cast_signed(), tokens.map(u128::cast_signed));
        if is != (sum.events, sum.counts) {
            return Err(format!("I1: {name}: {events} events {tokens:?}, must be {sum:?}"));
        }
    }
    let corrected = &totals.corrected.rated;
    let is = [corrected.wholesale_pico.values().sum(), corrected.retail_pico.values().sum()];
    let must = [truth.corrected.wholesale_pico, truth.corrected.retail_pico];
    if (corrected.points_micro, is) != (truth.corrected.points_micro, must) {
        return Err(format!("I4: {corrected:?} is taken back, must be {:?}", truth.corrected));
    }
    let rated = &totals.rated;
    let wholesale: BTreeMap<&str, i128> =
        rated.wholesale_pico.iter().map(|(currency, pico)| (currency.code(), *pico)).collect();
    compare("I4: wholesale", &truth.wholesale_pico, &wholesale)?;
    let retail: BTreeMap<String, i128> =
        rated.retail_pico.iter().map(|(currency, pico)| (currency.to_string(), *pico)).collect();
    compare("I4: retail", &truth.retail_pico, &retail)?;
    compare_lists("I9: quota_ledger", &straight.quota_ledger, &stored.quota_ledger)?;
    let points = stored.rows.values().map(|row| (row.account.as_str(), row.points_micro));
    check_double_entry(&stored.charges, points)?;
    compare_lists("I7: alerts", &straight.alerts, &stored.alerts)?;
    let commands = [totals.commands, totals.duplicate_commands, totals.ticks, totals.left_open];
    let commands = (commands, totals.corrections_refused);
    let must = [truth.commands, truth.duplicate_commands, truth.ticks, truth.left_open];
    let must = (must, truth.corrections_refused);
    if commands != must {
        return Err(format!(
            "I1: {commands:?} commands, duplicates, ticks, rows left open and corrections refused, must be {must:?}"
        ));
    }
    if rated.points_micro != truth.accepted.points_micro {
        let (is, must) = (rated.points_micro, truth.accepted.points_micro);
        return Err(format!("I4: {is} micro-points, must be {must}"));
    }
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for reason in truth.held_back.values() {
        *reasons.entry(reason.clone()).or_default() += 1;
    }
    compare("I1: held back by reason", &reasons, &totals.suspended_by_reason)?;
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for (words, _) in truth.resolutions.values() {
        let reason = words.rsplit(' ').next().unwrap_or_default();
        *reasons.entry(reason.to_owned()).or_default() += 1;
    }
    compare("I1: out of suspense by reason", &reasons, &totals.resolved_by_reason)
}

/// Compares the topic of alerts with what had to be sent for a partition (I7), and tells how many
/// that is. Only one whose partition was taken by another may repeat an alert, and it says the same.
pub(super) fn check_alerts(
    must: &BTreeMap<String, Vec<u8>>,
    records: &[AlertRecord],
    partition: u32,
) -> Result<u64, String> {
    let mut owners_copies: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in records {
        let message: AlertMessage = serde_json::from_slice(&record.value)
            .map_err(|error| format!("I7: a record is no alert: {error}"))?;
        if message.position.is_none_or(|position| position.partition != partition) {
            continue;
        }
        let home = partition_of(message.account.as_deref().unwrap_or_default(), ALERT_PARTITIONS);
        if record.partition != home {
            return Err(format!("I7: alert {} is in partition {}", message.id, record.partition));
        }
        match must.get(&message.id) {
            Some(body) if *body == *record.value => {}
            None => return Err(format!("I7: alert {} should not have been sent", message.id)),
            Some(_) => {
                return Err(format!("I7: alert {} was sent as {:?}", message.id, record.value));
            }
        }
        let copies = owners_copies.entry(message.id.clone()).or_default();
        *copies += u64::from(!record.by_zombie);
        if *copies > 1 {
            return Err(format!("I7: alert {} was sent twice by owners", message.id));
        }
        seen.insert(message.id);
    }
    match must.keys().find(|id| !seen.contains(*id)) {
        Some(id) => Err(format!("I7: alert {id} was never sent")),
        None => Ok(must.len() as u64),
    }
}

/// Says where two lists first differ.
fn compare_lists(what: &str, must: &[String], is: &[String]) -> Result<(), String> {
    let differs = (0..must.len().max(is.len())).find(|row| must.get(*row) != is.get(*row));
    match differs {
        None => Ok(()),
        Some(row) => {
            let (must, is) = (must.get(row), is.get(row));
            Err(format!("{what}: row {row} is {is:?}, must be {must:?}"))
        }
    }
}

/// Says where two maps first differ.
fn compare<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    must: &BTreeMap<K, V>,
    is: &BTreeMap<K, V>,
) -> Result<(), String> {
    for (key, value) in must {
        match is.get(key) {
            None => return Err(format!("{what}: {key:?} is missing, must be {value:?}")),
            Some(other) if other != value => {
                return Err(format!("{what}: {key:?} is {other:?}, must be {value:?}"));
            }
            Some(_) => {}
        }
    }
    match is.iter().find(|(key, _)| !must.contains_key(key)) {
        Some((key, value)) => Err(format!("{what}: {key:?} {value:?} should not be there")),
        None => Ok(()),
    }
}
