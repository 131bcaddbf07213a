//! `tally settle report`: what a vendor is told of its share.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tally_documents::{Issue, report_html, report_pdf, report_xlsx};
use tally_settlement::{Period, vendor_report_csv};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, file_failure};
use crate::settle_documents::{Labels, write_whole};
use crate::settle_terms::{SettledBy, engine};
use crate::{config, reference, stdout};

/// Whose report, of when, and how it is written.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Vendor
    #[arg(long, value_name = "V")]
    vendor: String,
    /// A month in Asia/Shanghai, such as 2026-10
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    period: Period,
    /// How the report is written [default: csv, with --json json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<ReportFormat>,
    /// Language of the labels
    #[arg(long, value_enum, default_value_t = Labels::Zh, value_name = "LANG")]
    lang: Labels,
    /// Font of a PDF: a TrueType or OpenType file [documents.font]
    #[arg(long, value_name = "FILE")]
    font: Option<String>,
    /// File to write; it is there when it is complete [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// Rows of usage and of steps
    Csv,
    /// Everything, amounts as decimal texts
    Json,
    /// A workbook: first page, usage, steps, balances
    Xlsx,
    /// One page for screen and paper that needs nothing else
    Html,
    /// A4 pages
    Pdf,
}

pub(crate) async fn run(global: &GlobalArgs, args: ReportArgs) -> Result<(), Failure> {
    let default = if global.json { ReportFormat::Json } else { ReportFormat::Csv };
    let format = args.format.unwrap_or(default);
    let binary = matches!(format, ReportFormat::Xlsx | ReportFormat::Pdf);
    if args.out.is_none() && binary && std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "a terminal cannot show this format: name a file with --out, or redirect the output",
        ));
    }
    let settled_by = SettledBy::read(global, &args.store, None).await?;
    let engine = engine(global, &args.store).await?;
    let settlement = settled_by.over(&engine);
    let now_ms = reference::now_ms();
    let (issued, report) = settlement.report(&args.vendor, args.period, now_ms).await?;
    let language = args.lang.language();
    let issue = Issue {
        statement: &issued.statement,
        state: issued.state,
        cut_offs: &issued.cut_offs,
        notes: &issued.notes,
        language,
    };
    let bytes = match format {
        ReportFormat::Csv => vendor_report_csv(&report, language)
            .map_err(|error| Failure::internal(error.to_string()))?,
        ReportFormat::Json => {
            let mut json = serde_json::to_vec_pretty(&report)?;
            json.push(b'\n');
            json
        }
        ReportFormat::Xlsx => report_xlsx(&issue, &report)?,
        ReportFormat::Html => report_html(&issue, &report)?,
        ReportFormat::Pdf => {
            let mut settings = args.store.settings();
            settings.extend(args.font.clone().map(|font| ("documents.font", font)));
            let font = config::load(global, &settings)?.documents.font;
            report_pdf(&issue, &report, (!font.is_empty()).then(|| Path::new(&font)))?
        }
    };
    match &args.out {
        Some(path) => write_whole(path, &bytes).map_err(|error| file_failure(path, &error)),
        None => stdout::print_bytes(&bytes),
    }
}
