//! The tools that every job has.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};
use towline_runtime::ToolInfo;

/// Their names.
pub(super) const OWN: [&str; 5] = ["ask_human", "checkpoint", "delegate", "progress", "spend"];

/// What there is to say of them.
pub(super) fn own() -> Vec<Tool> {
    vec![delegate(), ask_human(), checkpoint(), progress(), spend()]
}

fn delegate() -> Tool {
    tool(
        "delegate",
        "Runs another agent as a child job and waits for its end. It gets no more than what this job may do: `lease` maps namespaces \
         (fs.read, fs.write, net.fetch, tool.call, …) to lists of patterns. Gives {child, status, result} or {child, status, error}.",
        &json!({
            "agent": text("the agent, NAME or NAME@VERSION"),
            "input": anything(),
            "lease": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            "constraints": {"type": "object", "properties": {"expires_at": text("a time in UTC")}},
        }),
        &["agent"],
    )
}

fn ask_human() -> Tool {
    tool(
        "ask_human",
        "Asks a person and waits for the answer, at most an hour or so. The answer tells you what the person wants; it lets nothing \
         through that your permissions do not cover. Gives {outcome, answer}: without an answer the outcome says why.",
        &json!({
            "kind": {"type": "string", "enum": ["approval", "choice", "text", "form"]},
            "title": text("the question, in a line"),
            "message": text("what there is to know about it"),
            "key": text("names the question: asked again with the same key, it has the same answer; default: its words"),
            "options": {"type": "array", "items": {"type": "object", "properties": {"id": text("what is answered"), "label": text("what is shown")}, "required": ["id", "label"]}},
            "schema": {"type": "object", "description": "for a form: the JSON Schema of the answer"},
            "expires_in_ms": {"type": "integer", "minimum": 1},
            "default": {"description": "what is answered when nobody is there"},
        }),
        &["kind", "title"],
    )
}

fn checkpoint() -> Tool {
    tool(
        "checkpoint",
        "Keeps a value for a later run of this job, should this one break off. Called without a value it gives the one that was kept \
         last, {value}, which is null when there is none.",
        &json!({"value": anything()}),
        &[],
    )
}

fn progress() -> Tool {
    tool(
        "progress",
        "Tells whoever watches how far the job is.",
        &json!({
            "current": {"type": "number", "minimum": 0},
            "total": {"type": "number", "minimum": 0},
            "units": text("what is counted"),
            "message": text("what is being done"),
        }),
        &["current"],
    )
}

fn spend() -> Tool {
    tool(
        "spend",
        "Books money that was spent for the job. Gives what is left of the budget, {remaining: {CURRENCY: AMOUNT}}; a job whose budget \
         is used up ends.",
        &json!({
            "currency": text("USD, say"),
            "amount": {"type": ["string", "number"], "description": "not negative; as a text it keeps its digits"},
        }),
        &["currency", "amount"],
    )
}

/// A tool of a server, under the name that models have for it.
pub(super) fn of_server(name: String, tool: &ToolInfo) -> Tool {
    let schema: JsonObject = tool.input_schema.read().unwrap_or_default();
    let description = tool.description.clone().unwrap_or_default();
    Tool::new(name, description, Arc::new(schema)).with_title(tool.name.clone())
}

fn anything() -> Value {
    json!({"description": "any JSON value"})
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn tool(
    name: &'static str,
    description: &'static str,
    properties: &Value,
    required: &[&str],
) -> Tool {
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), properties.clone());
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    Tool::new(name, description, Arc::new(schema))
}
