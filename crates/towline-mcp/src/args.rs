//! What the tools for jobs are called with.

use rmcp::model::JsonObject;
use serde_json::{Value, json};
use towline_runtime::policy::Refusal;
use towline_wire::{JobId, JobSeq, QuestionId, RawJson};

/// The arguments of a call.
pub(crate) struct Args(JsonObject);

impl Args {
    /// The arguments, of which there are none but these.
    ///
    /// # Errors
    /// One that is unknown is refused rather than passed over: a model that misspells one would wait for what it does not get.
    pub(crate) fn new(given: Option<JsonObject>, known: &[&str]) -> Result<Self, Refusal> {
        let given = given.unwrap_or_default();
        match given.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Self(given)),
            Some(name) => Err(Refusal::invalid(format!(
                "`{name}` is not an argument of this tool; there are {}",
                known.join(", ")
            ))),
        }
    }

    /// The job that is meant.
    pub(crate) fn job(&self) -> Result<JobId, Refusal> {
        let text = self.needed_text("job_id")?;
        JobId::parse(text)
            .map_err(|error| Refusal::invalid(format!("`job_id` is no job's name: {error}")))
    }

    /// The question that is meant.
    pub(crate) fn question(&self) -> Result<QuestionId, Refusal> {
        let text = self.needed_text("question_id")?;
        QuestionId::parse(text).map_err(|error| {
            Refusal::invalid(format!("`question_id` is no question's name: {error}"))
        })
    }

    /// A value that has to be there.
    pub(crate) fn needed(&self, name: &str) -> Result<RawJson, Refusal> {
        let value = self.0.get(name).cloned();
        value
            .map(RawJson::from)
            .ok_or_else(|| Refusal::invalid(format!("`{name}` is missing")))
    }

    /// A text that may be there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::invalid(format!("`{name}` is not a text"))),
        }
    }

    /// A whole number that may be there.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => whole(value).map(Some).ok_or_else(|| {
                Refusal::invalid(format!("`{name}` is {value}, not a whole number"))
            }),
        }
    }

    /// A number of seconds that may be there.
    pub(crate) fn seconds(&self, name: &str) -> Result<Option<f64>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
                .map(Some)
                .ok_or_else(|| {
                    Refusal::invalid(format!("`{name}` is {value}, not a number of seconds"))
                }),
        }
    }

    /// The place in a log that is read on from.
    pub(crate) fn after(&self) -> Result<JobSeq, Refusal> {
        Ok(self
            .number("after")?
            .map_or(JobSeq::ZERO, |number| JobSeq::new(number.min(LAST))))
    }

    /// The payload of a `session.list_jobs`.
    pub(crate) fn listing(&self) -> Result<RawJson, Refusal> {
        let mut filter = json!({});
        match self.0.get("status") {
            None | Some(Value::Null) => {}
            Some(one @ Value::String(_)) => filter["status"] = json!([one]),
            Some(several) => filter["status"] = several.clone(),
        }
        if let Some(agent) = self.text("agent")? {
            filter["agent"] = json!(agent);
        }
        let mut list = json!({"filter": filter});
        if let Some(limit) = self.number("limit")? {
            list["limit"] = json!(limit);
        }
        if let Some(cursor) = self.text("cursor")? {
            list["cursor"] = json!(cursor);
        }
        Ok(list.into())
    }

    fn needed_text(&self, name: &str) -> Result<&str, Refusal> {
        let text = self.text(name)?;
        text.ok_or_else(|| Refusal::invalid(format!("`{name}` is missing")))
    }
}

/// Models write `3.0` for 3.
fn whole(value: &Value) -> Option<u64> {
    let text = value.as_number()?.to_string();
    let text = text.strip_suffix(".0").unwrap_or(&text);
    text.parse().ok()
}

/// The last number of a log (§5).
const LAST: u64 = (1 << 53) - 1;
