//! Reads the fields of one record of JSON (or of TOML, which is turned into the same values) and
//! notes everything that is wrong with it instead of stopping at the first.

use serde_json::{Map, Value};

use crate::calendar::day_start;
use crate::reference::Problem;

/// Times beyond the year 5138 are mistakes.
pub(crate) const INSTANT_MAX_MS: i64 = 100_000_000_000_000;

/// A record that is being read.
#[derive(Debug)]
pub(crate) struct Fields<'v, 'p> {
    record: String,
    path: String,
    map: Option<&'v Map<String, Value>>,
    known: Vec<&'static str>,
    problems: &'p mut Vec<Problem>,
}

impl<'v, 'p> Fields<'v, 'p> {
    /// Begins to read a record; `path` is its place within the record, empty or ended by a dot.
    pub(crate) fn new(
        record: &str,
        path: &str,
        value: &'v Value,
        problems: &'p mut Vec<Problem>,
    ) -> Self {
        let map = value.as_object();
        let mut fields = Self {
            record: record.to_owned(),
            path: path.to_owned(),
            map,
            known: Vec::new(),
            problems,
        };
        if map.is_none() {
            fields.problem("", "must be a table of fields");
        }
        fields
    }

    /// Notes that a field is wrong.
    pub(crate) fn problem(&mut self, field: &str, message: &str) {
        let field = format!("{}{field}", self.path);
        let field = field.trim_end_matches('.').to_owned();
        let message = message.to_owned();
        self.problems.push(Problem {
            place: String::new(),
            record: self.record.clone(),
            field,
            message,
        });
    }

    /// The value of a field; null counts as absent.
    pub(crate) fn value(&mut self, field: &'static str) -> Option<&'v Value> {
        self.known.push(field);
        self.map?.get(field).filter(|value| !value.is_null())
    }

    fn required<T>(&mut self, field: &'static str, found: Option<T>) -> Option<T> {
        if found.is_none() && self.map.is_some_and(|map| map.get(field).is_none_or(Value::is_null))
        {
            self.problem(field, "is missing");
        }
        found
    }

    /// A text; an empty one counts as absent.
    pub(crate) fn text(&mut self, field: &'static str) -> Option<&'v str> {
        match self.value(field)? {
            Value::String(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            _ => {
                self.problem(field, "must be a text");
                None
            }
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, field: &'static str) -> Option<&'v str> {
        let found = self.text(field);
        if found.is_none() && self.map.and_then(|map| map.get(field)?.as_str()) == Some("") {
            self.problem(field, "is empty");
        }
        self.required(field, found)
    }

    /// An integer, of JSON or as a text.
    pub(crate) fn integer(&mut self, field: &'static str) -> Option<i64> {
        let found = integer_of(self.value(field)?);
        if found.is_none() {
            self.problem(field, "must be an integer of 64 bits");
        }
        found
    }

    /// An integer that must be there.
    pub(crate) fn required_integer(&mut self, field: &'static str) -> Option<i64> {
        let found = self.integer(field);
        self.required(field, found)
    }

    /// A truth value.
    pub(crate) fn flag(&mut self, field: &'static str) -> bool {
        match self.value(field) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.problem(field, "must be true or false");
                false
            }
        }
    }

    /// A time: ms of UTC, RFC 3339 with an offset, or a date in Asia/Shanghai.
    pub(crate) fn instant(&mut self, field: &'static str) -> Option<i64> {
        let found = instant_of(self.value(field)?);
        if found.is_none() {
            self.problem(field, "must be a time: ms of UTC, RFC 3339 with an offset, or a date");
        }
        found
    }

    /// A time that must be there.
    pub(crate) fn required_instant(&mut self, field: &'static str) -> Option<i64> {
        let found = self.instant(field);
        self.required(field, found)
    }

    /// One of a few words.
    pub(crate) fn word<T>(
        &mut self,
        field: &'static str,
        parse: impl Fn(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        let text = self.required_text(field)?;
        let found = parse(text);
        if found.is_none() {
            self.problem(field, &format!("is {text:?}, expected one of {expected}"));
        }
        found
    }

    /// A list; absent is empty.
    pub(crate) fn list(&mut self, field: &'static str) -> &'v [Value] {
        match self.value(field) {
            None => &[],
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.problem(field, "must be a list");
                &[]
            }
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, field: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        for value in self.list(field) {
            match value.as_str() {
                Some(text) if !text.is_empty() => texts.push(text.to_owned()),
                _ => self.problem(field, "must hold texts that are not empty"),
            }
        }
        texts
    }

    /// The fields of an element within this record.
    pub(crate) fn within<'q>(&'q mut self, path: &str, value: &'v Value) -> Fields<'v, 'q> {
        let path = format!("{}{path}.", self.path);
        Fields::new(&self.record, &path, value, self.problems)
    }

    /// Names the fields that nobody asked for.
    pub(crate) fn finish(mut self) {
        let Some(map) = self.map else { return };
        for key in map.keys() {
            if !self.known.contains(&key.as_str()) {
                self.problem(key, "is no field of this record");
            }
        }
    }
}

/// An integer of 64 bits, of JSON or as a text of digits.
pub(crate) fn integer_of(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { text.parse().ok() } else { None }
        }
        _ => None,
    }
}

/// A time in ms of UTC.
pub(crate) fn instant_of(value: &Value) -> Option<i64> {
    let in_range = |ms: &i64| ms.abs() <= INSTANT_MAX_MS;
    match value {
        Value::Number(number) => number.as_i64().filter(in_range),
        Value::String(text) => instant_text(text).filter(in_range),
        // How a time of TOML comes through serde.
        Value::Object(map) if map.len() == 1 => {
            instant_text(map.get("$__toml_private_datetime")?.as_str()?).filter(in_range)
        }
        _ => None,
    }
}

fn instant_text(text: &str) -> Option<i64> {
    if text.len() == 10 {
        let date: jiff::civil::Date = text.parse().ok()?;
        let midnight = date.at(0, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        // The local day that begins eight hours before the day of UTC.
        return Some(day_start(midnight.timestamp().as_millisecond()));
    }
    text.parse::<jiff::Timestamp>().ok().map(|instant| instant.as_millisecond())
}
