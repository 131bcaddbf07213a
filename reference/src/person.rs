//! Names of people who import and approve, as far as four eyes need them.

use crate::error::ReferenceError;

/// A name that can be told from others.
///
/// # Errors
/// `Usage` where there is none.
pub(crate) fn named(text: &str) -> Result<String, ReferenceError> {
    let name = text.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        let message = "--by needs the name of the person who does this";
        return Err(ReferenceError::Usage(message.to_owned()));
    }
    Ok(name.to_owned())
}

/// Whether two names are one person's: case and blanks do not make somebody else of anybody.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let plain = |name: &str| -> String {
        name.split_whitespace().flat_map(str::chars).flat_map(char::to_lowercase).collect()
    };
    plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_blanks_do_not_make_another_person() {
        assert!(same("Alice Wu", " alice  wu ") && same("王 芳", "王芳"));
        assert!(!same("alice", "alicia"));
        assert!(named(" \t").is_err() && named("a\nb").is_err());
        assert_eq!(named(" alice ").unwrap(), "alice");
    }
}
