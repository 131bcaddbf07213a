//! `tally price`, `tally package`, `tally contract`: reference data that one person imports and
//! another approves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tally_rating::parse_instant;
use tally_reference::{
    FileOrigin, Imported, NewFiles, ReferenceKind, ReferenceStore, StoredFile, read_litellm,
};
use tally_schemas::Config;

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, FailureKind, file_failure};
use crate::{config, reference_words, stdout};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Days of price lists begin at midnight in Shanghai.
const SHANGHAI_MS: i64 = 8 * 3_600_000;

/// What can be done with prices.
#[derive(Debug, Subcommand)]
pub(crate) enum PriceCommand {
    /// Store files as a candidate, which somebody else must approve
    ///
    /// Prices as CSV or TOML; aliases, calendars, weights and products as TOML. What is approved
    /// already is passed over; the rest is added, nothing is overwritten. A record is known from
    /// its approval on, or from its known_from where that is later.
    Import(PriceImportArgs),
    /// Say everything that is wrong with files, and what to do; nothing is stored
    Lint(LintArgs),
    /// List the versions, or show what one contains and changes
    Show(ShowArgs),
    /// Approve a version that somebody else imported
    ///
    /// A running stream announces it in its log, within aggregate.reference_poll_ms: what comes
    /// after that is rated by it. What is stored is not rated again.
    Approve(ApproveArgs),
}

/// What can be done with packages and contracts.
#[derive(Debug, Subcommand)]
pub(crate) enum PlainCommand {
    /// Store files (TOML) as a candidate, which somebody else must approve
    ///
    /// What is approved already is passed over; the rest is added, nothing is overwritten. A
    /// record is known from its approval on, or from its known_from where that is later.
    Import(ImportArgs),
    /// Say everything that is wrong with files, and what to do; nothing is stored
    Lint(LintArgs),
    /// List the versions, or show what one contains and changes
    Show(ShowArgs),
    /// Approve a version that somebody else imported
    ///
    /// A running stream announces it in its log, within aggregate.reference_poll_ms: what comes
    /// after that is rated and charged by it. Settlement terms and exchange rates hold for every
    /// period that is put into review from now on. What is stored is not rated or charged again.
    Approve(ApproveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Files; together they are one version
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Who imports them
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PriceImportArgs {
    #[command(flatten)]
    import: ImportArgs,
    #[command(flatten)]
    map: MapArgs,
}

/// How a price list of somebody else is read.
#[derive(Debug, Args)]
struct MapArgs {
    /// What the files are
    #[arg(long, value_enum, default_value_t = PriceFormat::Tally, value_name = "FORMAT")]
    format: PriceFormat,
    /// From when on LiteLLM's prices hold: a time with an offset, or a date in Shanghai
    /// [default: today]
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    valid_from: Option<i64>,
    /// Take only these models of LiteLLM's; NAME* is every one that begins so
    #[arg(long, value_name = "MODEL")]
    only: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PriceFormat {
    /// Price files of Tally: CSV or TOML, by their names
    Tally,
    /// LiteLLM's model_prices_and_context_window.json: a candidate that nobody vouches for
    Litellm,
}

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Files; together they would be one version
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A version, or a file that was imported; without it, all versions are listed
    #[arg(value_name = "VERSION|FILE")]
    wanted: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The version, or a file that was imported as it is
    #[arg(value_name = "VERSION|FILE")]
    wanted: String,
    /// Who approves it: not the one who imported it
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// `tally price …`.
pub(crate) async fn run_price(global: &GlobalArgs, command: PriceCommand) -> Result<(), Failure> {
    let kind = ReferenceKind::Price;
    match command {
        PriceCommand::Import(PriceImportArgs { import: args, map }) => match map.format {
            PriceFormat::Tally => import(global, kind, args).await,
            PriceFormat::Litellm => import_litellm(global, args, &map).await,
        },
        PriceCommand::Lint(args) => lint(global, kind, args).await,
        PriceCommand::Show(args) => show(global, kind, args).await,
        PriceCommand::Approve(args) => approve(global, kind, args).await,
    }
}

/// `tally package …` and `tally contract …`.
pub(crate) async fn run_plain(
    global: &GlobalArgs,
    kind: ReferenceKind,
    command: PlainCommand,
) -> Result<(), Failure> {
    match command {
        PlainCommand::Import(args) => import(global, kind, args).await,
        PlainCommand::Lint(args) => lint(global, kind, args).await,
        PlainCommand::Show(args) => show(global, kind, args).await,
        PlainCommand::Approve(args) => approve(global, kind, args).await,
    }
}

/// The reference data of the configured store, to be read: where there is no such folder yet, what
/// ships with Tally.
pub(crate) fn open_to_read(config: &Config) -> Result<ReferenceStore, Failure> {
    let url = config.store_url();
    let folder = url.strip_prefix("file://").unwrap_or(&url);
    let store: Arc<dyn ObjectStore> = if !url.starts_with("s3://") && !Path::new(folder).exists() {
        Arc::new(InMemory::new())
    } else {
        tally_aggregate::open_store(&url, &config.store.s3_options)?
    };
    Ok(ReferenceStore::new(store))
}

/// Milliseconds UTC.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn read_files(paths: &[PathBuf]) -> Result<Vec<StoredFile>, Failure> {
    paths.iter().map(|path| read_file(path)).collect()
}

fn read_file(path: &Path) -> Result<StoredFile, Failure> {
    let bytes = std::fs::read(path).map_err(|error| file_failure(path, &error))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::data(format!("{}: is not UTF-8; save it as UTF-8", path.display()))
    })?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(StoredFile { name, text })
}

async fn import(global: &GlobalArgs, kind: ReferenceKind, args: ImportArgs) -> Result<(), Failure> {
    let files = read_files(&args.files)?;
    let store = open_to_write(global, &args.store)?;
    let new = NewFiles { kind, files, origin: FileOrigin::Written };
    let imported = store.import(&new, &args.by, now_ms()).await?;
    tell_import(global, kind, &imported, &[])
}

async fn import_litellm(
    global: &GlobalArgs,
    args: ImportArgs,
    map: &MapArgs,
) -> Result<(), Failure> {
    let [path] = args.files.as_slice() else {
        return Err(Failure::usage("--format litellm reads one file"));
    };
    let StoredFile { name, text } = read_file(path)?;
    let store = open_to_write(global, &args.store)?;
    let now_ms = now_ms();
    let today_ms = (now_ms + SHANGHAI_MS).div_euclid(DAY_MS) * DAY_MS - SHANGHAI_MS;
    let wanted = |model: &str| {
        map.only.is_empty()
            || map.only.iter().any(|only| match only.strip_suffix('*') {
                Some(prefix) => model.starts_with(prefix),
                None => model == only,
            })
    };
    let book = store.newest_whole().await?.book;
    let valid_from_ms = map.valid_from.unwrap_or(today_ms);
    let read = read_litellm(&name, &text, valid_from_ms, wanted, &book)?;
    let new =
        NewFiles { kind: ReferenceKind::Price, files: read.files, origin: FileOrigin::Litellm };
    let imported = store.import(&new, &args.by, now_ms).await?;
    tell_import(global, ReferenceKind::Price, &imported, &read.left_out)
}

fn open_to_write(global: &GlobalArgs, store: &StoreArgs) -> Result<ReferenceStore, Failure> {
    let config = config::load(global, &store.settings())?;
    let store = tally_aggregate::open_store(&config.store_url(), &config.store.s3_options)?;
    Ok(ReferenceStore::new(store))
}

fn tell_import(
    global: &GlobalArgs,
    kind: ReferenceKind,
    imported: &Imported,
    left_out: &[String],
) -> Result<(), Failure> {
    if global.json {
        let mut value = serde_json::to_value(imported)?;
        value["kind"] = kind.name().into();
        value["left_out"] = left_out.into();
        return stdout::print(serde_json::to_string_pretty(&value)?);
    }
    stdout::print(reference_words::imported(kind, imported, left_out))
}

async fn lint(global: &GlobalArgs, kind: ReferenceKind, args: LintArgs) -> Result<(), Failure> {
    let files = read_files(&args.files)?;
    let config = config::load(global, &args.store.settings())?;
    let whole = open_to_read(&config)?.newest_whole().await?;
    let new = NewFiles { kind, files, origin: FileOrigin::Written };
    let (changes, findings) = match new.lint(&whole, now_ms()) {
        Ok(linted) => (linted.changes, linted.findings),
        Err(findings) => (Vec::new(), findings),
    };
    if global.json {
        let value = serde_json::json!({
            "kind": kind.name(), "changes": changes, "findings": findings,
        });
        stdout::print(serde_json::to_string_pretty(&value)?)?;
    } else {
        for finding in &findings {
            stdout::print(&finding.message)?;
        }
        if findings.is_empty() {
            stdout::print(format!("nothing is wrong; {} records are new", changes.len()))?;
        }
    }
    match findings.len() {
        0 => Ok(()),
        n => Err(Failure::new(FailureKind::Check, format!("{n} problems"))),
    }
}

async fn show(global: &GlobalArgs, kind: ReferenceKind, args: ShowArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.store.settings())?;
    let store = open_to_read(&config)?;
    let Some(wanted) = &args.wanted else {
        let rows = store.list(kind).await?;
        if global.json {
            return stdout::print(serde_json::to_string_pretty(&rows)?);
        }
        return stdout::print(reference_words::versions(&rows));
    };
    let version = version_of(&store, kind, wanted).await?;
    let contents = store.contents(kind, version, now_ms()).await?;
    if global.json {
        return stdout::print(serde_json::to_string_pretty(&contents)?);
    }
    stdout::print(reference_words::contents(kind, &contents))
}

async fn approve(
    global: &GlobalArgs,
    kind: ReferenceKind,
    args: ApproveArgs,
) -> Result<(), Failure> {
    let store = open_to_write(global, &args.store)?;
    let version = version_of(&store, kind, &args.wanted).await?;
    let approved = store.approve(kind, version, &args.by, now_ms()).await?;
    if global.json {
        return stdout::print(serde_json::to_string_pretty(&approved)?);
    }
    stdout::print(reference_words::approved(&approved))
}

/// The version of a number, or the newest that was imported from a file.
async fn version_of(
    store: &ReferenceStore,
    kind: ReferenceKind,
    text: &str,
) -> Result<u64, Failure> {
    match text.parse() {
        Ok(version) => Ok(version),
        Err(_) => Ok(store.version_of_file(kind, &read_file(Path::new(text))?).await?),
    }
}
