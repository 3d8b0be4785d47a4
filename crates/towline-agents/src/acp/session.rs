//! One session with an agent: from its first words to the end of its turn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use towline_runtime::{AgentError, JobContext};
use towline_wire::{Amount, ErrorCode, RawJson};

use super::{
    LAST_WORDS,
    client::{self, Answered},
    input::Input,
    rpc::{Incoming, Message, Outgoing},
    updates::Updates,
};
use crate::{
    collected::{Collected, ResultForm},
    pipe::Allowance,
    plain::said_too_much,
    trouble::{cancelled, failed},
};

/// What another run of the job has to know [ARCP 17-6].
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    acp_session: String,
    #[serde(default)]
    spent: BTreeMap<String, Amount>,
}

/// Why a session gave nothing.
pub(super) enum Broken {
    /// The agent is gone.
    Lost,
    Failed(AgentError),
}

impl<E: Into<AgentError>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) struct Session<'j> {
    pub(super) ctx: &'j JobContext,
    pub(super) subject: &'j str,
    incoming: Incoming,
    outgoing: Outgoing,
    allowance: Option<Allowance>,
    waiting: JoinSet<Answered>,
    updates: Updates,
    /// The session's id, once there is one.
    id: Option<String>,
    /// Whether an old session is being told once more.
    is_loading: bool,
}

impl<'j> Session<'j> {
    pub(super) fn new(
        ctx: &'j JobContext,
        subject: &'j str,
        (incoming, outgoing): (Incoming, Outgoing),
        allowance: Option<Allowance>,
    ) -> Self {
        Self {
            ctx,
            subject,
            incoming,
            outgoing,
            allowance,
            waiting: JoinSet::new(),
            updates: Updates::new(ctx, BTreeMap::new()),
            id: None,
            is_loading: false,
        }
    }

    /// Runs the one turn of the job. Gives its result.
    pub(super) async fn turn(&mut self, input: &Input) -> Result<RawJson, Broken> {
        let stopped = self.prompted(input).await;
        // Whatever became of it, what was said is said; a job that has to end may not take it any more.
        let last = self.updates.end_turn().await;
        let stopped = stopped?;
        let last = last?;
        match stopped.as_str() {
            "end_turn" => self.result(last).await,
            "cancelled" => Err(cancelled().into_broken()),
            reason => Err(self.stopped(reason).into_broken()),
        }
    }

    async fn result(&self, last: Option<String>) -> Result<RawJson, Broken> {
        let text = match last {
            Some(text) if text.len() > INLINE => text,
            short => return Ok(RawJson::of(&short)?),
        };
        let mut result = Collected::new(self.ctx, ResultForm::Text, false);
        result.add(text.as_bytes()).await.map_err(Broken::Failed)?;
        result.end(None).await.map_err(Broken::Failed)?;
        Ok(RawJson::NULL)
    }

    fn stopped(&self, reason: &str) -> AgentError {
        let (code, what) = match reason {
            "max_tokens" => (ErrorCode::INTERNAL_ERROR, "reached its limit of tokens"),
            "max_turn_requests" => (ErrorCode::INTERNAL_ERROR, "reached its limit of requests"),
            "refusal" => (ErrorCode::INVALID_REQUEST, "refused the prompt"),
            _ => (
                ErrorCode::INTERNAL_ERROR,
                "stopped for a reason that is not known",
            ),
        };
        let details = json!({"stop_reason": reason});
        AgentError::new(code, format!("{} {what} ({reason})", self.subject)).with_details(details)
    }

    async fn prompted(&mut self, input: &Input) -> Result<String, Broken> {
        let hello = json!({
            "protocolVersion": 1,
            "clientCapabilities": client::capabilities(self.ctx),
            "clientInfo": {"name": "towline", "version": env!("CARGO_PKG_VERSION")},
        });
        let agent = self.ask("initialize", hello).await?;
        if agent["protocolVersion"] != 1 {
            let what = format!(
                "speaks version {} of the Agent Client Protocol, and this runtime version 1",
                agent["protocolVersion"]
            );
            return Err(failed(self.subject, &what).into_broken());
        }
        let session = self.open(input, &agent["agentCapabilities"]).await?;
        self.choose(input, &session).await?;
        let prompt = json!({"sessionId": self.id, "prompt": input.blocks()});
        let stopped = self.ask("session/prompt", prompt).await?;
        Ok(stopped["stopReason"]
            .as_str()
            .unwrap_or("end_turn")
            .to_owned())
    }

    /// Makes a session, or takes up the one that an earlier run of the job, or an earlier job, had.
    async fn open(&mut self, input: &Input, can: &Value) -> Result<Value, Broken> {
        let mut params = json!({"cwd": input.cwd, "mcpServers": []});
        let supports = &can["sessionCapabilities"];
        if !input.dirs.is_empty() {
            if supports["additionalDirectories"].is_null() {
                let why = "`dirs`: this agent works in one directory only; leave them out";
                return Err(AgentError::invalid_input(&why).into_broken());
            }
            params["additionalDirectories"] = json!(input.dirs);
        }
        let load = match can["loadSession"] == true {
            true => Some("session/load"),
            false if !supports["resume"].is_null() => Some("session/resume"),
            false => None,
        };
        let kept = self.kept(input).await?;
        if let (Some(kept), Some(load)) = (&kept, load) {
            params["sessionId"] = kept.acp_session.as_str().into();
            self.updates.spent.clone_from(&kept.spent);
            self.is_loading = true;
            let loaded = self.ask(load, params).await;
            self.is_loading = false;
            self.id = Some(kept.acp_session.clone());
            let loaded = loaded?;
            self.keep().await?;
            return Ok(loaded);
        }
        if kept.is_some() && input.earlier()?.is_some() {
            let why = "`continue`: this agent cannot load sessions; leave it out";
            return Err(AgentError::invalid_input(&why).into_broken());
        }
        let session = self.ask("session/new", params).await?;
        let Some(id) = session["sessionId"].as_str() else {
            let what = "gave its session no `sessionId`";
            return Err(failed(self.subject, what).into_broken());
        };
        self.id = Some(id.to_owned());
        self.keep().await?;
        Ok(session)
    }

    /// The session that goes on: of an earlier run of this job, else of the job that the input names.
    async fn kept(&self, input: &Input) -> Result<Option<Kept>, Broken> {
        let own: Option<Kept> = self.ctx.restored().await?;
        if own.is_some() {
            return Ok(own);
        }
        let Some(job) = input.earlier()? else {
            return Ok(None);
        };
        let unknown = || {
            let why = format!(
                "`continue`: `{job}` is no job of yours with this agent, or has no session any more"
            );
            AgentError::invalid_input(&why).into_broken()
        };
        let kept = self.ctx.kept_by(&job).await?.ok_or_else(unknown)?;
        kept.read().map(Some).map_err(|_| unknown())
    }

    async fn keep(&self) -> Result<(), Broken> {
        let Some(id) = &self.id else {
            return Ok(());
        };
        let kept = Kept {
            acp_session: id.clone(),
            spent: self.updates.spent.clone(),
        };
        Ok(self.ctx.checkpoint(kept).await?)
    }

    /// Sets the mode and the model, by what the agent offers.
    async fn choose(&mut self, input: &Input, session: &Value) -> Result<(), Broken> {
        let choices = [
            (
                "model",
                &input.model,
                "models",
                "availableModels",
                "modelId",
            ),
            ("mode", &input.mode, "modes", "availableModes", "id"),
        ];
        for (what, wanted, group, list, id) in choices {
            let Some(wanted) = wanted else { continue };
            let (method, params) = match offered(session, what, wanted) {
                Some(option) => (
                    "session/set_config_option",
                    json!({"sessionId": self.id, "configId": option, "value": wanted}),
                ),
                None if has(&session[group][list], id, wanted) => match what {
                    "model" => (
                        "session/set_model",
                        json!({"sessionId": self.id, "modelId": wanted}),
                    ),
                    _ => (
                        "session/set_mode",
                        json!({"sessionId": self.id, "modeId": wanted}),
                    ),
                },
                None => {
                    let why = format!("`{what}`: the agent does not offer `{wanted}`");
                    return Err(AgentError::invalid_input(&why).into_broken());
                }
            };
            self.ask(method, params).await?;
        }
        Ok(())
    }

    /// Asks the agent, and serves it until it answers.
    async fn ask(&mut self, method: &str, params: Value) -> Result<Value, Broken> {
        let asked = self.outgoing.request(method, params).await;
        let is_turn = method == "session/prompt";
        let mut deadline: Option<Instant> = None;
        loop {
            let used_up = async {
                match &self.allowance {
                    Some(allowance) => allowance.used_up().await,
                    None => std::future::pending().await,
                }
            };
            let over = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let may_read = self.waiting.len() < AT_ONCE;
            let message = tokio::select! {
                biased;
                () = self.ctx.cancelled(), if deadline.is_none() => {
                    if !is_turn || self.ctx.is_left() {
                        return Err(cancelled().into_broken());
                    }
                    deadline = Some(Instant::now() + LAST_WORDS);
                    self.outgoing.notify("session/cancel", json!({"sessionId": self.id})).await;
                    continue;
                }
                () = over => return Err(cancelled().into_broken()),
                () = used_up => return Err(said_too_much(self.subject).into_broken()),
                Some(answered) = self.waiting.join_next() => {
                    let Ok(answered) = answered else { continue };
                    if let Some(call) = &answered.refused {
                        self.updates.refused(call);
                    }
                    self.outgoing.respond(answered.id, answered.answer).await;
                    continue;
                }
                message = self.incoming.next(), if may_read => message,
            };
            let message = message.map_err(|error| {
                failed(self.subject, &format!("cannot be heard: {error}")).into_broken()
            })?;
            match message.ok_or(Broken::Lost)? {
                Message::Response { id, result } if id == asked => {
                    return result
                        .map_err(|error| self.answered_with(method, &error).into_broken());
                }
                Message::Response { .. } => {}
                _ if deadline.is_some() && !is_turn => {}
                message => self.unless_over(message).await?,
            }
        }
    }

    /// What a job says that has to end may come too late.
    async fn unless_over(&mut self, message: Message) -> Result<(), Broken> {
        match self.serve(message).await {
            Err(_) if self.ctx.is_cancelled() => Ok(()),
            served => served,
        }
    }

    async fn serve(&mut self, message: Message) -> Result<(), Broken> {
        match message {
            Message::Notification { method, params } => {
                let is_update = method == "session/update" && !self.is_loading;
                if is_update && self.updates.take(&params["update"]).await? {
                    self.keep().await?;
                }
            }
            Message::Request { id, method, params } => {
                let ctx = self.ctx.clone();
                let answer = if method == "session/request_permission" {
                    let call = self.updates.asked(&params["toolCall"]).await?;
                    client::permission(ctx, id, call, params)
                } else {
                    client::method(ctx, id, method, params)
                };
                self.waiting.spawn(answer);
            }
            Message::Stray(why) => {
                let text = format!(
                    "the agent's process wrote a line to its standard output that is no message ({why}); print to standard error"
                );
                self.ctx.log("warn", text).await?;
            }
            Message::Response { .. } => {}
        }
        Ok(())
    }

    fn answered_with(&self, method: &str, error: &Value) -> AgentError {
        let message = error["message"].as_str().unwrap_or("no message");
        let mut what = format!("answered `{method}` with an error: {message}");
        if error["code"] == AUTH_REQUIRED {
            what.push_str("; it wants to be logged in: give it its key with `env` or `model`, or its own login with `state`");
        }
        failed(self.subject, &what).with_details(json!({"error": error}))
    }
}

/// The configuration option of that sort which has the value.
fn offered<'v>(session: &'v Value, what: &str, wanted: &str) -> Option<&'v Value> {
    let options = session["configOptions"].as_array()?;
    let option = options
        .iter()
        .find(|option| option["category"] == what || option["id"] == what)?;
    let choices = option["options"].as_array()?;
    let is_there = choices
        .iter()
        .any(|choice| choice["value"] == wanted || has(&choice["options"], "value", wanted));
    is_there.then_some(&option["id"])
}

fn has(list: &Value, member: &str, wanted: &str) -> bool {
    let items = list.as_array().into_iter().flatten();
    items.into_iter().any(|item| item[member] == wanted)
}

/// An error of the agent's making.
trait IntoBroken {
    fn into_broken(self) -> Broken;
}

impl IntoBroken for AgentError {
    fn into_broken(self) -> Broken {
        Broken::Failed(self)
    }
}

/// A longer result is streamed.
const INLINE: usize = 256 * 1024;
/// How many requests of an agent are carried out at once.
const AT_ONCE: usize = 64;
/// The error of an agent that nobody is logged in to.
const AUTH_REQUIRED: i32 = -32000;
