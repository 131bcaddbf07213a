//! Words of which there are so few that their numbers need not be looked up by text.

use tally_schemas::Currency;

use crate::core::interner::{ABSENT, Interner};

/// Words by their places, as the variants of an enum have them, with their numbers among the names.
#[derive(Debug, Clone)]
pub(crate) struct FewWords([u32; 16]);

impl Default for FewWords {
    fn default() -> Self {
        Self([ABSENT; 16])
    }
}

impl FewWords {
    /// The number of the word at a place.
    pub(crate) fn number(&mut self, place: usize, word: &str, names: &mut Interner) -> u32 {
        let Some(known) = self.0.get_mut(place) else { return names.intern_recurring(word) };
        if *known == ABSENT {
            *known = names.intern(word);
        }
        *known
    }
}

/// The currency of the row before, which mostly is that of the next one too, with its number among
/// the names.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastCurrency(Option<(Currency, u32)>);

impl LastCurrency {
    /// The number of a currency; [`ABSENT`] where there is none.
    pub(crate) fn number(&mut self, currency: Option<Currency>, names: &mut Interner) -> u32 {
        let Some(currency) = currency else { return ABSENT };
        match self.0 {
            Some((known, number)) if known == currency => number,
            _ => {
                let number = names.intern_recurring(currency.code());
                self.0 = Some((currency, number));
                number
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_numbers_of_their_texts() {
        let mut names = Interner::default();
        let (mut words, mut currency) = (FewWords::default(), LastCurrency::default());
        let [cny, usd] = ["CNY", "USD"].map(|code| Currency::parse(code).unwrap());
        for _ in 0..2 {
            for (place, word) in [(0, "a"), (15, "b"), (16, "beyond"), (0, "a")] {
                assert_eq!(words.number(place, word, &mut names), names.intern(word));
            }
            for code in [cny, cny, usd, cny] {
                let number = currency.number(Some(code), &mut names);
                assert_eq!(number, names.intern(code.code()));
            }
            assert_eq!(currency.number(None, &mut names), ABSENT);
        }
    }
}
