//! The store: whether it is there, can be read and written, and keeps two writers apart; its clock;
//! and the reference data in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use jiff::Timestamp;
use object_store::{ObjectStore, path::Path as ObjectPath};
use tally_aggregate::{open_store, probe};
use tally_reference::{ReferenceStore, Whole};
use tally_schemas::{Config, in_full};

use super::finding::{Finding, span};
use crate::looks;
use crate::store_clock::{self, SKEW_WRONG_MS, within};
use crate::trouble::Cause;

/// The store's answers tell its clock to a second.
const SKEW_WARNING_MS: i64 = 3_000;

/// How long ahead holidays should be known.
const CALENDAR_WARNING_MS: i64 = 60 * 86_400_000;

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let url = config.store_url();
    if !url.contains("://") && !Path::new(&url).exists() {
        let found = format!("{url} does not exist yet; the first process makes it");
        return vec![Finding::ok("store", found)];
    }
    let store = match open_store(&url, &config.store.s3_options) {
        Ok(store) => store,
        Err(error) => {
            return vec![
                Finding::wrong("store", format!("{url}: {error}")).advise("look at store.url"),
            ];
        }
    };
    // Whoever is called at night waits for one answer that does not come, and not for three.
    if let Err(why) = within(read(store.as_ref())).await {
        return vec![trouble("store, reading", &url, &why, Cause::of_store(&why))];
    }
    let mut findings = Vec::new();
    let began = Instant::now();
    let probe_id = uuid::Uuid::new_v4().simple().to_string();
    let probed =
        async { probe(store.as_ref(), &probe_id).await.map_err(|error| error.to_string()) };
    match within(probed).await {
        Ok(()) => {
            let took = began.elapsed().as_millis();
            let found =
                format!("{url}: two writers of one object are kept apart; tried in {took} ms");
            findings.push(Finding::ok("store, conditional writes", found));
            findings.push(clock(store.as_ref(), &url).await);
        }
        Err(why) => {
            let cause = Cause::of_store_written(&why);
            findings.push(trouble("store, conditional writes", &url, &why, cause));
        }
    }
    findings.extend(tables(&store).await);
    findings.extend(reference_data(store).await);
    findings
}

async fn read(store: &dyn ObjectStore) -> Result<(), String> {
    let mut listed = store.list(Some(&ObjectPath::from("ledger")));
    match listed.next().await {
        Some(Err(error)) => Err(in_full(&error)),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// What the store's own words mean.
fn trouble(check: &str, url: &str, why: &str, cause: Cause) -> Finding {
    Finding::wrong(check, format!("{}: {url}: {why}", cause.words())).advise(cause.advice())
}

/// Tables that were made and are not where they were.
async fn tables(store: &Arc<dyn ObjectStore>) -> Option<Finding> {
    let gone = looks::gone_tables(store).await?;
    Some(
        Finding::wrong("tables", format!("{}: {gone}", Cause::TableGone.words()))
            .advise(Cause::TableGone.advice()),
    )
}

/// Compares this machine's clock with the store's.
async fn clock(store: &dyn ObjectStore, url: &str) -> Finding {
    let check = "clock";
    if !url.starts_with("s3://") {
        return Finding::ok(
            check,
            "the store is a folder: there is no other clock to compare with",
        );
    }
    match store_clock::ahead_ms(store).await {
        Ok(ahead_ms) => skew(ahead_ms),
        Err(why) => trouble(check, url, &why, Cause::of_store_written(&why)),
    }
}

fn skew(ahead_ms: i64) -> Finding {
    let check = "clock";
    let (off, side) = (ahead_ms.saturating_abs(), if ahead_ms > 0 { "ahead of" } else { "behind" });
    let found = format!("{} {side} the store's", span(off));
    let advice = Cause::Clock.advice();
    match off {
        off if off >= SKEW_WRONG_MS => Finding::wrong(check, found).advise(advice),
        off if off >= SKEW_WARNING_MS => Finding::warning(check, found).advise(advice),
        _ => Finding::ok(check, "as the store's, to its second"),
    }
}

async fn reference_data(store: Arc<dyn ObjectStore>) -> Vec<Finding> {
    let check = "reference data";
    let references = ReferenceStore::new(store);
    match within(async { references.newest_whole().await.map_err(|error| error.to_string()) }).await {
        Ok(whole) => {
            let found = format!("edition {} can be read", whole.edition.edition.edition);
            let mut findings = vec![Finding::ok(check, found)];
            findings.extend(calendars(&whole, Timestamp::now().as_millisecond()));
            findings
        }
        Err(why) => vec![
            Finding::wrong(check, why).advise("nothing is rated until it can be read: restore the objects below reference/ from a backup"),
        ],
    }
}

/// Whose holidays run out: from then on events that depend on them are held back.
fn calendars(whole: &Whole, now_ms: i64) -> Vec<Finding> {
    let mut ends: std::collections::BTreeMap<&str, i64> = std::collections::BTreeMap::new();
    for calendar in whole.book.calendars() {
        if let Some(end_ms) = calendar.unknown_from_ms() {
            let end = ends.entry(calendar.version.id.as_ref()).or_insert(end_ms);
            *end = (*end).max(end_ms);
        }
    }
    let soon = ends.into_iter().filter(|(_, end)| end.saturating_sub(now_ms) < CALENDAR_WARNING_MS);
    soon.map(|(id, end)| {
        let check = format!("calendar {id}");
        let advice = "import the next year's holidays with tally price import; what was held back until then is taken in again by tally suspense recycle";
        match end.saturating_sub(now_ms) {
            left if left > 0 => {
                let found = format!("its holidays are known for {} more; events after that are held back", span(left));
                Finding::warning(check, found).advise(advice)
            }
            ago => {
                let found = format!("its holidays ended {} ago: events that depend on them are held back", span(ago.saturating_neg()));
                Finding::wrong(check, found).advise(advice)
            }
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_said_to_be_ahead_or_behind() {
        for (ahead_ms, state, words) in [
            (0, State::Ok, "as the store's"),
            (-2_999, State::Ok, "as the store's"),
            (3_000, State::Warning, "3 s ahead of"),
            (-60_000, State::Wrong, "60 s behind"),
            (3_600_000, State::Wrong, "60 min ahead of"),
        ] {
            let finding = skew(ahead_ms);
            assert_eq!(finding.state, state, "{}", finding.found);
            assert!(finding.found.contains(words), "{}", finding.found);
        }
    }

    #[test]
    fn the_stores_words_are_explained() {
        for (why, advice) in [
            ("status 403 Forbidden: <Code>AccessDenied</Code>", "let this user read"),
            ("403: <Code>RequestTimeTooSkewed</Code>", "the clock of this machine"),
            ("403: <Code>InvalidAccessKeyId</Code>", "AWS_ACCESS_KEY_ID"),
            ("404: <Code>NoSuchBucket</Code>", "create the bucket"),
            ("No space left on device (os error 28)", "make room"),
            ("connection refused", "look whether the store runs"),
            ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
        ] {
            let finding = trouble("store", "s3://b", why, Cause::of_store(why));
            assert!(finding.advice.as_deref().unwrap().contains(advice), "{why}: {finding:?}");
        }
    }

    #[tokio::test]
    async fn holidays_that_end_soon_are_said_and_those_that_ended_are_wrong() {
        let store = Arc::new(object_store::memory::InMemory::new());
        let whole = ReferenceStore::new(store).newest_whole().await.unwrap();
        // 2027-01-01 in Shanghai, where what ships ends.
        let end = 1_798_732_800_000;
        let states = |now_ms| {
            let findings = calendars(&whole, now_ms);
            findings.iter().map(|finding| finding.state).collect::<Vec<_>>()
        };
        assert!(states(end - 61 * 86_400_000).is_empty());
        let soon = states(end - 1);
        assert!(!soon.is_empty() && soon.iter().all(|state| *state == State::Warning), "{soon:?}");
        let ended = states(end);
        assert!(ended.iter().all(|state| *state == State::Wrong), "{ended:?}");
        assert_eq!(ended.len(), soon.len());
    }
}
