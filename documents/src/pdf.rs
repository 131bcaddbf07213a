//! A statement on A4 pages, with the glyphs that it needs embedded: heads repeat, sums are carried
//! to the next page, every page says which of how many it is. Nothing in the file is of the time
//! or by chance: the same statement and font give the same bytes.

mod canvas;
mod first_page;
mod flow;
mod font;
mod grid;
mod length;
mod paragraph;
mod typeface;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use self::canvas::{Canvas, Description, Ink, Pen, Weight};
use self::flow::{Flow, LEFT, WIDTH};
use self::length::{Milli, points};
use self::typeface::Typeface;
use crate::bookkeeping::Fact;
use crate::error::DocumentError;
use crate::issue::Issue;
use crate::labels;
use crate::outline::{Outline, Part};
use crate::table::Table;

const HEADING: Pen = Pen::new(11_000, Weight::Bold, Ink::ACCENT);
const LEAD: Pen = Pen::new(7_600, Weight::Regular, Ink::SOFT);
const TITLE: Pen = Pen::new(8_600, Weight::Bold, Ink::TEXT);
const NAME: Pen = Pen::new(7_600, Weight::Regular, Ink::SOFT);
const VALUE: Pen = Pen::new(7_600, Weight::Regular, Ink::TEXT);
/// The column of names beside values.
const NAMES: Milli = points(150);

/// Writes a statement. The font is the file that is named, else one of the machine that has every
/// character of the statement.
///
/// # Errors
/// `NoFont`, `FontLacks` or `BadFont` where no font has what is needed; `Overflow` for sums beyond
/// 128 bits.
pub fn statement_pdf(issue: &Issue<'_>, font: Option<&Path>) -> Result<Vec<u8>, DocumentError> {
    pages(&Outline::of(issue)?, font)
}

/// Draws what is on the pages.
///
/// # Errors
/// As [`statement_pdf`].
pub(crate) fn pages(outline: &Outline, font: Option<&Path>) -> Result<Vec<u8>, DocumentError> {
    let typeface = Typeface::find(&characters(outline), font)?;
    let canvas = Canvas::new(&typeface, outline.watermark.clone())?;
    let mut flow = Flow::new(canvas, outline);
    first_page::draw(&mut flow, outline)?;
    for part in &outline.parts {
        draw_part(&mut flow, outline, part)?;
    }
    heading(&mut flow, &outline.basis_heading, points(70))?;
    for fact in &outline.basis {
        draw_fact(&mut flow, fact)?;
    }
    let canvas = flow.finish(outline)?;
    let title = format!("{} {}", outline.title, outline.subtitle);
    let language = outline.language.of(("zh-CN", "en"));
    canvas.finish(Description { title: &title, language })
}

fn draw_part(flow: &mut Flow<'_>, outline: &Outline, part: &Part) -> Result<(), DocumentError> {
    let first = part.tables.first().map_or(0, |table| grid::kept_height(&flow.canvas, table));
    heading(flow, &part.heading, first + points(30))?;
    if !part.lead.is_empty() {
        flow.paragraph(LEAD, &part.lead)?;
        flow.y += points(2);
    }
    for table in &part.tables {
        draw_table(flow, outline, table)?;
    }
    Ok(())
}

/// A heading, on the next page where what comes below it would not fit.
fn heading(flow: &mut Flow<'_>, text: &str, below: Milli) -> Result<(), DocumentError> {
    flow.y += points(14);
    flow.keep(HEADING.size * 2 + below)?;
    flow.paragraph(HEADING, text)
}

fn draw_table(flow: &mut Flow<'_>, outline: &Outline, table: &Table) -> Result<(), DocumentError> {
    if !table.title.is_empty() {
        flow.y += points(4);
        flow.keep(grid::kept_height(&flow.canvas, table) + points(20))?;
        flow.paragraph(TITLE, &table.title)?;
    }
    flow.y += points(2);
    grid::draw(flow, table, outline.language)?;
    flow.y += points(6);
    Ok(())
}

fn draw_fact(flow: &mut Flow<'_>, fact: &Fact) -> Result<(), DocumentError> {
    flow.keep(NAME.size * 2)?;
    let baseline = flow.y + NAME.size * 9 / 8;
    flow.canvas.text(NAME, LEFT, baseline, &fact.name)?;
    let before = flow.y;
    flow.paragraph_at(VALUE, [LEFT + NAMES, LEFT + WIDTH], &fact.value)?;
    if flow.y == before {
        flow.y += NAME.size * 3 / 2;
    }
    Ok(())
}

/// Every character of the pages.
fn characters(outline: &Outline) -> BTreeSet<char> {
    let mut texts: Vec<&str> = vec![
        &outline.title,
        &outline.subtitle,
        &outline.no_signature,
        &outline.basis_heading,
        &outline.footer,
        // Page numbers and sums that are carried.
        "0123456789-,. ",
    ];
    texts.extend(labels::PAGE.map(|label| outline.language.of(label)));
    texts.extend([labels::CARRIED, labels::BROUGHT].map(|label| outline.language.of(label)));
    texts.extend(outline.watermark.iter().chain(&outline.remarks).map(String::as_str));
    let facts = outline.facts.iter().chain(&outline.totals).chain(&outline.words);
    for Fact { name, value } in facts.chain(&outline.basis) {
        texts.extend([name.as_str(), value]);
    }
    for party in &outline.parties {
        texts.extend([party.name.as_str(), &party.seal]);
        texts.extend(party.lines.iter().map(String::as_str));
    }
    let mut tables = vec![&outline.summary];
    for part in &outline.parts {
        texts.extend([part.heading.as_str(), &part.lead]);
        tables.extend(&part.tables);
    }
    let mut characters: BTreeSet<char> = BTreeSet::new();
    for table in tables {
        texts.push(&table.title);
        texts.extend(table.columns.iter().map(|column| column.title.as_str()));
        for cell in table.rows.iter().flat_map(|row| &row.cells) {
            characters.extend(cell.value.shown().chars());
            texts.push(&cell.below);
        }
    }
    characters.extend(texts.into_iter().flat_map(str::chars));
    characters
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.map_err(|error| DocumentError::Format(error.to_string()))
}
