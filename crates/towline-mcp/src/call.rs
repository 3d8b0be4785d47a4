//! Calling an agent's tool: a job is submitted, and waited for.

use rmcp::{
    RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, InputRequiredResult, InputResponses, JsonObject,
    },
    service::RequestContext,
};
use serde_json::{Map, Value};
use towline_runtime::{CallTrace, check_bounds, policy::Refusal};
use towline_wire::{AgentRef, ErrorCode, JobId, RawJson, TraceId, payload::AgentListing};

use crate::{
    desk::{Desk, JobView},
    shown, task, tools,
    wait::{Asks, Halt, MOST, Waiting},
};

/// A call of an agent's tool.
pub(crate) async fn agent(
    desk: &dyn Desk,
    agent: &AgentListing,
    call: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, Refusal> {
    if let Some(state) = &call.request_state {
        let job = of_state(state)?;
        let view = desk.job(&job).await?;
        let is_its = AgentRef::parse(&view.agent).is_ok_and(|of| of.name() == agent.name);
        if !is_its {
            return Err(Refusal::invalid(format!(
                "`requestState` is of a job of `{}`, not of `{}`",
                view.agent, agent.name
            )));
        }
        return again(
            desk,
            view,
            call.input_responses.unwrap_or_default(),
            context,
        )
        .await;
    }
    let submit = submit(agent, call.arguments, &context.meta)?;
    let job = desk.submit(submit, trace(&context.meta)).await?;
    let capabilities = context.client_capabilities();
    if capabilities.is_some_and(|can| can.supports_tasks()) {
        let view = desk.job(&job).await;
        return Ok(view.map_or_else(
            |refusal| shown::left(&job, &refusal).into(),
            |view| task::created(&view).into(),
        ));
    }
    let waiting = Waiting {
        desk,
        job: &job,
        context,
        asks: Asks::of(context),
        limit: MOST,
        from_start: true,
    };
    let waited = async { finish(desk, waiting.run().await?, context).await };
    // The job is there whatever became of the waiting: called once more, the tool would run it twice.
    let told = waited.await;
    Ok(told.unwrap_or_else(|refusal| shown::left(&job, &refusal).into()))
}

/// The call of before once more, with what the client's user said to the questions that it gave.
pub(crate) async fn again(
    desk: &dyn Desk,
    view: JobView,
    responses: InputResponses,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, Refusal> {
    was_asked(&responses, Asks::of(context) == Asks::ByResult)?;
    let unanswered = task::answer(desk, &view, &responses).await?;
    if unanswered > 0 {
        // Asked again the user would only put it away again: the call hands the job over.
        return Ok(shown::job(desk, desk.job(&view.id).await?, true)
            .await?
            .into());
    }
    let waiting = Waiting {
        desk,
        job: &view.id,
        context,
        asks: Asks::of(context),
        limit: MOST,
        from_start: false,
    };
    finish(desk, waiting.run().await?, context).await
}

/// A response is taken from a client that was asked: one whose user cannot be shown a form was not, and a model does not approve
/// itself [ARCP 19-1].
pub(crate) fn was_asked(responses: &InputResponses, asked: bool) -> Result<(), Refusal> {
    if asked || responses.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::PERMISSION_DENIED,
        "`inputResponses` are of a client that declares elicitation and was asked; without it a person answers with \
         `towline approve` or on the dashboard, and job_answer what is no approval",
    ))
}

/// What a call that waited gives.
pub(crate) async fn finish(
    desk: &dyn Desk,
    halt: Halt,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, Refusal> {
    let view = match halt {
        Halt::Asks(view) if Asks::of(context) == Asks::ByResult => {
            let requests = task::requests(&view);
            if !requests.is_empty() {
                let state = Some(view.id.to_string());
                return Ok(InputRequiredResult::new(Some(requests), state).into());
            }
            view
        }
        Halt::Ended(view) | Halt::Asks(view) | Halt::Time(view) => view,
    };
    Ok(shown::job(desk, view, true).await?.into())
}

/// The job that a call of before was about. The state is only the job's name, and no more is believed of it than of an argument:
/// whoever forges it gets what `job_wait` gives.
pub(crate) fn of_state(state: &str) -> Result<JobId, Refusal> {
    JobId::parse(state)
        .map_err(|_| Refusal::invalid("`requestState` is not one that this server gave"))
}

/// The payload of the `job.submit`: the arguments as the input, and what `_meta` says beside them [ARCP 19-1].
fn submit(
    agent: &AgentListing,
    arguments: Option<JsonObject>,
    meta: &Map<String, Value>,
) -> Result<RawJson, Refusal> {
    let mut submit = match meta.get(SUBMIT) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(more)) => more.clone(),
        Some(_) => {
            return Err(Refusal::invalid(format!(
                "`_meta[\"{SUBMIT}\"]` is not an object"
            )));
        }
    };
    check_bounds(|name| submit.contains_key(name))?;
    if submit.contains_key("input") {
        return Err(Refusal::invalid(format!(
            "`_meta[\"{SUBMIT}\"].input` is the tool's arguments; leave it out"
        )));
    }
    let named = submit.remove("agent").filter(|named| !named.is_null());
    let name = match named {
        None => Value::from(agent.name.as_str()),
        Some(named) if is_version_of(&named, agent) => named,
        Some(named) => {
            return Err(Refusal::invalid(format!(
                "`_meta[\"{SUBMIT}\"].agent` is {named}, and this tool is `{}`; only a version may be named",
                agent.name
            )));
        }
    };
    submit.insert("agent".to_owned(), name);
    if let Some(input) = input(agent, arguments) {
        submit.insert("input".to_owned(), input);
    }
    Ok(RawJson::from(Value::Object(submit)))
}

fn input(agent: &AgentListing, arguments: Option<JsonObject>) -> Option<Value> {
    let mut arguments = arguments?;
    if tools::is_wrapped(agent) {
        return arguments.remove("input");
    }
    Some(Value::Object(arguments))
}

fn is_version_of(named: &Value, agent: &AgentListing) -> bool {
    let named = named.as_str().and_then(|named| AgentRef::parse(named).ok());
    named.is_some_and(|named| named.name() == agent.name)
}

/// The trace the call belongs to [ARCP 11-1].
fn trace(meta: &Map<String, Value>) -> CallTrace {
    let text = meta.get("traceparent").and_then(Value::as_str);
    let parsed = text.and_then(TraceId::parse_lenient);
    CallTrace {
        trace: parsed.map(|(trace, _)| trace),
        span: parsed.and_then(|(_, span)| span),
    }
}

/// The member of `_meta` with the other members of `job.submit`.
const SUBMIT: &str = "towline/submit";
