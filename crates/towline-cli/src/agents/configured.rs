//! Agents that `towline.toml` names: a plain command run once a job, or a child process that speaks ARCP over stdio.

use std::{path::PathBuf, sync::Arc};

use tokio::process::Command;
use towline::{
    runtime::{AgentError, JobContext, RuntimeBuilder},
    wire::RawJson,
};

use super::{process, remote};
use crate::{
    config::{AgentSection, Config},
    failure::Outcome,
};

/// A program an operator named.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) token: Option<String>,
    argv: Vec<String>,
    directory: PathBuf,
    env: Vec<(String, String)>,
}

/// Registers the agents of the file.
pub(crate) fn configured(builder: RuntimeBuilder, config: &Config) -> Outcome<RuntimeBuilder> {
    config
        .agents
        .iter()
        .try_fold(builder, |builder, (name, section)| {
            let program = Arc::new(Program::new(name, section, config)?);
            let plain = section.protocol.as_deref() == Some("exec");
            let run = move |ctx: JobContext, input: RawJson| {
                let program = Arc::clone(&program);
                async move {
                    if plain {
                        command(ctx, &program, input).await
                    } else {
                        remote::run(ctx, &program, input).await
                    }
                }
            };
            Ok(match &section.version {
                Some(version) => builder.agent(&format!("{name}@{version}"), run),
                None => builder.agent(name, run),
            })
        })
}

/// Input as JSON on standard input, standard output is the result.
async fn command(
    ctx: JobContext,
    program: &Program,
    input: RawJson,
) -> Result<RawJson, AgentError> {
    let mut stdin = input.as_str().as_bytes().to_vec();
    stdin.push(b'\n');
    process::run(&ctx, program.command(&ctx), &program.name, Some(stdin)).await
}

impl Program {
    fn new(name: &str, section: &AgentSection, config: &Config) -> Outcome<Self> {
        let token = section.token_file.as_ref();
        let token = token
            .map(|file| config.secret(&format!("agents.{name}.token_file"), file))
            .transpose()?;
        Ok(Self {
            name: name.to_owned(),
            token,
            argv: section.command.clone(),
            directory: config.path(section.cwd.as_deref().unwrap_or(std::path::Path::new(""))),
            env: section
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }

    /// The command for one job. It has the operator's environment, for it is the operator's program.
    pub(super) fn command(&self, ctx: &JobContext) -> Command {
        // The file was checked: there is a program.
        let mut command = Command::new(self.argv.first().map_or("", String::as_str));
        command
            .args(self.argv.iter().skip(1))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        if !self.directory.as_os_str().is_empty() {
            command.current_dir(&self.directory);
        }
        command
            .env("ARCP_JOB_ID", ctx.job_id().as_str())
            .env("TRACEPARENT", ctx.traceparent());
        command
    }
}
