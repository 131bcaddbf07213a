//! Columns of texts: of few that recur, by number, and of texts that are all different.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, StringArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::UInt32Type;
use arrow::error::ArrowError;

use crate::core::interner::{ABSENT, Interner};

/// A text column in which few texts recur: numbers of an interner that it shares with others.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names(Vec<u32>);

impl Names {
    /// Number of a row's text.
    pub(crate) fn number(&self, row: usize) -> u32 {
        self.0[row]
    }

    /// A row's text.
    pub(crate) fn text<'t>(&self, row: usize, texts: &'t Interner) -> Option<&'t str> {
        Some(self.0[row]).filter(|number| *number != ABSENT).map(|number| texts.get(number))
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn push_absent(&mut self) {
        self.0.push(ABSENT);
    }

    /// Adds a long text of which the caller has one copy that it gives again and again.
    pub(crate) fn push_shared(
        &mut self,
        text: &Arc<str>,
        known: &mut SharedTexts,
        texts: &mut Interner,
    ) {
        let place = text.as_ptr().addr() / 16 % SHARED_PLACES;
        known.0.resize(SHARED_PLACES, None);
        let number = match &known.0[place] {
            Some((same, number)) if Arc::ptr_eq(same, text) => *number,
            _ => {
                let number = texts.intern(text);
                known.0[place] = Some((Arc::clone(text), number));
                number
            }
        };
        self.0.push(number);
    }

    /// Adds one of many texts, such as an account.
    pub(crate) fn push_holder(&mut self, text: &str, texts: &mut Interner) -> u32 {
        let number = texts.intern(text);
        self.0.push(number);
        number
    }

    /// Adds a text that recurs within a few hundred.
    pub(crate) fn push(&mut self, text: &str, texts: &mut Interner) -> u32 {
        let number = texts.intern_recurring(text);
        self.0.push(number);
        number
    }

    pub(crate) fn push_optional(&mut self, text: Option<&str>, texts: &mut Interner) -> u32 {
        match text {
            Some(text) => self.push(text, texts),
            None => {
                self.0.push(ABSENT);
                ABSENT
            }
        }
    }

    /// Adds a text that is mostly `like`, whose number is known.
    pub(crate) fn push_like(&mut self, text: &str, like: (&str, u32), texts: &mut Interner) -> u32 {
        let number = if text == like.0 { like.1 } else { texts.intern(text) };
        self.0.push(number);
        number
    }

    /// Adds a text whose number is known.
    pub(crate) fn push_number(&mut self, number: u32) {
        self.0.push(number);
    }

    /// All rows, in the order in which they were added.
    pub(crate) fn whole(&self, texts: &Arc<StringArray>) -> Result<ArrayRef, ArrowError> {
        let numbers = &self.0;
        let is_present = |row: usize| numbers[row] != ABSENT;
        let nulls = numbers
            .contains(&ABSENT)
            .then(|| NullBuffer::new(BooleanBuffer::collect_bool(numbers.len(), is_present)));
        let keys = UInt32Array::try_new(ScalarBuffer::from(numbers.clone()), nulls)?;
        Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, Arc::clone(texts) as ArrayRef)?))
    }

    pub(crate) fn array(
        &self,
        texts: &Arc<StringArray>,
        order: &[u32],
    ) -> Result<ArrayRef, ArrowError> {
        let numbers: Vec<u32> = order.iter().map(|row| self.0[*row as usize]).collect();
        let texts = Arc::clone(texts) as ArrayRef;
        Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys_of(numbers), texts)?))
    }
}

/// Whether no text is there, by their numbers.
pub(crate) fn is_absent(numbers: &[u32]) -> bool {
    numbers.iter().all(|number| *number == ABSENT)
}

/// Numbers of texts as the keys of a dictionary; [`ABSENT`] ones are null.
pub(crate) fn keys_of(numbers: Vec<u32>) -> UInt32Array {
    if is_absent(&numbers) {
        return UInt32Array::new_null(numbers.len());
    }
    let nulls = numbers.contains(&ABSENT).then(|| {
        let present = numbers.iter().map(|number| *number != ABSENT);
        NullBuffer::from(BooleanBuffer::from_iter(present))
    });
    UInt32Array::new(ScalarBuffer::from(numbers), nulls)
}

const SHARED_PLACES: usize = 1_024;

/// Texts that are known by where they are in memory, with their numbers. They are held, so that
/// nothing else can come to be there.
#[derive(Debug, Default, Clone)]
pub(crate) struct SharedTexts(Vec<Option<(Arc<str>, u32)>>);

impl SharedTexts {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A text column in which every text is another. Nothing is kept a row before the first text.
#[derive(Debug, Default, Clone)]
pub(crate) struct Texts {
    len: usize,
    bytes: String,
    /// End of each text; an absent one ends where it starts and is noted in `present`.
    ends: Vec<u32>,
    present: Vec<bool>,
    any_absent: bool,
}

impl Texts {
    /// Whether no row has a text.
    pub(crate) fn is_absent(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of the texts.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.bytes.clear();
        self.ends.clear();
        self.present.clear();
        self.any_absent = false;
    }

    pub(crate) fn push(&mut self, text: Option<&str>) {
        self.len += 1;
        self.any_absent |= text.is_none();
        if text.is_none() && self.is_absent() {
            return;
        }
        if self.ends.len() + 1 < self.len {
            self.ends.resize(self.len - 1, 0);
            self.present.resize(self.len - 1, false);
        }
        self.bytes.push_str(text.unwrap_or_default());
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.present.push(text.is_some());
    }

    /// All rows, in the order in which they were added.
    pub(crate) fn whole(&self) -> Result<ArrayRef, ArrowError> {
        if self.is_absent() {
            return Ok(arrow::array::new_null_array(&arrow::datatypes::DataType::Utf8, self.len));
        }
        let too_many = |_| ArrowError::OffsetOverflowError(self.bytes.len());
        i32::try_from(self.bytes.len()).map_err(too_many)?;
        let ends = self.ends.iter().map(|end| end.cast_signed());
        let offsets: Vec<i32> = std::iter::once(0).chain(ends).collect();
        let nulls = self.any_absent.then(|| NullBuffer::from(self.present.as_slice()));
        Ok(Arc::new(StringArray::try_new(
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            self.bytes.as_bytes().into(),
            nulls,
        )?))
    }

    pub(crate) fn array(&self, order: &[u32]) -> Result<ArrayRef, ArrowError> {
        if self.is_absent() {
            return Ok(arrow::array::new_null_array(
                &arrow::datatypes::DataType::Utf8,
                order.len(),
            ));
        }
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut offsets = Vec::with_capacity(order.len() + 1);
        offsets.push(0_i32);
        for row in order {
            let row = *row as usize;
            let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
            bytes.extend_from_slice(&self.bytes.as_bytes()[start..self.ends[row] as usize]);
            offsets.push(
                i32::try_from(bytes.len())
                    .map_err(|_| ArrowError::OffsetOverflowError(bytes.len()))?,
            );
        }
        let nulls = self
            .any_absent
            .then(|| order.iter().map(|row| self.present[*row as usize]).collect::<NullBuffer>());
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        Ok(Arc::new(StringArray::try_new(
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            bytes.into(),
            nulls,
        )?))
    }
}
