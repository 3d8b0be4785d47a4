//! One session with an agent: opened or loaded, prompted once, and what the agent asks meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep_until};
use towline_runtime::{AgentError, JobContext};
use towline_wire::{Amount, ErrorCode, EventKind, JobId, RawJson, Secret, namespace};

use super::{
    input::Task,
    permission::{self, Decided},
    terminals::Terminals,
    turn::{OTHER, Turn},
    wire::{Broken, INTERNAL, INVALID_PARAMS, METHOD_NOT_FOUND, RpcError, Said, Wire, taken},
};
use crate::{
    collected::{Collected, ResultForm},
    keeping::{Keeping, Kept},
    plain::GRACE,
};

/// What a session has of its job.
pub(super) struct Own {
    pub(super) keeping: Arc<Keeping>,
    /// Where the job's own tools are, if its process reaches them, and what opens them.
    pub(super) tools: Option<(Option<String>, Secret)>,
}

/// An answer that is being made: to which request, and what it is.
type Answer<'j> = BoxFuture<'j, (Value, Result<Value, RpcError>)>;

/// A request for permission that is being decided: which, about which tool call, and what is decided.
type Deciding<'j> = BoxFuture<'j, (Value, Option<String>, Decided)>;

/// The session that goes on.
#[derive(Default)]
struct Before {
    kept: Kept,
    /// Whether the job is to go on from it, and nothing else will do.
    is_wanted: bool,
}

pub(super) struct Session<'j> {
    ctx: &'j JobContext,
    subject: &'j str,
    wire: Wire,
    turn: Turn<'j>,
    /// What the agent is being answered.
    answers: FuturesUnordered<Answer<'j>>,
    /// Of these, what it may do.
    permissions: FuturesUnordered<Deciding<'j>>,
    /// The requests for permission that wait.
    asked: Vec<Value>,
    /// What the session has of its job.
    own: Own,
    /// Where commands run, if the lease covers any [ARCP 17-5].
    terminals: Option<Arc<Terminals>>,
    id: Option<String>,
    /// What comes while a session is loaded was said before.
    is_loading: bool,
    /// Until when the turn may end after it was asked to.
    until: Option<Instant>,
}

impl<'j> Session<'j> {
    pub(super) fn new(
        ctx: &'j JobContext,
        subject: &'j str,
        wire: Wire,
        own: Own,
        terminals: Option<Arc<Terminals>>,
    ) -> Self {
        Self {
            ctx,
            subject,
            wire,
            turn: Turn::new(ctx, BTreeMap::new()),
            answers: FuturesUnordered::new(),
            permissions: FuturesUnordered::new(),
            asked: Vec::new(),
            own,
            terminals,
            id: None,
            is_loading: false,
            until: None,
        }
    }

    /// Works on a task to the end of the turn; gives the job's result.
    pub(super) async fn work(
        &mut self,
        task: Task,
        kept: Option<RawJson>,
    ) -> Result<RawJson, Broken> {
        let agent = self.initialize().await?;
        let before = self.before(&task, kept).await?;
        let offers = self.open(&task, before, &agent).await?;
        self.keep().await?;
        self.choose(&task, &offers).await?;
        let prompt = json!({"sessionId": self.id, "prompt": task.prompt});
        let ended = self.call("session/prompt", prompt).await;
        let last = self.turn.end().await?;
        self.close().await;
        self.keep().await?;
        self.conclude(&ended?, last).await
    }

    /// Ends what the agent left open.
    pub(super) async fn close(&mut self) {
        self.turn.close_calls().await;
        if let Some(terminals) = &self.terminals {
            terminals.end().await;
        }
    }

    /// Both sides say what they can.
    async fn initialize(&mut self) -> Result<Value, Broken> {
        let grants = |namespace| !self.ctx.lease().patterns(namespace).is_empty();
        let agent = self
            .call(
                "initialize",
                json!({
                    "protocolVersion": 1,
                    "clientCapabilities": {
                        "fs": {
                            "readTextFile": grants(namespace::FS_READ),
                            "writeTextFile": grants(namespace::FS_WRITE),
                        },
                        "terminal": self.terminals.is_some(),
                    },
                    "clientInfo": {"name": "towline", "version": env!("CARGO_PKG_VERSION")},
                }),
            )
            .await?;
        match agent["protocolVersion"].as_u64() {
            Some(1) => Ok(agent),
            other => {
                let spoken = other.map_or_else(|| "none".to_owned(), |version| version.to_string());
                Err(self
                    .broke(&format!("speaks version {spoken} of ACP, and towline 1"))
                    .into())
            }
        }
    }

    /// The session that goes on: of an earlier run of this job, or of the job that is continued.
    async fn before(&mut self, task: &Task, kept: Option<RawJson>) -> Result<Before, AgentError> {
        let is_wanted = task.earlier.is_some();
        if let Some(kept) = &kept {
            self.own.keeping.restore(kept).await;
        }
        let kept = self.own.keeping.kept().await;
        if kept.acp_session.is_some() {
            return Ok(Before { kept, is_wanted });
        }
        let Some(earlier) = &task.earlier else {
            return Ok(Before::default());
        };
        let told = self.ctx.recall(earlier, &EventKind::new(OTHER)).await?;
        let kept = told.iter().rev().find_map(|told| {
            let kept: Kept = told.read().ok()?;
            kept.acp_session.is_some().then_some(kept)
        });
        let kept = kept.ok_or_else(|| no_session(earlier))?;
        Ok(Before { kept, is_wanted })
    }

    /// Opens the session, or loads the one that goes on. Gives what it offers to choose from.
    async fn open(&mut self, task: &Task, before: Before, agent: &Value) -> Result<Value, Broken> {
        let servers = self.servers(agent).await?;
        let mut place = json!({"cwd": task.cwd, "mcpServers": servers});
        if !task.dirs.is_empty() {
            place["additionalDirectories"] = json!(task.dirs);
        }
        if let Some(session) = before.kept.acp_session {
            match self.load(session, before.kept.costs, &place, agent).await? {
                Ok(loaded) => return Ok(loaded),
                Err(why) if before.is_wanted => return Err(self.broke(&why).into()),
                Err(why) => {
                    let text = format!("{} {why}: it begins anew, in a new session", self.subject);
                    self.ctx.log("warn", text).await?;
                }
            }
        }
        self.turn = Turn::new(self.ctx, BTreeMap::new());
        let opened = self.call("session/new", place).await?;
        let Some(id) = opened["sessionId"].as_str() else {
            return Err(self.broke("opened a session without a name").into());
        };
        self.id = Some(id.to_owned());
        Ok(opened)
    }

    /// The servers of tools that the agent is told of: the job's own, where it can use it [ARCP 17-7].
    async fn servers(&mut self, agent: &Value) -> Result<Value, AgentError> {
        let Some((url, key)) = &self.own.tools else {
            return Ok(json!([]));
        };
        let capabilities = &agent["agentCapabilities"]["mcpCapabilities"];
        let url = match url {
            Some(url) if capabilities["http"] == true => url,
            missing => {
                let why = match missing {
                    Some(_) => {
                        "it does not say that it takes servers over HTTP (`mcpCapabilities.http`)"
                    }
                    None => "its process cannot be kept to a port of its job here",
                };
                let text = format!("the job's own tools were not given to the agent: {why}");
                self.ctx.log("warn", text).await?;
                return Ok(json!([]));
            }
        };
        let bearer = format!("Bearer {}", key.expose());
        Ok(json!([{
            "type": "http", "name": "towline", "url": url,
            "headers": [{"name": "Authorization", "value": bearer}],
        }]))
    }

    /// Loads a session; the inner error is why the agent has it no more.
    async fn load(
        &mut self,
        session: String,
        costs: BTreeMap<String, Amount>,
        place: &Value,
        agent: &Value,
    ) -> Result<Result<Value, String>, Broken> {
        let can = &agent["agentCapabilities"];
        let method = if can["loadSession"] == true {
            "session/load"
        } else if can["sessionCapabilities"]["resume"].is_object() {
            "session/resume"
        } else {
            let why = "cannot load a session, so nothing goes on from an earlier one";
            return Ok(Err(why.to_owned()));
        };
        let mut place = place.clone();
        place["sessionId"] = json!(session);
        self.turn = Turn::new(self.ctx, costs);
        self.id = Some(session);
        self.is_loading = true;
        let loaded = self.ask(method, place).await?;
        self.is_loading = false;
        Ok(loaded.map_err(|error| {
            self.id = None;
            refusal(method, &error)
        }))
    }

    /// The mode and the model that the task wants, of those that the session offers.
    async fn choose(&mut self, task: &Task, offers: &Value) -> Result<(), Broken> {
        if let Some(mode) = &task.mode {
            let modes = names(&offers["modes"]["availableModes"], "id");
            offered("mode", mode, &modes)?;
            let params = json!({"sessionId": self.id, "modeId": mode});
            self.call("session/set_mode", params).await?;
        }
        let Some(model) = &task.model else {
            return Ok(());
        };
        let options = offers["configOptions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let option = options
            .iter()
            .find(|option| option["category"] == "model" || option["id"] == "model");
        if let Some(option) = option {
            let groups = option["options"].as_array().cloned().unwrap_or_default();
            let mut values = names(&option["options"], "value");
            values.extend(
                groups
                    .iter()
                    .flat_map(|group| names(&group["options"], "value")),
            );
            offered("model", model, &values)?;
            let params = json!({"sessionId": self.id, "configId": option["id"], "value": model});
            self.call("session/set_config_option", params).await?;
        } else {
            let models = names(&offers["models"]["availableModels"], "modelId");
            offered("model", model, &models)?;
            let params = json!({"sessionId": self.id, "modelId": model});
            self.call("session/set_model", params).await?;
        }
        Ok(())
    }

    async fn conclude(&mut self, ended: &Value, last: Option<String>) -> Result<RawJson, Broken> {
        let reason = told(ended["stopReason"].as_str().unwrap_or("none"));
        let code = match &*reason {
            "end_turn" => {
                let Some(text) = last else {
                    return Ok(RawJson::NULL);
                };
                let mut result = Collected::new(self.ctx, ResultForm::Text, false);
                result.collect(&mut text.as_bytes()).await?;
                return Ok(result.finish(self.subject).await?);
            }
            "cancelled" => return Err(Broken::Cancelled),
            "refusal" => ErrorCode::INVALID_REQUEST,
            _ => ErrorCode::INTERNAL_ERROR,
        };
        let said = last.as_deref().filter(|_| reason == "refusal");
        let why = said.map_or_else(|| format!("the turn ended with `{reason}`"), told);
        let details = RawJson::from(json!({"stop_reason": reason}));
        Err(AgentError::new(code, why).with_details(details).into())
    }

    /// Keeps which session it is, for a later run, and for jobs that continue this one.
    async fn keep(&mut self) -> Result<(), AgentError> {
        let kept = Kept {
            acp_session: self.id.clone(),
            costs: self.turn.costs().clone(),
            value: None,
        };
        let (session, costs) = (kept.acp_session.clone(), kept.costs.clone());
        self.own.keeping.keep_session(session, costs).await?;
        Ok(self.ctx.emit(&EventKind::new(OTHER), &kept).await?)
    }

    /// Asks the agent for what it has to do.
    async fn call(&mut self, method: &str, params: Value) -> Result<Value, Broken> {
        let answer = self.ask(method, params).await?;
        answer.map_err(|error| self.broke(&refusal(method, &error)).into())
    }

    /// Asks the agent, and answers what it asks meanwhile.
    async fn ask(
        &mut self,
        method: &str,
        params: Value,
    ) -> Result<Result<Value, RpcError>, Broken> {
        let ours = self.wire.request(method, &params);
        loop {
            let until = self.until;
            tokio::select! {
                said = self.wire.next() => match said? {
                    Said::Answer { id, answer } if id == ours => return Ok(answer),
                    // To nothing that was asked.
                    Said::Answer { .. } => {}
                    Said::Request { id, method, params } => self.request(id, &method, params)?,
                    Said::Notice { method, params } => self.notice(&method, params).await?,
                    Said::Stray(line) => {
                        let text = format!(
                            "the agent's process wrote a line to its standard output that is no message: {line}"
                        );
                        self.ctx.log("warn", text).await?;
                    }
                },
                Some((id, answer)) = self.answers.next() => self.wire.answer(&id, answer),
                Some((id, call, decided)) = self.permissions.next() => {
                    self.asked.retain(|known| *known != id);
                    if let Some(call) = call.filter(|_| !decided.allowed) {
                        self.turn.was_refused(&call);
                    }
                    self.wire.answer(&id, Ok(decided.answer));
                }
                () = self.ctx.cancelled(), if until.is_none() => self.withdraw(),
                () = over(until) => return Err(Broken::Cancelled),
            }
        }
    }

    /// The job has to end: the agent is told, and has a little time to stop by itself [ARCP 17-1]. One that is only left goes on in
    /// another run, so its turn is not called off: the session is as it is, and the process ends.
    fn withdraw(&mut self) {
        let is_left = self.ctx.is_left();
        let time = if is_left { Duration::ZERO } else { GRACE };
        self.until = Some(Instant::now() + time);
        self.permissions = FuturesUnordered::new();
        for id in std::mem::take(&mut self.asked) {
            self.wire.answer(&id, Ok(permission::cancelled()));
        }
        if let Some(session) = self.id.as_ref().filter(|_| !is_left) {
            self.wire
                .notify("session/cancel", &json!({"sessionId": session}));
        }
    }

    async fn notice(&mut self, method: &str, params: Value) -> Result<(), AgentError> {
        match method {
            "session/update" if self.is_loading => Ok(()),
            "session/update" => self.turn.update(params).await,
            _ => {
                let told = json!({"method": method, "params": params});
                Ok(self.ctx.emit(&EventKind::new(OTHER), told).await?)
            }
        }
    }

    /// Begins to answer the agent.
    fn request(&mut self, id: Value, method: &str, mut params: Value) -> Result<(), Broken> {
        if self.answers.len() + self.permissions.len() >= AT_ONCE || self.wire.is_full() {
            return Err(self.broke("asks more at once than it takes answers").into());
        }
        let ctx = self.ctx;
        let grants = |namespace| !ctx.lease().patterns(namespace).is_empty();
        match method {
            "session/request_permission" => {
                if self.until.is_some() {
                    self.wire.answer(&id, Ok(permission::cancelled()));
                    return Ok(());
                }
                let told = self.turn.call(taken(&mut params, "toolCall"));
                let options = taken(&mut params, "options");
                let tool = told["toolCallId"].as_str().map(str::to_owned);
                let call = tool.as_deref().and_then(|tool| self.turn.open_call(tool));
                self.asked.push(id.clone());
                self.permissions.push(Box::pin(async move {
                    let decided = permission::decide(ctx, &told, &options, call.as_ref()).await;
                    (id, tool, decided)
                }));
            }
            "fs/read_text_file" if grants(namespace::FS_READ) => {
                self.answers
                    .push(Box::pin(async move { (id, read_file(ctx, &params).await) }));
            }
            "fs/write_text_file" if grants(namespace::FS_WRITE) => {
                self.answers.push(Box::pin(
                    async move { (id, write_file(ctx, &params).await) },
                ));
            }
            _ => self.answers.push(self.other(id, method.to_owned(), params)),
        }
        Ok(())
    }

    /// Answers what is asked of terminals, where there are any.
    fn other(&self, id: Value, method: String, params: Value) -> Answer<'j> {
        let terminals = self.terminals.clone();
        Box::pin(async move {
            let answer = match &terminals {
                Some(terminals) => terminals.answer(&method, &params).await,
                None => None,
            };
            let none = || {
                let message = format!("towline does not offer `{method}` to this job");
                Err(RpcError::new(METHOD_NOT_FOUND, message))
            };
            let answer = answer.unwrap_or_else(none);
            (id, answer)
        })
    }

    fn broke(&self, what: &str) -> AgentError {
        AgentError::new(
            ErrorCode::INTERNAL_ERROR,
            format!("{} {what}", self.subject),
        )
    }
}

/// What an agent's refusal says.
fn refusal(method: &str, error: &RpcError) -> String {
    let hint = if error.code == AUTH_REQUIRED {
        "; log the agent in as the user that runs towline, with the `state` directory of its section as its home, or pass it its key with env_pass"
    } else {
        ""
    };
    let (code, message) = (error.code, told(&error.message));
    format!("refused {method}: {message} ({code}){hint}")
}

/// As much of an agent's text as an error of the job tells.
fn told(text: &str) -> String {
    text.chars().take(TOLD).collect()
}

async fn over(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// A file, or some of its lines [ARCP 17-5].
async fn read_file(ctx: &JobContext, params: &Value) -> Result<Value, RpcError> {
    let path = params["path"].as_str().unwrap_or_default();
    let read = ctx.files().read_limit(READ).read_to_string(path).await;
    let text = read.map_err(|error| failed(&error))?;
    let (first, most) = (params["line"].as_u64(), params["limit"].as_u64());
    if first.is_none() && most.is_none() {
        return Ok(json!({"content": text}));
    }
    let skip = usize::try_from(first.unwrap_or(1).max(1) - 1).unwrap_or(usize::MAX);
    let most = usize::try_from(most.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let lines = text.split_inclusive('\n').skip(skip).take(most);
    Ok(json!({"content": lines.collect::<String>()}))
}

async fn write_file(ctx: &JobContext, params: &Value) -> Result<Value, RpcError> {
    let path = params["path"].as_str().unwrap_or_default();
    // Without a text nothing is written: what the file holds is not lost to a request that is none.
    let content = params["content"].as_str().ok_or_else(|| {
        RpcError::new(
            INVALID_PARAMS,
            "`content` is no text, the file is as it was",
        )
    })?;
    let written = ctx.files().write(path, content.as_bytes()).await;
    written
        .map(|()| Value::Null)
        .map_err(|error| failed(&error))
}

fn failed(error: &towline_runtime::FileError) -> RpcError {
    RpcError::new(INTERNAL, error.to_string())
}

fn names(list: &Value, member: &str) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    let names = items.filter_map(|item| item[member].as_str());
    names.map(str::to_owned).collect()
}

fn offered(what: &str, wanted: &str, offers: &[String]) -> Result<(), AgentError> {
    if offers.iter().any(|offer| offer == wanted) {
        return Ok(());
    }
    let offers = if offers.is_empty() {
        "none to choose from".to_owned()
    } else {
        offers.join(", ")
    };
    let why = format!("`{what}` is `{wanted}`, and the agent offers {offers}");
    Err(AgentError::new(ErrorCode::INVALID_REQUEST, why))
}

fn no_session(job: &JobId) -> AgentError {
    let why = format!("`continue`: job `{job}` has no ACP session that is known of");
    AgentError::new(ErrorCode::INVALID_REQUEST, why)
}

/// How many characters of a text that is.
const TOLD: usize = 4096;

/// A file that is read whole has at most so many bytes.
const READ: u64 = 8 << 20;

/// How many requests of an agent are answered at once.
const AT_ONCE: usize = 64;

/// What agents answer that nobody is logged in to.
const AUTH_REQUIRED: i64 = -32000;
