//! `exec`: runs a program its lease names, confined to the files its lease names.

use serde::Deserialize;
use serde_json::json;
use towline_runtime::{Agent, AgentError, AgentFuture, JobContext};
use towline_wire::{RawJson, explain_json};

use crate::{
    collected::ResultForm,
    confined::Confinement,
    launcher::Launcher,
    named::{Allowed, Starter, tool_error},
    plain::{self, Manner},
    proxy::Network,
};

/// Runs a program that the job names and its lease covers (`tool.call`, `exec:NAME`), kept by the kernel to the files of the
/// lease's `fs.read` and `fs.write`. Its input is `{argv, cwd?, stdin?}`, its result what the program prints.
///
/// ```
/// use towline_agents::{ExecAgent, Launcher};
///
/// let exec = ExecAgent::new();
/// let exec = ExecAgent::new().launcher(Launcher::program("/opt/mine").arg("confine"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ExecAgent {
    launcher: Option<Launcher>,
    confinement: Confinement,
}

impl ExecAgent {
    /// With the launcher that [`Launcher::find`] finds.
    pub fn new() -> Self {
        Self::default()
    }

    /// The program that starts programs. Default: as [`Launcher::find`] finds it; without one, jobs are refused.
    #[must_use]
    pub fn launcher(mut self, launcher: Launcher) -> Self {
        self.launcher = Some(launcher);
        self
    }

    /// What confines its programs. Default: the lease of the job.
    #[must_use]
    pub fn confinement(mut self, confinement: Confinement) -> Self {
        self.confinement = confinement;
        self
    }
}

impl Agent for ExecAgent {
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture {
        let Self {
            launcher,
            confinement,
        } = self.clone();
        Box::pin(async move {
            let input = input
                .read::<Input>()
                .map_err(|cause| AgentError::invalid_input(&explain_json(&cause)))?;
            let launcher = launcher.map_or_else(Launcher::find, Ok)?;
            run(ctx, launcher, confinement, input).await
        })
    }

    fn spends_unasked(&self) -> bool {
        true
    }
}

#[derive(Deserialize)]
struct Input {
    argv: Vec<String>,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default)]
    stdin: Option<String>,
}

async fn run(
    ctx: JobContext,
    launcher: Launcher,
    confinement: Confinement,
    input: Input,
) -> Result<RawJson, AgentError> {
    let allowed = Allowed::ask(&ctx, &input.argv, json!({"argv": input.argv})).await?;
    let call = allowed.call.clone();
    let network = Network::of(&ctx, &confinement.network);
    let starter = Starter {
        launcher: Some(launcher),
        confinement,
        network: network.clone(),
        read: Vec::new(),
    };
    let ran = start_and_run(&ctx, allowed, starter, &input);
    let gave = Network::run(network, Box::pin(ran)).await;
    match &gave {
        Ok(_) => ctx.tool_result(&call, json!({"exit_code": 0})).await?,
        // A job that has to end takes no more events.
        Err(_) if ctx.is_cancelled() => {}
        Err(error) => ctx.tool_failed(&call, tool_error(error)).await?,
    }
    gave
}

async fn start_and_run(
    ctx: &JobContext,
    allowed: Allowed<'_>,
    starter: Starter,
    input: &Input,
) -> Result<RawJson, AgentError> {
    let subject = allowed.subject();
    let manner = Manner {
        form: ResultForm::Text,
        output: starter.confinement.limits.output,
        ..Manner::default()
    };
    let program = allowed.program(ctx, starter, input.cwd.as_deref()).await?;
    let stdin = input.stdin.clone().map(String::into_bytes);
    plain::run(ctx, program, &subject, stdin, manner).await
}
