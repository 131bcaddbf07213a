//! `tally settle statement`: the formats that a statement is written in, and where it goes.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use tally_documents::{
    DocumentError, ErrorKind as DocumentErrorKind, Issue, statement_focus, statement_html,
    statement_parquet, statement_pdf, statement_xlsx,
};
use tally_query::IssuedStatement;
use tally_settlement::{CutOff, Language, Statement, statement_csv};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, FailureKind, file_failure};
use crate::{config, stdout};

/// How a statement is written, and where to.
#[derive(Debug, Args)]
pub(crate) struct DocumentArgs {
    /// How the statement is written [default: csv, with --json json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<StatementFormat>,
    /// Language of the labels
    #[arg(long, value_enum, default_value_t = Labels::Zh, value_name = "LANG")]
    lang: Labels,
    /// Font of a PDF: a TrueType or OpenType file [documents.font]
    #[arg(long, value_name = "FILE")]
    font: Option<String>,
    /// File to write; it is there when it is complete [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatementFormat {
    /// One table; its first column says what a row is
    Csv,
    /// The statement, with its state, cut-off and hash
    Json,
    /// A workbook: statement, lines, adjustments, balances, control totals
    Xlsx,
    /// One page for screen and paper that needs nothing else
    Html,
    /// A4 pages to be signed
    Pdf,
    /// Lines and adjustments as one typed table
    Parquet,
    /// Charges as CSV in the columns of FOCUS 1.2
    Focus,
}

impl StatementFormat {
    /// Whether a terminal cannot show it.
    const fn is_binary(self) -> bool {
        matches!(self, Self::Xlsx | Self::Pdf | Self::Parquet)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Labels {
    /// Chinese
    Zh,
    /// English
    En,
}

impl Labels {
    /// The language.
    pub(crate) const fn language(self) -> Language {
        match self {
            Self::Zh => Language::Zh,
            Self::En => Language::En,
        }
    }
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        let kind = match error.kind() {
            DocumentErrorKind::Invalid => FailureKind::Usage,
            DocumentErrorKind::Data => FailureKind::Data,
            DocumentErrorKind::Internal => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl DocumentArgs {
    /// The format that was asked for.
    fn format(&self, global: &GlobalArgs) -> StatementFormat {
        let default = if global.json { StatementFormat::Json } else { StatementFormat::Csv };
        self.format.unwrap_or(default)
    }

    /// Refuses what could not be shown, before anything is read.
    pub(crate) fn check(&self, global: &GlobalArgs) -> Result<(), Failure> {
        if self.out.is_none() && self.format(global).is_binary() && std::io::stdout().is_terminal()
        {
            return Err(Failure::usage(
                "a terminal cannot show this format: name a file with --out, or redirect the output",
            ));
        }
        Ok(())
    }
}

/// Writes a statement as it was asked for.
pub(crate) fn write(
    global: &GlobalArgs,
    store: &StoreArgs,
    args: &DocumentArgs,
    issued: &IssuedStatement,
) -> Result<(), Failure> {
    let bytes = encoded(global, store, args, issued)?;
    match &args.out {
        Some(path) => write_whole(path, &bytes).map_err(|error| file_failure(path, &error)),
        None => stdout::print_bytes(&bytes),
    }
}

fn encoded(
    global: &GlobalArgs,
    store: &StoreArgs,
    args: &DocumentArgs,
    issued: &IssuedStatement,
) -> Result<Vec<u8>, Failure> {
    let IssuedStatement { statement, state, cut_offs, notes } = issued;
    let language = args.lang.language();
    let issue = Issue { statement, state: *state, cut_offs, notes, language };
    Ok(match args.format(global) {
        StatementFormat::Csv => statement_csv(statement, *state, cut_offs, notes, language)
            .map_err(|error| Failure::internal(error.to_string()))?,
        StatementFormat::Json => statement_json(issued)?,
        StatementFormat::Xlsx => statement_xlsx(&issue)?,
        StatementFormat::Html => statement_html(&issue)?,
        StatementFormat::Pdf => {
            let mut settings = store.settings();
            settings.extend(args.font.clone().map(|font| ("documents.font", font)));
            let font = config::load(global, &settings)?.documents.font;
            statement_pdf(&issue, (!font.is_empty()).then(|| Path::new(&font)))?
        }
        StatementFormat::Parquet => statement_parquet(&issue)?,
        StatementFormat::Focus => statement_focus(&issue)?,
    })
}

/// The statement in an envelope of what is not part of it. The hash is that of the statement's
/// bytes as they are sealed: compact, in the order of the members here.
fn statement_json(issued: &IssuedStatement) -> Result<Vec<u8>, Failure> {
    #[derive(Serialize)]
    struct Envelope<'a> {
        status: &'static str,
        state: &'static str,
        hash: String,
        cut_offs: &'a [CutOff],
        notes: &'a [String],
        statement: &'a Statement,
    }
    let hash = issued.statement.hash().map_err(|error| Failure::internal(error.to_string()))?;
    let envelope = Envelope {
        status: if issued.state.is_draft() { "draft" } else { "final" },
        state: issued.state.name(),
        hash,
        cut_offs: &issued.cut_offs,
        notes: &issued.notes,
        statement: &issued.statement,
    };
    let mut json = serde_json::to_vec_pretty(&envelope)?;
    json.push(b'\n');
    Ok(json)
}

/// Writes a file under another name first, so that under its own it is whole or not there.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".part-{}", std::process::id()));
    let part = PathBuf::from(part);
    let written = File::create_new(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    if written.is_err() && part.exists() {
        // What is half done goes; the first error is the one that counts.
        fs::remove_file(&part).unwrap_or_default();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statement.csv");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        // A folder cannot be replaced by a file: nothing else is left either.
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        write_whole(&taken, b"third").unwrap_err();
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}
