//! Comments of schema `settlement` in both languages: what stands in English beside each table and
//! column, and the Chinese of one file.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::system_schema::COMMENT;

/// The schema whose comments are in both languages: finance reads it.
pub(crate) const SCHEMA: &str = "settlement";

/// Chinese words by `table`, `table.column` or `*.column`.
static CHINESE: LazyLock<BTreeMap<&str, &str>> =
    LazyLock::new(|| read(include_str!("../data/settlement.zh.txt")));

fn read(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).collect()
}

/// The Chinese of a table or of one of its columns.
fn chinese(table: &str, column: Option<&str>) -> Option<&'static str> {
    let Some(column) = column else { return CHINESE.get(table).copied() };
    let own = CHINESE.get(format!("{table}.{column}").as_str());
    own.or_else(|| CHINESE.get(format!("*.{column}").as_str())).copied()
}

/// Both, where the Chinese is there; a test sees to it that it is.
fn both(english: &str, chinese: Option<&str>) -> String {
    chinese.map_or_else(|| english.to_owned(), |chinese| format!("{english} · {chinese}"))
}

/// A table of [`SCHEMA`] with its comments in both languages.
pub(crate) fn in_both_languages(table: &str, schema: &Schema) -> SchemaRef {
    let comment_of = |metadata: &std::collections::HashMap<String, String>, chinese| {
        let english = metadata.get(COMMENT).map_or("", String::as_str);
        [(COMMENT.to_owned(), both(english, chinese))].into()
    };
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let comment = comment_of(field.metadata(), chinese(table, Some(field.name())));
            field.as_ref().clone().with_metadata(comment)
        })
        .collect();
    let comment = comment_of(schema.metadata(), chinese(table, None));
    Arc::new(Schema::new_with_metadata(fields, comment))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::system_schema::shapes;

    fn is_chinese(text: &str) -> bool {
        text.chars().any(|character| ('\u{4e00}'..='\u{9fff}').contains(&character))
    }

    /// Keys that are needed and are not there, and those that nothing needs.
    fn missing_and_unused(words: &BTreeMap<&str, &str>) -> (Vec<String>, Vec<String>) {
        let mut used = BTreeSet::new();
        let mut missing = Vec::new();
        for (schema, table, shape) in shapes() {
            if schema != SCHEMA {
                continue;
            }
            let columns = shape.fields().iter().map(|field| format!("{table}.{}", field.name()));
            for key in std::iter::once(table.to_owned()).chain(columns) {
                let any = key.split_once('.').map(|(_, column)| format!("*.{column}"));
                let mut found = [Some(key.clone()), any].into_iter().flatten();
                match found.find(|key| words.contains_key(key.as_str())) {
                    Some(found) => drop(used.insert(found)),
                    None => missing.push(key),
                }
            }
        }
        let unused = words.keys().filter(|key| !used.contains(**key));
        (missing, unused.map(|key| (*key).to_owned()).collect())
    }

    #[test]
    fn every_table_and_column_has_chinese_and_nothing_is_left_over() {
        assert_eq!(missing_and_unused(&CHINESE), (Vec::new(), Vec::new()));
        for (key, words) in CHINESE.iter() {
            assert!(is_chinese(words), "{key}: {words}");
        }
        let text = include_str!("../data/settlement.zh.txt");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(
            lines.count(),
            CHINESE.len(),
            "a key stands there twice, or a line has no words"
        );
        // One that is taken out is noticed, and one too many.
        let mut words = CHINESE.clone();
        words.remove("periods.state");
        words.insert("periods.nothing", "无");
        let expected = (vec!["periods.state".to_owned()], vec!["periods.nothing".to_owned()]);
        assert_eq!(missing_and_unused(&words), expected);
    }

    #[test]
    fn what_clients_are_told_is_in_both_languages() {
        let mut columns = 0;
        for (schema, table, shape) in shapes() {
            let comments =
                shape.fields().iter().map(|field| (field.name().as_str(), field.metadata()));
            for (name, metadata) in comments.chain([("", shape.metadata())]) {
                let comment = &metadata[COMMENT];
                let (english, chinese) = comment.split_once(" · ").unwrap_or((comment, ""));
                assert!(!english.is_empty(), "{schema}.{table}.{name}");
                assert_eq!(
                    is_chinese(chinese),
                    schema == SCHEMA,
                    "{schema}.{table}.{name}: {comment}"
                );
                columns += usize::from(schema == SCHEMA);
            }
        }
        assert!(columns > 200, "{columns}");
    }
}
