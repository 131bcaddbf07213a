//! Reference data for people: what was imported, what there is, what a version changes.

use comfy_table::{ContentArrangement, Table, presets};
use tally_rating::instant_text;
use tally_reference::{
    Approved, Change, Contents, Finding, Imported, ReferenceKind, VersionRow, VersionState,
};

/// Changes that are listed one by one.
const LISTED: usize = 200;

/// What an import came to, and what to do next.
pub(crate) fn imported(kind: ReferenceKind, imported: &Imported, left_out: &[String]) -> String {
    let mut lines = Vec::new();
    if !left_out.is_empty() {
        lines.push(format!("left out ({}):", left_out.len()));
        lines.extend(left_out.iter().take(LISTED).map(|line| format!("  {line}")));
    }
    let Some(version) = imported.version else {
        lines.push("nothing new: every record is approved already".to_owned());
        return lines.join("\n");
    };
    let count = imported.changes.len();
    lines.push(format!("{kind} version {version} is a candidate with {count} new records"));
    if imported.findings.is_empty() {
        lines.push(format!("to look at it:  tally {kind} show {version}"));
        lines.push(format!(
            "to approve it, as somebody else:  tally {kind} approve {version} --by NAME"
        ));
    } else {
        lines.extend(held(&imported.findings));
    }
    lines.join("\n")
}

fn held(findings: &[Finding]) -> Vec<String> {
    let mut lines = vec!["it cannot be approved as it is:".to_owned()];
    lines.extend(findings.iter().map(|finding| format!("  {}", finding.message)));
    lines
}

fn time(at_ms: Option<i64>) -> String {
    at_ms.map(instant_text).unwrap_or_default()
}

fn state(row: &VersionRow) -> &'static str {
    match row.state {
        VersionState::Candidate => "candidate",
        VersionState::Approved => "approved",
    }
}

fn plain_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// The versions of a kind.
pub(crate) fn versions(rows: &[VersionRow]) -> Table {
    let mut table = plain_table([
        "version",
        "state",
        "imported by",
        "at",
        "approved by",
        "at",
        "files",
        "origin",
    ]);
    for row in rows {
        table.add_row([
            row.version.to_string(),
            state(row).to_owned(),
            row.imported_by.clone(),
            time(row.imported_at_ms),
            row.approved_by.clone().unwrap_or_default(),
            time(row.approved_at_ms),
            row.files.join("\n"),
            row.origin.name().to_owned(),
        ]);
    }
    table
}

fn changes(changes: &[Change]) -> Table {
    let mut table = plain_table(["record", "id", "known from", "says", "said before"]);
    for change in changes.iter().take(LISTED) {
        table.add_row([
            change.record.to_owned(),
            change.id.clone(),
            instant_text(change.known_from_ms),
            change.now.clone(),
            change.before.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// What a version contains.
pub(crate) fn contents(kind: ReferenceKind, contents: &Contents) -> String {
    let Contents { row, changes: changed, findings } = contents;
    let mut lines = vec![format!("{kind} version {}, {}", row.version, state(row))];
    let (by, at) = (&row.imported_by, time(row.imported_at_ms));
    lines.push(format!("imported by {by} {at} from {}", row.files.join(", ")));
    if row.origin == tally_reference::FileOrigin::Litellm {
        lines.push("made of LiteLLM's price map: nobody vouches for these prices".to_owned());
    }
    if let Some(by) = &row.approved_by {
        lines.push(format!("approved by {by} {}", time(row.approved_at_ms)));
    }
    lines.push(format!("BLAKE3 {}", row.hash));
    lines.push(changes(changed).to_string());
    if changed.len() > LISTED {
        lines.push(format!("and {} more; --json lists them all", changed.len() - LISTED));
    }
    if !findings.is_empty() {
        lines.extend(held(findings));
    }
    lines.join("\n")
}

/// What was approved.
pub(crate) fn approved(approved: &Approved) -> String {
    let Approved { kind, version, edition, approved_at_ms, changes: changed } = approved;
    let at = instant_text(*approved_at_ms);
    let count = changed.len();
    let settles = changed.iter().all(|change| matches!(change.record, "terms" | "fx"));
    let takes_it = if settles {
        "every period that is put into review from now on is settled by it"
    } else {
        "a running stream announces it in its log: what comes after that is rated and charged by it"
    };
    format!(
        "{kind} version {version} is approved since {at}: {count} new records, edition {edition} of the reference data\n{takes_it}"
    )
}
