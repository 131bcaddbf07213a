//! Bytes as recorded traffic; the first byte names the format, as a digit.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tally_generate::{Format, Recording, ReplayOptions};

fuzz_target!(|bytes: &[u8]| {
    let Some((number, bytes)) = bytes.split_first() else { return };
    let format = Format::ALL[usize::from(*number) % Format::ALL.len()];
    let options = ReplayOptions { end_ms: 1_795_326_157_827, name: "fuzz".to_owned() };
    let Ok(recording) = Recording::read(format, Box::new(Cursor::new(bytes.to_vec())), options)
    else {
        return;
    };
    for event in recording {
        if let Err(error) = event {
            assert!(!error.to_string().is_empty());
            break;
        }
    }
});
