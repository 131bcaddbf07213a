//! The plain form of a JSON event, which nearly every gateway sends: one object of known fields,
//! texts without escapes, whole numbers. It is cut into the same fields and values that
//! `serde_json` finds, three times as fast; whatever looks different in any way is left to it.

use std::borrow::Cow;

use crate::byte_words::{
    POWERS_OF_TEN, Words, are_simple, end_of_text, leading_number, next_quote,
};
use crate::event_json::{
    Field, ParsedEvent, Scalar, TEXT_MAX_BYTES, TIME_MAX_MS, check_event, set_field,
};
use crate::token_class::{CLASS_COUNT, COUNT_MAX, TokenClass};
use crate::usage_event::UsageSource;

/// Reads an event into `parsed`, which is empty. `false` where the form is not plain: `parsed`
/// then holds a part of it and must be thrown away.
pub(crate) fn read_plain<'a>(bytes: &'a [u8], parsed: &mut ParsedEvent<'a>) -> bool {
    let Ok(text) = simdutf8::basic::from_utf8(bytes) else { return false };
    let mut cursor = Cursor::new(text);
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
    /// Whether every text ends at the next quote.
    simple: bool,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        Self { text, bytes, at: 0, simple: are_simple(bytes) }
    }

    /// The next byte that is not white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.peek_behind_space(),
        }
    }

    #[cold]
    fn peek_behind_space(&mut self) -> Option<u8> {
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
    #[inline(never)]
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        self.text_to_quote()
    }

    /// The same behind its opening quote.
    #[inline(always)]
    fn text_to_quote(&mut self) -> Option<&'a str> {
        let from = self.at;
        let rest = self.bytes.get(from..)?;
        let end = from + if self.simple { next_quote(rest)? } else { end_of_text(rest)? };
        if !self.simple && self.bytes[end] != b'"' {
            return None;
        }
        self.at = end + 1;
        self.text.get(from..end)
    }

    /// Whether a member of this name comes next, with its colon; then it is passed.
    fn passes(&mut self, name: &Words) -> bool {
        let is_next = self.bytes.get(self.at..).is_some_and(|rest| name.begins(rest));
        if is_next {
            self.at += name.length;
        }
        is_next
    }

    /// The next field and its colon. Gateways send the fields in one order, so the one after the
    /// last is tried first.
    fn field(&mut self, guess: usize) -> Option<Field> {
        if let Some(field) = Field::ALL.get(guess)
            && self.passes(&WORDS[guess])
        {
            return Some(*field);
        }
        let field = Field::from_name(self.string()?)?;
        self.expect(b':')?;
        Some(field)
    }

    /// The next class and its colon, tried as [`Self::field`] is; `None` in it is the total.
    fn class(&mut self, guess: TokenClass) -> Option<Option<TokenClass>> {
        if self.passes(&CLASS_WORDS[guess.index()]) {
            return Some(Some(guess));
        }
        let key = self.string()?;
        let class = TokenClass::from_name(key);
        if class.is_none() && key != "total" {
            return None;
        }
        self.expect(b':')?;
        Some(class)
    }

    /// A whole number of at most 18 digits, so that it cannot overflow. Whether it was all of the
    /// number tells what follows, which is a comma or a bracket then.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let from = self.at;
        let rest = self.bytes.get(from..)?;
        let (mut value, mut digits) = (0_u64, 0);
        while let Some(eight) = rest.get(digits..).and_then(<[u8]>::first_chunk) {
            let (more, part) = leading_number(u64::from_le_bytes(*eight));
            // Beyond 18 digits it is refused below, whatever came out.
            value = value.wrapping_mul(POWERS_OF_TEN[more]).wrapping_add(part);
            digits += more;
            if more < 8 || digits > 18 {
                break;
            }
        }
        while let Some(digit) = rest.get(digits).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            digits += 1;
        }
        self.at += digits;
        let leading_zero = digits > 1 && rest.first() == Some(&b'0');
        (matches!(digits, 1..=18) && !leading_zero).then_some(value)
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
                    self.at += 1;
                    set_plain_text(parsed, field, self.text_to_quote()?)?;
                }
                (field, _) => set_plain_number(parsed, field, self.number()?)?,
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
        let mut guess = TokenClass::Input;
        self.peek()?;
        loop {
            let class = self.class(guess)?;
            let bit = 1_u32 << class.map_or(31, TokenClass::index);
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            self.peek()?;
            let count = self.number().filter(|count| *count <= COUNT_MAX)?;
            match class {
                Some(class) => {
                    usage.set(class, count);
                    guess = likely_after(class);
                }
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

/// The class that gateways mostly name after another one: those that few models have are left out.
const fn likely_after(class: TokenClass) -> TokenClass {
    match class {
        TokenClass::Input => TokenClass::CachedInput,
        TokenClass::CachedInput | TokenClass::CacheWrite1h => TokenClass::Output,
        TokenClass::CacheWrite5m => TokenClass::CacheWrite1h,
        TokenClass::Output => TokenClass::Reasoning,
        _ => TokenClass::Requests,
    }
}

/// Sets a field to a text, the first time that it is named. `None` where there is more to say of it
/// than its value. The empty text is an absent one.
fn set_plain_text<'a>(parsed: &mut ParsedEvent<'a>, field: Field, text: &'a str) -> Option<()> {
    if text.is_empty() || text.len() > TEXT_MAX_BYTES {
        return text.is_empty().then_some(());
    }
    let event = &mut parsed.event;
    let value = Cow::Borrowed(text);
    match field {
        Field::Source => event.source = value,
        Field::Id => event.id = value,
        Field::Account => event.account = value,
        Field::Model => event.model = value,
        Field::Subscriber => event.subscriber = Some(value),
        Field::Vendor => event.vendor = Some(value),
        Field::BilledModel => event.billed_model = Some(value),
        Field::Supplier => event.supplier = Some(value),
        Field::FinishReason => event.finish_reason = Some(value),
        Field::Region => event.region = Some(value),
        Field::Channel => event.channel = Some(value),
        Field::ServiceTier => event.service_tier = Some(value),
        Field::Product => event.product = Some(value),
        Field::VendorRequestId => event.vendor_request_id = Some(value),
        Field::UsageSource => event.usage_source = UsageSource::from_name(text)?,
        Field::StartedAt | Field::CompletedAt => set_field(parsed, field, Scalar::Text(value)),
        Field::GatewaySeq | Field::GatewayEpoch | Field::Usage | Field::Labels => return None,
    }
    Some(())
}

/// Sets a field to a number, as [`set_plain_text`] does.
fn set_plain_number(parsed: &mut ParsedEvent<'_>, field: Field, number: u64) -> Option<()> {
    let event = &mut parsed.event;
    let time = || Some(number.cast_signed()).filter(|ms| *ms <= TIME_MAX_MS);
    let count = || Some(number).filter(|count| *count <= COUNT_MAX);
    match field {
        Field::StartedAt => event.started_at_ms = Some(time()?),
        Field::CompletedAt => event.completed_at_ms = Some(time()?),
        Field::GatewayEpoch => event.gateway_epoch = Some(count()?),
        Field::GatewaySeq => event.gateway_seq = Some(count()?),
        _ => return None,
    }
    Some(())
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
const WORDS: [Words; MEMBERS.len()] = Words::of_all(MEMBERS);

/// Names of the classes as they stand in compact JSON, in the order of [`TokenClass::ALL`].
const CLASSES: [&str; CLASS_COUNT] = [
    "\"input\":",
    "\"cached_input\":",
    "\"cache_write_5m\":",
    "\"cache_write_1h\":",
    "\"output\":",
    "\"reasoning\":",
    "\"audio_input\":",
    "\"audio_output\":",
    "\"image_input\":",
    "\"image_output\":",
    "\"requests\":",
    "\"images\":",
    "\"seconds\":",
    "\"characters\":",
];

/// [`CLASSES`] as integers.
const CLASS_WORDS: [Words; CLASS_COUNT] = Words::of_all(CLASSES);

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
        for (class, member) in TokenClass::ALL.into_iter().zip(CLASSES) {
            assert_eq!(format!("{:?}:", class.name()), member);
        }
    }

    #[test]
    fn numbers_are_read_as_they_stand() {
        for digits in 1..=20_usize {
            for first in ['1', '9'] {
                let number: String = std::iter::once(first)
                    .chain("0987654321098765432".chars())
                    .take(digits)
                    .collect();
                for behind in [",", "}", ",\"region\":\"sh\"", " ,          "] {
                    let text = format!("{number}{behind}");
                    let mut cursor = Cursor::new(&text);
                    let expected = number.parse::<u64>().ok().filter(|_| digits <= 18);
                    assert_eq!(cursor.number(), expected, "{text}");
                    assert_eq!(cursor.at, digits);
                }
            }
        }
    }

    #[test]
    fn members_are_found_as_they_stand_and_nothing_else_is() {
        let all = MEMBERS.into_iter().zip(WORDS).chain(CLASSES.into_iter().zip(CLASS_WORDS));
        for (member, words) in all {
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
