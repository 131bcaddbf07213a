//! What of a price's tier other prices cover: the parts that they cut it into, holes between tiers,
//! and what less specific prices leave of them.

use std::collections::BTreeSet;

use crate::instant::Validity;
use crate::price::{Price, Tier, TierBasis};

/// A part of a tier: more than `from` and at most `to` units of its basis; the part from 0 has 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) tier: Option<Tier>,
}

impl Part {
    /// Whether a price holds for all of the part. Between tiers of other bases nothing can be said;
    /// that both hold together is an overlap.
    pub(crate) fn is_covered_by(self, other: &Price) -> bool {
        match (self.tier, other.tier) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(part), Some(tier)) => {
                part.basis != tier.basis || (tier.from <= part.from && end_of(part) <= end_of(tier))
            }
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tier {
            None => Ok(()),
            Some(Tier { basis, from, to: Some(to), .. }) => {
                write!(f, " for a {} of {from} to {to}", basis.name())
            }
            Some(Tier { basis, from, to: None, .. }) => {
                write!(f, " for a {} above {from}", basis.name())
            }
        }
    }
}

const fn end_of(tier: Tier) -> u64 {
    match tier.to {
        Some(to) => to,
        None => u64::MAX,
    }
}

/// The parts that the tiers of other prices cut a price's own into, each of which another one covers
/// or does not meet.
pub(crate) fn parts<'a>(price: &Price, others: impl Iterator<Item = &'a Price>) -> Vec<Part> {
    let tiers: Vec<Tier> = others.filter_map(|other| other.tier).collect();
    let Some(basis) = price.tier.or(tiers.first().copied()).map(|tier| tier.basis) else {
        return vec![Part { tier: None }];
    };
    let own = price.tier.unwrap_or(Tier { basis, from: 0, to: None, mode: None });
    let mut edges = BTreeSet::from([own.from, end_of(own)]);
    for tier in tiers.into_iter().filter(|tier| tier.basis == basis) {
        edges.extend(
            [tier.from, end_of(tier)]
                .into_iter()
                .filter(|edge| own.from < *edge && *edge < end_of(own)),
        );
    }
    let edges: Vec<u64> = edges.into_iter().collect();
    let part = |pair: &[u64]| {
        let to = (pair[1] != u64::MAX).then_some(pair[1]);
        Part { tier: Some(Tier { basis, from: pair[0], to, mode: None }) }
    };
    edges.windows(2).map(part).collect()
}

/// The hole above a price's tier, of those that hold at one instant beside it: another tier begins
/// further up, and none where this one ends.
pub(crate) fn hole_above<'a>(
    price: &Price,
    beside: impl Iterator<Item = &'a Price> + Clone,
) -> Option<Part> {
    let own = price.tier?;
    let to = own.to?;
    let tiers = beside.filter_map(|other| other.tier).filter(|tier| tier.basis == own.basis);
    if tiers.clone().any(|tier| tier.from <= to && to < end_of(tier)) {
        return None;
    }
    let next = tiers.map(|tier| tier.from).filter(|from| *from > to).min()?;
    Some(Part { tier: Some(Tier { from: to, to: Some(next), ..own }) })
}

/// What of a part nothing covers, and the first instant of a time at which that is so. `own` are
/// prices of the same thing, `less_specific` what counts where they do not.
pub(crate) fn uncovered(
    part: Part,
    time: Validity,
    own: &[&Price],
    less_specific: &[&Price],
) -> Option<(i64, Part)> {
    // What is covered is so until something ends.
    let ends = own.iter().chain(less_specific).filter_map(|other| other.valid.to_ms);
    let mut instants: Vec<i64> = std::iter::once(time.from_ms).chain(ends).collect();
    instants.retain(|at_ms| time.contains(*at_ms));
    instants.sort_unstable();
    instants.into_iter().find_map(|at_ms| {
        let holds = |other: &&&Price| other.valid.contains(at_ms);
        if own.iter().filter(holds).any(|other| part.is_covered_by(other)) {
            return None;
        }
        let tiers = less_specific.iter().filter(holds).map(|other| other.tier);
        left_by(part, &tiers.collect::<Vec<_>>()).map(|left| (at_ms, left))
    })
}

/// What the tiers of less specific prices leave of a part. Together those of one basis may cover it;
/// those of another basis than its own only where they are for every number.
fn left_by(part: Part, tiers: &[Option<Tier>]) -> Option<Part> {
    let Some(tiers) = tiers.iter().copied().collect::<Option<Vec<Tier>>>() else {
        // A price without a tier is for all.
        return None;
    };
    let mut left = part;
    let bases: BTreeSet<TierBasis> = tiers.iter().map(|tier| tier.basis).collect();
    for basis in bases {
        let whole = Tier { basis, from: 0, to: None, mode: None };
        let is_own = part.tier.is_none_or(|own| own.basis == basis);
        let wanted = part.tier.filter(|_| is_own).unwrap_or(whole);
        let mut covered_to = wanted.from;
        let of_basis = || tiers.iter().copied().filter(move |tier| tier.basis == basis);
        while let Some(tier) =
            of_basis().find(|tier| tier.from <= covered_to && covered_to < end_of(*tier))
        {
            covered_to = end_of(tier);
        }
        if covered_to >= end_of(wanted) {
            return None;
        }
        if is_own {
            let begins = of_basis().map(|tier| tier.from).filter(|from| *from > covered_to).min();
            let end = begins.map_or(end_of(wanted), |begins| begins.min(end_of(wanted)));
            let to = (end != u64::MAX).then_some(end);
            left = Part { tier: Some(Tier { basis, from: covered_to, to, mode: None }) };
        }
    }
    Some(left)
}
