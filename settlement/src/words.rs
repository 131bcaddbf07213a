//! Amounts in words on Chinese documents (大写金额), by the People's Bank's rules for filling in
//! payment vouchers: 整 after 元 where nothing follows, none after 角 or 分; one 零 for any run of
//! zeros within the number; 零 between 元 and 角 where the number of 元 ends in 0; 零 before 分
//! where there is no 角. Where the rules leave a choice, their first example is followed.

use crate::decimal::Cents;

const DIGITS: [&str; 10] = ["零", "壹", "贰", "叁", "肆", "伍", "陆", "柒", "捌", "玖"];
const TEN_THOUSAND: u128 = 10_000;
const HUNDRED_MILLION: u128 = 100_000_000;

/// The digit of a number below ten.
fn digit(number: u128) -> &'static str {
    usize::try_from(number).ok().and_then(|number| DIGITS.get(number)).copied().unwrap_or("零")
}

/// A number from 1 on, without a unit at its end.
fn number(value: u128, out: &mut String) {
    for (unit, name) in [(HUNDRED_MILLION, "亿"), (TEN_THOUSAND, "万")] {
        if value >= unit {
            let (above, below) = (value / unit, value % unit);
            number(above, out);
            out.push_str(name);
            if below > 0 {
                if below < unit / 10 {
                    out.push('零');
                }
                number(below, out);
            }
            return;
        }
    }
    below_ten_thousand(value, out);
}

fn below_ten_thousand(value: u128, out: &mut String) {
    let mut zero = false;
    let mut begun = false;
    for (unit, name) in [(1_000, "仟"), (100, "佰"), (10, "拾"), (1, "")] {
        let place = value / unit % 10;
        if place == 0 {
            zero = begun;
            continue;
        }
        if zero {
            out.push('零');
            zero = false;
        }
        out.push_str(digit(place));
        out.push_str(name);
        begun = true;
    }
}

/// An amount in words, with the currency in front: `人民币壹仟肆佰零玖元伍角`. A currency without a
/// Chinese name here goes by its code.
pub fn amount_in_words(amount: Cents, currency: tally_schemas::Currency) -> String {
    let mut out = match currency.code() {
        "CNY" => "人民币",
        "USD" => "美元",
        "EUR" => "欧元",
        "HKD" => "港元",
        code => code,
    }
    .to_owned();
    if amount.0 < 0 {
        out.push('负');
    }
    let cents = amount.0.unsigned_abs();
    let (whole, tenths, hundredths) = (cents / 100, cents / 10 % 10, cents % 10);
    if whole > 0 {
        number(whole, &mut out);
        out.push('元');
    }
    match (tenths, hundredths) {
        (0, 0) if whole == 0 => out.push_str("零元整"),
        (0, 0) => out.push('整'),
        (0, hundredths) => {
            if whole > 0 {
                out.push('零');
            }
            out.push_str(digit(hundredths));
            out.push('分');
        }
        (tenths, hundredths) => {
            if whole > 0 && whole % 10 == 0 {
                out.push('零');
            }
            out.push_str(digit(tenths));
            out.push('角');
            if hundredths > 0 {
                out.push_str(digit(hundredths));
                out.push('分');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tally_schemas::Currency;

    use super::*;

    /// The first six are the examples of the People's Bank's rules.
    #[test]
    fn known_pairs() {
        for (cents, words) in [
            (140_950, "壹仟肆佰零玖元伍角"),
            (600_714, "陆仟零柒元壹角肆分"),
            (168_032, "壹仟陆佰捌拾元零叁角贰分"),
            (10_700_053, "壹拾万柒仟元零伍角叁分"),
            (1_640_902, "壹万陆仟肆佰零玖元零贰分"),
            (32_504, "叁佰贰拾伍元零肆分"),
            (0, "零元整"),
            (1, "壹分"),
            (5, "伍分"),
            (10, "壹角"),
            (12, "壹角贰分"),
            (99, "玖角玖分"),
            (100, "壹元整"),
            (101, "壹元零壹分"),
            (110, "壹元壹角"),
            (1_000, "壹拾元整"),
            (1_001, "壹拾元零壹分"),
            (1_010, "壹拾元零壹角"),
            (1_100, "壹拾壹元整"),
            (10_000, "壹佰元整"),
            (10_100, "壹佰零壹元整"),
            (11_000, "壹佰壹拾元整"),
            (100_000, "壹仟元整"),
            (100_100, "壹仟零壹元整"),
            (101_000, "壹仟零壹拾元整"),
            (110_000, "壹仟壹佰元整"),
            (1_000_000, "壹万元整"),
            (1_000_100, "壹万零壹元整"),
            (1_001_000, "壹万零壹拾元整"),
            (1_010_000, "壹万零壹佰元整"),
            (1_100_000, "壹万壹仟元整"),
            (10_000_000, "壹拾万元整"),
            (10_000_500, "壹拾万零伍元整"),
            (100_000_000, "壹佰万元整"),
            (100_100_000, "壹佰万壹仟元整"),
            (101_000_000, "壹佰零壹万元整"),
            (1_000_000_000, "壹仟万元整"),
            (1_010_000_000, "壹仟零壹拾万元整"),
            (10_000_000_000, "壹亿元整"),
            (10_000_000_100, "壹亿零壹元整"),
            (10_000_100_000, "壹亿零壹仟元整"),
            (10_001_000_000, "壹亿零壹万元整"),
            (10_010_000_000, "壹亿零壹拾万元整"),
            (11_000_000_000, "壹亿壹仟万元整"),
            (100_000_000_000_000, "壹万亿元整"),
            (100_000_000_000_001, "壹万亿元零壹分"),
            (123_456_789_012_345, "壹万贰仟叁佰肆拾伍亿陆仟柒佰捌拾玖万零壹佰贰拾叁元肆角伍分"),
            (-20_000, "负贰佰元整"),
            (-1, "负壹分"),
            (-140_950, "负壹仟肆佰零玖元伍角"),
        ] {
            let written = amount_in_words(Cents(cents), Currency::CNY);
            assert_eq!(written, format!("人民币{words}"), "{cents}");
        }
        let dollars = Currency::parse("USD").unwrap();
        assert_eq!(amount_in_words(Cents(250), dollars), "美元贰元伍角");
    }
}
