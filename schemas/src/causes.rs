//! Errors with what is behind them: a client says "error sending request", and only its cause that
//! nobody trusts the certificate.

use std::error::Error;

/// An error and every cause of it, in one line.
pub fn in_full(error: &dyn Error) -> String {
    with_causes(error.to_string(), error)
}

/// Words for an error, and every cause of it that they do not have yet.
pub fn with_causes(mut words: String, error: &dyn Error) -> String {
    let mut cause = error.source();
    while let Some(behind) = cause {
        let said = behind.to_string();
        if !words.contains(&said) {
            words.push_str(": ");
            words.push_str(&said);
        }
        cause = behind.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("invalid peer certificate: UnknownIssuer")]
    struct Untrusted;

    #[derive(Debug, thiserror::Error)]
    #[error("error sending request")]
    struct NotSent(#[source] Untrusted);

    /// Says its cause, and has it as well.
    #[derive(Debug, thiserror::Error)]
    #[error("PUT probe: {0}")]
    struct Away(#[source] NotSent);

    #[test]
    fn every_cause_is_said_once() {
        let error = Away(NotSent(Untrusted));
        let wanted = "PUT probe: error sending request: invalid peer certificate: UnknownIssuer";
        assert_eq!(in_full(&error), wanted);
        let words = with_causes("no answer".to_owned(), &error.0);
        assert_eq!(words, "no answer: invalid peer certificate: UnknownIssuer");
        assert_eq!(in_full(&Untrusted), Untrusted.to_string());
    }
}
