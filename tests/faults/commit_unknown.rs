//! R5: the store has stored the entry, and the reply is lost.

use crate::kill::note_stream;
use crate::support::{
    Dice, Fault, FaultProxy, Figures, Scope, Stream, Traffic, at_scale, eventually, patience,
    rounds_at_scale,
};

/// Whether a commit whose outcome is not known was made is read back from the store: no loss, no
/// duplicate, no loop without end.
#[test]
fn replies_to_commits_are_lost() {
    let mut dice = Dice::of("commit-unknown");
    let mut stream = Stream::new("commit-unknown", dice.seed(), 4);
    let proxy = FaultProxy::start(&stream.servers.s3_address(), dice.clone());
    let wanted = rounds_at_scale(40, 1_000);
    let faults = [Fault::ReplyLost, Fault::DoneButStatus(500), Fault::DoneButStatus(503)];
    let mut ledger = stream.ledger();
    let mut lost = [0, 0];
    for (index, scope) in [Scope::LedgerEntries, Scope::DeltaVersions].into_iter().enumerate() {
        let before = proxy.injected_total();
        proxy.spoil(scope, 50, &faults);
        let mut process = stream.aggregate_through("unlucky", &proxy.url());
        while proxy.injected_total() - before < wanted {
            let events = at_scale(20_000, 200_000);
            stream.send(&Traffic::mixed(dice.next_seed(), events).at_rate(20_000));
            process.assert_running();
        }
        eventually("everything committed in spite of lost replies", patience(), || {
            process.assert_running();
            stream.is_committed(&mut ledger).then_some(())
        });
        lost[index] = proxy.injected_total() - before;
        assert!(process.terminate(patience()).success());
    }
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("R5 commit unknown", &dice);
    figures.note_shares();
    figures.note("lost_replies_to_ledger_entries", lost[0]);
    figures.note("lost_replies_to_delta_versions", lost[1]);
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}
