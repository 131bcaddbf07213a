//! A column of whole numbers that is the same in every row for most classes.

use std::ops::Range;

use arrow::array::Int64Array;

/// One number a row. They are kept one by one only from the first that differs.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    /// The number of every row, while `each` is empty.
    same: i64,
    each: Vec<i64>,
}

impl Counts {
    /// Adds the number of row `row`, which is how many rows there are before it.
    pub(crate) fn push(&mut self, row: usize, count: i64) {
        if self.each.is_empty() {
            if row == 0 {
                self.same = count;
            }
            if self.same == count {
                return;
            }
            self.each.resize(row, self.same);
        }
        self.each.push(count);
    }

    /// Whether every row has the same number.
    pub(crate) fn is_constant(&self) -> bool {
        self.each.is_empty()
    }

    /// The numbers of `rows` in their order.
    pub(crate) fn array(&self, rows: &[u32]) -> Int64Array {
        if self.each.is_empty() {
            return Int64Array::from_value(self.same, rows.len());
        }
        Int64Array::from_iter_values(rows.iter().map(|row| self.each[*row as usize]))
    }

    /// The number of one row.
    pub(crate) fn get(&self, row: usize) -> i64 {
        self.each.get(row).copied().unwrap_or(self.same)
    }

    /// The numbers of a run of rows.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Int64Array {
        if self.each.is_empty() {
            Int64Array::from_value(self.same, rows.len())
        } else {
            self.each[rows].to_vec().into()
        }
    }

    /// Empties the column and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.each.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_where_they_were() {
        for numbers in [[0, 0, 7, 0, 9, 0], [1, 1, 1, 1, 1, 1], [5, 0, 0, 0, 0, 5]] {
            let mut counts = Counts::default();
            for _ in 0..2 {
                for (row, number) in numbers.into_iter().enumerate() {
                    counts.push(row, number);
                }
                let constant = numbers.iter().all(|number| *number == numbers[0]);
                assert_eq!(counts.is_constant(), constant);
                let picked = vec![numbers[4], numbers[0], numbers[2]];
                assert_eq!(counts.array(&[4, 0, 2]), Int64Array::from(picked));
                assert!((0..6).all(|row| counts.get(row) == numbers[row]));
                assert_eq!(counts.slice(1..5), Int64Array::from(numbers[1..5].to_vec()));
                counts.clear();
            }
        }
    }
}
