//! Where on which page comes what is next.

use super::canvas::{Canvas, Ink, PAGE_HEIGHT, PAGE_WIDTH, Pen, Weight};
use super::length::{Milli, points};
use super::paragraph::broken;
use crate::error::DocumentError;
use crate::labels::PAGE;
use crate::outline::Outline;

/// The left edge of what is on a page.
pub(super) const LEFT: Milli = points(34);
/// Its width.
pub(super) const WIDTH: Milli = PAGE_WIDTH - 2 * LEFT;

const TOP: Milli = points(34);
/// The top of every page but the first, below what says of which statement it is.
const TOP_BELOW_HEAD: Milli = points(46);
const BOTTOM: Milli = PAGE_HEIGHT - points(40);
const SMALL: Pen = Pen::new(7_000, Weight::Regular, Ink::SOFT);

/// What is drawn, and how far down the last page it reaches.
pub(super) struct Flow<'a> {
    pub(super) canvas: Canvas<'a>,
    pub(super) y: Milli,
    /// What is at the top of every page but the first.
    head: String,
}

impl<'a> Flow<'a> {
    pub(super) fn new(canvas: Canvas<'a>, outline: &Outline) -> Self {
        let head = format!("{}  {}", outline.title, outline.subtitle);
        Self { canvas, y: TOP, head }
    }

    /// Whether so much fits on the page.
    pub(super) fn has(&self, height: Milli) -> bool {
        self.y.saturating_add(height) <= BOTTOM
    }

    /// Goes to the next page unless so much fits on this one.
    pub(super) fn keep(&mut self, height: Milli) -> Result<(), DocumentError> {
        if self.has(height) || self.y <= TOP_BELOW_HEAD { Ok(()) } else { self.next_page() }
    }

    pub(super) fn next_page(&mut self) -> Result<(), DocumentError> {
        self.canvas.add_page()?;
        let baseline = TOP + points(2);
        self.canvas.text(SMALL, LEFT, baseline, &self.head)?;
        self.canvas.rule(Ink::RULE, 500, [LEFT, LEFT + WIDTH], baseline + points(4));
        self.y = TOP_BELOW_HEAD;
        Ok(())
    }

    /// A text over the whole width, broken into lines.
    pub(super) fn paragraph(&mut self, pen: Pen, text: &str) -> Result<(), DocumentError> {
        self.paragraph_at(pen, [LEFT, LEFT + WIDTH], text)
    }

    /// A text between two sides, broken into lines.
    pub(super) fn paragraph_at(
        &mut self,
        pen: Pen,
        [left, right]: [Milli; 2],
        text: &str,
    ) -> Result<(), DocumentError> {
        let lines = broken(self.canvas.measure(pen.weight), pen.size, right - left, text);
        for line in lines {
            let height = pen.size * 3 / 2;
            self.keep(height)?;
            self.canvas.text(pen, left, self.y + pen.size * 9 / 8, &line)?;
            self.y += height;
        }
        Ok(())
    }

    /// Puts at the foot of every page which statement it is, and which page of how many.
    pub(super) fn finish(mut self, outline: &Outline) -> Result<Canvas<'a>, DocumentError> {
        let [before, between, after] = PAGE.map(|label| outline.language.of(label));
        let pages = self.canvas.pages();
        let baseline = PAGE_HEIGHT - points(22);
        for page in 0..pages {
            self.canvas.text_on(page, SMALL, LEFT, baseline, &outline.footer)?;
            let number = format!("{before}{}{between}{pages}{after}", page + 1);
            let width = self.canvas.width(SMALL, &number);
            self.canvas.text_on(page, SMALL, LEFT + WIDTH - width, baseline, &number)?;
        }
        Ok(self.canvas)
    }
}
