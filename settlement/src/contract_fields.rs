//! The fields of a TOML table with their lines: each is taken once and checked, and what is left
//! over at the end is unknown.

use std::collections::BTreeMap;

use jiff::civil::Date;
use tally_rating::{ModelPattern, parse_instant};
use tally_schemas::Currency;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::decimal::{Cents, parse_decimal};
use crate::period::Period;
use crate::terms::PPM;

/// The defects of a file, each with its line.
#[derive(Debug)]
pub(crate) struct Defects<'t> {
    file: &'t str,
    text: &'t str,
    found: Vec<(usize, String)>,
}

impl<'t> Defects<'t> {
    pub(crate) const fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    /// The line of a byte, from 1.
    pub(crate) fn line_of(&self, byte: usize) -> usize {
        let before = self.text.as_bytes().get(..byte).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    pub(crate) fn add(&mut self, byte: usize, what: impl std::fmt::Display) {
        let line = self.line_of(byte);
        self.found.push((line, format!("{}, line {line}: {what}", self.file)));
    }

    /// All of them, in the order of the lines.
    pub(crate) fn into_found(mut self) -> Vec<String> {
        self.found.sort_by_key(|(line, _)| *line);
        self.found.into_iter().map(|(_, defect)| defect).collect()
    }
}

/// A value and where it stands.
type Found<'a, 't> = (usize, &'a DeValue<'t>);

/// The fields of one table.
#[derive(Debug)]
pub(crate) struct Fields<'a, 't, 'd> {
    /// What the table is, such as `terms deepseek-2026`.
    pub(crate) of: String,
    at: usize,
    left: BTreeMap<&'a str, Found<'a, 't>>,
    taken: Vec<&'static str>,
    defects: &'d mut Defects<'t>,
}

impl<'a, 't, 'd> Fields<'a, 't, 'd> {
    pub(crate) fn new(
        of: String,
        at: usize,
        table: &'a DeTable<'t>,
        defects: &'d mut Defects<'t>,
    ) -> Self {
        let field = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'t>>)| {
            let key: &'a std::borrow::Cow<'t, str> = key.get_ref();
            (key.as_ref(), (value.span().start, value.get_ref()))
        };
        let left = table.iter().map(field).collect();
        Self { of, at, left, taken: Vec::new(), defects }
    }

    /// The line that the table begins on.
    pub(crate) fn line(&self) -> usize {
        self.defects.line_of(self.at)
    }

    /// Says what is wrong with the table as a whole.
    pub(crate) fn wrong(&mut self, what: impl std::fmt::Display) {
        let what = format!("{}: {what}", self.of);
        self.defects.add(self.at, what);
    }

    fn wrong_at(&mut self, byte: usize, name: &str, what: impl std::fmt::Display) {
        let what = format!("{}: {name}: {what}", self.of);
        self.defects.add(byte, what);
    }

    fn take(&mut self, name: &'static str) -> Option<Found<'a, 't>> {
        self.taken.push(name);
        self.left.remove(name)
    }

    /// The value of a field that has to be there.
    fn required<T>(&mut self, name: &'static str, found: Option<T>) -> Option<T> {
        if found.is_none() {
            self.wrong(format!("{name} is missing"));
        }
        found
    }

    /// Reads a field, where it is there; the outer `None` is a defect.
    fn read<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a DeValue<'t>) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some((at, value)) = self.take(name) else { return Some(None) };
        match read(value) {
            Ok(value) => Some(Some(value)),
            Err(what) => {
                self.wrong_at(at, name, what);
                None
            }
        }
    }

    pub(crate) fn optional_text(&mut self, name: &'static str) -> Option<Option<String>> {
        self.read(name, |value| text_of(value).map(str::to_owned))
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        let found = self.optional_text(name)?;
        self.required(name, found.filter(|text| !text.trim().is_empty()))
    }

    /// One of the names of a list.
    pub(crate) fn one_of<T: Clone>(
        &mut self,
        name: &'static str,
        names: &[(&str, T)],
        default: Option<T>,
    ) -> Option<T> {
        let found = self.read(name, |value| {
            let text = text_of(value)?;
            let known = names.iter().find(|(known, _)| *known == text);
            known.map(|(_, value)| value.clone()).ok_or_else(|| {
                let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                format!("{text:?} is none of {}", names.join(", "))
            })
        })?;
        self.required(name, found.or(default))
    }

    pub(crate) fn flag(&mut self, name: &'static str, default: bool) -> Option<bool> {
        let found =
            self.read(name, |value| value.as_bool().ok_or_else(|| wants("true or false")))?;
        Some(found.unwrap_or(default))
    }

    pub(crate) fn optional_integer(&mut self, name: &'static str) -> Option<Option<u64>> {
        self.read(name, integer_of)
    }

    pub(crate) fn integer(&mut self, name: &'static str) -> Option<u64> {
        let found = self.optional_integer(name)?;
        self.required(name, found)
    }

    /// A rate in parts per million, at most `most`.
    pub(crate) fn ppm(&mut self, name: &'static str, most: u32) -> Option<u32> {
        let found = self.optional_ppm(name, most)?;
        self.required(name, found)
    }

    pub(crate) fn optional_ppm(&mut self, name: &'static str, most: u32) -> Option<Option<u32>> {
        self.read(name, |value| {
            let ppm = integer_of(value)?;
            u32::try_from(ppm).ok().filter(|ppm| *ppm <= most).ok_or_else(|| {
                format!("{ppm} is above {most}; rates are in parts per million: 6 % is 60000")
            })
        })
    }

    /// A percentage as text with at most four places, in parts per million.
    pub(crate) fn percent_as_ppm(&mut self, name: &'static str) -> Option<u32> {
        let found = self.read(name, |value| {
            let ppm = decimal_of(value, 4)?;
            u32::try_from(ppm)
                .ok()
                .filter(|ppm| i128::from(*ppm) <= PPM)
                .ok_or_else(|| "is not from 0 to 100".to_owned())
        })?;
        Some(found.unwrap_or(0))
    }

    /// An amount of money that is not negative.
    pub(crate) fn optional_amount(&mut self, name: &'static str) -> Option<Option<Cents>> {
        self.read(name, |value| {
            let cents = decimal_of(value, 2)?;
            if cents < 0 { Err("is negative".to_owned()) } else { Ok(Cents(cents)) }
        })
    }

    pub(crate) fn amount(&mut self, name: &'static str) -> Option<Cents> {
        let found = self.optional_amount(name)?;
        self.required(name, found)
    }

    /// A decimal with so many places, as an integer.
    pub(crate) fn decimal(&mut self, name: &'static str, scale: u32) -> Option<i128> {
        let found = self.read(name, |value| decimal_of(value, scale))?;
        self.required(name, found)
    }

    pub(crate) fn currency(&mut self, name: &'static str) -> Option<Currency> {
        let found = self.read(name, |value| {
            let text = text_of(value)?;
            Currency::parse(text).ok_or_else(|| format!("{text:?} is not a code like CNY"))
        })?;
        self.required(name, found)
    }

    pub(crate) fn period(&mut self, name: &'static str) -> Option<Period> {
        let found = self.read(name, |value| {
            Period::parse(text_of(value)?).map_err(|error| error.to_string())
        })?;
        self.required(name, found)
    }

    pub(crate) fn pattern(&mut self, name: &'static str) -> Option<ModelPattern> {
        let found = self.read(name, |value| ModelPattern::parse(text_of(value)?))?;
        self.required(name, found)
    }

    pub(crate) fn optional_day(&mut self, name: &'static str) -> Option<Option<Date>> {
        self.read(name, |value| {
            let text = text_of(value)?;
            let day: Option<Date> = text.parse().ok().filter(|_| text.len() == 10);
            day.ok_or_else(|| format!("{text:?} is not a day such as \"2026-10-01\""))
        })
    }

    pub(crate) fn day(&mut self, name: &'static str) -> Option<Date> {
        let found = self.optional_day(name)?;
        self.required(name, found)
    }

    pub(crate) fn optional_instant(&mut self, name: &'static str) -> Option<Option<i64>> {
        self.read(name, |value| parse_instant(text_of(value)?))
    }

    pub(crate) fn instant(&mut self, name: &'static str) -> Option<i64> {
        let found = self.optional_instant(name)?;
        self.required(name, found)
    }

    /// A list of texts; none where it is absent.
    pub(crate) fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        let found = self.read(name, |value| {
            let list = value.as_array().ok_or_else(|| wants("a list of texts"))?;
            list.iter().map(|item| text_of(item.get_ref()).map(str::to_owned)).collect()
        })?;
        Some(found.unwrap_or_default())
    }

    /// A list of tables; none where it is absent. Each is read on its own.
    pub(crate) fn tables<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Fields<'a, 't, '_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let list =
            self.read(name, |value| value.as_array().ok_or_else(|| wants("a list of tables")))?;
        let mut all = Some(Vec::new());
        for item in list.into_iter().flat_map(|list| list.iter()) {
            let at = item.span().start;
            let Some(table) = item.get_ref().as_table() else {
                self.wrong_at(at, name, wants("a list of tables"));
                all = None;
                continue;
            };
            let of = format!("{}: {name}", self.of);
            let mut fields = Fields::new(of, at, table, self.defects);
            let value = read(&mut fields);
            let clean = fields.finish();
            match value.filter(|_| clean) {
                Some(value) => {
                    if let Some(all) = &mut all {
                        all.push(value);
                    }
                }
                None => all = None,
            }
        }
        all
    }

    /// A table; the inner `None` where it is absent.
    pub(crate) fn table<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'a, 't, '_>) -> Option<T>,
    ) -> Option<Option<T>> {
        let Some((at, value)) = self.take(name) else { return Some(None) };
        let Some(table) = value.as_table() else {
            self.wrong_at(at, name, wants("a table"));
            return None;
        };
        let of = format!("{}: {name}", self.of);
        let mut fields = Fields::new(of, at, table, self.defects);
        let value = read(&mut fields);
        let clean = fields.finish();
        value.filter(|_| clean).map(Some)
    }

    /// Names what nobody asked for; whether there was none.
    pub(crate) fn finish(&mut self) -> bool {
        let unknown: Vec<(String, usize)> =
            self.left.iter().map(|(key, (at, _))| ((*key).to_owned(), *at)).collect();
        for (key, at) in &unknown {
            let known = self.taken.join(", ");
            let what = format!("{}: {key} is not known here; known are {known}", self.of);
            self.defects.add(*at, what);
        }
        unknown.is_empty()
    }
}

fn wants(what: &str) -> String {
    format!("{what} is needed")
}

fn text_of<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| wants("a text in quotes"))
}

fn integer_of(value: &DeValue<'_>) -> Result<u64, String> {
    let integer = value.as_integer().ok_or_else(|| wants("a whole number"))?;
    u64::from_str_radix(integer.as_str(), integer.radix())
        .map_err(|_| format!("{} is not a whole number from 0", integer.as_str()))
}

/// Amounts are texts: a float would not be what was written.
fn decimal_of(value: &DeValue<'_>, scale: u32) -> Result<i128, String> {
    let text = value.as_str().ok_or_else(|| wants("a decimal in quotes, such as \"1000.00\""))?;
    parse_decimal(text, scale)
}
