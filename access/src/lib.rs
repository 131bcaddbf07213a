//! Who may do what: users, their roles, what they prove themselves with, and TLS.
//!
//! - [`Role`], [`Permission`]: what a role may ask for. Which tables and rows SQL shows it is the
//!   query engine's matrix.
//! - [`UsersFile`]: the file of users as it lies on disk, without a password in it.
//! - [`Directory`]: the users of a running process; it notices when the file changes.
//! - [`Verifier`], [`Exchange`]: SCRAM-SHA-256, for the PostgreSQL wire.
//! - [`Token`], [`TokenHash`]: bearer tokens, for HTTP.
//! - [`Caller`]: who asks, once that is known.
//! - [`Certificate`]: certificate and key of the listeners.
//! - [`looking_client`], [`valid_ms`]: the certificate that another server presents.

mod caller;
mod directory;
mod error;
mod presented;
mod random;
mod role;
mod scram;
mod sign_ins;
mod tls;
mod token;
mod user;
mod users_file;
mod verifier;

pub use caller::{Caller, Channel};
pub use directory::Directory;
pub use error::{AccessError, ErrorKind};
pub use presented::{looking_client, valid_ms};
pub use role::{Permission, Role};
pub use scram::{Exchange, Final};
pub use sign_ins::{SignIn, SignIns};
pub use tls::Certificate;
pub use token::{Token, TokenHash};
pub use user::{User, check_name, check_password};
pub use users_file::UsersFile;
pub use verifier::{ITERATIONS, Verifier};
