//! Statements by chance: select lists, joins, unions, common tables, windows, subqueries, plans, and
//! expressions that fail with a value in their words.

use std::fmt::Write as _;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Tables of a vendor, by the name of a common table that stands for the vendor's part of it.
pub(crate) const TABLES: [(&str, &str); 15] = [
    ("own_events", "usage_events"),
    ("own_windows", "usage_by_model"),
    ("own_prices", "settlement.price_book"),
    ("own_contracts", "settlement.contracts"),
    ("own_aliases", "model_aliases"),
    ("own_statements", "settlement.statements"),
    ("own_lines", "settlement.statement_lines"),
    ("own_adjustments", "settlement.adjustments"),
    ("own_disputes", "settlement.disputes"),
    ("own_comparisons", "settlement.reconciliation"),
    ("own_classes", "settlement.reconciliation_classes"),
    ("own_differences", "settlement.reconciliation_differences"),
    ("own_payable", "settlement.vendor_payable"),
    ("own_report", "settlement.vendor_report"),
    ("own_payable_by_price", "settlement.vendor_payable_by_price"),
];

/// Columns by kind, of each of the tables.
struct Shape {
    texts: &'static [&'static str],
    integers: &'static [&'static str],
    decimals: &'static [&'static str],
    times: &'static [&'static str],
}

const SHAPES: [Shape; 15] = [
    Shape {
        texts: &[
            "model",
            "billed_model",
            "vendor",
            "supplier",
            "finish_reason",
            "vendor_request_id",
        ],
        integers: &["input", "output", "cached_input", "reasoning", "requests"],
        decimals: &["wholesale_amount"],
        times: &["completed_at", "started_at", "day"],
    },
    Shape {
        texts: &["model", "vendor", "supplier", "kind", "wholesale_currency"],
        integers: &["input", "output", "events"],
        decimals: &["wholesale_amount"],
        times: &["window_start", "window_end"],
    },
    Shape {
        texts: &["price_id", "vendor", "model_pattern", "class", "currency", "side"],
        integers: &["tier_from", "tier_to", "version"],
        decimals: &["price_per_million", "price_micro_per_million"],
        times: &["valid_from", "valid_to"],
    },
    Shape {
        texts: &["contract_id", "vendor", "model_pattern", "form", "figures", "tolerance"],
        integers: &["discount_ppm", "tax_ppm", "carry_months", "version"],
        decimals: &["minimum", "cap"],
        times: &["valid_from", "valid_to"],
    },
    Shape {
        texts: &["alias_id", "model", "vendor", "billed_model"],
        integers: &["version"],
        decimals: &[],
        times: &["valid_from", "known_from"],
    },
    Shape {
        texts: &["period", "vendor", "state", "total_in_words", "hash", "payment_reference"],
        integers: &["sequence", "events", "late_events", "corrected_events"],
        decimals: &["net", "tax", "gross"],
        times: &["paid_on"],
    },
    Shape {
        texts: &["period", "vendor", "terms", "kind", "line_id", "model", "price_id", "reason"],
        integers: &["units"],
        decimals: &["unit_price", "listed", "net", "gross"],
        times: &[],
    },
    Shape {
        texts: &["adjustment", "vendor", "state", "period", "terms", "reason", "note"],
        integers: &[],
        decimals: &["amount", "net", "gross"],
        times: &[],
    },
    Shape {
        texts: &["dispute", "vendor", "period", "state", "classes", "bill", "evidence_hash"],
        integers: &["differences"],
        decimals: &["our_amount", "their_amount", "at_stake", "credit"],
        times: &["deadline", "opened_at", "resolved_at"],
    },
    Shape {
        texts: &["vendor", "period", "bill", "bill_hash", "mapping", "classes"],
        integers: &["bill_lines", "our_events", "differences", "disputed"],
        decimals: &["our_amount", "their_amount", "difference"],
        times: &["compared_at"],
    },
    Shape {
        texts: &["vendor", "period", "bill", "bill_hash", "class", "currency"],
        integers: &["differences"],
        decimals: &["difference"],
        times: &["compared_at"],
    },
    Shape {
        texts: &["vendor", "class", "detail", "our_model", "vendor_request_id", "our_counts"],
        integers: &["place", "bill_line"],
        decimals: &["our_amount", "their_amount", "difference", "unit_price"],
        times: &["our_day", "their_day", "compared_at"],
    },
    Shape {
        texts: &["period", "vendor", "model", "class", "currency"],
        integers: &["units"],
        decimals: &["net", "tax", "gross"],
        times: &[],
    },
    Shape {
        texts: &["period", "vendor", "terms", "step", "model", "class", "listed_currency"],
        integers: &["units"],
        decimals: &["listed", "net", "tax", "gross"],
        times: &[],
    },
    Shape {
        texts: &["period", "vendor", "model", "class", "price_id", "price_book_version"],
        integers: &["units"],
        decimals: &["unit_price", "net", "tax", "gross"],
        times: &[],
    },
];

/// What a vendor does not see: tables, and columns of tables that it sees.
const HIDDEN_TABLES: [&str; 25] = [
    "suspense",
    "quota_ledger",
    "alerts",
    "usage_by_subscriber",
    "packages",
    "settlement.margin",
    "settlement.budgets",
    "settlement.phone_bill_files",
    "settlement.phone_bill_lines",
    "quota.balance",
    "system.tables",
    "system.epochs",
    "system.audit_log",
    "system.config",
    "system.removed_days",
    "settlement.periods",
    "settlement.cut_offs",
    "settlement.accrual",
    "settlement.package_revenue",
    "settlement.free_usage_cost",
    "settlement.fx_rates",
    "settlement.completeness",
    "settlement.missing_events",
    "control_totals",
    "calendars",
];
const HIDDEN_COLUMNS: [&str; 14] = [
    "account",
    "subscriber",
    "retail_amount",
    "points",
    "channel",
    "labels",
    "epoch",
    "kafka_offset",
    "source",
    "proposed_by",
    "opened_by",
    "paid_by",
    "compared_by",
    "approved_by",
];

const LITERALS: [&str; 8] = [
    "'deepseek'",
    "'canary-vendor'",
    "'%canary%'",
    "'zhipu'",
    "''",
    "'2026-11-21'",
    "'7318547'",
    "'stop'",
];

/// How a statement is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Rows,
    Explain,
    ExplainVerbose,
    ExplainAnalyze,
}

/// A statement over the tables by their stand-in names.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) form: Form,
    /// Common tables of the statement's own: name and query.
    common: Vec<(String, String)>,
    body: String,
    /// Whether it names something that is hidden.
    pub(crate) hidden: bool,
}

impl Asked {
    /// The statement as a vendor asks it.
    pub(crate) fn as_vendor(&self) -> String {
        let prefix = match self.form {
            Form::Rows => "",
            Form::Explain => "EXPLAIN ",
            Form::ExplainVerbose => "EXPLAIN VERBOSE ",
            Form::ExplainAnalyze => "EXPLAIN ANALYZE ",
        };
        let mut sql = format!("{prefix}{}", self.with(&[]));
        for (stand_in, table) in TABLES {
            sql = sql.replace(stand_in, table);
        }
        sql
    }

    /// The statement over common tables that hold the vendor's part, for somebody who sees all.
    pub(crate) fn over(&self, parts: &[(String, String)]) -> String {
        self.with(parts)
    }

    fn with(&self, before: &[(String, String)]) -> String {
        let all: Vec<String> = before
            .iter()
            .chain(&self.common)
            .map(|(name, query)| format!("{name} AS ({query})"))
            .collect();
        match all.as_slice() {
            [] => self.body.clone(),
            all => format!("WITH {} {}", all.join(", "), self.body),
        }
    }
}

/// A source of rows in scope: its alias and its shape.
#[derive(Clone, Copy)]
struct Source {
    alias: usize,
    table: usize,
}

pub(crate) struct Generator<'r> {
    random: &'r mut ChaCha8Rng,
    aliases: usize,
    hidden: bool,
}

impl<'r> Generator<'r> {
    pub(crate) fn new(random: &'r mut ChaCha8Rng) -> Self {
        Self { random, aliases: 0, hidden: false }
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.random.random_range(0..words.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub(crate) fn statement(mut self) -> Asked {
        let form = match self.random.random_range(0..10) {
            0 => Form::Explain,
            1 => Form::ExplainVerbose,
            2 => Form::ExplainAnalyze,
            _ => Form::Rows,
        };
        let mut common = Vec::new();
        let body = match self.random.random_range(0..8) {
            0 => {
                let (left, right) = (self.plain_select(2), self.plain_select(2));
                let word = self.one_of(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT"]);
                format!("{left} {word} {right}")
            }
            1 => {
                common.push(("c".to_owned(), self.plain_select(2)));
                let word = self.one_of(&["count(*)", "count(DISTINCT c1)", "max(c1)", "min(c2)"]);
                format!("SELECT {word} FROM c")
            }
            2 => {
                let inner = self.plain_select(2);
                format!("SELECT c1, count(*), max(c2) FROM ({inner}) AS s GROUP BY c1")
            }
            3 => self.grouped(),
            4 => self.windowed(),
            5 => {
                let columns = 2;
                let inner = self.plain_select(columns);
                format!("{inner} ORDER BY 1, 2 LIMIT {}", self.random.random_range(1..9))
            }
            _ => {
                let columns = self.random.random_range(1..4);
                self.plain_select(columns)
            }
        };
        Asked { form, common, body, hidden: self.hidden }
    }

    fn source(&mut self) -> (Source, String) {
        self.aliases += 1;
        let (alias, table) = (self.aliases, self.random.random_range(0..TABLES.len() + 4));
        // Events are asked for most.
        let table = table.saturating_sub(4);
        let mut name = TABLES[table].0;
        if self.chance(2) {
            self.hidden = true;
            name = self.one_of(&HIDDEN_TABLES);
        }
        (Source { alias, table }, format!("{name} AS t{alias}"))
    }

    /// `FROM` with perhaps a join, and `WHERE` with perhaps a condition.
    fn from(&mut self) -> (Vec<Source>, String) {
        let (first, text) = self.source();
        let mut from = format!("FROM {text}");
        let mut sources = vec![first];
        if self.chance(25) {
            let (second, text) = self.source();
            let kind = self.one_of(&["JOIN", "LEFT JOIN", "FULL JOIN", "RIGHT JOIN"]);
            let (left, right) = (self.text_column(first), self.text_column(second));
            write!(from, " {kind} {text} ON {left} = {right}").unwrap();
            sources.push(second);
        }
        if self.chance(60) {
            let condition = self.condition(&sources, 2);
            write!(from, " WHERE {condition}").unwrap();
        }
        (sources, from)
    }

    fn plain_select(&mut self, columns: usize) -> String {
        let (sources, from) = self.from();
        let list: Vec<String> = (1..=columns)
            .map(|n| {
                // The first are texts, so that two selects go together.
                let expr = if n <= 2 { self.text(&sources, 2) } else { self.any(&sources, 3) };
                format!("{expr} AS c{n}")
            })
            .collect();
        let distinct = if self.chance(15) { "DISTINCT " } else { "" };
        format!("SELECT {distinct}{} {from}", list.join(", "))
    }

    fn grouped(&mut self) -> String {
        let (sources, from) = self.from();
        let key = self.text(&sources, 1);
        let aggregates: Vec<String> = (0..2).map(|_| self.aggregate(&sources)).collect();
        let having = if self.chance(30) {
            format!(" HAVING {} IS NOT NULL", self.aggregate(&sources))
        } else {
            String::new()
        };
        format!("SELECT {key} AS k, {} {from} GROUP BY {key}{having}", aggregates.join(", "))
    }

    fn aggregate(&mut self, sources: &[Source]) -> String {
        match self.random.random_range(0..9) {
            0 => "count(*)".to_owned(),
            1 => format!("sum({})", self.integer(sources, 2)),
            2 => format!("min({})", self.text(sources, 1)),
            3 => format!("max({})", self.any(sources, 2)),
            4 => format!("count(DISTINCT {})", self.any(sources, 2)),
            5 => format!("length(string_agg({}, ','))", self.text(sources, 1)),
            6 => format!("cardinality(array_agg({}))", self.integer(sources, 1)),
            7 => format!("sum({})", self.decimal(sources, 2)),
            _ => format!("count(*) FILTER (WHERE {})", self.condition(sources, 1)),
        }
    }

    fn windowed(&mut self) -> String {
        let (sources, from) = self.from();
        let (key, order) = (self.text(&sources, 1), self.integer(&sources, 1));
        let function = match self.random.random_range(0..5) {
            0 => "rank()".to_owned(),
            1 => "dense_rank()".to_owned(),
            2 => format!("max({})", self.text(&sources, 1)),
            3 => format!("sum({})", self.integer(&sources, 1)),
            _ => "count(*)".to_owned(),
        };
        format!(
            "SELECT {key} AS c1, {function} OVER (PARTITION BY {key} ORDER BY {order} RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS c2 {from}"
        )
    }

    fn column(&mut self, source: Source, columns: &[&str]) -> String {
        let name = if self.chance(1) {
            self.hidden = true;
            self.one_of(&HIDDEN_COLUMNS)
        } else {
            self.one_of(columns)
        };
        format!("t{}.{name}", source.alias)
    }

    fn text_column(&mut self, source: Source) -> String {
        self.column(source, SHAPES[source.table].texts)
    }

    fn integer_column(&mut self, source: Source) -> String {
        match SHAPES[source.table].integers {
            [] => format!("length({})", self.text_column(source)),
            columns => self.column(source, columns),
        }
    }

    fn time_column(&mut self, source: Source) -> String {
        match SHAPES[source.table].times {
            [] => format!("CAST({} AS TIMESTAMP)", self.text_column(source)),
            columns => self.column(source, columns),
        }
    }

    fn pick(&mut self, sources: &[Source]) -> Source {
        sources[self.random.random_range(0..sources.len())]
    }

    fn text(&mut self, sources: &[Source], depth: u32) -> String {
        let source = self.pick(sources);
        if depth == 0 || self.chance(40) {
            return self.text_column(source);
        }
        let next = depth - 1;
        match self.random.random_range(0..11) {
            0 => format!("upper({})", self.text(sources, next)),
            1 => format!("reverse({})", self.text(sources, next)),
            2 => format!("md5({})", self.text(sources, next)),
            3 => format!("substr({}, 2, 5)", self.text(sources, next)),
            4 => format!("concat({}, {})", self.text(sources, next), self.text(sources, next)),
            5 => format!("coalesce({}, 'none')", self.text(sources, next)),
            6 => format!("regexp_replace({}, '[a-m]', '#')", self.text(sources, next)),
            7 => format!("CAST({} AS VARCHAR)", self.any(sources, next)),
            8 => {
                let condition = self.condition(sources, next);
                format!("CASE WHEN {condition} THEN {} ELSE 'x' END", self.text(sources, next))
            }
            9 => self.one_of(&LITERALS).to_owned(),
            _ => {
                let (inner, text) = self.source();
                let column = self.text_column(inner);
                format!("(SELECT max({column}) FROM {text})")
            }
        }
    }

    fn integer(&mut self, sources: &[Source], depth: u32) -> String {
        let source = self.pick(sources);
        if depth == 0 || self.chance(35) {
            return self.integer_column(source);
        }
        let next = depth - 1;
        match self.random.random_range(0..11) {
            0 => format!("({} + {})", self.integer(sources, next), self.integer(sources, next)),
            // Overflow names both values.
            1 => format!("({} * {})", self.integer(sources, next), self.integer(sources, next)),
            2 => format!("({} - {})", self.integer(sources, next), self.integer(sources, next)),
            3 => format!("({} / {})", self.integer(sources, next), self.integer(sources, next)),
            4 => format!("({} % {})", self.integer(sources, next), self.integer(sources, next)),
            // A cast that fails names the value.
            5 | 6 => format!("CAST({} AS BIGINT)", self.text(sources, next)),
            7 => format!("length({})", self.text(sources, next)),
            8 => format!("CAST({} AS SMALLINT)", self.integer(sources, next)),
            9 => {
                let (inner, text) = self.source();
                let column = self.integer_column(inner);
                format!("(SELECT sum({column}) FROM {text})")
            }
            _ => format!("ascii({})", self.text(sources, next)),
        }
    }

    fn decimal(&mut self, sources: &[Source], depth: u32) -> String {
        let source = self.pick(sources);
        let columns = SHAPES[source.table].decimals;
        if columns.is_empty() {
            return format!("CAST({} AS DECIMAL(20,4))", self.text(sources, depth.min(1)));
        }
        let column = self.column(source, columns);
        match self.random.random_range(0..4) {
            0 => format!("({column} / {column})"),
            1 => format!("CAST({column} AS DECIMAL(6,2))"),
            2 => format!("round({column})"),
            _ => column,
        }
    }

    fn time(&mut self, sources: &[Source]) -> String {
        let source = self.pick(sources);
        let column = self.time_column(source);
        match self.random.random_range(0..4) {
            0 => format!("date_trunc('day', {column})"),
            1 => format!("CAST({} AS TIMESTAMP)", self.text(sources, 1)),
            _ => column,
        }
    }

    fn any(&mut self, sources: &[Source], depth: u32) -> String {
        match self.random.random_range(0..6) {
            0 | 1 => self.text(sources, depth),
            2 | 3 => self.integer(sources, depth),
            4 => self.decimal(sources, depth),
            _ => self.time(sources),
        }
    }

    fn condition(&mut self, sources: &[Source], depth: u32) -> String {
        let next = depth.saturating_sub(1);
        match self.random.random_range(0..13) {
            0 if depth > 0 => {
                let (left, right) = (self.condition(sources, next), self.condition(sources, next));
                format!("({left} {} {right})", self.one_of(&["AND", "OR"]))
            }
            1 => format!("{} LIKE {}", self.text(sources, 1), self.one_of(&LITERALS)),
            2 => format!("{} ~ '^[ac].*'", self.text(sources, 1)),
            3 => format!("{} = {}", self.text(sources, 1), self.one_of(&LITERALS)),
            4 => format!("{} <> {}", self.text(sources, 0), self.one_of(&LITERALS)),
            5 => format!("1 / {} >= 0", self.integer(sources, 1)),
            6 => {
                format!("{} > {}", self.integer(sources, next), self.random.random_range(-5..9_000))
            }
            7 => format!("CAST({} AS BIGINT) > 3", self.text(sources, next)),
            8 => format!("{} IS NULL", self.any(sources, next)),
            9 => {
                let (inner, text) = self.source();
                let (left, right) = (self.text_column(inner), self.text(sources, 0));
                let word = self.one_of(&["IN", "NOT IN"]);
                format!("{right} {word} (SELECT {left} FROM {text} WHERE {left} IS NOT NULL)")
            }
            10 => {
                let (inner, text) = self.source();
                let (left, right) = (self.text_column(inner), self.text(sources, 0));
                format!("EXISTS (SELECT 1 FROM {text} WHERE {left} = {right})")
            }
            11 => {
                let source = self.pick(sources);
                let column = self.time_column(source);
                let word = self.one_of(&["<", "=", ">="]);
                let day = self.random.random_range(18..27);
                format!("{column} {word} TIMESTAMP '2026-11-{day}T00:00:00'")
            }
            _ => {
                let list = format!("({}, {})", self.one_of(&LITERALS), self.one_of(&LITERALS));
                format!("{} NOT IN {list}", self.text(sources, next))
            }
        }
    }
}
