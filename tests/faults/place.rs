//! What tests of books and of phone bills do with a folder that has a log and a store.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Runs a command that must succeed, and returns its output.
pub(crate) fn done(mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {words}", output.status);
    output.stdout
}

/// The words of a command that must end with this code.
pub(crate) fn refused(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {words}");
    words
}

/// Arguments that send events of so many accounts, from `start` on over so many hours, to the log.
pub(crate) fn traffic(
    (seed, events, accounts): (u64, u32, u32),
    start: &str,
    hours: u32,
) -> Vec<String> {
    let words = format!(
        "generate --events {events} --seed {seed} --accounts {accounts} --start {start} --span {hours}h --out kafka"
    );
    words.split_whitespace().map(str::to_owned).collect()
}

/// A script of `tests/python`.
pub(crate) fn python(script: &str) -> Command {
    let python =
        std::env::var("TALLY_TEST_PYTHON").expect("run `make test`: it sets TALLY_TEST_PYTHON");
    let mut command = Command::new(python);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Puts the same log and store into another folder, which is not there yet.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Every object below a folder, by its path.
pub(crate) fn objects(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut objects = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                // What a process that was killed while it wrote has left: the store lists it not.
                if name.contains('#') {
                    continue;
                }
                objects.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    objects
}
