//! R28: a month is closed under traffic while its late events come, and whoever closes and approves
//! it is killed at any instant, again and again: it is closed once, by one seal, and each event is
//! on one statement. 200 times with `make soak`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::books::sql;
use crate::embedded::{PATIENCE, tally};
use crate::place;
use crate::settle::{Books, contracts};
use crate::support::{Dice, Figures, eventually, rounds_at_scale};

/// How often each of the two is killed in a cycle.
const KILLS: u32 = 2;

/// How often it is tried to kill a command while it runs.
const ATTEMPTS: u32 = 16;

/// From so many cycles on, some kill must have come between two writes.
const CYCLES_OF_SOAK: u64 = 100;

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs a command and kills it within a time; whether it was still running then.
pub(crate) fn killed(command: Command, dice: &mut Dice, within: Duration) -> bool {
    killed_between(command, dice, [Duration::ZERO, within])
}

/// Runs a command and kills it at an instant between two; whether it was still running then.
fn killed_between(command: Command, dice: &mut Dice, [from, to]: [Duration; 2]) -> bool {
    let mut process = quiet(command).spawn().unwrap();
    dice.pause(from.as_millis() as u64, to.as_millis() as u64 + 1);
    let was_running = process.try_wait().unwrap().is_none();
    process.kill().unwrap();
    process.wait().unwrap();
    was_running
}

/// How long commands take undisturbed.
#[derive(Clone, Copy)]
struct Takes {
    /// Until a process is there and has read its arguments.
    start: Duration,
    close: Duration,
    approve: Duration,
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Two months of usage, and how long closing and approving the first one takes.
fn begun(books: &Books, dice: &mut Dice, scratch: &std::path::Path) -> Takes {
    std::fs::create_dir(&books.folder).unwrap();
    books.put_in_force(&contracts(scratch));
    books.traffic(dice.next_seed(), 1_500, "2026-02-01T01:00:00+08:00", 48);
    books.traffic(dice.next_seed(), 1_000, "2026-03-02T00:00:00+08:00", 48);
    let copy = books.copied(&scratch.join("undisturbed"));
    // The least: what is at its work is not killed too late by it.
    let starts = std::array::from_fn::<_, 3, _>(|_| timed(|| copy.done(&["--version"])));
    let start = starts.into_iter().min().unwrap();
    let close = timed(|| copy.review("2026-02", "ann"));
    let approve = timed(|| copy.approve("2026-02", "chief"));
    Takes { start, close, approve }
}

/// What the kills came to.
#[derive(Default)]
struct Kills {
    /// That hit a command at its work.
    running: u32,
    /// That came after its end.
    ended: u32,
    /// After which the books had something that they had not before.
    left: u32,
}

impl Kills {
    /// Kills a command as often as each is, at any instant of its work: not before it has begun, and
    /// as late as it takes undisturbed. Where it had ended before, as one that is refused does soon,
    /// it is run again and killed earlier; the next kill may be late again.
    fn of(&mut self, run: (&Books, &[&str]), dice: &mut Dice, [start, takes]: [Duration; 2]) {
        let (books, arguments) = run;
        let objects = || place::objects(&books.folder.join("store/statements")).len();
        for _ in 0..KILLS {
            let mut within = takes.saturating_sub(start);
            for _ in 0..ATTEMPTS {
                let (command, before) = (tally(&books.folder, arguments), objects());
                if killed_between(command, dice, [start, start + within]) {
                    self.running += 1;
                    self.left += u32::from(objects() > before);
                    break;
                }
                self.ended += 1;
                within /= 2;
            }
        }
    }
}

fn cycle(copy: &Books, dice: &mut Dice, takes: Takes, kills: &mut Kills) {
    let late = place::traffic((dice.next_seed(), 4_000, 300), "2026-02-03T00:00:00+08:00", 24);
    copy.done(&late.iter().map(String::as_str).collect::<Vec<_>>());
    let stream = tally(&copy.folder, &["aggregate", "--until-end"]);
    let mut stream = quiet(stream).spawn().unwrap();
    let close = ["settle", "close", "--period", "2026-02", "--by", "ann"];
    let approve = ["settle", "approve", "--period", "2026-02", "--by", "chief"];
    kills.of((copy, &close), dice, [takes.start, takes.close]);
    // It is refused with "try again" while committed events of the month wait for the tables.
    eventually("a close of February", PATIENCE, || {
        let output = copy.run(&close);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 5)), "{words}");
        output.status.success().then_some(())
    });
    kills.of((copy, &approve), dice, [takes.start, takes.approve]);
    let february = copy.approve("2026-02", "chief");
    assert!(stream.wait().unwrap().success());
    assert_eq!(copy.close("2026-02", "somebody")["hash"], february["hash"]);
    let march = copy.close("2026-03", "ann");

    let counted = |closed: &Value, which: &str| closed["seal"]["totals"][which].as_u64().unwrap();
    let query = "SELECT count(*) AS n FROM usage_events WHERE day < DATE '2026-03-01'";
    let rows = sql(copy, query)[0]["n"].to_string().trim_matches('"').parse::<u64>().unwrap();
    assert_eq!(counted(&february, "events") + counted(&march, "late_events"), rows);
    let seals = place::objects(&copy.folder.join("store/statements/seals"));
    assert_eq!(seals.len(), 2, "{:?}", seals.keys());
    // Nothing of the two months is accrued, and what is late is on March's statements.
    let query = "SELECT CAST(sum(events) AS BIGINT) AS n FROM settlement.accrual \
                 WHERE month = DATE '2026-02-01' AND statement = '2026-03'";
    let late = sql(copy, query)[0]["n"].as_u64().unwrap_or(0);
    assert_eq!(late, counted(&march, "late_events"));
    let query = "SELECT count(*) AS n FROM settlement.accrual WHERE state = 'open'";
    assert_eq!(sql(copy, query)[0]["n"].to_string().trim_matches('"'), "0");
    copy.done(&["verify"]);
}

#[test]
fn a_month_is_closed_once_through_kill_9_while_its_late_events_come() {
    let mut dice = Dice::of("settle-kill");
    let scratch = tempfile::tempdir().unwrap();
    let books = Books { folder: scratch.path().join("books") };
    let takes = begun(&books, &mut dice, scratch.path());
    let cycles = rounds_at_scale(1, 200);
    let mut kills = Kills::default();
    for number in 0..cycles {
        let copy = books.copied(&scratch.path().join(format!("copy-{number}")));
        cycle(&copy, &mut dice, takes, &mut kills);
        std::fs::remove_dir_all(&copy.folder).unwrap();
    }
    assert_eq!(
        u64::from(kills.running),
        2 * u64::from(KILLS) * cycles,
        "closes and approvals killed at their work; {} came too late",
        kills.ended
    );
    if cycles >= CYCLES_OF_SOAK {
        assert!(kills.left > 0, "no kill of {} came after a write", kills.running);
    }
    let mut figures = Figures::of("R28 close through kill -9", &dice);
    figures.note_shares();
    figures.note("cycles", cycles);
    figures.note("killed", kills.running);
    figures.note("ended_before", kills.ended);
    figures.note("left_something", kills.left);
    figures.report();
}
