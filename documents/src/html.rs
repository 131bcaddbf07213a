//! A statement as one page of HTML that needs nothing else: no script, no font, no picture from
//! outside. Printed, it is A4 with page numbers and heads that repeat.

use tally_settlement::escape_into;

use crate::bookkeeping::Fact;
use crate::error::DocumentError;
use crate::issue::Issue;
use crate::labels::PAGE;
use crate::outline::{Outline, Part, Party};
use crate::table::{Cell, Row, RowKind, Table};

const STYLE: &str = include_str!("statement.css");

/// Writes a statement.
///
/// # Errors
/// `Overflow` for sums beyond 128 bits; else never in a build whose tests pass.
pub fn statement_html(issue: &Issue<'_>) -> Result<Vec<u8>, DocumentError> {
    Ok(page(&Outline::of(issue)?))
}

/// Writes what is on the pages.
pub(crate) fn page(outline: &Outline) -> Vec<u8> {
    let mut page = Page(String::new());
    page.head(outline);
    page.first_page(outline);
    for part in &outline.parts {
        page.part(part);
    }
    page.put("<section>\n");
    page.element("h2", "", &outline.basis_heading);
    page.facts("basis", &outline.basis);
    page.put("</section>\n</main>\n</body>\n</html>\n");
    page.0.into_bytes()
}

struct Page(String);

impl Page {
    fn put(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// An element with a text and nothing else in it.
    fn element(&mut self, tag: &str, class: &str, text: &str) {
        self.open(tag, class);
        escape_into(&mut self.0, text);
        self.put(&format!("</{tag}>\n"));
    }

    fn open(&mut self, tag: &str, class: &str) {
        match class {
            "" => self.put(&format!("<{tag}>")),
            class => self.put(&format!("<{tag} class=\"{class}\">")),
        }
    }

    fn head(&mut self, outline: &Outline) {
        let lang = outline.language.of(("zh-CN", "en"));
        self.put(&format!("<!doctype html>\n<html lang=\"{lang}\">\n<head>\n"));
        self.put("<meta charset=\"utf-8\">\n");
        self.put("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        self.element("title", "", &format!("{} {}", outline.title, outline.subtitle));
        self.put("<style>\n");
        self.put(STYLE);
        self.put(&margin_boxes(outline));
        self.put("</style>\n</head>\n<body>\n");
        if let Some(watermark) = &outline.watermark {
            self.put("<div class=\"watermark\" aria-hidden=\"true\">");
            self.element("span", "", watermark);
            self.put("</div>\n");
        }
        self.put("<main>\n");
    }

    fn first_page(&mut self, outline: &Outline) {
        self.put("<header>\n");
        self.element("h1", "", &outline.title);
        self.element("p", "subtitle", &outline.subtitle);
        if let Some(watermark) = &outline.watermark {
            self.element("p", "draft", watermark);
        }
        self.put("</header>\n");
        for remark in &outline.remarks {
            self.element("p", "remark", remark);
        }
        self.facts("facts", &outline.facts);
        self.put("<div class=\"totals\">\n");
        for total in &outline.totals {
            self.put("<div>");
            self.element("span", "name", &total.name);
            self.element("strong", "", &total.value);
            self.put("</div>\n");
        }
        self.put("</div>\n");
        self.facts("words", &outline.words);
        self.table(&outline.summary);
        self.put("<div class=\"parties\">\n");
        for party in &outline.parties {
            self.party(party);
        }
        if outline.parties.is_empty() {
            self.element("p", "unsigned", &outline.no_signature);
        }
        self.put("</div>\n");
    }

    fn facts(&mut self, class: &str, facts: &[Fact]) {
        self.open("dl", class);
        self.put("\n");
        for fact in facts {
            self.put("<div>");
            self.element("dt", "", &fact.name);
            self.element("dd", "", &fact.value);
            self.put("</div>\n");
        }
        self.put("</dl>\n");
    }

    fn party(&mut self, party: &Party) {
        self.put("<div class=\"party\">\n");
        self.element("p", "name", &party.name);
        for line in &party.lines {
            self.put("<p class=\"line\">");
            self.element("span", "", line);
            self.put("</p>\n");
        }
        self.element("p", "seal", &party.seal);
        self.put("</div>\n");
    }

    fn part(&mut self, part: &Part) {
        self.put("<section>\n");
        self.element("h2", "", &part.heading);
        if !part.lead.is_empty() {
            self.element("p", "lead", &part.lead);
        }
        for table in &part.tables {
            self.table(table);
        }
        self.put("</section>\n");
    }

    fn table(&mut self, table: &Table) {
        if !table.title.is_empty() {
            self.element("h3", "", &table.title);
        }
        self.put("<table>\n<thead><tr>");
        for column in &table.columns {
            self.element("th", if column.numeric { "n" } else { "" }, &column.title);
        }
        self.put("</tr></thead>\n<tbody>\n");
        for row in &table.rows {
            self.row(table, row);
        }
        self.put("</tbody>\n</table>\n");
    }

    fn row(&mut self, table: &Table, row: &Row) {
        self.open(
            "tr",
            match row.kind {
                RowKind::Body => "",
                RowKind::Subtotal => "subtotal",
                RowKind::Total => "total",
            },
        );
        for (column, cell) in table.columns.iter().zip(&row.cells) {
            self.cell(cell, column.numeric);
        }
        self.put("</tr>\n");
    }

    fn cell(&mut self, Cell { value, below }: &Cell, numeric: bool) {
        let shown = value.shown();
        self.open("td", if numeric { "n" } else { "" });
        escape_into(&mut self.0, &shown);
        if !below.is_empty() {
            self.put("<small>");
            escape_into(&mut self.0, below);
            self.put("</small>");
        }
        self.put("</td>");
    }
}

/// What print puts at the foot of each page.
fn margin_boxes(outline: &Outline) -> String {
    let [before, between, after] = PAGE.map(|label| css_string(outline.language.of(label)));
    format!(
        "@page{{@bottom-left{{content:{}}}\
         @bottom-right{{content:{before} counter(page) {between} counter(pages) {after}}}}}\n",
        css_string(&outline.footer)
    )
}

/// A text as a string of CSS: whatever is not a letter or digit of ASCII goes by its number, so
/// that no text can end the string or the style element.
fn css_string(text: &str) -> String {
    let mut string = "\"".to_owned();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            string.push(character);
        } else {
            string.push_str(&format!("\\{:06x}", u32::from(character)));
        }
    }
    string.push('"');
    string
}
