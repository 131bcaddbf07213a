//! Who consumes: accounts by Zipf-Mandelbrot, their region, members and favourite models.

use crate::catalogue::{MODELS, Model};
use crate::distribution::Weighted;
use crate::draws::{Draws, below, mix, words_of};
use crate::gateways::REGIONS;

/// Spreads ranks over account numbers, so that heavy accounts are not neighbours. A prime above
/// every possible number of accounts, hence without a common factor.
const SPREAD: u64 = 4_294_967_291;

/// The accounts of a run. What belongs to one is derived from its number and the seed.
#[derive(Debug, Clone)]
pub(crate) struct Accounts {
    seed: u64,
    count: u64,
    ranks: Weighted,
    models: Weighted,
    regions: Weighted,
}

/// One account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) number: u64,
    mixed: u64,
}

impl Accounts {
    pub(crate) fn new(seed: u64, count: u32) -> Self {
        let popularity: Vec<u64> = (0..MODELS.len())
            .map(|rank| 1_000_000 / (u64::try_from(rank).unwrap_or(0) + 2))
            .collect();
        let regions: Vec<u64> = (0..REGIONS.len())
            .map(|rank| 1_000_000 / (u64::try_from(rank).unwrap_or(0) + 3))
            .collect();
        Self {
            seed,
            count: u64::from(count.max(1)),
            ranks: Weighted::zipf_mandelbrot(count),
            models: Weighted::new(&popularity),
            regions: Weighted::new(&regions),
        }
    }

    /// The account of an event.
    pub(crate) fn pick(&self, draws: &mut Draws) -> Account {
        let rank = self.ranks.pick(draws.word(), draws.word());
        let number = (u64::from(rank) * SPREAD + self.seed % self.count) % self.count;
        Account { number, mixed: mix(number ^ self.seed.rotate_left(32)) }
    }

    /// One of the account's three favourite models: 70 %, 20 %, 10 %.
    pub(crate) fn model(&self, account: Account, draws: &mut Draws) -> &'static Model {
        let favourite = match draws.below(10) {
            0..7 => 1_u64,
            7..9 => 2,
            _ => 3,
        };
        let (column, coin) = words_of(mix(account.mixed ^ favourite));
        let position = usize::try_from(self.models.pick(column, coin)).unwrap_or(0);
        &MODELS[position]
    }

    /// Position of the account's home region in [`REGIONS`].
    pub(crate) fn region(&self, account: Account) -> usize {
        let (column, coin) = words_of(mix(account.mixed ^ 0x4e61));
        usize::try_from(self.regions.pick(column, coin)).unwrap_or(0)
    }
}

impl Account {
    /// Opaque id.
    pub(crate) fn id(self) -> String {
        format!("A{:09}", self.number)
    }

    /// Who consumed: most accounts are one person; one in eight is a family of up to five, one in
    /// five hundred an enterprise of two hundred members. `None` where it is the account itself.
    pub(crate) fn subscriber(self, draws: &mut Draws) -> Option<String> {
        let word = draws.word();
        let members = match self.mixed % 1_000 {
            0..2 => 200,
            2..127 => 2 + u32::try_from(self.mixed >> 60).unwrap_or(0) % 4,
            127..327 => return None,
            _ => 1,
        };
        let member = below(word, members);
        if members == 1 {
            Some(format!("S{:09}", self.number))
        } else {
            Some(format!("S{:09}-{member:03}", self.number))
        }
    }
}
