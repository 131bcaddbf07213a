//! The bytes of state objects: a base holds all of a partition's state, a delta what one epoch
//! changed. Written in one pass from the state itself. The ledger entry holds the BLAKE3 of the
//! whole object, which is checked before anything is read here.
//!
//! After the head come records, each behind a byte that tells its kind. Ids are fixed-width and
//! little-endian, as nothing would shorten hashes; windows are in protobuf's variable-length
//! integers, with only the sums that are not zero, as an epoch may change a hundred thousand.

use prost::encoding::{decode_varint, encode_varint};
use tally_schemas::{Amounts, CLASS_COUNT, Currency, StateFile, TEXT_MAX_BYTES};

use crate::core::dedupe::SegmentRef;
use crate::core::id_table::IdEntry;
use crate::core::interner::Interner;
use crate::core::subscriber_windows::{OpenWindow, WindowedModel};

const MAGIC: &[u8; 8] = b"TALLYST3";
/// Objects of builds that counted and did not rate: the same, but that windows have no currencies
/// and amounts, and that there are no accounts.
const COUNTING_MAGIC: &[u8; 8] = b"TALLYST2";
/// Kinds of records.
const END: u8 = 0;
const SEALED: u8 = 1;
const IDS: u8 = 2;
const CLOSED_WINDOW: u8 = 3;
const WINDOW: u8 = 4;
const ACCOUNT: u8 = 5;

/// A state object does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadState(pub(crate) &'static str);

/// What every state object begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateHead {
    pub(crate) watermark_ms: Option<i64>,
    pub(crate) newest_ms: Option<i64>,
    pub(crate) closed_until_ms: i64,
}

/// One thing that a base or a delta says. Applied in their order: sealed buckets leave the open
/// ones and gain a segment, ids are added to open buckets, closed windows are forgotten, windows
/// are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StateRecord<'a> {
    /// A bucket has this segment.
    Sealed(i64, SegmentRef),
    /// Ids of an open bucket.
    Ids { bucket: i64, seal_at_ms: i64, ids: Vec<IdEntry> },
    /// The windows that start here are written.
    ClosedWindow(i64),
    /// An open window.
    Window(OpenWindow<'a>),
    /// What an account has, as the quota crate writes it; nothing where it is forgotten.
    Account { account: &'a str, bytes: &'a [u8] },
}

/// Writes a state object, record by record.
#[derive(Debug)]
pub(crate) struct StateWriter {
    out: Vec<u8>,
    /// Models and vendors: written where they first occur, then by number.
    names: Interner,
    /// Start of the window before.
    start_ms: i64,
}

impl StateWriter {
    pub(crate) fn new(head: StateHead, bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes + 64);
        out.extend_from_slice(MAGIC);
        for instant in [head.watermark_ms, head.newest_ms] {
            out.push(u8::from(instant.is_some()));
            put_i64(&mut out, instant.unwrap_or(0));
        }
        put_i64(&mut out, head.closed_until_ms);
        Self { out, names: Interner::default(), start_ms: 0 }
    }

    pub(crate) fn sealed(&mut self, bucket: i64, segment: &SegmentRef) {
        self.out.push(SEALED);
        put_i64(&mut self.out, bucket);
        encode_varint(segment.ids, &mut self.out);
        encode_varint(segment.file.bytes, &mut self.out);
        put_text(&mut self.out, &segment.file.path);
        put_text(&mut self.out, &segment.file.hash);
    }

    /// Ids of an open bucket; `count` is how many there are.
    pub(crate) fn ids(
        &mut self,
        bucket: i64,
        seal_at_ms: i64,
        count: usize,
        ids: impl Iterator<Item = IdEntry>,
    ) {
        self.out.push(IDS);
        put_i64(&mut self.out, bucket);
        put_i64(&mut self.out, seal_at_ms);
        put_ids(&mut self.out, count, ids);
    }

    pub(crate) fn closed_window(&mut self, start_ms: i64) {
        self.out.push(CLOSED_WINDOW);
        put_i64(&mut self.out, start_ms);
    }

    pub(crate) fn window(&mut self, window: &OpenWindow<'_>) {
        let Self { out, names, start_ms } = self;
        out.push(WINDOW);
        // Wrapping, so that any start comes back.
        let ahead = window.start_ms.wrapping_sub(*start_ms);
        *start_ms = window.start_ms;
        encode_varint(((ahead << 1) ^ (ahead >> 63)).cast_unsigned(), out);
        put_text(out, window.account);
        if window.subscriber == window.account {
            encode_varint(0, out);
        } else {
            encode_varint(window.subscriber.len() as u64 + 1, out);
            out.extend_from_slice(window.subscriber.as_bytes());
        }
        let WindowedModel { model, vendor, retail_currency, wholesale_currency } = window.what;
        // An absent currency is empty, which no currency is.
        let [retail, wholesale] =
            [retail_currency, wholesale_currency].map(Option::unwrap_or_default);
        for name in [model, vendor, retail, wholesale] {
            let known = names.len();
            let number = names.intern_recurring(name) as usize;
            if number < known {
                encode_varint(number as u64 + 1, out);
            } else {
                encode_varint(0, out);
                put_text(out, name);
            }
        }
        encode_varint(window.events, out);
        let used = |class: &usize| window.sums[*class] != 0;
        encode_varint((0..CLASS_COUNT).filter(used).map(|class| 1 << class).sum(), out);
        for class in (0..CLASS_COUNT).filter(used) {
            encode_varint(window.sums[class], out);
        }
        let Amounts { points_micro, retail_pico, wholesale_pico } = window.amounts;
        for amount in [points_micro, retail_pico, wholesale_pico] {
            put_amount(out, amount);
        }
    }

    pub(crate) fn account(&mut self, account: &str, bytes: &[u8]) {
        self.out.push(ACCOUNT);
        put_text(&mut self.out, account);
        encode_varint(bytes.len() as u64, &mut self.out);
        self.out.extend_from_slice(bytes);
    }

    /// The object's bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.push(END);
        self.out
    }
}

/// An amount, zigzag, in groups of seven bits as protobuf has it for fewer.
fn put_amount(out: &mut Vec<u8>, amount: i128) {
    let mut rest = ((amount << 1) ^ (amount >> 127)).cast_unsigned();
    while rest >= 0x80 {
        out.push(0x80 | rest.to_le_bytes()[0]);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn put_ids(out: &mut Vec<u8>, count: usize, ids: impl Iterator<Item = IdEntry>) {
    out.extend_from_slice(&(count as u64).to_le_bytes());
    for (id, content) in ids {
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&content.to_le_bytes());
    }
}

#[derive(Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadState> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(BadState("ends too early"))?;
        self.0 = tail;
        Ok(head)
    }

    fn i64(&mut self) -> Result<i64, BadState> {
        let (bytes, tail) = self.0.split_first_chunk().ok_or(BadState("ends too early"))?;
        self.0 = tail;
        Ok(i64::from_le_bytes(*bytes))
    }

    fn varint(&mut self) -> Result<u64, BadState> {
        decode_varint(&mut self.0).map_err(|_| BadState("not a variable-length integer"))
    }

    fn amount(&mut self) -> Result<i128, BadState> {
        let (mut amount, mut shift) = (0_u128, 0_u32);
        loop {
            let byte = self.take(1)?[0];
            let bits = u128::from(byte & 0x7f);
            if shift > 126 || (shift == 126 && bits > 3) {
                return Err(BadState("an amount beyond 128 bits"));
            }
            amount |= bits << shift;
            shift += 7;
            if byte < 0x80 {
                return Ok((amount >> 1).cast_signed() ^ -(amount & 1).cast_signed());
            }
        }
    }

    fn optional(&mut self) -> Result<Option<i64>, BadState> {
        let present = self.take(1)?[0] == 1;
        let value = self.i64()?;
        Ok(present.then_some(value))
    }

    fn text_of(&mut self, length: u64) -> Result<&'a str, BadState> {
        let length = usize::try_from(length).map_err(|_| BadState("ends too early"))?;
        std::str::from_utf8(self.take(length)?).map_err(|_| BadState("text is not UTF-8"))
    }

    fn text(&mut self) -> Result<&'a str, BadState> {
        let length = self.varint()?;
        self.text_of(length)
    }

    fn ids(&mut self) -> Result<Vec<IdEntry>, BadState> {
        let count = usize::try_from(self.i64()?).map_err(|_| BadState("count too large"))?;
        let bytes = self.take(count.checked_mul(16).ok_or(BadState("count too large"))?)?;
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(0);
        Ok(bytes.chunks_exact(16).map(|entry| (word(&entry[..8]), word(&entry[8..]))).collect())
    }

    /// A text of an event or of the price book, which is never longer than this.
    fn short_text_of(&mut self, length: u64) -> Result<&'a str, BadState> {
        if length > TEXT_MAX_BYTES as u64 {
            return Err(BadState("a name that is too long"));
        }
        self.text_of(length)
    }

    /// A model, vendor or currency: by its number, or new.
    fn name(&mut self, names: &mut Vec<&'a str>) -> Result<&'a str, BadState> {
        match self.varint()?.checked_sub(1) {
            None => {
                let length = self.varint()?;
                let name = self.short_text_of(length)?;
                names.push(name);
                Ok(name)
            }
            Some(number) => {
                let name = usize::try_from(number).ok().and_then(|number| names.get(number));
                name.copied().ok_or(BadState("a name that was not given"))
            }
        }
    }

    fn window(
        &mut self,
        before_ms: i64,
        names: &mut Vec<&'a str>,
        is_rated: bool,
    ) -> Result<OpenWindow<'a>, BadState> {
        let ahead = self.varint()?;
        let ahead = (ahead >> 1).cast_signed() ^ -(ahead & 1).cast_signed();
        let start_ms = before_ms.wrapping_add(ahead);
        let length = self.varint()?;
        let account = self.short_text_of(length)?;
        let subscriber = match self.varint()?.checked_sub(1) {
            None => account,
            Some(length) => self.short_text_of(length)?,
        };
        let (model, vendor) = (self.name(names)?, self.name(names)?);
        let (retail_currency, wholesale_currency) = if is_rated {
            (currency(self.name(names)?)?, currency(self.name(names)?)?)
        } else {
            (None, None)
        };
        let events = self.varint()?;
        let used = self.varint()?;
        if used >= 1 << CLASS_COUNT {
            return Err(BadState("an unknown token class"));
        }
        let mut sums = [0; CLASS_COUNT];
        for (class, sum) in sums.iter_mut().enumerate() {
            if used & (1 << class) != 0 {
                *sum = self.varint()?;
            }
        }
        let mut amounts = Amounts::default();
        if is_rated {
            amounts.points_micro = self.amount()?;
            amounts.retail_pico = self.amount()?;
            amounts.wholesale_pico = self.amount()?;
        }
        let what = WindowedModel { model, vendor, retail_currency, wholesale_currency };
        Ok(OpenWindow { start_ms, account, subscriber, what, sums, events, amounts })
    }
}

/// The code of a currency; an absent one is empty.
fn currency(code: &str) -> Result<Option<&str>, BadState> {
    match code {
        "" => Ok(None),
        code if Currency::parse(code).is_some() => Ok(Some(code)),
        _ => Err(BadState("a currency that is none")),
    }
}

/// Reads an object whose hash was checked, record by record, as it may hold millions.
#[derive(Debug)]
pub(crate) struct StateReader<'a> {
    input: Reader<'a>,
    names: Vec<&'a str>,
    /// Start of the window before.
    start_ms: i64,
    /// Whether windows have currencies and amounts.
    is_rated: bool,
}

impl<'a> StateReader<'a> {
    /// The head of an object, and a reader of what follows.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<(StateHead, Self), BadState> {
        let mut input = Reader(bytes);
        let is_rated = match input.take(8)? {
            magic if magic == MAGIC => true,
            magic if magic == COUNTING_MAGIC => false,
            // Of this build's own digit or before: what was once written and is not read any more.
            [b'T', b'A', b'L', b'L', b'Y', b'S', b'T', digit] if *digit <= MAGIC[7] => {
                return Err(BadState(
                    "was written by a version of Tally that is too old for this one",
                ));
            }
            [b'T', b'A', b'L', b'L', b'Y', b'S', b'T', _] => {
                return Err(BadState(
                    "was written by a later version of Tally, which this build cannot read: upgrade",
                ));
            }
            _ => return Err(BadState("is not a state object")),
        };
        let head = StateHead {
            watermark_ms: input.optional()?,
            newest_ms: input.optional()?,
            closed_until_ms: input.i64()?,
        };
        Ok((head, Self { input, names: Vec::new(), start_ms: 0, is_rated }))
    }

    /// The next record; `None` at the object's end.
    pub(crate) fn next(&mut self) -> Result<Option<StateRecord<'a>>, BadState> {
        let Self { input, names, start_ms, is_rated } = self;
        Ok(Some(match input.take(1)?[0] {
            END if input.0.is_empty() => return Ok(None),
            END => return Err(BadState("goes on after its end")),
            SEALED => {
                let bucket = input.i64()?;
                let (ids, bytes) = (input.varint()?, input.varint()?);
                let (path, hash) = (input.text()?.to_owned(), input.text()?.to_owned());
                StateRecord::Sealed(
                    bucket,
                    SegmentRef { file: StateFile { path, bytes, hash }, ids },
                )
            }
            IDS => {
                let (bucket, seal_at_ms) = (input.i64()?, input.i64()?);
                StateRecord::Ids { bucket, seal_at_ms, ids: input.ids()? }
            }
            CLOSED_WINDOW => StateRecord::ClosedWindow(input.i64()?),
            WINDOW => {
                let window = input.window(*start_ms, names, *is_rated)?;
                *start_ms = window.start_ms;
                StateRecord::Window(window)
            }
            ACCOUNT => {
                let account = input.text()?;
                let length = input.varint()?;
                let length = usize::try_from(length).map_err(|_| BadState("ends too early"))?;
                StateRecord::Account { account, bytes: input.take(length)? }
            }
            _ => return Err(BadState("a record of an unknown kind")),
        }))
    }
}

const SEGMENT_MAGIC: &[u8; 8] = b"TALLYSG1";

/// Bytes of a segment: sorted ids.
pub(crate) fn encode_segment(ids: &[IdEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ids.len() * 16 + 16);
    out.extend_from_slice(SEGMENT_MAGIC);
    put_ids(&mut out, ids.len(), ids.iter().copied());
    out
}

/// Reads a segment whose hash was checked.
pub(crate) fn decode_segment(bytes: &[u8]) -> Result<Vec<IdEntry>, BadState> {
    let mut input = Reader(bytes);
    if input.take(8)? != SEGMENT_MAGIC {
        return Err(BadState("is not a segment of this format"));
    }
    let ids = input.ids()?;
    if !input.0.is_empty() || !ids.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(BadState("segment is not sorted"));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Texts = (String, Option<String>, u8, u8);

    fn head() -> StateHead {
        StateHead { watermark_ms: Some(-5), newest_ms: None, closed_until_ms: i64::MIN }
    }

    fn encode(records: &[StateRecord<'_>]) -> Vec<u8> {
        let mut writer = StateWriter::new(head(), 0);
        for record in records {
            match record {
                StateRecord::Sealed(bucket, segment) => writer.sealed(*bucket, segment),
                StateRecord::Ids { bucket, seal_at_ms, ids } => {
                    writer.ids(*bucket, *seal_at_ms, ids.len(), ids.iter().copied());
                }
                StateRecord::ClosedWindow(start) => writer.closed_window(*start),
                StateRecord::Window(window) => writer.window(window),
                StateRecord::Account { account, bytes } => writer.account(account, bytes),
            }
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<(StateHead, Vec<StateRecord<'_>>), BadState> {
        let (head, mut reader) = StateReader::open(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push(record);
        }
        Ok((head, records))
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z0-9]{0,12}", Just("长".repeat(60))]
    }

    fn sum() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), 0_u64..1_000, any::<u64>()]
    }

    #[test]
    fn state_of_a_build_that_only_counted_is_read() {
        let mut bytes = StateWriter::new(head(), 0).out;
        bytes[..8].copy_from_slice(COUNTING_MAGIC);
        // Two windows that start at 60,000 ms: the second names its model and vendor by number.
        for (account, known) in [("A1", false), ("A2", true)] {
            bytes.push(WINDOW);
            encode_varint(if known { 0 } else { 60_000 << 1 }, &mut bytes);
            put_text(&mut bytes, account);
            encode_varint(0, &mut bytes);
            for (number, name) in [(1, "glm-5"), (2, "zhipu")] {
                encode_varint(if known { number } else { 0 }, &mut bytes);
                if !known {
                    put_text(&mut bytes, name);
                }
            }
            // Three events with seven tokens of the second class.
            [3, 1 << 1, 7].iter().for_each(|value| encode_varint(*value, &mut bytes));
        }
        bytes.push(END);
        let mut sums = [0; CLASS_COUNT];
        sums[1] = 7;
        let window = |account| {
            StateRecord::Window(OpenWindow {
                start_ms: 60_000,
                account,
                subscriber: account,
                what: WindowedModel {
                    model: "glm-5",
                    vendor: "zhipu",
                    retail_currency: None,
                    wholesale_currency: None,
                },
                sums,
                events: 3,
                amounts: Amounts::default(),
            })
        };
        assert_eq!(decode(&bytes), Ok((head(), vec![window("A1"), window("A2")])));
        // R25: who is refused is told what to do.
        for (digit, words) in [(b'1', "too old for this one"), (b'4', "later version of Tally")] {
            bytes[7] = digit;
            let BadState(said) = decode(&bytes).unwrap_err();
            assert!(said.contains(words), "{said}");
            assert_eq!(said.ends_with(": upgrade"), digit == b'4', "{said}");
        }
    }

    #[test]
    fn names_that_no_event_can_have_are_refused() {
        let window = |name: &str, currency: &'static str| {
            let what = WindowedModel {
                model: "glm-5",
                vendor: "zhipu",
                retail_currency: Some(currency),
                wholesale_currency: None,
            };
            let (sums, amounts) = ([0; CLASS_COUNT], Amounts::default());
            let open = |account: &str, subscriber: &str, what| {
                encode(&[StateRecord::Window(OpenWindow {
                    start_ms: 0,
                    account,
                    subscriber,
                    what,
                    sums,
                    events: 1,
                    amounts,
                })])
            };
            [
                open(name, "s", what),
                open("a", name, what),
                open("a", "s", WindowedModel { model: name, ..what }),
                open("a", "s", WindowedModel { vendor: name, ..what }),
            ]
        };
        let longest = "n".repeat(TEXT_MAX_BYTES);
        assert!(window(&longest, "CNY").iter().all(|bytes| decode(bytes).is_ok()));
        // One byte more, and what would not even fit where windows keep their lengths.
        for length in [TEXT_MAX_BYTES + 1, 21_000, 70_000] {
            let name = "n".repeat(length);
            assert!(window(&name, "CNY").iter().all(|bytes| decode(bytes).is_err()), "{length}");
        }
        for wrong in ["CN", "CNYY", "cny", "元"] {
            assert!(window("n", wrong).iter().all(|bytes| decode(bytes).is_err()), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            windows in prop::collection::vec(
                (any::<i64>(), (text(), prop::option::of(text()), 0_u8..5, 0_u8..3), prop::array::uniform14(sum()), any::<u64>(), any::<[i128; 3]>()), 0..30),
            ids in prop::collection::vec((any::<i64>(), any::<i64>(), prop::collection::vec(any::<IdEntry>(), 0..9)), 0..4),
            closed_windows in prop::collection::vec(any::<i64>(), 0..4),
            sealed in prop::collection::vec((any::<i64>(), text(), any::<u64>()), 0..4),
            accounts in prop::collection::vec((text(), prop::collection::vec(any::<u8>(), 0..40)), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let names: Vec<(String, String)> = windows
                .iter()
                .map(|(_, (_, _, model, vendor), _, _, _): &(i64, Texts, [u64; 14], u64, [i128; 3])| {
                    (format!("model-{model}"), format!("vendor-{vendor}"))
                })
                .collect();
            let open = windows.iter().zip(&names).map(
                |((start_ms, (account, subscriber, ..), sums, events, amounts), (model, vendor))| OpenWindow {
                    start_ms: *start_ms,
                    account,
                    subscriber: subscriber.as_deref().unwrap_or(account),
                    what: WindowedModel {
                        model,
                        vendor,
                        retail_currency: (events % 3 == 0).then_some("CNY"),
                        wholesale_currency: (events % 2 == 0).then_some("USD"),
                    },
                    sums: *sums,
                    events: *events,
                    amounts: Amounts {
                        points_micro: amounts[0],
                        retail_pico: amounts[1],
                        wholesale_pico: amounts[2],
                    },
                },
            );
            let sealed = sealed.into_iter().map(|(bucket, path, ids)| {
                let file = StateFile { hash: path.clone(), path, bytes: ids / 3 };
                StateRecord::Sealed(bucket, SegmentRef { file, ids })
            });
            let ids = ids
                .into_iter()
                .map(|(bucket, seal_at_ms, ids)| StateRecord::Ids { bucket, seal_at_ms, ids });
            let closed = closed_windows.into_iter().map(StateRecord::ClosedWindow);
            let accounts =
                accounts.iter().map(|(account, bytes)| StateRecord::Account { account, bytes });
            let records: Vec<StateRecord<'_>> = sealed
                .chain(ids)
                .chain(closed)
                .chain(open.map(StateRecord::Window))
                .chain(accounts)
                .collect();
            let bytes = encode(&records);
            prop_assert_eq!(decode(&bytes), Ok((head(), records)));
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let object = [encode_segment(&[]).as_slice(), &bytes].concat();
            drop(decode_segment(&object));
            let object = [StateWriter::new(head(), 0).out.as_slice(), &bytes].concat();
            drop(decode(&object));
        }
    }
}
