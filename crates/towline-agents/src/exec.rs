//! `exec`: runs a program its lease names, confined to the files its lease names.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use towline_runtime::{Agent, AgentError, AgentFuture, JobContext};
use towline_wire::{RawJson, explain_json};

use crate::{
    collected::ResultForm,
    confined::Confinement,
    launcher::Launcher,
    named::{Allowed, Starter, check_variables, tool_error},
    plain::{self, Manner},
    proxy::Network,
};

/// Runs a program that the job names and its lease covers (`tool.call`, `exec:NAME`), kept by the kernel to the files of the
/// lease's `fs.read` and `fs.write`. Its input is `{argv, cwd?, stdin?, env?}`, its result what the program prints; each line of
/// that is a log event as well, as soon as it is written.
///
/// The program finds a private directory in `HOME`, with `TMPDIR` in it, and the variables of `env`, whose values stand in no
/// event.
///
/// ```
/// use towline_agents::{ExecAgent, Launcher};
///
/// let exec = ExecAgent::new();
/// let exec = ExecAgent::new().launcher(Launcher::program("/opt/mine").arg("confine"));
/// ```
#[derive(Debug, Clone)]
pub struct ExecAgent {
    launcher: Option<Launcher>,
    confinement: Confinement,
    form: ResultForm,
    live: bool,
}

impl Default for ExecAgent {
    fn default() -> Self {
        Self {
            launcher: None,
            confinement: Confinement::default(),
            form: ResultForm::default(),
            live: true,
        }
    }
}

impl ExecAgent {
    /// With the launcher that [`Launcher::find`] finds.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the output of its programs is as a result. Default: [`ResultForm::Auto`].
    #[must_use]
    pub fn result(mut self, form: ResultForm) -> Self {
        self.form = form;
        self
    }

    /// Whether each line of output is a log event as well. Default: yes.
    #[must_use]
    pub fn live_lines(mut self, live: bool) -> Self {
        self.live = live;
        self
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
        let mut exec = self.clone();
        Box::pin(async move {
            let input = input
                .read::<Input>()
                .map_err(|cause| AgentError::invalid_input(&explain_json(&cause)))?;
            check_variables(
                input
                    .env
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            )?;
            let launcher = exec.launcher.take().map_or_else(Launcher::find, Ok)?;
            exec.job(ctx, launcher, input).await
        })
    }

    fn spends_unasked(&self) -> bool {
        true
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    argv: Vec<String>,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl ExecAgent {
    async fn job(
        self,
        ctx: JobContext,
        launcher: Launcher,
        input: Input,
    ) -> Result<RawJson, AgentError> {
        let allowed = Allowed::ask(&ctx, &input.argv, json!({"argv": input.argv})).await?;
        let call = allowed.call.clone();
        let network = Network::of(&ctx, &self.confinement.network);
        let starter = Starter {
            launcher: Some(launcher),
            confinement: self.confinement,
            network: network.clone(),
            read: Vec::new(),
        };
        let manner = Manner {
            form: self.form,
            live: self.live,
            output: starter.confinement.limits.output,
        };
        let ran = start_and_run(&ctx, allowed, starter, &input, manner);
        let gave = Network::run(network, Box::pin(ran)).await;
        match &gave {
            Ok(_) => ctx.tool_result(&call, json!({"exit_code": 0})).await?,
            // A job that has to end takes no more events.
            Err(_) if ctx.is_cancelled() => {}
            Err(error) => ctx.tool_failed(&call, tool_error(error)).await?,
        }
        gave
    }
}

async fn start_and_run(
    ctx: &JobContext,
    allowed: Allowed<'_>,
    starter: Starter,
    input: &Input,
    manner: Manner,
) -> Result<RawJson, AgentError> {
    let subject = allowed.subject();
    let mut program = allowed.program(ctx, starter, input.cwd.as_deref()).await?;
    for (name, value) in &input.env {
        program.environment.set(name, value);
    }
    let stdin = input.stdin.clone().map(String::into_bytes);
    plain::run(ctx, program, &subject, stdin, manner).await
}
