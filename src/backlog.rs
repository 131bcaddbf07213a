//! How far a bounded run of the stream is in what the log held when it began.

use std::collections::BTreeMap;

use tally_aggregate::PartitionStatus;

use crate::progress::Position;

/// How far one partition is.
#[derive(Debug, Clone, Copy)]
struct Read {
    /// Where it was found.
    from: u64,
    next: u64,
}

/// The partitions that were seen; one that is let go of stays where it was.
#[derive(Debug, Default)]
pub(crate) struct Backlog(BTreeMap<u32, Read>);

impl Backlog {
    /// Records that are read, of those up to which the run goes.
    pub(crate) fn position(
        &mut self,
        partitions: &BTreeMap<u32, PartitionStatus>,
        until: &BTreeMap<u32, u64>,
    ) -> Position {
        for (partition, status) in partitions {
            // Without an owner it is not known yet where its ledger ends.
            if !status.owner.is_empty() {
                let from = status.committed_offset;
                let read = self.0.entry(*partition).or_insert(Read { from, next: from });
                read.next = read.next.max(status.next_offset);
            }
        }
        let (mut done, mut total) = (0_u64, 0_u64);
        for (partition, until) in until {
            if let Some(Read { from, next }) = self.0.get(partition) {
                done += (*next).min(*until).saturating_sub(*from);
                total += until.saturating_sub(*from);
            }
        }
        Position { part: String::new(), done, total: (total > 0).then_some(total) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(committed_offset: u64, next_offset: u64) -> PartitionStatus {
        let owner = "a".to_owned();
        PartitionStatus { owner, committed_offset, next_offset, ..PartitionStatus::default() }
    }

    #[test]
    fn what_was_committed_before_is_not_part_of_a_run() {
        let until = BTreeMap::from([(0, 1_000), (1, 500), (2, 0)]);
        let mut backlog = Backlog::default();
        let mut at = |partitions: &[(u32, PartitionStatus)]| {
            let position = backlog.position(&partitions.iter().cloned().collect(), &until);
            (position.done, position.total)
        };
        // A partition that is being recovered says nothing yet.
        assert_eq!(at(&[(0, PartitionStatus::default())]), (0, None));
        assert_eq!(at(&[(0, status(900, 900))]), (0, Some(100)));
        assert_eq!(at(&[(0, status(900, 950)), (1, status(0, 10))]), (60, Some(600)));
        // One commits, and one is done and let go of.
        assert_eq!(at(&[(1, status(200, 300)), (2, status(0, 0))]), (350, Some(600)));
        // The log grows meanwhile: the run ends where it was to.
        assert_eq!(at(&[(1, status(500, 700))]), (550, Some(600)));
    }
}
