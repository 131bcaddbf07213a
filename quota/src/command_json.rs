//! Reads a command from JSON, with everything that is wrong with it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::command::{Action, COMMAND_ID_MAX_BYTES, Command, CommandError, QUANTITY_MAX};
use crate::fields::Fields;
use crate::package::Cap;
use crate::reference::Problem;
use crate::reference_text::read_caps;

/// Longest name of anything else.
const NAME_MAX_BYTES: usize = COMMAND_ID_MAX_BYTES + 5;

pub(crate) fn parse(bytes: &[u8]) -> Result<Command, CommandError> {
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(value)) => from_value(&value),
        Err(error) => {
            let (record, field) = ("command".to_owned(), String::new());
            let message = error.to_string();
            Err(CommandError::BadCommand(vec![Problem {
                place: String::new(),
                record,
                field,
                message,
            }]))
        }
    }
}

pub(crate) fn from_value(value: &Value) -> Result<Command, CommandError> {
    let mut problems = Vec::new();
    let mut unknown_flags = Vec::new();
    let command = read(value, &mut problems, &mut unknown_flags);
    match command {
        _ if !problems.is_empty() => Err(CommandError::BadCommand(problems)),
        _ if !unknown_flags.is_empty() => Err(CommandError::UnknownFlag(unknown_flags)),
        Some(command) => Ok(command),
        None => Err(CommandError::BadCommand(Vec::new())),
    }
}

fn read(
    value: &Value,
    problems: &mut Vec<Problem>,
    unknown_flags: &mut Vec<String>,
) -> Option<Command> {
    let label = value.get("id").and_then(Value::as_str).unwrap_or("command");
    let mut fields = Fields::new(label, "", value, problems);
    let name = fields.required_text("command");
    let id = name_of(&mut fields, "id", COMMAND_ID_MAX_BYTES);
    let account = name_of(&mut fields, "account", COMMAND_ID_MAX_BYTES);
    let at_ms = fields.required_instant("at");
    let action = match name {
        Some("purchase") => read_purchase(&mut fields),
        Some("top_up") => read_top_up(&mut fields),
        Some("transfer") => read_transfer(&mut fields),
        Some("cancel") => bucket_of(&mut fields, "bucket").map(|bucket| Action::Cancel { bucket }),
        Some("adjust") => read_adjust(&mut fields),
        Some("set_flags") => read_flags(&mut fields, unknown_flags),
        Some(other) => {
            fields.problem("command", &format!("{other:?} is no command"));
            return None;
        }
        None => return None,
    };
    fields.finish();
    Some(Command { id: id?, account: account?, at_ms: at_ms?, action: action? })
}

fn name_of(fields: &mut Fields<'_, '_>, field: &'static str, max_bytes: usize) -> Option<String> {
    let text = fields.required_text(field)?;
    if text.len() > max_bytes {
        fields.problem(field, &format!("is longer than {max_bytes} bytes"));
    }
    Some(text.to_owned())
}

fn bucket_of(fields: &mut Fields<'_, '_>, field: &'static str) -> Option<String> {
    name_of(fields, field, NAME_MAX_BYTES)
}

fn points_of(fields: &mut Fields<'_, '_>) -> Option<i64> {
    let points = fields.required_integer("points_micro")?;
    if points <= 0 {
        fields.problem("points_micro", "must be above 0");
    }
    Some(points)
}

fn read_purchase(fields: &mut Fields<'_, '_>) -> Option<Action> {
    let package = name_of(fields, "package", NAME_MAX_BYTES);
    let given = fields.integer("quantity").unwrap_or(1);
    let quantity = u32::try_from(given).ok().filter(|q| (1..=QUANTITY_MAX).contains(q));
    if quantity.is_none() {
        fields.problem("quantity", "must be from 1 to 1000");
    }
    Some(Action::Purchase { package: package?, quantity: quantity? })
}

fn read_top_up(fields: &mut Fields<'_, '_>) -> Option<Action> {
    let bucket = bucket_of(fields, "bucket");
    let points_micro = points_of(fields);
    let amount_micro = fields.integer("amount_micro").unwrap_or(0);
    if amount_micro < 0 {
        fields.problem("amount_micro", "is negative");
    }
    Some(Action::TopUp { bucket: bucket?, points_micro: points_micro?, amount_micro })
}

fn read_transfer(fields: &mut Fields<'_, '_>) -> Option<Action> {
    let from_bucket = bucket_of(fields, "from_bucket");
    let to_bucket = bucket_of(fields, "to_bucket");
    let points_micro = points_of(fields);
    if from_bucket.is_some() && from_bucket == to_bucket {
        fields.problem("to_bucket", "is the bucket that points are to be moved from");
    }
    Some(Action::Transfer {
        from_bucket: from_bucket?,
        to_bucket: to_bucket?,
        points_micro: points_micro?,
    })
}

fn read_adjust(fields: &mut Fields<'_, '_>) -> Option<Action> {
    let bucket = bucket_of(fields, "bucket");
    let points_micro = fields.required_integer("points_micro");
    if points_micro == Some(0) {
        fields.problem("points_micro", "is 0");
    }
    let refund = fields.flag("refund");
    if refund && points_micro.is_some_and(|points| points > 0) {
        fields.problem("refund", "gives money for points that are taken: these are given");
    }
    let reason = fields.required_text("reason").map(str::to_owned);
    let approver = fields.required_text("approver").map(str::to_owned);
    Some(Action::Adjust {
        bucket: bucket?,
        points_micro: points_micro?,
        refund,
        reason: reason?,
        approver: approver?,
    })
}

fn read_flags(fields: &mut Fields<'_, '_>, unknown_flags: &mut Vec<String>) -> Option<Action> {
    let Some(value) = fields.value("flags") else {
        fields.problem("flags", "is missing");
        return None;
    };
    let Some(map) = value.as_object() else {
        fields.problem("flags", "must be a table of fields");
        return None;
    };
    let mut flags = fields.within("flags", value);
    let mut text = |name: &'static str| match map.get(name) {
        None => None,
        Some(Value::Null) => Some(None),
        Some(_) => {
            let text = flags.required_text(name)?;
            if text.len() > NAME_MAX_BYTES {
                flags.problem(name, "is too long");
            }
            Some(Some(text.to_owned()))
        }
    };
    let overflow = text("overflow");
    let region = text("region");
    let members = read_members(&mut flags);
    for name in map.keys() {
        if !["overflow", "region", "members"].contains(&name.as_str()) {
            unknown_flags.push(name.clone());
        }
    }
    Some(Action::SetFlags { overflow, region, members })
}

fn read_members(flags: &mut Fields<'_, '_>) -> Vec<(String, Option<Vec<Cap>>)> {
    let mut members = Vec::new();
    let Some(value) = flags.value("members") else { return members };
    let Some(map) = value.as_object() else {
        flags.problem("members", "must be a table of subscribers");
        return members;
    };
    for (subscriber, value) in map {
        if subscriber.is_empty() || subscriber.len() > COMMAND_ID_MAX_BYTES {
            flags.problem("members", "has a subscriber whose name is empty or too long");
        }
        if value.is_null() {
            members.push((subscriber.clone(), None));
            continue;
        }
        let mut member = flags.within(&format!("members.{subscriber}"), value);
        if member.value("caps").is_none() {
            member.problem("caps", "is missing");
        }
        let mut caps = read_caps(&mut member);
        member.finish();
        // In the order of windows, so that the order in which they are given tells nothing.
        caps.sort_by_key(|cap| cap.window);
        members.push((subscriber.clone(), Some(caps)));
    }
    members.sort_by(|a, b| a.0.cmp(&b.0));
    members
}

/// JSON without fractions, in which no field stands twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command without fractions")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("field {key:?} stands twice")));
            }
        }
        Ok(Value::Object(map))
    }
}
