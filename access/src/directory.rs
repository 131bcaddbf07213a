//! The users of a running process. Who is taken out of the file is out within a second, without a
//! restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::RwLock;

use crate::caller::Caller;
use crate::error::AccessError;
use crate::random::random_bytes;
use crate::token::TokenHash;
use crate::user::User;
use crate::users_file::UsersFile;
use crate::verifier::Verifier;

/// How long the file is not looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The users of a process.
pub struct Directory {
    path: PathBuf,
    look_again_after: Duration,
    /// What salts for unknown names are made from; another one in each process.
    secret: [u8; 32],
    known: RwLock<Known>,
}

struct Known {
    users: UsersFile,
    stamp: Option<Stamp>,
    looked_at: Instant,
}

/// What tells one state of the file from another.
type Stamp = (SystemTime, u64);

fn stamp_of(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Directory {
    /// Reads the file of users.
    ///
    /// # Errors
    /// `File` where it cannot be read, or is not a file of users; `Random`.
    pub fn open(path: &Path) -> Result<Self, AccessError> {
        Self::open_looking(path, LOOK_AGAIN_AFTER)
    }

    fn open_looking(path: &Path, look_again_after: Duration) -> Result<Self, AccessError> {
        let stamp = stamp_of(path);
        let users = UsersFile::read(path)?;
        let known = RwLock::new(Known { users, stamp, looked_at: Instant::now() });
        Ok(Self { path: path.to_owned(), look_again_after, secret: random_bytes()?, known })
    }

    /// Reads the file again where it has changed. One that cannot be read changes nothing: half an
    /// edit must not lock everybody out.
    fn refresh(&self) {
        if self.known.read().looked_at.elapsed() < self.look_again_after {
            return;
        }
        let mut known = self.known.write();
        known.looked_at = Instant::now();
        let stamp = stamp_of(&self.path);
        if stamp == known.stamp {
            return;
        }
        known.stamp = stamp;
        match UsersFile::read(&self.path) {
            Ok(users) => {
                tracing::info!(users = users.iter().count(), "the file of users was read again");
                known.users = users;
            }
            Err(error) => {
                tracing::error!(%error, "the file of users is not taken; those known before stay");
            }
        }
    }

    /// The user of a name.
    pub fn user(&self, name: &str) -> Option<User> {
        self.refresh();
        self.known.read().users.get(name).cloned()
    }

    /// The user who has this token.
    pub fn user_of_token(&self, token: &str) -> Option<User> {
        self.refresh();
        self.known.read().users.of_token(&TokenHash::of(token)).cloned()
    }

    /// What a password for this name is checked with. A name without a password gets one that no
    /// password fits, so that the exchange looks the same.
    ///
    /// # Errors
    /// `Invalid` where it cannot be computed.
    pub fn verifier(&self, name: &str) -> Result<Verifier, AccessError> {
        match self.user(name).and_then(|user| user.password) {
            Some(verifier) => Ok(verifier),
            None => Verifier::of_nobody(&self.secret, name),
        }
    }

    /// Whether somebody who signed in before is still a user, in the same role.
    pub fn still_knows(&self, caller: &Caller) -> bool {
        self.user(caller.name()).is_some_and(|user| Some(&user.role) == caller.role())
    }
}

#[cfg(test)]
mod tests {
    use crate::caller::Channel;
    use crate::role::Role;

    use super::*;

    #[test]
    fn changes_of_the_file_are_noticed_and_broken_ones_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        assert!(Directory::open(&path).is_err());
        std::fs::write(&path, "[[users]]\nname = \"amy\"\nrole = \"finance\"\n").unwrap();
        let directory = Directory::open_looking(&path, Duration::ZERO).unwrap();
        let amy = directory.user("amy").unwrap();
        let caller = Caller::of(&amy, Channel::Http, None);
        assert!(directory.still_knows(&caller));
        std::fs::write(&path, "[[users]]\nname = \"amy\"\nrole = \"bo").unwrap();
        assert!(directory.still_knows(&caller));
        std::fs::write(&path, "[[users]]\nname = \"amy\"\nrole = \"auditor\"\n").unwrap();
        assert!(!directory.still_knows(&caller));
        assert_eq!(directory.user("amy").unwrap().role, Role::Auditor);
        std::fs::write(&path, "").unwrap();
        assert_eq!(directory.user("amy"), None);
    }

    #[test]
    fn a_name_that_is_not_known_is_asked_as_one_that_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        std::fs::write(&path, "").unwrap();
        let directory = Directory::open(&path).unwrap();
        assert_eq!(directory.verifier("eve").unwrap(), directory.verifier("eve").unwrap());
        assert_ne!(directory.verifier("eve").unwrap(), directory.verifier("bob").unwrap());
    }
}
