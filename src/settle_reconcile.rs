//! `tally settle reconcile`: a vendor's bill beside our rated events.

mod disputed;
mod our_rows;
mod pack;
mod scratch;
mod summary;
mod tables;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use futures::StreamExt;
use serde::Serialize;
use tally_query::{Limits as QueryLimits, QueryEngine, TermsOrigin};
use tally_rating::{Book, RateCard};
use tally_settlement::reconcile::{
    BillContext, BillMapping, Comparison, Limits, Outcome, Period, PriceTable, ReconcileError,
    ReconcileErrorKind, shipped_mapping, shipped_names,
};
use tally_settlement::{AdjustmentState, LargeDifference, Reconciled, person_name};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, FailureKind, file_failure};
use crate::progress::Progress;
use crate::settle_terms::SettledBy;
use crate::{config, reference, settle_adjust, sql_session, stdout};
use disputed::{Disputed, Evidence as OurEvidence};
use our_rows::{OurEvents, OurRows};
use pack::Pack;
pub(crate) use summary::Evidence;

/// A bill, how it is read, and where the result goes.
#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    /// The vendor's bill: CSV, XLSX, JSON or NDJSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Vendor
    #[arg(long, value_name = "V")]
    vendor: String,
    /// Only what this supplier delivered of the vendor's models
    #[arg(long, value_name = "S")]
    supplier: Option<String>,
    /// Month of the bill, in the bill's own zone
    #[arg(long, value_name = "YYYY-MM")]
    period: String,
    /// How the bill is read: a mapping file, or the name of one that ships with Tally
    /// (anthropic-cost, anthropic-usage, deepseek-amount, deepseek-cost, openai-cost,
    /// openai-usage, records-csv)
    #[arg(long, value_name = "MAPPING")]
    mapping: String,
    /// Settlement terms as TOML that nobody has approved yet, whose tolerance and tax rate decide
    /// [default: the approved terms of the vendor; without any, the mapping's]
    #[arg(long, value_name = "FILE")]
    contracts: Option<PathBuf>,
    /// Put what it comes to down in the books, under this name
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Where the terms take the vendor's figures within the tolerance, propose what they differ by
    /// as an adjustment, reason volume_correction
    #[arg(long, requires = "by", conflicts_with = "contracts")]
    post: bool,
    /// Terms that the adjustment belongs to, where the vendor has several
    #[arg(long, value_name = "ID", requires = "post")]
    terms: Option<String>,
    /// Folder that is made for the result [default: reconciliation/V-YYYY-MM]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Memory for the records that are compared at a time, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory_max: u64,
    /// Temporary files for the records of each side
    #[arg(long, value_name = "N", default_value_t = 64, hide = true)]
    partitions: u32,
    #[command(flatten)]
    store: StoreArgs,
}

impl From<ReconcileError> for Failure {
    fn from(error: ReconcileError) -> Self {
        let kind = match error.kind() {
            ReconcileErrorKind::Invalid => FailureKind::Usage,
            ReconcileErrorKind::Data => FailureKind::Data,
            ReconcileErrorKind::Internal => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

pub(crate) async fn run(global: &GlobalArgs, args: ReconcileArgs) -> Result<(), Failure> {
    let (config, settings) = config::load_settings(global, &args.store.settings())?;
    if args.by.as_deref().is_some_and(|by| person_name(by).is_none()) {
        return Err(Failure::usage("--by needs the name of the person who does this"));
    }
    let (mapping, mapping_text) = mapping(&args.mapping)?;
    let period = Period::parse(&args.period, mapping.time.offset_ms)
        .map_err(|error| Failure::usage(format!("--period {error}")))?;
    let settled_by = SettledBy::read(global, &args.store, args.contracts.as_deref()).await?;
    let mapping = by_terms(mapping, &settled_by, &args, period)?;
    let book = reference::open_to_read(&config)?.newest_whole().await?.book;
    check_vendor(&book, &args.vendor)?;
    let card = RateCard::new(&book, None);
    File::open(&args.file).map_err(|error| file_failure(&args.file, &error))?;
    let file = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let out = args.out.clone().unwrap_or_else(|| {
        Path::new("reconciliation").join(format!("{}-{}", args.vendor, args.period))
    });

    let context =
        BillContext { file: &file, mapping: &mapping, card: &card, vendor: &args.vendor, period };
    let mut pack = Pack::begin(&out)?;
    let limits = Limits {
        memory_max_bytes: args.memory_max.saturating_mul(1 << 20),
        partitions: args.partitions,
    };
    let of_vendor = book.contracts().iter().filter(|contract| contract.vendor == args.vendor);
    let discounts_ppm: Vec<u64> = of_vendor.map(|contract| contract.discount_ppm).collect();
    let prices = PriceTable::new(&book, &discounts_ppm);
    let mut comparison = Comparison::new(context, prices, pack.shelf(), limits)?;
    let open = || File::open(&args.file).map(|file| Box::new(file) as Box<dyn Read>);
    comparison.read_bill(&open)?;

    let engine = sql_session::open(&config, settings).await?;
    let pin = engine.pin(None).await?;
    let asked = OurEvents::any_corrected_sql(&args.vendor);
    let answer = engine.run_on(Arc::clone(&pin), &asked, QueryLimits::unlimited()).await?;
    let (_, corrected) = answer.collect().await?;
    let ours = OurEvents {
        vendor: &args.vendor,
        supplier: args.supplier.as_deref(),
        basis: mapping.time.basis,
        window: comparison.our_window_ms(),
        any_corrected: corrected.iter().any(|batch| batch.num_rows() > 0),
    };
    add_our_rows(global, &engine, &pin, &ours, &context, &mut comparison).await?;

    let mut evidence = OurEvidence::default();
    let outcome = pack.compare(comparison, &mut evidence)?;
    pack.write_outcome(&outcome)?;
    if !outcome.is_inside() {
        pack.write_bill_lines(&context, &open, &evidence)?;
        let disputed = Disputed { context: &context, outcome: &outcome, evidence: &mut evidence };
        write_our_events(&engine, &pin, &ours, &mut pack, disputed).await?;
        pack.write_prices(&book, &evidence)?;
        pack.write_manifest(&args.file, &mapping_text, &book, &pin)?;
    }
    let compared = args.by.as_ref().map(|_| compared(&outcome, &args.file, &out)).transpose()?;
    let settlement = settled_by.over(&engine);
    let now_ms = reference::now_ms();
    // What cannot be proposed is refused before anything is there. A bill outside of the tolerance
    // is a dispute, and has its evidence whatever was asked.
    let post = args.post && outcome.is_inside();
    if let Some(compared) = compared.as_ref().filter(|_| post) {
        settlement.check_theirs(compared, args.terms.as_deref(), now_ms).await?;
    }
    pack.commit()?;
    let mut proposed = Vec::new();
    if let (Some(by), Some(compared)) = (&args.by, compared) {
        let compared = settlement.put_down(&compared, by, now_ms).await?;
        if post {
            let terms = args.terms.as_deref();
            proposed = settlement.propose_theirs(&compared, terms, by, now_ms).await?;
        }
    }
    tell(global, &outcome, &proposed, &out)
}

/// What the books put down of a comparison.
fn compared(outcome: &Outcome, bill: &Path, out: &Path) -> Result<Reconciled, Failure> {
    let (_, bill_hash) = pack::hash(bill)?;
    let text = serde_json::to_string(outcome)?;
    let compared = summary::reconciled(&out.join("summary.json"), &text, bill_hash)?;
    let largest = LargeDifference::of_outcome(outcome).map_err(Failure::internal)?;
    Ok(Reconciled { largest, ..compared })
}

/// The mapping with the tolerance and tax rate of the vendor's terms, where it has any.
fn by_terms(
    mapping: BillMapping,
    settled_by: &SettledBy,
    args: &ReconcileArgs,
    period: Period,
) -> Result<BillMapping, Failure> {
    let contracts = settled_by.terms.contracts.as_known(reference::now_ms());
    match (&args.contracts, &settled_by.terms.origin) {
        (Some(path), _) => mapping
            .with_contracts(&contracts, &args.vendor, period)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display()))),
        (None, TermsOrigin::Approved(_)) => {
            let by_approved = mapping.clone().with_contracts(&contracts, &args.vendor, period);
            Ok(by_approved.unwrap_or_else(|error| {
                eprintln!("{error}: the tolerance of the mapping decides");
                mapping
            }))
        }
        (None, _) => Ok(mapping),
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    proposed: Vec<serde_json::Value>,
}

/// Prints the outcome; where something is outside of the tolerance, that is a failed check.
fn tell(
    global: &GlobalArgs,
    outcome: &Outcome,
    proposed: &[AdjustmentState],
    out: &Path,
) -> Result<(), Failure> {
    if global.json {
        let proposed = proposed.iter().map(settle_adjust::adjustment_json).collect();
        stdout::print(serde_json::to_string_pretty(&Told { outcome, proposed })?)?;
    } else {
        stdout::print(tables::in_words(outcome, out))?;
        for state in proposed {
            stdout::print(settle_adjust::in_words(state))?;
        }
    }
    if outcome.is_inside() {
        return Ok(());
    }
    let message = format!(
        "outside of the tolerance: {}{} groups, {} records; the evidence is in {}",
        if outcome.outside.total { "the total, " } else { "" },
        outcome.outside.groups,
        outcome.outside.records,
        out.join("dispute").display()
    );
    Err(Failure::new(FailureKind::Check, message))
}

/// The mapping of a name or a file, and its text.
fn mapping(given: &str) -> Result<(BillMapping, String), Failure> {
    if let Some(shipped) = shipped_mapping(given) {
        let (mapping, text) = shipped?;
        return Ok((mapping, text.to_owned()));
    }
    let path = Path::new(given);
    let text = std::fs::read_to_string(path).map_err(|error| {
        let known = shipped_names().join(", ");
        let failure = file_failure(path, &error);
        let message =
            format!("{}; it is no mapping that ships with Tally either: {known}", failure.message);
        Failure::new(failure.kind, message)
    })?;
    Ok((BillMapping::parse(given, &text)?, text))
}

fn check_vendor(book: &Book, vendor: &str) -> Result<(), Failure> {
    let known: std::collections::BTreeSet<&str> =
        book.prices().iter().map(|price| price.vendor.as_str()).collect();
    if known.contains(vendor) {
        return Ok(());
    }
    let known: Vec<&str> = known.into_iter().collect();
    Err(Failure::usage(format!(
        "--vendor {vendor:?} is not in the price book; there are {}",
        known.join(", ")
    )))
}

/// Streams our rows of a vendor into the comparison.
async fn add_our_rows(
    global: &GlobalArgs,
    engine: &QueryEngine,
    pin: &Arc<tally_tables::PinnedTables>,
    ours: &OurEvents<'_>,
    context: &BillContext<'_>,
    comparison: &mut Comparison<'_>,
) -> Result<(), Failure> {
    let sql = ours.sql(our_rows::COLUMNS);
    let answer = engine.run_on(Arc::clone(pin), &sql, QueryLimits::unlimited()).await?;
    let mut rows = answer.rows;
    let mut progress = Progress::new(global, "our events", None);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let read = OurRows::new(&batch, context)?;
        for row in 0..batch.num_rows() {
            comparison.add_our_row(&read.row(row))?;
            progress.step();
        }
    }
    progress.finish();
    Ok(())
}

/// Streams our events that are in dispute into the pack, as they are in the table.
async fn write_our_events(
    engine: &QueryEngine,
    pin: &Arc<tally_tables::PinnedTables>,
    ours: &OurEvents<'_>,
    pack: &mut Pack,
    mut disputed: Disputed<'_>,
) -> Result<(), Failure> {
    let sql = OurEvents { window: disputed.window_ms(ours.window), ..*ours }.sql("*");
    let answer = engine.run_on(Arc::clone(pin), &sql, QueryLimits::unlimited()).await?;
    let mut file = pack.our_events(&answer.schema)?;
    let mut rows = answer.rows;
    while let Some(batch) = rows.next().await {
        let batch = disputed.of(&batch?)?;
        if batch.num_rows() > 0 {
            file.write(&batch)?;
        }
    }
    file.finish()
}
