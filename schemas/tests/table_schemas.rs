//! The tables as others rely on them. Their comments are not part of it.

use tally_schemas::Table;

/// Whoever changes a column changes what other readers see, and what older files have: on purpose.
#[test]
fn the_columns_of_every_table() {
    let mut text = String::new();
    for table in Table::ALL {
        text.push_str(table.name());
        for column in table.partition_columns() {
            text.push_str(&format!(", files by {column}"));
        }
        text.push('\n');
        for column in table.columns() {
            let null = if column.nullable { ", may be null" } else { "" };
            text.push_str(&format!("  {} {}{null}\n", column.name, column.column_type.delta()));
        }
    }
    insta::assert_snapshot!(text);
}
