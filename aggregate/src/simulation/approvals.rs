//! Approvals in a simulated run: editions of the reference data that appear while it goes on. Each
//! member sees a new one sooner or later, and getting one fails as often as the store does.

use std::sync::Arc;

use futures::future::BoxFuture;
use tally_schemas::ReferenceVersion;

use super::price_book;
use super::world::World;
use crate::core::ReferenceData;
use crate::error::AggregateError;
use crate::references::{Found, References};

/// The editions of a run, each with the tick of its approval.
#[derive(Debug)]
pub(super) struct Approvals {
    world: World,
    editions: Vec<(u64, ReferenceData)>,
}

impl Approvals {
    /// The editions of the simulated price book, the later ones approved at these ticks.
    pub(super) fn new(world: &World, at: [u64; price_book::EDITIONS - 1]) -> Arc<Self> {
        let ticks = std::iter::once(0).chain(at);
        let editions = ticks.zip((0..price_book::EDITIONS).map(price_book::edition)).collect();
        Arc::new(Self { world: world.clone(), editions })
    }

    /// The same in another world, whose time and faults are its own.
    pub(super) fn in_world(&self, world: &World) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), editions: self.editions.clone() })
    }

    /// An edition as the core is given it.
    pub(super) fn edition(&self, version: &ReferenceVersion) -> Option<&ReferenceData> {
        self.editions.iter().map(|(_, data)| data).find(|data| data.version == *version)
    }
}

impl References for Approvals {
    fn newest(&self) -> ReferenceData {
        let tick = self.world.tick();
        let approved = self.editions.iter().rev().find(|(at, _)| *at <= tick);
        approved.unwrap_or(&self.editions[0]).1.clone()
    }

    fn newer_than(&self, current: &ReferenceVersion) -> Option<ReferenceVersion> {
        let newest = self.newest().version;
        (newest > *current && self.world.once_in(3)).then_some(newest)
    }

    fn find<'a>(
        &'a self,
        version: &'a ReferenceVersion,
    ) -> BoxFuture<'a, Result<Found, AggregateError>> {
        Box::pin(async move {
            self.world.sleep(self.world.draw(0..4)).await;
            let per_mille = u64::from(self.world.inside().faults.per_mille);
            if self.world.draw(0..1_000) < per_mille {
                let error =
                    object_store::Error::Generic { store: "simulated", source: "away".into() };
                return Err(error.into());
            }
            if let Some(found) = self.edition(version) {
                return Ok(Found::Here(found.clone()));
            }
            let of_number = |there: &&ReferenceData| there.version.edition == version.edition;
            let there = self.editions.iter().map(|(_, data)| data).find(of_number);
            Ok(there.map_or(Found::Absent, |there| Found::Other(there.version.clone())))
        })
    }
}
