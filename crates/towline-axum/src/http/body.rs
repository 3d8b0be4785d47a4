//! The body of a request.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use futures_util::StreamExt as _;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use towline_wire::{RawJson, Shown};

use super::problem::Problem;
use crate::refusal::shown;

/// The members of a JSON object.
pub(super) type Object = BTreeMap<String, RawJson>;

/// The JSON object a request sends; `None` for an empty body.
///
/// # Errors
/// 413 when it is longer than `limit`, 415 when it is no JSON by its own word, 400 when it is none.
pub(super) async fn object(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Option<Object>, Problem> {
    check_type(headers)?;
    let bytes = read(headers, body, limit).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Err(unknown_type(
            "the body has no Content-Type, send `application/json`",
        ));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))?;
    let members: Members = serde_json::from_str(&text)
        .map_err(|error| Problem::bad_request(format!("the body is not a JSON object: {error}")))?;
    match members.twice {
        // As in a frame: whoever looks at the request before us may have read the other one.
        Some(name) => {
            let name: String = name.chars().take(256).collect();
            let name = Shown::new(&name);
            Err(Problem::bad_request(format!("`{name}`: given twice")))
        }
        None => Ok(Some(members.object)),
    }
}

/// The members of an object, and one that it has twice.
struct Members {
    object: Object,
    twice: Option<String>,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
        let (mut object, mut twice) = (Object::new(), None);
        while let Some((name, value)) = map.next_entry::<String, RawJson>()? {
            match object.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(there) => {
                    twice.get_or_insert_with(|| there.key().clone());
                }
            }
        }
        Ok(Members { object, twice })
    }
}

pub(crate) fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING) {
        let encoding = encoding.to_str().unwrap_or_default();
        if !encoding.eq_ignore_ascii_case("identity") {
            return Err(unknown_type(format!(
                "the body is encoded as {}, send it as it is",
                shown(encoding)
            )));
        }
    }
    let Some(sent) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let sent = sent.to_str().unwrap_or_default();
    let media = sent.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(unknown_type(format!(
        "the body is {}, send `application/json`",
        shown(sent)
    )))
}

fn unknown_type(detail: impl Into<String>) -> Problem {
    Problem::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Vec<u8>, Problem> {
    let too_long = || {
        Problem::invalid(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than {limit} bytes, the most there may be"),
        )
    };
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|_| Problem::bad_request("the body broke off, send all of it"))?;
        if bytes.len() + piece.len() > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
