//! A job's event as one line for people.

use serde_json::Value;
use towline::{
    ErrorCode, Event,
    wire::{EventPayload, RawJson, event},
};

use super::terminal::{BOLD, DIM, GREEN, RED, RESET, YELLOW, clean};
use crate::facts;

/// An event on one line.
pub(super) struct Line {
    /// The line, with colours.
    pub(super) text: String,
    /// Whether a terminal may leave it out and count it instead.
    pub(super) folds: bool,
}

/// The kind of what a coding agent says that has none.
const ACP: &str = "x-vendor.towline.acp";

/// Longer lines are cut: a person reads the beginning, a program reads JSON.
const MAX_CHARS: usize = 400;

/// The event as a line; `None` for those that are shown otherwise (progress, pieces of the result).
pub(super) fn line(payload: &EventPayload) -> Option<Line> {
    let Ok(event) = payload.event() else {
        return Some(plain(DIM, payload.kind.as_str(), payload.body.as_str()));
    };
    Some(match &event {
        Event::Progress(_) | Event::ResultChunk(_) => return None,
        Event::Log(log) => log_line(log),
        Event::Thought(thought) => folding(DIM, "thought", &thought.text),
        Event::ToolCall(call) => folding(
            DIM,
            "call",
            &format!("{} {}", call.tool, call.args.as_str()),
        ),
        Event::ToolResult(result) => tool_result(result),
        Event::Status(status) => plain(
            BOLD,
            "status",
            &format!(
                "{} {}",
                status.phase,
                status.message.as_deref().unwrap_or_default()
            ),
        ),
        Event::Metric(metric) => metric_line(metric),
        Event::ArtifactRef(artifact) => plain(
            GREEN,
            "artifact",
            &format!("{} ({})", artifact.uri, artifact.content_type),
        ),
        Event::Delegate(delegate) => plain(
            BOLD,
            "delegate",
            &format!("{} as {}", delegate.agent, delegate.child_job_id),
        ),
        Event::InputRequest(request) => question(request),
        Event::InputResolved(resolved) => resolution(resolved),
        Event::Grant(grant) => granted(grant),
        Event::Message(message) => told(message),
        Event::Other { kind, body } if kind.as_str() == ACP => acp(body),
        Event::Other { kind, body } => folding(DIM, kind.as_str(), body.as_str()),
    })
}

/// What a coding agent says that has no kind of its own: its name is enough here, and what it changes is an artifact as well.
fn acp(body: &RawJson) -> Line {
    let body: Value = body.to_value();
    let name = body["sessionUpdate"].as_str();
    folding(DIM, "acp", name.unwrap_or("session"))
}

fn metric_line(metric: &event::Metric) -> Line {
    let (name, value) = (&metric.name, &metric.value);
    let unit = metric.unit.as_deref().unwrap_or_default();
    // Money is nothing to be folded away.
    if name == facts::BUDGET_LEFT {
        plain(DIM, "budget", &format!("{value} {unit} left"))
    } else if facts::is_cost(name) {
        plain(DIM, "cost", &format!("{value} {unit} {name}"))
    } else {
        folding(DIM, "metric", &format!("{name} {value} {unit}"))
    }
}

fn question(request: &event::InputRequest) -> Line {
    let hint = if request.may_answer == Some(false) {
        " (not yours to answer)".to_owned()
    } else {
        format!(" ({}, until {})", request.kind, request.expires_at)
    };
    let text = format!("{} {}{hint}", request.question_id, request.title);
    plain(YELLOW, "asks", &text)
}

fn resolution(resolved: &event::InputResolved) -> Line {
    let by = resolved.by.as_deref();
    let by = by.map_or_else(String::new, |by| format!(" by {by}"));
    let answer = resolved.answer.as_ref();
    let answer = answer.map_or_else(String::new, |answer| format!(": {answer}"));
    let note = resolved.note.as_deref();
    let note = note.map_or_else(String::new, |note| format!(" ({note})"));
    let (id, outcome) = (&resolved.question_id, &resolved.outcome);
    plain(BOLD, "answer", &format!("{id} {outcome}{by}{answer}{note}"))
}

fn granted(grant: &event::Grant) -> Line {
    let text = format!("{}={} by {}", grant.namespace, grant.pattern, grant.by);
    plain(GREEN, "grant", &text)
}

fn told(message: &event::Message) -> Line {
    let by = message.by.as_deref().unwrap_or("somebody");
    plain(BOLD, "message", &format!("{by}: {}", message.body))
}

fn log_line(log: &event::Log) -> Line {
    let attributes = log
        .attributes
        .as_ref()
        .map_or_else(String::new, |raw| format!(" {}", raw.as_str()));
    let text = format!("{}{attributes}", log.message);
    match log.level.to_ascii_lowercase().as_str() {
        "error" | "fatal" => plain(RED, "error", &text),
        "warn" | "warning" => plain(YELLOW, "warn", &text),
        "debug" | "trace" => folding(DIM, "debug", &text),
        level => plain("", level, &text),
    }
}

fn tool_result(result: &event::ToolResult) -> Line {
    let Some(error) = &result.error else {
        return folding(
            DIM,
            "result",
            result.result.as_ref().map_or("", RawJson::as_str),
        );
    };
    let refused = [
        ErrorCode::PERMISSION_DENIED,
        ErrorCode::LEASE_SUBSET_VIOLATION,
        ErrorCode::LEASE_EXPIRED,
        ErrorCode::BUDGET_EXHAUSTED,
    ];
    let label = if refused.contains(&error.code) {
        "refused"
    } else {
        "failed"
    };
    plain(YELLOW, label, &format!("{}: {}", error.code, error.message))
}

fn plain(style: &str, label: &str, text: &str) -> Line {
    let reset = if style.is_empty() { "" } else { RESET };
    let text = cut(&clean(text.trim_end()));
    let label = clean(label);
    Line {
        text: format!("{style}{label:>8}{reset}  {text}"),
        folds: false,
    }
}

fn folding(style: &str, label: &str, text: &str) -> Line {
    Line {
        folds: true,
        ..plain(style, label, text)
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: &str, expected: Option<(&str, bool)>) {
        let payload: EventPayload = serde_json::from_str(payload).unwrap();
        let line = line(&payload).map(|line| {
            (
                anstream::adapter::strip_str(&line.text).to_string(),
                line.folds,
            )
        });
        assert_eq!(line, expected.map(|(text, folds)| (text.to_owned(), folds)));
    }

    #[test]
    fn each_kind_has_its_line() {
        check(
            r#"{"kind":"log","body":{"level":"INFO","message":"a\u001b[31mb"}}"#,
            Some(("    info  a\\u{1b}[31mb", false)),
        );
        check(
            r#"{"kind":"log","body":{"level":"debug","message":"x"}}"#,
            Some(("   debug  x", true)),
        );
        check(
            r#"{"kind":"metric","body":{"name":"cost.x","value":0.40,"unit":"USD"}}"#,
            Some(("    cost  0.40 USD cost.x", false)),
        );
        check(
            r#"{"kind":"metric","body":{"name":"tokens","value":7}}"#,
            Some(("  metric  tokens 7", true)),
        );
        check(
            r#"{"kind":"metric","body":{"name":"cost.budget.remaining","value":0.60,"unit":"USD"}}"#,
            Some(("  budget  0.60 USD left", false)),
        );
        check(r#"{"kind":"progress","body":{"current":1}}"#, None);
        check(
            r#"{"kind":"x-vendor.a.b","body":{"c":1}}"#,
            Some((r#"x-vendor.a.b  {"c":1}"#, true)),
        );
        check(
            r#"{"kind":"x-vendor.towline.acp","body":{"sessionUpdate":"plan","entries":[]}}"#,
            Some(("     acp  plan", true)),
        );
        let refused = r#"{"kind":"tool_result","body":{"call_id":"c","error":{"code":"PERMISSION_DENIED","message":"no"}}}"#;
        check(refused, Some((" refused  PERMISSION_DENIED: no", false)));
        check(
            r#"{"kind":"log","body":{"nonsense":1}}"#,
            Some((r#"     log  {"nonsense":1}"#, false)),
        );
    }

    #[test]
    fn long_lines_are_cut() {
        let payload = format!(
            r#"{{"kind":"thought","body":{{"text":"{}"}}}}"#,
            "ü".repeat(5000)
        );
        let line = line(&serde_json::from_str(&payload).unwrap()).unwrap();
        assert!(line.text.chars().count() < 500 && line.text.ends_with('…'));
    }
}
