//! Whether an answer fits its question.

use towline_wire::{
    RawJson,
    event::{ChoiceOption, InputRequest, QuestionKind},
};

#[cfg(feature = "schema")]
use super::steps;

/// Whether an answer fits a question; why it does not.
pub(super) fn fits(request: &InputRequest, answer: &RawJson) -> Result<(), String> {
    let options = request.options.as_deref();
    fits_kind(&request.kind, options, request.schema.as_ref(), answer)
}

/// The same for what makes up a question.
pub(super) fn fits_kind(
    kind: &QuestionKind,
    options: Option<&[ChoiceOption]>,
    schema: Option<&RawJson>,
    answer: &RawJson,
) -> Result<(), String> {
    if answer.as_str().len() > MAX_ANSWER {
        return Err(format!("it has more than {MAX_ANSWER} bytes"));
    }
    if *kind == QuestionKind::APPROVAL {
        let said = answer.read::<bool>();
        return said
            .map(drop)
            .map_err(|_| "an approval is answered with true or false".to_owned());
    }
    if *kind == QuestionKind::FORM {
        return fits_schema(schema.unwrap_or(&RawJson::EMPTY_OBJECT), answer);
    }
    let Ok(text) = answer.read::<String>() else {
        return Err(format!("a {kind} is answered with a text"));
    };
    let options = match options {
        Some(options) if *kind == QuestionKind::CHOICE => options,
        _ => return Ok(()),
    };
    if options.iter().any(|option| option.id == text) {
        return Ok(());
    }
    let ids: Vec<_> = options
        .iter()
        .map(|option| format!("`{}`", option.id))
        .collect();
    Err(format!("it is none of {}", ids.join(", ")))
}

/// Whether two answers say the same.
pub(super) fn same(left: &RawJson, right: &RawJson) -> bool {
    let value = |json: &RawJson| json.read::<serde_json::Value>().ok();
    left == right || value(left) == value(right)
}

#[cfg(feature = "schema")]
fn fits_schema(schema: &RawJson, answer: &RawJson) -> Result<(), String> {
    let answer: serde_json::Value = answer.read().map_err(|cause| cause.to_string())?;
    if !answer.is_object() {
        return Err("a form is answered with an object".to_owned());
    }
    let (validator, parts) = compile(schema)?;
    steps::affordable(parts, &answer)?;
    validator.validate(&answer).map_err(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "/" } else { &place };
        // Masked: an answer may hold what is nobody's business but the agent's.
        format!("{} at `{place}`", error.masked())
    })
}

/// Whether a schema is one.
#[cfg(feature = "schema")]
pub(super) fn compiles(schema: &RawJson) -> Result<(), String> {
    compile(schema).map(drop)
}

/// A schema, ready, and how many parts it has. None fetches another one: nothing is read here, by whatever name.
#[cfg(feature = "schema")]
fn compile(schema: &RawJson) -> Result<(jsonschema::Validator, u64), String> {
    let schema: serde_json::Value = schema.read().map_err(|cause| cause.to_string())?;
    let parts = steps::parts(&schema)?;
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(&schema)
        .map_err(|error| error.to_string())?;
    Ok((validator, parts))
}

#[cfg(not(feature = "schema"))]
fn fits_schema(_schema: &RawJson, _answer: &RawJson) -> Result<(), String> {
    Err(NO_FORMS.to_owned())
}

#[cfg(not(feature = "schema"))]
pub(super) fn compiles(_schema: &RawJson) -> Result<(), String> {
    Err(NO_FORMS.to_owned())
}

#[cfg(not(feature = "schema"))]
const NO_FORMS: &str = "this runtime was built without forms (the feature `forms`)";

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
