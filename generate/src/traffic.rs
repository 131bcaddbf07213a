//! Synthetic gateway traffic with realistic proportions.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tally_schemas::{SuspenseReason, TokenClass, UsageCounts, UsageEvent, UsageSource};

use crate::accounts::Accounts;
use crate::arrivals::Arrivals;
use crate::catalogue::{Modality, Model};
use crate::distribution::Quantiles;
use crate::draws::{Draws, mix};
use crate::gateways::{GatewayNumber, Gateways, REGIONS};
use crate::poison::PoisonKind;
use crate::share::Share;

/// What a run of traffic looks like. The same parameters give the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficParams {
    /// Seed of everything random.
    pub seed: u64,
    /// Distinct events; resends come on top.
    pub events: u64,
    /// Number of accounts, at least 1.
    pub accounts: u32,
    /// Start of the period that events arrive in, milliseconds UTC.
    pub start_ms: i64,
    /// Length of that period, milliseconds.
    pub span_ms: u64,
    /// Share of events that are sent a second time, unchanged: most within half a minute, a
    /// tenth of them an hour later.
    pub resent: Share,
    /// Share of events that were completed up to 24 hours before they arrive.
    pub late: Share,
    /// Share of events that must be held back.
    pub bad: Share,
    /// The kinds of those, equally often; none means no bad events.
    pub poison: Vec<PoisonKind>,
}

impl Default for TrafficParams {
    fn default() -> Self {
        Self {
            seed: 1,
            events: 100_000,
            accounts: 200_000,
            // 2026-11-01T09:00:00+08:00
            start_ms: 1_793_494_800_000,
            span_ms: 3_600_000,
            resent: Share::NONE,
            late: Share::NONE,
            bad: Share::NONE,
            poison: PoisonKind::ALL.to_vec(),
        }
    }
}

/// What must become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// One row of `usage_events`.
    Accepted,
    /// Counted and dropped.
    Duplicate,
    /// One row of `suspense`.
    Suspended(SuspenseReason),
    /// Not known: a recorded event, passed on as it came.
    Unjudged,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    /// An event that the schema accepts.
    Event(Box<UsageEvent<'static>>),
    /// Bytes that can only travel as they are.
    Raw(Vec<u8>),
}

/// One record of generated traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedEvent {
    /// The key of the record, which decides the partition.
    pub account: String,
    /// When it arrives, milliseconds UTC; never falls.
    pub arrival_ms: i64,
    /// The vendor that the event belongs to, also where the gateway left it out.
    pub vendor: Option<&'static str>,
    /// What is sent.
    pub body: EventBody,
    /// What must become of it.
    pub expected: Outcome,
}

/// Iterates over a run's records in the order of their arrival.
#[derive(Debug, Clone)]
pub struct Traffic {
    params: TrafficParams,
    run: u64,
    draws: Draws,
    accounts: Accounts,
    arrivals: Arrivals,
    gateways: Gateways,
    tables: CountTables,
    next: u64,
    /// Arrival of event `next`.
    next_arrival_ms: i64,
    resends: BinaryHeap<Reverse<Resend>>,
}

/// An event that will be sent again, made anew from its number when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Resend {
    due_ms: i64,
    event: u64,
    arrival_ms: i64,
    number: GatewayNumber,
    conflicting: bool,
}

const SHORTLY_MS: u32 = 30_000;
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: u32 = 60_000;
const DAY_MS: u32 = 86_400_000;
const OUT_OF_ORDER_MS: u32 = 10_000;

impl Traffic {
    /// Traffic of these parameters.
    pub fn new(params: TrafficParams) -> Self {
        let TrafficParams { seed, events, accounts, start_ms, span_ms, .. } = params;
        let mut arrivals = Arrivals::new(seed, start_ms, span_ms, events);
        // Ids differ between runs that are not the same run, so that two of them can share a topic.
        let run = [events, u64::from(accounts), start_ms.cast_unsigned(), span_ms]
            .into_iter()
            .fold(mix(seed), |run, number| mix(run ^ number));
        Self {
            run: run >> 32,
            draws: Draws::new(seed),
            accounts: Accounts::new(seed, accounts),
            gateways: Gateways::new(seed),
            tables: CountTables::new(),
            next: 0,
            next_arrival_ms: arrivals.at_ms(0),
            resends: BinaryHeap::new(),
            arrivals,
            params,
        }
    }

    fn resend(&mut self, due: Resend) -> GeneratedEvent {
        let mut draft = self.draft(due.event, due.arrival_ms);
        draft.event.gateway_epoch = Some(due.number.epoch);
        draft.event.gateway_seq = Some(due.number.seq);
        let (body, expected) = if due.conflicting {
            let kind = PoisonKind::Conflict;
            (kind.spoil(draft.event), Outcome::Suspended(kind.reason()))
        } else {
            (EventBody::Event(Box::new(draft.event)), Outcome::Duplicate)
        };
        GeneratedEvent {
            account: draft.account,
            arrival_ms: due.due_ms,
            vendor: Some(draft.model.vendor),
            body,
            expected,
        }
    }

    fn original(&mut self) -> GeneratedEvent {
        let (index, arrival_ms) = (self.next, self.next_arrival_ms);
        self.next += 1;
        if self.next < self.params.events {
            self.next_arrival_ms = self.arrivals.at_ms(self.next);
        }
        let mut draft = self.draft(index, arrival_ms);
        let poison = draft.poison;
        if let Some(kind) = poison.filter(|kind| *kind != PoisonKind::Conflict) {
            // Without a number: what the door or the reader cannot read would leave a hole.
            return GeneratedEvent {
                account: kind.account_named(draft.account),
                arrival_ms,
                vendor: None,
                body: kind.spoil(draft.event),
                expected: Outcome::Suspended(kind.reason()),
            };
        }
        let number = self.gateways.next(draft.region, draft.gateway, index);
        draft.event.gateway_epoch = Some(number.epoch);
        draft.event.gateway_seq = Some(number.seq);
        let again = [
            draft.resend_after_ms.map(|after_ms| (after_ms, false)),
            poison.is_some().then_some((i64::from(SHORTLY_MS) + 1, true)),
        ];
        for (after_ms, conflicting) in again.into_iter().flatten() {
            let due_ms = arrival_ms + after_ms;
            self.resends.push(Reverse(Resend {
                due_ms,
                event: index,
                arrival_ms,
                number,
                conflicting,
            }));
        }
        GeneratedEvent {
            account: draft.account,
            arrival_ms,
            vendor: Some(draft.model.vendor),
            body: EventBody::Event(Box::new(draft.event)),
            expected: Outcome::Accepted,
        }
    }

    /// Event `index` but for its gateway's number. The order of draws is part of the format of a
    /// seed: a new draw belongs at the end.
    fn draft(&mut self, index: u64, arrival_ms: i64) -> Draft {
        let draws = &mut self.draws;
        draws.seek(index);
        let account = self.accounts.pick(draws);
        let model = self.accounts.model(account, draws);
        let home = self.accounts.region(account);
        let gateway = Gateways::pick(draws);
        let counts = self.tables.draw(model, draws);
        let subscriber = account.subscriber(draws).map(Cow::Owned);
        let late = draws.chance_ppm(self.params.late.ppm());
        let late_ms = i64::from(MINUTE_MS + draws.below(DAY_MS - MINUTE_MS));
        let behind_ms = i64::from(draws.below(OUT_OF_ORDER_MS)) + if late { late_ms } else { 0 };
        let completed_at_ms = arrival_ms - behind_ms;
        let resent = draws.chance_ppm(self.params.resent.ppm());
        let an_hour_later = draws.below(10) == 0;
        let within_ms = i64::from(draws.below(SHORTLY_MS));
        let bad = draws.chance_ppm(self.params.bad.ppm());
        let kinds = u32::try_from(self.params.poison.len()).unwrap_or(0);
        let kind = usize::try_from(draws.below(kinds)).unwrap_or(0);
        let end = draws.below(1_000);
        let channel = draws.below(100);
        let details = draws.below(1_000);
        let tier = draws.below(100);
        // A thinking model writes slower; the first token takes a while.
        let output = counts.get(TokenClass::Output) + counts.get(TokenClass::AudioOutput);
        let pace_ms = u64::from(6 + draws.below(30));
        let first_ms = u64::from(180 + draws.below(2_500));
        let duration_ms = i64::try_from((first_ms + output * pace_ms).min(1_800_000)).unwrap_or(0);
        let reseller = model.reseller.filter(|_| draws.below(10) < 4);
        let vendor_left_out = model.aliased && draws.below(10) == 0;
        let request = draws.word();
        let account_id = account.id();
        let (finish_reason, usage_source) = match end {
            0..5 => ("client_disconnect", UsageSource::Partial),
            5..7 => ("error", UsageSource::Estimated),
            7..12 => ("content_filter", UsageSource::Reported),
            12..50 => ("length", UsageSource::Reported),
            50..110 => ("tool_calls", UsageSource::Reported),
            _ => ("stop", UsageSource::Reported),
        };
        let labels = if details < 20 {
            let department =
                ["care", "sales", "research", "legal"][usize::try_from(details % 4).unwrap_or(0)];
            vec![(Cow::Borrowed("department"), Cow::Borrowed(department))]
        } else {
            Vec::new()
        };
        let event = UsageEvent {
            source: Cow::Borrowed(Gateways::source(home, gateway)),
            id: Cow::Owned(format!("req-{:08x}-{index:x}", self.run)),
            account: Cow::Owned(account_id.clone()),
            subscriber,
            model: Cow::Borrowed(model.name),
            billed_model: model.billed.map(Cow::Borrowed),
            vendor: (!vendor_left_out).then_some(Cow::Borrowed(model.vendor)),
            supplier: reseller.map(Cow::Borrowed),
            started_at_ms: Some(completed_at_ms - duration_ms),
            completed_at_ms: Some(completed_at_ms),
            usage: counts,
            usage_source,
            finish_reason: Some(Cow::Borrowed(finish_reason)),
            service_tier: match tier {
                0..4 => Some("batch"),
                4..6 => Some("priority"),
                6..8 => Some("flex"),
                8..50 => Some("standard"),
                _ => None,
            }
            .map(Cow::Borrowed),
            region: Some(Cow::Borrowed(REGIONS[home])),
            channel: Some(Cow::Borrowed(match channel {
                0..45 => "app",
                45..80 => "api",
                80..92 => "web",
                _ => "voice",
            })),
            product: match model.modality {
                Modality::Images if details.is_multiple_of(3) => {
                    Some(Cow::Borrowed("photo-cutout"))
                }
                _ if details % 10 == 1 => Some(Cow::Borrowed("assistant")),
                _ => None,
            },
            vendor_request_id: Some(Cow::Owned(format!("chatcmpl-{request:08x}{index:08x}"))),
            gateway_epoch: None,
            gateway_seq: None,
            labels,
        };
        Draft {
            event,
            account: account_id,
            model,
            region: home,
            gateway,
            resend_after_ms: resent.then_some(if an_hour_later {
                HOUR_MS + within_ms
            } else {
                1 + within_ms
            }),
            poison: if bad { self.params.poison.get(kind).copied() } else { None },
        }
    }
}

/// An event before it gets its number, with what else was drawn for it.
struct Draft {
    event: UsageEvent<'static>,
    account: String,
    model: &'static Model,
    region: usize,
    gateway: usize,
    resend_after_ms: Option<i64>,
    poison: Option<PoisonKind>,
}

impl Iterator for Traffic {
    type Item = GeneratedEvent;

    fn next(&mut self) -> Option<GeneratedEvent> {
        let more = self.next < self.params.events;
        let due = self
            .resends
            .peek()
            .is_some_and(|Reverse(resend)| !more || resend.due_ms <= self.next_arrival_ms);
        if due {
            return self.resends.pop().map(|Reverse(resend)| self.resend(resend));
        }
        more.then(|| self.original())
    }
}

/// How many tokens calls have. Points of the quantile functions follow published traces of chat
/// traffic: short prompts, a long tail of documents, answers of a few hundred tokens. A prompt and
/// what of it is cached stay below 256,000 tokens, the most that some models take.
#[derive(Debug, Clone)]
struct CountTables {
    input: Quantiles,
    cached: Quantiles,
    output: Quantiles,
    image: Quantiles,
    audio: Quantiles,
}

impl CountTables {
    fn new() -> Self {
        Self {
            input: Quantiles::new(&[
                (0, 8),
                (250, 120),
                (500, 434),
                (750, 1_300),
                (900, 3_400),
                (990, 16_000),
                (999, 60_000),
                (1000, 128_000),
            ]),
            cached: Quantiles::new(&[
                (0, 64),
                (500, 800),
                (900, 6_000),
                (990, 40_000),
                (1000, 120_000),
            ]),
            output: Quantiles::new(&[
                (0, 1),
                (250, 110),
                (500, 345),
                (750, 720),
                (900, 1_500),
                (990, 4_200),
                (1000, 16_000),
            ]),
            image: Quantiles::new(&[(0, 256), (500, 1_024), (900, 3_000), (1000, 12_000)]),
            audio: Quantiles::new(&[(0, 20), (500, 400), (950, 3_000), (1000, 10_000)]),
        }
    }

    fn draw(&self, model: &Model, draws: &mut Draws) -> UsageCounts {
        // The same number of words for every model, so that what is drawn later does not shift.
        let (input, cached, output) = (draws.word(), draws.word(), draws.word());
        let (share, extra, coin) = (draws.below(100), draws.word(), draws.below(100));
        let mut counts = UsageCounts::default();
        counts.set(TokenClass::Requests, 1);
        counts.set(TokenClass::Input, self.input.draw(input));
        if share < 50 {
            counts.set(TokenClass::CachedInput, self.cached.draw(cached));
        }
        counts.set(TokenClass::Output, self.output.draw(output));
        if model.cache_writes && coin < 30 {
            let class = if coin < 24 { TokenClass::CacheWrite5m } else { TokenClass::CacheWrite1h };
            counts.set(class, self.cached.draw(extra));
        }
        match model.modality {
            Modality::Text => {}
            Modality::Thinking => {
                let reasoning = self.output.draw(extra) * 2;
                counts.set(TokenClass::Output, counts.get(TokenClass::Output) + reasoning);
                counts.set(TokenClass::Reasoning, reasoning);
            }
            Modality::Vision if coin < 70 => {
                counts.set(TokenClass::ImageInput, self.image.draw(extra));
            }
            Modality::Vision => {}
            Modality::Images => {
                let images = 1 + u64::from(coin % 4);
                counts.set(TokenClass::Output, 0);
                counts.set(TokenClass::ImageOutput, images * self.image.draw(extra));
                counts.set(TokenClass::Images, images);
            }
            Modality::Realtime => {
                counts.set(TokenClass::AudioInput, self.audio.draw(extra));
                counts.set(TokenClass::AudioOutput, self.audio.draw(output));
                counts.set(TokenClass::Seconds, self.audio.draw(extra) / 10 + 1);
            }
            Modality::Speech => {
                counts.set(TokenClass::Output, 0);
                counts.set(TokenClass::AudioOutput, self.audio.draw(output));
                counts.set(TokenClass::Characters, self.input.draw(input) * 3 / 2);
            }
        }
        counts
    }
}
