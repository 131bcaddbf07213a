//! `tally audit`: what exact rules cannot see.

use clap::{Args, Subcommand};
use tally_query::{Format, render_bytes, render_table, resends};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, FailureKind};
use crate::progress::follow;
use crate::{config, sql_session, stdout};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Find resends that were stamped with another time
    ///
    /// An exact resend is dropped when it comes. One with the same source and id but another
    /// completed_at is seen by the stream only while its id is in the recent window; this finds
    /// the others, on whatever days they are. It lists them and changes nothing: which of them is
    /// wrong is for a person to say, who posts it as an adjustment. The source and id columns of
    /// all events are read twice, or more often where query.memory_max_bytes is small for so many.
    /// Exit code 1 where there are any.
    Duplicates(DuplicatesArgs),
}

/// Where to look, and how much to show.
#[derive(Debug, Args)]
pub(crate) struct DuplicatesArgs {
    /// Most of them to list
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: u32,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(global: &GlobalArgs, command: AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Duplicates(args) => duplicates(global, args).await,
    }
}

/// Bytes that a hash may take while hashes are compared; half of them are for the query that reads
/// them.
const BYTES_PER_HASH: u64 = 16;

async fn duplicates(global: &GlobalArgs, args: DuplicatesArgs) -> Result<(), Failure> {
    let (config, settings) = config::load_settings(global, &args.store.settings())?;
    let engine = sql_session::open(&config, settings).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let at_once = config.query.memory_max_bytes / BYTES_PER_HASH;
    let position = || engine.scanned().into();
    let resends = follow(global, "audit", position, resends(&engine, limit, at_once)).await?;
    let found = resends.found();
    if global.json {
        let bytes = render_bytes(Format::Json, resends.schema, &resends.batches)?;
        stdout::print_bytes(&bytes)?;
    } else if found > 0 {
        stdout::print(render_table(resends.schema, &resends.batches)?)?;
    } else if !resends.more {
        stdout::print("no id has more than one row")?;
    }
    if found > 0 || resends.more {
        let more = if resends.more { ", and there are others" } else { "" };
        return Err(Failure::new(
            FailureKind::Check,
            format!("ids with more than one row: {found}{more}"),
        ));
    }
    Ok(())
}
