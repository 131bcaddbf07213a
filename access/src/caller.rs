//! Who asks.

use std::net::SocketAddr;

use crate::role::{Permission, Role};
use crate::user::User;

/// By which way somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The PostgreSQL wire.
    Postgres,
    /// HTTP.
    Http,
    /// Arrow Flight SQL.
    Flight,
}

impl Channel {
    /// Name in metrics and in the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Http => "http",
            Self::Flight => "flight",
        }
    }
}

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    name: String,
    role: Option<Role>,
    channel: Channel,
    peer: Option<SocketAddr>,
}

impl Caller {
    /// Whoever reaches a process without users, which only listens on loopback: somebody who has
    /// this machine, and with it the files.
    pub fn local(channel: Channel, peer: Option<SocketAddr>) -> Self {
        Self { name: "local".to_owned(), role: None, channel, peer }
    }

    /// A user who has signed in.
    pub fn of(user: &User, channel: Channel, peer: Option<SocketAddr>) -> Self {
        Self { name: user.name.clone(), role: Some(user.role.clone()), channel, peer }
    }

    /// Name of the user; `local` without users.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role; `None` without users.
    pub fn role(&self) -> Option<&Role> {
        self.role.as_ref()
    }

    /// The role in words.
    pub fn role_name(&self) -> String {
        self.role.as_ref().map_or_else(|| "local".to_owned(), ToString::to_string)
    }

    /// By which way they ask.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// From where they ask, where that is known.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether they may ask for this.
    pub fn may(&self, permission: Permission) -> bool {
        self.role.as_ref().is_none_or(|role| role.may(permission))
    }
}
