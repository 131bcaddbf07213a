//! The file of users: TOML, a table a user, no password and no token in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::AccessError;
use crate::token::TokenHash;
use crate::user::{User, check_name};

/// What stands above the users in a file that was written here.
const HEAD: &str = "# Users, written by `tally user`. Passwords and tokens are only here as what they are \
                    checked with.\n\n";

/// The users of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsersFile {
    users: BTreeMap<String, User>,
}

/// A file as TOML has it.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    users: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_sha256: Option<String>,
}

impl Entry {
    fn user(self) -> Result<User, AccessError> {
        check_name(&self.name)?;
        Ok(User {
            role: self.role.parse()?,
            password: self.password.map(|text| text.parse()).transpose()?,
            token: self.token_sha256.map(|text| text.parse()).transpose()?,
            name: self.name,
        })
    }
}

impl UsersFile {
    /// Reads a text.
    ///
    /// # Errors
    /// `Invalid` for what is not a file of users: an unknown key, a name twice, one token for two.
    pub fn from_toml(text: &str) -> Result<Self, AccessError> {
        // A parser's error shows the line that it is about, which may have a verifier in it.
        let document: Document = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1
            });
            AccessError::Invalid(format!("line {line}: {}", error.message()))
        })?;
        let mut file = Self::default();
        let mut tokens = BTreeSet::new();
        for entry in document.users {
            let name = entry.name.clone();
            let user = entry
                .user()
                .map_err(|error| AccessError::Invalid(format!("user {name:?}: {error}")))?;
            if user.token.is_some_and(|token| !tokens.insert(token.to_string())) {
                return Err(AccessError::Invalid(format!("user {name:?}: another has this token")));
            }
            if file.users.insert(name.clone(), user).is_some() {
                return Err(AccessError::Invalid(format!("user {name:?} is there twice")));
            }
        }
        Ok(file)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// `Invalid` where it has no form in TOML.
    pub fn to_toml(&self) -> Result<String, AccessError> {
        let users = self.users.values().map(|user| Entry {
            name: user.name.clone(),
            role: user.role.to_string(),
            password: user.password.as_ref().map(ToString::to_string),
            token_sha256: user.token.as_ref().map(ToString::to_string),
        });
        let text = toml::to_string(&Document { users: users.collect() });
        let text = text.map_err(|error| AccessError::Invalid(error.to_string()))?;
        Ok(format!("{HEAD}{text}"))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `File` with the file's name.
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let text = std::fs::read_to_string(path).map_err(|error| AccessError::file(path, error))?;
        Self::from_toml(&text).map_err(|error| AccessError::file(path, error))
    }

    /// Writes the file whole or not at all, readable by its owner only.
    ///
    /// # Errors
    /// `File` with the file's name.
    pub fn write(&self, path: &Path) -> Result<(), AccessError> {
        let failed = |error: std::io::Error| AccessError::file(path, error);
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let text = self.to_toml()?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside).map_err(failed)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&beside, path));
        if written.is_err() {
            // Half a file is of no use to anybody, and the next attempt needs its place.
            drop(std::fs::remove_file(&beside));
        }
        written.map_err(failed)
    }

    /// The user of a name.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The user who has this token. Every user is looked at, whoever matches.
    pub fn of_token(&self, token: &TokenHash) -> Option<&User> {
        let mut found = None;
        for user in self.users.values() {
            if user.token.is_some_and(|own| own.matches(token)) {
                found = Some(user);
            }
        }
        found
    }

    /// Every user, by name.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Puts a user in, and gives back the one of the same name.
    ///
    /// # Errors
    /// `Invalid` for a name that cannot be one.
    pub fn insert(&mut self, user: User) -> Result<Option<User>, AccessError> {
        check_name(&user.name)?;
        Ok(self.users.insert(user.name.clone(), user))
    }

    /// Takes a user out.
    pub fn remove(&mut self, name: &str) -> Option<User> {
        self.users.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use crate::role::Role;
    use crate::token::Token;
    use crate::verifier::Verifier;

    use super::*;

    fn user(name: &str, role: Role) -> User {
        User { name: name.to_owned(), role, password: None, token: None }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_has_no_secret_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let token = Token::generate().unwrap();
        let password = Verifier::derive("correct horse battery", b"salt", 4_096).unwrap();
        let mut file = UsersFile::default();
        let amy = User { password: Some(password), ..user("amy", Role::Finance) };
        let gateway = User { token: Some(token.hash()), ..user("gw-1", Role::Gateway) };
        let vendor = user("v", Role::Vendor("deepseek".to_owned()));
        for user in [amy.clone(), gateway.clone(), vendor] {
            assert_eq!(file.insert(user).unwrap(), None);
        }
        file.write(&path).unwrap();
        file.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("horse") && !text.contains(token.expose()), "{text}");
        let read = UsersFile::read(&path).unwrap();
        assert_eq!(read, file);
        assert_eq!(read.get("amy"), Some(&amy));
        assert_eq!(read.of_token(&TokenHash::of(token.expose())), Some(&gateway));
        assert_eq!(read.of_token(&TokenHash::of("")), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let hash = Token::generate().unwrap().hash();
        let twice = format!(
            "[[users]]\nname = \"a\"\nrole = \"gateway\"\ntoken_sha256 = \"{hash}\"\n[[users]]\nname = \"b\"\nrole = \"gateway\"\ntoken_sha256 = \"{hash}\"\n"
        );
        for (text, words) in [
            ("[[users]]\nname = \"a\"\nrole = \"boss\"\n", "role \"boss\""),
            ("[[users]]\nname = \"a\"\n", "line 1"),
            ("[[users]]\nname = \"A\"\nrole = \"finance\"\n", "a name has"),
            ("[[users]]\nname = \"a\"\nrole = \"finance\"\npassword = \"hunter2\"\n", "SCRAM"),
            ("[[users]]\nname = \"a\"\nrole = \"finance\"\ntoken = \"hunter2\"\n", "line 4"),
            ("[[users]]\nname = \"a\"\nrole = \"finance\"\ntoken_sha256 = \"hunter2\"\n", "64"),
            ("[[users]]\nname = \"a\"\nrole = \"finance\"\npassword = hunter2\n", "line 4"),
            (twice.as_str(), "another has this token"),
            (
                "[[users]]\nname = \"a\"\nrole = \"finance\"\n[[users]]\nname = \"a\"\nrole = \"auditor\"\n",
                "twice",
            ),
        ] {
            let error = UsersFile::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
        assert_eq!(UsersFile::from_toml("").unwrap(), UsersFile::default());
    }
}
