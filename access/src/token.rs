//! Bearer tokens. A token has 256 random bits, so that its SHA-256 tells nothing of it and needs no
//! salt and no slow hash: nobody can go through the candidates. Only the hash is kept.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::AccessError;
use crate::random::random_bytes;

/// How a token begins, so that one that got into a file is recognized.
const PREFIX: &str = "tally_";

/// A new token, to be shown once.
pub struct Token(String);

impl Token {
    /// Makes one.
    ///
    /// # Errors
    /// `Random` where the system has no randomness.
    pub fn generate() -> Result<Self, AccessError> {
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()?))))
    }

    /// The text that goes into `Authorization: Bearer`.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// SHA-256 of a token.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of what somebody sent.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other)
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(hidden)")
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for TokenHash {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let invalid = || AccessError::Invalid("a token hash has 64 hexadecimal digits".to_owned());
        // A sign would be read as part of a number.
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut hash = [0_u8; 32];
        for (place, byte) in hash.iter_mut().enumerate() {
            let digits = text.get(2 * place..2 * place + 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_matches_its_hash() {
        let (token, other) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert!(token.expose().starts_with("tally_") && token.expose().len() == 6 + 43);
        assert!(TokenHash::of(token.expose()).matches(&token.hash()));
        assert!(!other.hash().matches(&token.hash()));
        assert!(!TokenHash::of(&token.expose()[..48]).matches(&token.hash()));
        assert_eq!(token.hash().to_string().parse::<TokenHash>().unwrap(), token.hash());
    }

    #[test]
    fn a_hash_is_hexadecimal_and_whole() {
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenHash::of("abc").to_string(), wanted);
        for text in ["", "ba", &wanted[1..], &wanted.replace('b', "+"), &"上".repeat(22)] {
            assert!(text.parse::<TokenHash>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let token = Token::generate().unwrap();
        assert!(!format!("{token:?} {:?}", token.hash()).contains(&token.expose()[6..12]));
    }
}
