//! A member of the group that holds one partition: the loop of the worker in the form of a future,
//! so that it can be killed or stopped at any await.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;

use futures::future::{Either, select};
use tally_schemas::ReferenceVersion;

use super::approvals::Approvals;
use super::simulated_alerts::SimulatedAlerts;
use super::simulated_log::{SimulatedLog, SimulatedProducer};
use super::simulated_statuses::SimulatedStatuses;
use super::waiting::Waiting;
use super::world::World;
use crate::announcer::Announcer;
use crate::core::{Need, Partition, PartitionConfig, ReferenceData, ReferenceLost, SpareColumns};
use crate::epoch_files::encode_epoch;
use crate::error::{AggregateError, ErrorKind};
use crate::notice_topic::NoticeTopics;
use crate::outbox::{Courier, Outbox, open_outbox};
use crate::owner::{Ownership, Surroundings, load_segments, take};
use crate::planted::{Bug, planted};
use crate::references::{Found, References};
use crate::stream_status::StreamStatus;

/// Where a member runs.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) world: World,
    pub(super) surroundings: Surroundings,
    pub(super) config: PartitionConfig,
    pub(super) approvals: Arc<Approvals>,
    pub(super) log: Arc<SimulatedLog>,
    /// Whether the member has the partition, and no longer only asks for it.
    pub(super) owns: Rc<Cell<bool>>,
}

/// How a member ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Everything up to this offset, where the log ended, is committed.
    Drained(u64),
    /// Another owner has the partition.
    Fenced,
    /// The store was away when it mattered; to be tried anew.
    Away,
    /// It must not go on (I12).
    Stopped(AggregateError),
}

/// A commit on its way.
type Commit = Pin<Box<dyn Future<Output = (Ownership, Result<SpareColumns, AggregateError>)>>>;

struct Member {
    site: Site,
    state: Partition,
    ownership: Option<Ownership>,
    commit: Option<Commit>,
    outbox: Outbox,
    announcer: Announcer,
    waiting: Waiting,
}

/// Takes the partition and processes it to the end of the log.
pub(super) async fn run_member(mut site: Site) -> Ended {
    let PartitionConfig { topic, partition, .. } = &site.config;
    let alerts = SimulatedAlerts::new(&site.world, topic, *partition);
    let statuses = SimulatedStatuses::new(&site.world);
    site.surroundings.notices =
        NoticeTopics { alerts: Some(alerts.clone()), statuses: Some(statuses.clone()) };
    let ended = match claimed(&site).await {
        Ok((mut member, courier)) => {
            let owner = member.ownership.as_ref().map_or("", Ownership::owner);
            alerts.owned_by(owner);
            statuses.owned_by(owner);
            let (run, courier) = (pin!(member.run()), pin!(courier.run()));
            match select(run, courier).await {
                Either::Left((ended, _)) => ended,
                // It has failed, which the member sees.
                Either::Right(((), run)) => run.await,
            }
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(to) => Ended::Drained(to),
        Err(error) => match error.kind() {
            ErrorKind::Fenced => Ended::Fenced,
            ErrorKind::Retry => Ended::Away,
            ErrorKind::Invalid | ErrorKind::Data => Ended::Stopped(error),
        },
    }
}

async fn claimed(site: &Site) -> Result<(Member, Courier), AggregateError> {
    let mut bounds = site.log.bounds(site.world.tick());
    // A rebalance takes its time.
    site.world.sleep(site.world.draw(0..60)).await;
    let (mut ownership, state) = loop {
        let taken = take(&site.surroundings, &site.config, site.approvals.as_ref(), bounds).await;
        let Err(AggregateError::Truncated { committed, .. }) = taken else { break taken? };
        // As in the aggregator: bounds may be older than what a predecessor committed meanwhile.
        bounds = site.log.bounds(site.world.tick());
        if bounds.end < committed {
            break taken?;
        }
    };
    site.owns.set(true);
    site.world.note(|| {
        format!(
            "{} took partition {} at entry {}, offset {}",
            ownership.owner(),
            site.config.partition,
            ownership.last().n,
            state.next_offset()
        )
    });
    let Surroundings { edge, notices, .. } = site.surroundings.clone();
    let read_back = ownership.take_read_back();
    let (outbox, courier) = open_outbox(notices, edge, StreamStatus::default(), read_back);
    let producer = SimulatedProducer { world: site.world.clone(), log: Arc::clone(&site.log) };
    let PartitionConfig { partition, aggregate, .. } = &site.config;
    let announcer = Announcer::new(Arc::new(producer), *partition, aggregate.reference_poll_ms);
    let waiting = Waiting::behind(ownership.last().n);
    let (site, ownership) = (site.clone(), Some(ownership));
    let member = Member { site, state, ownership, commit: None, outbox, announcer, waiting };
    Ok((member, courier))
}

impl Member {
    async fn run(&mut self) -> Result<u64, AggregateError> {
        let world = self.site.world.clone();
        let log = Arc::clone(&self.site.log);
        loop {
            self.rest(world.draw(0..12)).await?;
            let next = self.state.next_offset();
            let current = &self.state.reference().version;
            if let Some(newer) = self.site.approvals.newer_than(current) {
                if planted(Bug::ReferenceWithoutRecord) {
                    self.follow(newer).await?;
                } else {
                    let now_ms = self.site.surroundings.edge.now_ms();
                    self.announcer.announce(newer, next, now_ms);
                }
            }
            let max = usize::try_from(world.draw(1..24)).unwrap();
            for record in log.read(next, max, world.tick()) {
                while let Err(need) = self.state.push(record.record()) {
                    match need {
                        Need::Reference(version) => self.follow(version).await?,
                        Need::Segments(need) => {
                            world.note(|| format!("needs the segments of bucket {}", need.bucket));
                            // A segment may belong to the epoch that is just being stored.
                            self.wait_for_commit().await?;
                            load_segments(&self.site.surroundings, &mut self.state, &need).await?;
                        }
                    }
                }
                self.waiting.read(self.state.next_offset());
            }
            self.outbox.check()?;
            // As where there is room for few of them.
            self.hand_over(usize::from(world.once_in(2)));
            let at_end = self.state.next_offset() >= log.end();
            // As the worker does for a log that is idle or has been read to its end.
            if world.once_in(if at_end { 2 } else { 40 }) {
                self.state.write_windows(i64::MAX);
            }
            if at_end {
                self.wait_for_commit().await?;
                self.close();
                self.wait_for_commit().await?;
                return Ok(self.state.next_offset());
            }
            if self.state.epoch_events() >= self.site.config.aggregate.epoch_max_events {
                self.wait_for_commit().await?;
                self.close();
            } else if self.commit.is_none() && world.once_in(8) {
                self.close();
            }
        }
    }

    /// Lets time pass, while a commit in flight goes on.
    async fn rest(&mut self, ticks: u64) -> Result<(), AggregateError> {
        let nap = self.site.world.sleep(ticks);
        let Some(commit) = self.commit.take() else {
            nap.await;
            return Ok(());
        };
        match select(commit, nap).await {
            Either::Left((done, _)) => self.committed(done),
            Either::Right(((), commit)) => {
                self.commit = Some(commit);
                Ok(())
            }
        }
    }

    async fn wait_for_commit(&mut self) -> Result<(), AggregateError> {
        match self.commit.take() {
            Some(commit) => {
                let done = commit.await;
                self.committed(done)
            }
            None => Ok(()),
        }
    }

    fn committed(
        &mut self,
        (ownership, outcome): (Ownership, Result<SpareColumns, AggregateError>),
    ) -> Result<(), AggregateError> {
        self.state.reuse(outcome?);
        let last = ownership.last();
        self.waiting.committed(last.n, last.to)?;
        self.site.world.note(|| format!("{} committed entry {}", last.owner, last.n));
        self.ownership = Some(ownership);
        Ok(())
    }

    fn hand_over(&mut self, statuses_max: usize) {
        let mut notices = self.state.take_notices();
        notices.extend(self.state.take_statuses(statuses_max));
        self.outbox.hand_over(notices, self.state.next_offset());
    }

    /// As the worker does: rates by what the log names, or has its record held back.
    async fn follow(&mut self, named: ReferenceVersion) -> Result<(), AggregateError> {
        let mut attempt = 0;
        loop {
            let why = match self.site.approvals.find(&named).await {
                Ok(Found::Here(newer)) => return self.change_reference(newer).await,
                Ok(Found::Other(there)) => {
                    self.state.refuse_reference(named, format!("the store has {there}"));
                    return Ok(());
                }
                Ok(Found::Absent) => return Err(AggregateError::NoSuchEdition(named)),
                Err(error) if error.kind() == ErrorKind::Retry => error,
                Err(error) => return Err(error),
            };
            attempt += 1;
            self.site.surroundings.edge.pause(attempt, &why).await;
        }
    }

    async fn change_reference(&mut self, newer: ReferenceData) -> Result<(), AggregateError> {
        self.wait_for_commit().await?;
        self.send(Some(&newer.version));
        self.site.world.note(|| format!("rates by {} from now on", newer.version));
        let lost = |lost: ReferenceLost| AggregateError::Damaged(lost.to_string());
        self.state.set_reference(newer).map_err(lost)
    }

    fn close(&mut self) {
        if self.state.has_uncommitted() {
            self.send(None);
        }
    }

    fn send(&mut self, next: Option<&ReferenceVersion>) {
        let Some(mut ownership) = self.ownership.take() else { return };
        // As of a process that comes to hold more or fewer partitions.
        self.state.share_memory(if self.site.world.once_in(3) { 4 } else { 1 });
        self.hand_over(usize::MAX);
        let notices = self.outbox.close_epoch();
        let mut closed = self.state.close();
        if let Some(next) = next {
            closed.next_reference = next.clone();
        }
        self.site.world.note(|| {
            let owner = ownership.owner();
            format!("{owner} closes {}..{}", closed.from, closed.to)
        });
        let now_ms = self.site.surroundings.edge.now_ms();
        self.commit = Some(Box::pin(async move {
            let owner = ownership.owner().to_owned();
            let result = match encode_epoch(closed, ownership.last_stored(), &owner, now_ms) {
                Err(error) => Err(error),
                Ok(mut encoded) => match notices.acknowledged().await {
                    Err(error) => Err(error),
                    Ok(ends) => {
                        encoded.entry.alerts_ends = ends;
                        let committed = ownership.commit(encoded.objects, encoded.entry).await;
                        committed.map(|_| encoded.spare)
                    }
                },
            };
            (ownership, result)
        }));
    }
}
