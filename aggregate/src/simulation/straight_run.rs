//! What the accounts must have been charged: the same log in one go, without a crash, a store or an
//! epoch. That charging itself is right is shown elsewhere, against an oracle of its own; here it
//! is shown that crashes, zombies and recoveries neither repeat nor lose any of it.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
use arrow::util::display::array_value_to_string;
use tally_schemas::AggregateConfig;

use super::oracle::Place;
use super::schedule::Schedule;
use super::simulated_log::SimulatedLog;
use super::simulated_statuses::View;
use crate::core::{Need, Notice, Partition, PartitionConfig};

/// Currency and pico-currency of the retail side of an event.
pub(super) type Retail = (Option<String>, i128);

/// What charging told, in its order, and the retail side of each event.
#[derive(Debug, Default)]
pub(super) struct StraightRun {
    pub(super) quota_ledger: Vec<String>,
    pub(super) alerts: Vec<String>,
    /// Messages of the topic of alerts, by id.
    pub(super) sent: BTreeMap<String, Vec<u8>>,
    /// What gateways must make of each account in the end.
    pub(super) views: BTreeMap<String, View>,
    pub(super) retail: BTreeMap<Place, Retail>,
}

/// Rows as texts, without their epoch: where a row is cut off from the next is no matter.
pub(super) fn rows_as_texts(batch: &RecordBatch) -> Vec<String> {
    let schema = batch.schema();
    let columns: Vec<(&str, _)> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| (field.name().as_str(), column))
        .filter(|(name, _)| !matches!(*name, "epoch" | "emitted_epoch"))
        .collect();
    let row = |row: usize| {
        let fields = columns.iter().filter(|(_, column)| column.is_valid(row));
        let fields = fields.map(|(name, column)| {
            format!("{name}={}", array_value_to_string(column, row).unwrap())
        });
        fields.collect::<Vec<_>>().join(" ")
    };
    (0..batch.num_rows()).map(row).collect()
}

fn views_of(partition: &Partition) -> BTreeMap<String, View> {
    let view = |account: String| {
        let status = partition.quota_of(&account).unwrap()?.status;
        let buckets = status.buckets.into_iter().map(|bucket| bucket.bucket).collect();
        Some((account, (status.status.name().to_owned(), buckets)))
    };
    partition.account_names().into_iter().filter_map(view).collect()
}

/// Runs the log of a partition through the core once.
pub(super) fn straight_run(
    log: &SimulatedLog,
    config: &PartitionConfig,
    schedule: &Schedule,
) -> StraightRun {
    let aggregate = AggregateConfig { dedupe_open_max_bytes: u64::MAX, ..config.aggregate.clone() };
    let config = PartitionConfig { aggregate, ..config.clone() };
    let records = log.records();
    let first = records.first().map_or(0, |record| record.offset);
    let mut partition = Partition::new(config.clone(), schedule.at(first).clone(), 0);
    for record in &records {
        let reference = schedule.at(record.offset);
        if partition.reference().version != reference.version {
            partition.set_reference(reference.clone()).unwrap();
        }
        if schedule.refuses(record.offset)
            && let Err(Need::Reference(forged)) = partition.push(record.record())
        {
            partition.refuse_reference(forged, "forged".to_owned());
        }
        // Nothing is sealed before an epoch closes, so nothing is asked for.
        partition.push(record.record()).unwrap();
    }
    let notices = partition.take_notices();
    let message = |notice: Notice| match notice {
        Notice::Alert(alert) => Some((alert.message.id.clone(), alert.message.to_json().unwrap())),
        Notice::Status(_) => None,
    };
    let views = views_of(&partition);
    let closed = partition.close();
    let mut run = StraightRun {
        quota_ledger: rows_as_texts(&closed.quota_ledger.batch(config.partition, 0).unwrap()),
        alerts: rows_as_texts(&closed.alerts.batch(config.partition, 0).unwrap()),
        sent: notices.into_iter().filter_map(message).collect(),
        views,
        retail: BTreeMap::new(),
    };
    let texts = closed.events.dictionaries(config.partition, 0, "");
    let order: Vec<u32> = (0..u32::try_from(closed.events.len()).unwrap()).collect();
    if order.is_empty() {
        return run;
    }
    let rows = closed.events.batch(&order, &texts).unwrap();
    let column = |name: &str| rows.column_by_name(name).unwrap();
    let currency = column("retail_currency");
    for row in 0..rows.num_rows() {
        let offset = column("kafka_offset").as_primitive::<Int64Type>().value(row);
        let index = column("batch_index").as_primitive::<Int32Type>().value(row);
        let place = (u64::try_from(offset).unwrap(), u32::try_from(index).unwrap());
        let code = currency.is_valid(row).then(|| array_value_to_string(currency, row).unwrap());
        let pico = column("retail_amount").as_primitive::<Decimal128Type>().value(row);
        run.retail.insert(place, (code, pico));
    }
    run
}
