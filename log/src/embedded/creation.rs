//! The folder of a log comes into being whole: it is made beside its place and renamed.
//!
//! The store makes its first files one after the other and opens none of them again where the
//! last is missing, so a process that was killed in between would leave a folder for ever shut.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::LogError;

/// The store's own mark of a folder: nothing was ever appended before it was there.
const MARK: &str = "version";

/// Makes the log of `folder` with `make`, unless it is there. Processes that want logs of the
/// same parent folder make them one at a time.
///
/// # Errors
/// `Invalid` where the folder holds files that are no whole log; `Internal` where it cannot be
/// written; what `make` returns.
pub(super) fn ensure(
    folder: &Path,
    make: impl FnOnce(&Path) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let at = |error: io::Error| LogError::Internal(format!("{}: {error}", folder.display()));
    if folder.join(MARK).try_exists().map_err(at)? {
        return Ok(());
    }
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(at)?;
    let parent = File::open(parent).map_err(at)?;
    // Freed when it is closed, also by the end of a process.
    parent.lock().map_err(at)?;
    if folder.join(MARK).try_exists().map_err(at)? {
        return Ok(());
    }
    if !is_absent_or_empty(folder).map_err(at)? {
        return Err(LogError::Invalid(format!(
            "the folder {} holds files, but no log that can be opened: its {MARK:?} is missing. \
             Bring it back from a copy; or, if no event was ever in it, remove the folder",
            folder.display()
        )));
    }
    let beside = beside(folder);
    // What a process that was killed has left.
    absent_is_fine(fs::remove_dir_all(&beside)).map_err(at)?;
    make(&beside)?;
    fs::rename(&beside, folder).map_err(at)?;
    parent.sync_all().map_err(at)
}

/// Where the folder is made: the same name and ".creating".
fn beside(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".creating");
    folder.with_file_name(name)
}

fn is_absent_or_empty(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogErrorKind;

    fn make(folder: &Path) -> Result<(), LogError> {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join(MARK), "").unwrap();
        Ok(())
    }

    #[test]
    fn what_a_killed_process_left_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("topics/usage.events");
        let left = dir.path().join("topics/usage.events.creating");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("0.jnl"), "half").unwrap();
        ensure(&folder, make).unwrap();
        assert!(folder.join(MARK).exists() && !folder.join("0.jnl").exists() && !left.exists());
        // A second time there is nothing to make.
        ensure(&folder, |_| panic!("made again")).unwrap();
    }

    #[test]
    fn an_empty_folder_is_filled_and_one_of_others_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        ensure(&empty, make).unwrap();
        assert!(empty.join(MARK).exists());

        let half = dir.path().join("half");
        fs::create_dir(&half).unwrap();
        fs::write(half.join("0.jnl"), "half").unwrap();
        let error = ensure(&half, make).unwrap_err();
        assert_eq!(error.kind(), LogErrorKind::Invalid);
        assert!(error.to_string().contains("remove the folder"), "{error}");
        assert!(half.join("0.jnl").exists());
    }

    #[test]
    fn of_many_at_once_one_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("log");
        let made = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    ensure(&folder, |beside| {
                        made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        make(beside)
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
