//! Account commands: what a portal or an operator tells an account to do.

use tally_schemas::TEXT_MAX_BYTES;
use xxhash_rust::xxh3::xxh3_64;

use crate::command_json;
use crate::package::Cap;
use crate::reference::Problem;

/// Longest id of a command, in bytes: the id of a bucket is this, `/` and its number.
pub const COMMAND_ID_MAX_BYTES: usize = TEXT_MAX_BYTES;
/// Most buckets of one purchase.
pub const QUANTITY_MAX: u32 = 1_000;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// With the account its identity; a purchase's is the id of its bucket.
    pub id: String,
    /// Whose buckets.
    pub account: String,
    /// From when, ms of UTC.
    pub at_ms: i64,
    /// What to do.
    pub action: Action,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Adds buckets.
    Purchase {
        /// Package.
        package: String,
        /// Buckets, 1 to [`QUANTITY_MAX`].
        quantity: u32,
    },
    /// Raises a bucket.
    TopUp {
        /// Bucket.
        bucket: String,
        /// Points, above 0.
        points_micro: i64,
        /// What was paid, from 0.
        amount_micro: i64,
    },
    /// Moves points between two buckets.
    Transfer {
        /// From.
        from_bucket: String,
        /// To.
        to_bucket: String,
        /// Points, above 0.
        points_micro: i64,
    },
    /// Ends a bucket.
    Cancel {
        /// Bucket.
        bucket: String,
    },
    /// Gives points back or takes them.
    Adjust {
        /// Bucket.
        bucket: String,
        /// Points, not 0; below 0 where money is given back for them.
        points_micro: i64,
        /// Whether what is taken is paid back, at what it would have been allocated.
        refund: bool,
        /// Why.
        reason: String,
        /// Who approved it.
        approver: String,
    },
    /// Sets what is given of these.
    SetFlags {
        /// Consent to a tariff, or its withdrawal.
        overflow: Option<Option<String>>,
        /// Region, or none.
        region: Option<Option<String>>,
        /// Caps of members; none removes them.
        members: Vec<(String, Option<Vec<Cap>>)>,
    },
}

impl Action {
    /// Name, the value of the field `command`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Purchase { .. } => "purchase",
            Self::TopUp { .. } => "top_up",
            Self::Transfer { .. } => "transfer",
            Self::Cancel { .. } => "cancel",
            Self::Adjust { .. } => "adjust",
            Self::SetFlags { .. } => "set_flags",
        }
    }
}

impl Command {
    /// Reads a command from the bytes of a record.
    ///
    /// # Errors
    /// [`CommandError::BadCommand`] with everything that is wrong, or
    /// [`CommandError::UnknownFlag`] where that is all.
    pub fn parse(bytes: &[u8]) -> Result<Self, CommandError> {
        command_json::parse(bytes)
    }

    /// Reads a command from JSON.
    ///
    /// # Errors
    /// As [`Command::parse`].
    pub fn from_value(value: &serde_json::Value) -> Result<Self, CommandError> {
        command_json::from_value(value)
    }

    /// Hash of the identity: account and id.
    pub fn identity_hash(&self) -> u64 {
        let mut bytes = Vec::with_capacity(self.account.len() + self.id.len() + 16);
        put_part(&mut bytes, &self.account);
        put_part(&mut bytes, &self.id);
        xxh3_64(&bytes)
    }

    /// Hash of everything else: the same for every way to write the same command.
    pub fn content_hash(&self) -> u64 {
        let mut bytes = Vec::with_capacity(128);
        let mut put = |part: &str| put_part(&mut bytes, part);
        put(self.action.name());
        put(&self.at_ms.to_string());
        match &self.action {
            Action::Purchase { package, quantity } => {
                put(package);
                put(&quantity.to_string());
            }
            Action::TopUp { bucket, points_micro, amount_micro } => {
                put(bucket);
                put(&points_micro.to_string());
                put(&amount_micro.to_string());
            }
            Action::Transfer { from_bucket, to_bucket, points_micro } => {
                put(from_bucket);
                put(to_bucket);
                put(&points_micro.to_string());
            }
            Action::Cancel { bucket } => put(bucket),
            Action::Adjust { bucket, points_micro, refund, reason, approver } => {
                put(bucket);
                put(&points_micro.to_string());
                put(reason);
                put(approver);
                // Only then, so that what was hashed before there were refunds hashes the same.
                if *refund {
                    put("refund");
                }
            }
            Action::SetFlags { overflow, region, members } => {
                for flag in [overflow, region] {
                    put(match flag {
                        None => "",
                        Some(None) => "null",
                        Some(Some(_)) => "text",
                    });
                    put(flag.as_ref().and_then(Option::as_deref).unwrap_or_default());
                }
                for (subscriber, caps) in members {
                    put(subscriber);
                    put(if caps.is_some() { "caps" } else { "null" });
                    for cap in caps.iter().flatten() {
                        put(cap.window.name());
                        put(&cap.limit_micro.to_string());
                    }
                }
            }
        }
        xxh3_64(&bytes)
    }
}

fn put_part(bytes: &mut Vec<u8>, part: &str) {
    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part.as_bytes());
}

/// A command is held back, and nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Fields that are wrong or missing.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    BadCommand(Vec<Problem>),
    /// Flags that do not exist.
    #[error("unknown flags: {}", .0.join(", "))]
    UnknownFlag(Vec<String>),
    /// There is no approved package of this id.
    #[error("there is no package {0}")]
    UnknownPackage(String),
    /// The package or tariff is not sold at this time, or not to accounts of this region.
    #[error("{0} is not sold to this account at this time")]
    PackageNotSold(String),
    /// The account has no such bucket, or it has closed.
    #[error("the account has no open bucket {0}")]
    UnknownBucket(String),
    /// The bucket has ended.
    #[error("bucket {0} has ended")]
    BucketExpired(String),
    /// More is given back than was used, or more is taken than is left.
    #[error("bucket {0} cannot be adjusted by so much")]
    AdjustOutOfRange(String),
    /// More is moved than is left.
    #[error("bucket {0} has less left than is to be moved")]
    TransferOutOfRange(String),
    /// The buckets have prices in two currencies.
    #[error("the buckets have prices in two currencies")]
    CurrencyMismatch,
    /// There is no approved tariff of this id.
    #[error("there is no tariff {0}")]
    UnknownTariff(String),
    /// The account has a bucket of this id from another purchase.
    #[error("the account has a bucket {0} already")]
    ConflictingDuplicate(String),
    /// Allowance and price are too large to be counted exactly.
    #[error("allowance and price cannot be counted exactly")]
    AmountOverflow,
    /// The account's state in memory does not parse.
    #[error("the account's state is damaged")]
    Damaged,
}

impl CommandError {
    /// Stable code, `suspense.subreason`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadCommand(_) => "bad_command",
            Self::UnknownFlag(_) => "unknown_flag",
            Self::UnknownPackage(_) => "unknown_package",
            Self::PackageNotSold(_) => "package_not_sold",
            Self::UnknownBucket(_) => "unknown_bucket",
            Self::BucketExpired(_) => "bucket_expired",
            Self::AdjustOutOfRange(_) => "adjust_out_of_range",
            Self::TransferOutOfRange(_) => "transfer_out_of_range",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::UnknownTariff(_) => "unknown_tariff",
            Self::ConflictingDuplicate(_) => "conflicting_duplicate",
            Self::AmountOverflow => "amount_overflow",
            Self::Damaged => "damaged_account",
        }
    }
}
