//! The first page: who and when, what is owed in figures and words, the contracts, signatures.

use super::canvas::{Canvas, Ink, Pen, Weight};
use super::flow::{Flow, LEFT, WIDTH};
use super::length::{Milli, points};
use super::{VALUE, draw_table};
use crate::bookkeeping::Fact;
use crate::error::DocumentError;
use crate::outline::{Outline, Party};

const TITLE: Pen = Pen::new(19_000, Weight::Bold, Ink::ACCENT);
const SUBTITLE: Pen = Pen::new(11_000, Weight::Regular, Ink::SOFT);
const STAMP: Pen = Pen::new(15_000, Weight::Bold, Ink::WARNING);
const REMARK: Pen = Pen::new(8_400, Weight::Regular, Ink::WARNING);
const NAME: Pen = Pen::new(7_200, Weight::Regular, Ink::SOFT);
const FACT: Pen = Pen::new(9_000, Weight::Regular, Ink::TEXT);
const AMOUNT: Pen = Pen::new(12_000, Weight::Bold, Ink::TEXT);
const PAYABLE: Pen = Pen::new(16_000, Weight::Bold, Ink::ACCENT);
const PARTY: Pen = Pen::new(9_000, Weight::Bold, Ink::TEXT);

/// Facts beside each other.
const FACTS_IN_A_ROW: usize = 4;
const WORDS_NAMES: Milli = points(110);
/// Room between the columns of those who sign, and between their lines.
const GAP: Milli = points(40);
const SIGNED_LINE: Milli = points(24);

pub(super) fn draw(flow: &mut Flow<'_>, outline: &Outline) -> Result<(), DocumentError> {
    title(flow, outline)?;
    for remark in &outline.remarks {
        flow.paragraph(REMARK, remark)?;
    }
    flow.y += points(8);
    facts(flow, &outline.facts)?;
    totals(flow, &outline.totals)?;
    for fact in &outline.words {
        let baseline = flow.y + FACT.size * 9 / 8;
        flow.canvas.text(NAME, LEFT + points(10), baseline, &fact.name)?;
        let sides = [LEFT + points(10) + WORDS_NAMES, LEFT + WIDTH];
        flow.paragraph_at(FACT, sides, &fact.value)?;
    }
    flow.y += points(8);
    draw_table(flow, outline, &outline.summary)?;
    if outline.parties.is_empty() {
        flow.y += points(6);
        return flow.paragraph(REMARK, &outline.no_signature);
    }
    parties(flow, &outline.parties)
}

fn title(flow: &mut Flow<'_>, outline: &Outline) -> Result<(), DocumentError> {
    let top = flow.y;
    flow.canvas.text(TITLE, LEFT, top + points(18), &outline.title)?;
    flow.canvas.text(SUBTITLE, LEFT, top + points(35), &outline.subtitle)?;
    if let Some(draft) = &outline.watermark {
        let width = flow.canvas.width(STAMP, draft) + points(24);
        let left = LEFT + WIDTH - width - points(1);
        flow.canvas.frame(Ink::WARNING, [left, top + points(6)], [width, points(26)]);
        flow.canvas.text(STAMP, left + points(12), top + points(24), draft)?;
    }
    flow.y = top + points(43);
    flow.canvas.rule(Ink::ACCENT, 1_500, [LEFT, LEFT + WIDTH], flow.y);
    flow.y += points(6);
    Ok(())
}

fn facts(flow: &mut Flow<'_>, facts: &[Fact]) -> Result<(), DocumentError> {
    let column = WIDTH / 4;
    for row in facts.chunks(FACTS_IN_A_ROW) {
        let top = flow.y;
        let mut bottom = top;
        let mut left = LEFT;
        for fact in row {
            flow.y = top;
            let sides = [left, left + column - points(10)];
            flow.paragraph_at(NAME, sides, &fact.name)?;
            flow.paragraph_at(FACT, sides, &fact.value)?;
            bottom = bottom.max(flow.y);
            left += column;
        }
        flow.y = bottom + points(4);
    }
    Ok(())
}

fn totals(flow: &mut Flow<'_>, totals: &[Fact; 3]) -> Result<(), DocumentError> {
    let height = points(44);
    flow.canvas.area(Ink::HEAD, [LEFT, flow.y], [WIDTH, height]);
    let mut left = LEFT + points(10);
    for (fact, pen) in totals.iter().zip([AMOUNT, AMOUNT, PAYABLE]) {
        flow.canvas.text(NAME, left, flow.y + points(14), &fact.name)?;
        flow.canvas.text(pen, left, flow.y + points(33), &fact.value)?;
        let width = flow.canvas.width(pen, &fact.value).max(flow.canvas.width(NAME, &fact.name));
        left += width + points(36);
    }
    flow.y += height + points(4);
    Ok(())
}

fn parties(flow: &mut Flow<'_>, parties: &[Party]) -> Result<(), DocumentError> {
    let lines = parties.iter().map(|party| party.lines.len()).max().unwrap_or(0);
    let lines = Milli::try_from(lines).unwrap_or(0);
    let height = points(36) + SIGNED_LINE * lines;
    flow.y += points(10);
    flow.keep(height)?;
    let count = Milli::try_from(parties.len()).unwrap_or(1).max(1);
    let column = (WIDTH - GAP * (count - 1)) / count;
    let mut left = LEFT;
    for party in parties {
        sign(&mut flow.canvas, party, [left, left + column], flow.y)?;
        left += column + GAP;
    }
    flow.y += height;
    Ok(())
}

fn sign(
    canvas: &mut Canvas<'_>,
    party: &Party,
    [left, right]: [Milli; 2],
    top: Milli,
) -> Result<(), DocumentError> {
    let mut y = top + points(12);
    canvas.text(PARTY, left, y, &party.name)?;
    for line in &party.lines {
        y += SIGNED_LINE;
        canvas.text(VALUE, left, y - points(3), line)?;
        canvas.rule(Ink::SOFT, 500, [left, right], y);
    }
    canvas.text_to(NAME, right, y + points(14), &party.seal)
}
