//! What `tally suspense` says, in words and as JSON.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde_json::{Value, json};
use tally_query::{HeldRow, ProposedRow, StoredProposal};
use tally_schemas::{SuspenseReason, decimal_text};

/// Places of an amount in pico-currency.
const AMOUNT_PLACES: u32 = 12;

fn instant(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string())
}

fn table<const N: usize>(header: [&str; N], right: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A reason and its words, which mostly begin with it.
pub(crate) fn why(reason: &str, words: Option<&str>) -> String {
    match words {
        None => reason.to_owned(),
        Some(words) if words.starts_with(reason) => words.to_owned(),
        Some(words) => format!("{reason}: {words}"),
    }
}

/// Held-back events for people.
pub(crate) fn rows(rows: &[HeldRow]) -> String {
    if rows.is_empty() {
        return "nothing is held back".to_owned();
    }
    let header = ["id", "status", "reason", "model", "account", "event", "received", "why"];
    let mut table = table(header, &[]);
    for row in rows {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let event = [&row.source, &row.id].map(text).join(" ");
        table.add_row([
            row.position.to_string(),
            row.status.name().to_owned(),
            row.reason.to_string(),
            text(&row.model),
            text(&row.account),
            event.trim().to_owned(),
            instant(row.first_seen_ms),
            text(&row.subreason),
        ]);
    }
    table.to_string()
}

/// A held-back event with its payload.
pub(crate) fn row_json(row: &HeldRow) -> Value {
    json!({
        "id": row.position.to_string(),
        "status": row.status.name(),
        "reason": row.reason.as_str(),
        "subreason": row.subreason,
        "model": row.model,
        "account": row.account,
        "source": row.source,
        "event_id": row.id,
        "first_seen": instant(row.first_seen_ms),
        "completed_at": row.completed_at_ms.map(instant),
        "raw": row.raw,
    })
}

/// What becomes of a row that is asked to be recycled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// It goes to the stream; currency and amount that the vendor is owed for it, where it is rated.
    Recycled(Option<(String, String)>),
    /// It stays as it is for now.
    Open(String),
    /// It is never recycled; what to do instead.
    Never(&'static str),
}

/// Rows of one reason, model and fate.
#[derive(Debug, Default)]
struct Group {
    rows: u64,
    wholesale_pico: BTreeMap<String, i128>,
}

/// What becomes of many rows.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    groups: BTreeMap<(SuspenseReason, Option<String>, Fate), Group>,
    /// Partitions that did not take the newest prices yet.
    pub(crate) behind: Vec<u32>,
}

impl Fates {
    /// Counts one.
    pub(crate) fn count(&mut self, reason: SuspenseReason, model: Option<String>, fate: Fate) {
        let (fate, amount) = match fate {
            Fate::Recycled(amount) => (Fate::Recycled(None), amount),
            other => (other, None),
        };
        let group = self.groups.entry((reason, model, fate)).or_default();
        group.rows += 1;
        if let Some((currency, amount)) = amount {
            let pico: Option<i128> = amount.replacen('.', "", 1).parse().ok();
            let sum = group.wholesale_pico.entry(currency).or_default();
            *sum = sum.saturating_add(pico.unwrap_or_default());
        }
    }

    fn recycled(&self) -> u64 {
        let recycled =
            self.groups.iter().filter(|((.., fate), _)| matches!(fate, Fate::Recycled(_)));
        recycled.map(|(_, group)| group.rows).sum()
    }

    fn note(&self) -> Option<String> {
        let names: Vec<String> = self.behind.iter().map(u32::to_string).collect();
        (!names.is_empty()).then(|| {
            format!(
                "the stream has not taken the newest prices yet in partitions {}: what it reads \
                 before it does stays open, and can be recycled again",
                names.join(", ")
            )
        })
    }

    /// For people.
    pub(crate) fn table(&self, dry_run: bool) -> String {
        if self.groups.is_empty() {
            return "nothing that was chosen is held back".to_owned();
        }
        let header = ["reason", "model", "events", "wholesale", "what becomes of them"];
        let mut table = table(header, &[2, 3]);
        for ((reason, model, fate), group) in &self.groups {
            let amounts: Vec<String> = group
                .wholesale_pico
                .iter()
                .map(|(currency, pico)| {
                    format!("{} {currency}", decimal_text(*pico, AMOUNT_PLACES))
                })
                .collect();
            let becomes = match fate {
                Fate::Recycled(_) if dry_run => "would be recycled".to_owned(),
                Fate::Recycled(_) => "sent to the stream".to_owned(),
                Fate::Open(why) => format!("stays open: {why}"),
                Fate::Never(instead) => format!("is not recycled: {instead}, then write it off"),
            };
            table.add_row([
                reason.to_string(),
                model.clone().unwrap_or_default(),
                group.rows.to_string(),
                amounts.join("\n"),
                becomes,
            ]);
        }
        let recycled = self.recycled();
        let end = if dry_run {
            format!("{recycled} would be recycled; nothing was sent")
        } else if recycled == 0 {
            "nothing was sent".to_owned()
        } else {
            format!("{recycled} are recycled once the stream has read them")
        };
        let end = match self.note() {
            Some(note) => format!("{end}\nnote: {note}"),
            None => end,
        };
        format!("{table}\n\n{end}")
    }

    /// For programs.
    pub(crate) fn json(&self, dry_run: bool) -> Value {
        let mut groups = Vec::with_capacity(self.groups.len());
        for ((reason, model, fate), group) in &self.groups {
            let (name, why) = match fate {
                Fate::Recycled(_) => ("recycled", None),
                Fate::Open(why) => ("open", Some(why.as_str())),
                Fate::Never(instead) => ("never", Some(*instead)),
            };
            let amounts: serde_json::Map<String, Value> = group
                .wholesale_pico
                .iter()
                .map(|(code, pico)| (code.clone(), decimal_text(*pico, AMOUNT_PLACES).into()))
                .collect();
            groups.push(json!({
                "reason": reason.as_str(), "model": model, "events": group.rows,
                "fate": name, "why": why, "wholesale": amounts,
            }));
        }
        let sent = if dry_run { 0 } else { self.recycled() };
        json!({"dry_run": dry_run, "sent": sent, "groups": groups, "note": self.note()})
    }
}

/// Events and tokens of rows that are to be given up.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    by_reason: BTreeMap<String, u64>,
    tokens: BTreeMap<String, u128>,
}

/// Sums rows.
pub(crate) fn sums_of(rows: &[ProposedRow]) -> Sums {
    let mut sums = Sums::default();
    for row in rows {
        *sums.by_reason.entry(row.reason.clone()).or_default() += 1;
        for (class, count) in &row.usage {
            *sums.tokens.entry(class.clone()).or_default() += u128::from(*count);
        }
    }
    sums
}

impl Sums {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut table = table(["held back for", "events"], &[1]);
        for (reason, events) in &self.by_reason {
            table.add_row([reason.clone(), events.to_string()]);
        }
        let classes: Vec<String> =
            self.tokens.iter().map(|(class, sum)| format!("{sum} {class}")).collect();
        format!("{table}\nusage, as far as it can be read: {}", classes.join(", "))
    }

    /// For programs; sums are decimal texts.
    pub(crate) fn json(&self) -> Value {
        let tokens: BTreeMap<&String, String> =
            self.tokens.iter().map(|(class, sum)| (class, sum.to_string())).collect();
        json!({"events": self.by_reason, "usage": tokens})
    }
}

fn state(stored: &StoredProposal) -> String {
    match &stored.approval {
        None => "proposed".to_owned(),
        Some(approval) => format!("approved by {} at {}", approval.by, instant(approval.at_ms)),
    }
}

/// One proposal for people, and what comes next.
pub(crate) fn proposal(stored: &StoredProposal, next: &str) -> String {
    let proposal = &stored.proposal;
    format!(
        "write-off {} by {} at {}: {}\n{}\n\n{}; {next} {}",
        proposal.proposal,
        proposal.by,
        instant(proposal.at_ms),
        proposal.why,
        sums_of(&proposal.rows).table(),
        state(stored),
        proposal.proposal,
    )
}

/// Every proposal for people.
pub(crate) fn proposals(all: &[StoredProposal]) -> String {
    if all.is_empty() {
        return "nobody has proposed to write anything off".to_owned();
    }
    let mut table = table(["write-off", "events", "by", "at", "state", "why"], &[0, 1]);
    for stored in all {
        let proposal = &stored.proposal;
        table.add_row([
            proposal.proposal.to_string(),
            proposal.rows.len().to_string(),
            proposal.by.clone(),
            instant(proposal.at_ms),
            state(stored),
            proposal.why.clone(),
        ]);
    }
    table.to_string()
}

/// One proposal for programs.
pub(crate) fn proposal_json(stored: &StoredProposal) -> Value {
    let proposal = &stored.proposal;
    json!({
        "write_off": proposal.proposal,
        "events": proposal.rows.len(),
        "by": proposal.by,
        "at": instant(proposal.at_ms),
        "why": proposal.why,
        "hash": stored.hash,
        "approved_by": stored.approval.as_ref().map(|approval| approval.by.clone()),
        "approved_at": stored.approval.as_ref().map(|approval| instant(approval.at_ms)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_are_summed_by_reason_model_and_what_becomes_of_them() {
        let mut fates = Fates::default();
        let yuan = |amount: &str| Some(("CNY".to_owned(), amount.to_owned()));
        let model = Some("acme-1".to_owned());
        for fate in [
            Fate::Recycled(yuan("0.007000000000")),
            Fate::Recycled(yuan("1.000000000001")),
            Fate::Open("no_price: nobody has priced images".to_owned()),
        ] {
            fates.count(SuspenseReason::NoPrice, model.clone(), fate);
        }
        fates.count(SuspenseReason::Malformed, None, Fate::Never("send it whole"));
        let table = fates.table(true);
        for words in ["1.007000000001 CNY", "stays open: no_price", "send it whole, then write"] {
            assert!(table.contains(words), "{words} in {table}");
        }
        assert!(table.ends_with("2 would be recycled; nothing was sent"), "{table}");
        let json = fates.json(false);
        assert_eq!((&json["sent"], json["groups"].as_array().unwrap().len()), (&json!(2), 3));
        assert_eq!(json["groups"][1]["wholesale"], json!({"CNY": "1.007000000001"}));
    }
}
