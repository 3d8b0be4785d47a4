//! What the built-in agents say of themselves, to people and to models that choose one.

use serde_json::{Value, json};
use towline::{runtime::AgentOptions, wire::RawJson};

/// The options of a built-in agent: its description, and what its input looks like.
pub(super) fn options(agent: &str) -> AgentOptions {
    let (description, schema) = told(agent);
    let options = match description {
        "" => AgentOptions::default(),
        description => AgentOptions::default().description(description),
    };
    match schema {
        Value::Null => options,
        schema => options.input_schema(RawJson::from(schema)),
    }
}

fn told(agent: &str) -> (&'static str, Value) {
    match agent {
        "ask" => (
            "Asks a person one question, and gives the answer",
            question(),
        ),
        "exec" => (
            "Runs a program, confined to what the job's lease allows; lines of its output are events, all of it is the result",
            object(
                json!({"argv": {"type": "array", "items": text(), "minItems": 1}, "cwd": text(), "stdin": text(),
                    "env": {"type": "object", "additionalProperties": text()}}),
                &["argv"],
            ),
        ),
        "index" => (
            "Walks a directory that the job may read, and lists its files: path, size, lines, language, checksum",
            object(json!({"root": text(), "glob": text()}), &["root"]),
        ),
        "listen" => (
            "Waits for n messages, and gives what they said",
            object(json!({"n": count()}), &["n"]),
        ),
        _ => told_for_tries(agent),
    }
}

/// Those that are there to try things with, and to measure.
fn told_for_tries(agent: &str) -> (&'static str, Value) {
    match agent {
        "access" => (
            "Asks the job's lease for each of some operations, and says which were allowed",
            object(json!({"ops": {"type": "array", "items": pair()}}), &["ops"]),
        ),
        "burst" => (
            "Logs n messages as fast as it can, to measure with",
            object(json!({"n": count(), "bytes": count()}), &["n"]),
        ),
        "chatty" => (
            "Logs a line and reports progress, n times",
            object(json!({"n": count(), "delay_ms": count()}), &["n"]),
        ),
        "delegate" => (
            "Hands its work to another agent, and waits for what that gives",
            object(
                json!({"agent": text(), "input": {}, "lease": {"type": "object"}, "constraints": {"type": "object"}}),
                &["agent"],
            ),
        ),
        "echo" => ("Gives its input back", Value::Null),
        "fail" => (
            "Fails, with the code it is given",
            object(
                json!({"code": text(), "message": text(), "panic": {"type": "boolean"}}),
                &[],
            ),
        ),
        "kinds" => ("Emits one event of each kind", object(json!({}), &[])),
        "sleep" => (
            "Sleeps",
            object(
                json!({"ms": count(), "ignore_cancel": {"type": "boolean"}}),
                &["ms"],
            ),
        ),
        "spend" => (
            "Spends money of the job's budget until it is refused",
            object(
                json!({"costs": {"type": "array", "items": pair()}}),
                &["costs"],
            ),
        ),
        "stream" => (
            "Gives a result in pieces",
            object(
                json!({"chunks": count(), "bytes": count(), "binary": {"type": "boolean"}}),
                &["chunks", "bytes"],
            ),
        ),
        // As most agents do: it says nothing of itself.
        _ => ("", Value::Null),
    }
}

/// What `ask` takes.
fn question() -> Value {
    let option = object(json!({"id": text(), "label": text()}), &["id", "label"]);
    object(
        json!({
            "kind": {"enum": ["approval", "choice", "text", "form"]},
            "title": text(),
            "message": text(),
            "key": text(),
            "options": {"type": "array", "items": option},
            "schema": {"type": "object"},
            "expires_in_ms": count(),
            "default": {},
        }),
        &["kind"],
    )
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// Two things of a kind each, as the agents for tries take them.
fn pair() -> Value {
    json!({"type": "array", "minItems": 2, "maxItems": 2})
}
