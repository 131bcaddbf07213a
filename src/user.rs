//! `tally user`: the file of users.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::json;
use tally_access::{Role, Token, User, UsersFile, Verifier, check_password};

use crate::cli::GlobalArgs;
use crate::exit::{Failure, FailureKind};
use crate::{config, stdout};

/// Most bytes of standard input that are read for a password.
const PASSWORD_READ_BYTES: u64 = 4_096;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, with a password from standard input or with a new token
    ///
    /// Only what a password or token is checked with is kept. A password is for the PostgreSQL
    /// wire, a token for HTTP; with --token it is printed, this once. To have both, add the other
    /// with --keep.
    Add(AddArgs),
    /// List the users, without what they prove themselves with
    List,
    /// Take a user out
    Remove {
        /// Name of the user
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Name: a-z, 0-9, '.', '_' and '-'
    name: String,
    /// finance, auditor, operator, gateway or vendor:NAME
    #[arg(long)]
    role: String,
    /// Make a token for HTTP and print it, instead of reading a password
    #[arg(long)]
    token: bool,
    /// Change a user who is there: the role, and the password or token
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(global: &GlobalArgs, command: UserCommand) -> Result<(), Failure> {
    let config = config::load(global, &[])?;
    let path = PathBuf::from(&config.auth.users_file);
    if path.as_os_str().is_empty() {
        return Err(Failure::usage("auth.users_file is not set: name the file of users there"));
    }
    match command {
        UserCommand::Add(args) => add(global, &path, &args),
        UserCommand::List => list(global, &UsersFile::read(&path)?),
        UserCommand::Remove { name } => {
            let mut file = UsersFile::read(&path)?;
            if file.remove(&name).is_none() {
                return Err(Failure::usage(format!("no user {name:?}")));
            }
            file.write(&path)?;
            stdout::print(format!("{name} is taken out"))
        }
    }
}

fn add(global: &GlobalArgs, path: &Path, args: &AddArgs) -> Result<(), Failure> {
    let role: Role = args.role.parse()?;
    let mut file = if path.exists() { UsersFile::read(path)? } else { UsersFile::default() };
    let before = file.get(&args.name).cloned();
    if before.is_some() && !args.keep {
        return Err(Failure::usage(format!(
            "user {:?} is there already: change them with --keep",
            args.name
        )));
    }
    let mut user = before.unwrap_or_else(|| User {
        name: args.name.clone(),
        role: role.clone(),
        password: None,
        token: None,
    });
    user.role = role;
    let token = if args.token { Some(Token::generate()?) } else { None };
    match &token {
        Some(token) => user.token = Some(token.hash()),
        None => {
            let password = read_password()?;
            check_password(&password)?;
            user.password = Some(Verifier::of_password(&password)?);
        }
    }
    let told = format!("{} is {}", user.name, user.role);
    file.insert(user.clone())?;
    file.write(path)?;
    let shown = token.as_ref().map(Token::expose);
    if global.json {
        let answer = json!({
            "name": user.name,
            "role": user.role.to_string(),
            "file": path.display().to_string(),
            "token": shown,
        });
        return stdout::print(serde_json::to_string_pretty(&answer)?);
    }
    match shown {
        Some(token) => {
            stdout::print(format!("{told}; the token, which is not shown again:\n{token}"))
        }
        None => stdout::print(told),
    }
}

/// The password on standard input, without the end of its line.
fn read_password() -> Result<String, Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(Failure::usage(
            "the password comes from standard input, where it is not shown: `read -rs P; printf %s \"$P\" | tally user add …`",
        ));
    }
    let mut text = String::new();
    let read = input.lock().take(PASSWORD_READ_BYTES).read_to_string(&mut text);
    // What was read is not repeated.
    read.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::InvalidData => FailureKind::Data,
            _ => FailureKind::Internal,
        };
        Failure::new(kind, "the password on standard input cannot be read as UTF-8")
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn list(global: &GlobalArgs, file: &UsersFile) -> Result<(), Failure> {
    if global.json {
        let users: Vec<_> = file
            .iter()
            .map(|user| {
                json!({
                    "name": user.name,
                    "role": user.role.to_string(),
                    "password": user.password.is_some(),
                    "token": user.token.is_some(),
                })
            })
            .collect();
        return stdout::print(serde_json::to_string_pretty(&users)?);
    }
    let word = |has: bool| if has { "yes" } else { "" };
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["user", "role", "password", "token"]);
    for user in file.iter() {
        let (password, token) = (word(user.password.is_some()), word(user.token.is_some()));
        table.add_row([user.name.as_str(), &user.role.to_string(), password, token]);
    }
    stdout::print(table)
}
