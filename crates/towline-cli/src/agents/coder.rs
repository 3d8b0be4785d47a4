//! `coder`, the agent of `towline demo`: what a coding agent does, without a model. It reads a repository, mends a word in it,
//! tries what its lease does not cover, and goes on until its budget is spent. What it says is written here; what it does to
//! files, and what it is refused, is real.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use towline::{
    Amount, ErrorCode,
    lease::Operation,
    runtime::{AgentError, FileError, JobContext},
    wire::RawJson,
};

use super::waiting;

/// What it mends, and where.
pub(crate) const WRONG: &str = "Helo";
const RIGHT: &str = "Hello";
pub(crate) const PROGRAM: &str = "src/greet.py";
pub(crate) const README: &str = "README.md";

/// What it looks for outside of the repository, as a model that was talked into it would.
const OUTSIDE: &str = "/etc/passwd";

/// The tool that costs money.
pub(crate) const REVIEW: &str = "review.style";

/// How often it would like to be told that its work is fine.
const ROUNDS: u32 = 10;

const STEPS: u32 = 5;

/// What it is given.
#[derive(Deserialize, Serialize)]
pub(crate) struct Task {
    /// The directory of the repository.
    pub(crate) repository: String,
    /// How long it thinks between two steps, so that people can follow.
    pub(crate) pace_ms: u64,
}

/// What it says at the end.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    changed: Vec<String>,
    refused: Vec<Refused>,
    reviews: u32,
}

#[derive(Serialize)]
struct Refused {
    what: String,
    code: ErrorCode,
}

pub(crate) async fn run(ctx: JobContext, task: Task) -> Result<Report, AgentError> {
    let coder = Coder { ctx, task };
    let mut report = Report::default();
    coder.step(1, "read the repository").await?;
    let before = coder.read(PROGRAM).await?;
    coder.read(README).await?;
    coder.spent("0.06").await?;

    coder.step(2, "mend the greeting").await?;
    let after = before.replace(WRONG, RIGHT);
    coder.edit(PROGRAM, &before, &after, &mut report).await?;
    coder.spent("0.05").await?;

    coder.step(3, "look around outside").await?;
    coder.wander(&mut report).await?;

    coder.step(4, "tell readers about it").await?;
    coder.tell(&mut report).await?;
    coder.spent("0.04").await?;

    coder
        .step(5, "have it reviewed, while there is money")
        .await?;
    coder.reviews(&mut report).await?;
    Ok(report)
}

struct Coder {
    ctx: JobContext,
    task: Task,
}

impl Coder {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.task.repository)
    }

    /// Says where it is, and lets people read it.
    async fn step(&self, number: u32, what: &str) -> Result<(), AgentError> {
        self.pause().await?;
        let step = self.ctx.progress(number).of(STEPS);
        Ok(step.message(what).send().await?)
    }

    async fn pause(&self) -> Result<(), AgentError> {
        let pace = Duration::from_millis(self.task.pace_ms);
        if waiting::interrupted(&self.ctx, pace).await {
            return Err(waiting::cancelled());
        }
        Ok(())
    }

    /// What a model would have cost until here.
    async fn spent(&self, amount: &str) -> Result<(), AgentError> {
        let amount: Amount = amount.parse()?;
        Ok(self
            .ctx
            .metric("cost.completion", amount, Some("USD"))
            .await?)
    }

    async fn read(&self, name: &str) -> Result<String, AgentError> {
        let path = self.path(name);
        let call = self.ctx.tool_call("read", json!({"path": path})).await?;
        let text = self.ctx.files().read_to_string(&path).await?;
        self.ctx.tool_result(&call, json!({"text": text})).await?;
        Ok(text)
    }

    /// Replaces a file, and shows the difference. A refusal stands in the log already, and is no reason to give up.
    async fn edit(
        &self,
        name: &str,
        before: &str,
        after: &str,
        report: &mut Report,
    ) -> Result<(), AgentError> {
        let path = self.path(name);
        match self.ctx.files().write(&path, after).await {
            Ok(()) => {
                let call = self.ctx.tool_call("edit", json!({"path": path})).await?;
                let diff =
                    json!({"type": "diff", "path": path, "oldText": before, "newText": after});
                self.ctx.tool_result(&call, diff).await?;
                report.changed.push(path);
                Ok(())
            }
            Err(FileError::Denied(denied)) => {
                let code = denied.code().clone();
                let what = format!("write {path}");
                report.refused.push(Refused { what, code });
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn wander(&self, report: &mut Report) -> Result<(), AgentError> {
        let thought = format!("A comment in the code says that there is more in {OUTSIDE}.");
        self.ctx.thought(thought).await?;
        let call = self.ctx.tool_call("read", json!({"path": OUTSIDE})).await?;
        let asked = self
            .ctx
            .authorize_call(Operation::FsRead(OUTSIDE), &call)
            .await;
        match asked {
            // Whoever submitted this job by hand may have granted it; there is nothing in it that is of use.
            Ok(_) => self.ctx.tool_result(&call, RawJson::NULL).await?,
            Err(denied) => report.refused.push(Refused {
                what: format!("read {OUTSIDE}"),
                code: denied.code().clone(),
            }),
        }
        Ok(())
    }

    /// The README is not among the files it may write.
    async fn tell(&self, report: &mut Report) -> Result<(), AgentError> {
        self.ctx
            .thought("The README shows the old greeting; it should show the new one.")
            .await?;
        let before = self.read(README).await?;
        let after = before.replace(WRONG, RIGHT);
        self.edit(README, &before, &after, report).await
    }

    /// Pays for one review after the other, until the budget says no.
    async fn reviews(&self, report: &mut Report) -> Result<(), AgentError> {
        for round in 1..=ROUNDS {
            self.pause().await?;
            let args = json!({"path": self.path(PROGRAM), "round": round});
            let call = self.ctx.tool_call(REVIEW, args).await?;
            let asked = self
                .ctx
                .authorize_call(Operation::ToolCall(REVIEW), &call)
                .await;
            if let Err(denied) = asked {
                report.refused.push(Refused {
                    what: format!("call {REVIEW}"),
                    code: denied.code().clone(),
                });
                break;
            }
            report.reviews += 1;
            let answer = json!({"verdict": "fine", "round": round});
            self.ctx.tool_result(&call, answer).await?;
            self.spent("0.12").await?;
        }
        Ok(())
    }
}
