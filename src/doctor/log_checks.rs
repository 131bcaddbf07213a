//! The log: Apache Kafka with its topics, or the embedded one.

use std::path::Path;

use tally_log::{KafkaLogConfig, TopicFacts, TopicLook, look_at_topic};
use tally_schemas::Config;

use super::finding::{Finding, span};
use crate::looks;
use crate::running::Running;

/// Records that are gone before they were processed are lost; an outage may take a weekend.
const RETENTION_MIN_MS: i64 = 3 * 86_400_000;

/// What this user may do in Kafka is not found out: brokers tell it to who asks by a request that the
/// client library here does not have, and trying it would write an event or join the group.
const RIGHTS: &str = "that this user may describe the topics was tried; that it may write to them, read them and join the group is only seen by a process that does";

/// What a topic is used for, as far as its settings depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Usage events: the truth until it is committed.
    Usage,
    /// What is sent for others to read in order.
    Notices,
    /// The newest record of each key.
    Statuses,
}

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    if config.log.kafka.is_empty() {
        return vec![embedded(config)];
    }
    let mut findings = Vec::new();
    for (topic, used_for) in [
        (&config.log.topic, Use::Usage),
        (&config.alerts.topic, Use::Notices),
        (&config.budgets.topic, Use::Notices),
        (&config.quota.topic, Use::Statuses),
    ] {
        let mut asked = KafkaLogConfig::new(&config.log.kafka, topic, &config.log.group);
        asked.options = config.log.kafka_options.clone();
        let looked = tokio::task::spawn_blocking(move || look_at_topic(asked)).await;
        match looked {
            Ok(Ok(look)) => {
                if used_for == Use::Usage {
                    findings.push(brokers(config, &look));
                    findings.push(Finding::untried("Kafka, rights", RIGHTS));
                }
                findings.extend(topic_findings(config, topic, used_for, &look));
            }
            Ok(Err(error)) => {
                let trouble = looks::of_log(config, &error.to_string(), error.kind());
                let found = Finding::wrong("Kafka", trouble.to_string());
                findings.push(found.advise(trouble.cause.advice()));
                // The other topics are in the same cluster.
                break;
            }
            Err(error) => {
                findings.push(Finding::wrong("Kafka", error.to_string()));
                break;
            }
        }
    }
    findings
}

fn brokers(config: &Config, look: &TopicLook) -> Finding {
    let plural = if look.brokers == 1 { "" } else { "s" };
    let found = format!("{}: {} broker{plural}", config.log.kafka, look.brokers);
    if look.brokers < 3 {
        return Finding::warning("Kafka", found).advise(
            "with fewer than three brokers, the loss of one stops the log or loses events",
        );
    }
    Finding::ok("Kafka", found)
}

fn topic_findings(config: &Config, name: &str, used_for: Use, look: &TopicLook) -> Vec<Finding> {
    let check = format!("topic {name}");
    let Some(topic) = &look.topic else {
        return vec![missing(config, check)];
    };
    let mut findings = Vec::new();
    let mut say = |finding: Finding| findings.push(finding);
    if topic.leaderless > 0 {
        say(Finding::wrong(&check, format!("{} partitions have no leader", topic.leaderless))
            .advise("bring the brokers that have them back; nothing of these partitions moves until then"));
    }
    if topic.in_sync < topic.replicas {
        let found =
            format!("a partition has {} of {} replicas in sync", topic.in_sync, topic.replicas);
        say(Finding::warning(&check, found).advise("look for the broker that is behind or away"));
    }
    if topic.replicas < 2 && look.brokers > 1 {
        say(Finding::warning(&check, "a partition is on one broker only").advise(
            "the loss of its disk loses what is not committed: raise the replication factor to 3",
        ));
    }
    match &topic.settings {
        Ok(_) => findings.extend(settings_findings(config, &check, used_for, topic)),
        Err(why) => findings.push(
            Finding::warning(&check, format!("its settings are not known: {why}"))
                .advise("let this user describe the topic's configuration, or compare it by hand with docs/operations"),
        ),
    }
    if findings.is_empty() {
        let found =
            format!("{} partitions, {} replicas, in sync", topic.partitions, topic.replicas);
        findings.push(Finding::ok(check, found));
    }
    findings
}

fn missing(config: &Config, check: String) -> Finding {
    let found = format!(
        "there is none yet; the first process creates it with replication factor {}",
        config.log.replication
    );
    if config.log.replication < 2 {
        return Finding::warning(check, found)
            .advise("set log.replication to 3 before that, or create it yourself");
    }
    Finding::ok(check, found)
}

fn settings_findings(
    config: &Config,
    check: &str,
    used_for: Use,
    topic: &TopicFacts,
) -> Vec<Finding> {
    let text = |key: &str| topic.settings.as_ref().ok().and_then(|all| all.get(key));
    let number = |key: &str| text(key).and_then(|value| value.parse::<i64>().ok());
    let mut findings = Vec::new();
    let compacted = text("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    if compacted && used_for != Use::Statuses {
        findings.push(
            Finding::wrong(
                check,
                "cleanup.policy is compact: Kafka removes events of an account that has newer ones",
            )
            .advise("set cleanup.policy=delete at once"),
        );
    }
    if !compacted && used_for == Use::Statuses {
        findings.push(
            Finding::warning(check, "cleanup.policy is not compact: gateways that start read old statuses, and in time none")
                .advise("set cleanup.policy=compact"),
        );
    }
    if let Some(least) = number("min.insync.replicas") {
        let in_sync = i64::try_from(topic.in_sync).unwrap_or(i64::MAX);
        if in_sync < least {
            findings.push(
                Finding::wrong(check, format!("a partition has {in_sync} replicas in sync and min.insync.replicas is {least}: Kafka refuses what is sent there"))
                    .advise("bring the brokers back"),
            );
        }
        if least < 2 && topic.replicas > 1 {
            findings.push(
                Finding::warning(
                    check,
                    "min.insync.replicas is 1: an acknowledged event may be on one broker only",
                )
                .advise("set min.insync.replicas=2"),
            );
        }
    }
    if used_for == Use::Usage {
        if text("message.timestamp.type").is_some_and(|kind| kind != "LogAppendTime") {
            findings.push(
                Finding::warning(check, "message.timestamp.type is not LogAppendTime: how late an event is and how long its alert took follow the clocks of gateways")
                    .advise("set message.timestamp.type=LogAppendTime"),
            );
        }
        let largest = i64::try_from(config.ingest.batch_max_bytes).unwrap_or(i64::MAX);
        if let Some(most) = number("max.message.bytes").filter(|most| *most < largest) {
            findings.push(
                Finding::wrong(check, format!("max.message.bytes is {most}, and the door sends batches of up to {largest} bytes"))
                    .advise("set max.message.bytes=8388608, or lower ingest.batch_max_bytes"),
            );
        }
        if let Some(kept) = number("retention.ms").filter(|ms| (0..RETENTION_MIN_MS).contains(ms)) {
            findings.push(
                Finding::warning(check, format!("retention.ms keeps records for {}: an outage of the store that lasts longer loses events", span(kept)))
                    .advise("set retention.ms to a week or more"),
            );
        }
    }
    findings
}

/// The embedded log belongs to one process; that one answers for it.
fn embedded(config: &Config) -> Finding {
    let check = "embedded log";
    let folder = Path::new(&config.log.data);
    if let Some(running) = Running::find(config) {
        let found = format!("below {}, held by process {}", folder.display(), running.process());
        return Finding::ok(check, found);
    }
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::ok(
            check,
            format!("{} does not exist yet; the first process makes it", folder.display()),
        ),
        Err(error) => Finding::wrong(check, format!("{}: {error}", folder.display())),
        Ok(found) if !found.is_dir() => {
            Finding::wrong(check, format!("{} is not a folder", folder.display()))
                .advise("set log.data to a folder")
        }
        Ok(_) => match tempfile_in(folder) {
            Ok(()) => {
                Finding::ok(check, format!("below {}, which can be written", folder.display()))
            }
            Err(error) => Finding::wrong(check, format!("{}: {error}", folder.display()))
                .advise("let this user write there"),
        },
    }
}

/// Writes a file and takes it away.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!("probe-{}", uuid::Uuid::new_v4().simple()));
    std::fs::write(&probe, b"probe")?;
    std::fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::finding::State;
    use super::*;

    /// A healthy topic of three brokers, and what is changed in its settings.
    fn topic(change: &[(&str, &str)]) -> TopicLook {
        let mut settings = BTreeMap::from([
            ("cleanup.policy", "delete"),
            ("min.insync.replicas", "2"),
            ("message.timestamp.type", "LogAppendTime"),
            ("max.message.bytes", "8388608"),
            ("retention.ms", "604800000"),
        ]);
        settings.extend(change.iter().copied());
        let settings = settings.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let facts = TopicFacts {
            partitions: 16,
            replicas: 3,
            in_sync: 3,
            leaderless: 0,
            settings: Ok(settings),
        };
        TopicLook { brokers: 3, topic: Some(facts) }
    }

    fn states(used_for: Use, look: &TopicLook) -> Vec<State> {
        let findings = topic_findings(&Config::default(), "t", used_for, look);
        findings.iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn a_topic_as_it_should_be_is_ok() {
        assert_eq!(states(Use::Usage, &topic(&[])), [State::Ok]);
        assert_eq!(states(Use::Notices, &topic(&[])), [State::Ok]);
        assert_eq!(states(Use::Statuses, &topic(&[("cleanup.policy", "compact")])), [State::Ok]);
    }

    #[test]
    fn what_loses_events_is_said() {
        use State::{Warning, Wrong};
        for (key, value, used_for, state) in [
            ("cleanup.policy", "compact", Use::Usage, Wrong),
            ("cleanup.policy", "compact,delete", Use::Notices, Wrong),
            ("cleanup.policy", "delete", Use::Statuses, Warning),
            ("min.insync.replicas", "1", Use::Usage, Warning),
            ("min.insync.replicas", "4", Use::Usage, Wrong),
            ("message.timestamp.type", "CreateTime", Use::Usage, Warning),
            ("max.message.bytes", "524287", Use::Usage, Wrong),
            ("retention.ms", "3600000", Use::Usage, Warning),
        ] {
            assert_eq!(states(used_for, &topic(&[(key, value)])), [state], "{key} = {value}");
        }
        // For ever.
        assert_eq!(states(Use::Usage, &topic(&[("retention.ms", "-1")])), [State::Ok]);
        let changed = |change: &dyn Fn(&mut TopicFacts)| {
            let mut look = topic(&[]);
            change(look.topic.as_mut().unwrap());
            states(Use::Usage, &look)
        };
        assert_eq!(changed(&|topic| topic.leaderless = 1), [Wrong]);
        assert_eq!(changed(&|topic| topic.in_sync = 2), [Warning]);
        assert_eq!(changed(&|topic| topic.in_sync = 1), [Warning, Wrong]);
        assert_eq!(changed(&|topic| topic.settings = Err("not allowed".to_owned())), [Warning]);
        let gone = TopicLook { brokers: 3, topic: None };
        assert_eq!(states(Use::Usage, &gone), [Warning]);
    }
}
