//! Rows of a workbook. Numbers come out as the digits that the file holds: a library that hands
//! them over as floats would not do (ADR 13).

mod archive;
mod parts;
mod sheet;

use super::error::{Defect, Place};
use super::mapping::BillMapping;
use super::rows::{EachRow, Stop, positions};
use archive::Archive;
use parts::{shared_strings, sheet_paths};
use sheet::read_sheet;

/// A workbook that cannot be read, in words.
pub(crate) fn broken(found: impl Into<String>) -> Stop {
    let advice = "open it in a spreadsheet program and save it as .xlsx or CSV";
    Stop::Defect(Defect::new(found, advice))
}

pub(crate) fn read_xlsx(
    bytes: &[u8],
    mapping: &BillMapping,
    wanted: &[String],
    each: &mut EachRow<'_>,
) -> Result<(), Stop> {
    let mut archive = Archive::open(bytes)?;
    let sheets = sheet_paths(&mut archive)?;
    let sheet = match &mapping.sheet {
        None => sheets.first(),
        Some(name) => sheets.iter().find(|sheet| sheet.name == *name),
    };
    let Some(sheet) = sheet else {
        let there: Vec<&str> = sheets.iter().map(|sheet| sheet.name.as_str()).collect();
        let found = format!("there is no sheet {:?}", mapping.sheet.as_deref().unwrap_or_default());
        let advice = format!("there are {}; correct sheet in the mapping", there.join(", "));
        return Err(Stop::Defect(Defect::new(found, advice)));
    };
    let strings = shared_strings(&mut archive)?;
    let mut places: Option<Vec<usize>> = None;
    read_sheet(&archive.text(&sheet.path)?, &strings, &mut |number, cells| {
        let place = Place::Row(number);
        if number < mapping.header {
            return Ok(());
        }
        match &places {
            None => {
                let header: Vec<&str> =
                    cells.iter().map(|cell| cell.as_deref().unwrap_or_default()).collect();
                places = Some(positions(&header, wanted, place)?);
                Ok(())
            }
            Some(places) => {
                if cells.iter().all(|cell| cell.as_deref().is_none_or(|c| c.trim().is_empty())) {
                    return Ok(());
                }
                let row: Vec<Option<&str>> = places
                    .iter()
                    .map(|position| cells.get(*position).and_then(|cell| cell.as_deref()))
                    .collect();
                each(place, &row)
            }
        }
    })?;
    if places.is_none() {
        let found = format!("sheet {:?} has no header", sheet.name);
        return Err(Stop::Defect(Defect::new(found, "correct header or sheet in the mapping")));
    }
    Ok(())
}
