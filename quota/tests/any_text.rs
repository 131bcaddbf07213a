//! Whatever bytes come as a command, and whatever text as reference data, is read or refused: never
//! a panic, and what is accepted reads the same again.

use proptest::prelude::*;
use tally_quota::{Command, QuotaReference};

const COMMANDS: [&str; 5] = [
    r#"{"command":"purchase","id":"c-1","account":"A1","at":1795326155827,"package":"telecom-10m","quantity":3}"#,
    r#"{"command":"top_up","id":"c-2","account":"A1","at":"2026-11-22T14:22:37+08:00","bucket":"c-1/2","points_micro":"500","amount_micro":7}"#,
    r#"{"command":"transfer","id":"c-3","account":"A1","at":"2026-11-22","from_bucket":"a","to_bucket":"b","points_micro":1}"#,
    r#"{"command":"adjust","id":"c-4","account":"A1","at":1,"bucket":"a","points_micro":-5,"refund":true,"reason":"x","approver":"y"}"#,
    r#"{"command":"set_flags","id":"c-5","account":"A1","at":1,"flags":{"overflow":null,"region":"sh","members":{"S1":{"caps":[{"window":"day","limit_micro":9}]},"S2":null}}}"#,
];

const PACKAGES: &str = include_str!("../../rating/data/packages.toml");

const SPOILERS: [&str; 22] = [
    "",
    " ",
    "\"",
    "\\",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    "null",
    "-",
    ".5",
    "e9",
    "0",
    "7",
    "99999999999999999999999999999999999999999",
    "-9223372036854775809",
    "\u{0}",
    "上",
    "true",
    "\n",
];

/// The text with some places changed.
fn spoilt(text: &str, spots: &[(prop::sample::Index, usize, usize)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, spoiler, removed) in spots {
        let start = at.index(bytes.len() + 1);
        let end = (start + removed).min(bytes.len());
        bytes.splice(start..end, SPOILERS[*spoiler].bytes());
    }
    bytes
}

fn spots(most: usize) -> impl Strategy<Value = Vec<(prop::sample::Index, usize, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..SPOILERS.len(), 0..4_usize), 0..most)
}

#[test]
fn the_samples_are_sound() {
    for command in COMMANDS {
        Command::parse(command.as_bytes()).unwrap();
    }
    QuotaReference::from_toml(PACKAGES).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_spoilt_command_is_read_or_refused(sample in 0..COMMANDS.len(), spots in spots(4)) {
        let bytes = spoilt(COMMANDS[sample], &spots);
        if let Ok(command) = Command::parse(&bytes) {
            prop_assert_eq!(&Command::parse(&bytes).unwrap(), &command);
            prop_assert!(!command.id.is_empty() && !command.account.is_empty());
            command.identity_hash();
            command.content_hash();
        }
    }

    #[test]
    fn any_bytes_are_a_command_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        drop(Command::parse(&bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn spoilt_packages_are_read_or_refused(spots in spots(4)) {
        let text = String::from_utf8_lossy(&spoilt(PACKAGES, &spots)).into_owned();
        if let Ok(reference) = QuotaReference::from_toml(&text) {
            for package in reference.packages() {
                prop_assert!(package.allowance_micro >= 0 && package.price_micro >= 0, "{}", package.id);
            }
        }
    }

    #[test]
    fn any_text_is_packages_or_refused(text in "\\PC{0,200}") {
        drop(QuotaReference::from_toml(&text));
    }
}
