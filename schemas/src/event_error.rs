//! What can be wrong with a usage event, each with a stable code.

use std::fmt;

/// Stable code of a defect. The text form is part of the HTTP answer and of `suspense.subreason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventErrorCode {
    /// The bytes are not JSON, or not protobuf.
    Malformed,
    /// A field was given twice.
    DuplicateField,
    /// `source` is absent or empty.
    MissingSource,
    /// `id` is absent or empty.
    MissingId,
    /// `account` is absent or empty.
    MissingAccount,
    /// `model` is absent or empty.
    MissingModel,
    /// `completed_at` is absent.
    MissingCompletedAt,
    /// `usage` is absent or names no class.
    MissingUsage,
    /// A field has another type than the schema says.
    InvalidType,
    /// A text is longer than the schema allows.
    TextTooLong,
    /// A time is neither integer milliseconds nor RFC 3339 with an offset.
    InvalidTime,
    /// `started_at` is after `completed_at`.
    StartedAfterCompleted,
    /// A count is not a whole number.
    CountNotInteger,
    /// A count is negative.
    CountNegative,
    /// A count is above 2^53.
    CountOutOfRange,
    /// A class that `usage` does not have.
    UnknownUsageClass,
    /// `usage.total` is not the sum of the token classes.
    TotalMismatch,
    /// `reasoning` is more than `output`, of which it is a part.
    ReasoningExceedsOutput,
    /// `usage_source` is none of the known ones.
    InvalidUsageSource,
    /// A phone number stands where an opaque id belongs.
    PhoneNumber,
}

impl EventErrorCode {
    /// Text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::DuplicateField => "duplicate_field",
            Self::MissingSource => "missing_source",
            Self::MissingId => "missing_id",
            Self::MissingAccount => "missing_account",
            Self::MissingModel => "missing_model",
            Self::MissingCompletedAt => "missing_completed_at",
            Self::MissingUsage => "missing_usage",
            Self::InvalidType => "invalid_type",
            Self::TextTooLong => "text_too_long",
            Self::InvalidTime => "invalid_time",
            Self::StartedAfterCompleted => "started_after_completed",
            Self::CountNotInteger => "count_not_integer",
            Self::CountNegative => "count_negative",
            Self::CountOutOfRange => "count_out_of_range",
            Self::UnknownUsageClass => "unknown_usage_class",
            Self::TotalMismatch => "total_mismatch",
            Self::ReasoningExceedsOutput => "reasoning_exceeds_output",
            Self::InvalidUsageSource => "invalid_usage_source",
            Self::PhoneNumber => "phone_number",
        }
    }

    /// The suspense reason of an event with this defect.
    pub const fn reason(self) -> SuspenseReason {
        match self {
            Self::Malformed | Self::DuplicateField => SuspenseReason::Malformed,
            Self::MissingSource
            | Self::MissingId
            | Self::MissingAccount
            | Self::MissingCompletedAt => SuspenseReason::MissingIdentity,
            Self::MissingModel | Self::MissingUsage => SuspenseReason::Incomplete,
            Self::InvalidType | Self::TextTooLong | Self::InvalidUsageSource => {
                SuspenseReason::InvalidField
            }
            Self::InvalidTime | Self::StartedAfterCompleted => SuspenseReason::InvalidTime,
            Self::CountNotInteger | Self::CountNegative | Self::CountOutOfRange => {
                SuspenseReason::InvalidCount
            }
            Self::UnknownUsageClass => SuspenseReason::UnknownUsageClass,
            Self::TotalMismatch | Self::ReasoningExceedsOutput => SuspenseReason::ClassesDoNotAddUp,
            Self::PhoneNumber => SuspenseReason::PhoneNumber,
        }
    }

    /// Whether an event with this defect cannot be attributed, so that the door refuses it:
    /// no source, id, account or time, or not readable at all.
    pub const fn refused_at_door(self) -> bool {
        matches!(
            self.reason(),
            SuspenseReason::Malformed
                | SuspenseReason::MissingIdentity
                | SuspenseReason::PhoneNumber
        )
    }
}

impl fmt::Display for EventErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One defect of an event: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventError {
    /// Stable code.
    pub code: EventErrorCode,
    /// Field, as a path such as `usage.input`; empty for the event as a whole.
    pub field: String,
    /// Words for a person.
    pub message: String,
}

impl EventError {
    /// A defect of one field.
    pub fn new(code: EventErrorCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: message.into() }
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}: {}", self.code, self.message)
        } else {
            write!(f, "{} at {}: {}", self.code, self.field, self.message)
        }
    }
}

/// Why an event is held back. The text form is `suspense.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SuspenseReason {
    /// Not readable.
    Malformed,
    /// No source, id, account or time.
    MissingIdentity,
    /// No model or no usage.
    Incomplete,
    /// A field of the wrong type, or too long.
    InvalidField,
    /// A time that cannot be read, or a start after the end.
    InvalidTime,
    /// A count that is no whole number from 0 to 2^53.
    InvalidCount,
    /// A class that is not known.
    UnknownUsageClass,
    /// Classes that do not add up.
    ClassesDoNotAddUp,
    /// A phone number where an id belongs.
    PhoneNumber,
    /// The model has no vendor and no alias.
    UnknownModel,
    /// Completed more than an hour after Kafka received it.
    TimeInFuture,
    /// Older than the dedupe horizon.
    TooOld,
    /// Same identity, other content.
    ConflictingDuplicate,
    /// Found in a partition that is not its account's.
    WrongPartition,
    /// A record without a value.
    Tombstone,
    /// A record larger than the limit.
    TooLarge,
    /// An account command while events are only counted.
    UnsupportedCommand,
    /// A class, or the model, has no price at the pricing instant.
    NoPrice,
    /// A calendar of its prices has no holidays for the year.
    UnknownCalendarYear,
    /// Two prices of the same rank hold.
    AmbiguousPrice,
    /// Its prices are in two currencies.
    CurrencyMismatch,
    /// Its amount would leave what tables can hold.
    AmountOverflow,
    /// An account command with a wrong or missing field.
    BadCommand,
    /// An account command that sets a flag that does not exist.
    UnknownFlag,
    /// A purchase of a package that does not exist.
    UnknownPackage,
    /// A package or tariff that is not sold to the account then.
    PackageNotSold,
    /// A bucket that the account does not have, or that is closed.
    UnknownBucket,
    /// A bucket that has ended.
    BucketExpired,
    /// A tariff that does not exist.
    UnknownTariff,
    /// More given back than used, or taken than left.
    AdjustOutOfRange,
    /// More moved than left.
    TransferOutOfRange,
    /// A package weighs by a table that does not exist.
    UnknownWeights,
    /// The account's state in memory does not parse.
    DamagedAccount,
    /// A correction of an earlier event that waits to be carried out.
    CorrectionPending,
}

impl SuspenseReason {
    /// Every reason.
    pub const ALL: [Self; 34] = [
        Self::Malformed,
        Self::MissingIdentity,
        Self::Incomplete,
        Self::InvalidField,
        Self::InvalidTime,
        Self::InvalidCount,
        Self::UnknownUsageClass,
        Self::ClassesDoNotAddUp,
        Self::PhoneNumber,
        Self::UnknownModel,
        Self::TimeInFuture,
        Self::TooOld,
        Self::ConflictingDuplicate,
        Self::WrongPartition,
        Self::Tombstone,
        Self::TooLarge,
        Self::UnsupportedCommand,
        Self::NoPrice,
        Self::UnknownCalendarYear,
        Self::AmbiguousPrice,
        Self::CurrencyMismatch,
        Self::AmountOverflow,
        Self::BadCommand,
        Self::UnknownFlag,
        Self::UnknownPackage,
        Self::PackageNotSold,
        Self::UnknownBucket,
        Self::BucketExpired,
        Self::UnknownTariff,
        Self::AdjustOutOfRange,
        Self::TransferOutOfRange,
        Self::UnknownWeights,
        Self::DamagedAccount,
        Self::CorrectionPending,
    ];

    /// The reason of a text form.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// Text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::MissingIdentity => "missing_identity",
            Self::Incomplete => "incomplete",
            Self::InvalidField => "invalid_field",
            Self::InvalidTime => "invalid_time",
            Self::InvalidCount => "invalid_count",
            Self::UnknownUsageClass => "unknown_usage_class",
            Self::ClassesDoNotAddUp => "classes_do_not_add_up",
            Self::PhoneNumber => "phone_number",
            Self::UnknownModel => "unknown_model",
            Self::TimeInFuture => "time_in_future",
            Self::TooOld => "too_old",
            Self::ConflictingDuplicate => "conflicting_duplicate",
            Self::WrongPartition => "wrong_partition",
            Self::Tombstone => "tombstone",
            Self::TooLarge => "too_large",
            Self::UnsupportedCommand => "unsupported_command",
            Self::NoPrice => "no_price",
            Self::UnknownCalendarYear => "unknown_calendar_year",
            Self::AmbiguousPrice => "ambiguous_price",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::AmountOverflow => "amount_overflow",
            Self::BadCommand => "bad_command",
            Self::UnknownFlag => "unknown_flag",
            Self::UnknownPackage => "unknown_package",
            Self::PackageNotSold => "package_not_sold",
            Self::UnknownBucket => "unknown_bucket",
            Self::BucketExpired => "bucket_expired",
            Self::UnknownTariff => "unknown_tariff",
            Self::AdjustOutOfRange => "adjust_out_of_range",
            Self::TransferOutOfRange => "transfer_out_of_range",
            Self::UnknownWeights => "unknown_weights",
            Self::DamagedAccount => "damaged_account",
            Self::CorrectionPending => "correction_pending",
        }
    }
}

impl fmt::Display for SuspenseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
