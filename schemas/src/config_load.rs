//! Puts a configuration together: defaults, `tally.toml`, `TALLY_…` environment, flags, in that
//! order, remembering where each value comes from.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use crate::config::{Config, ConfigError, Origin, Setting};
use crate::s3_options::{S3_OPTIONS, S3_SECRETS};
use crate::webhook_config::HIDDEN;

/// Settings of this section have any name, dots included: it belongs to librdkafka.
const FREE_SECTION: &str = "log.kafka_options.";

/// Settings of this section are those that the store's client has, each a text.
const S3_SECTION: &str = "store.s3_options.";

/// Prefix of environment variables; the rest names sections and key, separated by `__`.
const VARIABLE_PREFIX: &str = "TALLY_";

/// One value that was given.
struct Given {
    key: String,
    value: Value,
    origin: Origin,
}

impl Config {
    /// Reads the configuration and the origin of each value. `flags` are `(key, value)` pairs.
    /// A variable of the environment counts where its name has a `__`, such as
    /// `TALLY_AGGREGATE__FRESHNESS_MS`.
    ///
    /// # Errors
    /// An unknown key, naming the nearest known one; a value of the wrong type; a file that is
    /// absent or not TOML.
    pub fn load(
        file: Option<&Path>,
        flags: &[(String, String)],
    ) -> Result<(Self, Vec<Setting>), ConfigError> {
        Self::load_with(file, std::env::vars_os(), flags)
    }

    /// Like [`Config::load`], with the environment handed over.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with<Name, Text>(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (Name, Text)>,
        flags: &[(String, String)],
    ) -> Result<(Self, Vec<Setting>), ConfigError>
    where
        Name: AsRef<std::ffi::OsStr>,
        Text: AsRef<std::ffi::OsStr>,
    {
        let mut given = match file {
            Some(path) => given_in_file(path)?,
            None => Vec::new(),
        };
        let mut variables: Vec<(String, String)> = environment
            .into_iter()
            .filter_map(|(name, text)| {
                let name = name.as_ref().to_str()?.strip_prefix(VARIABLE_PREFIX)?.to_owned();
                name.contains("__").then_some((name, text.as_ref().to_str()?.to_owned()))
            })
            .collect();
        variables.sort();
        for (name, text) in variables {
            given.push(Given {
                key: key_of_variable(&name),
                value: Value::String(text),
                origin: Origin::Environment(format!("{VARIABLE_PREFIX}{name}")),
            });
        }
        for (key, text) in flags {
            given.push(Given {
                key: key.clone(),
                value: Value::String(text.clone()),
                origin: Origin::Flag,
            });
        }
        put_together(given)
    }

    /// The store's URL: as configured, or a folder below the data folder.
    pub fn store_url(&self) -> String {
        if self.store.url.is_empty() {
            format!("{}/store", self.log.data.trim_end_matches('/'))
        } else {
            self.store.url.clone()
        }
    }
}

/// `AGGREGATE__FRESHNESS_MS` is `aggregate.freshness_ms`; names of librdkafka have dots where a
/// variable has underscores.
fn key_of_variable(name: &str) -> String {
    let key = name.to_ascii_lowercase().replace("__", ".");
    match key.strip_prefix(FREE_SECTION) {
        Some(option) => format!("{FREE_SECTION}{}", option.replace('_', ".")),
        None => key,
    }
}

fn given_in_file(path: &Path) -> Result<Vec<Given>, ConfigError> {
    let file = path.display().to_string();
    let unreadable = |message: String| ConfigError::UnreadableFile { file: file.clone(), message };
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    let table: Table = text
        .parse()
        .map_err(|e: toml::de::Error| unreadable(e.to_string().trim_end().to_owned()))?;
    let mut given = Vec::new();
    flatten("", &Value::Table(table), &mut |key, value| {
        given.push(Given {
            key: key.to_owned(),
            value: value.clone(),
            origin: Origin::File(file.clone()),
        });
    });
    Ok(given)
}

fn put_together(given: Vec<Given>) -> Result<(Config, Vec<Setting>), ConfigError> {
    let defaults = Value::try_from(Config::default()).map_err(unserializable)?;
    let mut known = BTreeMap::new();
    flatten("", &defaults, &mut |key, value| drop(known.insert(key.to_owned(), value.clone())));
    // An empty table is a section whose keys are free, not a setting.
    known.retain(|_, value| !value.is_table());
    let mut effective = defaults.clone();
    let mut origins = BTreeMap::new();
    for Given { key, value, origin } in given {
        if value.as_table().is_some_and(Table::is_empty) && is_section(&defaults, &key) {
            continue;
        }
        let value = checked(&known, &key, value, &origin)?;
        // Alone on top of the defaults first, so that an error can name the key and its origin.
        let mut alone = defaults.clone();
        put(&mut alone, &key, value.clone());
        if let Err(error) = alone.try_into::<Config>() {
            return Err(invalid(&key, &origin, error.message()));
        }
        put(&mut effective, &key, value);
        origins.insert(key, origin);
    }
    let mut settings = Vec::new();
    flatten("", &effective, &mut |key, value| {
        if value.is_table() {
            return;
        }
        let value = match value {
            _ if is_secret(key) => HIDDEN.to_owned(),
            Value::Array(_) => hiding_secrets(value.clone()).to_string(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let origin = origins.get(key).cloned().unwrap_or(Origin::Default);
        settings.push(Setting { key: key.to_owned(), value, origin });
    });
    settings.sort_by(|left, right| left.key.cmp(&right.key));
    let config =
        effective.try_into().map_err(|error: toml::de::Error| ConfigError::UnreadableFile {
            file: "configuration".to_owned(),
            message: error.message().to_owned(),
        })?;
    Ok((config, settings))
}

fn unserializable(error: toml::ser::Error) -> ConfigError {
    ConfigError::UnreadableFile { file: "defaults".to_owned(), message: error.to_string() }
}

fn invalid(key: &str, origin: &Origin, message: &str) -> ConfigError {
    ConfigError::InvalidValue {
        key: key.to_owned(),
        origin: origin.to_string(),
        message: message.to_owned(),
    }
}

/// The value in the type that the setting has: the environment and flags only have texts.
fn checked(
    known: &BTreeMap<String, Value>,
    key: &str,
    value: Value,
    origin: &Origin,
) -> Result<Value, ConfigError> {
    let wanted = match known.get(key) {
        Some(default) => default.clone(),
        None if key.len() > FREE_SECTION.len() && key.starts_with(FREE_SECTION) => {
            Value::String(String::new())
        }
        None if is_s3_option(key) => Value::String(String::new()),
        None => {
            return Err(ConfigError::UnknownKey {
                key: key.to_owned(),
                origin: origin.to_string(),
                nearest: nearest(known, key),
            });
        }
    };
    if wanted.same_type(&value) {
        return Ok(value);
    }
    let is_text_only = !matches!(origin, Origin::File(_));
    let parsed = match (&wanted, &value) {
        (Value::Integer(_), Value::String(text)) if is_text_only => {
            text.trim().replace('_', "").parse().ok().map(Value::Integer)
        }
        (Value::Boolean(_), Value::String(text)) if is_text_only => {
            text.trim().parse().ok().map(Value::Boolean)
        }
        (Value::Array(_), Value::String(text)) if is_text_only => list_of(text),
        // Both clients take every setting as a text.
        (Value::String(_), Value::Integer(_) | Value::Boolean(_))
            if key.starts_with(FREE_SECTION) || key.starts_with(S3_SECTION) =>
        {
            Some(Value::String(value.to_string()))
        }
        _ => None,
    };
    let words = match wanted {
        Value::Integer(_) => "a whole number",
        Value::Boolean(_) => "true or false",
        // Elements may have secrets in them: what was found is not shown.
        Value::Array(_) if parsed.is_none() => return Err(invalid(key, origin, "expected a list")),
        _ if parsed.is_none() && is_secret(key) => {
            return Err(invalid(key, origin, "expected a text"));
        }
        _ => "a text",
    };
    parsed.ok_or_else(|| invalid(key, origin, &format!("expected {words}, found {value}")))
}

/// The known key that looks most like this one. A wrong section with the right name counts as
/// near, however different the sections are spelled.
fn nearest(known: &BTreeMap<String, Value>, key: &str) -> Option<String> {
    let name_of = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let name = name_of(key);
    let s3_options = S3_OPTIONS.map(|option| format!("{S3_SECTION}{option}"));
    known
        .keys()
        .chain(&s3_options)
        .map(|candidate| {
            let whole = strsim::damerau_levenshtein(candidate, key);
            let by_name = strsim::damerau_levenshtein(&name_of(candidate), &name) + 2;
            (whole.min(by_name), whole, candidate)
        })
        .min()
        .map(|(_, _, candidate)| candidate.clone())
}

fn is_section(defaults: &Value, key: &str) -> bool {
    let mut place = defaults;
    for part in key.split('.') {
        match place.get(part) {
            Some(inner) => place = inner,
            None => return false,
        }
    }
    place.is_table()
}

/// A list as the environment has it: in brackets, as in the file.
fn list_of(text: &str) -> Option<Value> {
    let mut table: Table = format!("list = {text}").parse().ok()?;
    table.remove("list").filter(Value::is_array)
}

/// A value as it is shown.
fn hiding_secrets(value: Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.into_iter().map(hiding_secrets).collect()),
        Value::Table(table) => {
            let shown = table.into_iter().map(|(key, value)| {
                let hidden = key == "secret";
                let shown = if hidden { HIDDEN.into() } else { hiding_secrets(value) };
                (key, shown)
            });
            Value::Table(shown.collect())
        }
        other => other,
    }
}

fn is_s3_option(key: &str) -> bool {
    key.strip_prefix(S3_SECTION).is_some_and(|option| S3_OPTIONS.contains(&option))
}

/// Settings whose values are not shown.
fn is_secret(key: &str) -> bool {
    if let Some(option) = key.strip_prefix(S3_SECTION) {
        return S3_SECRETS.contains(&option);
    }
    key.starts_with(FREE_SECTION)
        && ["password", "passphrase", "secret", "key.pem", "sasl.jaas", "sasl.oauthbearer.config"]
            .iter()
            .any(|word| key.contains(word))
}

/// Calls `leaf` with each value that is not a table, and with empty tables. Names of the free
/// section are one level, whatever dots they have.
fn flatten(prefix: &str, value: &Value, leaf: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, leaf);
            }
        }
        other => leaf(prefix, other),
    }
}

/// Sets a value by its key.
fn put(root: &mut Value, key: &str, value: Value) {
    let (path, name) = match key.strip_prefix(FREE_SECTION) {
        Some(option) => (FREE_SECTION.trim_end_matches('.'), option),
        None => key.rsplit_once('.').unwrap_or(("", key)),
    };
    let mut place = root;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let Some(table) = place.as_table_mut() else { return };
        place = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
    }
    if let Some(table) = place.as_table_mut() {
        table.insert(name.to_owned(), value);
    }
}
