//! An agent that speaks the Agent Client Protocol and has no model: it does what the JSON script in its prompt says. For
//! tests, demonstrations, and for trying out what a lease lets an agent do.
//!
//! The prompt is a list of steps, each an object with one member:
//!
//! | step | does |
//! | --- | --- |
//! | `{"say": TEXT}`, `{"think": TEXT}` | sends a chunk of a message or a thought |
//! | `{"update": {…}}` | sends a `session/update` as it is given |
//! | `{"ask": {"toolCall", "options"?}}` | asks for permission, and says the option that was chosen |
//! | `{"call": {"method", "params"}}` | asks the client for something else, and says what it answered |
//! | `{"write": TEXT}` | writes a line to standard error |
//! | `{"file": {"path", "text"}}` | writes a file by itself, and says whether it could |
//! | `{"wait": "cancel"}` | waits to be cancelled, and stops |
//! | `{"once": STEPS}` | does the steps in the first turn of the session only |
//! | `{"crash": STATUS}` | ends at once |
//! | `{"stop": REASON}` | ends the turn for another reason than its end |
//!
//! A prompt that is no list is said back. Sessions are files in `HOME`, so that they can be loaded again.

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use serde_json::{Value, json};

fn main() -> ExitCode {
    let mut agent = Agent::default();
    match agent.serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Status(status)) => ExitCode::from(status),
        Err(End::Io(error)) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Why it ends before its input does.
enum End {
    Status(u8),
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[derive(Default)]
struct Agent {
    session: String,
    turns: u64,
    asked: u64,
    is_cancelled: bool,
}

impl Agent {
    fn serve(&mut self) -> Result<(), End> {
        while let Some(message) = read()? {
            let params = &message["params"];
            let answer = match message["method"].as_str().unwrap_or_default() {
                "initialize" => Ok(json!({
                    "protocolVersion": 1,
                    "agentCapabilities": {"loadSession": true, "promptCapabilities": {}},
                    "agentInfo": {"name": "towline-acp-script", "version": env!("CARGO_PKG_VERSION")},
                    "authMethods": [],
                })),
                "session/new" => self.begin().map(|()| opened(Some(&self.session))),
                "session/load" => self.load(params["sessionId"].as_str().unwrap_or_default()),
                "session/set_mode" | "session/set_model" => Ok(json!({})),
                "session/prompt" => {
                    let reason = self.turn(&params["prompt"])?;
                    Ok(json!({"stopReason": reason}))
                }
                _ => Err(json!({"code": -32601, "message": "there is no such method"})),
            };
            let Some(id) = message.get("id") else {
                continue;
            };
            send(&match answer {
                Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
                Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
            })?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Value> {
        self.session = format!("session-{}", std::process::id());
        self.keep().map_err(fault)
    }

    fn load(&mut self, session: &str) -> Result<Value, Value> {
        session.clone_into(&mut self.session);
        let kept = fs::read_to_string(self.file()).map_err(fault)?;
        self.turns = kept.trim().parse().unwrap_or(0);
        // What was said before is told again, as the protocol has it.
        let said = json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "said before"}});
        self.update(&said).map_err(fault)?;
        Ok(opened(None))
    }

    fn file(&self) -> PathBuf {
        let home = std::env::var_os("HOME").unwrap_or_default();
        PathBuf::from(home).join(format!("{}.turns", self.session))
    }

    fn keep(&self) -> io::Result<()> {
        fs::write(self.file(), self.turns.to_string())
    }

    fn turn(&mut self, prompt: &Value) -> Result<String, End> {
        self.turns += 1;
        self.keep()?;
        self.is_cancelled = false;
        let text = prompt[0]["text"].as_str().unwrap_or_default();
        let steps = match serde_json::from_str(text) {
            Ok(Value::Array(steps)) => steps,
            _ => vec![json!({"say": text})],
        };
        let stopped = self.steps(&steps)?;
        Ok(if self.is_cancelled {
            "cancelled".to_owned()
        } else {
            stopped.unwrap_or_else(|| "end_turn".to_owned())
        })
    }

    fn steps(&mut self, steps: &[Value]) -> Result<Option<String>, End> {
        for step in steps {
            let stopped = self.step(step)?;
            if stopped.is_some() || self.is_cancelled {
                return Ok(stopped);
            }
        }
        Ok(None)
    }

    fn step(&mut self, step: &Value) -> Result<Option<String>, End> {
        let Some((name, value)) = step.as_object().and_then(|step| step.iter().next()) else {
            return Ok(None);
        };
        let text = || value.as_str().unwrap_or_default();
        match name.as_str() {
            "say" => self.chunk("agent_message_chunk", text())?,
            "think" => self.chunk("agent_thought_chunk", text())?,
            "update" => self.update(value)?,
            "ask" => self.permission(value)?,
            "call" => {
                let method = value["method"].as_str().unwrap_or_default();
                let answer = self.request(method, value["params"].clone())?;
                self.say(&answer.to_string())?;
            }
            "write" => complain(text()),
            "file" => {
                let path = value["path"].as_str().unwrap_or_default();
                let written = fs::write(path, value["text"].as_str().unwrap_or_default());
                self.say(if written.is_ok() {
                    "written"
                } else {
                    "not written"
                })?;
            }
            "wait" => while !self.is_cancelled && self.hear()?.is_some() {},
            "once" if self.turns == 1 => {
                return self.steps(value.as_array().map_or(&[][..], Vec::as_slice));
            }
            "crash" => {
                let status = value.as_u64().and_then(|status| u8::try_from(status).ok());
                return Err(End::Status(status.unwrap_or(1)));
            }
            "stop" => return Ok(Some(text().to_owned())),
            _ => {}
        }
        Ok(None)
    }

    fn permission(&mut self, asked: &Value) -> Result<(), End> {
        let mut params = asked.clone();
        if params.get("options").is_none() {
            params["options"] = json!([
                {"optionId": "always", "name": "Always", "kind": "allow_always"},
                {"optionId": "once", "name": "Once", "kind": "allow_once"},
                {"optionId": "no", "name": "No", "kind": "reject_once"},
            ]);
        }
        let answer = self.request("session/request_permission", params)?;
        let outcome = &answer["result"]["outcome"];
        let chosen = outcome["optionId"].as_str().or(outcome["outcome"].as_str());
        Ok(self.say(chosen.unwrap_or("nothing"))?)
    }

    /// Asks the client, and gives the whole of its answer.
    fn request(&mut self, method: &str, mut params: Value) -> Result<Value, End> {
        self.asked += 1;
        let id = format!("ask-{}", self.asked);
        params["sessionId"] = self.session.as_str().into();
        send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        while let Some(message) = self.hear()? {
            if message["id"] == id.as_str() {
                return Ok(message);
            }
        }
        Err(End::Status(0))
    }

    fn hear(&mut self) -> io::Result<Option<Value>> {
        let message = read()?;
        let is_cancel = |message: &Value| message["method"] == "session/cancel";
        self.is_cancelled |= message.as_ref().is_some_and(is_cancel);
        Ok(message)
    }

    /// A message of its own.
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.asked += 1;
        self.update(&json!({
            "sessionUpdate": "agent_message_chunk",
            "messageId": format!("message-{}", self.asked),
            "content": {"type": "text", "text": text},
        }))
    }

    fn chunk(&self, kind: &str, text: &str) -> io::Result<()> {
        self.update(&json!({"sessionUpdate": kind, "content": {"type": "text", "text": text}}))
    }

    fn update(&self, update: &Value) -> io::Result<()> {
        let params = json!({"sessionId": self.session, "update": update});
        send(&json!({"jsonrpc": "2.0", "method": "session/update", "params": params}))
    }
}

fn complain(text: &str) {
    // Who reads no complaints gets none.
    let _ = writeln!(io::stderr(), "{text}");
}

fn opened(session: Option<&str>) -> Value {
    let mut opened = json!({
        "modes": {"currentModeId": "code", "availableModes": [
            {"id": "code", "name": "Code"}, {"id": "plan", "name": "Plan"},
        ]},
    });
    if let Some(session) = session {
        opened["sessionId"] = session.into();
    }
    opened
}

fn fault(error: io::Error) -> Value {
    json!({"code": -32603, "message": error.to_string()})
}

fn read() -> io::Result<Option<Value>> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line)
        .map(Some)
        .map_err(io::Error::other)
}

fn send(message: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}
