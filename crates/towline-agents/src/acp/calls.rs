//! A tool call of an agent: what is known of it, and what of the lease it needs [ARCP 17-4].

use serde_json::{Value, json};
use towline_proto::lease::Operation;
use towline_wire::CallId;

/// What is known of a call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Its id in the job's log.
    pub(super) id: CallId,
    /// Whether its result is in the log.
    pub(super) is_closed: bool,
    known: Value,
}

/// An operation that a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    Read(String),
    Write(String),
    Fetch(String),
    Tool(String),
}

impl Need {
    pub(super) fn operation(&self) -> Operation<'_> {
        match self {
            Self::Read(path) => Operation::FsRead(path),
            Self::Write(path) => Operation::FsWrite(path),
            Self::Fetch(url) => Operation::NetFetch(url),
            Self::Tool(name) => Operation::ToolCall(name),
        }
    }
}

/// What updates of a call say of it.
const FIELDS: [&str; 8] = [
    "kind",
    "name",
    "title",
    "rawInput",
    "locations",
    "content",
    "rawOutput",
    "status",
];

impl Call {
    pub(super) fn new(id: CallId, update: &Value) -> Self {
        let mut call = Self {
            id,
            is_closed: false,
            known: json!({}),
        };
        call.learn(update);
        call
    }

    /// Takes what an update says; what it leaves out stands.
    pub(super) fn learn(&mut self, update: &Value) {
        for field in FIELDS {
            if let Some(value) = update.get(field).filter(|value| !value.is_null()) {
                self.known[field] = value.clone();
            }
        }
    }

    /// The tool, as the agent calls it.
    pub(super) fn name(&self) -> &str {
        let text = |name: &str| {
            let text = self.known[name].as_str();
            text.filter(|text| !text.is_empty())
        };
        let name = text("name").or_else(|| text("title"));
        name.or_else(|| text("kind")).unwrap_or("tool")
    }

    pub(super) fn args(&self) -> Value {
        self.pick(&["kind", "title", "rawInput", "locations"])
    }

    pub(super) fn result(&self) -> Value {
        self.pick(&["status", "content", "rawOutput"])
    }

    fn pick(&self, names: &[&str]) -> Value {
        let mut picked = json!({});
        for name in names {
            if let Some(value) = self.known.get(*name) {
                picked[*name] = value.clone();
            }
        }
        picked
    }

    /// Why it failed, in its own words.
    pub(super) fn complaint(&self) -> String {
        let said = self
            .contents()
            .filter_map(|item| item["content"]["text"].as_str());
        let said: Vec<&str> = said.collect();
        if said.is_empty() {
            "the call failed".to_owned()
        } else {
            said.join("\n")
        }
    }

    fn contents(&self) -> impl Iterator<Item = &Value> {
        self.known["content"].as_array().into_iter().flatten()
    }

    /// The files it changed, with their new sizes.
    pub(super) fn diffs(&self) -> impl Iterator<Item = (&str, u64)> {
        let diffs = self.contents().filter(|item| item["type"] == "diff");
        diffs.filter_map(|diff| {
            let size = diff["newText"].as_str().map_or(0, str::len) as u64;
            Some((diff["path"].as_str()?, size))
        })
    }

    /// What it needs, all of it; `None` where that cannot be told, and so nothing covers it.
    pub(super) fn needs(&self) -> Option<Vec<Need>> {
        let input = &self.known["rawInput"];
        match self.known["kind"].as_str().unwrap_or("other") {
            "read" | "search" => self.paths(Need::Read),
            "edit" | "delete" | "move" => self.paths(Need::Write),
            "execute" => {
                let program = program(&input["command"])?;
                Some(vec![Need::Tool(format!("exec:{program}"))])
            }
            "fetch" => Some(vec![Need::Fetch(input["url"].as_str()?.to_owned())]),
            _ => Some(vec![Need::Tool(format!("acp:{}", self.name()))]),
        }
    }

    fn paths(&self, need: impl Fn(String) -> Need) -> Option<Vec<Need>> {
        let locations = self.known["locations"].as_array().into_iter().flatten();
        let mut needs = Vec::new();
        for location in locations {
            // One that cannot be read may be anywhere.
            needs.push(need(location["path"].as_str()?.to_owned()));
        }
        for (path, _) in self.diffs() {
            let needed = need(path.to_owned());
            if !needs.contains(&needed) {
                needs.push(needed);
            }
        }
        (!needs.is_empty()).then_some(needs)
    }
}

/// The program of a command: of a list its first item, of a text its first word, where it is one simple command.
fn program(command: &Value) -> Option<&str> {
    let word = match command {
        Value::Array(words) => words.first()?.as_str()?,
        Value::String(text) if !text.contains(NOT_SIMPLE) => {
            let word = text.split_whitespace().next()?;
            if word.contains(['=', '"', '\'', '\\', '{', '*', '?', '[', '~']) {
                return None;
            }
            word
        }
        _ => return None,
    };
    (!word.is_empty()).then_some(word)
}

/// What makes a text more than one simple command.
const NOT_SIMPLE: [char; 11] = [';', '&', '|', '$', '`', '<', '>', '(', ')', '\n', '\r'];

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(update: Value) -> Option<Vec<Need>> {
        Call::new(CallId::minted("X"), &update).needs()
    }

    /// [ARCP 17-4] what a request needs of the lease.
    #[test]
    fn requests_need_operations() {
        let read = json!({"kind": "read", "locations": [{"path": "/a"}, {"path": "/b"}]});
        let both = vec![Need::Read("/a".into()), Need::Read("/b".into())];
        assert_eq!(needs(read), Some(both));
        let diff = json!({"type": "diff", "path": "/c", "newText": "x"});
        let edit = json!({"kind": "edit", "locations": [{"path": "/a"}], "content": [diff]});
        let both = vec![Need::Write("/a".into()), Need::Write("/c".into())];
        assert_eq!(needs(edit), Some(both));
        assert_eq!(needs(json!({"kind": "delete"})), None);
        assert_eq!(needs(json!({"kind": "move", "locations": [{}]})), None);
        let fetch = json!({"kind": "fetch", "rawInput": {"url": "https://a/"}});
        assert_eq!(needs(fetch), Some(vec![Need::Fetch("https://a/".into())]));
        assert_eq!(needs(json!({"kind": "fetch"})), None);
        let other = json!({"kind": "think", "name": "n", "title": "t"});
        assert_eq!(needs(other), Some(vec![Need::Tool("acp:n".into())]));
        assert_eq!(
            needs(json!({"title": "t"})),
            Some(vec![Need::Tool("acp:t".into())])
        );
    }

    /// [ARCP 17-4] only of one simple command is it known what runs.
    #[test]
    fn programs_of_commands() {
        for (command, expected) in [
            (json!(["git", "status; rm"]), Some("git")),
            (json!("git status"), Some("git")),
            (json!("git status; rm -rf x"), None),
            (json!("git status && rm"), None),
            (json!("git $(rm)"), None),
            (json!("git `rm`"), None),
            (json!("git > /x"), None),
            (json!("git\nrm"), None),
            (json!("A=b git"), None),
            (json!("'git' x"), None),
            (json!(""), None),
            (json!([]), None),
            (Value::Null, None),
        ] {
            assert_eq!(program(&command), expected, "{command}");
        }
    }

    /// [ARCP 17-4] what a request leaves out comes from earlier updates of the call.
    #[test]
    fn updates_add_up() {
        let mut call = Call::new(
            CallId::minted("X"),
            &json!({"kind": "read", "locations": [{"path": "/a"}]}),
        );
        call.learn(&json!({"title": "t", "locations": null}));
        assert_eq!(call.needs(), Some(vec![Need::Read("/a".into())]));
        assert_eq!(call.name(), "t");
    }
}
