//! What a caller sees: the matrix of roles and tables. What is not named here is not there for
//! anybody but those who see everything, so that a new table has to be put in on purpose.
//!
//! docs/access.md shows the same matrix; a test compares the two.

mod vendor_tables;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use tally_access::{Caller, Permission, Role};
use tally_schemas::RollUp;

use self::vendor_tables::{VENDOR_TABLES, VENDOR_VIEWS, roll_up_of_vendor};
use crate::system_schema::shapes;

/// What a caller sees of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Sight {
    /// Every table whole: finance, auditors, and a process without users.
    All,
    /// How the system runs: what is held back, what is missing, which alerts went out. Without the
    /// books, vendors' prices, margins, balances, and what single accounts use.
    Operations,
    /// The rows of one vendor, and of these the columns that concern it.
    Vendor(String),
}

/// What a caller sees of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableSight {
    /// Nothing: to them there is no such table.
    Hidden,
    /// All of it.
    Whole,
    /// Some rows and columns.
    Part(Part),
    /// A view, as a query over what they see of the tables behind it: it answers what they could
    /// have asked themselves.
    OverSeen,
}

/// Some rows and columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The columns, in any order.
    pub(crate) columns: Vec<&'static str>,
    /// Only rows that have these texts in these columns.
    pub(crate) only: Vec<(&'static str, String)>,
}

/// How many kinds of sight there are: each has a catalog of its own to describe it.
pub(crate) const KINDS: usize = 3;

/// Tables and views that operators see. `settlement.budgets` is not among them: it says what all
/// subscribers together owe; and no phone bills, which say what each is charged. An alert says what was used of one.
const OPERATIONS: [(&str, &str); 18] = [
    ("public", "suspense"),
    ("public", "suspense_resolutions"),
    ("public", "alerts"),
    ("public", "control_totals"),
    ("public", "packages"),
    ("public", "calendars"),
    ("public", "model_aliases"),
    ("quota", "alerts_outstanding"),
    ("settlement", "suspense_aging"),
    ("settlement", "control_totals"),
    ("settlement", "completeness"),
    ("settlement", "missing_events"),
    ("system", "partitions"),
    ("system", "epochs"),
    ("system", "tables"),
    ("system", "columns"),
    ("system", "config"),
    ("system", "removed_days"),
];

impl Sight {
    /// What a caller sees; `None` where they may not run statements.
    pub(crate) fn of(caller: &Caller) -> Option<Self> {
        match caller.role() {
            _ if !caller.may(Permission::Sql) => None,
            None | Some(Role::Finance | Role::Auditor) => Some(Self::All),
            Some(Role::Operator) => Some(Self::Operations),
            Some(Role::Vendor(vendor)) => Some(Self::Vendor(vendor.clone())),
            Some(Role::Gateway) => None,
        }
    }

    /// Which of the kinds it is, from 0: those of one kind see the same tables and columns.
    pub(crate) fn kind(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Operations => 1,
            Self::Vendor(_) => 2,
        }
    }

    /// Whether errors may say what is stored, and what else the engine is doing.
    pub(crate) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// What they see of a table or view.
    pub(crate) fn table(&self, schema: &str, name: &str) -> TableSight {
        match self {
            Self::All => TableSight::Whole,
            Self::Operations if OPERATIONS.contains(&(schema, name)) => TableSight::Whole,
            Self::Operations => TableSight::Hidden,
            Self::Vendor(_) if VENDOR_VIEWS.contains(&(schema, name)) => TableSight::OverSeen,
            Self::Vendor(vendor) => {
                let mut tables = VENDOR_TABLES.iter();
                tables
                    .find(|table| (table.schema, table.name) == (schema, name))
                    .map_or(TableSight::Hidden, |table| TableSight::Part(table.part(vendor)))
            }
        }
    }

    /// What views over what they see may read of a table that is summed up. They do not see it
    /// themselves.
    pub(crate) fn roll_up(&self, roll_up: RollUp) -> TableSight {
        match self {
            Self::All => TableSight::Whole,
            Self::Operations => TableSight::Hidden,
            Self::Vendor(vendor) => roll_up_of_vendor(roll_up, vendor),
        }
    }

    /// Whether they see anything of a table.
    pub(crate) fn sees(&self, schema: &str, name: &str) -> bool {
        self.table(schema, name) != TableSight::Hidden
    }

    /// Every table and view as they see it, with comments.
    pub(crate) fn shapes(&self) -> Vec<(&'static str, &'static str, SchemaRef)> {
        let seen = |(schema, name, shape): (&'static str, &'static str, SchemaRef)| {
            let shape = match self.table(schema, name) {
                TableSight::Hidden => return None,
                TableSight::Whole | TableSight::OverSeen => shape,
                TableSight::Part(part) => part.of_schema(&shape),
            };
            Some((schema, name, shape))
        };
        shapes().into_iter().filter_map(seen).collect()
    }
}

impl Part {
    /// The columns of a table that are seen, in the table's order.
    pub(crate) fn of_schema(&self, schema: &Schema) -> SchemaRef {
        let fields = schema.fields().iter();
        let seen = fields.filter(|field| self.columns.contains(&field.name().as_str())).cloned();
        Arc::new(Schema::new_with_metadata(seen.collect::<Vec<_>>(), schema.metadata().clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use tally_access::{Channel, User};

    use super::vendor_tables::VENDOR;
    use super::*;
    use crate::views::View;

    fn caller(role: &str) -> Caller {
        let role = role.parse().unwrap();
        let user = User { name: "u".to_owned(), role, password: None, token: None };
        Caller::of(&user, Channel::Http, None)
    }

    #[test]
    fn what_the_matrix_names_is_there() {
        let shapes = shapes();
        let shape = |schema: &str, name: &str| {
            let mut found = shapes.iter().filter(|shape| (shape.0, shape.1) == (schema, name));
            found.next().unwrap_or_else(|| panic!("no {schema}.{name}")).2.clone()
        };
        for (schema, name) in OPERATIONS {
            shape(schema, name);
        }
        let is_view = |name: (&str, &str)| View::all().any(|view| (view.schema, view.name) == name);
        for view in VENDOR_VIEWS {
            assert!(is_view(view), "{view:?}");
        }
        for table in VENDOR_TABLES {
            let shape = shape(table.schema, table.name);
            // A view would be planned over the rows of all vendors.
            assert!(!is_view((table.schema, table.name)), "{}", table.name);
            let part = table.part("v");
            for column in &part.columns {
                assert!(shape.field_with_name(column).is_ok(), "{}.{column}", table.name);
            }
            assert_eq!(part.of_schema(&shape).fields().len(), part.columns.len());
            assert_eq!(part.only[0], (VENDOR, "v".to_owned()), "{}", table.name);
            assert!(part.columns.contains(&VENDOR));
        }
    }

    /// Whatever is added: a vendor sees nothing of other parties, and nobody but those who see
    /// everything sees the audit log.
    #[test]
    fn what_is_others_is_in_no_table_of_a_vendor() {
        let vendor = Sight::of(&caller("vendor:v")).unwrap();
        for (schema, name, shape) in vendor.shapes() {
            for field in shape.fields() {
                let others = [
                    "account",
                    "subscriber",
                    "retail",
                    "points",
                    "margin",
                    "label",
                    "channel",
                    "gateway",
                    "kafka",
                    "_by",
                ];
                for word in others {
                    assert!(!field.name().contains(word), "{schema}.{name}.{}", field.name());
                }
            }
        }
        for role in ["vendor:v", "operator"] {
            let sight = Sight::of(&caller(role)).unwrap();
            for (schema, name) in [
                ("system", "audit_log"),
                ("settlement", "margin"),
                ("settlement", "periods"),
                // They are of the log's partitions, and what is accrued is found by them.
                ("settlement", "cut_offs"),
                ("settlement", "accrual"),
                ("settlement", "budgets"),
                ("settlement", "fx_rates"),
                ("settlement", "package_revenue"),
                ("settlement", "free_usage_cost"),
                // They name accounts.
                ("settlement", "phone_bill_files"),
                ("settlement", "phone_bill_lines"),
                ("public", "quota_ledger"),
                ("settlement", "a_table_of_tomorrow"),
                ("public", "usage_by_subscriber"),
            ] {
                assert_eq!(sight.table(schema, name), TableSight::Hidden, "{role} {schema}.{name}");
            }
        }
        assert_eq!(Sight::of(&caller("gateway")), None);
        assert_eq!(Sight::of(&caller("auditor")), Some(Sight::All));
        assert_eq!(Sight::of(&Caller::local(Channel::Http, None)), Some(Sight::All));
    }

    /// One row a table.
    fn matrix() -> String {
        let mut out = String::from(
            "| table or view | finance, auditor | operator | vendor |\n| --- | --- | --- | --- |\n",
        );
        let (operations, vendor) = (Sight::Operations, Sight::Vendor("X".to_owned()));
        let mut shapes = shapes();
        shapes.sort_by_key(|(schema, name, _)| (*schema, *name));
        for (schema, name, shape) in shapes {
            let operator = if operations.sees(schema, name) { "all" } else { "–" };
            let vendor = match vendor.table(schema, name) {
                TableSight::Part(part) => {
                    let rows: Vec<String> = part
                        .only
                        .iter()
                        .map(|(column, value)| format!("`{column} = '{value}'`"))
                        .collect();
                    let hidden: Vec<String> = shape
                        .fields()
                        .iter()
                        .filter(|field| !part.columns.contains(&field.name().as_str()))
                        .map(|field| format!("`{}`", field.name()))
                        .collect();
                    let columns = match hidden.as_slice() {
                        [] => "every column".to_owned(),
                        hidden => format!("without {}", hidden.join(", ")),
                    };
                    format!("rows with {}; {columns}", rows.join(" and "))
                }
                TableSight::Whole => "all".to_owned(),
                TableSight::OverSeen => "what their own rows come to".to_owned(),
                TableSight::Hidden => "–".to_owned(),
            };
            writeln!(out, "| `{schema}.{name}` | all | {operator} | {vendor} |").unwrap();
        }
        out
    }

    #[test]
    fn the_page_shows_the_matrix() {
        const BEGIN: &str = "<!-- matrix -->\n";
        const END: &str = "<!-- end of the matrix -->\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/access.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (head, rest) = page.split_once(BEGIN).unwrap();
        let (_, tail) = rest.split_once(END).unwrap();
        let wanted = format!("{head}{BEGIN}{}{END}{tail}", matrix());
        if std::env::var_os("TALLY_UPDATE_DOCS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap();
        assert!(
            found == wanted,
            "the matrix of docs/access.md is out of date: look at query/src/sight.rs, then TALLY_UPDATE_DOCS=1 cargo test -p tally-query matrix"
        );
    }
}
