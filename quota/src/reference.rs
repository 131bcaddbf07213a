//! Every version of packages and tariffs that an account may refer to.

use crate::package::{Package, PackageKind, Period, Tariff, Threshold};
use crate::reference_layers::{self, PackageLayer};
use crate::reference_text;

/// Something of the reference data is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File and line; empty where the record is not from a file.
    pub place: String,
    /// Id of the package or tariff, or its place in the list where it has none.
    pub record: String,
    /// Field.
    pub field: String,
    /// What is wrong, in words.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, record, field, message } = self;
        let sign = if place.is_empty() { "" } else { ", " };
        write!(f, "{place}{sign}{record}: {field}: {message}")
    }
}

/// Everything that is wrong with reference data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ReferenceError {
    /// In the order found; never empty.
    pub problems: Vec<Problem>,
}

/// New reference data lacks or changes a version that accounts may refer to. Versions are added,
/// never overwritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version of {id} known from {known_from_ms} is missing or changed")]
pub struct VersionLost {
    /// Package or tariff.
    pub id: String,
    /// The version, ms of UTC.
    pub known_from_ms: i64,
}

/// Packages, tariffs and the thresholds of accounts without a tariff.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuotaReference {
    /// By id, then `known_from`.
    packages: Vec<Package>,
    /// By id, then `known_from`.
    tariffs: Vec<Tariff>,
    account_thresholds: Vec<Threshold>,
    /// Hash of a package's version, and its position; by hash.
    positions: Vec<(u64, u32)>,
}

impl QuotaReference {
    /// Reads reference data in TOML: tables `[[package]]`, `[[tariff]]`, `[[account_threshold]]`.
    ///
    /// # Errors
    /// With every problem there is.
    pub fn from_toml(text: &str) -> Result<Self, ReferenceError> {
        reference_text::read_toml(text)
    }

    /// Reads layers of files in TOML, the oldest first: what was approved together adds packages,
    /// tariffs and versions of them, and account thresholds replace those before. A record that an
    /// older layer has, under the same `known_from` or as the newest version of its id, is passed
    /// over.
    ///
    /// # Errors
    /// With every problem there is; a record that would change one that is there already is one.
    pub fn read_layers(layers: &[PackageLayer<'_>]) -> Result<Self, ReferenceError> {
        reference_layers::read(layers)
    }

    /// Reads reference data in JSON: `packages`, `tariffs`, `account_thresholds`.
    ///
    /// # Errors
    /// With every problem there is.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, ReferenceError> {
        reference_text::read_json(value)
    }

    /// Puts records in their order. They were checked before.
    pub(crate) fn new(
        mut packages: Vec<Package>,
        mut tariffs: Vec<Tariff>,
        account_thresholds: Vec<Threshold>,
    ) -> Self {
        packages.sort_by(|a, b| (&a.id, a.known_from_ms).cmp(&(&b.id, b.known_from_ms)));
        tariffs.sort_by(|a, b| (&a.id, a.known_from_ms).cmp(&(&b.id, b.known_from_ms)));
        for family in packages.chunk_by_mut(|a, b| a.id == b.id) {
            let watched = family.iter().any(Package::watches_spikes);
            let mut counted: Vec<_> =
                family.iter().flat_map(|p| &p.caps).map(|cap| cap.window).collect();
            counted.sort_unstable();
            counted.dedup();
            for package in family {
                package.watched = watched;
                package.counted.clone_from(&counted);
            }
        }
        let mut positions: Vec<(u64, u32)> =
            packages.iter().zip(0_u32..).map(|(package, at)| (package.hash, at)).collect();
        positions.sort_unstable();
        Self { packages, tariffs, account_thresholds, positions }
    }

    /// Every version of every package.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// Every version of every tariff.
    pub fn tariffs(&self) -> &[Tariff] {
        &self.tariffs
    }

    /// Thresholds of accounts without a tariff.
    pub fn account_thresholds(&self) -> &[Threshold] {
        &self.account_thresholds
    }

    /// Whether there is an approved package of this id.
    pub(crate) fn knows_package(&self, id: &str) -> bool {
        self.versions(id).iter().any(|package| package.approved_by.is_some())
    }

    /// The version of a package that is known at an instant, and its position.
    pub(crate) fn package_known_at(&self, id: &str, at_ms: i64) -> Option<(u32, &Package)> {
        let known = |p: &&Package| p.known_from_ms <= at_ms && p.approved_by.is_some();
        let package = self.versions(id).iter().rev().find(known)?;
        Some((self.position(package.hash)?, package))
    }

    fn versions(&self, id: &str) -> &[Package] {
        let from = self.packages.partition_point(|package| package.id.as_str() < id);
        let to = self.packages.partition_point(|package| package.id.as_str() <= id);
        &self.packages[from..to]
    }

    /// Where the version with this hash stands.
    pub(crate) fn position(&self, hash: u64) -> Option<u32> {
        let found = self.positions.binary_search_by_key(&hash, |(hash, _)| *hash).ok()?;
        Some(self.positions[found].1)
    }

    /// The version at a position that [`QuotaReference::position`] gave.
    pub(crate) fn package(&self, position: u32) -> &Package {
        &self.packages[position as usize]
    }

    /// The version of a tariff that is known at an instant.
    pub(crate) fn tariff_known_at(&self, id_hash: u64, at_ms: i64) -> Option<&Tariff> {
        let known = |tariff: &&Tariff| {
            tariff.id_hash == id_hash
                && tariff.known_from_ms <= at_ms
                && tariff.approved_by.is_some()
        };
        self.tariffs.iter().rev().find(known)
    }

    /// When, after an instant, another version of a tariff is the known one.
    pub(crate) fn tariff_changes_after(&self, id_hash: u64, after_ms: i64) -> Option<i64> {
        let approved = |tariff: &&Tariff| tariff.id_hash == id_hash && tariff.approved_by.is_some();
        let versions = self.tariffs.iter().filter(approved).map(|tariff| tariff.known_from_ms);
        versions.filter(|known_ms| *known_ms > after_ms).min()
    }

    /// Tariffs of several regions of which this one has a version that `older` lacks.
    pub(crate) fn tariffs_moved_since(&self, older: &Self) -> Vec<u64> {
        let approved = |id_hash: u64| {
            let same = move |tariff: &&Tariff| tariff.id_hash == id_hash;
            self.tariffs.iter().filter(same).filter(|tariff| tariff.approved_by.is_some())
        };
        let is_new = |tariff: &&Tariff| {
            tariff.approved_by.is_some()
                && older
                    .tariff_known_at(tariff.id_hash, tariff.known_from_ms)
                    .is_none_or(|known| known.known_from_ms != tariff.known_from_ms)
        };
        let moves =
            |tariff: &&Tariff| approved(tariff.id_hash).any(|other| other.region != tariff.region);
        let moved = self.tariffs.iter().filter(is_new).filter(moves);
        moved.map(|tariff| tariff.id_hash).collect()
    }

    /// Checks that `newer` has every version of this one, unchanged but for approval.
    ///
    /// # Errors
    /// The first version that is missing or changed.
    pub fn is_kept_by(&self, newer: &Self) -> Result<(), VersionLost> {
        let lost = |id: &str, known_from_ms| VersionLost { id: id.to_owned(), known_from_ms };
        for package in &self.packages {
            let kept = newer.position(package.hash).map(|position| newer.package(position));
            if !kept.is_some_and(|kept| kept.sells_the_same(package)) {
                return Err(lost(&package.id, package.known_from_ms));
            }
        }
        for tariff in &self.tariffs {
            let same = |kept: &&Tariff| {
                kept.id == tariff.id
                    && kept.known_from_ms == tariff.known_from_ms
                    && kept.currency == tariff.currency
                    && kept.price_micro_per_million_points == tariff.price_micro_per_million_points
                    && kept.region == tariff.region
                    && kept.thresholds == tariff.thresholds
            };
            if newer.tariffs.iter().find(same).is_none() {
                return Err(lost(&tariff.id, tariff.known_from_ms));
            }
        }
        Ok(())
    }
}

impl Tariff {
    /// What it says, in a line.
    pub fn words(&self) -> String {
        let price = tally_schemas::decimal_text(i128::from(self.price_micro_per_million_points), 6);
        let price = price.trim_end_matches('0').trim_end_matches('.');
        format!("pay as you go, {price} {} a million points", self.currency)
    }
}

impl Package {
    fn watches_spikes(&self) -> bool {
        self.thresholds.iter().any(|t| t.kind == crate::package::ThresholdKind::Spike)
    }

    /// What it says, in a line.
    pub fn words(&self) -> String {
        let micro = |micro: i64| {
            let text = tally_schemas::decimal_text(i128::from(micro), 6);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        let kind = match self.kind {
            PackageKind::Paid => "",
            PackageKind::Trial => "trial, ",
            PackageKind::Free => "free, ",
        };
        let period = match self.period {
            Period::Months(n) => format!("{n} months"),
            Period::Days(n) => format!("{n} days"),
            Period::Hours(n) => format!("{n} hours"),
        };
        let (price, points) = (micro(self.price_micro), micro(self.allowance_micro));
        format!("{kind}{price} {} for {points} points in {period}", self.currency)
    }

    /// Whether buckets of both behave alike: titles, sources and approvals may change.
    fn sells_the_same(&self, other: &Self) -> bool {
        self.id == other.id
            && (self.known_from_ms, self.currency) == (other.known_from_ms, other.currency)
            && (self.period, self.anchor) == (other.period, other.anchor)
            && (self.price_micro, self.allowance_micro)
                == (other.price_micro, other.allowance_micro)
            && (&self.weights, self.kind, self.priority, self.directed)
                == (&other.weights, other.kind, other.priority, other.directed)
            && (&self.models, &self.products) == (&other.models, &other.products)
            && (self.rollover, &self.caps) == (other.rollover, &other.caps)
            && (&self.thresholds, self.stacking) == (&other.thresholds, other.stacking)
            && self.region == other.region
    }
}
