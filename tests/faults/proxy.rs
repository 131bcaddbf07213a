//! The fault proxy itself: without it, what it shows would not be known.

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::support::{Dice, Fault, FaultProxy, Scope, Servers, block_on, open_s3};

struct Place {
    proxy: FaultProxy,
    /// By the proxy, without retries.
    spoiled: std::sync::Arc<dyn ObjectStore>,
    /// Past the proxy.
    direct: std::sync::Arc<dyn ObjectStore>,
}

fn place(test: &str) -> Place {
    let servers = Servers::of_environment();
    let dice = Dice::of(test);
    let prefix = format!("{test}-{}-{}", dice.seed(), std::process::id());
    let proxy = FaultProxy::start(&servers.s3_address(), dice);
    let spoiled = open_s3(&proxy.url(), &prefix, 0);
    let direct = open_s3(&servers.s3, &prefix, 10);
    Place { proxy, spoiled, direct }
}

fn create(store: &dyn ObjectStore, path: &str, body: &'static str) -> Result<(), Error> {
    let options = PutOptions::from(PutMode::Create);
    block_on(store.put_opts(&Path::from(path), body.into(), options)).map(|_| ())
}

fn get(store: &dyn ObjectStore, path: &str) -> Result<Vec<u8>, Error> {
    block_on(async { Ok(store.get(&Path::from(path)).await?.bytes().await?.to_vec()) })
}

#[test]
fn what_is_not_spoiled_passes_as_it_is() {
    let Place { proxy, spoiled, direct } = place("proxy-passes");
    create(spoiled.as_ref(), "ledger/a", "one").unwrap();
    assert_eq!(get(direct.as_ref(), "ledger/a").unwrap(), b"one");
    let again = create(spoiled.as_ref(), "ledger/a", "two");
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert!(matches!(get(spoiled.as_ref(), "ledger/b"), Err(Error::NotFound { .. })));
    let listed = block_on(spoiled.list_with_delimiter(Some(&Path::from("ledger")))).unwrap();
    assert_eq!(listed.objects.len(), 1);
    let large = vec![7_u8; 3 << 20];
    block_on(spoiled.put(&Path::from("large"), large.clone().into())).unwrap();
    assert_eq!(get(spoiled.as_ref(), "large").unwrap(), large);
    assert_eq!(proxy.injected_total(), 0);
    assert!(proxy.requests() >= 6, "{} requests", proxy.requests());
}

#[test]
fn a_lost_reply_leaves_what_was_asked_for() {
    let Place { proxy, spoiled, direct } = place("proxy-reply-lost");
    proxy.spoil(Scope::LedgerEntries, 100, &[Fault::ReplyLost]);
    assert!(create(spoiled.as_ref(), "ledger/a", "one").is_err());
    assert_eq!(get(direct.as_ref(), "ledger/a").unwrap(), b"one");
    create(spoiled.as_ref(), "tables/a", "out of scope").unwrap();
    proxy.spoil(Scope::LedgerEntries, 100, &[Fault::DoneButStatus(500)]);
    assert!(create(spoiled.as_ref(), "ledger/b", "two").is_err());
    assert_eq!(get(direct.as_ref(), "ledger/b").unwrap(), b"two");
    assert_eq!(proxy.injected_total(), 2, "{:?}", proxy.injected());
}

#[test]
fn a_refusal_leaves_nothing() {
    let Place { proxy, spoiled, direct } = place("proxy-refusal");
    for fault in [Fault::Status(500), Fault::Status(503), Fault::Status(429), Fault::Reset] {
        proxy.spoil(Scope::All, 100, &[fault]);
        assert!(create(spoiled.as_ref(), "ledger/a", "one").is_err(), "{fault:?}");
        assert!(matches!(get(direct.as_ref(), "ledger/a"), Err(Error::NotFound { .. })));
    }
    proxy.heal();
    create(spoiled.as_ref(), "ledger/a", "one").unwrap();
}

#[test]
fn an_ignored_condition_lets_two_create_an_object() {
    let Place { proxy, spoiled, direct } = place("proxy-condition");
    proxy.spoil(Scope::All, 100, &[Fault::ConditionIgnored]);
    create(spoiled.as_ref(), "ledger/a", "one").unwrap();
    create(spoiled.as_ref(), "ledger/a", "two").unwrap();
    assert_eq!(get(spoiled.as_ref(), "ledger/a").unwrap(), b"one");
    let again = create(direct.as_ref(), "ledger/a", "three");
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
}

#[test]
fn a_torn_reply_is_never_taken_for_whole() {
    let Place { proxy, spoiled, direct } = place("proxy-torn");
    block_on(direct.put(&Path::from("large"), vec![7_u8; 1 << 20].into())).unwrap();
    proxy.spoil(Scope::All, 100, &[Fault::Truncated]);
    assert!(get(spoiled.as_ref(), "large").is_err());
    proxy.spoil(Scope::All, 100, &[Fault::SlowBody(200), Fault::Delayed(100)]);
    assert_eq!(get(spoiled.as_ref(), "large").unwrap().len(), 1 << 20);
}
