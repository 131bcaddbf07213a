//! The rows of a column chunk as they came, array by array: nothing is copied before it is encoded.

use arrow::array::{Array, ArrowPrimitiveType, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;

/// Numbers of any width.
#[derive(Debug)]
pub(crate) struct ColumnRows<T: ArrowNativeType> {
    arrays: Vec<Page<T>>,
}

/// Rows that follow one another: an array, or a part of one.
#[derive(Debug)]
pub(crate) struct Page<T: ArrowNativeType> {
    /// A row each; what an absent one has counts for nothing.
    pub(crate) values: ScalarBuffer<T>,
    /// Which rows have a value, where any has none.
    pub(crate) presence: Option<NullBuffer>,
}

impl<T: ArrowNativeType> Default for ColumnRows<T> {
    fn default() -> Self {
        Self { arrays: Vec::new() }
    }
}

impl<T: ArrowNativeType + Ord> ColumnRows<T> {
    /// Adds the rows of an array.
    pub(crate) fn push<P: ArrowPrimitiveType<Native = T>>(&mut self, array: &PrimitiveArray<P>) {
        self.arrays.push(Page::of(array.values().clone(), array.nulls().cloned()));
    }

    /// The rows in pages of at most so many; one ends at the latest where its array ends.
    pub(crate) fn pages(&self, page_rows: usize) -> impl Iterator<Item = Page<T>> {
        self.arrays.iter().flat_map(move |array| {
            let rows = array.values.len();
            (0..rows).step_by(page_rows).map(move |start| {
                let count = page_rows.min(rows - start);
                let presence = array.presence.as_ref().map(|nulls| nulls.slice(start, count));
                Page::of(array.values.slice(start, count), presence)
            })
        })
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.arrays.iter().map(|array| array.values.len()).sum()
    }

    /// Number of rows without a value.
    pub(crate) fn absent(&self) -> usize {
        self.arrays
            .iter()
            .filter_map(|array| array.presence.as_ref())
            .map(NullBuffer::null_count)
            .sum()
    }

    /// Every row's value; of absent ones, anything.
    pub(crate) fn values(&self) -> impl Iterator<Item = T> {
        self.arrays.iter().flat_map(|array| array.values.iter().copied())
    }

    /// The smallest and the largest value.
    pub(crate) fn bounds(&self) -> (Option<T>, Option<T>) {
        let (mut low, mut high) = (None, None);
        for array in &self.arrays {
            // Without a condition in the loop, several values at once.
            let (least, most) = match array.presence {
                None => (array.values.iter().copied().min(), array.values.iter().copied().max()),
                Some(_) => (array.present().min(), array.present().max()),
            };
            low = [low, least].into_iter().flatten().min();
            high = [high, most].into_iter().flatten().max();
        }
        (low, high)
    }
}

impl<T: ArrowNativeType> Page<T> {
    fn of(values: ScalarBuffer<T>, presence: Option<NullBuffer>) -> Self {
        Self { values, presence: presence.filter(|nulls| nulls.null_count() > 0) }
    }

    /// The values that there are.
    pub(crate) fn present(&self) -> impl Iterator<Item = T> {
        let is_present =
            |row: usize| self.presence.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        self.values.iter().enumerate().filter(move |(row, _)| is_present(*row)).map(|(_, v)| *v)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn pages_are_cut_within_arrays_and_know_what_is_absent() {
        let mut rows = ColumnRows::default();
        rows.push(&Int64Array::from(vec![7, 9, 5]));
        rows.push(&Int64Array::from(vec![Some(8), None, Some(6), None]));
        rows.push(&Int64Array::from(vec![None, Some(4)]).slice(1, 1));
        assert_eq!((rows.len(), rows.absent()), (8, 2));
        assert_eq!(rows.bounds(), (Some(4), Some(9)));
        let pages: Vec<(usize, Vec<i64>)> =
            rows.pages(2).map(|page| (page.values.len(), page.present().collect())).collect();
        let expected = [(2, vec![7, 9]), (1, vec![5]), (2, vec![8]), (2, vec![6]), (1, vec![4])];
        assert_eq!(pages, expected);
        assert!(rows.pages(2).take(2).all(|page| page.presence.is_none()));
    }
}
