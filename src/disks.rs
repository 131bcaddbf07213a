//! The folders that grow, and the room that is left where they are.

use std::io;
use std::path::{Path, PathBuf};

use tally_schemas::Config;

/// A folder that grows, by what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// `log`, `store` or `temporary`.
    pub(crate) holds: &'static str,
    pub(crate) path: PathBuf,
}

/// The embedded log, a store that is a folder, and where large queries and bills spill to.
pub(crate) fn folders(config: &Config) -> Vec<Folder> {
    let mut folders = Vec::new();
    if config.log.kafka.is_empty() {
        folders.push(Folder { holds: "log", path: PathBuf::from(&config.log.data) });
    }
    let url = config.store_url();
    let local = url.strip_prefix("file://").or((!url.contains("://")).then_some(url.as_str()));
    if let Some(folder) = local {
        folders.push(Folder { holds: "store", path: PathBuf::from(folder) });
    }
    folders.push(Folder { holds: "temporary", path: std::env::temp_dir() });
    folders
}

/// Free bytes below which a disk is as good as full: an epoch may need as much.
const DISK_FULL_BYTES: u64 = 200 << 20;

/// Of a small disk it is full below this part of it: what is kept there needs less.
const DISK_FULL_PART: u64 = 10;

/// Bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskRoom {
    /// That this user may still write.
    pub(crate) free: u64,
    pub(crate) size: u64,
}

impl DiskRoom {
    /// Whether the disk is as good as full, for whoever looks.
    pub(crate) fn is_full(self) -> bool {
        self.free < DISK_FULL_BYTES.min(self.size / DISK_FULL_PART)
    }
}

/// The disk where a folder is, or will be.
pub(crate) fn room_of(folder: &Path) -> io::Result<DiskRoom> {
    // One that does not exist yet will be where its nearest parent is.
    let there = folder.ancestors().find(|at| at.exists()).unwrap_or(Path::new("."));
    let found = rustix::fs::statvfs(there)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(DiskRoom { free: bytes(found.f_bavail), size: bytes(found.f_blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_those_of_this_machine() {
        let holds = |config: &Config| -> Vec<&'static str> {
            folders(config).iter().map(|folder| folder.holds).collect()
        };
        let mut config = Config::default();
        assert_eq!(holds(&config), ["log", "store", "temporary"]);
        config.log.kafka = "kafka:9092".to_owned();
        config.store.url = "s3://bucket/prefix".to_owned();
        assert_eq!(holds(&config), ["temporary"]);
        config.store.url = "file:///var/tally".to_owned();
        assert_eq!(folders(&config)[0].path, Path::new("/var/tally"));
    }

    #[test]
    fn a_small_disk_is_full_later() {
        for (free, size, full) in [
            (DISK_FULL_BYTES, 1 << 40, false),
            (DISK_FULL_BYTES - 1, 1 << 40, true),
            (DISK_FULL_BYTES - 1, 400 << 20, false),
            (40 << 20, 400 << 20, false),
            ((40 << 20) - 1, 400 << 20, true),
        ] {
            assert_eq!(DiskRoom { free, size }.is_full(), full, "{free} of {size}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("a/b")] {
            let room = room_of(&path).unwrap();
            assert!(room.free > 0 && room.free < room.size, "{room:?}");
        }
    }
}
