//! Issuing a file. Whatever could come out otherwise in a second run is fixed by the plan, so that
//! a crash at any point, and two that issue at once, end in the same file (R28).

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tally_aggregate::crash_point;
use tally_schemas::{DataFile, Table};
use tally_settlement::CutOff;
use tally_settlement::phone_bill::{
    BillBook, BillContent, BillDecision, BillPlan, BillScope, BillSeal, Day,
};
use tally_tables::PinnedTables;

use super::PhoneBill;
use super::bill_store::BillStore;
use super::content::Maker;
use crate::error::QueryError;

/// An issued file.
#[derive(Debug, Clone)]
pub struct IssuedBill {
    /// Its seal.
    pub seal: BillSeal,
    /// Hash of the seal.
    pub hash: String,
    /// The file.
    pub csv: Bytes,
    /// Where it is in the store.
    pub path: String,
    /// Whether it had been issued before.
    pub was_issued: bool,
}

impl PhoneBill<'_> {
    /// Issues a file, or carries on where somebody began it; one that is issued is returned as it
    /// is. A file that somebody else began comes first.
    ///
    /// # Errors
    /// `Invalid` where it cannot be issued yet or not in this order; `Retry` where the table is
    /// behind, others issue at the same time, or the store is away; `Data` for rows that do not
    /// foot and for objects that are not what they should be.
    pub async fn issue(
        &self,
        wanted: &BillScope,
        by: &str,
        now_ms: i64,
        code_version: &str,
    ) -> Result<IssuedBill, QueryError> {
        let mut made = false;
        loop {
            let book = self.book().await?;
            match book.decide(wanted, now_ms) {
                BillDecision::Issued(seal) => return self.issued(seal, !made).await,
                BillDecision::Refuse(refusal) => return Err(QueryError::Invalid(refusal)),
                BillDecision::Resume(plan) => {
                    made |= plan.scope == *wanted;
                    let pin = self.engine.pin(None).await?;
                    self.has_everything(plan, &pin)?;
                    let content = self.maker(&pin, &book).make(plan).await?;
                    self.seal(plan, &content).await?;
                }
                BillDecision::Plan => {
                    self.is_unbegun(book.next_sequence()).await?;
                    let pin = self.engine.pin(None).await?;
                    let plan = self.plan(&book, &pin, wanted, (by, now_ms), code_version).await?;
                    // Nothing is fixed that could not be issued.
                    let content = self.maker(&pin, &book).make(&plan).await?;
                    let path = BillStore::plan_path(plan.sequence);
                    crash_point("before-phone-bill-plan");
                    let standing = self.store.create(&path, &plan.to_bytes()?).await?;
                    crash_point("after-phone-bill-plan");
                    // Where somebody was faster, theirs is carried out on the next turn.
                    if standing == plan.to_bytes()? {
                        self.seal(&plan, &content).await?;
                        made = true;
                    }
                }
            }
        }
    }

    /// A file as it was issued, byte for byte.
    ///
    /// # Errors
    /// `Invalid` for a number that no file has, `Data` where it is damaged, `Retry` while the store
    /// is away.
    pub async fn reissue(&self, sequence: u64) -> Result<IssuedBill, QueryError> {
        let book = self.book().await?;
        match book.seal(sequence) {
            Some(seal) => self.issued(seal, true).await,
            None => Err(QueryError::Invalid(book.no_such_file(sequence))),
        }
    }

    async fn issued(&self, seal: &BillSeal, was_issued: bool) -> Result<IssuedBill, QueryError> {
        let csv = self.store.file(seal).await?;
        let path = BillStore::file_path(seal.sequence).to_string();
        Ok(IssuedBill { hash: seal.hash()?, seal: seal.clone(), csv, path, was_issued })
    }

    fn maker<'b>(&'b self, pin: &'b Arc<PinnedTables>, book: &'b BillBook) -> Maker<'b> {
        Maker { engine: self.engine, pin, store: self.store, book }
    }

    async fn plan(
        &self,
        book: &BillBook,
        pin: &Arc<PinnedTables>,
        wanted: &BillScope,
        (by, at_ms): (&str, i64),
        code_version: &str,
    ) -> Result<BillPlan, QueryError> {
        let last = book.last_daily(u64::MAX).map(|(_, seal)| seal);
        let before: &[CutOff] = last.map_or(&[], |seal| &seal.cut_offs);
        let (cut_offs, returns_to) = match wanted {
            BillScope::Daily { day } => {
                let held = self.published(pin);
                holds(before, &held)?;
                if self.is_behind(*day, &held).await? {
                    return Err(QueryError::Retry(format!(
                        "committed rows of {day} or before wait for their publication: try again"
                    )));
                }
                (held, book.returns.last().map_or(0, |taken| taken.n))
            }
            BillScope::Monthly { .. } | BillScope::Correction { .. } => {
                (before.to_vec(), last.map_or(0, |seal| seal.returns_to))
            }
        };
        let replaced = match wanted {
            BillScope::Correction { of, .. } => book.seal(*of).map(|seal| seal.lines_hash.clone()),
            BillScope::Daily { .. } | BillScope::Monthly { .. } => None,
        };
        let previous = book.seals.last().map_or(Ok(String::new()), BillSeal::hash)?;
        Ok(BillPlan {
            format: BillPlan::FORMAT,
            sequence: book.next_sequence(),
            scope: wanted.clone(),
            by: by.to_owned(),
            at_ms,
            code_version: code_version.to_owned(),
            cut_offs,
            returns_to,
            replaced: replaced.unwrap_or_default(),
            previous,
        })
    }

    /// Nothing of a file may be there without its plan: another plan in its place would be carried out
    /// from then on, and the true one could not be brought back.
    async fn is_unbegun(&self, sequence: u64) -> Result<(), QueryError> {
        let plan = BillStore::plan_path(sequence);
        for made in [BillStore::file_path(sequence), BillStore::remainders_path(sequence)] {
            // In this order: whoever issues it now has created the plan before it.
            if self.store.has(&made).await? && !self.store.has(&plan).await? {
                return Err(QueryError::Data(format!(
                    "{made} is there, and its plan {plan} is gone: bring it back from a backup"
                )));
            }
        }
        Ok(())
    }

    /// Writes what a plan came to, or finds it there.
    async fn seal(&self, plan: &BillPlan, content: &BillContent) -> Result<(), QueryError> {
        let csv = content.file.to_csv()?;
        let sequence = plan.sequence;
        self.store.stands(&BillStore::file_path(sequence), &csv.bytes).await?;
        crash_point("after-phone-bill-file");
        if let Some(remainders) = &content.remainders {
            let path = BillStore::remainders_path(sequence);
            self.store.stands(&path, &remainders.to_csv()?).await?;
            crash_point("after-phone-bill-remainders");
        }
        let seal = BillSeal::of(plan, content, &csv)?;
        crash_point("before-phone-bill-seal");
        self.store.stands(&BillStore::seal_path(sequence), &seal.to_bytes()?).await?;
        crash_point("after-phone-bill-seal");
        Ok(())
    }

    /// The last epoch of every partition that the pinned ledger of buckets holds.
    fn published(&self, pin: &Arc<PinnedTables>) -> Vec<CutOff> {
        let Some(rows) = pin.get(Table::QuotaLedger) else { return Vec::new() };
        let published = rows.published_epochs(self.engine.ledger().topic()).into_iter();
        published.map(|(partition, epoch)| CutOff { partition, epoch }).collect()
    }

    /// A plan counts epochs that this pin must hold.
    fn has_everything(&self, plan: &BillPlan, pin: &Arc<PinnedTables>) -> Result<(), QueryError> {
        holds(&plan.cut_offs, &self.published(pin))
    }

    /// Whether committed rows up to the end of a day wait for their publication.
    async fn is_behind(&self, day: Day, published: &[CutOff]) -> Result<bool, QueryError> {
        let published = published.iter().map(|cut| (cut.partition, cut.epoch)).collect();
        let ledgers = self.engine.ledger();
        ledgers.has_unpublished(&published, |file| begins_by(file, day)).await
    }
}

/// Whether a file has rows of `quota_ledger` up to the end of a day, or may have.
fn begins_by(file: &DataFile, day: Day) -> bool {
    if file.table != Table::QuotaLedger.name() {
        return false;
    }
    let stats: Option<Value> = serde_json::from_str(&file.stats).ok();
    let begins = stats.as_ref().and_then(|stats| stats["minValues"]["at"].as_str());
    let begins = begins.and_then(|at| at.parse::<jiff::Timestamp>().ok());
    begins.is_none_or(|at| at.as_millisecond() < day.end_ms())
}

/// Whether everything that was counted before is there.
fn holds(wanted: &[CutOff], held: &[CutOff]) -> Result<(), QueryError> {
    let holds = |wanted: &CutOff| {
        held.iter().any(|cut| cut.partition == wanted.partition && cut.epoch >= wanted.epoch)
    };
    match wanted.iter().find(|wanted| !holds(wanted)) {
        None => Ok(()),
        Some(CutOff { partition, epoch }) => Err(QueryError::Data(format!(
            "phone bills count epoch {epoch} of partition {partition}, which quota_ledger does not have"
        ))),
    }
}
