//! What a query may say: one statement that reads registered tables with known functions.
//!
//! The guard works on the parsed statement, before any planning: planning alone may already
//! run functions on constants. The engine refuses a second time what is not read-only, on the
//! plan.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::parser::{DFParserBuilder, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, ObjectName, Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

use crate::error::QueryError;

/// Longest text of a query in bytes. A generated query with thousands of literals fits.
pub const QUERY_MAX_BYTES: usize = 256 << 10;

/// How deep expressions and subqueries may nest.
const DEPTH_MAX: usize = 64;

/// Schemas that a query may name.
const SCHEMAS: [&str; 6] =
    ["public", "quota", "settlement", "system", "information_schema", "pg_catalog"];

/// The only catalog.
pub(crate) const CATALOG: &str = "tally";

/// Functions that a query may call. Left out on purpose: what reads files or settings
/// (`input_file_name`), and what makes large values out of small ones (`repeat`, `lpad`, `rpad`,
/// `range`, `generate_series`, `array_repeat`, `array_resize`), which no memory limit would see.
const FUNCTIONS: &[&str] = &[
    // aggregates
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "mean",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "regr_slope",
    "regr_intercept",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var",
    "var_pop",
    "var_samp",
    // windows
    "cume_dist",
    "dense_rank",
    "lag",
    "lead",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
    // numbers
    "abs",
    "acos",
    "asin",
    "atan",
    "atan2",
    "cbrt",
    "ceil",
    "cos",
    "degrees",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "isnan",
    "iszero",
    "lcm",
    "ln",
    "log",
    "log10",
    "log2",
    "mod",
    "nanvl",
    "pi",
    "pow",
    "power",
    "radians",
    "random",
    "round",
    "sign",
    "signum",
    "sin",
    "sqrt",
    "tan",
    "trunc",
    // text
    "ascii",
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "chr",
    "concat",
    "concat_ws",
    "contains",
    "ends_with",
    "initcap",
    "instr",
    "left",
    "length",
    "levenshtein",
    "lower",
    "ltrim",
    "md5",
    "octet_length",
    "overlay",
    "position",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "replace",
    "reverse",
    "right",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substring",
    "to_hex",
    "translate",
    "trim",
    "upper",
    // times
    "age",
    "current_date",
    "current_time",
    "current_timestamp",
    "date_bin",
    "date_format",
    "date_part",
    "date_trunc",
    "datepart",
    "datetrunc",
    "extract",
    "from_unixtime",
    "make_date",
    "now",
    "shanghai_day",
    "shanghai_month",
    "to_char",
    "to_date",
    "to_local_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
    "today",
    // choices and types
    "arrow_cast",
    "arrow_typeof",
    "cast",
    "coalesce",
    "greatest",
    "ifnull",
    "least",
    "nullif",
    "nvl",
    "nvl2",
    "try_cast",
    "version",
    // arrays and structs
    "array_any_value",
    "array_append",
    "array_concat",
    "array_contains",
    "array_dims",
    "array_distinct",
    "array_element",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_length",
    "array_lower",
    "array_max",
    "array_min",
    "array_position",
    "array_remove",
    "array_slice",
    "array_sort",
    "array_to_string",
    "array_upper",
    "cardinality",
    "get_field",
    "list_contains",
    "make_array",
    "named_struct",
    "string_to_array",
    "struct",
    "unnest",
    // what psql and BI tools ask of the catalog
    "col_description",
    "current_catalog",
    "current_database",
    "current_role",
    "current_schema",
    "current_schemas",
    "current_user",
    "format_type",
    "has_any_column_privilege",
    "has_database_privilege",
    "has_schema_privilege",
    "has_table_privilege",
    "obj_description",
    "parse_ident",
    "pg_backend_pid",
    "pg_encoding_to_char",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_partkeydef",
    "pg_get_statisticsobjdef_columns",
    "pg_get_userbyid",
    "pg_get_viewdef",
    "pg_relation_is_publishable",
    "pg_relation_size",
    "pg_size_pretty",
    "pg_stat_get_numscans",
    "pg_table_size",
    "pg_table_is_visible",
    "pg_total_relation_size",
    "quote_ident",
    "session_user",
    "shobj_description",
    "user",
];

static ALLOWED: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| FUNCTIONS.iter().copied().collect());

/// Names of every allowed function.
pub fn allowed_functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().copied()
}

fn invalid(message: impl Into<String>) -> QueryError {
    QueryError::Invalid(message.into())
}

/// Parses a text that must hold one statement and checks it.
///
/// # Errors
/// `Invalid` with what is not allowed, or where the text does not parse.
pub(crate) fn parse(sql: &str) -> Result<DfStatement, QueryError> {
    if sql.len() > QUERY_MAX_BYTES {
        return Err(invalid(format!(
            "the query has {} bytes; at most {QUERY_MAX_BYTES} are allowed",
            sql.len()
        )));
    }
    let statements = DFParserBuilder::new(sql)
        .with_dialect(&PostgreSqlDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| invalid(error.strip_backtrace()))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (None, _) => Err(invalid("the query is empty")),
        (Some(_), Some(_)) => Err(invalid("one statement at a time")),
        (Some(statement), None) => {
            check(&statement)?;
            Ok(statement)
        }
    }
}

/// Checks a parsed statement.
///
/// # Errors
/// `Invalid` with what is not allowed.
pub(crate) fn check(statement: &DfStatement) -> Result<(), QueryError> {
    match statement {
        DfStatement::Statement(statement) => check_statement(statement),
        DfStatement::Explain(explain) => check(&explain.statement),
        DfStatement::CreateExternalTable(_) => Err(not_read_only("CREATE EXTERNAL TABLE")),
        DfStatement::CopyTo(_) => Err(not_read_only("COPY")),
        DfStatement::Reset(_) => Err(not_read_only("RESET")),
    }
}

fn not_read_only(what: &str) -> QueryError {
    invalid(format!("{what} is not allowed: only SELECT, WITH, VALUES, EXPLAIN and SHOW are"))
}

fn check_statement(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Query(_) => {}
        Statement::Explain { statement, .. } => return check_statement(statement),
        Statement::ExplainTable { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowFunctions { .. }
        | Statement::ShowVariable { .. } => {}
        other => {
            let text = other.to_string();
            let verb = text.split_whitespace().next().unwrap_or("this statement");
            return Err(not_read_only(&verb.to_ascii_uppercase()));
        }
    }
    match statement.visit(&mut Walk) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Visits every part of a statement and stops at the first that is not allowed.
struct Walk;

impl Visitor for Walk {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        if !query.locks.is_empty() {
            return ControlFlow::Break(not_read_only("FOR UPDATE"));
        }
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            return ControlFlow::Break(invalid("WITH RECURSIVE is not allowed"));
        }
        set_expression(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        if select.into.is_some() {
            return ControlFlow::Break(not_read_only("SELECT INTO"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<QueryError> {
        // A statement inside a statement: WITH … AS (INSERT …).
        match statement {
            Statement::Insert(_)
            | Statement::Update { .. }
            | Statement::Delete(_)
            | Statement::Merge { .. } => ControlFlow::Break(not_read_only("changing data")),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<QueryError> {
        match qualified(relation).as_slice() {
            [_] => ControlFlow::Continue(()),
            [schema, _] if SCHEMAS.contains(&schema.as_str()) => ControlFlow::Continue(()),
            [catalog, schema, _] if catalog == CATALOG && SCHEMAS.contains(&schema.as_str()) => {
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(invalid(format!("table {relation} does not exist"))),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<QueryError> {
        match factor {
            TableFactor::Table { args: None, .. }
            | TableFactor::Derived { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            other => ControlFlow::Break(invalid(format!(
                "{other} is not allowed: only tables, views and subqueries are, no functions that make tables"
            ))),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        match expr {
            Expr::Function(function) => check_function(function),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn set_expression(body: &SetExpr) -> ControlFlow<QueryError> {
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => {
            ControlFlow::Continue(())
        }
        SetExpr::SetOperation { left, right, .. } => {
            set_expression(left)?;
            set_expression(right)
        }
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            ControlFlow::Break(not_read_only("changing data"))
        }
    }
}

fn check_function(function: &Function) -> ControlFlow<QueryError> {
    let parts = qualified(&function.name);
    let known = match parts.as_slice() {
        [name] => ALLOWED.contains(name.as_str()),
        [schema, name] => schema == "pg_catalog" && ALLOWED.contains(name.as_str()),
        _ => false,
    };
    if known {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(invalid(format!("function {} is not allowed", function.name)))
    }
}

/// The parts of a name as SQL reads them: lower case unless quoted.
fn qualified(name: &ObjectName) -> Vec<String> {
    name.0
        .iter()
        .map(|part| match part.as_ident() {
            Some(ident) if ident.quote_style.is_some() => ident.value.clone(),
            Some(ident) => ident.value.to_ascii_lowercase(),
            None => part.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Words of which statements are made, some of them forbidden.
    const WORDS: [&str; 40] = [
        "SELECT",
        "*",
        "FROM",
        "usage_events",
        "WHERE",
        "(",
        ")",
        ",",
        ";",
        "WITH",
        "t",
        "AS",
        "UNION",
        "ALL",
        "INSERT INTO",
        "DROP TABLE",
        "COPY",
        "TO",
        "'x'",
        "\"",
        "'",
        "--",
        "/*",
        "1",
        "+",
        "::",
        "[",
        "]",
        "CASE",
        "WHEN",
        "END",
        "OVER",
        "repeat",
        "sum",
        "system.config",
        "$1",
        "FOR UPDATE",
        "INTO",
        "EXPLAIN",
        "上",
    ];

    /// What the tree of an allowed statement must not hold, as its nodes are printed. Words of the
    /// statement are printed as values of identifiers, so `DROP` as the name of a column is not here.
    const FORBIDDEN_NODES: [&str; 8] = [
        "Insert(",
        "Update(",
        "Delete(",
        "Drop {",
        "CopyTo(",
        "CreateTable(",
        "SelectInto {",
        "LockClause {",
    ];

    /// A call of a function that must not be called, as the tree prints it.
    const FORBIDDEN_CALL: &str =
        r#"Function { name: ObjectName([Identifier(Ident { value: "repeat""#;

    fn forbidden_in(statement: &DfStatement) -> Option<&'static str> {
        let tree = format!("{statement:?}");
        FORBIDDEN_NODES.into_iter().chain([FORBIDDEN_CALL]).find(|node| tree.contains(node))
    }

    /// The names in [`FORBIDDEN_NODES`] are those that the parser prints: without this the
    /// property below would hold of anything after the parser renames a node.
    #[test]
    fn forbidden_nodes_are_seen_where_they_are() {
        for (sql, node) in [
            ("INSERT INTO t VALUES (1)", "Insert("),
            ("WITH t AS (INSERT INTO x VALUES (1)) SELECT 1", "Insert("),
            ("UPDATE t SET a = 1", "Update("),
            ("DELETE FROM t", "Delete("),
            ("DROP TABLE t", "Drop {"),
            ("COPY t TO 'x'", "CopyTo("),
            ("CREATE TABLE t (a int)", "CreateTable("),
            ("SELECT 1 INTO t", "SelectInto {"),
            ("SELECT 1 FROM t FOR UPDATE", "LockClause {"),
            ("SELECT repeat('x', 2)", FORBIDDEN_CALL),
        ] {
            let mut parser =
                DFParserBuilder::new(sql).with_dialect(&PostgreSqlDialect {}).build().unwrap();
            assert_eq!(forbidden_in(&parser.parse_statement().unwrap()), Some(node), "{sql}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        /// Whatever is asked is checked or refused; what passes is one statement that reads, calls
        /// no forbidden function and changes nothing.
        #[test]
        fn any_words_are_checked_or_refused(
            words in prop::collection::vec(0..WORDS.len(), 0..14),
            text in "\\PC{0,40}",
        ) {
            let sql: Vec<&str> = words.iter().map(|word| WORDS[*word]).collect();
            let sql = sql.join(" ");
            if let Ok(statement) = parse(&sql) {
                prop_assert_eq!(forbidden_in(&statement), None, "{}", statement);
            }
            drop(parse(&text));
        }
    }

    #[test]
    fn reads_are_allowed() {
        for sql in [
            "SELECT 1",
            "select vendor, sum(input) from usage_events group by vendor order by 2 desc limit 3",
            "WITH t AS (SELECT * FROM public.usage_events) SELECT count(*) FROM t",
            "VALUES (1, 2), (3, 4)",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "SHOW TABLES",
            "SHOW COLUMNS FROM usage_events",
            "SELECT * FROM tally.system.partitions",
            "SELECT rank() OVER (PARTITION BY vendor ORDER BY input) FROM usage_events",
            "SELECT extract(hour from completed_at), position('a' in model) FROM usage_events",
            "SELECT x FROM unnest([1,2,3]) AS t(x)",
            "SELECT 1;",
        ] {
            assert!(parse(sql).is_ok(), "{sql}: {:?}", parse(sql).err());
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for sql in [
            "",
            ";",
            "SELECT 1; SELECT 2",
            "SELECT 1; DROP TABLE usage_events",
            "INSERT INTO usage_events VALUES (1)",
            "UPDATE usage_events SET input = 0",
            "DELETE FROM usage_events",
            "MERGE INTO usage_events USING x ON true WHEN MATCHED THEN DELETE",
            "TRUNCATE usage_events",
            "DROP TABLE usage_events",
            "CREATE TABLE x AS SELECT 1",
            "CREATE VIEW x AS SELECT 1",
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
            "CREATE FUNCTION f() RETURNS INT RETURN 1",
            "COPY usage_events TO '/tmp/x.csv'",
            "COPY (SELECT 1) TO '/tmp/x.parquet'",
            "SET datafusion.execution.memory = 1",
            "RESET ALL",
            "EXPLAIN DROP TABLE usage_events",
            "EXPLAIN ANALYZE INSERT INTO usage_events VALUES (1)",
            "WITH x AS (INSERT INTO usage_events VALUES (1) RETURNING *) SELECT * FROM x",
            "SELECT * INTO x FROM usage_events",
            "SELECT * FROM usage_events FOR UPDATE",
            "SELECT * FROM read_csv('/etc/passwd')",
            "SELECT * FROM generate_series(1, 1000000000000)",
            "SELECT * FROM range(1, 1000000000000)",
            "SELECT * FROM TABLE(generate_series(1, 10))",
            "SELECT * FROM other.usage_events",
            "SELECT * FROM other.public.usage_events",
            "SELECT a.b.c.d FROM a.b.c.d",
            "SELECT repeat('x', 2000000000)",
            "SELECT lpad('x', 2000000000, 'y')",
            "SELECT array_repeat(1, 2000000000)",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT pg_catalog.pg_ls_dir('.')",
            "SELECT input_file_name() FROM usage_events",
            "SELECT (SELECT repeat('x', 10)) FROM usage_events",
            "SELECT 1 FROM usage_events WHERE id IN (SELECT repeat('x', 9))",
            "SELECT 1 ORDER BY repeat('x', 9)",
            "SELECT sum(input) FILTER (WHERE repeat('x', 9) = 'x') FROM usage_events",
            "SELECT sum(length(repeat('x', 9))) OVER () FROM usage_events",
            "VALUES (repeat('x', 9))",
            "SELECT 1 UNION ALL SELECT length(repeat('x', 9))",
            "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT n FROM t",
            "PREPARE x AS SELECT 1",
            "EXECUTE x",
            "BEGIN",
            "CALL f()",
            "GRANT ALL ON usage_events TO x",
            "ANALYZE usage_events",
            "USE tally",
            "ATTACH 'x' AS y",
            "LOAD 'x'",
            "VACUUM",
            "DECLARE c CURSOR FOR SELECT 1",
            "KILL 1",
        ] {
            assert!(parse(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        for depth in [100, 1_000, 50_000] {
            let sql = format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
            assert!(parse(&sql).is_err(), "{depth}");
        }
        let sql = format!("SELECT {}1", "NOT ".repeat(50_000));
        assert!(parse(&sql).is_err());
    }
}
