//! Rows of JSON: objects in nested arrays, numbers as they are written, never as floats.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::BufRead;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Defect, Place};
use super::rows::{EachRow, Stop};

type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// A JSON document: the rows are in the arrays named by `path`, from the outside in. A column that
/// a row does not have is looked for in the objects around it.
pub(crate) fn read_json(
    document: &str,
    path: &[String],
    wanted: &[String],
    each: &mut EachRow<'_>,
) -> Result<(), Stop> {
    let root: &RawValue = serde_json::from_str(document).map_err(|error| {
        let place = Place::Line(u64::try_from(error.line()).unwrap_or(0));
        let found = format!("no JSON: {error}");
        Stop::Defect(Defect::new(found, "ask for the file again").at(place))
    })?;
    let present = Presence::new(wanted);
    let mut walk = Walk { wanted, each, present, row: 0 };
    // Pages that were put into one file are an array of documents.
    if root.get().starts_with('[') && !path.is_empty() {
        for page in elements(root)? {
            walk.down(page, path, &mut Vec::new())?;
        }
    } else {
        walk.down(root, path, &mut Vec::new())?;
    }
    walk.present.check()
}

/// Which columns some row has: one that none has is not optional but missing.
struct Presence<'w>(Vec<(&'w str, bool)>);

impl<'w> Presence<'w> {
    fn new(wanted: &'w [String]) -> Self {
        Self(wanted.iter().map(|column| (column.as_str(), false)).collect())
    }

    fn see(&mut self, cells: &[Option<&str>]) {
        for ((_, seen), cell) in self.0.iter_mut().zip(cells) {
            *seen |= cell.is_some();
        }
    }

    fn check(&self) -> Result<(), Stop> {
        if self.0.iter().all(|(_, seen)| !seen) {
            return Ok(());
        }
        match self.0.iter().find(|(_, seen)| !seen) {
            None => Ok(()),
            Some((column, _)) => {
                let advice = "correct the mapping, or ask for the export with this field";
                let defect = Defect::new("the column is missing in every row", advice);
                Err(Stop::Defect(defect.column(column)))
            }
        }
    }
}

/// One object a line.
pub(crate) fn read_ndjson(
    input: &mut impl BufRead,
    wanted: &[String],
    each: &mut EachRow<'_>,
) -> Result<(), Stop> {
    let mut line = String::new();
    let mut number = 0;
    let mut present = Presence::new(wanted);
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return present.check();
        }
        number += 1;
        if line.trim().is_empty() {
            continue;
        }
        let place = Place::Line(number);
        let object: Object<'_> = serde_json::from_str(&line).map_err(|error| {
            let found = format!("no JSON object: {error}");
            Stop::Defect(Defect::new(found, "ask for the file again").at(place))
        })?;
        emit(&[object], wanted, place, &mut present, each)?;
    }
}

struct Walk<'w, 'e> {
    wanted: &'w [String],
    each: &'w mut EachRow<'e>,
    present: Presence<'w>,
    row: u64,
}

impl Walk<'_, '_> {
    fn down<'a>(
        &mut self,
        value: &'a RawValue,
        path: &[String],
        around: &mut Vec<Object<'a>>,
    ) -> Result<(), Stop> {
        let Some((name, rest)) = path.split_first() else {
            if value.get().starts_with('[') {
                for row in elements(value)? {
                    self.down(row, path, around)?;
                }
                return Ok(());
            }
            self.row += 1;
            let place = Place::Row(self.row);
            around.push(object(value, place)?);
            emit(around, self.wanted, place, &mut self.present, self.each)?;
            around.pop();
            return Ok(());
        };
        let place = Place::Row(self.row + 1);
        let here = object(value, place)?;
        let Some(inner) = here.get(name.as_str()).copied() else {
            let there: Vec<&str> = here.keys().map(AsRef::as_ref).collect();
            let advice = format!("there are {}; correct rows in the mapping", there.join(", "));
            let defect = Defect::new(format!("there is no {name:?}"), advice).at(place);
            return Err(Stop::Defect(defect));
        };
        around.push(here);
        for element in elements(inner)? {
            self.down(element, rest, around)?;
        }
        around.pop();
        Ok(())
    }
}

fn object<'a>(value: &'a RawValue, place: Place) -> Result<Object<'a>, Stop> {
    serde_json::from_str(value.get()).map_err(|_| {
        let start: String = value.get().chars().take(40).collect();
        let defect = Defect::new(
            format!("{start} where an object is expected"),
            "correct rows in the mapping",
        );
        Stop::Defect(defect.at(place))
    })
}

fn elements(value: &RawValue) -> Result<Vec<&RawValue>, Stop> {
    serde_json::from_str(value.get()).map_err(|_| {
        let start: String = value.get().chars().take(40).collect();
        Stop::Defect(Defect::new(
            format!("{start} where an array is expected"),
            "correct rows in the mapping",
        ))
    })
}

fn emit(
    objects: &[Object<'_>],
    wanted: &[String],
    place: Place,
    present: &mut Presence<'_>,
    each: &mut EachRow<'_>,
) -> Result<(), Stop> {
    let cells: Vec<Option<Cow<'_, str>>> =
        wanted.iter().map(|column| objects.iter().rev().find_map(|o| cell(o, column))).collect();
    let cells: Vec<Option<&str>> = cells.iter().map(|cell| cell.as_deref()).collect();
    present.see(&cells);
    each(place, &cells)
}

/// The text of a field; a dot leads into an object. `null` is an empty text.
fn cell<'a>(object: &Object<'a>, column: &str) -> Option<Cow<'a, str>> {
    if let Some(value) = object.get(column) {
        return scalar(value);
    }
    let (outer, inner) = column.split_once('.')?;
    let value = object.get(outer)?.get();
    if value == "null" {
        return Some(Cow::Borrowed(""));
    }
    let object: Object<'a> = serde_json::from_str(value).ok()?;
    cell(&object, inner)
}

fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let text = value.get();
    match text.as_bytes().first()? {
        b'n' => Some(Cow::Borrowed("")),
        b'"' => serde_json::from_str::<Text<'_>>(text).ok().map(|Text(text)| text),
        _ => Some(Cow::Borrowed(text)),
    }
}
