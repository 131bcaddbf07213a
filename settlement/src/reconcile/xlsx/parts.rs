//! The parts of a workbook beside its sheets: which sheets there are, and the shared strings.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};

use super::archive::Archive;
use super::broken;
use crate::reconcile::rows::Stop;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SheetPath {
    pub(super) name: String,
    pub(super) path: String,
}

pub(super) fn bad_xml(error: impl std::fmt::Display) -> Stop {
    broken(format!("a part of the workbook is no XML: {error}"))
}

/// An attribute without its namespace.
pub(super) fn attribute(element: &BytesStart<'_>, name: &[u8]) -> Result<Option<String>, Stop> {
    for attribute in element.attributes() {
        let attribute = attribute.map_err(bad_xml)?;
        if attribute.key.local_name().as_ref() == name {
            return Ok(Some(attribute.unescape_value().map_err(bad_xml)?.into_owned()));
        }
    }
    Ok(None)
}

/// Appends what an event of text, CDATA or a reference stands for.
pub(super) fn push_text(event: &Event<'_>, text: &mut String) -> Result<(), Stop> {
    match event {
        Event::Text(piece) => text.push_str(&piece.xml_content().map_err(bad_xml)?),
        Event::CData(piece) => text.push_str(&piece.xml_content().map_err(bad_xml)?),
        Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(bad_xml)? {
            Some(character) => text.push(character),
            None => {
                let name = reference.decode().map_err(bad_xml)?;
                text.push_str(resolve_xml_entity(&name).ok_or_else(|| bad_xml(name))?);
            }
        },
        _ => {}
    }
    Ok(())
}

/// Every sheet in the order of the workbook.
pub(super) fn sheet_paths(archive: &mut Archive<'_>) -> Result<Vec<SheetPath>, Stop> {
    let targets = targets(&archive.text("xl/_rels/workbook.xml.rels")?)?;
    let workbook = archive.text("xl/workbook.xml")?;
    let mut reader = Reader::from_str(&workbook);
    let mut sheets = Vec::new();
    loop {
        match reader.read_event().map_err(bad_xml)? {
            Event::Eof => return Ok(sheets),
            Event::Start(element) | Event::Empty(element)
                if element.local_name().as_ref() == b"sheet" =>
            {
                let name = attribute(&element, b"name")?.unwrap_or_default();
                let id = attribute(&element, b"id")?.unwrap_or_default();
                if let Some(path) = targets.get(&id) {
                    sheets.push(SheetPath { name, path: path.clone() });
                }
            }
            _ => {}
        }
    }
}

/// Path of each related part by its id.
fn targets(relations: &str) -> Result<BTreeMap<String, String>, Stop> {
    let mut reader = Reader::from_str(relations);
    let mut targets = BTreeMap::new();
    loop {
        match reader.read_event().map_err(bad_xml)? {
            Event::Eof => return Ok(targets),
            Event::Start(element) | Event::Empty(element)
                if element.local_name().as_ref() == b"Relationship" =>
            {
                let id = attribute(&element, b"Id")?.unwrap_or_default();
                let target = attribute(&element, b"Target")?.unwrap_or_default();
                let path = match target.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None => format!("xl/{target}"),
                };
                targets.insert(id, path);
            }
            _ => {}
        }
    }
}

/// The shared strings; phonetic readings are left out.
pub(super) fn shared_strings(archive: &mut Archive<'_>) -> Result<Vec<String>, Stop> {
    let Some(xml) = archive.optional_text("xl/sharedStrings.xml")? else { return Ok(Vec::new()) };
    let mut reader = Reader::from_str(&xml);
    let (mut strings, mut text) = (Vec::new(), String::new());
    let (mut in_text, mut in_reading) = (false, false);
    loop {
        match reader.read_event().map_err(bad_xml)? {
            Event::Eof => return Ok(strings),
            Event::Start(element) => match element.local_name().as_ref() {
                b"si" => text.clear(),
                b"t" => in_text = !in_reading,
                b"rPh" => in_reading = true,
                _ => {}
            },
            Event::Empty(element) if element.local_name().as_ref() == b"si" => {
                strings.push(String::new());
            }
            Event::End(element) => match element.local_name().as_ref() {
                b"si" => strings.push(std::mem::take(&mut text)),
                b"t" => in_text = false,
                b"rPh" => in_reading = false,
                _ => {}
            },
            event if in_text => push_text(&event, &mut text)?,
            _ => {}
        }
    }
}
