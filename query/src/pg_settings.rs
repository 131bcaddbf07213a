//! `SHOW` of what clients ask a PostgreSQL server before they trust its answers.

use datafusion::sql::sqlparser::ast::{Ident, Statement};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;

use crate::error::QueryError;

/// Settings that are the same for every connection; the first ones as they are told to each client
/// when it has signed in.
const FIXED: [(&str, &str); 13] = [
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("in_hot_standby", "off"),
    ("is_superuser", "off"),
    ("default_transaction_read_only", "on"),
    ("transaction_read_only", "on"),
    // One version of all tables for each statement, whether a transaction was begun or not.
    ("transaction_isolation", "read committed"),
    ("default_transaction_isolation", "read committed"),
    ("max_identifier_length", "63"),
    ("server_version", "16.6"),
    ("server_version_num", "160006"),
];

/// Settings that datafusion-postgres keeps for a client.
const OF_CLIENT: [&str; 7] = [
    "application_name",
    "bytea_output",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "search_path",
    "statement_timeout",
];

/// What is run for a `SHOW` of one setting, where it is one of [`FIXED`]; any other statement as it
/// is.
///
/// # Errors
/// `Invalid` for a setting that is not there: PostgreSQL has no empty answer for one, and a client
/// would take it for a value.
pub(super) fn shown(
    statement: Statement,
    parser: &PostgresCompatibilityParser,
) -> Result<Statement, QueryError> {
    let Statement::ShowVariable { variable } = &statement else { return Ok(statement) };
    let words: Vec<String> = variable.iter().map(|word| word.value.to_lowercase()).collect();
    let name = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["transaction", "isolation", "level"] => "transaction_isolation",
        ["time", "zone"] => return Ok(statement),
        ["timezone"] => {
            let variable = vec![Ident::new("TIME"), Ident::new("ZONE")];
            return Ok(Statement::ShowVariable { variable });
        }
        [name] if OF_CLIENT.contains(name) => return Ok(statement),
        [name] => name,
        _ => return Err(unknown(&words.join(" "))),
    };
    let Some((name, value)) = FIXED.iter().find(|(fixed, _)| *fixed == name) else {
        return Err(unknown(name));
    };
    let sql = format!("SELECT '{value}' AS {name}");
    let statement = parser.parse(&sql).map_err(|error| QueryError::Internal(error.to_string()))?;
    statement.into_iter().next().ok_or_else(|| QueryError::Internal(format!("{sql}: no statement")))
}

fn unknown(name: &str) -> QueryError {
    QueryError::Invalid(format!("unrecognized configuration parameter \"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(sql: &str) -> Result<String, QueryError> {
        let parser = PostgresCompatibilityParser::new();
        let statement = parser.parse(sql).unwrap().remove(0);
        shown(statement, &parser).map(|statement| statement.to_string())
    }

    #[test]
    fn settings_that_never_change_are_selected() {
        for (sql, wanted) in [
            ("SHOW standard_conforming_strings", "SELECT 'on' AS standard_conforming_strings"),
            (
                "SHOW TRANSACTION ISOLATION LEVEL",
                "SELECT 'read committed' AS transaction_isolation",
            ),
            ("SHOW transaction_read_only", "SELECT 'on' AS transaction_read_only"),
            ("SHOW timezone", "SHOW TIME ZONE"),
            ("SHOW search_path", "SHOW search_path"),
            ("SELECT 1", "SELECT 1"),
        ] {
            assert_eq!(shows(sql).unwrap(), wanted, "{sql}");
        }
        for (name, _) in FIXED {
            assert!(shows(&format!("SHOW {name}")).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_setting_that_is_not_there_is_refused() {
        for name in ["shared_buffers", "datafusion.execution.batch_size"] {
            let said = shows(&format!("SHOW {name}")).unwrap_err().to_string();
            assert!(said.contains("unrecognized configuration parameter"), "{said}");
        }
    }
}
