//! R11: the log no longer has what was not processed yet.

use crate::kill::note_stream;
use crate::support::{Dice, Figures, OwnEvent, Payload, Stream, Traffic, eventually, patience};

/// Exit code for data that is not what it should be.
const INVALID_DATA: i32 = 3;

/// Records that retention removed before they were read stop the process, with the exact range;
/// what was committed stays as it is.
#[test]
fn a_loss_is_told_exactly() {
    let mut dice = Dice::of("retention");
    let mut stream = Stream::new("retention", dice.seed(), 3);
    stream.send(&Traffic::mixed(dice.next_seed(), 6_000));
    stream.drain();
    let committed: Vec<u64> = stream.ledger().lasts().iter().map(|last| last.to).collect();
    let lines = stream.lines(&Traffic::clean(dice.next_seed(), 6_000));
    let (payloads, offsets) = append(&stream, &lines);
    let lost_to = committed[1] + dice.between(1, 500);
    stream.topic.delete_records_before(1, lost_to);
    for run in ["bounded", "endless"] {
        let arguments: &[&str] =
            if run == "bounded" { &["aggregate", "--until-end"] } else { &["aggregate"] };
        let command = stream.tally(arguments);
        let mut process = stream.start(run, command);
        let status = process.wait(patience());
        let log = process.log();
        assert_eq!(status.code(), Some(INVALID_DATA), "{log}");
        let range = format!("{}..{lost_to}", committed[1]);
        assert!(log.contains("partition 1") && log.contains(&range), "not told {range}: {log}");
        assert!(!process.output().contains("DRAINED"), "a loss is not a success");
    }
    let last = stream.ledger().last(1).unwrap();
    assert_eq!(last.to, committed[1], "nothing was skipped");
    // What the other partitions committed before the stop is theirs; the partition of the loss
    // still has the first run's rows alone.
    let ends: Vec<u64> = stream.ledger().lasts().iter().map(|last| last.to).collect();
    for ((line, payload), offset) in lines.iter().zip(&payloads).zip(&offsets) {
        if *offset < ends[payload.partition as usize] {
            OwnEvent::of(line.as_bytes()).add_to(&mut stream.truth);
        }
    }
    stream.expect_exactly_once_so_far();
    let mut figures = Figures::of("R11 retention overrun", &dice);
    figures.note("lost", lost_to - committed[1]);
    let ledger = stream.ledger();
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

/// Appends events in their order, and says where they went.
fn append(stream: &Stream, lines: &[String]) -> (Vec<Payload>, Vec<u64>) {
    let partitions = stream.topic.partitions;
    let payloads: Vec<Payload> =
        lines.iter().map(|line| OwnEvent::payload(line, partitions)).collect();
    let offsets = stream.topic.append(&payloads);
    (payloads, offsets)
}

/// The same while a process runs: it was frozen for longer than the records lived.
#[test]
fn a_loss_under_a_running_process_is_told_exactly() {
    let mut dice = Dice::of("overrun");
    let mut stream = Stream::new("overrun", dice.seed(), 1);
    stream.send(&Traffic::mixed(dice.next_seed(), 3_000));
    let mut process = stream.aggregate("frozen");
    let mut ledger = stream.ledger();
    let end = stream.topic.bounds(0).1;
    eventually("the end of the log", patience(), || {
        process.assert_running();
        (ledger.committed(0) == end).then_some(())
    });
    let truth = stream.truth.clone();
    process.freeze();
    // The broker answers the fetch that is under way, with nothing, within a tenth of a second.
    std::thread::sleep(std::time::Duration::from_millis(500));
    stream.send(&Traffic::clean(dice.next_seed(), 2_000));
    let lost_to = end + dice.between(1, 1_000);
    stream.topic.delete_records_before(0, lost_to);
    process.thaw();
    let status = process.wait(patience());
    let log = process.log();
    assert_eq!(status.code(), Some(INVALID_DATA), "{log}");
    assert!(log.contains(&format!("{end}..{lost_to}")), "not told {end}..{lost_to}: {log}");
    assert_eq!(ledger.committed(0), end, "nothing was skipped");
    stream.truth = truth;
    stream.expect_exactly_once_so_far();
}

/// A topic that was deleted and created anew has other records at the same offsets: that is never
/// taken for the old one.
#[test]
fn a_recreated_topic_is_refused() {
    let mut dice = Dice::of("recreated");
    let mut stream = Stream::new("recreated", dice.seed(), 1);
    stream.send(&Traffic::clean(dice.next_seed(), 2_000));
    stream.drain();
    let committed = stream.ledger().committed(0);
    stream.topic.recreate();
    let command = stream.tally(&["aggregate", "--until-end"]);
    let mut process = stream.start("after", command);
    let status = process.wait(patience());
    let log = process.log();
    assert_eq!(status.code(), Some(INVALID_DATA), "{log}");
    assert!(log.contains(&committed.to_string()), "not told where it was: {log}");
    assert_eq!(stream.ledger().committed(0), committed);
    stream.expect_exactly_once();
}

/// A log whose first records went before anybody read them has lost nothing that is known of:
/// a new ledger begins where the log begins.
#[test]
fn a_new_ledger_begins_where_the_log_begins() {
    let mut dice = Dice::of("late-start");
    let mut stream = Stream::new("late-start", dice.seed(), 1);
    let lines = stream.lines(&Traffic::clean(dice.next_seed(), 1_000));
    append(&stream, &lines);
    stream.topic.delete_records_before(0, 400);
    stream.drain();
    let entries = stream.ledger().entries(0);
    assert_eq!(entries[0].from, 400);
    assert_eq!(entries.last().unwrap().to, 1_000);
    for line in &lines[400..] {
        OwnEvent::of(line.as_bytes()).add_to(&mut stream.truth);
    }
    stream.expect_exactly_once();
}
