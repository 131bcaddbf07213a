//! What the simulated gateways send: resends at once and much later, in either encoding, changed
//! or stamped anew; late events, events at the edge of the future, poison of every kind.

use prost::Message;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tally_log::RecordKind;
use tally_schemas::{
    AggregateConfig, CLASS_COUNT, ReferenceVersion, SuspenseReason, TokenClass, UsageBatch,
    partition_of,
};

use super::encodings::{json_of, json_only, message_of};
use super::price_book::EDITIONS;
use super::resolutions::Placed;
use super::simulated_log::{
    Content, Defect, Logged, Sent, SentCommand, SentCorrection, SentResolution, SimulatedLog,
};

/// Two minutes before midnight in Shanghai, so that runs cross a day.
pub(super) const BEGIN_MS: i64 = 20_700 * 86_400_000 + 16 * 3_600_000 - 120_000;
/// What a partition's workload is like.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    pub(super) records: usize,
    /// Of a hundred events, those sent again.
    pub(super) resent: u32,
    /// Of a hundred records, those that are no good.
    pub(super) poison: u32,
    /// Of a hundred records, batches.
    pub(super) batches: u32,
    /// Resends stamped with another time; not where buckets are sealed early for memory, as then
    /// it depends on the epochs which of them are caught.
    pub(super) restamped: bool,
    /// A pause of days in the middle, so that sealed buckets pass the horizon.
    pub(super) days_pass: bool,
    /// Ticks over which the log grows.
    pub(super) ticks: u64,
}

pub(super) struct Gateways<'a> {
    pub(super) random: ChaCha8Rng,
    pub(super) settings: &'a AggregateConfig,
    traffic: &'a Traffic,
    pub(super) partition: u32,
    pub(super) partition_count: u32,
    accounts: Vec<String>,
    strangers: Vec<String>,
    phones: Vec<String>,
    pub(super) now_ms: i64,
    /// Where the next record lies.
    offset: u64,
    count: u64,
    sent: Vec<Sent>,
    /// What lies in the log so far: events, and what could not be read.
    pub(super) placed: Vec<Placed>,
    pub(super) resolutions: Vec<SentResolution>,
    pub(super) corrections: Vec<SentCorrection>,
    commands: Vec<SentCommand>,
    /// Those that came long after their time, when their dedupe bucket may have been sealed.
    pub(super) late: Vec<Sent>,
}

/// The log of one partition.
pub(super) fn make_log(
    seed: u64,
    traffic: &Traffic,
    settings: &AggregateConfig,
    partition: u32,
    partition_count: u32,
) -> SimulatedLog {
    let home = |name: &String| partition_of(name, partition_count) == partition;
    let names = || (0..24).map(|n| format!("acct-{n}"));
    let mut gateways = Gateways {
        random: ChaCha8Rng::seed_from_u64(seed ^ (0x7a11_u64 << 32) ^ u64::from(partition)),
        settings,
        traffic,
        partition,
        partition_count,
        accounts: names().filter(home).take(6).collect(),
        strangers: names().filter(|name| !home(name)).take(3).collect(),
        phones: (0..24).map(|n| format!("138001380{n:02}")).filter(home).collect(),
        now_ms: BEGIN_MS,
        offset: 0,
        count: 0,
        sent: Vec::new(),
        placed: Vec::new(),
        resolutions: Vec::new(),
        corrections: Vec::new(),
        commands: Vec::new(),
        late: Vec::new(),
    };
    let mut records = Vec::with_capacity(traffic.records);
    let mut offset = gateways.random.random_range(0..2) * 17;
    let mut tick = 0;
    for n in 0..traffic.records {
        if traffic.days_pass && n == traffic.records / 2 {
            gateways.now_ms += 86_400_000 * 5 / 2;
        }
        gateways.offset = offset;
        let (kind, value, content) = gateways.record();
        let timestamp_ms = gateways.now_ms;
        gateways.place(&content);
        records.push(Logged { offset, timestamp_ms, kind, value, content, from_tick: tick });
        // Compaction and transaction markers leave gaps.
        let gap = gateways.random.random_ratio(1, 25);
        offset += if gap { gateways.random.random_range(2..9) } else { 1 };
        tick += gateways.random.random_range(0..=2 * traffic.ticks / traffic.records as u64);
    }
    SimulatedLog::new(partition, partition_count, records)
}

impl Gateways<'_> {
    /// Keeps in mind what was put into the log. What belongs to another partition comes out of
    /// suspense there.
    fn place(&mut self, content: &Content) {
        let (offset, received_ms) = (self.offset, self.now_ms);
        let placed =
            |index, event, reason| Placed { place: (offset, index), event, reason, received_ms };
        match content {
            Content::Events(events) => {
                for (index, event) in (0..).zip(events) {
                    if partition_of(&event.account, self.partition_count) == self.partition {
                        self.placed.push(placed(index, Some(event.clone()), None));
                    }
                }
            }
            Content::Tombstone => {
                self.placed.push(placed(0, None, Some(SuspenseReason::Tombstone)));
            }
            Content::Unreadable => {
                self.placed.push(placed(0, None, Some(SuspenseReason::Malformed)));
            }
            Content::Command(_)
            | Content::Tick(_)
            | Content::Reference(_)
            | Content::Resolution(_)
            | Content::Correction(_) => {}
        }
    }

    fn record(&mut self) -> (RecordKind, Option<Vec<u8>>, Content) {
        self.now_ms += self.random.random_range(0..1_500);
        let percent = self.random.random_range(0..100);
        if percent < self.traffic.poison && self.random.random_ratio(1, 3) {
            return self.unreadable();
        }
        if self.random.random_ratio(1, 14) {
            return self.command();
        }
        if self.random.random_ratio(1, 25) {
            return self.tick();
        }
        if self.random.random_ratio(1, 9)
            && let Some(resolution) = self.resolution()
        {
            let bytes = Some(resolution.bytes.clone());
            return (RecordKind::Single, bytes, Content::Resolution(Box::new(resolution)));
        }
        if self.random.random_ratio(1, 16)
            && let Some(correction) = self.correction()
        {
            let bytes = Some(correction.bytes.clone());
            return (RecordKind::Single, bytes, Content::Correction(Box::new(correction)));
        }
        if percent >= 100 - self.traffic.batches {
            let events: Vec<Sent> =
                (0..self.random.random_range(1..6)).map(|_| self.event(true)).collect();
            let messages = events.iter().map(message_of).collect();
            let bytes = UsageBatch { events: messages }.encode_to_vec();
            return (RecordKind::Batch, Some(bytes), Content::Events(events));
        }
        let event = self.event(false);
        let bytes = json_of(&event).to_string().into_bytes();
        (RecordKind::Single, Some(bytes), Content::Events(vec![event]))
    }

    fn unreadable(&mut self) -> (RecordKind, Option<Vec<u8>>, Content) {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        match self.random.random_range(0..8) {
            0 => (RecordKind::Single, None, Content::Tombstone),
            1 => (RecordKind::Single, text("{\"source\":\"gw"), Content::Unreadable),
            2 => (RecordKind::Single, Some(vec![0xff, 0xfe, 0x00]), Content::Unreadable),
            3 => (RecordKind::Batch, Some(vec![0x0a, 0x7f, 0x01]), Content::Unreadable),
            4..=6 => self.forged_reference(),
            _ => {
                let bytes = b"{\"command\":\"top_up\",\"id\":\"c1\",\"account\":\"acct-1\"}";
                let command = SentCommand {
                    id: "c1".into(),
                    account: "acct-1".into(),
                    at_ms: self.now_ms,
                    bytes: bytes.to_vec(),
                    refusal: Some("bad_command"),
                };
                (RecordKind::Single, Some(bytes.to_vec()), Content::Command(command))
            }
        }
    }

    /// A record that names reference data: the first edition, one that nobody approved, or one
    /// before its time.
    fn forged_reference(&mut self) -> (RecordKind, Option<Vec<u8>>, Content) {
        let edition = self.random.random_range(0..EDITIONS as u64);
        let named = |edition: u64, known_at_ms: i64| ReferenceVersion {
            edition,
            known_at_ms,
            hash: format!("{edition:04x}"),
        };
        let version = match self.random.random_range(0..3) {
            0 => named(0, 0),
            1 => ReferenceVersion { hash: "ffff".to_owned(), ..named(edition, 0) },
            _ => named(edition, self.now_ms + 1),
        };
        let value = json!({"command": "reference", "version": version.to_string()});
        let content = Content::Reference(version);
        (RecordKind::Single, Some(value.to_string().into_bytes()), content)
    }

    /// The clock of an owner, which may be wrong.
    fn tick(&mut self) -> (RecordKind, Option<Vec<u8>>, Content) {
        let at_ms = self.now_ms + self.random.random_range(-30_000..30_000);
        let bytes = json!({"command": "tick", "at": at_ms}).to_string().into_bytes();
        (RecordKind::Single, Some(bytes), Content::Tick(at_ms))
    }

    /// An account command: mostly a purchase, sometimes one that came before.
    fn command(&mut self) -> (RecordKind, Option<Vec<u8>>, Content) {
        let again = self.random.random_ratio(1, 4);
        let command = match again.then(|| self.commands.choose(&mut self.random)).flatten() {
            Some(earlier) => earlier.clone(),
            None => self.fresh_command(),
        };
        self.commands.push(command.clone());
        (RecordKind::Single, Some(command.bytes.clone()), Content::Command(command))
    }

    fn fresh_command(&mut self) -> SentCommand {
        let random = &mut self.random;
        let id = format!("c-{}", self.commands.len());
        let account = self.accounts.choose(random).unwrap().clone();
        let (what, refusal) = match random.random_range(0..8) {
            0..3 => (json!({"command": "purchase", "package": "small", "quantity": 1}), None),
            3 => (json!({"command": "purchase", "package": "trial"}), None),
            4 => (json!({"command": "set_flags", "flags": {"overflow": "payg"}}), None),
            5 => (json!({"command": "set_flags", "flags": {"overflow": null}}), None),
            6 => (json!({"command": "purchase", "package": "none"}), Some("unknown_package")),
            _ => (json!({"command": "cancel", "bucket": "none"}), Some("unknown_bucket")),
        };
        let mut object = what;
        object["id"] = id.as_str().into();
        object["account"] = account.as_str().into();
        object["at"] = self.now_ms.into();
        SentCommand {
            id,
            account,
            at_ms: self.now_ms,
            bytes: object.to_string().into_bytes(),
            refusal,
        }
    }

    fn event(&mut self, in_batch: bool) -> Sent {
        let again = self.random.random_range(0..100) < self.traffic.resent;
        let event = match again.then(|| self.resend(in_batch)).flatten() {
            Some(event) => event,
            None => self.fresh(in_batch),
        };
        self.sent.push(event.clone());
        event
    }

    /// An earlier event: a recent one or any, as it was or changed.
    fn resend(&mut self, in_batch: bool) -> Option<Sent> {
        let recent = self.sent.len().saturating_sub(6);
        let earlier = match self.random.random_range(0..6) {
            0..3 => &self.sent[recent..],
            3 if !self.late.is_empty() => &self.late,
            _ => &self.sent[..],
        };
        let mut event = earlier.choose(&mut self.random)?.clone();
        if in_batch && json_only(event.defect) {
            return None;
        }
        match self.random.random_range(0..10) {
            0 => event.counts[TokenClass::Output.index()] += 1_000,
            1 => event.tier = Some("flex"),
            2 if self.traffic.restamped => {
                event.completed_at_ms += self.random.random_range(-9_000..9_000);
            }
            _ => {}
        }
        Some(event)
    }

    pub(super) fn fresh(&mut self, in_batch: bool) -> Sent {
        self.count += 1;
        let random = &mut self.random;
        let (model, vendor) = *[
            ("glm-5", None),
            ("glm-5", None),
            ("glm-5", None),
            ("glm-5", None),
            ("qwen3-max", None),
            ("qwen3-max", None),
            ("qwen3-max", Some("qwen")),
            ("qwen3-max", Some("qwen")),
            ("house-1", Some("acme")),
            ("house-1", Some("acme")),
            ("nobody-1", None),
        ]
        .choose(random)
        .unwrap();
        let mut counts = [0; CLASS_COUNT];
        counts[TokenClass::Input.index()] = random.random_range(0..5_000);
        counts[TokenClass::Output.index()] = random.random_range(0..900);
        counts[TokenClass::Requests.index()] = if random.random_ratio(1, 9) { 3 } else { 1 };
        if random.random_ratio(1, 4) {
            counts[TokenClass::CachedInput.index()] = random.random_range(0..70_000);
        }
        if random.random_ratio(1, if model == "house-1" { 3 } else { 9 }) {
            counts[TokenClass::Images.index()] = random.random_range(1..4);
        }
        let back_ms = match random.random_range(0..40) {
            0..26 => random.random_range(0..2_000),
            26..30 => random.random_range(0..20_000),
            30..38 => random.random_range(0..120_000),
            38 => random.random_range(0..86_400_000),
            // Exactly as far ahead as is accepted.
            _ => -self.settings.future_max_ms.cast_signed(),
        };
        let mut event = Sent {
            source: if random.random_ratio(1, 2) { "gw-0" } else { "gw-1" },
            id: format!("e{}", self.count),
            account: self.accounts.choose(random).unwrap().clone(),
            subscriber: random.random_ratio(1, 2).then(|| format!("s{}", self.count % 3)),
            model,
            vendor,
            supplier: random.random_ratio(1, 6).then_some("reseller"),
            region: random.random_ratio(1, 3).then_some("cn-east"),
            tier: random.random_ratio(1, 6).then_some("batch"),
            completed_at_ms: self.now_ms - back_ms,
            counts,
            defect: Defect::None,
        };
        if random.random_range(0..100) < self.traffic.poison {
            self.spoil(&mut event, in_batch);
        }
        if back_ms > 40_000 {
            self.late.push(event.clone());
        }
        event
    }

    fn spoil(&mut self, event: &mut Sent, in_batch: bool) {
        let broken = TokenClass::CachedInput.index();
        let horizon_ms = self.settings.dedupe_horizon_days.cast_signed() * 86_400_000;
        let kind = self.random.random_range(0..13);
        let defect = match kind {
            0 => Defect::NoId,
            1 => Defect::NoModel,
            2 => Defect::NegativeCount,
            3 => Defect::FloatCount,
            4 => Defect::CountTooLarge,
            5 => Defect::UnknownClass,
            6 => Defect::WrongTotal,
            7 => Defect::ReasoningBeyondOutput,
            8 => Defect::PhoneNumber,
            _ => Defect::None,
        };
        if in_batch && json_only(defect) {
            return;
        }
        event.defect = defect;
        match (defect, kind) {
            (Defect::NoId, _) => event.id.clear(),
            (Defect::NoModel, _) => event.model = "",
            (Defect::NegativeCount | Defect::FloatCount | Defect::CountTooLarge, _) => {
                event.counts[broken] = 0;
            }
            (Defect::ReasoningBeyondOutput, _) => {
                let output = event.counts[TokenClass::Output.index()];
                event.counts[TokenClass::Reasoning.index()] = output + 1_000_000;
            }
            (Defect::PhoneNumber, _) => event.account = self.phones[0].clone(),
            (_, 9) => (event.model, event.vendor) = ("nobody-1", None),
            (_, 10) => {
                event.completed_at_ms = self.now_ms + self.settings.future_max_ms.cast_signed() + 1;
            }
            (_, 11) => event.completed_at_ms = self.now_ms - horizon_ms - 1,
            (_, 12) if self.partition_count > 1 => {
                debug_assert!(
                    partition_of(&self.strangers[0], self.partition_count) != self.partition
                );
                event.account = self.strangers[0].clone();
            }
            _ => {}
        }
    }
}
