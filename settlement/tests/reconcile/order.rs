//! Whatever the order of both inputs, the number of files and the memory: the same differences in
//! the same order, and their sum is what the totals differ by.

use proptest::prelude::*;
use tally_schemas::{TokenClass, UsageCounts, UsageSource};
use tally_settlement::reconcile::{
    Class, Difference, DuplicateLines, JoinOptions, MemoryShelf, NameId, Names, Position, Record,
    Rules, Side, Spool, join,
};

#[derive(Debug, Clone)]
struct Entry {
    request: u8,
    amount: i64,
    input: u8,
    day: i32,
    model: u8,
    in_period: bool,
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (0..12_u8, -2..4_i64, 0..3_u8, 0..3_i32, 0..2_u8, any::<bool>()).prop_map(
        |(request, amount, input, day, model, in_period)| Entry {
            request,
            amount,
            input,
            day,
            model,
            in_period: in_period || day > 0,
        },
    );
    proptest::collection::vec(entry, 0..40)
}

const MODELS: [&str; 2] = ["a", "b"];

/// Fills a spool with records in the order of `picks`.
fn spool(
    shelf: &mut MemoryShelf,
    side: Side,
    entries: &[Entry],
    picks: &[usize],
    names: &mut Names,
    parts: u32,
) -> Spool {
    let mut spool = Spool::new(shelf, side, parts).unwrap();
    for pick in picks {
        let entry = &entries[*pick];
        let mut counts = UsageCounts::default();
        counts.set(TokenClass::Input, u64::from(entry.input));
        let request_id = format!("request-{}", entry.request);
        let record = Record {
            request_id: &request_id,
            position: Position { number: u64::try_from(*pick).unwrap(), partition: 0, index: 0 },
            at_ms: Some(i64::from(entry.day) * 86_400_000),
            day: entry.day,
            in_period: entry.in_period,
            model: names.id(MODELS[usize::from(entry.model)]),
            currency: names.id("CNY"),
            counts,
            amount_pico: i128::from(entry.amount),
            usage_source: UsageSource::Reported,
            ..Record::default()
        };
        spool.add(&record).unwrap();
    }
    spool
}

type Found = (Class, &'static str, Option<u64>, Option<u64>, i128, i128);

fn compare(
    ours: &[Entry],
    theirs: &[Entry],
    order: (&[usize], &[usize]),
    names: &mut Names,
    parts: u32,
    memory_max_bytes: u64,
) -> Vec<Found> {
    let mut shelf = MemoryShelf::default();
    let our_spool = spool(&mut shelf, Side::Ours, ours, order.0, names, parts);
    let their_spool = spool(&mut shelf, Side::Theirs, theirs, order.1, names, parts);
    let rules = Rules {
        has_counts: true,
        rounding_pico: 0,
        tax_ppm: 0,
        time_tolerance_ms: 1_000,
        offset_ms: 0,
        aborted: Vec::<NameId>::new(),
    };
    let options = JoinOptions {
        rules: &rules,
        names,
        file: "bill.csv",
        duplicates: DuplicateLines::Report,
        memory_max_bytes,
    };
    let mut found = Vec::new();
    join(&mut shelf, our_spool, their_spool, &options, &mut |difference: &Difference<'_>| {
        found.push((
            difference.class,
            difference.detail,
            difference.ours.map(|record| record.position.number),
            difference.theirs.map(|record| record.position.number),
            difference.ours_pico(),
            difference.theirs_pico(),
        ));
        Ok(())
    })
    .unwrap();
    found
}

proptest! {
    #[test]
    fn the_differences_depend_on_the_records_only(
        ours in entries(),
        theirs in entries(),
        parts in 1..20_u32,
        shuffles in any::<(u64, u64)>(),
        swap in any::<bool>(),
    ) {
        let in_order = |entries: &[Entry]| (0..entries.len()).collect::<Vec<usize>>();
        let shuffled = |entries: &[Entry], seed: u64| {
            let mut order = in_order(entries);
            // A fixed mix of bits is enough of a shuffle.
            order.sort_by_key(|at| (u64::try_from(*at).unwrap() ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            order
        };
        let orders = (in_order(&ours), in_order(&theirs));
        let first = compare(&ours, &theirs, (&orders.0, &orders.1), &mut Names::default(), 1, u64::MAX);
        let others = (shuffled(&ours, shuffles.0), shuffled(&theirs, shuffles.1));
        let mut names = Names::default();
        if swap {
            names.id("b");
        }
        // So little memory that files are divided, but not so little that a request does not fit.
        let again = compare(&ours, &theirs, (&others.0, &others.1), &mut names, parts, 16_000);
        prop_assert_eq!(&first, &again);

        let sum: i128 = first.iter().map(|(.., ours, theirs)| theirs - ours).sum();
        let mine: i128 = ours.iter().filter(|e| e.in_period).map(|e| i128::from(e.amount)).sum();
        let yours: i128 = theirs.iter().map(|e| i128::from(e.amount)).sum();
        prop_assert_eq!(sum, yours - mine);
    }
}
