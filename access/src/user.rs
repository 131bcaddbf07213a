//! One user.

use crate::error::AccessError;
use crate::role::Role;
use crate::token::TokenHash;
use crate::verifier::Verifier;

/// Longest name of a user, bytes.
const NAME_MAX_BYTES: usize = 64;
/// Shortest password, characters.
const PASSWORD_MIN_CHARS: usize = 12;
/// Longest password, bytes.
const PASSWORD_MAX_BYTES: usize = 1_024;

/// One user, and what they prove themselves with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// What they are.
    pub role: Role,
    /// For the PostgreSQL wire.
    pub password: Option<Verifier>,
    /// For HTTP.
    pub token: Option<TokenHash>,
}

/// Checks the name of a user. `local` is nobody's: it is how the audit log calls a process without
/// users.
///
/// # Errors
/// `Invalid` for what is not 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`.
pub fn check_name(name: &str) -> Result<(), AccessError> {
    let letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
    };
    let fine = (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(letter);
    match name {
        "local" => Err(AccessError::Invalid("the name local is taken".to_owned())),
        _ if fine => Ok(()),
        _ => Err(AccessError::Invalid(format!(
            "user {name:?}: a name has 1 to {NAME_MAX_BYTES} of a-z, 0-9, '.', '_' and '-'"
        ))),
    }
}

/// Checks that a password is worth keeping.
///
/// # Errors
/// `Invalid` for one that is too short or too long, or has control characters in it.
pub fn check_password(password: &str) -> Result<(), AccessError> {
    let words = if password.chars().count() < PASSWORD_MIN_CHARS {
        format!("a password has at least {PASSWORD_MIN_CHARS} characters")
    } else if password.len() > PASSWORD_MAX_BYTES {
        format!("a password has at most {PASSWORD_MAX_BYTES} bytes")
    } else if password.chars().any(char::is_control) {
        "a password has no control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(AccessError::Invalid(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords() {
        for name in ["amy", "gw-sh-01", "a.b_c"] {
            assert_eq!(check_name(name), Ok(()));
        }
        let long = "a".repeat(65);
        for name in ["", "Amy", "a b", "a:b", "local", "é", &long] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(check_password("correct horse"), Ok(()));
        assert_eq!(check_password("十二个字符的密码也可以用"), Ok(()));
        let long = "a".repeat(1_025);
        for password in ["", "short", "twelve\nchars!", &long] {
            let error = check_password(password).unwrap_err().to_string();
            assert!(password.is_empty() || !error.contains(password), "{error}");
        }
    }
}
