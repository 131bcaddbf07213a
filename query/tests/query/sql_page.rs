//! `docs/sql.md`: every example runs, and answers what the page says.

use tally_query::render_table;

use crate::books::settled;
use crate::feed::engine_over;

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
    let feed = settled().await;
    let engine = engine_over(&feed.store).await;
    crate::phone_bill::issue_day(&engine, "2026-11-20").await;
    let page = std::fs::read_to_string(PAGE).unwrap();
    let examples = examples(&page);
    assert!(examples.len() >= 12, "{}", examples.len());
    for view in tally_query::View::all() {
        let name = format!("{}.{}", view.schema, view.name);
        assert!(examples.iter().any(|example| example.sql.contains(&name)), "no example of {name}");
    }
    for table in tally_query::BooksTable::ALL {
        let name = format!("settlement.{}", table.name());
        assert!(examples.iter().any(|example| example.sql.contains(&name)), "no example of {name}");
    }
    let mut differing = Vec::new();
    for Example { sql, answer } in examples {
        let found = engine.run(sql, None, engine.limits()).await;
        let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let (schema, batches) =
            found.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>() > 0, "{sql}");
        let found = render_table(schema, &batches).unwrap();
        if answer.is_some_and(|answer| answer != found) {
            differing.push(format!("{sql}\n{found}"));
        }
    }
    assert!(differing.is_empty(), "docs/sql.md should say:\n{}", differing.join("\n\n"));
}
