//! Salts, nonces and tokens come from the system.

use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::error::AccessError;

/// `N` random bytes.
///
/// # Errors
/// `Random` where the system has none.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0_u8; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| AccessError::Random(error.to_string()))?;
    Ok(bytes)
}
