use std::sync::Arc;

use tally_access::{Directory, SignIns, Token, User, UsersFile};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::security::Security;
use crate::server;
use crate::status::report::{Status, advised};
use crate::trouble::Cause;

fn nobody() -> Security {
    Security { users: None, certificate: None, sign_ins: SignIns::default() }
}

/// A process that tells this; its address.
async fn process(own: Own, security: Security) -> (String, CancellationToken) {
    let listener = server::bind("127.0.0.1:0", &security).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let routes = Router::new().route(PATH, get(move || async move { Json(own) }));
    tokio::spawn(server::serve(listener, routes, stop.clone()));
    (address, stop)
}

fn own(instance: &str, partitions: &[u32]) -> Own {
    Own {
        instance: instance.to_owned(),
        topic: "usage.events".to_owned(),
        partitions: partitions.iter().copied().collect(),
        ..Own::default()
    }
}

fn told() -> Told {
    Told { topic: "usage.events".to_owned(), ..Told::default() }
}

#[tokio::test]
async fn parts_are_put_together_and_a_process_counts_once() {
    let receiver = |delivered, failing: Option<&str>| ReceiverStatus {
        delivered,
        failing: failing.map(str::to_owned),
        ..ReceiverStatus::default()
    };
    let hook = |status| BTreeMap::from([("ops".to_owned(), status)]);
    let one = Own {
        waiting: BTreeMap::from([(1, "for 7 s, 3 attempts: store".to_owned())]),
        webhooks: hook(receiver(3, None)),
        alerts: BTreeMap::from([("cap".to_owned(), 2)]),
        ..own("a", &[0, 1])
    };
    let two = Own {
        stopped: BTreeMap::from([(2, "fenced".to_owned())]),
        webhooks: hook(receiver(4, Some("503"))),
        alerts: BTreeMap::from([("cap".to_owned(), 5)]),
        ..own("b", &[2])
    };
    let (first, _stop) = process(one.clone(), nobody()).await;
    let (again, _stop_again) = process(one, nobody()).await;
    let (second, _stop_second) = process(two, nobody()).await;
    let mut told = told();
    told.ask(vec![(format!("{first}/"), None), (again, None)]).await;
    let theirs = |partitions: &[u32]| partitions.iter().copied().collect::<BTreeSet<u32>>();
    // Of the partitions of the first nobody else need be asked.
    let nowhere = "http://127.0.0.1:9".to_owned();
    told.ask_owners(BTreeMap::from([(second, theirs(&[2])), (nowhere, theirs(&[0]))])).await;
    assert_eq!((told.rows().len(), told.partitions()), (2, theirs(&[0, 1, 2])));
    assert_eq!(told.alerts(), BTreeMap::from([("cap".to_owned(), 7)]));
    let whole = told.receiver("ops").unwrap();
    assert_eq!((whole.delivered, whole.failing.as_deref()), (7, Some("503")));
    let wanted = [
        "partition 1 waits for 7 s, 3 attempts: store",
        "partition 2 is not processed: fenced",
        "webhook ops: 503",
    ];
    assert_eq!(told.in_words(), wanted);
}

#[tokio::test]
async fn who_does_not_answer_is_named_with_its_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let mut file = UsersFile::default();
    let token = Some(Token::generate().unwrap().hash());
    let role = "operator".parse().unwrap();
    file.insert(User { name: "ops".to_owned(), role, password: None, token }).unwrap();
    file.write(&path).unwrap();
    let users = Some(Arc::new(Directory::open(&path).unwrap()));
    let (guarded, _stop) = process(own("a", &[0]), Security { users, ..nobody() }).await;
    let other = Own { topic: "other".to_owned(), ..own("b", &[0]) };
    let (other, _stop_other) = process(other, nobody()).await;
    let mut told = told();
    let away = "http://127.0.0.1:9".to_owned();
    let named = [guarded.clone(), other.clone(), "nonsense".to_owned()];
    told.ask(named.map(|address| (address, None)).into()).await;
    told.ask_owners(BTreeMap::from([(away.clone(), BTreeSet::from([3, 4]))])).await;
    // This machine may ask without a token.
    assert_eq!(told.partitions(), BTreeSet::from([0]));
    let notes = told.notes();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].ends_with("it counts topic other"), "{notes:?}");
    assert!(notes[1].ends_with("that is no URL"), "{notes:?}");
    let begin = format!("what waits of partitions 3, 4 is not known from {away}: ");
    assert!(notes[2].starts_with(&begin), "{notes:?}");
}

#[test]
fn a_process_of_this_machine_is_looked_for_where_it_listens() {
    assert_eq!(here("0.0.0.0:8080").as_deref(), Some("http://127.0.0.1:8080"));
    assert_eq!(here("127.0.0.2:81").as_deref(), Some("http://127.0.0.2:81"));
    assert_eq!(here("127.0.0.1:0"), None);
    for (url, wanted) in [("http://[::1]:1", true), ("http://127.9.9.9", true), ("http://x", false)]
    {
        assert_eq!(is_here(&Url::parse(url).unwrap()), wanted, "{url}");
    }
}

#[test]
fn who_says_what_is_wrong_is_named_and_a_cause_counts_once() {
    let trouble = |found: &str| TroubleRow {
        cause: Cause::StoreReadOnly,
        found: found.to_owned(),
        advice: "look".to_owned(),
        told_by: None,
    };
    let mut told = told();
    for (instance, found) in [("a", "first"), ("b", "second")] {
        let troubles = vec![trouble(found)];
        told.add(&format!("http://{instance}"), Own { troubles, ..own(instance, &[0]) });
    }
    let mut troubles = told.troubles();
    assert_eq!(troubles.len(), 2, "{troubles:?}");
    let first = troubles.remove(0);
    assert_eq!((first.found.as_str(), first.told_by.as_deref()), ("first", Some("http://a")));
    assert_eq!(advised(&first), "first, says http://a\n→ look");
    // What is seen from here too is not said again.
    let mut status: Status = serde_json::from_value(serde_json::json!({
        "topic": "t", "lag_events": 0, "unpublished_epochs": 0, "oldest_uncommitted_age_ms": 0,
        "watermark": null, "partitions": [], "suspended": {}, "tables": [], "notes": []
    }))
    .unwrap();
    status.add_troubles([trouble("here")]);
    status.add(&told);
    assert_eq!(status.troubles, [trouble("here")]);
}
