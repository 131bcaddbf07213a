//! Resends that were stamped with another time are found on whatever days they are.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use tally_query::{AcceptedEvent, Resends, resends};
use tally_schemas::Table;

use crate::feed::{engine_over, ms, spoilt};
use crate::rated_invariants::{texts, with};
use crate::world::{DAYS, EPOCHS, Event, PARTITIONS, World};

/// Found identities, with how often each is there.
fn found(resends: &Resends) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for batch in &resends.batches {
        let ids = cast(batch.column(1), &DataType::Utf8).unwrap();
        let (ids, times) = (ids.as_string::<i32>(), batch.column(4).as_primitive::<Int64Type>());
        let at = |column: usize| batch.column(column).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            assert!(at(5).value(row) < at(6).value(row), "of two days");
            found.push((ids.value(row).to_owned(), times.value(row)));
        }
    }
    found
}

#[tokio::test]
async fn resends_with_another_time_are_found() {
    let world = World::new().await;
    let engine = world.engine().await;
    for at_once in [100, 1 << 20] {
        let none = resends(&engine, 10, at_once).await.unwrap();
        assert_eq!((none.found(), none.more), (0, false));
        assert_eq!(none.schema.field(1).name(), "id");
    }
    let first_of_1 = world.events.len() / usize::try_from(PARTITIONS).unwrap();
    let again = [(0, "p0-n1-0"), (3, "p0-n1-3"), (first_of_1 + 7, "p1-n1-7")];
    let resent = again.map(|(index, id)| {
        let event = world.events[index].clone();
        let day = DAYS.into_iter().find(|day| *day != event.day).unwrap();
        (Event { day, ..event }, id)
    });
    world.add_epoch(EPOCHS, &resent).await;
    let expected: Vec<(String, i64)> = again.iter().map(|(_, id)| ((*id).to_owned(), 2)).collect();
    // All at once, and in two dozen slices.
    for at_once in [1 << 20, 100] {
        let all = resends(&engine, 10, at_once).await.unwrap();
        assert_eq!((found(&all), all.more), (expected.clone(), false), "{at_once} at once");
        let some = resends(&engine, 2, at_once).await.unwrap();
        assert_eq!((some.found(), some.more), (2, true), "{at_once} at once");
    }
}

/// Event `f-2` as if it had been sent under the id of `f-1`.
fn of_f1(batch: &RecordBatch, column: &str) -> RecordBatch {
    let ids = texts(batch, column);
    let ids = ids.iter().map(|id| if id == Some("f-2") { Some("f-1") } else { id });
    with(batch, column, Arc::new(ids.collect::<StringArray>()))
}

/// Charges are known by the identity alone: what both were charged would be given back for one of
/// them. So it is told, whether both rows are found or only one.
#[tokio::test]
async fn an_identity_that_was_accepted_twice_is_told_when_it_is_to_be_corrected() {
    let feed = spoilt(Some(|table, batch| match table {
        Table::UsageEvents => of_f1(batch, "id"),
        Table::QuotaLedger => of_f1(batch, "event_id"),
        _ => batch.clone(),
    }))
    .await;
    let engine = engine_over(&feed.store).await;
    let pin = engine.pin(None).await.unwrap();
    for (id, at, is_there_twice) in [
        ("f-1", Some("2026-10-02T10:00:00+08:00"), true),
        ("f-1", Some("2026-11-22T10:00:02+08:00"), true),
        ("f-1", None, true),
        // Of a package, of a gift and its rest, as it goes, and of nobody.
        ("a-1", None, false),
        ("b-16", None, false),
        ("c-1", None, false),
        ("d-1", None, false),
    ] {
        let found = AcceptedEvent::find(&engine, &pin, ("gw-1", id), at.map(ms)).await;
        assert_eq!(found.unwrap().unwrap().is_there_twice, is_there_twice, "{id} at {at:?}");
    }
}
