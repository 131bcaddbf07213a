//! What gateways and apps are told of accounts. Nothing here changes what is charged.

use tally_quota::{AccountStatus, AsOf, BadAccount, quota_answer, quota_message};

use super::Partition;
use crate::core::notice::{Notice, StatusNotice};

/// The clock of statuses. It is the log's own time, which a sender's wrong clock must not carry
/// beyond the owner's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatusClock {
    /// What the time of a record is cut to; none where no owner has told the time.
    ceiling_ms: Option<i64>,
    /// Whether a record, or the owner, has told the time since the partition was taken. Before, it
    /// is not known how far a predecessor's clock was, and statuses must not fall behind it.
    is_set: bool,
    /// When accounts whose numbers changed are told next.
    numbers_due_ms: i64,
}

impl StatusClock {
    /// The time that a record tells.
    pub(super) fn of_record(&self, logged_at_ms: i64) -> i64 {
        self.ceiling_ms.map_or(logged_at_ms, |ceiling| logged_at_ms.min(ceiling))
    }
}

/// An account as of everything before an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaPicture {
    /// The account.
    pub status: AccountStatus,
    /// What it takes into account. It may be ahead of what is committed.
    pub as_of: AsOf,
}

impl QuotaPicture {
    /// As JSON, as who asks for it is answered.
    pub fn to_json(&self) -> String {
        quota_answer(&self.status, self.as_of)
    }
}

impl Partition {
    /// Lets the statuses' clock see when the log received a record.
    pub(super) fn see_record(&mut self, logged_at_ms: i64) {
        self.status_clock.is_set = true;
        self.accounts.quota.see_clock(self.status_clock.of_record(logged_at_ms));
    }

    /// What turned before the watermark was told before the state was stored, as far as no event
    /// was from the future; what turned since is told again.
    pub(crate) fn see_stored(&mut self, watermark_ms: Option<i64>) {
        if let Some(watermark_ms) = watermark_ms {
            let future_max_ms = self.config.aggregate.future_max_ms.cast_signed();
            self.accounts.quota.see_clock(watermark_ms.saturating_sub(future_max_ms));
        }
    }

    /// Tells the owner's clock. Where it has read all that the log has, statuses are as of now;
    /// else they are as of the log's newest record, which is not later.
    pub(crate) fn see_now(&mut self, now_ms: i64, read_everything: bool) {
        self.status_clock.ceiling_ms = Some(now_ms);
        if read_everything {
            self.status_clock.is_set = true;
            self.accounts.quota.see_clock(now_ms);
        }
    }

    /// Takes at most `max` of the statuses that gateways must be told, as of everything before the
    /// next offset. Those of one account rise in their offset.
    pub(crate) fn take_statuses(&mut self, max: usize) -> Vec<Notice> {
        if !self.status_clock.is_set {
            return Vec::new();
        }
        let interval_ms = self.config.aggregate.status_numbers_ms.cast_signed();
        let as_of = self.as_of();
        if interval_ms > 0 && as_of.time_ms >= self.status_clock.numbers_due_ms {
            self.accounts.quota.tell_moved();
            self.status_clock.numbers_due_ms = as_of.time_ms.saturating_add(interval_ms);
        }
        let statuses = self.accounts.quota.take_statuses(max, self.watermark_ms);
        let notice = |status: AccountStatus| {
            let message = quota_message(&status, as_of);
            Notice::Status(StatusNotice { account: status.account, message })
        };
        statuses.into_iter().map(notice).collect()
    }

    /// Whether there are statuses to be taken.
    pub(crate) fn statuses_wait(&self) -> bool {
        self.status_clock.is_set && self.accounts.quota.statuses_wait()
    }

    /// An account as of everything before the next offset; none where nothing is known of it.
    ///
    /// # Errors
    /// Where its state does not parse.
    pub(crate) fn quota_of(&self, account: &str) -> Result<Option<QuotaPicture>, BadAccount> {
        let as_of = self.as_of();
        let status = self.accounts.quota.status(account, as_of.time_ms, self.watermark_ms)?;
        Ok(status.map(|status| QuotaPicture { status, as_of }))
    }

    /// Every account that something is known of.
    #[cfg(test)]
    pub(crate) fn account_names(&self) -> Vec<String> {
        self.accounts.quota.all().map(|(name, _)| name.to_owned()).collect()
    }

    fn as_of(&self) -> AsOf {
        AsOf {
            partition: self.config.partition,
            offset: self.next,
            time_ms: self.accounts.quota.clock_ms(),
        }
    }
}
