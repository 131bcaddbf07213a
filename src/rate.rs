//! `tally rate`: what events would cost, by which price, and why.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::json;
use tally_aggregate::{DryRun, RatedLine, ReferenceData};
use tally_rating::{RateCard, parse_instant};
use tally_schemas::{TokenClass, decimal_text};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, file_failure};
use crate::{config, reference, stdout};

/// What to rate, and by which state of the book.
#[derive(Debug, Args)]
pub(crate) struct RateArgs {
    /// Events as JSON, one a line; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Read the price book as it was known then: a time with an offset, or a date in Shanghai
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    known_at: Option<i64>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(global: &GlobalArgs, args: &RateArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.store.settings())?;
    let whole = reference::open_to_read(&config)?.newest_whole().await?;
    let known_at_ms = args.known_at.unwrap_or_else(|| whole.known_at_ms(reference::now_ms()));
    let mut dry_run = DryRun::new(ReferenceData {
        version: whole.edition.read_at(known_at_ms),
        card: Arc::new(RateCard::new(&whole.book, Some(known_at_ms))),
        packages: Arc::new(whole.packages),
    });
    let input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(&args.file).map_err(|e| file_failure(&args.file, &e))?)
    };
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["id", "model", "tokens", "points", "wholesale", "", "by"]);
    for column in table.column_iter_mut().skip(2).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut rated_any = false;
    for line in BufReader::new(input).split(b'\n') {
        let line = line.map_err(|error| file_failure(&args.file, &error))?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let rated = dry_run.rate(&line);
        if global.json {
            stdout::print(as_json(&rated))?;
        } else {
            rated_any = true;
            table.add_row(row(&rated));
        }
    }
    if rated_any {
        stdout::print(table)?;
    }
    Ok(())
}

fn as_json(rated: &RatedLine) -> serde_json::Value {
    json!({
        "id": rated.id,
        "command": rated.command,
        "model": rated.model,
        "billed_model": rated.billed_model,
        "points_micro": rated.points_micro.map(|points| points.to_string()),
        "retail_amount": rated.retail_amount,
        "wholesale_amount": rated.wholesale_amount,
        "wholesale_currency": rated.wholesale_currency,
        "wholesale_price_ids": rated.wholesale_price_ids,
        "suspense": rated.suspense,
        "why": rated.why,
    })
}

fn row(rated: &RatedLine) -> [String; 7] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let by = match &rated.suspense {
        None => match &rated.command {
            Some(command) => format!("{command}, carried out"),
            None => rated.wholesale_price_ids.join("\n"),
        },
        Some(reason) => match &rated.why {
            None => reason.clone(),
            // A defect's words begin with its code, which is mostly the reason.
            Some(why) if why.starts_with(reason.as_str()) => why.clone(),
            Some(why) => format!("{reason}: {why}"),
        },
    };
    let tokens: Vec<String> = TokenClass::ALL
        .into_iter()
        .filter(|class| rated.usage.get(*class) > 0 && *class != TokenClass::Requests)
        .map(|class| format!("{} {class}", rated.usage.get(class)))
        .collect();
    let billed = rated.billed_model.as_ref().filter(|billed| Some(*billed) != rated.model.as_ref());
    [
        text(&rated.id),
        billed.map_or_else(|| text(&rated.model), |b| format!("{}\nas {b}", text(&rated.model))),
        tokens.join("\n"),
        rated.points_micro.map(|points| trimmed(&decimal_text(points, 6))).unwrap_or_default(),
        rated.wholesale_amount.as_deref().map(trimmed).unwrap_or_default(),
        text(&rated.wholesale_currency),
        by,
    ]
}

/// A decimal without the zeros behind its last digit.
fn trimmed(decimal: &str) -> String {
    decimal.trim_end_matches('0').trim_end_matches('.').to_owned()
}
