//! One simulated run: members that crash, freeze, wake up as zombies and overlap, over a store that
//! misbehaves; then a calm end, and the invariants.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::approvals::Approvals;
use super::executor::{Actors, run_alone};
use super::faulty_store::store_of;
use super::invariants::{Objects, check_alerts, check_ledger, check_truth, read_files};
use super::member::{Ended, Site, run_member};
use super::oracle::truth_of;
use super::plan::{Faults, Plan};
use super::reach::Reach;
use super::schedule::Schedule;
use super::simulated_alerts::AlertRecord;
use super::simulated_log::SimulatedLog;
use super::simulated_statuses::{StatusRecord, check_statuses};
use super::straight_run::straight_run;
use super::workload::make_log;
use super::world::{SimulatedEdge, World};
use crate::core::PartitionConfig;
use crate::notice_topic::NoticeTopics;
use crate::owner::{Surroundings, recover};

/// Polls after which a run counts as stuck (I14).
const POLLS_MAX: u64 = 60_000;
/// Polls within which the calm end must have processed everything.
const CALM_POLLS_MAX: u64 = 20_000;

/// A run that ended well.
pub(super) struct Finished {
    pub(super) world: World,
    pub(super) sites: Vec<Site>,
    /// Ledger entries, segments, bases, and events of each fate, so that a test can see that runs
    /// are not empty.
    pub(super) reach: Reach,
}

type Members = Actors<Site, Ended>;

struct Run {
    world: World,
    sites: Vec<Site>,
    members: Members,
    /// How far each partition was drained, where it was.
    drained: Vec<Option<u64>>,
    disturbances: u64,
    fenced: u64,
}

/// Runs a seed to its end and checks it.
pub(super) fn run(seed: u64, trace: bool) -> Result<Finished, String> {
    let plan = Plan::of(seed);
    let mut run = Run::staged(&plan, plan.faults, trace);
    run.stormy()?;
    run.calm()?;
    run.finished()
}

/// Begins with what a store and the topics of notices held at some instant of a run that has
/// finished, over its log; ends calmly, and checks.
pub(super) fn resume(
    seed: u64,
    finished: &Finished,
    objects: Objects,
    told: (Vec<AlertRecord>, Vec<StatusRecord>),
) -> Result<Finished, String> {
    let plan = Plan::of(seed);
    let mut run = Run::staged(&plan, Faults::default(), false);
    for (site, before) in run.sites.iter_mut().zip(&finished.sites) {
        site.log = Arc::new(SimulatedLog::clone(&before.log));
    }
    run.world.begin_with(objects, told);
    run.calm()?;
    run.finished()
}

impl Run {
    fn staged(plan: &Plan, faults: Faults, trace: bool) -> Self {
        let world = World::new(plan.seed, faults, trace);
        let surroundings = Surroundings {
            store: store_of(&world),
            edge: Arc::new(SimulatedEdge(world.clone())),
            notices: NoticeTopics::default(),
        };
        let approvals = Approvals::new(&world, plan.approvals);
        let site = |partition| Site {
            world: world.clone(),
            surroundings: surroundings.clone(),
            config: PartitionConfig {
                topic: "usage".to_owned(),
                partition,
                partition_count: plan.partition_count,
                log: None,
                aggregate: plan.settings.clone(),
            },
            approvals: Arc::clone(&approvals),
            log: Arc::new(make_log(
                plan.seed,
                &plan.traffic,
                &plan.settings,
                partition,
                plan.partition_count,
            )),
            owns: Rc::default(),
        };
        let sites: Vec<Site> = (0..plan.partition_count).map(site).collect();
        Self {
            members: Actors::new(&world),
            drained: vec![None; sites.len()],
            disturbances: plan.disturbances,
            fenced: 0,
            world,
            sites,
        }
    }

    fn finished(self) -> Result<Finished, String> {
        let Self { world, sites, fenced, .. } = self;
        // What is still under way arrives; nothing may come of it.
        while let Some(tick) = world.next_due() {
            world.skip_to(tick);
        }
        let mut reach = Reach { fenced, ..Reach::default() };
        for site in &sites {
            check(site, &mut reach)?;
        }
        Ok(Finished { world, sites, reach })
    }
    fn start(&mut self, partition: usize) {
        let site = Site { owns: Rc::new(Cell::new(false)), ..self.sites[partition].clone() };
        self.members.start(site.clone(), run_member(site));
    }

    fn step(&mut self) -> Result<(), String> {
        let stuck = |_| "I14: everybody waits and nothing can happen".to_owned();
        let Some((site, ended)) = self.members.step().map_err(stuck)? else { return Ok(()) };
        let partition = site.config.partition;
        self.world.note(|| format!("a member of partition {partition} ended: {ended:?}"));
        match ended {
            Ended::Drained(to) => self.drained[partition as usize] = Some(to),
            Ended::Fenced => self.fenced += 1,
            Ended::Away => {}
            Ended::Stopped(error) => return Err(format!("I12: a member stopped: {error}")),
        }
        Ok(())
    }

    /// Until everything is committed once, with everything going wrong.
    fn stormy(&mut self) -> Result<(), String> {
        while self.drained.iter().any(Option::is_none) {
            if self.members.polls > POLLS_MAX {
                return Err(format!("I14: not done after {POLLS_MAX} polls"));
            }
            if self.disturbances > 0 && self.world.once_in(60) {
                self.disturbances -= 1;
                self.disturb();
            }
            for partition in 0..self.sites.len() {
                let tick = self.world.tick();
                let mut members = self.members.alive.iter();
                let awake = members.any(|actor| {
                    actor.tag.config.partition as usize == partition && actor.stopped_until <= tick
                });
                if !awake && self.drained[partition].is_none() {
                    self.start(partition);
                }
            }
            self.step()?;
        }
        Ok(())
    }

    fn disturb(&mut self) {
        let alive = self.members.alive.len() as u64;
        let kind = self.world.draw(0..7);
        if alive == 0 {
            return;
        }
        let chosen = usize::try_from(self.world.draw(0..alive)).unwrap();
        let partition = self.members.alive[chosen].tag.config.partition;
        match kind {
            0..3 => {
                self.world.note(|| format!("a member of partition {partition} crashes"));
                drop(self.members.alive.remove(chosen));
            }
            3 | 4 => {
                let until = self.world.tick() + self.world.draw(50..1_500);
                self.world.note(|| format!("a member of partition {partition} sleeps to {until}"));
                self.members.alive[chosen].stopped_until = until;
            }
            5 => {
                self.world.note(|| format!("partition {partition} is assigned to another"));
                self.start(partition as usize);
            }
            _ => {
                let until = self.world.tick() + self.world.draw(10..250);
                self.world.note(|| format!("the store is down until {until}"));
                self.world.inside().faults.down_until = until;
            }
        }
    }

    /// The store behaves, nobody new comes; those who have a partition may still be there.
    fn calm(&mut self) -> Result<(), String> {
        self.world.note(|| "calm".to_owned());
        self.world.inside().faults = Faults { latency_max: 2, ..Faults::default() };
        let tick = self.world.tick();
        let world = self.world.clone();
        self.members.alive.retain_mut(|actor| {
            actor.stopped_until = tick + world.draw(0..60);
            actor.tag.owns.get() && world.once_in(2)
        });
        self.drained.fill(None);
        self.members.polls = 0;
        loop {
            // Who had a partition may have appended to the log after the last owner came to its end.
            let ends = self.sites.iter().map(|site| site.log.end());
            let behind = self.drained.iter().zip(ends).map(|(to, end)| *to != Some(end));
            let behind: Vec<usize> =
                behind.enumerate().filter_map(|(partition, is)| is.then_some(partition)).collect();
            if behind.is_empty() {
                return Ok(());
            }
            for partition in behind {
                self.drained[partition] = None;
                self.start(partition);
            }
            self.end_calmly()?;
            if self.drained.contains(&None) {
                return Err(
                    "I14: the last owner was fenced, though nobody came after it".to_owned()
                );
            }
        }
    }

    /// Until nobody is left.
    fn end_calmly(&mut self) -> Result<(), String> {
        while !self.members.alive.is_empty() {
            if self.members.polls > CALM_POLLS_MAX {
                return Err(format!("I14: nothing came to an end in {CALM_POLLS_MAX} calm polls"));
            }
            self.step()?;
        }
        Ok(())
    }
}

/// A site like another, over a store of its own that holds `objects`.
pub(super) fn site_over(like: &Site, faults: Faults, objects: Objects) -> Site {
    let world = World::new(0, faults, false);
    world.begin_with(objects, Default::default());
    let edge = Arc::new(SimulatedEdge(world.clone()));
    let notices = NoticeTopics::default();
    let surroundings = Surroundings { store: store_of(&world), edge, notices };
    let approvals = like.approvals.in_world(&world);
    let log = Arc::new(SimulatedLog::clone(&like.log));
    Site { world, surroundings, approvals, log, ..like.clone() }
}

fn check(site: &Site, reach: &mut Reach) -> Result<(), String> {
    let objects = site.world.inside().objects.clone();
    let entries = check_ledger(&objects, &site.config)?;
    let last = entries.last().ok_or("I14: the ledger is empty")?.clone();
    if last.to != site.log.end() {
        return Err(format!("I14: committed to {}, the log ends at {}", last.to, site.log.end()));
    }
    let mut stored = read_files(&objects, &entries)?;
    let schedule = Schedule::of(&site.log, &entries, &site.approvals)?;
    let straight = straight_run(&site.log, &site.config, &schedule);
    let truth = truth_of(&site.log, &site.config.aggregate, &schedule, &straight.retail);
    let (at, entry) = (site.clone(), last.clone());
    let reference = schedule.last().clone();
    let recovered = run_alone(&site.world, async move {
        recover(at.surroundings.store.as_ref(), &at.config, &reference, &entry).await
    });
    let recovered = recovered.map_err(|error| format!("I12: recovery: {error}"))?;
    check_truth(&truth, &straight, &entries, &mut stored, recovered.open_windows())?;
    let sent = site.world.inside().alerts.clone();
    reach.alerts += check_alerts(&straight.sent, &sent, site.config.partition)?;
    let statuses = site.world.inside().statuses.clone();
    let home = (site.config.partition, site.config.partition_count);
    reach.statuses += check_statuses(&straight.views, &statuses, home)?;
    reach.count(&objects, &entries, &truth, &site.world);
    reach.reference_repeats += schedule.repeats();
    Ok(())
}
