//! Names of people who import and approve.

use tally_settlement::person_name;

use crate::error::ReferenceError;

/// A name that can be told from others.
///
/// # Errors
/// `Usage` where there is none.
pub(crate) fn named(text: &str) -> Result<String, ReferenceError> {
    let name = person_name(text).ok_or_else(|| {
        let message = "--by needs the name of the person who does this";
        ReferenceError::Usage(message.to_owned())
    })?;
    Ok(name.to_owned())
}
