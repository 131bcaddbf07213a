//! `tally config show`, and how every command gets its configuration.

use std::path::Path;

use clap::Subcommand;
use comfy_table::{Table, presets};
use tally_schemas::{Config, Setting};

use crate::cli::{GivenSetting, GlobalArgs};
use crate::exit::Failure;
use crate::stdout;

/// The file that is read where no other is named.
const DEFAULT_FILE: &str = "tally.toml";

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print each setting with its value and where that comes from
    Show,
}

pub(crate) fn run(global: &GlobalArgs, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show => {
            let (_, settings) = load_settings(global, &[])?;
            show(&settings, global.json)
        }
    }
}

/// The effective configuration with these flags.
pub(crate) fn load(global: &GlobalArgs, flags: &[GivenSetting]) -> Result<Config, Failure> {
    Ok(load_settings(global, flags)?.0)
}

/// The effective configuration with these flags, and the origin of each setting.
pub(crate) fn load_settings(
    global: &GlobalArgs,
    flags: &[GivenSetting],
) -> Result<(Config, Vec<Setting>), Failure> {
    let default = Path::new(DEFAULT_FILE);
    let file = global.config.as_deref().or_else(|| default.is_file().then_some(default));
    let flags: Vec<(String, String)> =
        flags.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Ok(Config::load(file, &flags)?)
}

fn show(settings: &[Setting], json: bool) -> Result<(), Failure> {
    if json {
        return stdout::print(serde_json::to_string_pretty(settings)?);
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["setting", "value", "origin"]);
    for setting in settings {
        let value = if setting.value.is_empty() { "\"\"" } else { &setting.value };
        table.add_row([setting.key.as_str(), value, &setting.origin.to_string()]);
    }
    stdout::print(table)
}
