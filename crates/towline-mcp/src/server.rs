//! The server: what clients ask for, one method each.

use std::{io, sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, CancelTaskParams, Extensions, GetTaskParams,
        GetTaskResult, Implementation, JsonObject, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig, UpdateTaskParams,
    },
    service::{RequestContext, ServerInitializeError},
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use towline_runtime::policy::Refusal;
use towline_wire::{
    ErrorCode, JobId, QuestionId, RawJson,
    event::{InputRequest, QuestionKind},
    payload::Answer,
};

use crate::{
    args::Args,
    call,
    desk::{Desk, Entry},
    lines::Lines,
    names, shown, task, tools,
    wait::{Asks, MOST, Waiting},
};

/// What an operator decides.
#[derive(Debug, Clone, Default)]
pub struct Options {
    may_approve: bool,
}

impl Options {
    /// Lets `job_answer` answer approvals. Danger: whatever calls tools is a model, as a rule, and then approves what it does
    /// itself. Default: no; a person approves, asked by the client or elsewhere [ARCP 19-1].
    #[must_use]
    pub fn dangerously_let_models_approve(mut self, may: bool) -> Self {
        self.may_approve = may;
        self
    }
}

/// An MCP server whose tools are the agents of a runtime. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    asks: Source,
    options: Options,
}

/// In whose name is asked.
#[derive(Clone)]
pub(crate) enum Source {
    /// One principal for all requests.
    One(Arc<dyn Desk>),
    /// The principal that each HTTP request proves.
    #[cfg(feature = "streamable-http")]
    OfRequest,
}

impl Server {
    /// A server that asks at a desk.
    pub fn new(desk: impl Desk) -> Self {
        Self::of(Source::One(Arc::new(desk)))
    }

    pub(crate) fn of(asks: Source) -> Self {
        Self {
            asks,
            options: Options::default(),
        }
    }

    /// What an operator decides.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Serves one client over two streams, a message a line, until they end.
    ///
    /// # Errors
    /// What ended the streams, if it was not the client.
    pub async fn serve<R, W>(self, reader: R, writer: W) -> io::Result<()>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let running = match ServiceExt::serve(self, Lines::new(reader, writer)).await {
            Ok(running) => running,
            // It went before it had said anything.
            Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(io::Error::other(error)),
        };
        running.waiting().await.map(drop).map_err(io::Error::other)
    }

    fn desk(&self, extensions: &Extensions) -> Result<Arc<dyn Desk>, ErrorData> {
        match &self.asks {
            Source::One(desk) => {
                let _ = extensions;
                Ok(Arc::clone(desk))
            }
            #[cfg(feature = "streamable-http")]
            Source::OfRequest => crate::http::desk_of(extensions),
        }
    }

    /// A call of one of the tools for jobs.
    async fn own(
        &self,
        desk: &dyn Desk,
        call: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, Refusal> {
        let arguments = call.arguments;
        match &*call.name {
            "job_get" => {
                let job = Args::new(arguments, &["job_id"])?.job()?;
                let view = desk.job(&job).await?;
                Ok(shown::job(desk, view, false).await?.into())
            }
            "job_wait" => {
                if let Some(state) = &call.request_state {
                    let view = desk.job(&call::of_state(state)?).await?;
                    let responses = call.input_responses.unwrap_or_default();
                    return call::again(desk, view, responses, context).await;
                }
                wait(desk, arguments, context).await
            }
            "job_events" => events(desk, arguments).await,
            "job_cancel" => {
                let args = Args::new(arguments, &["job_id", "reason"])?;
                let job = args.job()?;
                desk.cancel(&job, args.text("reason")?.map(str::to_owned))
                    .await?;
                Ok(shown::done(desk, &job).await?.into())
            }
            "job_answer" => self.answer(desk, arguments).await,
            _ => {
                let args = Args::new(arguments, &["status", "agent", "limit", "cursor"])?;
                let page = desk.jobs(args.listing()?).await?;
                Ok(shown::value(Value::Object(page)).into())
            }
        }
    }

    /// A model may know an answer; it does not approve itself [ARCP 19-1].
    async fn answer(
        &self,
        desk: &dyn Desk,
        arguments: Option<JsonObject>,
    ) -> Result<CallToolResponse, Refusal> {
        let args = Args::new(arguments, &["job_id", "question_id", "answer"])?;
        let (job, question, answer) = (args.job()?, args.question()?, args.needed("answer")?);
        let asked = open_question(desk, &job, &question).await?;
        // Of a question that is not open the runtime says why.
        let is_approval = asked.is_some_and(|asked| asked.kind == QuestionKind::APPROVAL);
        if is_approval && !self.options.may_approve {
            return Err(Refusal::new(
                ErrorCode::PERMISSION_DENIED,
                format!(
                    "question `{question}` is an approval, which a person gives: `towline approve {job}`, or the dashboard"
                ),
            )
            .about(&job));
        }
        let answer = Answer {
            job_id: Some(job.clone()),
            question_id: question,
            answer,
            note: None,
            remember: None,
        };
        desk.answer(&job, answer).await?;
        Ok(shown::done(desk, &job).await?.into())
    }
}

/// A question of a job, if it is open: of one that may be looked at, or that may only be answered.
async fn open_question(
    desk: &dyn Desk,
    job: &JobId,
    question: &QuestionId,
) -> Result<Option<InputRequest>, Refusal> {
    let mut open = match desk.job(job).await {
        Ok(view) => view.questions,
        Err(refusal) if shown::is_hidden(&refusal) => {
            let inbox = desk.inbox().await?.into_iter();
            inbox
                .filter(|open| open.job_id == *job)
                .map(|open| open.request)
                .collect()
        }
        Err(refusal) => return Err(refusal),
    };
    open.retain(|open| open.question_id == *question);
    Ok(open.pop())
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("towline", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let desk = self.desk(&context.extensions)?;
        let agents = desk
            .agents()
            .await
            .map_err(|refusal| task::error(&refusal))?;
        let agents = names::by_tool(agents).into_iter();
        let mut listed: Vec<_> = agents
            .map(|(name, agent)| tools::of_agent(name, &agent))
            .collect();
        listed.extend(tools::own());
        Ok(ListToolsResult::with_all_items(listed))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let desk = self.desk(&context.extensions)?;
        let called = if tools::OWN.contains(&&*call.name) {
            self.own(&*desk, call, &context).await
        } else {
            let agents = desk
                .agents()
                .await
                .map_err(|refusal| task::error(&refusal))?;
            let Some(agent) = names::by_tool(agents).remove(&*call.name) else {
                let name = &call.name;
                let message = format!("there is no tool `{name}`; tools/list shows what there is");
                return Err(ErrorData::invalid_params(message, None));
            };
            call::agent(&*desk, &agent, call, &context).await
        };
        Ok(called.unwrap_or_else(|refusal| shown::refusal(&refusal).into()))
    }

    async fn get_task(
        &self,
        asked: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let desk = self.desk(&context.extensions)?;
        let job = task_of(&asked.task_id)?;
        task::get(&*desk, &job, Asks::of(&context) != Asks::Nobody).await
    }

    async fn update_task(
        &self,
        asked: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let desk = self.desk(&context.extensions)?;
        let answered = async {
            let asks = Asks::of(&context) != Asks::Nobody;
            call::was_asked(&asked.input_responses, asks)?;
            let view = desk.job(&task_of_refused(&asked.task_id)?).await?;
            task::answer(&*desk, &view, &asked.input_responses).await
        };
        answered
            .await
            .map(drop)
            .map_err(|refusal| task::error(&refusal))
    }

    async fn cancel_task(
        &self,
        asked: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let desk = self.desk(&context.extensions)?;
        let job = task_of(&asked.task_id)?;
        let reason = Some("the task was cancelled".to_owned());
        let cancelled = desk.cancel(&job, reason).await;
        cancelled.map_err(|refusal| task::error(&refusal))
    }
}

async fn wait(
    desk: &dyn Desk,
    arguments: Option<JsonObject>,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, Refusal> {
    let args = Args::new(arguments, &["job_id", "timeout_sec"])?;
    let limit = args.seconds("timeout_sec")?;
    let limit = limit.map_or(MOST, |seconds| {
        Duration::try_from_secs_f64(seconds).map_or(MOST, |limit| limit.min(MOST))
    });
    let job = args.job()?;
    let waiting = Waiting {
        desk,
        job: &job,
        context,
        asks: Asks::of(context),
        limit,
        from_start: false,
    };
    let waited = async { call::finish(desk, waiting.run().await?, context).await };
    waited.await.map_err(|refusal| refusal.about(&job))
}

/// Events as far as they are there: a bounded number of them, and of bytes.
async fn events(
    desk: &dyn Desk,
    arguments: Option<JsonObject>,
) -> Result<CallToolResponse, Refusal> {
    let args = Args::new(arguments, &["job_id", "after", "limit"])?;
    let (job, after) = (args.job()?, args.after()?);
    let limit = args.number("limit")?.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Refusal::invalid(format!(
            "`limit` is {limit}; give 1 to 1000"
        )));
    }
    let view = desk.job(&job).await?;
    let (mut listed, mut bytes, mut last) = (Vec::new(), 0, after);
    if after < view.last_seq {
        let mut log = desk.log(&job, after).await?;
        'read: loop {
            let entries = log.next().await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                last = entry.seq;
                bytes += entry.payload.as_str().len();
                listed.push(told(&job, entry).to_value());
                let is_full = listed.len() as u64 >= limit || bytes >= EVENT_BYTES;
                if is_full || last >= view.last_seq {
                    break 'read;
                }
            }
        }
    }
    Ok(shown::value(json!({
        "job_id": job,
        "status": view.status,
        "events": listed,
        "last": last,
        "more": last < view.last_seq,
    }))
    .into())
}

/// A record as HTTP's lines show it [ARCP 16-2].
fn told(job: &JobId, entry: Entry) -> RawJson {
    entry
        .payload
        .with_member("type", entry.message)
        .with_member("job_id", job)
        .with_member("job_seq", &entry.seq)
}

fn task_of(id: &str) -> Result<JobId, ErrorData> {
    task_of_refused(id).map_err(|refusal| task::error(&refusal))
}

fn task_of_refused(id: &str) -> Result<JobId, Refusal> {
    JobId::parse(id)
        .map_err(|error| Refusal::invalid(format!("`taskId` is no task's name: {error}")))
}

/// What a client may tell its model.
const INSTRUCTIONS: &str = "Each tool that is not for jobs runs an agent as a job, which outlives the call: after 50 seconds \
    you get its job_id, and job_wait gives its result later, also in another conversation. Nothing cancels a job but \
    job_cancel. What a job may do is bounded by its lease; a job that asks for an approval waits for a person.";

/// About how many bytes of events are given at once.
const EVENT_BYTES: usize = 256 * 1024;
