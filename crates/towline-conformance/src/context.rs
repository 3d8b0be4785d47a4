//! What a case works with.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use towline_wire::Secret;

use crate::{
    Options, Target,
    check::{Check, Stop, expect_refusal, fail, texts},
    link::{Came, Link, Notes},
    report::{Finding, Recorded, Report, Verdict},
    session::{Point, Session},
    watch::{self, Watch},
};

/// The run, as its cases see it.
pub(crate) struct Context {
    target: Target,
    pub(crate) options: Options,
    notes: Arc<Mutex<Notes>>,
    conns: u32,
    welcome: Option<Value>,
}

impl Context {
    pub(crate) fn new(target: &Target, options: &Options) -> Self {
        let notes = Notes {
            frames: Vec::new(),
            watch: Watch::default(),
        };
        Self {
            target: target.clone(),
            options: options.clone(),
            notes: Arc::new(Mutex::new(notes)),
            conns: 0,
            welcome: None,
        }
    }

    pub(crate) fn begin(&mut self, check: &'static str) {
        self.conns = 0;
        let mut notes = self.notes.lock();
        notes.frames.clear();
        notes.watch.begin(check);
    }

    /// The frames of the case, where they are wanted; those of watches that just saw something are kept in any case.
    pub(crate) fn end(&mut self, wanted: bool) -> Vec<Recorded> {
        let mut notes = self.notes.lock();
        let frames: Vec<_> = notes.frames.drain(..).map(redacted).collect();
        notes.watch.keep(&frames);
        if wanted { frames } else { Vec::new() }
    }

    /// Keeps the welcome of the first session.
    pub(crate) fn set_welcome(&mut self, payload: &Value) {
        self.welcome.get_or_insert_with(|| payload.clone());
    }

    /// Whether the runtime opened a session at all.
    pub(crate) fn is_welcome(&self) -> bool {
        self.welcome.is_some()
    }

    pub(crate) fn note_runtime(&self, report: &mut Report) {
        let Some(welcome) = &self.welcome else { return };
        report.runtime = welcome.get("runtime").cloned();
        report.features = texts(&welcome["capabilities"]["features"]);
        report.agents = self.agent_names();
    }

    /// What the watches found.
    pub(crate) fn watched(&self, options: &Options) -> Vec<Finding> {
        let notes = self.notes.lock();
        watch::RULES
            .iter()
            .filter(|rule| options.wants(rule.origin))
            .map(|rule| {
                let seen = notes.watch.of(rule.name);
                let (verdict, reason, frames) = match (&seen.violation, seen.looked) {
                    (Some(violation), _) => (
                        Verdict::Fail,
                        Some(format!("in `{}`: {}", violation.check, violation.what)),
                        violation.frames.clone(),
                    ),
                    (None, 0) => (
                        Verdict::Skipped,
                        Some("no frame it is about was seen".to_owned()),
                        Vec::new(),
                    ),
                    (None, _) => (Verdict::Pass, None, Vec::new()),
                };
                Finding {
                    check: rule.name,
                    rules: rule.rules,
                    title: rule.title,
                    origin: rule.origin,
                    verdict,
                    reason,
                    frames,
                }
            })
            .collect()
    }

    fn agent_names(&self) -> Vec<String> {
        let agents = self
            .welcome
            .as_ref()
            .and_then(|welcome| welcome["capabilities"]["agents"].as_array());
        agents
            .into_iter()
            .flatten()
            .filter_map(|agent| agent["name"].as_str().or(agent.as_str()))
            .map(str::to_owned)
            .collect()
    }

    /// The agent that plays a role, when the runtime has it.
    pub(crate) fn agent(&self, role: &str) -> Check<String> {
        let name = self
            .options
            .agents
            .get(role)
            .map_or(role, String::as_str)
            .to_owned();
        let bare = name.split('@').next().unwrap_or(&name);
        if self.agent_names().iter().any(|agent| agent == bare) {
            return Ok(name);
        }
        Err(Stop::Skip(format!(
            "the runtime has no agent `{name}` for the role `{role}`"
        )))
    }

    /// The case needs a feature of the runtime's.
    pub(crate) fn needs(&self, feature: &str) -> Check {
        let offered = self
            .welcome
            .as_ref()
            .map(|welcome| texts(&welcome["capabilities"]["features"]))
            .unwrap_or_default();
        if offered.iter().any(|offered| offered == feature) {
            return Ok(());
        }
        Err(Stop::Skip(format!(
            "the runtime does not offer `{feature}`"
        )))
    }

    /// The case needs a second connection to the same runtime.
    pub(crate) fn needs_two_connections(&self) -> Check {
        if self.target.is_alone() {
            let reason = "each connection is a runtime of its own";
            return Err(Stop::Skip(reason.to_owned()));
        }
        Ok(())
    }

    /// A connection on which nothing was said.
    pub(crate) async fn link(&mut self) -> Check<Link> {
        self.conns += 1;
        let connected = tokio::time::timeout(self.options.patience, self.target.connect()).await;
        match connected {
            Ok(Ok(transport)) => Ok(Link::new(
                transport,
                self.conns,
                Arc::clone(&self.notes),
                self.options.patience,
            )),
            Ok(Err(error)) => fail(format!("no connection: {error}")),
            Err(_) => fail("no connection in time"),
        }
    }

    /// A hello that offers these features.
    pub(crate) fn hello(&self, features: &[&str]) -> Value {
        let mut payload = json!({
            "client": {"name": "towline-conformance", "version": env!("CARGO_PKG_VERSION")},
            "capabilities": {"encodings": ["json"], "features": features},
        });
        if let Some(token) = &self.options.token {
            payload["auth"] = bearer(token);
        }
        json!({"arcp": "1.1", "id": "kit-hello", "type": "session.hello", "payload": payload})
    }

    /// A session with every feature.
    pub(crate) async fn open(&mut self) -> Check<Session> {
        self.open_with(&FEATURES).await
    }

    /// A session of the second principal's, with every feature.
    pub(crate) async fn open_second(&mut self) -> Check<Session> {
        let hello = self.as_second(self.hello(&FEATURES))?;
        let link = self.link().await?;
        Session::open(link, hello).await
    }

    /// A hello, said by the second principal.
    pub(crate) fn as_second(&self, mut hello: Value) -> Check<Value> {
        let Some(token) = &self.options.second else {
            let reason = "the kit was given no token of a second principal";
            return Err(Stop::NotApplicable(reason.to_owned()));
        };
        hello["payload"]["auth"] = bearer(token);
        Ok(hello)
    }

    /// A session that offered these features.
    pub(crate) async fn open_with(&mut self, features: &[&str]) -> Check<Session> {
        let hello = self.hello(features);
        let link = self.link().await?;
        Session::open(link, hello).await
    }

    /// Takes a session up.
    pub(crate) async fn resume(&mut self, point: &Point) -> Check<Session> {
        let hello = self.resume_hello(point);
        let link = self.link().await?;
        Session::open(link, hello).await
    }

    /// A hello that takes a session up.
    pub(crate) fn resume_hello(&self, point: &Point) -> Value {
        let mut hello = self.hello(&FEATURES);
        hello["payload"]["resume"] = json!({
            "session_id": point.session,
            "resume_token": point.token,
            "last_event_seq": point.last,
        });
        hello
    }

    /// Says something first on a new connection that has to be refused with one of these codes, and be closed then.
    pub(crate) async fn refused_opening(&mut self, opening: Value, codes: &[&str]) -> Check {
        self.refused_text(&opening.to_string(), codes).await
    }

    /// As [`Context::refused_opening`], with a text that need not be a frame.
    pub(crate) async fn refused_text(&mut self, opening: &str, codes: &[&str]) -> Check {
        let mut link = self.link().await?;
        link.send_text(opening).await?;
        let refusal = match link.receive().await? {
            Came::Frame(frame) => frame,
            Came::End => return fail("the connection was closed without a `session.error`"),
            Came::Nothing => return fail("nothing was answered"),
        };
        if refusal["type"] == "session.welcome" {
            return fail("the session was opened");
        }
        expect_refusal(&refusal, codes)?;
        match link.receive().await? {
            Came::End => Ok(()),
            Came::Frame(frame) => fail(format!("after the refusal came `{}`", frame["type"])),
            Came::Nothing => fail("the connection stayed open after the refusal"),
        }
    }
}

fn bearer(token: &Secret) -> Value {
    json!({"scheme": "bearer", "token": token.expose()})
}

/// Leaves out what nobody else may see.
fn redacted(mut recorded: Recorded) -> Recorded {
    // A text that is no frame has no payload.
    if let Some(payload) = recorded.frame.get_mut("payload") {
        redact(payload);
    }
    recorded
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let is_credential =
                members.contains_key("endpoint") || members.contains_key("credential_id");
            for (name, member) in members.iter_mut() {
                let secret = matches!(name.as_str(), "token" | "resume_token" | "credential_value")
                    || is_credential && name == "value";
                if secret && member.is_string() {
                    *member = json!("[redacted]");
                } else {
                    redact(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// Every feature of the draft.
pub(crate) const FEATURES: [&str; 11] = [
    "heartbeat",
    "ack",
    "list_jobs",
    "subscribe",
    "lease_expires_at",
    "cost.budget",
    "model.use",
    "provisioned_credentials",
    "progress",
    "result_chunk",
    "agent_versions",
];
