//! What an agent asks permission for, as operations of the lease [ARCP 17-4].

use serde_json::{Value, json};
use towline_proto::lease::Operation;
use towline_runtime::{JobContext, Level};
use towline_wire::{CallId, ErrorCode, event, namespace};

/// What is answered, and whether it is leave.
pub(super) struct Decided {
    pub(super) answer: Value,
    pub(super) allowed: bool,
}

/// Answers a request: once where the lease covers all of it, or a person lets it through; never for good. A refusal is the end of
/// the call that it is about, where that is in the log.
pub(super) async fn decide(
    ctx: &JobContext,
    told: &Value,
    options: &Value,
    call: Option<&CallId>,
) -> Decided {
    let allowed = match operations(told) {
        Some(operations) => allows(ctx, &operations, call).await,
        None => {
            unclear(ctx, told, call).await;
            false
        }
    };
    let wanted: &[&str] = if allowed {
        &["allow_once", "reject_once"]
    } else {
        &["reject_once"]
    };
    let options = options.as_array().map_or(&[][..], Vec::as_slice);
    let chosen = wanted.iter().find_map(|kind| {
        let option = options.iter().find(|option| option["kind"] == **kind)?;
        option["optionId"].as_str().map(str::to_owned)
    });
    let answer = match chosen {
        Some(option) => json!({"outcome": {"outcome": "selected", "optionId": option}}),
        None => cancelled(),
    };
    Decided { answer, allowed }
}

/// The answer to a request that nobody decides any more.
pub(super) fn cancelled() -> Value {
    json!({"outcome": {"outcome": "cancelled"}})
}

async fn allows(
    ctx: &JobContext,
    operations: &[(&'static str, String)],
    call: Option<&CallId>,
) -> bool {
    for (namespace, value) in operations {
        let operation = Operation::of(namespace, value);
        let permit = match call {
            Some(call) => ctx.authorize_call(operation, call).await,
            None => ctx.authorize(operation).await,
        };
        if permit.is_err() {
            return false;
        }
    }
    true
}

/// Notes that a call is refused because nobody can tell what it does.
async fn unclear(ctx: &JobContext, told: &Value, call: Option<&CallId>) {
    let message = if told["kind"] == "execute" {
        "the agent asks to run what is not one simple command, so no `exec:` of the lease covers it"
    } else {
        "the agent does not say on what, so no lease covers it"
    };
    // A job that has ended needs no record of it.
    let Some(call) = call else {
        drop(ctx.log(Level::Warn, message).await);
        return;
    };
    let error = event::ToolError {
        code: ErrorCode::PERMISSION_DENIED,
        message: message.to_owned(),
        retryable: false,
    };
    drop(ctx.tool_failed(call, error).await);
}

/// What has to be covered; `None` when that cannot be told, and so is not covered.
fn operations(call: &Value) -> Option<Vec<(&'static str, String)>> {
    let found = match call["kind"].as_str().unwrap_or("other") {
        "read" | "search" => files(call, namespace::FS_READ)?,
        "edit" | "delete" | "move" => files(call, namespace::FS_WRITE)?,
        "execute" => {
            let program = program(&call["rawInput"]["command"])?;
            vec![(namespace::TOOL_CALL, format!("exec:{program}"))]
        }
        "fetch" => {
            let url = call["rawInput"]["url"].as_str()?;
            vec![(namespace::NET_FETCH, url.to_owned())]
        }
        _ => {
            let name = call["name"].as_str().or(call["title"].as_str())?;
            vec![(namespace::TOOL_CALL, format!("acp:{name}"))]
        }
    };
    (!found.is_empty()).then_some(found)
}

/// Every file that is named: as a location, or by a change to it. `None` where one of them has no name: it may be any.
fn files(call: &Value, namespace: &'static str) -> Option<Vec<(&'static str, String)>> {
    let items = |name: &str| call[name].as_array().cloned().unwrap_or_default();
    let changes = items("content");
    let changes = changes.iter().filter(|item| item["type"] == "diff");
    let named = items("locations");
    let mut paths: Vec<String> = named
        .iter()
        .chain(changes)
        .map(|item| item["path"].as_str().map(str::to_owned))
        .collect::<Option<_>>()?;
    paths.sort_unstable();
    paths.dedup();
    Some(paths.into_iter().map(|path| (namespace, path)).collect())
}

/// The program of a command: of a list its first item, of a text its first word where it is one simple command.
fn program(command: &Value) -> Option<String> {
    if let Some(words) = command.as_array() {
        return words.first()?.as_str().map(str::to_owned);
    }
    let is_simple = |text: &&str| !text.contains(SPECIAL) && has_plain_blanks(text);
    let text = command.as_str().filter(is_simple)?;
    let word = text.split(BLANKS).find(|word| !word.is_empty())?;
    // `A=b program` is a program with another environment; quotes may hide what is meant.
    (!word.contains(['=', '"', '\'', '\\'])).then(|| word.to_owned())
}

/// The words of a text that is one simple command, with nothing in it that a shell would read as more than itself.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let is_plain = !text.contains(SPECIAL) && !text.contains(QUOTED) && has_plain_blanks(text);
    let words = text.split(BLANKS).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_owned).collect();
    (is_plain && words.first().is_some_and(|first| !first.contains('='))).then_some(words)
}

/// Whether words end where a shell ends them, and nothing is hidden: other blanks are part of a word for it.
fn has_plain_blanks(text: &str) -> bool {
    let is_other = |c: char| (c.is_whitespace() || c.is_control()) && !BLANKS.contains(&c);
    !text.contains(is_other)
}

/// What parts words.
const BLANKS: [char; 2] = [' ', '\t'];

/// What makes more than one simple command of a text.
const SPECIAL: [char; 11] = [';', '&', '|', '$', '`', '<', '>', '(', ')', '\n', '\r'];

/// What means something else than itself in a word.
const QUOTED: [char; 9] = ['"', '\'', '\\', '*', '?', '[', '{', '~', '#'];

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 17-4] What has to be covered of each kind of call; what cannot be told is not.
    #[test]
    fn calls_are_operations() {
        let of = |call: Value| {
            let found = operations(&call)?;
            let shown = found.iter().map(|(name, value)| format!("{name}={value}"));
            Some(shown.collect::<Vec<_>>().join(" "))
        };
        let at = |kind: &str, more: Value| {
            let mut call = json!({"kind": kind, "title": "Do it"});
            for (name, value) in more.as_object().into_iter().flatten() {
                call[name] = value.clone();
            }
            of(call)
        };
        let file = json!({"locations": [{"path": "/w/a"}]});
        assert_eq!(at("read", file.clone()).as_deref(), Some("fs.read=/w/a"));
        assert_eq!(at("search", file.clone()).as_deref(), Some("fs.read=/w/a"));
        let change = json!({"locations": [{"path": "/w/a"}], "content": [
            {"type": "diff", "path": "/w/b", "newText": "x"}, {"type": "content", "path": "/w/c"}]});
        assert_eq!(
            at("edit", change).as_deref(),
            Some("fs.write=/w/a fs.write=/w/b")
        );
        assert_eq!(at("delete", json!({})), None);
        let nameless = json!({"locations": [{"path": "/w/a"}, {"line": 1}]});
        assert_eq!(at("move", nameless), None);
        let run = |command: Value| at("execute", json!({"rawInput": {"command": command}}));
        assert_eq!(
            run(json!(["git", "push"])).as_deref(),
            Some("tool.call=exec:git")
        );
        assert_eq!(
            run(json!(" git\tpush -f")).as_deref(),
            Some("tool.call=exec:git")
        );
        for hidden in [
            "git;sh",
            "a && b",
            "$(x)",
            "`x`",
            "a > b",
            "A=b git",
            "g\nh",
            "\"git\"",
            "",
            "git\u{a0}push",
            "git\u{2003}x",
            "git\u{b}x",
            "git\u{85}x",
        ] {
            assert_eq!(run(json!(hidden)), None, "{hidden}");
        }
        let url = json!({"rawInput": {"url": "https://a.test/"}});
        assert_eq!(
            at("fetch", url).as_deref(),
            Some("net.fetch=https://a.test/")
        );
        assert_eq!(
            at("think", json!({})).as_deref(),
            Some("tool.call=acp:Do it")
        );
        assert_eq!(
            at("other", json!({"name": "web"})).as_deref(),
            Some("tool.call=acp:web")
        );
    }
}
