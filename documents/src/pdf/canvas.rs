//! Pages that are drawn on, and the file that they become. Positions are from the top left.

use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

use super::compressed;
use super::font::{Font, FontRefs};
use super::length::{Milli, in_points};
use super::typeface::Typeface;
use crate::error::DocumentError;

/// A4 across.
pub(super) const PAGE_WIDTH: Milli = 841_890;
pub(super) const PAGE_HEIGHT: Milli = 595_276;

const FONT_NAMES: [Name<'static>; 2] = [Name(b"F0"), Name(b"F1")];
const WATERMARK_SIZE: Milli = 150_000;
/// Cosine and sine of the angle at which a watermark lies.
const WATERMARK_TURN: (f32, f32) = (0.883, 0.469);

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ink(f32, f32, f32);

impl Ink {
    pub(super) const TEXT: Self = Self(0.09, 0.125, 0.17);
    pub(super) const SOFT: Self = Self(0.35, 0.40, 0.46);
    pub(super) const ACCENT: Self = Self(0.12, 0.305, 0.475);
    pub(super) const WARNING: Self = Self(0.66, 0.195, 0.165);
    pub(super) const RULE: Self = Self(0.80, 0.83, 0.86);
    pub(super) const HEAD: Self = Self(0.93, 0.95, 0.965);
    pub(super) const SUM: Self = Self(0.97, 0.975, 0.98);
    const WATERMARK: Self = Self(0.97, 0.915, 0.91);
}

/// How heavy letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// Size, weight and colour of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pen {
    pub(super) size: Milli,
    pub(super) weight: Weight,
    pub(super) ink: Ink,
}

impl Pen {
    pub(super) const fn new(size: Milli, weight: Weight, ink: Ink) -> Self {
        Self { size, weight, ink }
    }
}

/// What describes a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Description<'a> {
    pub(super) title: &'a str,
    pub(super) language: &'a str,
}

/// Pages that are drawn on.
pub(super) struct Canvas<'a> {
    regular: Font<'a>,
    bold: Option<Font<'a>>,
    pages: Vec<Content>,
    watermark: Option<String>,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(
        typeface: &'a Typeface,
        watermark: Option<String>,
    ) -> Result<Self, DocumentError> {
        let bold = typeface.bold.as_ref().map(Font::new).transpose()?;
        let mut canvas =
            Self { regular: Font::new(&typeface.regular)?, bold, pages: Vec::new(), watermark };
        canvas.add_page()?;
        Ok(canvas)
    }

    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    fn font(&mut self, weight: Weight) -> (&mut Font<'a>, Name<'static>) {
        match (weight, &mut self.bold) {
            (Weight::Bold, Some(bold)) => (bold, FONT_NAMES[1]),
            _ => (&mut self.regular, FONT_NAMES[0]),
        }
    }

    /// The font that a text of a weight is set in.
    pub(super) fn measure(&self, weight: Weight) -> &Font<'a> {
        match (weight, &self.bold) {
            (Weight::Bold, Some(bold)) => bold,
            _ => &self.regular,
        }
    }

    /// Width of a text.
    pub(super) fn width(&self, pen: Pen, text: &str) -> Milli {
        self.measure(pen.weight).width(text, pen.size)
    }

    /// Adds a page, with the watermark below everything else.
    pub(super) fn add_page(&mut self) -> Result<(), DocumentError> {
        self.pages.push(Content::new());
        let Some(text) = self.watermark.clone() else { return Ok(()) };
        let width = self.measure(Weight::Bold).width(&text, WATERMARK_SIZE);
        let (font, name) = self.font(Weight::Bold);
        let encoded = font.encode(&text)?;
        let half = in_points(width / 2);
        let (cos, sin) = WATERMARK_TURN;
        let drop = in_points(WATERMARK_SIZE / 3);
        // The middle of the text is the middle of the page.
        let x = in_points(PAGE_WIDTH / 2) - half * cos + drop * sin;
        let y = in_points(PAGE_HEIGHT / 2) - half * sin - drop * cos;
        let Ink(red, green, blue) = Ink::WATERMARK;
        if let Some(page) = self.pages.last_mut() {
            page.save_state()
                .set_fill_rgb(red, green, blue)
                .begin_text()
                .set_font(name, in_points(WATERMARK_SIZE))
                .set_text_matrix([cos, sin, -sin, cos, x, y])
                .show(Str(&encoded))
                .end_text()
                .restore_state();
        }
        Ok(())
    }

    /// Writes a text on the last page; `baseline` is where its letters stand.
    pub(super) fn text(
        &mut self,
        pen: Pen,
        x: Milli,
        baseline: Milli,
        text: &str,
    ) -> Result<(), DocumentError> {
        let page = self.pages.len().saturating_sub(1);
        self.text_on(page, pen, x, baseline, text)
    }

    /// Writes a text on a page.
    pub(super) fn text_on(
        &mut self,
        page: usize,
        pen: Pen,
        x: Milli,
        baseline: Milli,
        text: &str,
    ) -> Result<(), DocumentError> {
        if text.is_empty() {
            return Ok(());
        }
        let (font, name) = self.font(pen.weight);
        let encoded = font.encode(text)?;
        let Ink(red, green, blue) = pen.ink;
        if let Some(page) = self.pages.get_mut(page) {
            page.set_fill_rgb(red, green, blue)
                .begin_text()
                .set_font(name, in_points(pen.size))
                .next_line(in_points(x), in_points(PAGE_HEIGHT - baseline))
                .show(Str(&encoded))
                .end_text();
        }
        Ok(())
    }

    /// Writes a text that ends at `right`.
    pub(super) fn text_to(
        &mut self,
        pen: Pen,
        right: Milli,
        baseline: Milli,
        text: &str,
    ) -> Result<(), DocumentError> {
        let width = self.width(pen, text);
        self.text(pen, right - width, baseline, text)
    }

    /// Fills an area.
    pub(super) fn area(&mut self, ink: Ink, [x, y]: [Milli; 2], [width, height]: [Milli; 2]) {
        let Ink(red, green, blue) = ink;
        if let Some(page) = self.pages.last_mut() {
            page.set_fill_rgb(red, green, blue)
                .rect(
                    in_points(x),
                    in_points(PAGE_HEIGHT - y - height),
                    in_points(width),
                    in_points(height),
                )
                .fill_nonzero();
        }
    }

    /// Draws a line from left to right.
    pub(super) fn rule(&mut self, ink: Ink, thickness: Milli, [from, to]: [Milli; 2], y: Milli) {
        self.area(ink, [from, y - thickness / 2], [to - from, thickness]);
    }

    /// Draws the edges of an area.
    pub(super) fn frame(&mut self, ink: Ink, [x, y]: [Milli; 2], [width, height]: [Milli; 2]) {
        let Ink(red, green, blue) = ink;
        if let Some(page) = self.pages.last_mut() {
            page.set_stroke_rgb(red, green, blue)
                .set_line_width(1.5)
                .rect(
                    in_points(x),
                    in_points(PAGE_HEIGHT - y - height),
                    in_points(width),
                    in_points(height),
                )
                .stroke();
        }
    }

    /// The file. Nothing in it is of the time or by chance.
    pub(super) fn finish(self, about: Description<'_>) -> Result<Vec<u8>, DocumentError> {
        let mut next = 1;
        let mut new_ref = || {
            let number = Ref::new(next);
            next += 1;
            number
        };
        let (catalog, tree, info) = (new_ref(), new_ref(), new_ref());
        let mut new_font = || FontRefs {
            font: new_ref(),
            descendant: new_ref(),
            descriptor: new_ref(),
            program: new_ref(),
            unicode: new_ref(),
        };
        let fonts = [new_font(), new_font()];
        let pages: Vec<(Ref, Ref)> = self.pages.iter().map(|_| (new_ref(), new_ref())).collect();

        let mut pdf = Pdf::new();
        let mut root = pdf.catalog(catalog);
        root.pages(tree);
        root.lang(TextStr(about.language));
        root.viewer_preferences().display_doc_title(true);
        root.finish();
        pdf.document_info(info).title(TextStr(about.title)).producer(TextStr("Tally"));
        let count = i32::try_from(pages.len()).unwrap_or(i32::MAX);
        pdf.pages(tree).kids(pages.iter().map(|(page, _)| *page)).count(count);
        for (content, (page, stream)) in self.pages.into_iter().zip(&pages) {
            let mut object = pdf.page(*page);
            object
                .media_box(Rect::new(0.0, 0.0, in_points(PAGE_WIDTH), in_points(PAGE_HEIGHT)))
                .parent(tree)
                .contents(*stream);
            let mut resources = object.resources();
            let mut names = resources.fonts();
            names.pair(FONT_NAMES[0], fonts[0].font);
            if self.bold.is_some() {
                names.pair(FONT_NAMES[1], fonts[1].font);
            }
            names.finish();
            resources.finish();
            object.finish();
            let drawn = compressed(content.finish().as_slice())?;
            pdf.stream(*stream, &drawn).filter(Filter::FlateDecode);
        }
        self.regular.embed(&mut pdf, fonts[0])?;
        if let Some(bold) = &self.bold {
            bold.embed(&mut pdf, fonts[1])?;
        }
        Ok(pdf.finish())
    }
}
