//! What of a price's tier other prices cover: the parts that they cut it into, and holes between
//! tiers.

use std::collections::BTreeSet;

use crate::price::{Price, Tier};

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
/// further up, and none where this one ends. What is less specific may fill it.
pub(crate) fn hole_above<'a>(
    price: &Price,
    beside: impl Iterator<Item = &'a Price> + Clone,
    mut less_specific: impl Iterator<Item = &'a Price>,
) -> Option<Part> {
    let own = price.tier?;
    let to = own.to?;
    let tiers = beside.filter_map(|other| other.tier).filter(|tier| tier.basis == own.basis);
    if tiers.clone().any(|tier| tier.from <= to && to < end_of(tier)) {
        return None;
    }
    let next = tiers.map(|tier| tier.from).filter(|from| *from > to).min()?;
    let hole = Part { tier: Some(Tier { from: to, to: Some(next), ..own }) };
    (!less_specific.any(|other| hole.is_covered_by(other))).then_some(hole)
}
