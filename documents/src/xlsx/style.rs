//! How cells of a workbook look.

use tally_settlement::Language;

/// How a cell looks; the number is its place in [`styles_xml`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain = 0,
    Title = 1,
    Draft = 2,
    Name = 3,
    Head = 4,
    HeadRight = 5,
    Right = 6,
    Amount = 7,
    Count = 8,
    Price = 9,
    Bold = 10,
    BoldAmount = 11,
    BoldRight = 12,
}

impl Style {
    /// The same look for a row that sums others up.
    pub(super) const fn bold(self) -> Self {
        match self {
            Self::Plain => Self::Bold,
            Self::Amount => Self::BoldAmount,
            Self::Right => Self::BoldRight,
            other => other,
        }
    }
}

/// Number format, font, fill, border and alignment of each style, in their order.
const LOOKS: [(u16, u8, u8, u8, &str); 13] = [
    (0, 0, 0, 0, ""),
    (0, 2, 0, 0, ""),
    (0, 3, 0, 0, ""),
    (0, 4, 0, 0, ""),
    (0, 1, 2, 1, "vertical=\"center\" wrapText=\"1\""),
    (0, 1, 2, 1, "horizontal=\"right\" vertical=\"center\" wrapText=\"1\""),
    (49, 0, 0, 0, "horizontal=\"right\""),
    (164, 0, 0, 0, ""),
    (165, 0, 0, 0, ""),
    (166, 0, 0, 0, ""),
    (0, 1, 0, 2, ""),
    (164, 1, 0, 2, ""),
    (49, 1, 0, 2, "horizontal=\"right\""),
];

/// The part of the workbook that describes every style.
pub(super) fn styles_xml(language: Language) -> String {
    let font = language.of(("Microsoft YaHei", "Calibri"));
    let fonts: String = [
        (10, "", "FF17202B"),
        (10, "<b/>", "FF17202B"),
        (16, "<b/>", "FF1F4E79"),
        (12, "<b/>", "FFA8322A"),
        (10, "", "FF596675"),
    ]
    .iter()
    .map(|(size, weight, color)| {
        format!(
            "<font>{weight}<sz val=\"{size}\"/><color rgb=\"{color}\"/><name val=\"{font}\"/></font>"
        )
    })
    .collect();
    let looks: String = LOOKS
        .iter()
        .map(|(format, font, fill, border, alignment)| {
            let alignment = match *alignment {
                "" => String::new(),
                alignment => format!("<alignment {alignment}/>"),
            };
            format!(
                "<xf numFmtId=\"{format}\" fontId=\"{font}\" fillId=\"{fill}\" borderId=\"{border}\" \
                 xfId=\"0\" applyNumberFormat=\"1\" applyFont=\"1\" applyFill=\"1\" \
                 applyBorder=\"1\" applyAlignment=\"1\">{alignment}</xf>"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n\
         <styleSheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\">\
         <numFmts count=\"3\">\
         <numFmt numFmtId=\"164\" formatCode=\"#,##0.00;[Red]\\-#,##0.00\"/>\
         <numFmt numFmtId=\"165\" formatCode=\"#,##0\"/>\
         <numFmt numFmtId=\"166\" formatCode=\"#,##0.00####\"/></numFmts>\
         <fonts count=\"5\">{fonts}</fonts>\
         <fills count=\"3\"><fill><patternFill patternType=\"none\"/></fill>\
         <fill><patternFill patternType=\"gray125\"/></fill>\
         <fill><patternFill patternType=\"solid\"><fgColor rgb=\"FFEEF2F6\"/>\
         <bgColor indexed=\"64\"/></patternFill></fill></fills>\
         <borders count=\"3\">\
         <border><left/><right/><top/><bottom/><diagonal/></border>\
         <border><left/><right/><top/><bottom style=\"thin\"><color rgb=\"FF596675\"/></bottom>\
         <diagonal/></border>\
         <border><left/><right/><top style=\"thin\"><color rgb=\"FF17202B\"/></top>\
         <bottom style=\"double\"><color rgb=\"FF17202B\"/></bottom><diagonal/></border></borders>\
         <cellStyleXfs count=\"1\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\"/>\
         </cellStyleXfs>\
         <cellXfs count=\"{}\">{looks}</cellXfs>\
         <cellStyles count=\"1\"><cellStyle name=\"Normal\" xfId=\"0\" builtinId=\"0\"/></cellStyles>\
         </styleSheet>",
        LOOKS.len()
    )
}
