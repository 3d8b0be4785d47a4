//! The server that an agent's process has in its job.

use std::sync::Arc;

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
        ListToolsResult, PaginatedRequestParams, ResultType, ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use towline_runtime::{JobContext, ToolError};
use towline_wire::{ErrorCode, RawJson};

use super::{
    calls::{self, Failed},
    names, reports, tools,
};
use crate::keeping::Keeping;

/// The tools of one job. Cheap to clone.
#[derive(Clone)]
pub(super) struct Job {
    ctx: JobContext,
    keeping: Arc<Keeping>,
}

impl Job {
    pub(super) fn new(ctx: &JobContext, keeping: Arc<Keeping>) -> Self {
        Self {
            ctx: ctx.clone(),
            keeping,
        }
    }

    /// Calls a tool of a server, by the name that models have for it, or the one that the lease has.
    async fn other(&self, name: &str, arguments: Value) -> Result<CallToolResult, Failed> {
        let name = if name.contains('/') {
            name.to_owned()
        } else {
            let all = self.ctx.tools().await.map_err(failed)?;
            let named = names::for_models(all, &tools::OWN);
            let Some(tool) = named.get(name) else {
                let message = format!("there is no tool `{name}`; tools/list shows what there is");
                return Err(Failed::new(ErrorCode::INVALID_REQUEST, message));
            };
            tool.name.clone()
        };
        let gave = self.ctx.call_tool(&name, arguments).await.map_err(failed)?;
        // As it came from a server; what else there is in a runtime says what it likes.
        let whole = name
            .contains('/')
            .then(|| gave.read::<CallToolResult>().ok());
        Ok(whole.flatten().map_or_else(|| told(&gave), passed_on))
    }
}

/// What a server gave, as this one gives it: each has said how what it says is to be read.
fn passed_on(mut result: CallToolResult) -> CallToolResult {
    result.result_type = Some(ResultType::COMPLETE);
    result.meta = None;
    result
}

/// What a tool gave, as a model gets it.
fn told(gave: &RawJson) -> CallToolResult {
    let mut told = CallToolResult::success(vec![ContentBlock::text(gave.as_str())]);
    told.structured_content = gave.read().ok().filter(Value::is_object);
    told
}

fn failed(error: ToolError) -> Failed {
    let code = match &error {
        ToolError::Denied(denied) => denied.code().clone(),
        ToolError::Unknown(_) => ErrorCode::INVALID_REQUEST,
        _ => ErrorCode::INTERNAL_ERROR,
    };
    Failed::new(code, error.to_string())
}

impl ServerHandler for Job {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("towline", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut listed = tools::own();
        let others = self.ctx.tools().await;
        let others = others.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let named = names::for_models(others, &tools::OWN).into_iter();
        listed.extend(named.map(|(name, tool)| tools::of_server(name, &tool)));
        Ok(ListToolsResult::with_all_items(listed))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let token = context.meta.get_progress_token();
        let calling = async {
            if !tools::OWN.contains(&&*call.name) {
                let arguments = Value::Object(call.arguments.unwrap_or_default());
                return self.other(&call.name, arguments).await;
            }
            let (ctx, keeping) = (&self.ctx, &self.keeping);
            let gave = calls::own(ctx, keeping, &call.name, call.arguments).await?;
            Ok(told(&RawJson::from(gave)))
        };
        let called = reports::while_waiting(token, &context, calling).await;
        let result = called.unwrap_or_else(|failed| {
            let error = json!({"code": failed.code, "message": failed.message});
            let text = format!("{}: {}", failed.code, failed.message);
            let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
            result.structured_content = Some(error);
            result
        });
        Ok(result.into())
    }
}

/// What a client may tell its model.
const INSTRUCTIONS: &str = "You work on a job that people watch and that is bounded by a lease and a budget. progress tells them how far \
    you are, ask_human asks them, delegate hands a part to another agent, checkpoint keeps what a later run of the job needs.";
