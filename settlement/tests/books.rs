//! What people may do to the books, against a plain model of it: random histories, each act allowed
//! or refused as the model says, each approved adjustment on exactly one statement. And that a
//! journal in which anything was changed is not believed.

#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use tally_settlement::{
    Act, AdjustmentReason, Amounts, Billed, Books, BooksError, Bug, Cents, ClassSum, CurrencySum,
    Decision, Dispute, DisputeOutcome, ErrorKind, JournalEntry, Payment, Period, Pico, Proposal,
    Reconciled, Resolution, Review, SealedStatement, plant,
};

/// Random histories, of up to sixty acts each.
const HISTORIES: u64 = 2_000;
const SEED: u64 = 20_261_126;
/// Noon of 2026-12-01 in Shanghai.
const NOW_MS: i64 = 1_796_097_600_000;
const PEOPLE: [&str; 4] = ["ann", "Ann ", "bob", "chen"];

fn month(number: u32) -> Period {
    Period::parse("2026-01").unwrap().plus_months(number)
}

fn proposal(amount: i128, period: Period, note: &str) -> Proposal {
    Proposal {
        vendor: "qwen".into(),
        period,
        terms: "qwen-2026".into(),
        reason: AdjustmentReason::VolumeCorrection,
        amount: Cents(amount),
        orig_period: None,
        orig_line_id: None,
        note: note.into(),
        dispute: None,
        re_rate: None,
        billed: None,
    }
}

fn review(period: Period, adjustments: Vec<u64>) -> Act {
    let amounts = Amounts { net: Cents(100), tax: Cents(6), gross: Cents(106) };
    let statement = |vendor: &str, total: Amounts| SealedStatement {
        vendor: vendor.into(),
        sequence: 1,
        hash: "ab".into(),
        currency: "CNY".into(),
        total,
    };
    let statements = vec![statement("qwen", amounts), statement("zhipu", Amounts::default())];
    Act::Review(Review { period, plan: "cd".into(), statements, adjustments })
}

fn decision(of: u64, approve: bool) -> Decision {
    Decision { of, approve, note: "seen".into() }
}

/// The next number of a series that a seed begins.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// An adjustment as the model has it.
struct Asked {
    entry: u64,
    by: &'static str,
    wanted: u32,
    approved: Option<bool>,
    on: Option<u32>,
}

/// The rules, told another way.
#[derive(Default)]
struct Model {
    asked: Vec<Asked>,
    /// Entry, who, month, adjustments.
    waiting: Option<(u64, &'static str, u32, Vec<usize>)>,
    closed: Option<u32>,
}

fn one_person(a: &str, b: &str) -> bool {
    a.trim().eq_ignore_ascii_case(b.trim())
}

/// Runs a random history; what differs from the model, in words.
fn history(seed: u64) -> Result<Vec<JournalEntry>, String> {
    let mut numbers = Numbers(seed);
    let (mut books, mut model, mut entries) = (Books::default(), Model::default(), Vec::new());
    for _ in 0..10 + numbers.below(50) {
        let by = PEOPLE[numbers.below(PEOPLE.len())];
        let entry = books.entries();
        let (act, allowed): (Act, bool) = match numbers.below(8) {
            0..3 => {
                let wanted = u32::try_from(numbers.below(6)).unwrap();
                let amount = [0, 5, -1_250][numbers.below(3)];
                let allowed = amount != 0 && model.closed.is_none_or(|closed| wanted > closed);
                if allowed {
                    model.asked.push(Asked { entry, by, wanted, approved: None, on: None });
                }
                (Act::Adjust(proposal(amount, month(wanted), "why")), allowed)
            }
            3..6 if !model.asked.is_empty() => {
                let at = numbers.below(model.asked.len());
                let (asked, approve) = (&mut model.asked[at], numbers.below(4) > 0);
                let allowed = asked.approved.is_none() && !(approve && one_person(asked.by, by));
                let of = asked.entry;
                if allowed {
                    asked.approved = Some(approve);
                }
                (Act::DecideAdjustment(decision(of, approve)), allowed)
            }
            6 => {
                let next = model.closed.map_or(0, |closed| closed + 1);
                let wanted = if numbers.below(5) == 0 { next + 1 } else { next };
                let counted: Vec<usize> = (0..model.asked.len())
                    .filter(|at| {
                        let asked = &model.asked[*at];
                        asked.approved == Some(true) && asked.on.is_none() && asked.wanted <= wanted
                    })
                    .collect();
                let ids = counted.iter().map(|at| model.asked[*at].entry).collect();
                let in_order = wanted == next || model.closed.is_none();
                let allowed = model.waiting.is_none() && in_order;
                if allowed {
                    model.waiting = Some((entry, by, wanted, counted));
                }
                (review(month(wanted), ids), allowed)
            }
            _ => {
                let Some((of, who, at, counted)) = model.waiting.take() else { continue };
                let approve = numbers.below(3) > 0;
                let allowed = !(approve && one_person(who, by));
                if !allowed {
                    model.waiting = Some((of, who, at, counted));
                } else if approve {
                    model.closed = Some(at);
                    for place in counted {
                        model.asked[place].on = Some(at);
                    }
                }
                (Act::DecideReview(decision(of, approve)), allowed)
            }
        };
        let answer = books.entry(act.clone(), by, NOW_MS);
        if answer.is_ok() != allowed {
            return Err(format!("seed {seed}: {act:?} by {by}: {answer:?}, the model: {allowed}"));
        }
        if let Ok(entry) = answer {
            books.take(&entry).map_err(|error| format!("seed {seed}: {error}"))?;
            entries.push(entry);
        }
    }
    for asked in &model.asked {
        let state = books.adjustment(asked.entry).unwrap();
        let expected = match (asked.approved, asked.on) {
            (None, _) => "proposed",
            (Some(false), _) => "rejected",
            (Some(true), None) => "approved",
            (Some(true), Some(_)) => "on_statement",
        };
        if (state.state(), state.counted_in) != (expected, asked.on.map(month)) {
            return Err(format!("seed {seed}: {state:?} is {expected} in the model"));
        }
    }
    Ok(entries)
}

#[test]
fn random_histories_are_those_of_the_model() {
    println!("seeds from {SEED}");
    let mut acts = 0;
    for seed in SEED..SEED + HISTORIES {
        let entries = history(seed).unwrap_or_else(|difference| panic!("{difference}"));
        acts += entries.len();
        // Read back it is the same, and every entry is needed where it stands.
        let read: Vec<JournalEntry> = entries
            .iter()
            .map(|entry| JournalEntry::from_bytes("entry", &entry.to_bytes().unwrap()).unwrap())
            .collect();
        assert_eq!(read, entries, "seed {seed}");
        Books::replay(&read).unwrap();
    }
    assert!(acts > 20_000, "{acts} acts");
}

#[test]
fn planted_bugs_are_noticed() {
    for bug in [Bug::TwoEyes, Bug::AdjustedTwice, Bug::UnapprovedAdjusts] {
        plant(Some(bug));
        let noticed = (SEED..SEED + 200).any(|seed| history(seed).is_err());
        plant(None);
        assert!(noticed, "{bug:?} goes unnoticed");
    }
}

/// A journal of a proposal, its approval, a review and its approval.
fn journal() -> Vec<JournalEntry> {
    let mut books = Books::default();
    let mut entries = Vec::new();
    for (act, by) in [
        (Act::Adjust(proposal(-1_250, month(0), "why")), "ann"),
        (Act::DecideAdjustment(decision(0, true)), "bob"),
        (review(month(0), vec![0]), "ann"),
        (Act::DecideReview(decision(2, true)), "bob"),
    ] {
        let entry = books.entry(act, by, NOW_MS).unwrap();
        books.take(&entry).unwrap();
        entries.push(entry);
    }
    entries
}

/// I6, of the journal: whoever can write to the store can seal an object anew, but not the chain.
#[test]
fn a_journal_that_was_changed_is_not_believed() {
    let entries = journal();
    assert!(Books::replay(&entries).is_ok());
    let refused = |entries: &[JournalEntry]| {
        let error = Books::replay(entries).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        error.to_string()
    };
    let mut other_amount = entries.clone();
    other_amount[0].act = Act::Adjust(proposal(-1_000_000, month(0), "why"));
    assert!(refused(&other_amount).contains("entry 1: it does not follow"));
    let mut taken_out = entries.clone();
    taken_out.remove(1);
    assert!(refused(&taken_out).contains("entry 1"));
    let mut swapped = entries.clone();
    swapped.swap(1, 2);
    refused(&swapped);
    // The last entry has none behind it: what it says must still be allowed.
    let mut forged = entries.clone();
    forged[3].by = " ANN".into();
    assert!(refused(&forged).contains("four eyes"));
    let mut dropped = entries;
    dropped.truncate(2);
    let previous = dropped[1].hash().unwrap();
    let by = "ann".to_owned();
    let act = review(month(0), Vec::new());
    dropped.push(JournalEntry { format: 1, n: 2, at_ms: NOW_MS, by, act, previous });
    assert!(refused(&dropped).contains("counts the adjustments none, and must count ADJ-000000"));
}

/// R20, of an entry: each of its bytes.
#[test]
fn a_flipped_bit_is_found() {
    for entry in journal() {
        let bytes = entry.to_bytes().unwrap();
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(JournalEntry::from_bytes("entry", &damaged).is_err(), "byte {place}");
        }
    }
}

fn reconciled(inside: bool) -> Reconciled {
    let pico = |yuan: i128| Pico(yuan * 1_000_000_000_000);
    Reconciled {
        vendor: "qwen".into(),
        period: month(0),
        bill: "bill.csv".into(),
        bill_hash: "ef".into(),
        mapping: "records-csv".into(),
        bill_lines: 3,
        our_events: 2,
        differences: 1,
        disputed: 1,
        inside,
        totals: vec![CurrencySum {
            currency: "CNY".into(),
            ours: pico(2),
            theirs: pico(5),
            inside,
        }],
        classes: vec![ClassSum {
            class: "missing_at_ours".into(),
            currency: "CNY".into(),
            count: 1,
            difference: pico(3),
        }],
        largest: Vec::new(),
    }
}

#[test]
fn a_dispute_ends_once_and_its_credit_needs_two_people() {
    let mut books = Books::replay(&journal()).unwrap();
    let dispute = |inside, evidence: &str, deadline: &str| {
        let deadline = deadline.parse().unwrap();
        let evidence = evidence.to_owned();
        Act::OpenDispute(Dispute {
            reconciled: reconciled(inside),
            evidence,
            deadline,
            note: String::new(),
        })
    };
    for (words, act) in [
        ("within the tolerance", dispute(true, "a", "2026-12-14")),
        ("has passed", dispute(false, "a", "2026-11-30")),
    ] {
        let error = books.entry(act, "ann", NOW_MS).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let opened = books.entry(dispute(false, "a", "2026-12-14"), "ann", NOW_MS).unwrap();
    books.take(&opened).unwrap();
    let again = books.entry(dispute(false, "a", "2026-12-14"), "bob", NOW_MS).unwrap_err();
    assert_eq!(again, BooksError::DisputedAlready("DSP-000004".into()));
    let settle = |amount, dispute| {
        let proposal = Proposal {
            reason: AdjustmentReason::DisputeCredit,
            dispute: Some(4),
            orig_period: Some(month(0)),
            ..proposal(amount, month(1), "credit of dispute DSP-000004")
        };
        let outcome = DisputeOutcome::Settled(proposal);
        Act::ResolveDispute(Resolution { dispute, outcome, note: "agreed".into() })
    };
    for (words, act) in
        [("no dispute DSP-000009", settle(-250, 9)), ("a credit is above 0.00", settle(250, 4))]
    {
        let error = books.entry(act, "ann", NOW_MS).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let resolved = books.entry(settle(-250, 4), "ann", NOW_MS).unwrap();
    books.take(&resolved).unwrap();
    let state = books.dispute(4).unwrap();
    assert_eq!((state.state(), state.credit()), ("settled", Some((Cents(250), 5))));
    let twice = books.entry(settle(-250, 4), "bob", NOW_MS).unwrap_err();
    assert!(twice.to_string().contains("was settled by ann already"), "{twice}");
    // It counts nothing before somebody else approves it.
    assert_eq!(books.due(month(1)).count(), 0);
    let own = books.entry(Act::DecideAdjustment(decision(5, true)), "ann", NOW_MS).unwrap_err();
    assert_eq!(own.kind(), ErrorKind::Data);
    let approved = books.entry(Act::DecideAdjustment(decision(5, true)), "bob", NOW_MS).unwrap();
    books.take(&approved).unwrap();
    assert_eq!(books.due(month(1)).map(|state| state.proposal.n).collect::<Vec<_>>(), [5]);
}

/// The vendor bills 3.00 more than we have, within the tolerance, and its figure counts.
#[test]
fn what_a_bill_differs_by_is_posted_once_and_to_the_hundredth() {
    let mut books = Books::replay(&journal()).unwrap();
    let done = |books: &mut Books, act: Act, by: &str| {
        let entry = books.entry(act, by, NOW_MS).unwrap();
        books.take(&entry).unwrap();
        (entry.n, entry.format)
    };
    let (inside, _) = done(&mut books, Act::Reconcile(reconciled(true)), "cam");
    let (outside, _) = done(&mut books, Act::Reconcile(reconciled(false)), "cam");
    let theirs = |comparison: u64, amount: i128| {
        let billed = Billed { comparison, period: month(0), currency: "CNY".into() };
        let orig_period = Some(month(0));
        Proposal { billed: Some(billed), orig_period, ..proposal(amount, month(1), "theirs") }
    };
    let more = || theirs(inside, 300);
    let of = |period, currency: &str| {
        Some(Billed { comparison: inside, period, currency: currency.into() })
    };
    for (words, bad) in [
        ("is outside of the tolerance", theirs(outside, 300)),
        ("was not put down", theirs(3, 300)),
        ("was not put down", Proposal { vendor: "zhipu".into(), ..more() }),
        ("was not put down", Proposal { reason: AdjustmentReason::FxDifference, ..more() }),
        ("was not put down", Proposal { billed: of(month(1), "CNY"), ..more() }),
        ("differs by something else", Proposal { billed: of(month(0), "USD"), ..more() }),
        ("differs by something else", theirs(inside, 301)),
        ("differs by something else", theirs(inside, -300)),
    ] {
        let error = books.entry(Act::Adjust(bad), "ann", NOW_MS).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let (n, format) = done(&mut books, Act::Adjust(more()), "ann");
    assert_eq!(format, 3);
    assert_eq!(books.billed("qwen", month(0), "CNY").unwrap().proposal.n, n);
    let (later, _) = done(&mut books, Act::Reconcile(reconciled(true)), "cam");
    let again = Act::Adjust(theirs(later, 300));
    let refused = books.entry(again.clone(), "ann", NOW_MS).unwrap_err().to_string();
    assert!(refused.contains("in CNY is proposed as ADJ-000006 already"), "{refused}");
    plant(Some(Bug::BilledTwice));
    let twice = books.entry(again.clone(), "ann", NOW_MS);
    plant(None);
    assert!(twice.is_ok(), "the planted bug is not there");
    // Approved it stands, too; rejected it does not.
    let mut approved = books.clone();
    done(&mut approved, Act::DecideAdjustment(decision(n, true)), "bob");
    assert!(approved.entry(again.clone(), "ann", NOW_MS).is_err());
    assert_eq!(approved.due(month(1)).count(), 1);
    done(&mut books, Act::DecideAdjustment(decision(n, false)), "bob");
    assert_eq!(books.billed("qwen", month(0), "CNY"), None);
    done(&mut books, again, "ann");
}

#[test]
fn a_period_is_settled_when_everything_that_comes_to_something_is_paid() {
    let mut books = Books::replay(&journal()).unwrap();
    let pay = |vendor: &str, period, paid_on: &str, reference: &str| {
        let (vendor, reference) = (vendor.to_owned(), reference.to_owned());
        Act::Pay(Payment { period, vendor, paid_on: paid_on.parse().unwrap(), reference })
    };
    for (words, act) in [
        ("is not closed", pay("qwen", month(1), "2026-11-20", "B1")),
        ("have are: qwen, zhipu", pay("baidu", month(0), "2026-11-20", "B1")),
        ("nothing to pay", pay("zhipu", month(0), "2026-11-20", "B1")),
        ("is in the future", pay("qwen", month(0), "2026-12-02", "B1")),
        ("--reference is empty", pay("qwen", month(0), "2026-11-20", " ")),
    ] {
        let error = books.entry(act, "ann", NOW_MS).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(!books.is_paid(month(0)));
    let paid = books.entry(pay("qwen", month(0), "2026-11-20", "B1"), "ann", NOW_MS).unwrap();
    books.take(&paid).unwrap();
    assert!(books.is_paid(month(0)) && !books.is_paid(month(1)));
    let other = books.entry(pay("qwen", month(0), "2026-11-21", "B2"), "ann", NOW_MS).unwrap_err();
    assert!(other.to_string().contains("was paid on 2026-11-20 as \"B1\""), "{other}");
}

#[test]
fn an_adjustment_that_cannot_be_is_refused_in_words() {
    let books = Books::replay(&journal()).unwrap();
    let (closed, open) = (month(0), month(1));
    let good = || proposal(-1_250, open, "why");
    assert!(books.entry(Act::Adjust(good()), "ann", NOW_MS).is_ok());
    let line = Some("L0123456789abcdef".to_owned());
    for (words, by, bad) in [
        ("needs the name", " ", good()),
        ("an amount of 0.00", "ann", Proposal { amount: Cents(0), ..good() }),
        ("2026-01 is closed; the first open period is 2026-02", "ann", proposal(1, closed, "why")),
        ("2027-01 has not begun", "ann", proposal(1, month(12), "why")),
        ("--note is empty", "ann", proposal(1, open, " ")),
        ("cannot be posted", "ann", Proposal { reason: AdjustmentReason::Cap, ..good() }),
        ("is not before 2026-02", "ann", Proposal { orig_period: Some(open), ..good() }),
        ("needs its period", "ann", Proposal { orig_line_id: line.clone(), ..good() }),
        (
            "2025-12 is not closed",
            "ann",
            Proposal {
                orig_period: Some(Period::parse("2025-12").unwrap()),
                orig_line_id: line,
                ..good()
            },
        ),
    ] {
        let error = books.entry(Act::Adjust(bad), by, NOW_MS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}
