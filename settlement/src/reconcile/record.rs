//! One request as one side has it, in memory and as the few bytes that it has in a temporary file.

use tally_schemas::{CLASS_COUNT, UsageCounts, UsageSource};
use xxhash_rust::xxh3::xxh3_128;

use super::names::NameId;

/// Which side a figure is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The operator's.
    Ours,
    /// The vendor's.
    Theirs,
}

/// Where a record is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Line or row of the bill; the Kafka offset of ours.
    pub number: u64,
    /// Kafka partition of ours.
    pub partition: u32,
    /// Position within a batch of ours.
    pub index: u32,
}

/// One request as one side has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record<'a> {
    /// The vendor's id of the request.
    pub request_id: &'a str,
    /// Where it is found again.
    pub position: Position,
    /// Milliseconds of UTC, where more than the day is known.
    pub at_ms: Option<i64>,
    /// Day in the bill's zone, days since 1970-01-01.
    pub day: i32,
    /// Whether that day is in the period.
    pub in_period: bool,
    /// Billed model.
    pub model: NameId,
    /// Service tier.
    pub tier: NameId,
    /// Currency of the amounts.
    pub currency: NameId,
    /// Counts of the classes that are compared.
    pub counts: UsageCounts,
    /// What is owed without tax, in pico-currency.
    pub amount_pico: i128,
    /// Tax that the bill contained beside it.
    pub tax_pico: i128,
    /// What the vendor took off as free quota.
    pub credit_pico: i128,
    /// Where our counts come from.
    pub usage_source: UsageSource,
    /// Why our call ended.
    pub finish: NameId,
    /// The prices that rated ours.
    pub prices: NameId,
}

/// Key of a request in temporary files: 128 bits of its id.
pub(crate) type Key = u128;

/// The key of a record: of its request id, or of its place where it has none and so no partner.
fn key_of(record: &Record<'_>) -> Key {
    if !record.request_id.is_empty() {
        return xxh3_128(record.request_id.as_bytes());
    }
    let Position { number, partition, index } = record.position;
    let place = u128::from(number) << 64 | u128::from(partition) << 32 | u128::from(index);
    xxh3_128(&place.to_be_bytes())
}

const SOURCES: [UsageSource; 4] =
    [UsageSource::Reported, UsageSource::Partial, UsageSource::Estimated, UsageSource::VendorBill];

/// Bits of the flag byte.
const HAS_AT: u8 = 1;
const IN_PERIOD: u8 = 2;
const HAS_TAX: u8 = 4;
const HAS_CREDIT: u8 = 8;

impl<'a> Record<'a> {
    /// Appends the record: its length, its key, and the rest in variable-length integers.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&key_of(self).to_be_bytes());
        let mut flags = 0;
        for (flag, set) in [
            (HAS_AT, self.at_ms.is_some()),
            (IN_PERIOD, self.in_period),
            (HAS_TAX, self.tax_pico != 0),
            (HAS_CREDIT, self.credit_pico != 0),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let source = SOURCES.iter().position(|source| *source == self.usage_source).unwrap_or(0);
        out.push(flags | u8::try_from(source << 4).unwrap_or(0));
        put_signed(out, i128::from(self.day));
        if let Some(at_ms) = self.at_ms {
            put_signed(out, i128::from(at_ms));
        }
        for id in [self.model, self.tier, self.currency, self.finish, self.prices] {
            put(out, u128::from(id.0));
        }
        put_signed(out, self.amount_pico);
        if self.tax_pico != 0 {
            put_signed(out, self.tax_pico);
        }
        if self.credit_pico != 0 {
            put_signed(out, self.credit_pico);
        }
        let mut present = 0_u128;
        for (class, count) in self.counts.0.iter().enumerate() {
            present |= u128::from(*count != 0) << class;
        }
        put(out, present);
        for count in self.counts.0.iter().filter(|count| **count != 0) {
            put(out, u128::from(*count));
        }
        put(out, u128::from(self.position.number));
        put(out, u128::from(self.position.partition));
        put(out, u128::from(self.position.index));
        out.extend_from_slice(self.request_id.as_bytes());
        let length = u16::try_from(out.len() - start - 2).unwrap_or(u16::MAX);
        out[start..start + 2].copy_from_slice(&length.to_le_bytes());
    }

    /// Reads the record at the start of `bytes`; `None` where they are none.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let length = record_length(bytes)?;
        let mut at = Reader(bytes.get(KEY_END..length)?);
        let flags = at.byte()?;
        let has = |flag: u8| flags & flag != 0;
        let day = i32::try_from(at.signed()?).ok()?;
        let at_ms = match has(HAS_AT) {
            true => Some(i64::try_from(at.signed()?).ok()?),
            false => None,
        };
        let mut ids = [NameId::default(); 5];
        for id in &mut ids {
            *id = NameId(u32::try_from(at.unsigned()?).ok()?);
        }
        let amount_pico = at.signed()?;
        let tax_pico = if has(HAS_TAX) { at.signed()? } else { 0 };
        let credit_pico = if has(HAS_CREDIT) { at.signed()? } else { 0 };
        let present = at.unsigned()?;
        let mut counts = [0; CLASS_COUNT];
        for (class, count) in counts.iter_mut().enumerate() {
            if present >> class & 1 == 1 {
                *count = u64::try_from(at.unsigned()?).ok()?;
            }
        }
        let position = Position {
            number: u64::try_from(at.unsigned()?).ok()?,
            partition: u32::try_from(at.unsigned()?).ok()?,
            index: u32::try_from(at.unsigned()?).ok()?,
        };
        let [model, tier, currency, finish, prices] = ids;
        Some(Self {
            request_id: std::str::from_utf8(at.0).ok()?,
            position,
            at_ms,
            day,
            in_period: has(IN_PERIOD),
            model,
            tier,
            currency,
            counts: UsageCounts(counts),
            amount_pico,
            tax_pico,
            credit_pico,
            usage_source: *SOURCES.get(usize::from(flags >> 4))?,
            finish,
            prices,
        })
    }
}

/// Where the key of a written record ends.
const KEY_END: usize = 2 + size_of::<Key>();

/// Longest request id: what a record's length leaves for it.
pub(crate) const REQUEST_ID_MAX_BYTES: usize = 1_024;

/// Length of the record at the start of `bytes`.
pub(crate) fn record_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(..2)?.try_into().ok().map(u16::from_le_bytes)?;
    Some(usize::from(length) + 2)
}

/// Key of the record at the start of `bytes`.
pub(crate) fn record_key(bytes: &[u8]) -> Option<Key> {
    bytes.get(2..KEY_END)?.try_into().ok().map(Key::from_be_bytes)
}

/// Seven bits a byte, the lowest first.
fn put(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(0x80 | (value.to_le_bytes()[0] & 0x7F));
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// The sign in the lowest bit.
fn put_signed(out: &mut Vec<u8>, value: i128) {
    put(out, ((value << 1) ^ (value >> 127)).cast_unsigned());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn unsigned(&mut self) -> Option<u128> {
        let mut value = 0_u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i128> {
        let value = self.unsigned()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            request_id in ".{0,40}",
            at_ms in any::<Option<i64>>(),
            day in any::<i32>(),
            in_period in any::<bool>(),
            numbers in any::<[u32; 5]>(),
            counts in any::<[u64; CLASS_COUNT]>(),
            amounts in any::<[i128; 3]>(),
            source in 0..4_usize,
            position in any::<(u64, u32, u32)>(),
        ) {
            let [model, tier, currency, finish, prices] = numbers.map(NameId);
            let [amount_pico, tax_pico, credit_pico] = amounts;
            let (number, partition, index) = position;
            let record = Record {
                request_id: &request_id,
                position: Position { number, partition, index },
                at_ms, day, in_period, model, tier, currency,
                counts: UsageCounts(counts),
                amount_pico, tax_pico, credit_pico,
                usage_source: SOURCES[source],
                finish, prices,
            };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            bytes.extend_from_slice(b"what follows");
            prop_assert_eq!(Record::read(&bytes), Some(record));
            prop_assert_eq!(record_key(&bytes), Some(key_of(&record)));
            for cut in 0..bytes.len() - b"what follows".len() {
                prop_assert_eq!(Record::read(&bytes[..cut]), None);
            }
        }
    }
}
