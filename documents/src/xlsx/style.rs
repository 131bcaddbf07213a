//! How cells of a workbook look.

use rust_xlsxwriter::{Color, Format, FormatAlign, FormatBorder};
use tally_settlement::Language;

const INK: Color = Color::RGB(0x17_20_2B);
const GREY: Color = Color::RGB(0x59_66_75);
const BLUE: Color = Color::RGB(0x1F_4E_79);
const RED: Color = Color::RGB(0xA8_32_2A);
const SHADE: Color = Color::RGB(0xEE_F2_F6);

const AMOUNT: &str = "#,##0.00;[Red]\\-#,##0.00";
const COUNT: &str = "#,##0";
const PRICE: &str = "#,##0.00####";
/// The format's own number for a text, also where it looks like a number.
const TEXT: u8 = 49;

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Title,
    Draft,
    Name,
    Head,
    HeadRight,
    Right,
    Amount,
    Count,
    Price,
    Bold,
    BoldAmount,
    BoldRight,
}

impl Style {
    /// In the order of the variants.
    const ALL: [Self; 13] = [
        Self::Plain,
        Self::Title,
        Self::Draft,
        Self::Name,
        Self::Head,
        Self::HeadRight,
        Self::Right,
        Self::Amount,
        Self::Count,
        Self::Price,
        Self::Bold,
        Self::BoldAmount,
        Self::BoldRight,
    ];

    /// The same look for a row that sums others up.
    pub(super) const fn bold(self) -> Self {
        match self {
            Self::Plain => Self::Bold,
            Self::Amount => Self::BoldAmount,
            Self::Right => Self::BoldRight,
            other => other,
        }
    }

    fn format(self, font: &str) -> Format {
        let plain = Format::new().set_font_name(font).set_font_size(10).set_font_color(INK);
        match self {
            Self::Plain => plain,
            Self::Title => plain.set_bold().set_font_size(16).set_font_color(BLUE),
            Self::Draft => plain.set_bold().set_font_size(12).set_font_color(RED),
            Self::Name => plain.set_font_color(GREY),
            Self::Head => plain
                .set_bold()
                .set_background_color(SHADE)
                .set_border_bottom(FormatBorder::Thin)
                .set_border_bottom_color(GREY)
                .set_align(FormatAlign::VerticalCenter)
                .set_text_wrap(),
            Self::HeadRight => Self::Head.format(font).set_align(FormatAlign::Right),
            Self::Right => plain.set_num_format_index(TEXT).set_align(FormatAlign::Right),
            Self::Amount => plain.set_num_format(AMOUNT),
            Self::Count => plain.set_num_format(COUNT),
            Self::Price => plain.set_num_format(PRICE),
            Self::Bold => summed(plain),
            Self::BoldAmount => summed(Self::Amount.format(font)),
            Self::BoldRight => summed(Self::Right.format(font)),
        }
    }
}

/// A thin line above and a double one below: a sum, as books are kept.
fn summed(format: Format) -> Format {
    format
        .set_bold()
        .set_border_top(FormatBorder::Thin)
        .set_border_top_color(INK)
        .set_border_bottom(FormatBorder::Double)
        .set_border_bottom_color(INK)
}

/// Every style in the font of a language.
#[derive(Debug)]
pub(super) struct Looks([Format; Style::ALL.len()]);

impl Looks {
    pub(super) fn of(language: Language) -> Self {
        let font = language.of(("Microsoft YaHei", "Calibri"));
        Self(Style::ALL.map(|style| style.format(font)))
    }

    pub(super) const fn get(&self, style: Style) -> &Format {
        &self.0[style as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_has_a_look_of_its_own() {
        let looks = Looks::of(Language::Zh);
        for (place, style) in Style::ALL.into_iter().enumerate() {
            assert_eq!(style as usize, place, "{style:?}");
            let same = Style::ALL.iter().filter(|other| looks.get(**other) == looks.get(style));
            assert_eq!(same.count(), 1, "{style:?}");
        }
    }
}
