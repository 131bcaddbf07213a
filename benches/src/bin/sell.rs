//! Sells one package to each of many accounts, straight to the log.
//!
//! `sell BOOTSTRAP TOPIC PARTITIONS ACCOUNTS AT_MS`

use std::error::Error;
use std::time::Duration;

use tally_log::{EventLog, KafkaLog, KafkaLogConfig, Outgoing, RecordKind};
use tally_schemas::partition_of;

/// Commands between two waits for the log.
const FLUSH_EVERY: u64 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, partitions, accounts, at_ms] = arguments.as_slice() else {
        return Err("usage: sell BOOTSTRAP TOPIC PARTITIONS ACCOUNTS AT_MS".into());
    };
    let mut target = KafkaLogConfig::new(bootstrap, topic, "sell");
    target.partitions_if_created = partitions.parse()?;
    let log = KafkaLog::open(target)?;
    let producer = log.producer()?;
    let (accounts, at_ms): (u64, i64) = (accounts.parse()?, at_ms.parse()?);
    let mut acknowledged = Vec::new();
    for number in 0..accounts {
        // As `tally generate` names them.
        let account = format!("A{number:09}");
        let value = format!(
            "{{\"command\":\"purchase\",\"id\":\"gift\",\"account\":\"{account}\",\"at\":{at_ms},\"package\":\"mobile-gift-500k\"}}"
        );
        acknowledged.push(producer.append(Outgoing {
            partition: partition_of(&account, log.partition_count()),
            key: Some(account.into()),
            value: value.into(),
            kind: RecordKind::Single,
        }));
        if (number + 1) % FLUSH_EVERY == 0 {
            producer.flush(Duration::from_secs(60))?;
            acknowledged.clear();
            if (number + 1) % (10 * FLUSH_EVERY) == 0 {
                eprintln!("{} of {accounts} accounts", number + 1);
            }
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}
