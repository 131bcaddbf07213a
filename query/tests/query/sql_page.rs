//! `docs/sql.md`: every example runs, and answers what the page says. The answers are written by
//! `TALLY_UPDATE_DOCS=1 cargo test -p tally-query --test query every_example`.

use std::sync::Arc;

use tally_query::{QueryEngine, render_table};

use crate::books::settled;
use crate::budgets::budgets_over;
use crate::feed::{engine_over, rows};
use crate::seals::late_sealed;
use crate::world::{World, open_engine};

/// What may be used of a vendor's models in a month.
const BUDGETS: &str = r#"
[[budget]]
id = "zhipu-month"
kind = "budget"
title = "智谱每月用量"
title_en = "Zhipu, a month"
vendor = "zhipu"
tokens = 12000000
period = "month"
valid_from = "2026-01-01"
thresholds = [50, 80, 100]
source = "example"
known_from = "1970-01-01"
approved_by = "finance"
approved_at = "1970-01-01"
"#;

/// What is answered by the clock: the page shows no answer.
const BY_THE_CLOCK: [&str; 2] = ["suspense_aging", "now()"];

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sql.md");

/// An example, and the answer that the page shows for it.
#[derive(Debug, PartialEq, Eq)]
struct Example<'a> {
    sql: &'a str,
    answer: Option<&'a str>,
}

/// The blocks of a kind and where each ends.
fn block<'a>(page: &'a str, kind: &str, from: usize) -> Option<(usize, usize, &'a str)> {
    let opening = format!("```{kind}\n");
    let begin = from + page[from..].find(&opening)?;
    let body = begin + opening.len();
    let end = body + page[body..].find("\n```")?;
    Some((begin, end + "\n```".len(), &page[body..end]))
}

fn examples(page: &str) -> Vec<Example<'_>> {
    let mut examples = Vec::new();
    let mut at = 0;
    while let Some((_, end, sql)) = block(page, "sql", at) {
        at = end;
        // The answer stands right below.
        let answer =
            block(page, "text", end).filter(|(begin, ..)| page[end..*begin].trim().is_empty());
        examples.push(Example { sql, answer: answer.map(|(_, _, answer)| answer) });
    }
    examples
}

/// The page with the answer to each statement right below it, where there is one to show.
fn with_answers(page: &str, answers: &[Option<String>]) -> String {
    let mut out = String::new();
    let mut at = 0;
    for shown in answers {
        let (_, end, _) = block(page, "sql", at).unwrap();
        out.push_str(&page[at..end]);
        at = end;
        let Some(shown) = shown else { continue };
        out.push_str(&format!("\n\n```text\n{shown}\n```"));
        let old =
            block(page, "text", end).filter(|(begin, ..)| page[end..*begin].trim().is_empty());
        if let Some((_, old_end, _)) = old {
            at = old_end;
        }
    }
    out.push_str(&page[at..]);
    out
}

/// The store that the examples ask, made anew.
async fn asked() -> Arc<QueryEngine> {
    let feed = settled().await;
    let budgets = budgets_over(&feed.store, 1, BUDGETS).await;
    let engine = open_engine(&feed.store, World::config(), budgets).await;
    crate::phone_bill::issue_day(&engine, "2026-11-20").await;
    engine
}

/// The stores that examples ask: one, and another with late usage on a sealed statement.
struct Asked {
    most: Arc<QueryEngine>,
    late: Arc<QueryEngine>,
}

impl Asked {
    async fn anew() -> Self {
        Self { most: asked().await, late: engine_over(&late_sealed().await.store).await }
    }
}

async fn answer_of(engines: &Asked, sql: &str) -> String {
    let engine = if sql.contains("'late_usage'") { &engines.late } else { &engines.most };
    let found = engine.run(sql, None, engine.limits()).await;
    let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let (schema, batches) = found.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>() > 0, "{sql}");
    render_table(schema, &batches).unwrap()
}

/// Writes the answers into the page: those that it shows, and those that are ordered and come out
/// the same in another store.
async fn update(page: &str, engines: &Asked) -> String {
    let again = Asked::anew().await;
    let mut answers = Vec::new();
    for Example { sql, answer } in examples(page) {
        let found = answer_of(engines, sql).await;
        let lasts = sql.contains("ORDER BY")
            && !BY_THE_CLOCK.iter().any(|words| sql.contains(words))
            && found == answer_of(&again, sql).await;
        answers.push(Some(found).filter(|_| answer.is_some() || lasts));
    }
    with_answers(page, &answers)
}

#[test]
fn answers_are_put_below_their_statements() {
    let page = "a\n```sql\nSELECT 1\n```\n\n```text\nx\n```\nb\n```sql\nSELECT 2\n```\nc\n```sql\nSELECT 3\n```\n";
    let answers = [Some("1".to_owned()), None, Some("3".to_owned())];
    let wanted = "a\n```sql\nSELECT 1\n```\n\n```text\n1\n```\nb\n```sql\nSELECT 2\n```\nc\n```sql\nSELECT 3\n```\n\n```text\n3\n```\n";
    assert_eq!(with_answers(page, &answers), wanted);
}

#[test]
fn examples_are_found_with_their_answers() {
    let page = "a\n```sql\nSELECT 1\n```\n\n```text\nx\ny\n```\n\n```sql\nSELECT 2\n```\nwords\n```text\nz\n```\n";
    let found = examples(page);
    let expected = [
        Example { sql: "SELECT 1", answer: Some("x\ny") },
        Example { sql: "SELECT 2", answer: None },
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn every_example_of_the_page_answers_what_it_shows() {
    let engines = Asked::anew().await;
    let mut page = std::fs::read_to_string(PAGE).unwrap();
    if std::env::var_os("TALLY_UPDATE_DOCS").is_some() {
        page = update(&page, &engines).await;
        std::fs::write(PAGE, &page).unwrap();
    }
    let examples = examples(&page);
    assert!(examples.len() >= 12, "{}", examples.len());
    for view in tally_query::View::all() {
        let name = format!("{}.{}", view.schema, view.name);
        assert!(examples.iter().any(|example| example.sql.contains(&name)), "no example of {name}");
    }
    // Whatever a client sees of finance's schema, whichever part of the program makes it.
    let tables = "SELECT DISTINCT table_name FROM system.columns WHERE table_schema = 'settlement'";
    let tables = rows(&engines.most, tables).await;
    assert!(tables.len() > tally_query::BooksTable::ALL.len() + 8, "{tables:?}");
    for table in tables {
        let name = format!("settlement.{}", table["table_name"].as_str().unwrap());
        let names = |sql: &str| {
            let of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            sql.match_indices(&name).any(|(at, _)| !sql[at + name.len()..].starts_with(of_word))
        };
        assert!(examples.iter().any(|example| names(example.sql)), "no example of {name}");
    }
    let mut differing = Vec::new();
    for Example { sql, answer } in examples {
        let found = answer_of(&engines, sql).await;
        if answer.is_some_and(|answer| answer != found) {
            differing.push(format!("{sql}\n{found}"));
        }
    }
    assert!(differing.is_empty(), "docs/sql.md should say:\n{}", differing.join("\n\n"));
}
