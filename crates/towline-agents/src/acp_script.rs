//! An agent that speaks the Agent Client Protocol and has no model: it does what its prompt says, a JSON list of steps, or, whatever
//! the prompt says, the steps of a file. For tests, demonstrations and examples.
//!
//! `--help` says the steps; docs/coding-agents.md has them too.
//!
//! Sessions are kept in the file `sessions` of its home, so that a later process loads them. `crash` ends the process that opened the
//! session, and passes over in one that loaded it; `forget` ends the job's first process and takes its sessions with it.

use std::{
    hash::{BuildHasher as _, RandomState},
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tools::Tools;

mod tools;

/// Serves on standard input and output until that ends. With a file every prompt is answered by the steps in it; one that cannot
/// be read, or is no list, is status 2.
pub fn main(script: Option<PathBuf>) -> ExitCode {
    if script.as_deref().is_some_and(is_help) {
        // A pipe that is closed has no reader.
        let _ = std::io::stdout().write_all(HELP.as_bytes());
        return ExitCode::SUCCESS;
    }
    let script = match script.as_deref().map(steps_in).transpose() {
        Ok(script) => script,
        Err(why) => {
            // Standard error that is closed has no reader.
            let _ = writeln!(std::io::stderr(), "{why}");
            return ExitCode::from(2);
        }
    };
    let mut agent = Agent {
        script,
        messages: messages(),
        is_new: false,
        asked: 0,
        session: String::new(),
        said: 0,
        terminals: Vec::new(),
        tools: Tools::default(),
    };
    while let Some(message) = agent.next() {
        if message["method"].is_null() {
            continue;
        }
        if let Err(Exit(code)) = agent.serve(&message) {
            return ExitCode::from(code);
        }
    }
    ExitCode::SUCCESS
}

fn is_help(word: &Path) -> bool {
    ["--help", "-h"].iter().any(|help| word == *help)
}

fn steps_in(file: &Path) -> Result<Vec<Value>, String> {
    let failed = |why: String| format!("cannot use the script {}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
}

struct Agent {
    /// What every prompt is answered by.
    script: Option<Vec<Value>>,
    messages: Receiver<Value>,
    /// Whether this process opened the session.
    is_new: bool,
    asked: u64,
    session: String,
    said: u64,
    terminals: Vec<String>,
    tools: Tools,
}

/// The script wants the process to end.
struct Exit(u8);

impl Agent {
    fn next(&mut self) -> Option<Value> {
        self.messages.recv().ok()
    }

    /// Waits; whether the turn was cancelled meanwhile.
    fn pause(&self, milliseconds: u64) -> bool {
        let until = Instant::now() + Duration::from_millis(milliseconds);
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(rest) {
                Ok(message) if message["method"] == CANCEL => return true,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                // Nobody is there any more.
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    fn put(&self, message: &Value) {
        let mut out = std::io::stdout().lock();
        // Nobody listens any more: the input is about to end too.
        let _ = writeln!(out, "{message}").and_then(|()| out.flush());
    }

    fn answer(&self, to: &Value, result: &Value) {
        self.put(&json!({"jsonrpc": "2.0", "id": to["id"], "result": result}));
    }

    fn update(&self, update: &Value) {
        let params = json!({"sessionId": self.session, "update": update});
        self.put(&json!({"jsonrpc": "2.0", "method": "session/update", "params": params}));
    }

    fn say(&mut self, kind: &str, text: &str) {
        self.said += 1;
        // In two pieces, as agents do.
        let middle = text.char_indices().nth(text.chars().count() / 2);
        let (first, second) = text.split_at(middle.map_or(0, |(at, _)| at));
        for piece in [first, second] {
            self.update(&json!({
                "sessionUpdate": kind, "messageId": format!("m{}", self.said),
                "content": {"type": "text", "text": piece},
            }));
        }
    }

    /// Asks the client, and waits; gives nothing once the turn was cancelled.
    fn ask(&mut self, method: &str, mut params: Value) -> Option<Value> {
        self.asked += 1;
        params["sessionId"] = json!(self.session);
        let id = format!("a{}", self.asked);
        self.put(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let message = self.next()?;
            if message["id"] == *id {
                return Some(message);
            }
        }
    }

    fn serve(&mut self, message: &Value) -> Result<(), Exit> {
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => self.answer(
                message,
                &json!({"protocolVersion": 1, "agentCapabilities": {"loadSession": true, "mcpCapabilities": {"http": true}}, "authMethods": [], "seen": params}),
            ),
            "session/new" => {
                self.tools = Tools::of(&params["mcpServers"]);
                // A process may have the number of another one: it has them to itself.
                self.session = format!("s{:016x}", RandomState::new().hash_one(std::process::id()));
                self.is_new = true;
                remember(&self.session);
                self.answer(message, &json!({
                    "sessionId": self.session,
                    "modes": {"currentModeId": "code", "availableModes": [{"id": "code", "name": "Code"}, {"id": "plan", "name": "Plan"}]},
                    "configOptions": [{"id": "model", "category": "model", "type": "select", "currentValue": "small",
                        "options": [{"value": "small", "name": "Small"}, {"value": "large", "name": "Large"}]}],
                }));
            }
            "session/load" => {
                self.tools = Tools::of(&params["mcpServers"]);
                let wanted = params["sessionId"].as_str().unwrap_or_default().to_owned();
                if is_known(&wanted) {
                    self.session = wanted;
                    self.say("agent_message_chunk", "what was said before");
                    self.answer(message, &Value::Null);
                } else {
                    let error = json!({"code": -32002, "message": "there is no such session"});
                    self.put(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}));
                }
            }
            "session/set_mode" | "session/set_config_option" => {
                let value = params["modeId"].as_str().or(params["value"].as_str());
                let text = format!("set {}", value.unwrap_or_default());
                self.say("agent_message_chunk", &text);
                self.answer(message, &json!({}));
            }
            "session/prompt" => return self.prompt(message),
            _ => {}
        }
        Ok(())
    }

    fn prompt(&mut self, message: &Value) -> Result<(), Exit> {
        let text = message["params"]["prompt"][0]["text"].as_str();
        let steps = self
            .script
            .clone()
            .or_else(|| text.and_then(|text| serde_json::from_str(text).ok()));
        let steps: Vec<Value> = steps.unwrap_or_else(|| vec![json!({"say": text})]);
        if let Some(why) = unusable(&steps) {
            let error = json!({"code": INVALID, "message": why});
            self.put(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}));
            return Ok(());
        }
        let reason = self.follow(&steps)?;
        let reason = reason.as_deref().unwrap_or("end_turn");
        self.answer(message, &json!({"stopReason": reason}));
        Ok(())
    }

    /// Does one step after the other; gives the reason when one of them ends the turn.
    fn follow(&mut self, steps: &[Value]) -> Result<Option<String>, Exit> {
        for step in steps {
            let Some(members) = step.as_object() else {
                continue;
            };
            let action = members
                .iter()
                .find(|(name, _)| !BRANCHES.contains(&name.as_str()));
            let Some((name, value)) = action else {
                continue;
            };
            if let Some(ending) = self.ending(name, value) {
                return ending.map(Some);
            }
            let Some((done, answer)) = self.step(name, value) else {
                continue;
            };
            let Some(branch) = step[BRANCHES[usize::from(!done)]].as_array() else {
                if !members.contains_key(BRANCHES[0]) {
                    self.say("agent_message_chunk", &answer);
                }
                continue;
            };
            if let Some(reason) = self.follow(&branch.clone())? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// Does a step that does not end the turn; of one that asks the client for something, whether it was done, and the answer.
    fn step(&mut self, name: &str, value: &Value) -> Option<(bool, String)> {
        match (name, value.as_str()) {
            ("say", Some(text)) => self.say("agent_message_chunk", text),
            ("think", Some(text)) => self.say("agent_thought_chunk", text),
            ("update", _) => self.update(value),
            ("cost", _) => self.update(&json!({
                "sessionUpdate": "usage_update", "used": 10, "size": 100,
                "cost": {"amount": value[0], "currency": value[1]},
            })),
            ("ask", _) => return Some(self.ask_leave(value)),
            ("read", Some(path)) => {
                return Some(self.use_file("fs/read_text_file", json!({"path": path})));
            }
            ("write", _) => {
                let file = json!({"path": value[0], "content": value[1]});
                return Some(self.use_file("fs/write_text_file", file));
            }
            ("run" | "start", _) => self.start(name == "run", value),
            ("output" | "await" | "kill" | "release", _) => self.terminal(name, value),
            ("tools" | "call" | "call_with", _) => {
                let gave = self.tools.step(name, value);
                self.say("agent_message_chunk", &gave);
            }
            _ => {}
        }
        None
    }

    /// What a step ends the turn with, or the process, if it does.
    fn ending(&mut self, name: &str, value: &Value) -> Option<Result<String, Exit>> {
        match (name, value.as_str()) {
            ("wait", _) => {
                while let Some(other) = self.next() {
                    if other["method"] == CANCEL {
                        break;
                    }
                }
                Some(Ok(CANCELLED.to_owned()))
            }
            ("pause", _) if self.pause(value.as_u64().unwrap_or(0)) => {
                Some(Ok(CANCELLED.to_owned()))
            }
            ("stop", Some(text)) => Some(Ok(text.to_owned())),
            ("exit", _) => {
                let code = u8::try_from(value.as_u64().unwrap_or(1));
                Some(Err(Exit(code.unwrap_or(1))))
            }
            // Whether this process loaded the session: a crash that is made once is made in the first.
            ("crash", _) if self.is_new => Some(Err(Exit(9))),
            ("forget", _) if std::env::var("TOWLINE_ATTEMPT").is_ok_and(|run| run == "1") => {
                // Without them there was nothing to forget.
                let _ = std::fs::remove_file(sessions());
                Some(Err(Exit(9)))
            }
            _ => None,
        }
    }

    /// Asks for permission; whether it was given, and the option that was chosen.
    fn ask_leave(&mut self, call: &Value) -> (bool, String) {
        let options = json!([
            {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
            {"optionId": "always", "name": "Always", "kind": "allow_always"},
            {"optionId": "no", "name": "Reject", "kind": "reject_once"},
        ]);
        let asked = json!({"toolCall": call, "options": options});
        let answer = self.ask("session/request_permission", asked);
        let outcome = answer.unwrap_or_default()["result"]["outcome"].take();
        let chosen = outcome["optionId"].as_str().unwrap_or(CANCELLED);
        (chosen == "yes", chosen.to_owned())
    }

    /// Has a command run; a whole run says what it wrote and how it ended.
    fn start(&mut self, whole: bool, command: &Value) {
        let words = command.as_array().map_or(&[][..], Vec::as_slice);
        let asked = match words.split_first() {
            Some((program, args)) => json!({"command": program, "args": args}),
            // A text, or all that there is to say.
            None if command.is_object() => command.clone(),
            None => json!({"command": command}),
        };
        let answer = self.ask("terminal/create", asked).unwrap_or_default();
        let Some(name) = answer["result"]["terminalId"].as_str() else {
            return self.tell(answer);
        };
        self.terminals.push(name.to_owned());
        if whole {
            let last = json!(self.terminals.len() - 1);
            for step in ["await", "output", "release"] {
                self.terminal(step, &last);
            }
        }
    }

    fn terminal(&mut self, step: &str, number: &Value) {
        let number = number
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        let name = number.and_then(|number| self.terminals.get(number));
        let method = match step {
            "await" => "terminal/wait_for_exit".to_owned(),
            other => format!("terminal/{other}"),
        };
        let answer = self.ask(&method, json!({"terminalId": name}));
        self.tell(answer.unwrap_or_default());
    }

    /// Has the client do something with a file; whether it did, and what it answered.
    fn use_file(&mut self, method: &str, params: Value) -> (bool, String) {
        let answer = self.ask(method, params).unwrap_or_default();
        said(&answer)
    }

    fn tell(&mut self, answer: Value) {
        let (_, text) = said(&answer);
        self.say("agent_message_chunk", &text);
    }
}

const HELP: &str = include_str!("acp_script/help.txt");

/// Why steps cannot be done, if one of them is none, in a branch too: a word that nobody knows is most likely a misspelt one.
fn unusable(steps: &[Value]) -> Option<String> {
    steps.iter().find_map(|step| {
        let Some(members) = step.as_object() else {
            return Some(format!("the step {step} is no object"));
        };
        let known = |name: &str| ACTIONS.contains(&name) || BRANCHES.contains(&name);
        if let Some(name) = members.keys().find(|name| !known(name)) {
            let actions = ACTIONS.join(", ");
            return Some(format!("there is no step `{name}`; there are {actions}"));
        }
        let mut branches = BRANCHES.iter().filter_map(|branch| step[branch].as_array());
        branches.find_map(|branch| unusable(branch))
    })
}

/// What steps do.
const ACTIONS: [&str; 22] = [
    "say",
    "think",
    "read",
    "write",
    "ask",
    "run",
    "start",
    "output",
    "await",
    "kill",
    "release",
    "tools",
    "call",
    "call_with",
    "update",
    "cost",
    "pause",
    "wait",
    "stop",
    "exit",
    "crash",
    "forget",
];

/// What JSON-RPC has for a request that cannot be carried out as it stands.
const INVALID: i64 = -32602;

/// What follows a step that was done, and one that was not.
const BRANCHES: [&str; 2] = ["then", "else"];

/// The messages that come, read by a thread of their own, so that a pause hears a cancel.
fn messages() -> Receiver<Value> {
    let (sender, receiver) = sync_channel(64);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines().map_while(Result::ok);
        for message in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

const CANCEL: &str = "session/cancel";
/// Why a turn ended that was cancelled.
const CANCELLED: &str = "cancelled";

fn sessions() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join("sessions")
}

fn remember(session: &str) {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(sessions());
    // Without a home nothing is loaded later.
    let _ = file.and_then(|mut file| writeln!(file, "{session}"));
}

/// Whether a request was granted, and what it was answered.
fn said(answer: &Value) -> (bool, String) {
    match answer["error"]["message"].as_str() {
        Some(error) => (false, format!("error: {error}")),
        None => (true, answer["result"].to_string()),
    }
}

fn is_known(session: &str) -> bool {
    std::fs::read_to_string(sessions()).is_ok_and(|known| known.lines().any(|line| line == session))
}
