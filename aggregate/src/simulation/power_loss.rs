//! Power goes off after any of the writes: every prefix of the write log recovers, and ends with
//! exactly the same tables and the same alerts (R21).

use std::collections::BTreeMap;

use super::scenario::{resume, run};

#[test]
fn every_prefix_of_the_write_log_recovers() {
    for seed in 0..6 {
        let finished = run(seed, false).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        let writes = finished.world.inside().writes.clone();
        let alerts = finished.world.inside().alerts.clone();
        let statuses = finished.world.inside().statuses.clone();
        let mut objects = BTreeMap::new();
        for (count, (path, bytes)) in (1..).zip(writes) {
            objects.insert(path, bytes);
            let sent = alerts.iter().filter(|alert| alert.writes_before <= count);
            let told = statuses.iter().filter(|status| status.writes_before <= count);
            let told = (sent.cloned().collect(), told.cloned().collect());
            if let Err(broken) = resume(seed, &finished, objects.clone(), told) {
                panic!("seed {seed}, after {count} writes: {broken}");
            }
        }
    }
}
