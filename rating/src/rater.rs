//! Rates one event after another: a rate card with the lanes that events asked for so far.

use std::sync::Arc;

use hashbrown::HashTable;
use tally_schemas::UsageEvent;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::price::Side;
use crate::rate_card::{Call, Held, Lane, LaneKey, PriceSet, RateCard, Rated, WeightLane};

/// Lanes that are kept. Beyond it, all are let go: a sender may make up a model for each event.
const LANES_KEPT: usize = 4_096;

/// Places for lanes that were asked for lately.
const RECENT: usize = 1_024;

/// Who is paid for an event, and for which model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribution<'a> {
    /// Vendor.
    pub vendor: &'a str,
    /// Supplier, the vendor where the event names no other.
    pub supplier: &'a str,
    /// Billed model.
    pub billed_model: &'a str,
}

/// Number of a lane; holds until the next call of [`Rater::lane`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneNumber(usize);

#[derive(Debug, Clone)]
struct KeptLane {
    hash: u64,
    vendor: String,
    supplier: String,
    billed_model: String,
    service_tier: String,
    region: Option<String>,
    wholesale: Lane,
    /// Ids of prices by what was used together.
    ids: Vec<(PriceSet, Arc<str>)>,
    weights: Vec<(String, WeightLane)>,
}

impl KeptLane {
    fn is(&self, key: &LaneKey<'_>) -> bool {
        self.billed_model == key.billed_model
            && self.vendor == key.vendor
            && self.supplier == key.supplier
            && self.service_tier == key.service_tier
            && self.region.as_deref() == key.region
    }
}

/// A rate card in use.
#[derive(Debug, Clone)]
pub struct Rater {
    card: Arc<RateCard>,
    lanes: Vec<KeptLane>,
    index: HashTable<usize>,
    /// Numbers of lanes by [`place_of`] their keys: whole hashes of five texts are for those that
    /// are not here.
    recent: Vec<usize>,
}

impl Rater {
    /// Rates by a card.
    pub fn new(card: Arc<RateCard>) -> Self {
        Self { card, lanes: Vec::new(), index: HashTable::new(), recent: vec![0; RECENT] }
    }

    /// The card.
    pub fn card(&self) -> &Arc<RateCard> {
        &self.card
    }

    /// The prices and weights for a key.
    pub fn lane(&mut self, key: &LaneKey<'_>) -> LaneNumber {
        let place = place_of(key);
        let recent = self.recent[place];
        if self.lanes.get(recent).is_some_and(|lane| lane.is(key)) {
            return LaneNumber(recent);
        }
        let number = self.find_lane(key);
        self.recent[place] = number;
        LaneNumber(number)
    }

    /// Number of the lane of a key, which is looked up in the card where it is new.
    fn find_lane(&mut self, key: &LaneKey<'_>) -> usize {
        let mut hash = 0;
        for text in [key.vendor, key.supplier, key.billed_model, key.service_tier] {
            hash = xxh3_64_with_seed(text.as_bytes(), hash);
        }
        if let Some(region) = key.region {
            hash = xxh3_64_with_seed(region.as_bytes(), hash);
        }
        let Self { card, lanes, index, .. } = self;
        let known = |number: &usize| lanes[*number].hash == hash && lanes[*number].is(key);
        if let Some(number) = index.find(hash, known) {
            return *number;
        }
        if lanes.len() >= LANES_KEPT {
            lanes.clear();
            index.clear();
        }
        let number = lanes.len();
        lanes.push(KeptLane {
            hash,
            vendor: key.vendor.into(),
            supplier: key.supplier.into(),
            billed_model: key.billed_model.into(),
            service_tier: key.service_tier.into(),
            region: key.region.map(Into::into),
            wholesale: card.lane(Side::Wholesale, key),
            ids: Vec::new(),
            weights: Vec::new(),
        });
        index.insert_unique(hash, number, |number| lanes[*number].hash);
        number
    }

    /// What the vendor is owed for a call.
    ///
    /// # Errors
    /// Why it cannot be rated.
    pub fn wholesale(&self, lane: LaneNumber, call: &Call<'_>) -> Result<Rated, Held> {
        self.card.rate(&self.lanes[lane.0].wholesale, call)
    }

    /// Ids of the prices that rated a call, in the order of the classes, with commas.
    pub fn price_ids(&mut self, lane: LaneNumber, prices: PriceSet) -> Arc<str> {
        let lane = &mut self.lanes[lane.0];
        if let Some((_, ids)) = lane.ids.iter().find(|(set, _)| *set == prices) {
            return Arc::clone(ids);
        }
        let ids: Arc<str> = self.card.price_ids(&lane.wholesale, prices).into();
        // What is used together recurs within a few; a lane with more than that is asked each time.
        if lane.ids.len() < 256 {
            lane.ids.push((prices, Arc::clone(&ids)));
        }
        ids
    }

    /// Micro-points of a call by a table of weights.
    ///
    /// # Errors
    /// Where the table is not known, or a calendar of its weights lacks the year.
    pub fn points_micro(
        &mut self,
        lane: LaneNumber,
        table: &str,
        product: Option<&str>,
        call: &Call<'_>,
    ) -> Result<i128, Held> {
        let lane = &mut self.lanes[lane.0];
        let place = match lane.weights.iter().position(|(known, _)| known == table) {
            Some(place) => place,
            None => {
                let weights = self.card.weight_lane(table, &lane.billed_model);
                lane.weights.push((table.to_owned(), weights));
                lane.weights.len() - 1
            }
        };
        self.card.points_micro(&lane.weights[place].1, product, call)
    }
}

/// Place of a key among those of late: by a few bytes of each text, as two keys in one place cost
/// no more than a look at the index.
fn place_of(key: &LaneKey<'_>) -> usize {
    let ends = |text: &str| {
        let text = text.as_bytes();
        let end = |byte: Option<&u8>| u64::from(byte.copied().unwrap_or_default());
        end(text.first()) << 16 ^ end(text.last()) << 8 ^ text.len() as u64
    };
    let model = key.billed_model.as_bytes();
    let last = model.last_chunk().map_or(0, |last| u64::from_le_bytes(*last));
    let model = last ^ ends(key.billed_model).rotate_left(32);
    let names = ends(key.vendor) ^ ends(key.supplier).rotate_left(21);
    let others = ends(key.service_tier) ^ key.region.map_or(0, ends).rotate_left(27);
    let mixed = model.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ names.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(23)
        ^ others.wrapping_mul(0x1656_67b1_9e37_79f9).rotate_left(41);
    let place = mixed.wrapping_mul(0x27d4_eb2f_1656_67c5) >> 32;
    usize::try_from(place % RECENT as u64).unwrap_or_default()
}

/// Who is paid for an event: what it says itself, else what the alias of its model says. `None`
/// where nobody knows the vendor.
pub fn attribute<'a>(
    card: &'a RateCard,
    event: &'a UsageEvent<'_>,
    completed_at_ms: i64,
) -> Option<Attribution<'a>> {
    let resolved = card.resolve(&event.model, completed_at_ms);
    let vendor = event.vendor.as_deref().or(resolved.map(|alias| alias.vendor))?;
    let billed = resolved.filter(|alias| alias.vendor == vendor).map(|alias| alias.billed_model);
    Some(Attribution {
        vendor,
        supplier: event.supplier.as_deref().unwrap_or(vendor),
        billed_model: event.billed_model.as_deref().or(billed).unwrap_or(&event.model),
    })
}
