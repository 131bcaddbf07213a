//! The plain form of a JSON event, which nearly every gateway sends: one object of known fields,
//! texts without escapes, whole numbers. It is cut into the same fields and values that
//! `serde_json` finds, three times as fast; whatever looks different in any way is left to it.

use std::borrow::Cow;

use crate::event_json::{Field, ParsedEvent, Scalar, check_event, set_field};
use crate::token_class::{COUNT_MAX, TokenClass};

/// Reads an event into `parsed`, which is empty. `false` where the form is not plain: `parsed`
/// then holds a part of it and must be thrown away.
pub(crate) fn read_plain<'a>(bytes: &'a [u8], parsed: &mut ParsedEvent<'a>) -> bool {
    let Ok(text) = simdutf8::basic::from_utf8(bytes) else { return false };
    let mut cursor = Cursor { text, bytes, at: 0 };
    if cursor.event(parsed).is_none() {
        return false;
    }
    check_event(parsed);
    true
}

struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// After a member: whether another one follows.
    fn another(&mut self) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            b'}' => Some(false),
            _ => None,
        }
    }

    /// A text without escapes and control characters.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let from = self.at;
        let end = from + end_of_text(self.bytes.get(from..)?)?;
        self.at = end + 1;
        if self.bytes[end] != b'"' {
            return None;
        }
        self.text.get(from..end)
    }

    /// The next field and its colon. Gateways send the fields in one order, so the one after the
    /// last is tried first.
    fn field(&mut self, guess: usize) -> Option<Field> {
        if let Some(field) = Field::ALL.get(guess)
            && WORDS[guess].begins(self.bytes.get(self.at..)?)
        {
            self.at += MEMBERS[guess].len();
            return Some(*field);
        }
        let field = Field::from_name(self.string()?)?;
        self.expect(b':')?;
        Some(field)
    }

    /// A whole number of at most 18 digits, so that it cannot overflow.
    fn number(&mut self) -> Option<u64> {
        let from = self.at;
        let mut value = 0_u64;
        while let Some(digit) = self.bytes.get(self.at).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            if self.at - from == 18 {
                return None;
            }
            value = value * 10 + u64::from(digit);
            self.at += 1;
        }
        let digits = self.at - from;
        let leading_zero = digits > 1 && self.bytes[from] == b'0';
        // What follows tells whether it was all of the number.
        let ends = matches!(self.peek()?, b',' | b'}');
        (digits > 0 && !leading_zero && ends).then_some(value)
    }

    fn event(&mut self, parsed: &mut ParsedEvent<'a>) -> Option<()> {
        self.expect(b'{')?;
        let mut seen = 0_u32;
        let mut guess = 0;
        loop {
            let field = self.field(guess)?;
            guess = field as usize + 1;
            let bit = 1_u32 << field as u32;
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            match (field, self.peek()?) {
                (Field::Labels, _) => return None,
                (Field::Usage, _) => self.usage(parsed)?,
                (field, b'"') => {
                    let value = Scalar::Text(Cow::Borrowed(self.string()?));
                    set_field(parsed, field, value);
                }
                (field, _) => {
                    let value = Scalar::Unsigned(self.number()?);
                    set_field(parsed, field, value);
                }
            }
            if !self.another()? {
                break;
            }
        }
        let complete = self.peek().is_none() && seen & (1 << Field::Usage as u32) != 0;
        complete.then_some(())
    }

    fn usage(&mut self, parsed: &mut ParsedEvent<'a>) -> Option<()> {
        self.expect(b'{')?;
        let usage = &mut parsed.event.usage;
        usage.set(TokenClass::Requests, 1);
        let mut seen = 0_u32;
        let mut total = None;
        loop {
            let key = self.string()?;
            let class = TokenClass::from_name(key);
            if class.is_none() && key != "total" {
                return None;
            }
            let bit = 1_u32 << class.map_or(31, TokenClass::index);
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            self.expect(b':')?;
            self.peek()?;
            let count = self.number().filter(|count| *count <= COUNT_MAX)?;
            match class {
                Some(class) => usage.set(class, count),
                None => total = Some(count),
            }
            if !self.another()? {
                break;
            }
        }
        let named = seen & !(1 << 31) != 0;
        (named && total.is_none_or(|total| total == usage.token_total())).then_some(())
    }
}

/// [`Field::ALL`] as they stand in compact JSON.
const MEMBERS: [&str; 21] = [
    "\"source\":",
    "\"id\":",
    "\"account\":",
    "\"subscriber\":",
    "\"model\":",
    "\"vendor\":",
    "\"started_at\":",
    "\"completed_at\":",
    "\"usage\":",
    "\"finish_reason\":",
    "\"region\":",
    "\"channel\":",
    "\"gateway_seq\":",
    "\"gateway_epoch\":",
    "\"billed_model\":",
    "\"supplier\":",
    "\"usage_source\":",
    "\"service_tier\":",
    "\"product\":",
    "\"vendor_request_id\":",
    "\"labels\":",
];

/// [`MEMBERS`] as integers.
const WORDS: [Words; MEMBERS.len()] = {
    let mut words = [Words::of(""); MEMBERS.len()];
    let mut at = 0;
    while at < MEMBERS.len() {
        words[at] = Words::of(MEMBERS[at]);
        at += 1;
    }
    words
};

/// A text of at most 24 bytes as three integers of eight bytes each, which overlap where it is
/// shorter and together cover it.
#[derive(Clone, Copy)]
struct Words {
    /// Where the middle and the last one begin.
    places: [usize; 2],
    words: [u64; 3],
    /// Which bits count: all, unless the text is shorter than one integer.
    mask: u64,
}

impl Words {
    const fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        assert!(bytes.len() <= 24);
        let last = bytes.len().saturating_sub(8);
        let middle = if last < 8 { last } else { 8 };
        let mask = if bytes.len() < 8 { (1 << (8 * bytes.len())) - 1 } else { u64::MAX };
        let words = [word(bytes, 0), word(bytes, middle), word(bytes, last)];
        Self { places: [middle, last], words, mask }
    }

    /// Whether `bytes` begin with the text. `false` too where they end less than eight bytes after
    /// their start.
    fn begins(&self, bytes: &[u8]) -> bool {
        let [middle, last] = self.places;
        let Some(bytes) = bytes.get(..last + 8) else { return false };
        let at = |place: usize| bytes[place..].first_chunk().copied().map(u64::from_le_bytes);
        let [Some(first), Some(middle), Some(last)] = [at(0), at(middle), at(last)] else {
            return false;
        };
        let [a, b, c] = self.words;
        ((first ^ a) | (middle ^ b) | (last ^ c)) & self.mask == 0
    }
}

/// Up to eight bytes from a place on as an integer.
const fn word(bytes: &[u8], from: usize) -> u64 {
    let mut word = 0;
    let mut at = from;
    while at < bytes.len() && at < from + 8 {
        word |= (bytes[at] as u64) << (8 * (at - from));
        at += 1;
    }
    word
}

/// Where a plain text ends: at a quote, or at what makes it not plain. Eight bytes at a time
/// (Mycroft's test for a zero byte: bytes above the first hit may be marked in error, those below
/// are not).
fn end_of_text(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = zero(word ^ (ONES * u64::from(b'"')))
            | zero(word ^ (ONES * u64::from(b'\\')))
            | control;
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    rest.iter().position(ends).map(|length| at + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event_json::{parse_event, parse_event_by_serde};

    const EVENT: &str = r#"{"source":"gw-sh-01","id":"req-7f3a","account":"A000012345",
        "subscriber":"S000012345","model":"deepseek-v4-flash","billed_model":"deepseek-flash",
        "vendor":"deepseek","supplier":"bailian","started_at":1795326155827,
        "completed_at":"2026-11-22T14:22:37.827+08:00","usage":{"input":434,"cached_input":800,
        "output":345,"reasoning":120,"requests":1,"total":1579},"usage_source":"reported",
        "finish_reason":"stop","service_tier":"standard","region":"上海","channel":"app",
        "product":"photo-cutout","vendor_request_id":"chatcmpl-1","gateway_epoch":3,
        "gateway_seq":123456}"#;

    #[test]
    fn a_plain_event_is_read_here() {
        let mut parsed = ParsedEvent::default();
        assert!(read_plain(EVENT.as_bytes(), &mut parsed));
        assert_eq!(parsed, parse_event_by_serde(EVENT.as_bytes()));
        assert_eq!(parsed.errors, []);
    }

    #[test]
    fn members_are_the_fields() {
        assert_eq!(Field::ALL.len(), MEMBERS.len());
        for (field, member) in Field::ALL.into_iter().zip(MEMBERS) {
            assert_eq!(format!("{:?}:", field.name()), member);
        }
    }

    #[test]
    fn members_are_found_as_they_stand_and_nothing_else_is() {
        for (member, words) in MEMBERS.into_iter().zip(WORDS) {
            let text = format!("{member}\"some value that follows\"");
            assert!(words.begins(text.as_bytes()), "{member}");
            for at in 0..member.len() {
                let mut other = text.clone().into_bytes();
                other[at] ^= 0x20;
                assert!(!words.begins(&other), "{member} with another byte {at}");
            }
            for length in 0..member.len() {
                assert!(!words.begins(&text.as_bytes()[..length]), "{length} bytes of {member}");
            }
        }
    }

    #[test]
    fn the_end_of_a_text_is_found_wherever_it_is() {
        for length in 0..40 {
            for (last, filler) in [(b'"', b'x'), (b'\\', 0xff), (0x1f, 0x20), (b'"', 0x80)] {
                let mut bytes = vec![filler; length];
                assert_eq!(end_of_text(&bytes), None);
                bytes.push(last);
                bytes.extend([b'"'; 9]);
                assert_eq!(end_of_text(&bytes), Some(length), "{last} after {length} of {filler}");
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_left_alone() {
        for (from, to) in [
            ("gw-sh-01", r"gw\u002dsh"),
            ("434", "4.0"),
            ("434", "-1"),
            ("434", "1e3"),
            ("434", "0434"),
            ("434", "9007199254740993"),
            ("434", "1234567890123456789"),
            ("1579", "1580"),
            ("\"output\"", "\"outputs\""),
            ("\"output\"", "\"input\""),
            ("\"region\"", "\"labels\""),
            ("\"region\"", "\"city\""),
            ("\"region\"", "\"channel\""),
            ("3,", "null,"),
            ("123456}", "123456}}"),
            ("123456}", "123456},"),
            ("123456}", "123456,}"),
            ("123456}", "123456"),
            ("req-7f3a", "req\t7f3a"),
        ] {
            let text = EVENT.replacen(from, to, 1);
            assert_ne!(text, EVENT);
            assert!(!read_plain(text.as_bytes(), &mut ParsedEvent::default()), "{from} -> {to}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        /// Whatever is read here is read the same by `serde_json`, errors and their order included.
        #[test]
        fn spoiled_events_are_read_alike(
            spots in prop::collection::vec((0..EVENT.len(), 0..SPOILERS.len(), 0..3_usize), 0..4),
        ) {
            let mut bytes = EVENT.as_bytes().to_vec();
            for (at, spoiler, removed) in spots {
                let at = at.min(bytes.len());
                let end = (at + removed).min(bytes.len());
                bytes.splice(at..end, SPOILERS[spoiler].bytes());
            }
            let mut parsed = ParsedEvent::default();
            if read_plain(&bytes, &mut parsed) {
                prop_assert_eq!(parsed, parse_event_by_serde(&bytes));
            }
        }

        /// Any bytes are an event, or have a defect that is told.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let parsed = parse_event(&bytes);
            prop_assert!(!parsed.errors.is_empty());
        }
    }

    const SPOILERS: [&str; 18] = [
        "",
        " ",
        "\"",
        "0",
        "7",
        "-",
        ".",
        "e",
        ",",
        ":",
        "{",
        "}",
        "\\",
        "\u{1}",
        "null",
        "\n",
        "上",
        "\"id\":1,",
    ];
}
