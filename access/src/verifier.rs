//! SCRAM-SHA-256 verifiers: what is kept of a password. In the form of PostgreSQL's `pg_authid`,
//! so that a verifier can be taken over from there: `SCRAM-SHA-256$<i>:<salt>$<StoredKey>:<ServerKey>`.
//! Neither key lets anybody sign in who finds the file.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::error::AccessError;
use crate::random::random_bytes;

/// Rounds of the hash for new passwords. The client does the work at each sign-in: some tens of
/// milliseconds.
pub const ITERATIONS: u32 = 100_000;

/// Fewest rounds that RFC 7677 allows.
const ITERATIONS_MIN: u32 = 4_096;
/// Most rounds that a client can be asked for: seconds of its time.
const ITERATIONS_MAX: u32 = 10_000_000;

const MECHANISM: &str = "SCRAM-SHA-256";

pub(crate) type Key = [u8; 32];

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: Key,
    pub(crate) server_key: Key,
}

fn keyed(key: &[u8]) -> Result<Hmac<Sha256>, AccessError> {
    // Every length is a key; the type of the crate leaves it open.
    Hmac::new_from_slice(key).map_err(|error| AccessError::Invalid(error.to_string()))
}

/// HMAC-SHA-256.
pub(crate) fn hmac(key: &[u8], text: &[u8]) -> Result<Key, AccessError> {
    let mut mac = keyed(key)?;
    mac.update(text);
    Ok(mac.finalize().into_bytes().into())
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

/// `Hi` of RFC 5802: PBKDF2 with one block.
fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Result<Key, AccessError> {
    // As PostgreSQL does: what SASLprep refuses is taken as it is.
    let prepared = stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password));
    let mac = keyed(prepared.as_bytes())?;
    let mut first = mac.clone();
    first.update(salt);
    first.update(&1_u32.to_be_bytes());
    let mut round: Key = first.finalize().into_bytes().into();
    let mut sum = round;
    for _ in 1..iterations {
        let mut next = mac.clone();
        next.update(&round);
        round = next.finalize().into_bytes().into();
        for (sum, byte) in sum.iter_mut().zip(round) {
            *sum ^= byte;
        }
    }
    Ok(sum)
}

impl Verifier {
    /// Of a new password, with a salt of its own.
    ///
    /// # Errors
    /// `Random` where the system has no randomness.
    pub fn of_password(password: &str) -> Result<Self, AccessError> {
        Self::derive(password, &random_bytes::<16>()?, ITERATIONS)
    }

    /// Of a password with this salt and so many rounds.
    ///
    /// # Errors
    /// `Invalid` for rounds that are not allowed.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Result<Self, AccessError> {
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(AccessError::Invalid(format!(
                "{iterations} rounds: expected {ITERATIONS_MIN} to {ITERATIONS_MAX}"
            )));
        }
        let salted = salted_password(password, salt, iterations)?;
        Ok(Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(&hmac(&salted, b"Client Key")?),
            server_key: hmac(&salted, b"Server Key")?,
        })
    }

    /// One that nobody has the password of, for a name that is not known: the same salt each time,
    /// so that asking twice tells nothing.
    pub(crate) fn of_nobody(secret: &[u8], name: &str) -> Result<Self, AccessError> {
        let seed = hmac(secret, name.as_bytes())?;
        let salt = seed.iter().take(16).copied().collect();
        let stored_key = hmac(secret, &seed)?;
        Ok(Self { iterations: ITERATIONS, salt, stored_key, server_key: stored_key })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(hidden)")
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{MECHANISM}${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

impl FromStr for Verifier {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        // What was found is not repeated: it may be a password in the wrong place.
        let invalid = || {
            AccessError::Invalid(format!(
                "expected {MECHANISM}$<rounds>:<salt>$<StoredKey>:<ServerKey>, as `tally user add` writes it"
            ))
        };
        let rest = text.strip_prefix(MECHANISM).and_then(|rest| rest.strip_prefix('$'));
        let (head, keys) = rest.and_then(|rest| rest.split_once('$')).ok_or_else(invalid)?;
        let (iterations, salt) = head.split_once(':').ok_or_else(invalid)?;
        let (stored, server) = keys.split_once(':').ok_or_else(invalid)?;
        let iterations: u32 = iterations.parse().map_err(|_| invalid())?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(invalid());
        }
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| invalid());
        let key = |text: &str| Key::try_from(bytes(text)?).map_err(|_| invalid());
        let salt = bytes(salt)?;
        if salt.is_empty() {
            return Err(invalid());
        }
        Ok(Self { iterations, salt, stored_key: key(stored)?, server_key: key(server)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3: password `pencil`.
    #[test]
    fn the_keys_are_those_of_the_rfc() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::derive("pencil", &salt, 4_096).unwrap();
        // As PostgreSQL computes it for the same password and salt.
        assert_eq!(
            verifier.to_string(),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert_eq!(verifier.to_string().parse::<Verifier>().unwrap(), verifier);
        assert_ne!(Verifier::derive("pencil ", &salt, 4_096).unwrap(), verifier);
    }

    #[test]
    fn what_is_not_a_verifier_is_not_repeated() {
        for text in [
            "hunter2-hunter2",
            "SCRAM-SHA-256$1:hunter2$hunter2:hunter2",
            "SCRAM-SHA-256$4096:$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$hunter2:hunter2",
            "SCRAM-SHA-256$4294967295:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "",
        ] {
            let error = text.parse::<Verifier>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn nobody_has_one_salt() {
        let one = Verifier::of_nobody(b"secret", "eve").unwrap();
        assert_eq!(one, Verifier::of_nobody(b"secret", "eve").unwrap());
        assert_ne!(one.salt, Verifier::of_nobody(b"secret", "mallory").unwrap().salt);
        assert_ne!(one.salt, Verifier::of_nobody(b"other", "eve").unwrap().salt);
    }
}
