//! Lines as account commands: each is read or refused, read alike by both readers, and carried out
//! or held back; what the accounts then have survives being stored.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tally_fuzz::shipped;
use tally_quota::{Alert, Command, LedgerRow, Quota, QuotaSink};

/// Takes rows and alerts, and keeps none.
struct Nowhere;

impl QuotaSink for Nowhere {
    fn entry(&mut self, row: LedgerRow<'_>) {
        assert!(row.balance_after_micro.is_none_or(|left| left >= 0), "{row:?}");
    }

    fn alert(&mut self, _: Alert<'_>) {}
}

fuzz_target!(|bytes: &[u8]| {
    let packages = shipped().packages;
    let mut quota = Quota::new(Arc::clone(&packages));
    let mut watermark_ms: Option<i64> = None;
    let mut accounts = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').take(32) {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let value: Value = serde_json::from_slice(line).expect("a command is JSON");
        assert_eq!(Command::from_value(&value), Ok(command.clone()));
        assert_eq!(
            Command::parse(line).map(|again| again.content_hash()),
            Ok(command.content_hash())
        );
        if quota.command(&command, watermark_ms, &mut Nowhere).is_ok() {
            accounts.push(command.account.clone());
        }
        if watermark_ms.is_none_or(|before| before < command.at_ms) {
            watermark_ms = Some(command.at_ms);
            quota.see_clock(command.at_ms);
            quota.advance(command.at_ms, &mut Nowhere);
        }
    }
    quota.settle();
    let mut next = Quota::new(packages);
    for (account, bytes) in quota.all() {
        next.restore(account, &bytes).expect("an account that we wrote");
    }
    let stored = |quota: &Quota| {
        let mut all: Vec<(String, Vec<u8>)> =
            quota.all().map(|(name, bytes)| (name.to_owned(), bytes.into_owned())).collect();
        all.sort();
        all
    };
    assert_eq!(stored(&quota), stored(&next));
    let at_ms = watermark_ms.unwrap_or(0);
    for account in accounts {
        let status = quota.status(&account, at_ms, watermark_ms);
        assert_eq!(status, next.status(&account, at_ms, watermark_ms));
        for bucket in status.ok().flatten().map(|status| status.buckets).unwrap_or_default() {
            let room = 0..=bucket.allowance_micro;
            assert!(room.contains(&bucket.used_micro), "{bucket:?}");
            assert!(room.contains(&bucket.remaining_micro), "{bucket:?}");
        }
    }
});
