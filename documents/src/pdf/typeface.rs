//! The fonts of a document: found on the machine or named, with every character that it needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fontdb::{Database, FaceInfo, Source, Style, Weight};
use ttf_parser::{Face, RawFace, Tag};

use crate::error::DocumentError;

/// Families that are looked for first, the ones made for simplified Chinese.
const FAMILIES: [&str; 9] = [
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Noto Serif CJK SC",
];
/// Missing characters that a message names.
const NAMED_MAX: usize = 12;

/// The bytes of a font file and which of its faces is meant.
#[derive(Debug, Clone)]
pub(super) struct FontFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) index: u32,
}

/// A regular face and a bold one; the same where there is no bold one.
#[derive(Debug, Clone)]
pub(super) struct Typeface {
    pub(super) regular: FontFile,
    pub(super) bold: Option<FontFile>,
}

impl Typeface {
    /// Finds a typeface that has every one of these characters: in the file that is named, else
    /// among the fonts of the machine.
    ///
    /// # Errors
    /// `NoFont`, `FontLacks` and `BadFont`.
    pub(super) fn find(
        characters: &BTreeSet<char>,
        named: Option<&Path>,
    ) -> Result<Self, DocumentError> {
        let mut fonts = Database::new();
        match named {
            Some(path) => {
                let bad = |why: String| DocumentError::BadFont { path: path.to_owned(), why };
                fonts.load_font_file(path).map_err(|error| bad(error.to_string()))?;
                if fonts.is_empty() {
                    return Err(bad("it is no TrueType or OpenType font".to_owned()));
                }
            }
            None => fonts.load_system_fonts(),
        }
        Self::among(&fonts, characters, named)
    }

    fn among(
        fonts: &Database,
        characters: &BTreeSet<char>,
        named: Option<&Path>,
    ) -> Result<Self, DocumentError> {
        let mut faces: Vec<&FaceInfo> =
            fonts.faces().filter(|face| face.style == Style::Normal).collect();
        if faces.is_empty() {
            faces = fonts.faces().collect();
        }
        // The order of folders is another on each machine; this one is not.
        faces.sort_by_key(|face| {
            (
                rank(face),
                face.weight.0.abs_diff(Weight::NORMAL.0),
                &face.post_script_name,
                face.index,
            )
        });
        let mut least: Option<BTreeSet<char>> = None;
        for face in &faces {
            let missing = fonts
                .with_face_data(face.id, |bytes, index| missing(bytes, index, characters))
                .flatten();
            match missing {
                Some(missing) if missing.is_empty() => {
                    let regular = read(face)?;
                    let bold = bold_of(fonts, face, &faces, characters).map(read).transpose()?;
                    return Ok(Self { regular, bold });
                }
                Some(missing) if least.as_ref().is_none_or(|l| missing.len() < l.len()) => {
                    least = Some(missing);
                }
                _ => {}
            }
        }
        let missing = least.as_ref().map(named_characters);
        Err(match (named, missing) {
            (None, missing) => {
                DocumentError::NoFont { missing: missing.unwrap_or_else(|| "all".to_owned()) }
            }
            (Some(path), Some(missing)) => {
                DocumentError::FontLacks { path: path.to_owned(), missing }
            }
            (Some(path), None) => DocumentError::BadFont {
                path: path.to_owned(),
                why: "its faces are variable or have no outlines: name a static font".to_owned(),
            },
        })
    }
}

/// The place of a face's family among those that are looked for first.
fn rank(face: &FaceInfo) -> usize {
    let of_family = |wanted: &&str| face.families.iter().any(|(name, _)| name == wanted);
    FAMILIES.iter().position(of_family).unwrap_or(FAMILIES.len())
}

/// The bold face of the same family.
fn bold_of<'a>(
    fonts: &Database,
    regular: &FaceInfo,
    faces: &[&'a FaceInfo],
    characters: &BTreeSet<char>,
) -> Option<&'a FaceInfo> {
    let family = regular.families.first()?;
    let whole = |face: &FaceInfo| {
        let missing = fonts.with_face_data(face.id, |bytes, i| missing(bytes, i, characters));
        missing.flatten().is_some_and(|missing| missing.is_empty())
    };
    faces
        .iter()
        .filter(|face| face.families.first() == Some(family) && face.weight >= Weight::SEMIBOLD)
        .filter(|face| face.stretch == regular.stretch)
        .find(|face| whole(face))
        .copied()
}

/// The characters that a face lacks; `None` for one that cannot be embedded.
fn missing(bytes: &[u8], index: u32, characters: &BTreeSet<char>) -> Option<BTreeSet<char>> {
    let raw = RawFace::parse(bytes, index).ok()?;
    let has = |tag: &[u8; 4]| raw.table(Tag::from_bytes(tag)).is_some();
    // A variable font has no outlines of a weight before somebody chooses one.
    if has(b"fvar") || !(has(b"glyf") || has(b"CFF ")) {
        return None;
    }
    let face = Face::parse(bytes, index).ok()?;
    Some(characters.iter().copied().filter(|c| face.glyph_index(*c).is_none()).collect())
}

fn named_characters(missing: &BTreeSet<char>) -> String {
    let mut names: Vec<String> =
        missing.iter().take(NAMED_MAX).map(|c| format!("{c} U+{:04X}", u32::from(*c))).collect();
    if missing.len() > NAMED_MAX {
        names.push(format!("and {} more", missing.len() - NAMED_MAX));
    }
    names.join(", ")
}

fn read(face: &FaceInfo) -> Result<FontFile, DocumentError> {
    let (Source::File(path) | Source::SharedFile(path, _)) = &face.source else {
        return Err(DocumentError::Format(format!("{} is in no file", face.post_script_name)));
    };
    let bytes = std::fs::read(path)
        .map_err(|error| DocumentError::BadFont { path: path.clone(), why: error.to_string() })?;
    Ok(FontFile { path: path.clone(), bytes, index: face.index })
}
