//! What a program asks of a model: read, so that what is decided about is what is asked for.

use serde_json::{Map, Value};

use super::{super::answer::Refused, style::Style, usage::Most};

/// How much may be written where a request names no bound: more than models write of themselves.
const UNBOUNDED: u64 = 32_768;

/// No request has more answers than this to pay for.
const ANSWERS: u64 = 128;

/// A request, as it goes on.
#[derive(Debug)]
pub(super) struct ModelRequest {
    fields: Map<String, Value>,
    size: u64,
    /// Whether the answer is to come as it is written.
    pub(super) streams: bool,
    /// Whether usage was asked for by us and not by the program, which then does not get to see it.
    pub(super) hides_usage: bool,
}

impl ModelRequest {
    /// Reads a body. It goes on as it was understood and never as it came: written twice a member means one thing here and
    /// another elsewhere.
    pub(super) fn read(style: Style, body: &[u8]) -> Result<Self, Refused> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|cause| Refused::invalid(format!("the body is no JSON object: {cause}")))?;
        for name in fields.keys() {
            if ELSEWHERE.contains(&name.as_str()) {
                return Err(Refused::invalid(format!(
                    "`{name}` lets the upstream choose the model, which the lease does; leave it out"
                )));
            }
            let read = READ.iter().find(|read| read.eq_ignore_ascii_case(name));
            if let Some(read) = read.filter(|read| *read != name) {
                return Err(Refused::invalid(format!("`{name}` is written `{read}`")));
            }
        }
        let streams = fields.get("stream").is_some_and(|value| *value == true);
        let hides_usage = streams && style == Style::OpenAi && ask_for_usage(&mut fields)?;
        Ok(Self {
            fields,
            size: body.len() as u64,
            streams,
            hides_usage,
        })
    }

    /// The model that is asked for.
    pub(super) fn model(&self) -> Result<&str, Refused> {
        let model = self.fields.get("model").and_then(Value::as_str);
        model.ok_or_else(|| Refused::invalid("`model` has to be the name of a model"))
    }

    /// What it may use at most. A token is at least one byte of the request; of what is written the request says how much.
    pub(super) fn most(&self) -> Most {
        let number = |name: &str| self.fields.get(name).and_then(Value::as_u64);
        let bounds = ["max_completion_tokens", "max_output_tokens", "max_tokens"];
        // Which of several an upstream goes by is its business.
        let output = bounds.into_iter().filter_map(number).max();
        let output = output.unwrap_or(UNBOUNDED);
        let answers = ["n", "best_of"].into_iter().filter_map(number).max();
        let answers = answers.unwrap_or(1).clamp(1, ANSWERS);
        Most {
            input: self.size,
            output: output.min(MOST_WRITTEN).saturating_mul(answers),
        }
    }

    /// The body, for the model that was allowed.
    pub(super) fn body(mut self, model: &str) -> Vec<u8> {
        self.fields.insert("model".to_owned(), model.into());
        Value::Object(self.fields).to_string().into_bytes()
    }
}

/// Has usage come at the end of a stream; whether the program had not asked for it. Only chat and completions know the option;
/// responses always tell.
fn ask_for_usage(fields: &mut Map<String, Value>) -> Result<bool, Refused> {
    if !fields.contains_key("messages") && !fields.contains_key("prompt") {
        return Ok(false);
    }
    let options = fields
        .entry("stream_options")
        .or_insert_with(|| Value::Object(Map::new()));
    if options.is_null() {
        *options = Value::Object(Map::new());
    }
    let Value::Object(options) = options else {
        return Err(Refused::invalid("`stream_options` has to be an object"));
    };
    let before = options.insert("include_usage".to_owned(), true.into());
    Ok(before != Some(true.into()))
}

/// No answer is longer, whatever bound a request names.
const MOST_WRITTEN: u64 = 10_000_000;

/// Members that are looked at. Some upstreams take them in any case.
const READ: [&str; 9] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "messages",
];

/// Members by which services in between choose another model.
const ELSEWHERE: [&str; 3] = ["models", "fallbacks", "route"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(style: Style, body: &Value) -> Result<ModelRequest, Refused> {
        ModelRequest::read(style, body.to_string().as_bytes())
    }

    #[test]
    fn what_is_sent_is_what_was_read() {
        let twice = br#"{"model":"cheap","messages":[],"model":"dear"}"#;
        let request = ModelRequest::read(Style::OpenAi, twice).unwrap();
        assert_eq!(request.model().unwrap(), "dear");
        let body: Value = serde_json::from_slice(&request.body("dear")).unwrap();
        assert_eq!(body, json!({"model": "dear", "messages": []}));
        for other in [
            json!({"model": "cheap", "Model": "dear"}),
            json!({"model": "cheap", "models": ["dear"]}),
            json!({"model": "cheap", "fallbacks": ["dear"]}),
            json!([1]),
        ] {
            assert!(read(Style::OpenAi, &other).is_err(), "{other}");
        }
        assert!(
            read(Style::OpenAi, &json!({"model": 1}))
                .unwrap()
                .model()
                .is_err()
        );
    }

    #[test]
    fn usage_of_streams_is_asked_for() {
        let asked = json!({"model": "m", "messages": [], "stream": true, "stream_options": {"include_usage": true}});
        assert!(!read(Style::OpenAi, &asked).unwrap().hides_usage);
        let not = json!({"model": "m", "messages": [], "stream": true});
        let request = read(Style::OpenAi, &not).unwrap();
        assert!(request.hides_usage && request.streams);
        let body: Value = serde_json::from_slice(&request.body("m")).unwrap();
        assert_eq!(body["stream_options"]["include_usage"], true);
        assert!(!read(Style::Anthropic, &not).unwrap().hides_usage);
    }

    #[test]
    fn the_most_is_what_the_request_says() {
        let most = |body: Value| read(Style::OpenAi, &body).unwrap().most().output;
        assert_eq!(most(json!({"model": "m", "max_tokens": 7})), 7);
        assert_eq!(most(json!({"model": "m", "max_tokens": 7, "n": 3})), 21);
        assert_eq!(most(json!({"model": "m"})), UNBOUNDED);
    }
}
