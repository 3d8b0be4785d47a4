//! How a trace context travels in an envelope.

use std::{borrow::Cow, str::FromStr as _};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use towline_wire::{Envelope, RawJson, UnknownField};

/// The extension that holds `{"traceparent": …, "tracestate": …}` of W3C Trace Context; also the name of the top-level
/// field that one SDK uses instead.
pub const EXTENSION: &str = "x-vendor.opentelemetry.tracecontext";

/// The trace context an envelope carries, in its extensions or, failing that, in a top-level field. What is malformed is
/// ignored: a broken context costs the link between two spans, never the message [ARCP 11-3].
pub fn extract(envelope: &Envelope) -> Option<SpanContext> {
    let extensions = envelope.extensions.as_ref().map(RawJson::as_str);
    // Most envelopes have no context, and a search is cheaper than parsing extensions of others.
    let extensions = extensions.filter(|extensions| extensions.contains(EXTENSION));
    let extended = extensions
        .and_then(extension_of)
        .and_then(|context| context_of(context.get()));
    extended.or_else(|| {
        let field = envelope
            .unknown
            .iter()
            .find(|field| field.name == EXTENSION)?;
        context_of(field.value.as_str())
    })
}

/// Puts a trace context into an envelope's extensions, in place of one that is there; other extensions stay as they are.
/// A top-level field of that name is brought up to date if there is one. A context that is not valid changes nothing.
pub fn inject(envelope: &mut Envelope, context: &SpanContext) {
    inject_into(envelope, context, false);
}

/// [`inject`], adding the top-level field if `top_level`.
pub(crate) fn inject_into(envelope: &mut Envelope, context: &SpanContext, top_level: bool) {
    if !context.is_valid() {
        return;
    }
    let value = carrier(context);
    let stands = envelope
        .unknown
        .iter_mut()
        .find(|field| field.name == EXTENSION);
    match stands {
        Some(field) => field.value = value.clone().into(),
        None if top_level => {
            let field = UnknownField {
                name: EXTENSION.to_owned(),
                value: value.clone().into(),
            };
            envelope.unknown.push(field);
        }
        None => {}
    }
    let before = envelope
        .extensions
        .as_ref()
        .map(RawJson::read::<Map<String, Value>>);
    let Ok(mut extensions) = before.unwrap_or_else(|| Ok(Map::new())) else {
        return;
    };
    extensions.insert(EXTENSION.to_owned(), value);
    envelope.extensions = Some(Value::Object(extensions).into());
}

fn carrier(context: &SpanContext) -> Value {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let traceparent = format!(
        "00-{}-{}-{flags:02x}",
        context.trace_id(),
        context.span_id()
    );
    let mut fields = Map::new();
    fields.insert("traceparent".to_owned(), traceparent.into());
    let tracestate = context.trace_state().header();
    if !tracestate.is_empty() {
        fields.insert("tracestate".to_owned(), tracestate.into());
    }
    Value::Object(fields)
}

fn extension_of(extensions: &str) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Extensions<'a> {
        #[serde(borrow, default, rename = "x-vendor.opentelemetry.tracecontext")]
        context: Option<&'a RawValue>,
    }
    serde_json::from_str::<Extensions<'_>>(extensions)
        .ok()?
        .context
}

fn context_of(json: &str) -> Option<SpanContext> {
    #[derive(Deserialize)]
    struct Carrier<'a> {
        #[serde(borrow)]
        traceparent: Cow<'a, str>,
        #[serde(borrow, default)]
        tracestate: Option<&'a RawValue>,
    }
    // serde would also take the fields from an array.
    let object = json.starts_with('{').then_some(json)?;
    let carrier: Carrier<'_> = serde_json::from_str(object).ok()?;
    let (trace, span) = towline_wire::TraceId::parse_lenient(&carrier.traceparent)?;
    let sampled = flags_of(&carrier.traceparent)? & TraceFlags::SAMPLED;
    let state = carrier
        .tracestate
        .and_then(|state| serde_json::from_str::<Cow<'_, str>>(state.get()).ok());
    let state = state.filter(|state| state.len() <= MAX_STATE_BYTES);
    let state = state
        .and_then(|state| TraceState::from_str(&state).ok())
        .unwrap_or_default();
    Some(remote(trace, span?, sampled, state))
}

/// The context of a span elsewhere.
pub(crate) fn remote(
    trace: towline_wire::TraceId,
    span: towline_wire::SpanId,
    flags: TraceFlags,
    state: TraceState,
) -> SpanContext {
    let (trace, span) = (
        TraceId::from_bytes(trace.to_bytes()),
        SpanId::from_bytes(span.to_bytes()),
    );
    SpanContext::new(trace, span, flags, true, state)
}

/// The flags of a `traceparent` whose form has been checked.
fn flags_of(traceparent: &str) -> Option<TraceFlags> {
    let flags = u8::from_str_radix(traceparent.split('-').nth(3)?, 16).ok()?;
    Some(TraceFlags::new(flags))
}

/// What W3C Trace Context asks everybody to pass on.
const MAX_STATE_BYTES: usize = 512;
