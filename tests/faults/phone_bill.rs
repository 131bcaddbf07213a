//! Phone bills by the real program, on the embedded log and a local folder: every line equals an
//! independent sum of the rows, an issue that dies at any point comes to the same file (R28), what
//! comes late is on the next file (R15), and rejected lines come again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::door::{address, post};
use crate::embedded::tally;
use crate::place;
use crate::support::{Dice, Process, block_on};

const PATIENCE: Duration = Duration::from_secs(60);
const ACCOUNTS: u32 = 60;

/// A place with a log and a store.
struct Shop {
    folder: PathBuf,
}

impl Shop {
    fn tally(&self, arguments: &[&str]) -> Command {
        let mut command = tally(&self.folder, arguments);
        // These months are long over: the clock must not close their buckets.
        command.env("TALLY_AGGREGATE__TICK_MS", "0").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.tally(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> Vec<u8> {
        place::done(self.tally(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_slice(&self.done(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// The words of a command that must end with this code.
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        place::refused(self.tally(arguments), code)
    }

    /// Account commands through the door.
    fn commands(&self, name: &str, commands: &[(u32, Value)]) {
        let mut process = Process::start(name, self.tally(&["up"]), &self.folder);
        let address = address(&process.says("HTTP ", PATIENCE)).to_owned();
        block_on(async {
            for (number, command) in commands {
                let url = format!("http://{address}/v1/accounts/A{number:09}/commands");
                let (status, answer) = post(&url, "application/json", command.to_string()).await;
                assert_eq!(status, 202, "{answer}");
            }
        });
        assert!(process.terminate(PATIENCE).success());
    }

    /// Events from `start` on over so many hours, through the log into the tables.
    fn traffic(&self, seed: u64, events: u32, start: &str, hours: u32) {
        let arguments = place::traffic((seed, events, ACCOUNTS), start, hours);
        self.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let drained = String::from_utf8(self.done(&["aggregate", "--until-end"])).unwrap();
        assert!(drained.contains("DRAINED"), "{drained}");
    }

    fn issue(&self, day: &str) -> Value {
        self.json(&["phone-bill", "issue", "--day", day, "--by", "billing"])
    }

    fn answer(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Makes every line again from the rows, and says what there was.
    fn check(&self) -> Value {
        let mut check = place::python("check_phone_bill.py");
        check.arg(self.folder.join("store"));
        serde_json::from_slice(&place::done(check)).unwrap()
    }

    /// The same log and store in another folder.
    fn copied(&self, to: &Path) -> Self {
        place::copy(&self.folder, to);
        Self { folder: to.to_owned() }
    }

    /// Every object below `phone-bill/`, by its path.
    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        place::objects(&self.folder.join("store/phone-bill"))
    }
}

/// A third of the accounts pay as they go, a third has a package, a third a gift and then the
/// tariff.
fn sell() -> Vec<(u32, Value)> {
    let mut commands = Vec::new();
    for number in 0..ACCOUNTS {
        let at = "2026-02-25T00:00:00+08:00";
        if number % 3 != 1 {
            let flags = json!({"region": "sh", "overflow": "sh-telecom-payg"});
            let id = format!("flags-{number}");
            let command = json!({"command": "set_flags", "id": id, "at": at, "flags": flags});
            commands.push((number, command));
        }
        if number % 3 != 0 {
            let package = if number % 3 == 1 { "telecom-10m" } else { "mobile-gift-500k" };
            let id = format!("buy-{number}");
            let command = json!({"command": "purchase", "id": id, "at": at, "package": package});
            commands.push((number, command));
        }
    }
    commands
}

/// Points given back to those who have a package, money for others that are taken, and a package
/// that is raised.
fn adjust() -> Vec<(u32, Value)> {
    let at = "2026-02-27T12:00:00+08:00";
    let mut commands = Vec::new();
    for number in (1..ACCOUNTS).step_by(3) {
        let (id, bucket) = (format!("back-{number}"), format!("buy-{number}"));
        commands.push((
            number,
            json!({"command": "adjust", "id": id, "at": at, "bucket": bucket,
                   "points_micro": 1_234_567_891_u64, "reason": "complaint", "approver": "finance"}),
        ));
        commands.push((
            number,
            json!({"command": "adjust", "id": format!("money-{number}"), "at": at,
                   "bucket": format!("buy-{number}"), "points_micro": -987_654_321_000_i64,
                   "refund": true, "reason": "complaint", "approver": "finance"}),
        ));
    }
    commands.push((
        1,
        json!({"command": "top_up", "id": "more-1", "at": at, "bucket": "buy-1",
               "points_micro": 5_000_000_000_u64, "amount_micro": 5_000_000}),
    ));
    commands
}

fn hash(issued: &Value) -> String {
    issued["seal"]["lines_hash"].as_str().unwrap().to_owned()
}

/// An answer to a file: each line's status and reason, by number.
fn answer_to(issued: &Value, answers: &[(u64, &str)]) -> String {
    let sequence = &issued["seal"]["sequence"];
    let mut text = format!(
        "H,tally-phone-bill-return,1,{sequence},{}\nrecord,line,status,reason\n",
        hash(issued)
    );
    for (number, answer) in answers {
        text.push_str(&format!("D,{sequence}-{number},{answer}\n"));
    }
    text + &format!("T,{}\n", answers.len())
}

#[test]
fn days_are_billed_answered_and_stay_as_they_are() {
    let mut dice = Dice::of("phone-bill");
    let scratch = tempfile::tempdir().unwrap();
    let shop = Shop { folder: scratch.path().join("shop") };
    std::fs::create_dir(&shop.folder).unwrap();
    shop.commands("sell", &sell());
    shop.traffic(dice.next_seed(), 3_000, "2026-02-25T01:00:00+08:00", 4 * 24);

    for (code, words, arguments) in [
        (2, "is not a day", vec!["issue", "--day", "2026-02-30", "--by", "billing"]),
        (2, "is not over", vec!["issue", "--day", "2999-01-01", "--by", "billing"]),
        (2, "needs the name", vec!["issue", "--day", "2026-02-25", "--by", " "]),
        (2, "has no daily phone bill", vec!["issue", "--month", "2026-02", "--by", "billing"]),
        (2, "required", vec!["issue", "--by", "billing"]),
        (2, "there is no phone bill 1", vec!["reissue", "--sequence", "1"]),
    ] {
        let said = shop.refused(code, &[&["phone-bill"], arguments.as_slice()].concat());
        assert!(said.contains(words), "{said}");
    }
    assert!(shop.objects().is_empty(), "a refusal left something behind");

    let hashes = dies_anywhere(&shop, scratch.path());
    issues_at_once(&shop, scratch.path());
    let first = shop.issue("2026-02-25");
    assert_eq!(BTreeSet::from([hash(&first)]), hashes, "crashes change the lines");
    let again = shop.issue("2026-02-25");
    assert_eq!((&again["hash"], &again["was_issued"]), (&first["hash"], &json!(true)));
    let second = shop.issue("2026-02-26");

    // What is answered is taken whole or not at all.
    let before = shop.objects();
    for (text, words) in [
        (
            answer_to(&first, &[(1, "accepted,"), (999_999, "accepted,")]),
            "line 4: 1-999999 is no line",
        ),
        (
            answer_to(&first, &[(1, "accepted,"), (1, "rejected,closed")]),
            "line 4: 1-1 was answered in line 3",
        ),
        (
            answer_to(&first, &[(1, "accepted,")]).replace(&hash(&first), &hash(&second)),
            "line 1: the hash",
        ),
        (answer_to(&first, &[(1, "accepted,")]).replace("T,1", ""), "the trailer is missing"),
    ] {
        let path = shop.answer("bad.csv", &text);
        let said = shop.refused(3, &["phone-bill", "return", &path, "--by", "ann"]);
        assert!(said.contains(words) && said.contains("is not taken, none of it"), "{said}");
    }
    assert_eq!(shop.objects(), before, "a refused answer left something behind");
    let answers = [
        (1, "accepted,"),
        (2, "rejected,no such account"),
        (5, "rejected,closed"),
        (7, "accepted,"),
    ];
    let path = shop.answer("return.csv", &answer_to(&first, &answers));
    answer_dies(&shop, scratch.path(), &path);
    let taken = shop.json(&["phone-bill", "return", &path, "--by", "ann"]);
    assert_eq!((&taken["was_taken"], &taken["return"]["n"]), (&json!(false), &json!(1)));
    let taken = shop.json(&["phone-bill", "return", &path, "--by", "bob"]);
    assert_eq!((&taken["was_taken"], &taken["return"]["by"]), (&json!(true), &json!("ann")));
    let listed = shop.json(&["phone-bill", "list"]);
    assert_eq!(listed["to_come_again"].as_array().unwrap().len(), 2, "{listed}");

    // Late events, points given back and a raised package, then the next days.
    shop.traffic(dice.next_seed(), 600, "2026-02-25T06:00:00+08:00", 30);
    shop.commands("adjust", &adjust());
    shop.traffic(dice.next_seed(), 900, "2026-02-28T02:00:00+08:00", 24);
    let third = shop.issue("2026-02-27");
    assert_eq!(third["seal"]["lines_again"], json!(2));
    shop.issue("2026-02-28");
    let month = shop.json(&["phone-bill", "issue", "--month", "2026-02", "--by", "billing"]);
    assert_eq!(month["seal"]["sequence"], json!(5));
    // A file that the billing system could not take is replaced, and the replacement answered.
    shop.issue("2026-03-01");
    let correct =
        ["phone-bill", "correct", "--sequence", "6", "--reason", "torn", "--by", "billing"];
    let corrected = shop.json(&correct);
    assert_eq!(corrected["seal"]["scope"]["of"], json!(6));
    let path = shop.answer("again.csv", &answer_to(&corrected, &[(1, "rejected,no such account")]));
    shop.json(&["phone-bill", "return", &path, "--by", "ann"]);
    shop.issue("2026-03-02");

    let checked = shop.check();
    println!("{checked}");
    assert_eq!((&checked["files"], &checked["rows_left"]), (&json!(8), &json!(0)), "{checked}");
    assert!(checked["late"].as_u64().unwrap() > 10, "{checked}");
    for kind in ["package_fee", "top_up", "payg", "refund"] {
        assert!(checked["kinds"][kind].as_u64().unwrap() > 0, "no {kind}: {checked}");
    }
    shop.done(&["verify"]);

    // Every file can be had again, byte for byte, and none has changed.
    let now = shop.objects();
    for (path, bytes) in &before {
        assert_eq!(now[path], *bytes, "{path} changed");
    }
    for sequence in 1..=8 {
        let stored = &now[&format!("{sequence:020}.csv")];
        let number = sequence.to_string();
        assert_eq!(shop.done(&["phone-bill", "reissue", "--sequence", &number]), *stored);
    }
    let out = shop.folder.join("out.csv").display().to_string();
    shop.done(&["phone-bill", "issue", "--day", "2026-02-27", "--by", "cam", "--out", &out]);
    assert_eq!(std::fs::read(&out).unwrap(), now[&format!("{:020}.csv", 3)]);
    notices_an_edit(&shop);
}

/// R28: wherever an issue dies, the next one comes to the same lines, whatever the number of
/// threads; once there is a plan, to the very file that was begun.
fn dies_anywhere(shop: &Shop, scratch: &Path) -> BTreeSet<String> {
    let mut hashes = BTreeSet::new();
    for (number, point) in [
        "before-phone-bill-plan:1",
        "after-phone-bill-plan:1",
        "after-phone-bill-file:1",
        "after-phone-bill-remainders:1",
        "before-phone-bill-seal:1",
        "after-phone-bill-seal:1",
    ]
    .into_iter()
    .enumerate()
    {
        let copy = shop.copied(&scratch.join(format!("copy-{number}")));
        let issue = |by| ["phone-bill", "issue", "--day", "2026-02-25", "--by", by, "--json"];
        let mut dying = copy.tally(&issue("first"));
        let died = dying.env("TALLY_CRASH_AT", point).output().unwrap();
        assert_eq!(died.status.code(), None, "{point}: it did not die");
        let before = copy.objects();
        assert_eq!(before.len(), [0, 1, 2, 3, 3, 4][number], "{point}");
        let mut second = copy.tally(&issue("second"));
        let output = second.env("TALLY_QUERY__THREADS", (1 + number % 4).to_string()).output();
        let issued: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        let by = if number == 0 { "second" } else { "first" };
        assert_eq!(issued["seal"]["by"], by, "{point}");
        let after = copy.objects();
        assert_eq!(after.len(), 4, "{point}");
        assert!(before.iter().all(|(path, bytes)| after[path] == *bytes), "{point}");
        hashes.insert(hash(&issued));
        if number % 3 == 1 {
            copy.done(&["verify"]);
        }
    }
    hashes
}

/// An answer that dies before it is taken is not taken at all, and one that dies after it is.
fn answer_dies(shop: &Shop, scratch: &Path, path: &str) {
    for (point, was_taken) in [("before", false), ("after", true)] {
        let copy = shop.copied(&scratch.join(format!("copy-return-{point}")));
        let arguments = ["phone-bill", "return", path, "--by", "first", "--json"];
        let mut dying = copy.tally(&arguments);
        let point = format!("{point}-phone-bill-return:1");
        let died = dying.env("TALLY_CRASH_AT", &point).output().unwrap();
        assert_eq!(died.status.code(), None, "{point}: it did not die");
        let taken: Value = serde_json::from_slice(&copy.done(&arguments)).unwrap();
        assert_eq!(taken["was_taken"], json!(was_taken), "{point}");
    }
}

/// Some that issue at once come to one file.
fn issues_at_once(shop: &Shop, scratch: &Path) {
    let copy = shop.copied(&scratch.join("copy-race"));
    let issuers: Vec<_> = ["ann", "bob", "cam"]
        .iter()
        .map(|by| {
            let arguments = ["phone-bill", "issue", "--day", "2026-02-25", "--by", by, "--json"];
            let mut command = copy.tally(&arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut hashes = BTreeSet::new();
    for issuer in issuers {
        let output = issuer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let issued: Value = serde_json::from_slice(&output.stdout).unwrap();
        hashes.insert(issued["hash"].as_str().unwrap().to_owned());
    }
    assert_eq!((hashes.len(), copy.objects().len()), (1, 4), "{hashes:?}");
}

/// I6: an amount that somebody edits is found, and not given out.
fn notices_an_edit(shop: &Shop) {
    let path = shop.folder.join(format!("store/phone-bill/{:020}.csv", 1));
    let text = std::fs::read_to_string(&path).unwrap();
    let edited = text.replacen(",9.90,", ",9.80,", 1);
    assert_ne!(edited, text);
    std::fs::write(&path, edited).unwrap();
    let output = shop.run(&["verify"]);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("is not what was sealed"), "{report}");
    let said = shop.refused(3, &["phone-bill", "reissue", "--sequence", "1"]);
    assert!(said.contains("is not what was sealed"), "{said}");
}
