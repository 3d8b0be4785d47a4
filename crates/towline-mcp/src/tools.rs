//! The tools there are.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};
use towline_wire::payload::AgentListing;

/// The tools for jobs.
pub(crate) const OWN: [&str; 6] = [
    "job_answer",
    "job_cancel",
    "job_events",
    "job_get",
    "job_wait",
    "jobs",
];

/// An agent's tool.
pub(crate) fn of_agent(name: String, agent: &AgentListing) -> Tool {
    let description = agent.description.as_deref().map_or_else(
        || format!("Runs the agent `{}` as a job.", agent.name),
        |text| text.trim_end().to_owned(),
    );
    let description = format!("{description}{HANDED_OVER}");
    Tool::new(name, description, Arc::new(input_of(agent))).with_annotations(
        ToolAnnotations::new()
            .read_only(false)
            .idempotent(false)
            .open_world(true),
    )
}

/// What every agent's tool says beside what the agent says of itself.
const HANDED_OVER: &str = "\n\nThis starts a job. When it has not ended after 50 seconds you get its job_id, and it goes on: \
    call job_wait with it.";

/// What the tool of an agent takes: an object, whatever the agent does.
fn input_of(agent: &AgentListing) -> JsonObject {
    match schema_of(agent) {
        None => object(json!({"type": "object"})),
        Some(Input::Object(schema)) => schema,
        Some(Input::Other(schema)) => object(json!({
            "type": "object",
            "properties": {"input": schema},
            "required": ["input"],
        })),
    }
}

/// Whether an agent's input is something else than an object, and so stands in the member `input` [ARCP 19-1].
pub(crate) fn is_wrapped(agent: &AgentListing) -> bool {
    matches!(schema_of(agent), Some(Input::Other(_)))
}

enum Input {
    Object(JsonObject),
    Other(Value),
}

/// What an agent says of its input. A schema of an object says so by its type or its properties.
fn schema_of(agent: &AgentListing) -> Option<Input> {
    let schema: JsonObject = agent.input_schema.as_ref()?.read().ok()?;
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "object" => Some(Input::Object(schema)),
        None if schema.contains_key("properties") => {
            let mut schema = schema;
            schema.insert("type".to_owned(), json!("object"));
            Some(Input::Object(schema))
        }
        None if schema.is_empty() => None,
        _ => Some(Input::Other(Value::Object(schema))),
    }
}

/// The tools for jobs.
pub(crate) fn own() -> Vec<Tool> {
    let job = json!({"type": "string", "description": "the job_id"});
    let wait = json!({"type": "number", "minimum": 0, "maximum": 50, "description": "seconds, 50 when it is not said"});
    vec![
        looking(
            "job_get",
            "Shows a job as it stands: status, progress of its log, budget, open questions, and its result or error once it has ended.",
            json!({"job_id": job}),
            &["job_id"],
        ),
        looking(
            "job_wait",
            "Waits for a job's end, at most 50 seconds, and gives its result. Call it again while the job is running.",
            json!({"job_id": job, "timeout_sec": wait}),
            &["job_id"],
        ),
        looking(
            "job_events",
            "Reads what a job did: log lines, thoughts, tool calls, progress, costs. Each event has a number; pass the last one as `after` to go on from there.",
            json!({"job_id": job, "after": {"type": "integer", "minimum": 0}, "limit": {"type": "integer", "minimum": 1, "maximum": 1000}}),
            &["job_id"],
        ),
        acting(
            "job_cancel",
            "Ends a job that is no longer wanted. Nothing else does: neither a cancelled call nor a lost connection.",
            json!({"job_id": job, "reason": {"type": "string"}}),
            &["job_id"],
            true,
        ),
        acting(
            "job_answer",
            "Answers a question that a job asks. Approvals are for a person: unless the operator allows it, they are refused here.",
            json!({
                "job_id": job,
                "question_id": {"type": "string"},
                "answer": {"description": "an option's id for a choice, a text, an object for a form, true or false for an approval"},
            }),
            &["job_id", "question_id", "answer"],
            false,
        ),
        looking(
            "jobs",
            "Lists jobs, those submitted first before the others.",
            json!({
                "status": {
                    "description": "one of these, or a list of them",
                    "anyOf": [
                        {"enum": STATUSES},
                        {"type": "array", "items": {"enum": STATUSES}},
                    ],
                },
                "agent": {"type": "string", "description": "NAME for every version, NAME@VERSION for one"},
                "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
                "cursor": {"type": "string", "description": "the next_cursor of the page before"},
            }),
            &[],
        ),
    ]
}

fn looking(name: &'static str, text: &'static str, members: Value, required: &[&str]) -> Tool {
    Tool::new(name, text, Arc::new(takes(members, required))).with_annotations(
        ToolAnnotations::new()
            .read_only(true)
            .idempotent(true)
            .open_world(false),
    )
}

fn acting(
    name: &'static str,
    text: &'static str,
    members: Value,
    required: &[&str],
    destructive: bool,
) -> Tool {
    Tool::new(name, text, Arc::new(takes(members, required))).with_annotations(
        ToolAnnotations::new()
            .read_only(false)
            .destructive(destructive)
            .open_world(false),
    )
}

fn takes(members: Value, required: &[&str]) -> JsonObject {
    let mut takes = object(json!({"type": "object", "properties": members}));
    if !required.is_empty() {
        takes.insert("required".to_owned(), json!(required));
    }
    takes.insert("additionalProperties".to_owned(), json!(false));
    takes
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

const STATUSES: [&str; 6] = [
    "pending",
    "running",
    "success",
    "error",
    "cancelled",
    "timed_out",
];
