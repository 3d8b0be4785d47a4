//! What a program asks of a model: read, so that what is decided about is what is asked for.

use serde_json::{Map, Value};

use super::{
    super::answer::Refused,
    style::Style,
    usage::{Most, count},
};

/// How much may be written where a request names no bound: more than models write of themselves.
const UNBOUNDED: u64 = 32_768;

/// No request has more answers than this to pay for.
const ANSWERS: u64 = 128;

/// A request, as it goes on.
#[derive(Debug)]
pub(super) struct ModelRequest {
    fields: Map<String, Value>,
    /// How many tokens it has the model read at most.
    input: u64,
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
        for name in NUMBERS {
            let given = fields.get(name).filter(|value| !value.is_null());
            if given.is_some_and(|value| count(value).is_none()) {
                return Err(Refused::invalid(format!("`{name}` is no whole number")));
            }
        }
        // A token is at least one byte of the request, where that holds what the model reads.
        let size = body.len() as u64;
        let elsewhere = fields.iter().any(|(name, value)| is_elsewhere(name, value));
        let input = if elsewhere { size.max(MOST_READ) } else { size };
        let hides_usage = streams && style == Style::OpenAi && ask_for_usage(&mut fields)?;
        Ok(Self {
            fields,
            input,
            streams,
            hides_usage,
        })
    }

    /// The model that is asked for.
    pub(super) fn model(&self) -> Result<&str, Refused> {
        let model = self.fields.get("model").and_then(Value::as_str);
        model.ok_or_else(|| Refused::invalid("`model` has to be the name of a model"))
    }

    /// What it may use at most: of what is written the request says how much.
    pub(super) fn most(&self) -> Most {
        let number = |name: &&str| self.fields.get(*name).and_then(count);
        let [written @ .., _, _] = &NUMBERS;
        let [.., n, best_of] = &NUMBERS;
        // Which of several an upstream goes by is its business.
        let output = written.iter().filter_map(number).max();
        let output = output.unwrap_or(UNBOUNDED);
        let answers = [n, best_of].into_iter().filter_map(number).max();
        let answers = answers.unwrap_or(1).clamp(1, ANSWERS);
        Most {
            input: self.input,
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

/// Whether a member has the model read what the request does not hold: what the service keeps, what it fetches from an address, and
/// what its own tools bring.
fn is_elsewhere(name: &str, value: &Value) -> bool {
    // Descriptions of tools, and what a model gave them: the service reads them as they are.
    let is_text = matches!(name, "input_schema" | "parameters" | "schema" | "arguments")
        || name == "input" && value.is_object();
    if is_text {
        return false;
    }
    let kind = || value.get("type").and_then(Value::as_str);
    let own = match name {
        "previous_response_id"
        | "conversation"
        | "container"
        | "file_id"
        | "file_url"
        | "vector_store_ids"
        | "mcp_servers"
        | "web_search_options" => !value.is_null(),
        "image_url" => {
            let url = value.get("url").unwrap_or(value);
            !url.as_str().is_some_and(|url| url.starts_with("data:"))
        }
        // The text of a completion, or the name of a prompt that the service keeps.
        "prompt" => value.is_object(),
        "source" => kind().is_some_and(|kind| matches!(kind, "url" | "file")),
        "tools" => {
            let tools = value.as_array().map_or(&[][..], Vec::as_slice);
            let is_hosted = |tool: &Value| {
                let kind = tool.get("type").and_then(Value::as_str);
                kind.is_some_and(|kind| !matches!(kind, "function" | "custom"))
            };
            tools.iter().any(is_hosted)
        }
        _ => false,
    };
    own || match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| is_elsewhere(name, value)),
        Value::Array(items) => items.iter().any(|item| is_elsewhere("", item)),
        _ => false,
    }
}

/// What a model reads at most of what is elsewhere, in tokens: more than the largest of them takes.
const MOST_READ: u64 = 2_000_000;

/// Members that are whole numbers: how much may be written, and how often.
const NUMBERS: [&str; 5] = [
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "n",
    "best_of",
];

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
        assert_eq!(most(json!({"max_tokens": 7.0, "n": 128.0})), 896);
        assert_eq!(most(json!({"max_tokens": null})), UNBOUNDED);
        for odd in [json!(1.5), json!("9"), json!(-1), json!([1])] {
            let body = json!({"model": "m", "max_tokens": odd});
            assert!(read(Style::OpenAi, &body).is_err(), "{odd}");
        }
    }

    /// [ARCP 18-3] What is read elsewhere is in no byte of the request, and costs all the same.
    #[test]
    fn what_is_read_elsewhere_counts() {
        let input = |body: Value| read(Style::OpenAi, &body).unwrap().most().input;
        for elsewhere in [
            json!({"previous_response_id": "resp_1"}),
            json!({"prompt": {"id": "pmpt_1"}}),
            json!({"input": [{"content": [{"type": "input_file", "file_id": "f"}]}]}),
            json!({"messages": [{"content": [{"image_url": {"url": "https://a.test/x.png"}}]}]}),
            json!({"messages": [{"content": [{"source": {"type": "url", "url": "https://a.test"}}]}]}),
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ] {
            assert_eq!(input(elsewhere.clone()), MOST_READ, "{elsewhere}");
        }
        for here in [
            json!({"previous_response_id": null, "prompt": "write"}),
            json!({"messages": [{"content": [{"image_url": {"url": "data:image/png;base64,AA"}}]}]}),
            json!({"messages": [{"content": [{"source": {"type": "base64", "data": "AA"}}]}]}),
            json!({"tools": [{"type": "function", "parameters": {"container": 1}}]}),
            json!({"tools": [{"name": "mine", "input_schema": {"file_id": 1}}]}),
        ] {
            assert_eq!(input(here.clone()), here.to_string().len() as u64);
        }
    }
}
