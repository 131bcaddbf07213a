//! Roles, and what each may ask for.

use std::fmt;
use std::str::FromStr;

use crate::error::AccessError;

/// Longest name of a vendor in a role, bytes.
const VENDOR_MAX_BYTES: usize = 128;

/// What a user is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads everything.
    Finance,
    /// Reads everything, the audit log first of all.
    Auditor,
    /// Runs the system: how far it is, what is held back or missing, account commands. No books.
    Operator,
    /// A gateway: hands in events and control totals, and asks for quotas.
    Gateway,
    /// A vendor's own people: the rows of this vendor, and of them what concerns it.
    Vendor(String),
}

/// What can be asked of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// To run statements; what these see is decided table by table.
    Sql,
    /// To hand in usage events, and what a gateway says it sent.
    PostEvents,
    /// To hand account commands in.
    PostCommands,
    /// To read the quota of any account.
    ReadQuota,
    /// To read metrics and the state of the stream.
    Watch,
}

impl Role {
    /// Whether the role may ask for this.
    pub const fn may(&self, permission: Permission) -> bool {
        use Permission::{PostCommands, PostEvents, ReadQuota, Sql, Watch};
        match self {
            Self::Finance | Self::Auditor => matches!(permission, Sql | ReadQuota | Watch),
            Self::Operator => matches!(permission, Sql | PostCommands | ReadQuota | Watch),
            Self::Gateway => matches!(permission, PostEvents | ReadQuota),
            Self::Vendor(_) => matches!(permission, Sql),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finance => f.write_str("finance"),
            Self::Auditor => f.write_str("auditor"),
            Self::Operator => f.write_str("operator"),
            Self::Gateway => f.write_str("gateway"),
            Self::Vendor(vendor) => write!(f, "vendor:{vendor}"),
        }
    }
}

impl FromStr for Role {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        match text {
            "finance" => return Ok(Self::Finance),
            "auditor" => return Ok(Self::Auditor),
            "operator" => return Ok(Self::Operator),
            "gateway" => return Ok(Self::Gateway),
            _ => {}
        }
        let vendor = text.strip_prefix("vendor:").filter(|vendor| {
            !vendor.is_empty()
                && vendor.len() <= VENDOR_MAX_BYTES
                && !vendor.chars().any(|c| c.is_whitespace() || c.is_control())
        });
        vendor.map(|vendor| Self::Vendor(vendor.to_owned())).ok_or_else(|| {
            AccessError::Invalid(format!(
                "role {text:?}: expected finance, auditor, operator, gateway or vendor:NAME"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        for text in ["finance", "auditor", "operator", "gateway", "vendor:deepseek", "vendor:智谱"]
        {
            assert_eq!(text.parse::<Role>().unwrap().to_string(), text);
        }
        for text in
            ["", "local", "Finance", "vendor", "vendor:", "vendor:a b", "admin", "vendor:\n"]
        {
            assert!(text.parse::<Role>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_gateway_posts_events_and_reads_quotas_and_nothing_else() {
        use Permission::{PostCommands, PostEvents, ReadQuota, Sql, Watch};
        for (role, allowed) in [
            (Role::Gateway, vec![PostEvents, ReadQuota]),
            (Role::Vendor("x".to_owned()), vec![Sql]),
            (Role::Operator, vec![Sql, PostCommands, ReadQuota, Watch]),
            (Role::Finance, vec![Sql, ReadQuota, Watch]),
            (Role::Auditor, vec![Sql, ReadQuota, Watch]),
        ] {
            for permission in [Sql, PostEvents, PostCommands, ReadQuota, Watch] {
                assert_eq!(role.may(permission), allowed.contains(&permission), "{role}");
            }
        }
    }
}
