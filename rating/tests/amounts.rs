//! What holds of every amount, whatever the model, the instant and the counts: an event in two parts
//! costs and counts what the whole does, and the order in which its classes are written is nothing.

#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use tally_rating::{Call, LaneKey, RateCard, Rater, attribute, parse_instant};
use tally_schemas::{Currency, TokenClass, UsageCounts, parse_event};

use TokenClass::{CacheWrite1h, CacheWrite5m, CachedInput, Input, Output, Requests};

/// Vendor, model, and the classes that it has prices of. Their prices have no tiers.
const FLAT: [(&str, &str, &[TokenClass]); 5] = [
    ("deepseek", "deepseek-v4-pro", &[Input, CachedInput, Output]),
    ("deepseek", "deepseek-flash", &[Input, CachedInput, Output]),
    ("zhipu", "glm-5", &[Input, CachedInput, Output]),
    ("bytedance", "doubao-seed-2.1-pro", &[Input, Output]),
    ("anthropic", "claude-opus", &[Input, CachedInput, CacheWrite5m, CacheWrite1h, Output]),
];

/// Tokens of context above which a tier of Qwen3-max holds, and its prices of input and output in
/// micro-yuan a million.
const TIERS: [(u64, i128, i128); 3] =
    [(0, 2_500_000, 10_000_000), (32_000, 4_000_000, 16_000_000), (128_000, 7_000_000, 28_000_000)];

const TABLES: [&str; 2] = ["default", "coding-plan-example"];

/// Read once: there are hundreds of cases.
static SHIPPED: LazyLock<Arc<RateCard>> = LazyLock::new(|| Arc::new(RateCard::shipped().unwrap()));

fn rater() -> Rater {
    Rater::new(Arc::clone(&SHIPPED))
}

/// From the first price of flash to the last day of which the holidays are known.
fn instants() -> std::ops::Range<i64> {
    let instant = |text| parse_instant(text).unwrap();
    instant("2026-08-17")..instant("2027-01-01")
}

/// What a call comes to: pico-currency, and micro-points by each table.
type Comes = (i128, Currency, [i128; 2]);

fn comes_to(
    rater: &mut Rater,
    (vendor, model): (&str, &str),
    usage: &UsageCounts,
    at: i64,
) -> Comes {
    let lane = rater.lane(&LaneKey {
        vendor,
        supplier: vendor,
        billed_model: model,
        service_tier: "standard",
        region: None,
    });
    let call = Call { usage, started_at_ms: at, completed_at_ms: at };
    let rated = rater.wholesale(lane, &call).unwrap();
    let points = TABLES.map(|table| rater.points_micro(lane, table, None, &call).unwrap());
    (rated.amount_pico, rated.currency, points)
}

fn added(first: Comes, second: Comes) -> Comes {
    assert_eq!(first.1, second.1);
    (first.0 + second.0, first.1, [first.2[0] + second.2[0], first.2[1] + second.2[1]])
}

/// The parts of a usage and the whole, of some classes.
fn parts(classes: &[TokenClass], counts: &[(u64, u64)]) -> [UsageCounts; 3] {
    let mut usages = [UsageCounts::default(); 3];
    for (class, (first, second)) in classes.iter().zip(counts) {
        for (usage, count) in usages.iter_mut().zip([*first, *second, first + second]) {
            usage.set(*class, count);
        }
    }
    usages
}

fn counts(most: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0..=most, 0..=most), 5)
}

proptest! {
    #[test]
    fn the_parts_of_an_event_come_to_the_whole(
        number in 0..FLAT.len(),
        at in instants(),
        counts in counts(1 << 52),
    ) {
        let (vendor, model, classes) = FLAT[number];
        let mut rater = rater();
        let [first, second, whole] =
            parts(classes, &counts).map(|usage| comes_to(&mut rater, (vendor, model), &usage, at));
        prop_assert_eq!(added(first, second), whole);
        prop_assert!(whole.0 >= 0 && whole.2[0] >= 0);
    }

    /// The whole context chooses the tier, of every token; below the first edge the parts come to
    /// the whole.
    #[test]
    fn the_whole_context_chooses_the_tier(
        at in instants(),
        input in prop_oneof![Just(32_000), Just(32_001), 0..=40_000_u64, 100_000..=256_000_u64],
        cut in (0..=256_000_u64, 0..=1_000_000_u64),
        output in 0..=1_000_000_u64,
    ) {
        let cut = (cut.0.min(input), cut.1.min(output));
        let counts = [(cut.0, input - cut.0), (cut.1, output - cut.1)];
        let mut rater = rater();
        let model = ("qwen", "qwen3-max");
        let [first, second, whole] = parts(&[Input, Output], &counts)
            .map(|usage| comes_to(&mut rater, model, &usage, at));
        let tier = TIERS.iter().rfind(|(above, ..)| *above < input);
        let (_, of_input, of_output) = tier.unwrap_or(&TIERS[0]);
        let expected = of_input * i128::from(input) + of_output * i128::from(output);
        prop_assert_eq!(whole.0, expected);
        let sum = added(first, second);
        prop_assert_eq!(sum.2, whole.2);
        if input <= 32_000 {
            prop_assert_eq!(sum, whole);
        } else {
            prop_assert!(sum.0 <= whole.0, "a part is in no higher tier than the whole");
        }
    }

    /// Written in any order, an event costs the same, by the same prices in the same order.
    #[test]
    fn the_order_of_the_classes_is_nothing(
        number in 0..FLAT.len(),
        at in instants(),
        counts in counts(1 << 52),
        order in Just(vec![0, 1, 2, 3, 4, 5]).prop_shuffle(),
    ) {
        let (vendor, model, classes) = FLAT[number];
        let mut fields: Vec<(TokenClass, u64)> =
            classes.iter().copied().zip(counts.into_iter().map(|(count, _)| count)).collect();
        fields.push((Requests, 3));
        let event = |fields: &[(TokenClass, u64)]| {
            let usage: Vec<String> =
                fields.iter().map(|(class, count)| format!("\"{class}\":{count}")).collect();
            format!(
                "{{\"source\":\"g\",\"id\":\"1\",\"account\":\"A\",\"vendor\":\"{vendor}\",\"model\":\"{model}\",\
                 \"billed_model\":\"{model}\",\"completed_at\":{at},\"usage\":{{{}}}}}",
                usage.join(",")
            )
        };
        let mut rater = rater();
        let mut rated = |text: &str| {
            let parsed = parse_event(text.as_bytes());
            assert_eq!(parsed.errors, vec![], "{text}");
            let card = Arc::clone(rater.card());
            let to = attribute(&card, &parsed.event, at).unwrap();
            let lane = rater.lane(&LaneKey {
                vendor: to.vendor,
                supplier: to.supplier,
                billed_model: to.billed_model,
                service_tier: parsed.event.service_tier(),
                region: None,
            });
            let usage = &parsed.event.usage;
            let call = Call { usage, started_at_ms: at, completed_at_ms: at };
            let rated = rater.wholesale(lane, &call).unwrap();
            let ids = rater.price_ids(lane, rated.prices);
            let points = rater.points_micro(lane, "coding-plan-example", None, &call).unwrap();
            (rated.amount_pico, ids, points)
        };
        let shuffled: Vec<(TokenClass, u64)> =
            order.iter().filter_map(|place| fields.get(*place).copied()).collect();
        prop_assert_eq!(shuffled.len(), fields.len());
        let (as_listed, as_shuffled) = (event(&fields), event(&shuffled));
        prop_assert_eq!(rated(&as_listed), rated(&as_shuffled));
    }
}
