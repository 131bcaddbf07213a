//! Bytes as a protobuf `UsageBatch`: what our reader takes without a defect, the generated decoder
//! takes too, and both see the same events; and what that one writes, ours can read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use tally_aggregate::fuzzed::read_batch;
use tally_schemas::{
    EventErrorCode, Usage, UsageBatch, UsageEventMessage, UsageSourceCode, parse_event,
};

fuzz_target!(|bytes: &[u8]| {
    // A seed is an event in JSON; what comes of it is a batch that is mutated from then on.
    let from_json = bytes.starts_with(b"{").then(|| {
        let parsed = parse_event(bytes);
        UsageBatch { events: vec![UsageEventMessage::from_event(&parsed.event)] }.encode_to_vec()
    });
    let bytes = from_json.as_deref().unwrap_or(bytes);
    let generated = UsageBatch::decode(bytes);
    if let Some(events) = read_batch(bytes) {
        for event in &events {
            let scratch = &mut Vec::new();
            event.event.identity_hash(scratch);
            event.event.content_hash(scratch);
        }
        if events.iter().all(|event| event.errors.is_empty()) {
            let generated = generated.as_ref().expect("ours has no defect");
            let ours: Vec<UsageEventMessage> =
                events.iter().map(|parsed| UsageEventMessage::from_event(&parsed.event)).collect();
            let theirs: Vec<UsageEventMessage> =
                generated.events.iter().cloned().map(without_defaults).collect();
            assert_eq!(ours, theirs);
        }
    }
    if let Ok(batch) = generated
        && !batch.events.is_empty()
    {
        let again = batch.encode_to_vec();
        let events = read_batch(&again).expect("a batch of the generated encoder");
        assert_eq!(events.len(), batch.events.len());
        for event in &events {
            let is_malformed = |code| code == EventErrorCode::Malformed;
            assert!(!event.errors.iter().any(|error| is_malformed(error.code)), "{event:?}");
        }
    }
});

/// The message as we write it: what is at its default is left out.
fn without_defaults(mut message: UsageEventMessage) -> UsageEventMessage {
    for text in [
        &mut message.subscriber,
        &mut message.billed_model,
        &mut message.vendor,
        &mut message.supplier,
        &mut message.finish_reason,
        &mut message.service_tier,
        &mut message.region,
        &mut message.channel,
        &mut message.product,
        &mut message.vendor_request_id,
    ] {
        *text = text.take().filter(|text| !text.is_empty());
    }
    if message.usage_source == UsageSourceCode::Reported as i32 {
        message.usage_source = UsageSourceCode::Unspecified.into();
    }
    let usage = message.usage.unwrap_or_default();
    let counted = |count: Option<u64>| count.filter(|count| *count != 0);
    message.usage = Some(Usage {
        input: Some(usage.input.unwrap_or(0)),
        cached_input: counted(usage.cached_input),
        cache_write_5m: counted(usage.cache_write_5m),
        cache_write_1h: counted(usage.cache_write_1h),
        output: counted(usage.output),
        reasoning: counted(usage.reasoning),
        audio_input: counted(usage.audio_input),
        audio_output: counted(usage.audio_output),
        image_input: counted(usage.image_input),
        image_output: counted(usage.image_output),
        requests: usage.requests.filter(|count| *count != 1),
        images: counted(usage.images),
        seconds: counted(usage.seconds),
        characters: counted(usage.characters),
        total: None,
    });
    message
}
