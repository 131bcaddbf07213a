//! The bytes of an account, in memory while nothing happens to it and in state objects. A package's
//! version stands as a hash, so that the bytes outlive the order of the reference data.

use crate::account::{Account, Exhausted, FiredInPeriod, Member, Watched};
use crate::bucket::Bucket;
use crate::package::Cap;
use crate::reference::QuotaReference;
use crate::usage::{Meter, Slots, Usage};
use crate::varint::{Reader, Unreadable, put_micro, put_signed, put_text, put_unsigned};
use crate::window::Window;

/// The bytes of an account do not parse, or name a package that the reference data does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAccount {
    /// Cut off, not an account at all, or one whose figures none can have.
    #[error("the account's state does not parse")]
    Unreadable,
    /// A package's version is missing.
    #[error("the account's state names a package version that the reference data lacks")]
    UnknownPackage,
    /// There are more accounts than a partition can hold.
    #[error("the partition's accounts are more than 8 GiB")]
    Full,
}

impl From<Unreadable> for BadAccount {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

/// Changes with the layout.
const FORMAT: u128 = 1;
/// Times are written as what they are after 2026-01-01 in Asia/Shanghai.
const BASE_MS: i64 = 1_767_196_800_000;

/// Parts of an account that are there.
const REGION: u128 = 1 << 0;
const OVERFLOW: u128 = 1 << 1;
const EXHAUSTED: u128 = 1 << 2;
const USAGES: u128 = 1 << 3;
const FIRED: u128 = 1 << 4;
const MEMBERS: u128 = 1 << 5;
/// Bits of an account's parts.
const PART_BITS: u32 = 6;

/// Parts of a bucket that are there; those that every second bucket has come first, so that most
/// need one byte.
const USED: u128 = 1 << 0;
const THRESHOLDS: u128 = 1 << 1;
const IN_CHAIN: u128 = 1 << 2;
const ROLLED: u128 = 1 << 3;
const BASE: u128 = 1 << 4;
const ARMED_AGAIN: u128 = 1 << 5;
/// Only while the watermark is raised.
const CLOSED: u128 = 1 << 6;

/// Writes an account; nothing where nothing is known of it.
pub(crate) fn encode(account: &Account, reference: &QuotaReference, out: &mut Vec<u8>) {
    if account.is_blank() {
        return;
    }
    let parts = [
        (REGION, account.region.is_some()),
        (OVERFLOW, account.overflow.is_some()),
        (EXHAUSTED, account.exhausted.is_some()),
        (USAGES, !account.usages.is_empty()),
        (FIRED, !account.fired.is_empty()),
        (MEMBERS, !account.members.is_empty()),
    ];
    put_unsigned(out, FORMAT << PART_BITS | bits(&parts));
    put_unsigned(out, account.buckets.len() as u128);
    for bucket in &account.buckets {
        put_bucket(out, account, reference, bucket);
    }
    if let Some(region) = &account.region {
        put_text(out, region);
    }
    if let Some(tariff) = account.overflow {
        out.extend_from_slice(&tariff.to_le_bytes());
    }
    if let Some(exhausted) = account.exhausted {
        put_time(out, exhausted.at_ms, BASE_MS);
        put_time(out, exhausted.log_time_ms, exhausted.at_ms);
    }
    if !account.usages.is_empty() {
        put_unsigned(out, account.usages.len() as u128);
        account.usages.iter().for_each(|usage| put_usage(out, usage));
    }
    if !account.fired.is_empty() {
        put_unsigned(out, account.fired.len() as u128);
        for fired in &account.fired {
            out.push(fired.watched.code());
            out.extend_from_slice(&fired.subject.to_le_bytes());
            put_time(out, fired.period_ms, BASE_MS);
            put_signed(out, fired.threshold.into());
        }
    }
    if !account.members.is_empty() {
        put_unsigned(out, account.members.len() as u128);
        for member in &account.members {
            put_text(out, &member.subscriber);
            put_unsigned(out, member.caps.len() as u128);
            for cap in &member.caps {
                out.push(cap.window as u8);
                put_micro(out, cap.limit_micro.into());
            }
        }
    }
}

fn bits(parts: &[(u128, bool)]) -> u128 {
    parts.iter().filter(|part| part.1).map(|part| part.0).sum()
}

fn put_time(out: &mut Vec<u8>, time_ms: i64, before_ms: i64) {
    put_signed(out, i128::from(time_ms) - i128::from(before_ms));
}

fn put_bucket(out: &mut Vec<u8>, account: &Account, reference: &QuotaReference, bucket: &Bucket) {
    let in_chain = (bucket.anchor_ms, bucket.number) != (bucket.valid_from_ms, 0);
    let parts = [
        (USED, bucket.used != 0),
        (THRESHOLDS, bucket.fired != 0),
        (IN_CHAIN, in_chain),
        (ROLLED, bucket.rolled_to_ms.is_some()),
        (BASE, bucket.base_used != 0 || bucket.base_allocated_pico != 0),
        (ARMED_AGAIN, bucket.armed_again != 0),
        (CLOSED, bucket.closed),
    ];
    put_unsigned(out, bits(&parts));
    put_text(out, account.text_of(bucket.id));
    out.extend_from_slice(&reference.package(bucket.package).hash.to_le_bytes());
    put_time(out, bucket.valid_from_ms, BASE_MS);
    put_time(out, bucket.valid_to_ms, bucket.valid_from_ms);
    put_micro(out, bucket.allowance);
    put_micro(out, bucket.price_pico);
    if bucket.used != 0 {
        put_micro(out, bucket.used);
    }
    if bucket.fired != 0 {
        put_unsigned(out, bucket.fired.into());
    }
    if in_chain {
        put_time(out, bucket.anchor_ms, bucket.valid_from_ms);
        put_unsigned(out, bucket.number.into());
    }
    if let Some(rolled_to_ms) = bucket.rolled_to_ms {
        put_time(out, rolled_to_ms, bucket.valid_to_ms);
        put_micro(out, bucket.used_rolled);
    }
    if bucket.base_used != 0 || bucket.base_allocated_pico != 0 {
        put_micro(out, bucket.base_used);
        put_signed(out, bucket.base_allocated_pico);
    }
    if bucket.armed_again != 0 {
        put_unsigned(out, bucket.armed_again.into());
    }
}

fn put_usage(out: &mut Vec<u8>, usage: &Usage) {
    out.push(usage.meter.code());
    out.extend_from_slice(&usage.subject.to_le_bytes());
    put_unsigned(out, usage.slots.len() as u128);
    let mut before_ms = BASE_MS;
    for (start_ms, used) in &usage.slots {
        put_time(out, *start_ms, before_ms);
        put_micro(out, *used);
        before_ms = *start_ms;
    }
}

/// Reads an account into one that is used again.
pub(crate) fn decode(
    name: &str,
    bytes: &[u8],
    reference: &QuotaReference,
    account: &mut Account,
) -> Result<(), BadAccount> {
    decode_by(name, bytes, |hash| reference.position(hash), account)
}

/// The same, where `position` finds a package's version by its hash.
pub(crate) fn decode_by(
    name: &str,
    bytes: &[u8],
    position: impl Fn(u64) -> Option<u32>,
    account: &mut Account,
) -> Result<(), BadAccount> {
    account.reset(name);
    if bytes.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::new(bytes);
    let head = reader.unsigned()?;
    if head >> PART_BITS != FORMAT {
        return Err(BadAccount::Unreadable);
    }
    let has = |part: u128| head & part != 0;
    for _ in 0..reader.small::<u32>()? {
        read_bucket(&mut reader, &position, account)?;
    }
    if has(REGION) {
        account.region = Some(reader.text()?.to_owned());
    }
    if has(OVERFLOW) {
        account.overflow = Some(reader.hash()?);
    }
    if has(EXHAUSTED) {
        let at_ms = read_time(&mut reader, BASE_MS)?;
        let log_time_ms = read_time(&mut reader, at_ms)?;
        account.exhausted = Some(Exhausted { at_ms, log_time_ms });
    }
    if has(USAGES) {
        for _ in 0..reader.small::<u32>()? {
            let slots = account.spare.take();
            account.usages.push(read_usage(&mut reader, slots)?);
        }
    }
    if has(FIRED) {
        for _ in 0..reader.small::<u32>()? {
            let watched = Watched::from_code(reader.byte()?).ok_or(BadAccount::Unreadable)?;
            let subject = reader.hash()?;
            let period_ms = read_time(&mut reader, BASE_MS)?;
            let threshold = reader.time()?;
            account.fired.push(FiredInPeriod { watched, subject, period_ms, threshold });
        }
    }
    if has(MEMBERS) {
        for _ in 0..reader.small::<u32>()? {
            account.members.push(read_member(&mut reader)?);
        }
    }
    if reader.rest().is_empty() { Ok(()) } else { Err(BadAccount::Unreadable) }
}

fn read_time(reader: &mut Reader<'_>, before_ms: i64) -> Result<i64, BadAccount> {
    let ahead = reader.signed()?;
    let time = ahead.checked_add(before_ms.into()).ok_or(BadAccount::Unreadable)?;
    time.try_into().map_err(|_| BadAccount::Unreadable)
}

fn read_bucket(
    reader: &mut Reader<'_>,
    position: &impl Fn(u64) -> Option<u32>,
    account: &mut Account,
) -> Result<(), BadAccount> {
    let parts = reader.unsigned()?;
    let has = |part: u128| parts & part != 0;
    let id = account.add_text(reader.text()?);
    let package = position(reader.hash()?).ok_or(BadAccount::UnknownPackage)?;
    let valid_from_ms = read_time(reader, BASE_MS)?;
    let valid_to_ms = read_time(reader, valid_from_ms)?;
    let mut bucket = Bucket {
        id,
        package,
        valid_from_ms,
        valid_to_ms,
        rolled_to_ms: None,
        anchor_ms: valid_from_ms,
        number: 0,
        allowance: reader.micro()?,
        price_pico: reader.micro()?,
        used: 0,
        used_rolled: 0,
        base_used: 0,
        base_allocated_pico: 0,
        fired: 0,
        armed_again: 0,
        closed: has(CLOSED),
    };
    if has(USED) {
        bucket.used = reader.micro()?;
    }
    if has(THRESHOLDS) {
        bucket.fired = reader.small()?;
    }
    if has(IN_CHAIN) {
        bucket.anchor_ms = read_time(reader, valid_from_ms)?;
        bucket.number = reader.small()?;
    }
    if has(ROLLED) {
        bucket.rolled_to_ms = Some(read_time(reader, valid_to_ms)?);
        bucket.used_rolled = reader.micro()?;
    }
    if has(BASE) {
        bucket.base_used = reader.micro()?;
        bucket.base_allocated_pico = reader.signed()?;
    }
    if has(ARMED_AGAIN) {
        bucket.armed_again = reader.small()?;
    }
    if !bucket.is_sound() {
        return Err(BadAccount::Unreadable);
    }
    account.buckets.push(bucket);
    Ok(())
}

/// Reads a usage into an empty list of slots.
fn read_usage(reader: &mut Reader<'_>, slots: Slots) -> Result<Usage, BadAccount> {
    let meter = Meter::from_code(reader.byte()?).ok_or(BadAccount::Unreadable)?;
    let mut usage = Usage { meter, subject: reader.hash()?, slots };
    let mut before_ms = BASE_MS;
    for _ in 0..reader.small::<u32>()? {
        before_ms = read_time(reader, before_ms)?;
        usage.slots.push((before_ms, reader.micro()?));
    }
    Ok(usage)
}

fn read_member(reader: &mut Reader<'_>) -> Result<Member, BadAccount> {
    let mut member = Member { subscriber: reader.text()?.to_owned(), caps: Vec::new() };
    for _ in 0..reader.small::<u32>()? {
        let code = usize::from(reader.byte()?);
        let window = Window::ALL.get(code).copied().ok_or(BadAccount::Unreadable)?;
        let limit_micro = reader.micro()?.try_into().map_err(|_| BadAccount::Unreadable)?;
        member.caps.push(Cap { window, limit_micro });
    }
    Ok(member)
}
