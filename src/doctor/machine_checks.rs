//! The machine: room on its disks, and memory for what the settings allow.

use std::path::Path;

use tally_schemas::Config;

use super::finding::{Finding, bytes};
use crate::disks::{DiskRoom, Folder, folders, room_of};
use crate::trouble::Cause;

/// Free bytes below which a disk is soon full.
const DISK_WARNING_BYTES: u64 = 5 << 30;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings: Vec<Finding> = folders(config).iter().map(disk).collect();
    findings.extend(memory_limit().map(|limit| memory(config, limit)));
    findings
}

fn disk(folder: &Folder) -> Finding {
    let what = format!("disk of the {} folder", folder.holds);
    match room_of(&folder.path) {
        Ok(found) => room(what, &folder.path, found),
        Err(error) => Finding::wrong(what, format!("{}: {error}", folder.path.display())),
    }
}

fn room(what: String, at: &Path, room: DiskRoom) -> Finding {
    let found = format!("{} free at {}", bytes(room.free), at.display());
    if room.is_full() {
        return Finding::wrong(what, found).advise(Cause::DiskFull.advice());
    }
    if room.free < DISK_WARNING_BYTES {
        return Finding::warning(what, found).advise("make room, or lower aggregate.retention_ms");
    }
    Finding::ok(what, found)
}

/// Bytes that this process may use: the container's limit, or the machine's memory.
fn memory_limit() -> Option<u64> {
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let container = container.and_then(|text| text.trim().parse::<u64>().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1_024)
    });
    [container, machine].into_iter().flatten().min()
}

fn memory(config: &Config, limit: u64) -> Finding {
    let check = "memory";
    let allowed = [
        config.aggregate.dedupe_open_max_bytes,
        config.aggregate.windows_open_max_bytes,
        config.query.memory_max_bytes,
    ];
    let allowed = allowed.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part));
    let found = format!("{} for this process", bytes(limit));
    match allowed {
        Some(allowed) if allowed <= limit => Finding::ok(
            check,
            format!("{found}; dedupe, windows and queries together may take {}", bytes(allowed)),
        ),
        _ => {
            let allowed = allowed.map_or_else(|| "more than can be counted".to_owned(), bytes);
            Finding::warning(check, format!("{found}, and dedupe, windows and queries together may take {allowed}"))
                .advise("lower aggregate.dedupe_open_max_bytes, aggregate.windows_open_max_bytes and query.memory_max_bytes, or the system kills the process where it could have slowed down")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_disk_is_full_before_it_is() {
        for (free, size, state) in [
            (6 << 30, 1 << 40, State::Ok),
            (DISK_WARNING_BYTES - 1, 1 << 40, State::Warning),
            (199 << 20, 1 << 40, State::Wrong),
            // As the processes have it, of a small disk.
            (199 << 20, 400 << 20, State::Warning),
            (0, 400 << 20, State::Wrong),
        ] {
            let found = room("disk".to_owned(), Path::new("/x"), DiskRoom { free, size });
            assert_eq!(found.state, state, "{free} of {size}");
        }
    }

    #[test]
    fn settings_that_allow_more_than_there_is_are_named() {
        let config = Config::default();
        assert_eq!(memory(&config, 8 << 30).state, State::Ok);
        assert_eq!(memory(&config, (8 << 30) - 1).state, State::Warning);
        let mut too_much = config;
        too_much.query.memory_max_bytes = u64::MAX;
        assert_eq!(memory(&too_much, u64::MAX).state, State::Warning);
    }

    #[test]
    fn this_machine_has_memory_and_a_disk() {
        assert!(memory_limit().is_some_and(|bytes| bytes > 1 << 20));
        let findings = check(&Config::default());
        assert!(
            findings.iter().any(|finding| finding.check == "disk of the log folder"),
            "{findings:?}"
        );
        assert!(findings.iter().all(|finding| !finding.found.contains("error")), "{findings:?}");
    }
}
