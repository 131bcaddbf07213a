//! Model aliases: effective-dated names, the vendor behind each and the model that is billed.

use std::collections::BTreeSet;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::instant::Validity;
use crate::record_words::alias_words;
use crate::version::{Version, Versioned};

/// One version of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// Id, known time, approval.
    pub version: Version,
    /// Requested name.
    pub model: String,
    /// Vendor.
    pub vendor: String,
    /// Model that the vendor bills.
    pub billed_model: String,
    /// When it is in force.
    pub valid: Validity,
}

impl Versioned for Alias {
    const KIND: &'static str = "alias";

    fn version(&self) -> &Version {
        &self.version
    }

    fn version_mut(&mut self) -> &mut Version {
        &mut self.version
    }

    fn words(&self) -> String {
        alias_words(self)
    }
}

/// What a requested model stands for at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// Vendor of the model.
    pub vendor: &'a str,
    /// Model that the vendor bills.
    pub billed_model: &'a str,
}

/// Model names with the vendor and billed model of each, as a book knows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelAliases {
    models: Vec<Model>,
    /// Places in `models`, by the hash of the name: every event asks.
    index: HashTable<usize>,
}

/// A model name with what it stands for at different times.
#[derive(Debug, Clone)]
struct Model {
    name: String,
    aliases: Vec<Alias>,
}

impl ModelAliases {
    pub(crate) fn insert(&mut self, alias: &Alias) {
        let Self { models, index } = self;
        let hash = hash_of(&alias.model);
        if let Some(place) = index.find(hash, |place| models[*place].name == alias.model) {
            models[*place].aliases.push(alias.clone());
            return;
        }
        index.insert_unique(hash, models.len(), |place| hash_of(&models[*place].name));
        models.push(Model { name: alias.model.clone(), aliases: vec![alias.clone()] });
    }

    /// Ids of the aliases.
    pub(crate) fn ids(&self) -> BTreeSet<&str> {
        let aliases = self.models.iter().flat_map(|model| &model.aliases);
        aliases.map(|alias| alias.version.id.as_str()).collect()
    }

    /// What `model` stands for at `at_ms`; `None` where no alias is in force then. Of several the
    /// one that began last, so that an announcement goes before the plain name.
    pub(crate) fn resolve(&self, model: &str, at_ms: i64) -> Option<Resolved<'_>> {
        let place = self.index.find(hash_of(model), |place| self.models[*place].name == model)?;
        let known = &self.models[*place].aliases;
        let in_force = known.iter().filter(|alias| alias.valid.contains(at_ms));
        let alias = in_force.max_by_key(|alias| alias.valid.from_ms)?;
        Some(Resolved { vendor: &alias.vendor, billed_model: &alias.billed_model })
    }
}

fn hash_of(model: &str) -> u64 {
    xxh3_64(model.as_bytes())
}
