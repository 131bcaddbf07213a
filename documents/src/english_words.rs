//! Amounts in English words, as on cheques: `CNY one thousand four hundred nine and 50/100`.

use tally_settlement::Cents;

const BELOW_TWENTY: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
/// Up to what fits 128 bits.
const THOUSANDS: [&str; 13] = [
    "",
    "thousand",
    "million",
    "billion",
    "trillion",
    "quadrillion",
    "quintillion",
    "sextillion",
    "septillion",
    "octillion",
    "nonillion",
    "decillion",
    "undecillion",
];

fn word(words: &[&'static str], at: u128) -> &'static str {
    usize::try_from(at).ok().and_then(|at| words.get(at)).copied().unwrap_or_default()
}

/// A number from 1 to 999.
fn below_thousand(number: u128, out: &mut Vec<String>) {
    if number >= 100 {
        out.push(format!("{} hundred", word(&BELOW_TWENTY, number / 100)));
    }
    match number % 100 {
        0 => {}
        rest if rest < 20 => out.push(word(&BELOW_TWENTY, rest).to_owned()),
        rest if rest % 10 == 0 => out.push(word(&TENS, rest / 10).to_owned()),
        rest => {
            out.push(format!("{}-{}", word(&TENS, rest / 10), word(&BELOW_TWENTY, rest % 10)));
        }
    }
}

/// An amount in words, with the code of its currency in front.
pub(crate) fn amount_in_english(amount: Cents, currency: &str) -> String {
    let cents = amount.0.unsigned_abs();
    let (mut whole, hundredths) = (cents / 100, cents % 100);
    let mut groups = Vec::new();
    while whole > 0 {
        groups.push(whole % 1_000);
        whole /= 1_000;
    }
    let mut words = Vec::new();
    for (power, group) in groups.into_iter().enumerate().rev() {
        if group > 0 {
            below_thousand(group, &mut words);
            words.extend(THOUSANDS.get(power).filter(|name| !name.is_empty()).map(|n| (*n).into()));
        }
    }
    if words.is_empty() {
        words.push("zero".to_owned());
    }
    let sign = if amount.0 < 0 { "minus " } else { "" };
    format!("{currency} {sign}{} and {hundredths:02}/100", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pairs() {
        for (cents, words) in [
            (0, "CNY zero and 00/100"),
            (5, "CNY zero and 05/100"),
            (140_950, "CNY one thousand four hundred nine and 50/100"),
            (-20_000, "CNY minus two hundred and 00/100"),
            (2_100, "CNY twenty-one and 00/100"),
            (1_340_000, "CNY thirteen thousand four hundred and 00/100"),
            (100_000_100_000_000, "CNY one trillion one million and 00/100"),
            (
                999_999_999,
                "CNY nine million nine hundred ninety-nine thousand nine hundred ninety-nine and 99/100",
            ),
        ] {
            assert_eq!(amount_in_english(Cents(cents), "CNY"), words);
        }
        let largest = amount_in_english(Cents(i128::MAX), "CNY");
        assert!(largest.contains("one undecillion seven hundred one decillion"), "{largest}");
    }
}
