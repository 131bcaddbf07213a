//! What can go wrong, in kinds that tell the caller what to do.

use crate::period::Period;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// An argument, a contract or a price list is wrong or missing: change it.
    Invalid,
    /// Stored figures contradict each other: a person must look.
    Data,
}

/// Why there is no statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettlementError {
    /// A text that is not a period.
    #[error("{0:?} is not a period: give a year and a month, such as 2026-10")]
    NotAPeriod(String),
    /// Usage that no terms cover.
    #[error(
        "no settlement terms of {vendor} cover {model} on {day}: add [[terms]] that are in force then and approved"
    )]
    NoTerms {
        /// Vendor.
        vendor: String,
        /// Billed model.
        model: String,
        /// Day in Asia/Shanghai.
        day: jiff::civil::Date,
    },
    /// Usage rated by a book that is not at hand.
    #[error("rows of {model} were rated by price book {version}, which is not at hand: import it")]
    UnknownPriceBook {
        /// Billed model.
        model: String,
        /// Version of the book.
        version: String,
    },
    /// A price id that the book does not have.
    #[error("rows of {model} name the price {price}, which price book {version} does not have")]
    UnknownPrice {
        /// Billed model.
        model: String,
        /// Version of the book.
        version: String,
        /// Id of the price.
        price: String,
    },
    /// A class was used for which the row names no price.
    #[error("rows of {model} on {day} have {class} and name no price for it")]
    ClassWithoutPrice {
        /// Billed model.
        model: String,
        /// Day in Asia/Shanghai.
        day: jiff::civil::Date,
        /// Token class.
        class: &'static str,
    },
    /// A sum over rows with more than one discount: they have to be summed apart.
    #[error(
        "the discount on {price} changes within a sum of {day}, so that its usage cannot be proved"
    )]
    DiscountChanges {
        /// Id of the price.
        price: String,
        /// Day in Asia/Shanghai.
        day: jiff::civil::Date,
    },
    /// Tokens × price is not what was stored.
    #[error(
        "the rows of {model} on {day} do not foot: tokens × price is {computed}, stored is {stored} ({prices} of price book {version})"
    )]
    DoesNotFoot {
        /// Billed model.
        model: String,
        /// Day in Asia/Shanghai.
        day: jiff::civil::Date,
        /// Price ids.
        prices: String,
        /// Version of the book.
        version: String,
        /// What comes out, as a decimal.
        computed: String,
        /// What the rows have, as a decimal.
        stored: String,
    },
    /// An amount in a currency without a rate.
    #[error(
        "{terms} settles in {to} and {period} has amounts in {from}: add [[fx]] from {from} to {to} for {period}"
    )]
    NoRate {
        /// Id of the terms.
        terms: String,
        /// Currency of the amounts.
        from: String,
        /// Currency of settlement.
        to: String,
        /// Period.
        period: Period,
    },
    /// A posted adjustment that cannot be.
    #[error("adjustment {id}: {what}")]
    BadAdjustment {
        /// Id of the adjustment.
        id: String,
        /// What is wrong with it.
        what: String,
    },
    /// Rows that belong on no statement of this period.
    #[error("a row of {day} is not for a statement of {period}")]
    WrongPeriod {
        /// Day in Asia/Shanghai.
        day: jiff::civil::Date,
        /// Period.
        period: Period,
    },
    /// Numbers beyond what can be added exactly.
    #[error("the amounts of {0} are too large to be added")]
    Overflow(String),
    /// A stored object that is damaged.
    #[error("{0}")]
    Damaged(String),
}

impl SettlementError {
    /// What the caller should do.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAPeriod(_)
            | Self::NoTerms { .. }
            | Self::UnknownPriceBook { .. }
            | Self::NoRate { .. }
            | Self::BadAdjustment { .. } => ErrorKind::Invalid,
            Self::UnknownPrice { .. }
            | Self::ClassWithoutPrice { .. }
            | Self::DiscountChanges { .. }
            | Self::DoesNotFoot { .. }
            | Self::WrongPeriod { .. }
            | Self::Overflow(_)
            | Self::Damaged(_) => ErrorKind::Data,
        }
    }
}
