//! LiteLLM's price map: exact prices, as a candidate that nobody vouches for.

use tally_rating::{Call, LaneKey, RateCard, Side};
use tally_reference::{FileOrigin, NewFiles, read_litellm};
use tally_schemas::{TokenClass, UsageCounts};

use crate::world::{PRICE, World, at, noon};

const MAP: &str = r#"{
  "sample_spec": {"litellm_provider": "one of", "input_cost_per_token": 0.0},
  "acme/tiny-1": {
    "litellm_provider": "acme", "mode": "chat", "max_tokens": 8192,
    "input_cost_per_token": 1.1e-06, "output_cost_per_token": 7.2e-06,
    "cache_read_input_token_cost": 7.2e-08, "cache_creation_input_token_cost": 1.375e-06,
    "input_cost_per_token_above_200k_tokens": 2.2e-06, "input_cost_per_token_batches": 5.5e-07,
    "search_context_cost_per_query": {"low": 0.03}
  },
  "free-1": {"litellm_provider": "acme", "input_cost_per_token": 0.0},
  "dust-1": {"litellm_provider": "acme", "input_cost_per_token": 1.5e-13},
  "vast-1": {"litellm_provider": "acme", "input_cost_per_token": 1e2147483647},
  "glm-5": {"litellm_provider": "acme", "output_cost_per_token": 0.000003}
}"#;

/// Micro-dollars of a million of a class.
fn micro(card: &RateCard, class: TokenClass, tier: &str, context: u64) -> Option<i128> {
    let key = LaneKey {
        vendor: "acme",
        supplier: "acme",
        billed_model: "acme/tiny-1",
        service_tier: tier,
        region: None,
    };
    let lane = card.lane(Side::Wholesale, &key);
    let mut usage = UsageCounts::default();
    usage.set(class, context);
    let call = Call { usage: &usage, started_at_ms: noon(), completed_at_ms: noon() };
    let rated = card.rate(&lane, &call).ok()?;
    assert_eq!(rated.currency.code(), "USD");
    Some(rated.amount_pico / i128::from(context))
}

#[tokio::test]
async fn a_price_map_becomes_exact_prices_after_an_approval() {
    let world = World::new();
    let book = world.whole().await.book;
    let from = at("2026-11-01T00:00:00");
    let read = read_litellm("map.json", MAP, from, |_| true, &book).unwrap();
    assert_eq!(read.models, 2);
    for words in [
        "free-1: input_cost_per_token: is zero",
        "dust-1: input_cost_per_token: 1.5e-13 USD is not a whole number of micro-dollars",
        "vast-1: input_cost_per_token: 1e2147483647 USD is not a whole number of micro-dollars",
        "tiny-1: search_context",
    ] {
        assert!(
            read.left_out.iter().any(|line| line.contains(words)),
            "{words} {:?}",
            read.left_out
        );
    }
    // A name that has an alias keeps it.
    assert!(read.files[1].text.contains("acme/tiny-1") && !read.files[1].text.contains("glm-5"));
    let new = NewFiles { kind: PRICE, files: read.files, origin: FileOrigin::Litellm };
    let imported = world.store.import(&new, "alice", noon()).await.unwrap();
    assert_eq!(imported.findings, []);
    let version = imported.version.unwrap();
    let row = &world.store.list(PRICE).await.unwrap()[1];
    assert_eq!((row.origin, &row.approved_by), (FileOrigin::Litellm, &None));
    let card = |whole: &tally_reference::Whole| RateCard::new(&whole.book, Some(noon() + 1));
    assert_eq!(micro(&card(&world.whole().await), TokenClass::Input, "standard", 10), None);
    world.store.approve(PRICE, version, "bob", noon()).await.unwrap();
    let card = card(&world.whole().await);
    for (class, tier, context, expected) in [
        (TokenClass::Input, "standard", 200_000, Some(1_100_000)),
        (TokenClass::Input, "standard", 200_001, Some(2_200_000)),
        (TokenClass::Input, "batch", 1_000, Some(550_000)),
        (TokenClass::Output, "standard", 1, Some(7_200_000)),
        (TokenClass::CachedInput, "standard", 1, Some(72_000)),
        (TokenClass::CacheWrite5m, "standard", 1, Some(1_375_000)),
        (TokenClass::Images, "standard", 1, None),
    ] {
        assert_eq!(micro(&card, class, tier, context), expected, "{class} {tier} {context}");
    }
    assert!(card.resolve("acme/tiny-1", noon()).is_some());
}

#[tokio::test]
async fn what_is_no_price_map_is_refused() {
    let book = World::new().whole().await.book;
    for text in ["", "[]", "{\"a\": 5}", "{\"a\": {\"litellm_provider\": \"b\"}}", "{"] {
        assert!(read_litellm("map.json", text, 0, |_| true, &book).is_err(), "{text}");
    }
    assert!(read_litellm("map.json", MAP, 0, |model| model == "none", &book).is_err());
}
