//! Which trace a record belongs to: the W3C trace context of a request, as a header.

use std::fmt;

/// Header of a record with the trace context of a request that it is of.
pub const TRACE_HEADER: &str = "traceparent";

/// Length of a trace context: version, trace, parent and flags in hexadecimal.
const LENGTH: usize = 55;

/// A trace context that somebody wants to be followed (the flag `sampled` is set), as
/// `00-TRACE-PARENT-01`: <https://www.w3.org/TR/trace-context/>.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceParent([u8; LENGTH]);

impl TraceParent {
    /// Reads a header. `None` where it is no trace context, or none that is followed.
    pub fn of(header: &[u8]) -> Option<Self> {
        let text: [u8; LENGTH] = header.try_into().ok()?;
        let is_hex = |from: usize, to: usize| {
            text[from..to].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_nought = |from: usize, to: usize| text[from..to].iter().all(|byte| *byte == b'0');
        let shaped = text.starts_with(b"00-") && text[35] == b'-' && text[52] == b'-';
        let named = is_hex(3, 35) && is_hex(36, 52) && is_hex(53, 55);
        if !shaped || !named || is_nought(3, 35) || is_nought(36, 52) {
            return None;
        }
        // The last hexadecimal digit holds the flag in its lowest bit.
        let sampled = matches!(text[54], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f');
        sampled.then_some(Self(text))
    }

    /// As it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The trace, 32 hexadecimal digits.
    pub fn trace(&self) -> &str {
        std::str::from_utf8(&self.0[3..35]).unwrap_or_default()
    }

    /// The span that goes on here, 16 hexadecimal digits.
    pub fn span(&self) -> &str {
        std::str::from_utf8(&self.0[36..52]).unwrap_or_default()
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// A record whose request is traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedRecord {
    /// Position in the partition.
    pub offset: u64,
    /// The trace that it belongs to.
    pub parent: TraceParent,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_trace_that_is_followed_is_one() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::of(text.as_bytes()).unwrap();
        assert_eq!(parent.trace(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span(), "00f067aa0ba902b7");
        assert_eq!(parent.as_bytes(), text.as_bytes());
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::of(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_or_none(bytes: Vec<u8>) {
            if let Some(parent) = TraceParent::of(&bytes) {
                prop_assert_eq!(parent.as_bytes(), bytes.as_slice());
            }
        }
    }
}
