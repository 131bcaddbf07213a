//! Resends that were stamped with another time are found on whatever days they are.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use tally_query::{Resends, resends};

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
