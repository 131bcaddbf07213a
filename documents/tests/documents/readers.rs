//! What other programs read in the documents is what the statement has: openpyxl, pdftotext,
//! DuckDB, and Python's own parsers. `make test` sets where that Python is.

use std::path::Path;
use std::process::{Command, Output};

use tally_documents::{
    Issue, statement_focus, statement_html, statement_parquet, statement_pdf, statement_xlsx,
};
use tally_settlement::{CutOff, Language, Statement, statement_csv};

use crate::support::{draft, every, sealed, short};

/// The statement as the command prints it.
fn printed(issue: &Issue<'_>) -> String {
    let status = if issue.state.is_draft() { "draft" } else { "final" };
    let notes: Vec<String> = issue.notes.iter().map(|note| format!("{note:?}")).collect();
    let cut_off = |CutOff { partition, epoch }: &CutOff| {
        format!("{{\"partition\":{partition},\"epoch\":{epoch}}}")
    };
    let cut_offs: Vec<String> = issue.cut_offs.iter().map(cut_off).collect();
    let statement = String::from_utf8(issue.statement.to_bytes().unwrap()).unwrap();
    format!(
        "{{\"status\":\"{status}\",\"hash\":\"{}\",\"cut_offs\":[{}],\"notes\":[{}],\"statement\":{statement}}}",
        issue.statement.hash().unwrap(),
        cut_offs.join(","),
        notes.join(",")
    )
}

fn write_all<'a>(folder: &Path, name: &str, issue: impl Fn(Language) -> Issue<'a>) {
    let put = |kind: &str, bytes: Vec<u8>| {
        std::fs::write(folder.join(format!("{name}.{kind}")), bytes).unwrap();
    };
    let plain = issue(Language::En);
    put("json", printed(&plain).into_bytes());
    put("parquet", statement_parquet(&plain).unwrap());
    put("focus.csv", statement_focus(&plain).unwrap());
    for (language, issue) in [("zh", issue(Language::Zh)), ("en", issue(Language::En))] {
        let Issue { statement, state, cut_offs, notes, language: labels } = issue;
        let csv = statement_csv(statement, state, cut_offs, notes, labels).unwrap();
        put(&format!("{language}.csv"), csv);
        put(&format!("{language}.xlsx"), statement_xlsx(&issue).unwrap());
        put(&format!("{language}.html"), statement_html(&issue).unwrap());
        put(&format!("{language}.pdf"), statement_pdf(&issue, None).unwrap());
    }
}

#[expect(clippy::disallowed_methods, reason = "make test says where its Python is")]
fn check(folder: &Path) -> Output {
    let python =
        std::env::var("TALLY_TEST_PYTHON").expect("TALLY_TEST_PYTHON is not set: run `make test`");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/check_documents.py");
    let mut check = Command::new(python);
    check.arg(script).arg(folder).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn other_programs_read_what_the_statement_has() {
    let folder = tempfile::tempdir().unwrap();
    let notes = ["by the example contracts that ship with Tally".to_owned()];
    let statements = every();
    for (name, statement) in &statements {
        write_all(folder.path(), name, |language| sealed(statement, language));
        write_all(folder.path(), &format!("{name}-draft"), |l| draft(statement, &notes, l));
    }
    let output = check(folder.path());
    assert!(output.status.success(), "{}", words(&output));
}

/// The check is able to fail, in every format.
#[test]
fn a_cent_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let statement = short();
    write_all(folder.path(), "short", |language| sealed(&statement, language));
    let mut other: Statement = statement.clone();
    other.sections[0].lines[0].amounts.gross.0 += 1;
    other.sections[0].lines[0].amounts.net.0 += 1;
    let json = printed(&sealed(&other, Language::En));
    std::fs::write(folder.path().join("short.json"), json).unwrap();
    let output = check(folder.path());
    assert_eq!(output.status.code(), Some(1));
    for document in
        ["zh.csv", "en.csv", "zh.xlsx", "en.xlsx", "zh.html", "en.html", "zh.pdf", "en.pdf"]
    {
        assert!(words(&output).contains(&format!("short: {document}")), "{}", words(&output));
    }
    for document in ["parquet L", "focus L"] {
        assert!(words(&output).contains(document), "{}", words(&output));
    }
}
