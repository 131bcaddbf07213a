//! A font in a document: measures texts, and embeds the glyphs that were used.

use std::collections::BTreeMap;

use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Filter, Finish, Name, Pdf, Rect, Ref, Str};
use subsetter::GlyphRemapper;
use ttf_parser::{Face, GlyphId, RawFace, Tag};

use super::compressed;
use super::length::Milli;
use super::typeface::FontFile;
use crate::error::DocumentError;

const IDENTITY: SystemInfo<'static> =
    SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
const CMAP: Name<'static> = Name(b"TallyUnicode");

/// A font, and which of its glyphs are in the document.
pub(super) struct Font<'a> {
    file: &'a FontFile,
    face: Face<'a>,
    glyphs: GlyphRemapper,
    /// Character and width of each glyph, by its number in the document.
    used: BTreeMap<u16, (char, u16)>,
}

/// The objects of a font in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FontRefs {
    pub(super) font: Ref,
    pub(super) descendant: Ref,
    pub(super) descriptor: Ref,
    pub(super) program: Ref,
    pub(super) unicode: Ref,
}

impl<'a> Font<'a> {
    pub(super) fn new(file: &'a FontFile) -> Result<Self, DocumentError> {
        let face = Face::parse(&file.bytes, file.index).map_err(|error| bad(file, error))?;
        Ok(Self { file, face, glyphs: GlyphRemapper::new(), used: BTreeMap::new() })
    }

    fn advance(&self, character: char) -> u16 {
        let glyph = self.face.glyph_index(character).unwrap_or(GlyphId(0));
        self.face.glyph_hor_advance(glyph).unwrap_or_default()
    }

    /// Width of a character at a size.
    pub(super) fn width_of(&self, character: char, size: Milli) -> Milli {
        let units = i64::from(self.face.units_per_em().max(1));
        let width = i64::from(self.advance(character)) * i64::from(size) / units;
        Milli::try_from(width).unwrap_or_default()
    }

    /// Width of a text at a size.
    pub(super) fn width(&self, text: &str, size: Milli) -> Milli {
        text.chars().map(|character| self.width_of(character, size)).sum()
    }

    /// A text as the numbers of its glyphs, which from here on are in the document.
    ///
    /// # Errors
    /// `FontLacks` for a character without a glyph: nothing is shown as a box.
    pub(super) fn encode(&mut self, text: &str) -> Result<Vec<u8>, DocumentError> {
        let mut encoded = Vec::with_capacity(text.len());
        for character in text.chars() {
            let Some(glyph) = self.face.glyph_index(character) else {
                return Err(DocumentError::FontLacks {
                    path: self.file.path.clone(),
                    missing: format!("{character} U+{:04X}", u32::from(character)),
                });
            };
            let number = self.glyphs.remap(glyph.0);
            let width = self.face.glyph_hor_advance(glyph).unwrap_or_default();
            self.used.entry(number).or_insert((character, width));
            encoded.extend(number.to_be_bytes());
        }
        Ok(encoded)
    }

    /// Writes the font with the glyphs that were used.
    pub(super) fn embed(&self, pdf: &mut Pdf, refs: FontRefs) -> Result<(), DocumentError> {
        let subset = subsetter::subset(&self.file.bytes, self.file.index, &self.glyphs)
            .map_err(|error| bad(self.file, error))?;
        // Of an OpenType font with PostScript outlines only these go into the file.
        let outlines = RawFace::parse(&subset, 0)
            .ok()
            .and_then(|raw| raw.table(Tag::from_bytes(b"CFF ")).map(<[u8]>::to_vec));
        let name = self.name();

        pdf.type0_font(refs.font)
            .base_font(Name(name.as_bytes()))
            .encoding_predefined(Name(b"Identity-H"))
            .descendant_font(refs.descendant)
            .to_unicode(refs.unicode);
        let mut descendant = pdf.cid_font(refs.descendant);
        descendant.base_font(Name(name.as_bytes()));
        descendant.system_info(IDENTITY);
        descendant.font_descriptor(refs.descriptor);
        descendant.default_width(0.0);
        if outlines.is_some() {
            descendant.subtype(CidFontType::Type0);
        } else {
            descendant.subtype(CidFontType::Type2);
            descendant.cid_to_gid_map_predefined(Name(b"Identity"));
        }
        let mut widths = descendant.widths();
        for (number, (_, width)) in &self.used {
            widths.consecutive(*number, [self.in_thousandths(i32::from(*width))]);
        }
        widths.finish();
        descendant.finish();
        self.describe(pdf, refs, &name, outlines.is_some());

        let mut unicode = UnicodeCmap::new(CMAP, IDENTITY);
        for (number, (character, _)) in &self.used {
            unicode.pair(*number, *character);
        }
        let unicode = compressed(unicode.finish().as_slice())?;
        let mut cmap = pdf.cmap(refs.unicode, &unicode);
        cmap.name(CMAP);
        cmap.system_info(IDENTITY);
        cmap.filter(Filter::FlateDecode);
        cmap.finish();

        let program = compressed(outlines.as_deref().unwrap_or(&subset))?;
        let mut stream = pdf.stream(refs.program, &program);
        stream.filter(Filter::FlateDecode);
        if outlines.is_some() {
            stream.pair(Name(b"Subtype"), Name(b"CIDFontType0C"));
        }
        Ok(())
    }

    fn describe(&self, pdf: &mut Pdf, refs: FontRefs, name: &str, has_outlines: bool) {
        let units = |units: i16| self.in_thousandths(i32::from(units));
        let bounds = self.face.global_bounding_box();
        let mut descriptor = pdf.font_descriptor(refs.descriptor);
        descriptor
            .name(Name(name.as_bytes()))
            .flags(FontFlags::SYMBOLIC)
            .bbox(Rect::new(
                units(bounds.x_min),
                units(bounds.y_min),
                units(bounds.x_max),
                units(bounds.y_max),
            ))
            .italic_angle(0.0)
            .ascent(units(self.face.ascender()))
            .descent(units(self.face.descender()))
            .cap_height(units(self.face.capital_height().unwrap_or(self.face.ascender())))
            .stem_v(if self.face.is_bold() { 120.0 } else { 80.0 });
        if has_outlines {
            descriptor.font_file3(refs.program);
        } else {
            descriptor.font_file2(refs.program);
        }
    }

    /// Font units as thousandths of the em.
    fn in_thousandths(&self, units: i32) -> f32 {
        let thousandths = units * 1_000 / i32::from(self.face.units_per_em().max(1));
        f32::from(i16::try_from(thousandths).unwrap_or(i16::MAX))
    }

    /// The name that a subset has: six letters before the font's own name. They only have to
    /// differ between the fonts of one file.
    fn name(&self) -> String {
        let own = self
            .face
            .names()
            .into_iter()
            .filter(|name| name.name_id == ttf_parser::name_id::POST_SCRIPT_NAME)
            .find_map(|name| name.to_string())
            .unwrap_or_else(|| "Font".to_owned());
        let own: String =
            own.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
        let tag = if self.face.is_bold() { "TALLYB" } else { "TALLYR" };
        format!("{tag}+{own}")
    }
}

fn bad(file: &FontFile, error: impl std::fmt::Display) -> DocumentError {
    DocumentError::BadFont { path: file.path.clone(), why: error.to_string() }
}
