//! Model aliases: effective-dated names, the vendor behind each and the model that is billed.

use std::collections::{BTreeMap, BTreeSet};

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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ModelAliases {
    by_model: BTreeMap<String, Vec<Alias>>,
}

impl ModelAliases {
    pub(crate) fn insert(&mut self, alias: &Alias) {
        self.by_model.entry(alias.model.clone()).or_default().push(alias.clone());
    }

    /// Ids of the aliases.
    pub(crate) fn ids(&self) -> BTreeSet<&str> {
        self.by_model.values().flatten().map(|alias| alias.version.id.as_str()).collect()
    }

    /// What `model` stands for at `at_ms`; `None` where no alias is in force then. Of several the
    /// one that began last, so that an announcement goes before the plain name.
    pub(crate) fn resolve(&self, model: &str, at_ms: i64) -> Option<Resolved<'_>> {
        let known = self.by_model.get(model)?;
        let in_force = known.iter().filter(|alias| alias.valid.contains(at_ms));
        let alias = in_force.max_by_key(|alias| alias.valid.from_ms)?;
        Some(Resolved { vendor: &alias.vendor, billed_model: &alias.billed_model })
    }
}
