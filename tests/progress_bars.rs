//! Long jobs show a bar on a terminal, and on standard output nothing but their result.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::path::Path;
use std::process::{Command, Output};

const SEED: &str = "31";

fn in_folder(program: &str, arguments: &[&str], folder: &Path) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("TALLY_LOG__DATA", folder.join("data"))
        .env("RUST_LOG", "warn")
        .env("TERM", "xterm")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn tally(folder: &Path, arguments: &[&str]) -> Output {
    succeeded(in_folder(env!("CARGO_BIN_EXE_tally"), arguments, folder))
}

/// Runs a command with its standard error on a terminal of its own; returns what that showed, and
/// what came to standard output.
fn on_a_terminal(folder: &Path, arguments: &[&str]) -> (String, Vec<u8>) {
    let line = format!("{} {} >result", env!("CARGO_BIN_EXE_tally"), arguments.join(" "));
    let shown = succeeded(in_folder("script", &["-qec", &line, "typescript"], folder));
    (
        String::from_utf8_lossy(&shown.stdout).into_owned(),
        std::fs::read(folder.join("result")).unwrap(),
    )
}

#[test]
fn long_jobs_show_a_bar_on_a_terminal_and_only_there() {
    println!("seed {SEED}");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tally(folder, &["generate", "--events", "5000", "--seed", SEED, "--out", "kafka"]);

    let (shown, result) = on_a_terminal(folder, &["aggregate", "--until-end"]);
    assert!(shown.contains("aggregate"), "{shown:?}");
    assert_eq!(result, b"DRAINED\n");

    let (shown, result) = on_a_terminal(folder, &["verify", "--json"]);
    assert!(shown.contains("verify, ") && shown.contains("/16 "), "{shown:?}");
    let alone = tally(folder, &["verify", "--json"]);
    assert!(result == alone.stdout, "the same result, and nothing else");
    assert_eq!(String::from_utf8_lossy(&alone.stderr), "", "too short for a line");

    let (shown, result) = on_a_terminal(folder, &["audit", "duplicates"]);
    assert!(shown.contains("audit "), "{shown:?}");
    assert_eq!(result, b"no id has more than one row\n");

    let (shown, _) = on_a_terminal(folder, &["janitor", "--once"]);
    assert!(shown.contains("janitor, "), "{shown:?}");
}
