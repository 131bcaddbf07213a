//! A restore from a copy of the store, on the log and the topics as they went on after the copy
//! (`docs/operations/backup.md`).

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tally_generate::Truth;

use crate::embedded::{PATIENCE, json_of, tally, up};
use crate::place::copy;
use crate::support::{Dice, Process, block_on, eventually};

/// Sends events to a door, and returns what must come of them.
fn send(folder: &Path, at: &str, seed: u64) -> Truth {
    let truth = folder.join(format!("truth-{seed}.json"));
    let seed = seed.to_string();
    let mut command =
        tally(folder, &["generate", "--events", "1500", "--seed", &seed, "--out", "http"]);
    command.arg("--truth").arg(&truth).env("TALLY_HTTP__LISTEN", at);
    Process::start(&format!("generate-{seed}"), command, folder).succeed(PATIENCE);
    serde_json::from_slice(&std::fs::read(&truth).unwrap()).unwrap()
}

fn metric(at: &str, name: &str) -> u64 {
    let url = format!("http://{at}/metrics");
    let text = block_on(async { reqwest::get(url).await.unwrap().text().await.unwrap() });
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
}

/// Waits until everything is committed and published, and every epoch is added to budgets.
fn caught_up(folder: &Path, at: &str) -> Value {
    let mut added = None;
    eventually("everything committed and added", PATIENCE, || {
        let status = json_of(folder, "status", &["status", "--json"]);
        let done = status["lag_events"] == json!(0) && status["unpublished_epochs"] == json!(0);
        let now = metric(at, "tally_budget_epochs_added_total");
        let settled = done && added == Some(now);
        added = done.then_some(now);
        if !settled {
            std::thread::sleep(Duration::from_millis(500));
        }
        settled.then_some(status)
    })
}

/// The topic of increments names epochs that the restored ledger makes otherwise: they are ignored,
/// counted and said, and nothing is added twice.
#[test]
fn the_old_topic_of_budgets_is_no_harm_after_a_restore() {
    let mut dice = Dice::of("restore");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (process, at) = up(folder, "up");
    let mut truth = send(folder, &at, dice.next_seed());
    caught_up(folder, &at);
    copy(&folder.join("store"), &folder.join("copy"));
    truth.merge(&send(folder, &at, dice.next_seed())).unwrap();
    let status = caught_up(folder, &at);
    assert_eq!(status["budget_messages_ignored"], json!(0), "{status}");
    process.kill();

    std::fs::rename(folder.join("store"), folder.join("lost")).unwrap();
    std::fs::rename(folder.join("copy"), folder.join("store")).unwrap();
    let (mut process, at) = up(folder, "up-restored");
    let status = caught_up(folder, &at);
    let ignored = metric(&at, "tally_budget_messages_ignored_total");
    assert!(ignored > 0, "the old topic had nothing of the lost ledger: {status}");
    let status = json_of(folder, "status", &["status", "--json"]);
    assert_eq!(status["budget_messages_ignored"], json!(ignored), "{status}");
    let mut said = Process::start("status-words", tally(folder, &["status"]), folder);
    let said = said.succeed(PATIENCE);
    assert!(said.contains(&format!("budgets: {ignored} messages were ignored")), "{said}");
    assert!(process.terminate(PATIENCE).success());
    let drain = tally(folder, &["aggregate", "--until-end"]);
    Process::start("drain", drain, folder).succeed(PATIENCE);
    let path = folder.join("truth.json");
    std::fs::write(&path, serde_json::to_vec(&truth).unwrap()).unwrap();
    let verify = tally(folder, &["verify", "--truth", path.to_str().unwrap()]);
    Process::start("verify", verify, folder).succeed(PATIENCE);
}
