//! Input for the measurements: events of the shape that the peers are measured with.

use std::fmt::Write as _;

use prost::Message as _;
use tally_schemas::{UsageBatch, UsageEventMessage, parse_event, partition_of};

/// Models of the measured events, with their vendors; the shipped book has a price for each.
const MODELS: [(&str, &str); 6] = [
    ("deepseek-v4-flash", "deepseek"),
    ("qwen3-max", "qwen"),
    ("kimi-k3", "moonshot"),
    ("glm-5", "zhipu"),
    ("doubao-seed-2.1-pro", "bytedance"),
    ("deepseek-v4-pro", "deepseek"),
];

/// First event time, 2026-11-01T00:00:00Z.
pub const BEGIN_MS: i64 = 1_793_491_200_000;

/// A small linear congruential generator (Knuth's MMIX constants): the same input every time.
#[derive(Debug, Clone, Copy)]
struct Draw(u64);

impl Draw {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// `count` events of about 350 bytes as JSON, all of partition `partition` of `partition_count`,
/// in 30 minutes of event time.
pub fn json_events(count: usize, partition: u32, partition_count: u32) -> Vec<String> {
    let mut draw = Draw(7);
    let mut events = Vec::with_capacity(count);
    while events.len() < count {
        // Squaring bends the uniform draw so that few accounts are busy.
        let rank = draw.next(450) * draw.next(450);
        let account = format!("A{rank:09}");
        if partition_of(&account, partition_count) != partition {
            continue;
        }
        let n = events.len();
        let (model, vendor) = MODELS[usize::try_from((rank + draw.next(3)) % 6).unwrap_or(0)];
        let span = 1_790_000 * i64::try_from(n).unwrap_or(0) / i64::try_from(count).unwrap_or(1);
        let completed = BEGIN_MS + 10_000 + span - draw.next(10_000).cast_signed();
        let output = 1 + draw.next(900);
        let mut text = String::with_capacity(380);
        write!(
            text,
            "{{\"source\":\"gw-sh-0{}\",\"id\":\"chatcmpl-{:016x}{n:08x}\",\"account\":\"{account}\",\"subscriber\":\"S{rank:09}\",\"model\":\"{model}\",\"vendor\":\"{vendor}\",\"started_at\":{},\"completed_at\":{completed},\"usage\":{{\"input\":{},\"cached_input\":{},\"output\":{output},\"reasoning\":{}}},\"finish_reason\":\"stop\",\"region\":\"sh\",\"channel\":\"api\",\"gateway_seq\":{n}}}",
            draw.next(2),
            draw.next(u64::MAX >> 33),
            completed - 300 - draw.next(20_000).cast_signed(),
            1 + draw.next(1_000),
            draw.next(2) * draw.next(900),
            output / 2,
        )
        .unwrap_or_default();
        events.push(text);
    }
    events
}

/// The same events as `UsageBatch` messages of `size` events each.
pub fn batches(events: &[String], size: usize) -> Vec<Vec<u8>> {
    events
        .chunks(size)
        .map(|chunk| {
            let events = chunk
                .iter()
                .map(|text| UsageEventMessage::from_event(&parse_event(text.as_bytes()).event))
                .collect();
            UsageBatch { events }.encode_to_vec()
        })
        .collect()
}
