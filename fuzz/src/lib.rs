//! What the fuzz targets share: how an input is cut into pieces, and the reference data they use.

mod zip;

use std::sync::LazyLock;

use tally_aggregate::ReferenceData;

pub use zip::stored_zip;

/// Stands between the pieces of an input: the record separator of ASCII, which no JSON, TOML or CSV
/// needs, so that seeds are texts.
pub const SEPARATOR: u8 = 0x1e;

/// The pieces of an input.
pub fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == SEPARATOR)
}

/// The reference data that ships with Tally.
pub fn shipped() -> ReferenceData {
    static SHIPPED: LazyLock<ReferenceData> =
        LazyLock::new(|| ReferenceData::shipped().expect("what ships can be read"));
    SHIPPED.clone()
}
