//! `tally audit`: what exact rules cannot see.

use clap::{Args, Subcommand};
use tally_query::{Format, render_bytes, render_table};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, FailureKind};
use crate::{config, sql_session, stdout};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Find resends that were stamped with another time
    ///
    /// An exact resend is dropped when it comes. One with the same source and id but another
    /// completed_at is seen by the stream only while its id is in the recent window; this finds
    /// the others. Exit code 1 where there are any.
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

fn duplicates_query(limit: u32) -> String {
    format!(
        "SELECT source, id, min(account) AS account, min(model) AS model, count(*) AS times, \
         min(completed_at) AS first_completed_at, max(completed_at) AS last_completed_at \
         FROM usage_events GROUP BY source, id HAVING count(*) > 1 \
         ORDER BY source, id LIMIT {limit}"
    )
}

async fn duplicates(global: &GlobalArgs, args: DuplicatesArgs) -> Result<(), Failure> {
    let (config, settings) = config::load_settings(global, &args.store.settings())?;
    let engine = sql_session::open(&config, settings).await?;
    let answer = engine.run(&duplicates_query(args.limit), None, engine.limits()).await?;
    let (schema, batches) = answer.collect().await?;
    let found: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    if global.json {
        let bytes = render_bytes(Format::Json, schema, &batches)?;
        stdout::print_bytes(&bytes)?;
    } else if found > 0 {
        stdout::print(render_table(schema, &batches)?)?;
    } else {
        stdout::print("no id has more than one row")?;
    }
    if found > 0 {
        return Err(Failure::new(
            FailureKind::Check,
            format!("{found} ids have more than one row"),
        ));
    }
    Ok(())
}
