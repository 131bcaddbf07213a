//! Who asks is answered: at once, or between two reads, or told that nobody will.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use tally_log::{Record, RecordKind};
use tally_quota::{AsOf, QuotaState};
use tally_schemas::AggregateConfig;

use super::*;
use crate::core::{PartitionConfig, ReferenceData};

const AT: i64 = 1_795_326_157_827;

/// A desk of a partition in which A1 has bought a package.
fn desk() -> Arc<QuotaDesk> {
    let config = PartitionConfig {
        topic: "usage.events".to_owned(),
        partition: 0,
        partition_count: 1,
        log: None,
        aggregate: AggregateConfig::default(),
    };
    let mut state = Partition::new(config, ReferenceData::shipped().unwrap(), 0);
    let purchase = format!(
        r#"{{"command":"purchase","id":"c1","account":"A1","at":{AT},"package":"telecom-10m"}}"#
    );
    push(&mut state, &purchase);
    Arc::new(QuotaDesk::new(state))
}

fn push(state: &mut Partition, text: &str) {
    let record = Record {
        offset: state.next_offset(),
        timestamp_ms: AT,
        key: None,
        value: Some(text.as_bytes()),
        kind: RecordKind::Single,
    };
    state.push(record).unwrap();
}

#[test]
fn a_free_state_is_looked_at_at_once() {
    let desk = desk();
    let picture = desk.ask("A1").now_or_never().unwrap().unwrap().unwrap().unwrap();
    assert_eq!(picture.status.status, QuotaState::Ok);
    let AsOf { partition, offset, time_ms } = picture.as_of;
    assert_eq!((partition, offset, time_ms), (0, 1, AT));
    assert_eq!(desk.ask("A2").now_or_never().unwrap().unwrap().unwrap(), None);
}

#[test]
fn questions_wait_for_a_worker_that_is_busy_and_are_answered_together() {
    let desk = desk();
    let mut busy = desk.state();
    let mut questions: Vec<_> = (0..10).map(|_| Box::pin(desk.ask("A1"))).collect();
    for question in &mut questions {
        assert!(question.as_mut().now_or_never().is_none());
    }
    push(
        &mut busy,
        r#"{"command":"set_flags","id":"c2","account":"A1","at":5,"flags":{"region":"sh"}}"#,
    );
    drop(busy);
    desk.answer();
    for question in questions {
        let picture = question.now_or_never().unwrap().unwrap().unwrap().unwrap();
        assert_eq!(picture.as_of.offset, 2, "as of what was processed meanwhile");
    }
}

#[test]
fn too_many_are_turned_away() {
    let desk = desk();
    let busy = desk.state();
    let mut questions: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(desk.ask("A1"))).collect();
    for question in &mut questions {
        assert!(question.as_mut().now_or_never().is_none());
    }
    assert_eq!(desk.ask("A1").now_or_never().unwrap().unwrap_err(), Unanswered::Busy);
    drop(busy);
    desk.answer();
    assert!(questions.into_iter().all(|question| question.now_or_never().unwrap().is_ok()));
}

#[test]
fn a_closed_desk_answers_nobody() {
    let desk = desk();
    let busy = desk.state();
    let mut early = Box::pin(desk.ask("A1"));
    assert!(early.as_mut().now_or_never().is_none());
    drop(busy);
    desk.close();
    assert_eq!(early.now_or_never().unwrap().unwrap_err(), Unanswered::Closed);
    assert_eq!(desk.ask("A1").now_or_never().unwrap().unwrap_err(), Unanswered::Closed);
}

/// The worker holds the state for a moment and then waits for long; who asks just then is
/// answered all the same, by the worker on its way out or by itself.
#[test]
fn no_question_is_left_lying() {
    let desk = desk();
    for round in 0..3_000 {
        let barrier = Barrier::new(4);
        let (desk, barrier) = (&desk, &barrier);
        thread::scope(|scope| {
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..round % 7 {
                    drop(desk.state());
                }
                desk.answer();
            });
            for _ in 0..3 {
                scope.spawn(move || {
                    barrier.wait();
                    let asked = async {
                        let asked = Box::pin(desk.ask("A1"));
                        tokio::time::timeout(Duration::from_secs(20), asked).await
                    };
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .build()
                        .unwrap();
                    let answered = runtime.block_on(asked).expect("an answer");
                    assert!(answered.unwrap().unwrap().is_some());
                });
            }
        });
    }
    block_on(desk.ask("A1")).unwrap().unwrap();
}
