//! Everything that an edition holds, read: one price book, with the contracts that events are rated
//! by, one set of packages, and the terms that periods are settled by.

use std::collections::BTreeSet;

use serde::Serialize;
use tally_quota::{
    LayerApproval, Package, PackageChange, PackageFile, PackageLayer, QuotaReference,
};
use tally_rating::{
    Approval, Book, BookFile, BookLayer, Lint, RecordChange, Validity, WeightsLack,
};
use tally_settlement::{
    BadContracts, ContractLint, Contracts, TermsChange, TermsFile, TermsLayer, is_terms_file,
};

use crate::error::ReferenceError;
use crate::finding::{Finding, lines};
use crate::kind::ReferenceKind;
use crate::stored::{Layer, StoredEdition, StoredVersion};

/// What an edition holds.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The edition.
    pub edition: StoredEdition,
    /// Prices, aliases, calendars, weights, products, contracts.
    pub book: Book,
    /// Packages and tariffs.
    pub packages: QuotaReference,
    /// Settlement terms and exchange rates: everything that is approved, whenever it is known.
    pub terms: Contracts,
    versions: Vec<StoredVersion>,
    /// When a reader of the book learns something new.
    known_times_ms: Vec<i64>,
    /// The last of these of what ships: it is known to the program that ships it.
    shipped_known_ms: i64,
}

/// A record that one version has and another has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `price`, `alias`, `calendar`, `weights`, `product`, `contract`, `package`, `tariff`, `terms`
    /// or `fx`.
    pub record: &'static str,
    /// Its id.
    pub id: String,
    /// From when on it is known, milliseconds UTC.
    pub known_from_ms: i64,
    /// File and line.
    pub place: String,
    /// What it says.
    pub now: String,
    /// What the newest version of this id said before; none where the id is new.
    pub before: Option<String>,
}

impl From<RecordChange> for Change {
    fn from(change: RecordChange) -> Self {
        let RecordChange { kind, id, known_from_ms, place, now, before } = change;
        Self { record: kind, id, known_from_ms, place, now, before }
    }
}

impl From<PackageChange> for Change {
    fn from(change: PackageChange) -> Self {
        let PackageChange { kind, id, known_from_ms, place, now, before } = change;
        Self { record: kind, id, known_from_ms, place, now, before }
    }
}

impl From<TermsChange> for Change {
    fn from(change: TermsChange) -> Self {
        let TermsChange { kind, id, known_from_ms, place, now, before } = change;
        Self { record: kind, id, known_from_ms, place, now, before }
    }
}

/// What would be, with one version more.
#[derive(Debug)]
pub(crate) struct Extended {
    pub(crate) changes: Vec<Change>,
    pub(crate) findings: Vec<Finding>,
}

/// An approved version on its way to be read; without an approval, its records say themselves.
type LayerText<'a> = (&'a StoredVersion, Option<(&'a str, i64)>);

fn read_book(layers: &[LayerText<'_>]) -> Result<Book, tally_rating::BadBook> {
    let of_kind = |kind| layers.iter().filter(move |(version, _)| version.kind == kind);
    // Contracts last, as in the files that ship. Settlement terms rate nothing, and must not make
    // another book of the one that rates.
    let rates = |version: &StoredVersion, text: &str| {
        version.kind != ReferenceKind::Contract || !is_terms_file(text)
    };
    let layers: Vec<BookLayer<'_>> = of_kind(ReferenceKind::Price)
        .chain(of_kind(ReferenceKind::Contract))
        .map(|(version, approval)| BookLayer {
            files: version
                .files
                .iter()
                .filter(|file| rates(version, &file.text))
                .map(|file| BookFile { name: &file.name, text: &file.text })
                .collect(),
            approval: approval.map(|(by, at_ms)| Approval { by: by.to_owned(), at_ms }),
        })
        .filter(|layer| !layer.files.is_empty())
        .collect();
    Book::read_layers(&layers)
}

/// The terms that periods are settled by. What ships has none.
fn read_terms(layers: &[LayerText<'_>]) -> Result<Contracts, BadContracts> {
    let of_kind = layers.iter().filter(|(version, _)| version.kind == ReferenceKind::Contract);
    let layers: Vec<TermsLayer> = of_kind
        .filter_map(|(version, approval)| {
            let (approved_by, approved_at_ms) = (*approval)?;
            let files: Vec<TermsFile> = version
                .files
                .iter()
                .filter(|file| is_terms_file(&file.text))
                .map(|file| TermsFile { name: file.name.clone(), text: file.text.clone() })
                .collect();
            let approved_by = approved_by.to_owned();
            (!files.is_empty()).then_some(TermsLayer { files, approved_by, approved_at_ms })
        })
        .collect();
    Contracts::read_layers(&layers)
}

fn read_packages(layers: &[LayerText<'_>]) -> Result<QuotaReference, tally_quota::ReferenceError> {
    let of_kind = layers.iter().filter(|(version, _)| version.kind == ReferenceKind::Package);
    let layers: Vec<PackageLayer<'_>> = of_kind
        .map(|(version, approval)| PackageLayer {
            files: version
                .files
                .iter()
                .map(|file| PackageFile { name: &file.name, text: &file.text })
                .collect(),
            approval: approval.map(|(by, at_ms)| LayerApproval { by: by.to_owned(), at_ms }),
        })
        .collect();
    QuotaReference::read_layers(&layers)
}

impl Whole {
    /// Reads the versions of an edition's layers, which are in the layers' order.
    pub(crate) fn of(
        edition: StoredEdition,
        versions: Vec<StoredVersion>,
    ) -> Result<Self, ReferenceError> {
        let damaged = |findings: &[Finding]| {
            let number = edition.edition.edition;
            ReferenceError::Damaged(format!("edition {number}: {}", lines(findings)))
        };
        let layers = layer_texts(&edition.edition.layers, &versions);
        let book = read_book(&layers).map_err(|bad| damaged(&Finding::of_book(&bad)))?;
        let packages =
            read_packages(&layers).map_err(|bad| damaged(&Finding::of_packages(&bad)))?;
        let terms = read_terms(&layers).map_err(|bad| damaged(&Finding::of_terms(&bad)))?;
        let shipped: Vec<LayerText<'_>> =
            layers.iter().filter(|(version, _)| version.version == 0).copied().collect();
        let shipped = read_book(&shipped).map_err(|bad| damaged(&Finding::of_book(&bad)))?;
        let shipped_known_ms = shipped.known_times().last().copied().unwrap_or(i64::MIN);
        let known_times_ms = book.known_times();
        Ok(Self { edition, book, packages, terms, versions, known_times_ms, shipped_known_ms })
    }

    /// The time at which the book is to be read for who asks at `now_ms`: the last at which it
    /// became known what counts, so that two readers between two such times read the same.
    pub fn known_at_ms(&self, now_ms: i64) -> i64 {
        let known = self.known_times_ms.partition_point(|at| *at <= now_ms);
        let last = known.checked_sub(1).map_or(i64::MIN, |last| self.known_times_ms[last]);
        last.max(self.shipped_known_ms)
    }

    /// Every time at which somebody may have read the book, as [`Self::known_at_ms`] gives them.
    pub fn readings_ms(&self) -> impl Iterator<Item = i64> {
        let later = self.known_times_ms.iter().copied().filter(|at| *at > self.shipped_known_ms);
        std::iter::once(self.shipped_known_ms).chain(later)
    }

    /// Approved versions with their layers, in the order of approval.
    pub fn layers(&self) -> impl Iterator<Item = (&Layer, &StoredVersion)> {
        self.edition.edition.layers.iter().zip(&self.versions)
    }

    /// Everything of a kind that ships.
    pub(crate) fn shipped(&self, kind: ReferenceKind) -> Result<Vec<Change>, ReferenceError> {
        let layers: Vec<LayerText<'_>> = self
            .versions
            .iter()
            .filter(|version| version.kind == kind && version.version == 0)
            .map(|version| (version, None))
            .collect();
        let damaged = |findings: &[Finding]| ReferenceError::Damaged(lines(findings));
        if kind == ReferenceKind::Package {
            let packages =
                read_packages(&layers).map_err(|bad| damaged(&Finding::of_packages(&bad)))?;
            let changes = packages.changes_since(&QuotaReference::default());
            return Ok(changes.into_iter().map(Change::from).collect());
        }
        let book = read_book(&layers).map_err(|bad| damaged(&Finding::of_book(&bad)))?;
        Ok(book.changes_since(&Book::default()).into_iter().map(Change::from).collect())
    }

    /// The layer that a record is from, by when it was approved.
    pub fn layer_approved_at(
        &self,
        kind: ReferenceKind,
        at_ms: i64,
    ) -> Option<(&Layer, &StoredVersion)> {
        self.layers().find(|(layer, _)| {
            layer.kind == kind && layer.version > 0 && layer.approved_at_ms == at_ms
        })
    }

    /// What a candidate would change and what is wrong with it, if it were approved now.
    ///
    /// # Errors
    /// Where its files cannot be read, or would change what is there.
    pub(crate) fn extended(
        &self,
        candidate: &StoredVersion,
        (by, at_ms): (&str, i64),
    ) -> Result<Extended, Vec<Finding>> {
        let kind = candidate.kind;
        let mut layers = layer_texts(&self.edition.edition.layers, &self.versions);
        layers.push((candidate, Some((by, at_ms))));
        let mut findings = Vec::new();
        let mut changes: Vec<Change> = Vec::new();
        if kind == ReferenceKind::Package {
            let packages = read_packages(&layers).map_err(|bad| Finding::of_packages(&bad))?;
            changes.extend(packages.changes_since(&self.packages).into_iter().map(Change::from));
            if let Err(lost) = self.packages.is_kept_by(&packages) {
                findings.push(Finding::new("version_lost", lost.to_string()));
            }
            let is_new = |package: &&Package| {
                let same = |old: &Package| {
                    (&old.id, old.known_from_ms) == (&package.id, package.known_from_ms)
                };
                !self.packages.packages().iter().any(same)
            };
            let new = packages.packages().iter().filter(is_new);
            let looked_at = new.filter(|package| !self.ends_a_sale(package));
            findings.extend(looked_at.filter_map(|package| unknown_weights(package, &self.book)));
        } else {
            let book = read_book(&layers).map_err(|bad| Finding::of_book(&bad))?;
            changes.extend(book.changes_since(&self.book).into_iter().map(Change::from));
            if let Err(lost) = book.keeps(&self.book) {
                findings.push(Finding::new("version_lost", lost.to_string()));
            }
            findings.extend(self.brought(&book, at_ms, &changes).iter().map(Finding::of_lint));
            let worse = |package: &&Package| lacks_more(package, &book, &self.book);
            let sold = self.packages.packages().iter().filter(worse);
            findings.extend(sold.filter_map(|package| unknown_weights(package, &book)));
        }
        if kind == ReferenceKind::Contract {
            let terms = read_terms(&layers).map_err(|bad| Finding::of_terms(&bad))?;
            changes.extend(terms.changes_since(&self.terms).into_iter().map(Change::from));
            findings.extend(self.new_lints(&terms).iter().map(Finding::of_terms_lint));
        }
        let strangers: Vec<Finding> =
            changes.iter().filter_map(|change| stranger(kind, change)).collect();
        if strangers.is_empty() { Ok(Extended { changes, findings }) } else { Err(strangers) }
    }
}

impl Whole {
    /// What is wrong with a book and was not before, and what is wrong with the records that it
    /// brings. What was approved by another release's lints keeps nothing else from being approved.
    fn brought(&self, book: &Book, at_ms: i64, changes: &[Change]) -> Vec<Lint> {
        let earlier = self.known_times_ms.partition_point(|known_ms| *known_ms < at_ms);
        let last_ms = earlier.checked_sub(1).and_then(|last| self.known_times_ms.get(last));
        let before: BTreeSet<Lint> =
            self.book.lint_since(last_ms.copied().unwrap_or(at_ms)).into_iter().collect();
        let is_of = |lint: &Lint, change: &Change| {
            let other = lint.other.as_ref();
            (change.id == lint.id && change.place == lint.place)
                || other.is_some_and(|(kind, id)| *kind == change.record && *id == change.id)
        };
        let is_brought = |lint: &Lint| changes.iter().any(|change| is_of(lint, change));
        let mut found = book.lint_since(at_ms);
        found.retain(|lint| is_brought(lint) || !before.contains(lint));
        found
    }

    /// Whether a version of a package only ends its sale sooner: what it lacks, it lacked before.
    fn ends_a_sale(&self, package: &Package) -> bool {
        let versions = self.packages.packages().iter().filter(|old| old.id == package.id);
        let newest = versions.max_by_key(|old| old.known_from_ms);
        newest.is_some_and(|newest| package.ends_sooner_than(newest))
    }

    /// What is wrong with terms and was not before: what was approved then, was approved.
    fn new_lints(&self, terms: &Contracts) -> Vec<ContractLint> {
        let vendors: BTreeSet<String> =
            self.book.prices().iter().map(|price| price.vendor.clone()).collect();
        let vendors: Vec<String> = vendors.into_iter().collect();
        let before = self.terms.lint(&vendors);
        terms.lint(&vendors).into_iter().filter(|lint| !before.contains(lint)).collect()
    }
}

fn layer_texts<'a>(layers: &'a [Layer], versions: &'a [StoredVersion]) -> Vec<LayerText<'a>> {
    let approval = |layer: &'a Layer| {
        (layer.version > 0).then_some((layer.approved_by.as_str(), layer.approved_at_ms))
    };
    layers.iter().zip(versions).map(|(layer, version)| (version, approval(layer))).collect()
}

/// A record that another kind of version must bring.
fn stranger(kind: ReferenceKind, change: &Change) -> Option<Finding> {
    let home = match change.record {
        "contract" | "terms" | "fx" => ReferenceKind::Contract,
        "package" | "tariff" => ReferenceKind::Package,
        _ => ReferenceKind::Price,
    };
    (home != kind).then(|| {
        let Change { record, id, place, .. } = change;
        Finding::new("wrong_kind", format!("{place}, {record} {id}: use tally {home} import"))
    })
}

/// What a package lacks to be weighed by its table from its sale on. Without it the stream would hold
/// the usage back, or count it as if the table had no weights. That has no end: what was bought lasts
/// beyond the sale, rolls over, and is queued behind what was bought before.
fn lack_of(package: &Package, book: &Book) -> Option<WeightsLack> {
    let Package { weights, valid_from_ms, valid_to_ms, known_from_ms, .. } = package;
    let sold = Validity { from_ms: *valid_from_ms.max(known_from_ms), to_ms: *valid_to_ms };
    if sold.is_empty() {
        return None;
    }
    book.weights_lack(weights, Validity { to_ms: None, ..sold })
}

/// Whether a package lacks something by a book that it did not lack by the one before: weights that
/// end later than before, if only not never, are better ones.
fn lacks_more(package: &Package, book: &Book, before: &Book) -> bool {
    let Some(lack) = lack_of(package, book) else { return false };
    let lacked = match &lack {
        WeightsLack::NoneInForce { id, at_ms } => {
            let instant = Validity { from_ms: *at_ms, to_ms: Some(at_ms.saturating_add(1)) };
            before.weights_lack(id, instant)
        }
        WeightsLack::Table(_) | WeightsLack::KnownLater { .. } => lack_of(package, before),
    };
    lacked != Some(lack)
}

fn unknown_weights(package: &Package, book: &Book) -> Option<Finding> {
    let Package { id, place, .. } = package;
    let lack = lack_of(package, book)?;
    Some(Finding::new("unknown_weights", format!("{place}, {id}: weights: {lack}")))
}
