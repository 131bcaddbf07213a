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
    without_xml(words)
}

/// Words of an S3 server without what its XML says beside code and message: of a signature that does
/// not match it repeats the request, byte by byte.
fn without_xml(words: String) -> String {
    let Some((before, xml)) = words.split_once("<Error>") else { return words };
    let Some((xml, after)) = xml.rsplit_once("</Error>") else { return words };
    let of = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    let Some(code) = of("Code") else { return words };
    // The declaration ends in a line of its own.
    let before = before.rsplit_once("<?xml").map_or(before, |(before, _)| before).trim_end();
    let message = of("Message").unwrap_or_default();
    format!("{before} {code}: {message}{after}").trim_end().to_owned()
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
    fn of_xml_code_and_message_are_left() {
        let said = "PUT a - 403 Forbidden: <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied.</Message><RequestId>1</RequestId></Error> for b";
        let wanted = "PUT a - 403 Forbidden: AccessDenied: Access Denied. for b";
        assert_eq!(without_xml(said.to_owned()), wanted);
        for other in ["", "no <xml>", "<Error>", "<Error></Error>", "<Error><Code></Error>"] {
            assert_eq!(without_xml(other.to_owned()), other);
        }
    }

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
