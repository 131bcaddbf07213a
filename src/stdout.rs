//! Results on standard output. A reader that has seen enough, such as `head`, is no failure.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::exit::Failure;

/// Prints a result and a line break.
pub(crate) fn print(result: impl Display) -> Result<(), Failure> {
    print_bytes(format!("{result}\n").as_bytes())
}

/// Prints a part of a result as it is.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::internal(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
