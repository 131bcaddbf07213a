//! Roll-ups say what the rows of their files come to: file by file and key by key.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::ViewTable;
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{col, lit};
use object_store::ObjectStoreExt;
use tally_schemas::{RollUp, RolledColumn, in_full};
use tally_tables::{PinnedFile, PinnedTable, PinnedTables, is_roll_up_of};

use super::{Check, Finding};
use crate::answer_rows::{plain, text};
use crate::engine::{Beside, QueryEngine};
use crate::error::{QueryError, from_datafusion};
use crate::limits::Limits;
use crate::provider::PinnedTableProvider;
use crate::rolled_table::of_files;

/// The column that says which file a row is of.
const FILE: &str = "roll_up_file";
/// The column that tells what is stored from what the file has.
const IS_STORED: &str = "is_stored";

/// Compares every roll-up of a pin with its file.
pub(super) async fn roll_ups(engine: &QueryEngine, pin: &Arc<PinnedTables>) -> Check {
    let mut finding =
        Finding::new("I13", "each roll-up has the sums of its file, for each of its keys");
    let mut compared = 0_usize;
    for roll_up in RollUp::ALL {
        let Some(table) = pin.get(roll_up.table()) else { continue };
        let files: Vec<Arc<PinnedFile>> = table
            .files
            .iter()
            .filter(|file| file.roll_up_bytes(roll_up).is_some())
            .cloned()
            .collect();
        compared += files.len();
        if files.is_empty() {
            continue;
        }
        let name = roll_up.name();
        let differing = match roll_up {
            // What many rows of a file are together, a row by itself does not add up to.
            RollUp::GatewayRuns => differing_runs(engine, &table, roll_up, &files).await,
            _ => differing(engine, pin, &table, roll_up, files).await,
        };
        match differing {
            Ok(files) => {
                for file in files {
                    finding.add(format!("{name}: other sums than those of {file}"));
                }
            }
            Err(error) => finding.add(format!("{name}: {error}")),
        }
    }
    finding.done(format!("{compared} roll-ups"))
}

/// Files whose roll-up has a key that the file has not, lacks one, or has other sums of it.
async fn differing(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    table: &PinnedTable,
    roll_up: RollUp,
    files: Vec<Arc<PinnedFile>>,
) -> Result<Vec<String>, QueryError> {
    let both = both(table, roll_up, files).map_err(|error| from_datafusion(&error, 0))?;
    let (keys, sums): (Vec<RolledColumn>, Vec<RolledColumn>) =
        roll_up.columns().into_iter().partition(|column| column.from.is_key());
    let keys: Vec<&str> = keys.iter().map(|key| key.name).chain([FILE]).collect();
    let summed: Vec<String> = sums.iter().map(|sum| format!("sum({0}) AS {0}", sum.name)).collect();
    let names: Vec<&str> = sums.iter().map(|sum| sum.name).collect();
    let keys = keys.join(", ");
    // What is the same in both comes twice. Groups tell null from 0, as sums do not.
    let sql = format!(
        "SELECT DISTINCT {FILE} FROM (\
           SELECT {keys}, {names} FROM (\
             SELECT {keys}, {IS_STORED}, {} FROM system.roll_ups GROUP BY {keys}, {IS_STORED}\
           ) GROUP BY {keys}, {names} HAVING count(*) <> 2\
         ) ORDER BY {FILE}",
        summed.join(", "),
        names = names.join(", "),
    );
    let beside = Some(Beside { name: "roll_ups", table: both });
    let answer = engine.run_beside(Arc::clone(pin), &sql, beside, Limits::unlimited()).await?;
    let (_, batches) = answer.collect().await?;
    let mut found = Vec::new();
    for batch in &batches {
        let columns = plain(batch)?;
        for row in 0..batch.num_rows() {
            found.push(text(&columns, 0, row)?.to_owned());
        }
    }
    Ok(found)
}

/// Files whose roll-up is another than one that is made of them now.
async fn differing_runs(
    engine: &QueryEngine,
    table: &PinnedTable,
    roll_up: RollUp,
    files: &[Arc<PinnedFile>],
) -> Result<Vec<String>, QueryError> {
    let store = engine.ledger().store();
    let (stored, _) = with_files(table, files.to_vec()).rolled_up(roll_up);
    let mut found = Vec::new();
    for (file, stored) in files.iter().zip(&stored.files) {
        let mut bytes = Vec::new();
        for object in [table.object_path(file), table.object_path(stored)] {
            let away = |error| QueryError::Retry(format!("{object}: {}", in_full(&error)));
            bytes.push(store.get(&object).await.map_err(away)?.bytes().await.map_err(away)?);
        }
        let is_of_file = tokio::task::spawn_blocking(move || match bytes.as_slice() {
            [file, stored] => is_roll_up_of(roll_up, file.clone(), stored.clone()),
            _ => Ok(false),
        });
        let internal = |error: tokio::task::JoinError| QueryError::Internal(error.to_string());
        let is_of_file = is_of_file.await.map_err(internal)?;
        if !is_of_file.map_err(|error| QueryError::Data(error.to_string()))? {
            found.push(file.path.clone());
        }
    }
    found.sort();
    Ok(found)
}

/// What is stored of some files, and what their rows come to.
fn both(
    table: &PinnedTable,
    roll_up: RollUp,
    files: Vec<Arc<PinnedFile>>,
) -> PlanResult<Arc<dyn TableProvider>> {
    let rows = with_files(table, files);
    let (stored, nothing) = rows.rolled_up(roll_up);
    let nothing_stored = with_files(&stored, Vec::new());
    let side = |rolled: &PinnedTable, others: &PinnedTable, is_stored: i64| {
        let rolled = Arc::new(PinnedTableProvider::try_new(&by_file(rolled))?);
        let others = Arc::new(PinnedTableProvider::try_new(&by_file(others))?);
        let plan = of_files(roll_up, rolled, others, &[FILE])?;
        let columns = roll_up.columns();
        let names = columns.iter().map(|column| col(column.name));
        let also = [col(FILE), lit(is_stored).alias(IS_STORED)];
        plan.project(names.chain(also).collect::<Vec<_>>())
    };
    let stored = side(&stored, &nothing, 1)?;
    let plan = stored.union(side(&nothing_stored, &rows, 0)?.build()?)?;
    Ok(Arc::new(ViewTable::new(plan.build()?, None)))
}

/// A table that says of each row which file it is of, as if it were partitioned by that.
fn by_file(table: &PinnedTable) -> PinnedTable {
    let name = |file: &PinnedFile| RollUp::file_of(&file.path).unwrap_or(&file.path).to_owned();
    let file = Arc::new(Field::new(FILE, DataType::Utf8, false));
    let fields = table.schema.fields().iter().cloned().chain([file]);
    let named = table.files.iter().map(|file| {
        let mut named = file.as_ref().clone();
        named.partition_values.insert(FILE.to_owned(), Some(name(file)));
        Arc::new(named)
    });
    let mut by_file = with_files(table, named.collect());
    by_file.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    by_file.partition_columns.push(FILE.to_owned());
    by_file
}

/// The same table with other files.
fn with_files(table: &PinnedTable, files: Vec<Arc<PinnedFile>>) -> PinnedTable {
    let mut table = table.clone();
    table.files = files;
    table
}
