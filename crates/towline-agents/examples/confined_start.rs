//! How much longer a confined program takes to start and end than one that is not: `cargo run --release -p towline-agents
//! --example confined_start`.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = towline_agents::launcher::run_if_asked() {
        return code;
    }
    measure::run()
}

#[cfg(target_os = "linux")]
mod measure {
    use std::{
        io::Write as _,
        process::{Command, ExitCode, Stdio},
        time::{Duration, Instant},
    };

    use towline_agents::{
        Launcher,
        confine::{Input, Kernel, Plan, Program},
    };

    const ROUNDS: u32 = 100;

    type Failed = Box<dyn std::error::Error>;

    pub(super) fn run() -> ExitCode {
        let measured = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failed::from)
            .and_then(|runtime| runtime.block_on(measure()));
        match measured {
            Ok(text) => {
                let _ = writeln!(std::io::stdout(), "{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "{error}");
                ExitCode::FAILURE
            }
        }
    }

    async fn measure() -> Result<String, Failed> {
        let mut lines = Vec::new();
        let free = median(async || {
            let mut command = tokio::process::Command::new("/bin/true");
            command.stdin(Stdio::null()).status().await?;
            Ok(())
        })
        .await?;
        lines.push(format!("not confined        {free:?}"));
        let program = std::env::current_exe()?;
        let launcher = || {
            let mut command = Command::new(&program);
            command.arg("__confine");
            command
        };
        let kernels = [
            ("namespaces    ", Launcher::find()?.probe().await),
            (
                "no namespaces ",
                Kernel::probe_without_namespaces(launcher).await,
            ),
        ];
        for (name, kernel) in &kernels {
            let confined = median(async || once(launcher(), kernel).await).await?;
            let more = confined.saturating_sub(free);
            lines.push(format!("{name}      {confined:?} ({more:?} more)"));
        }
        Ok(lines.join("\n"))
    }

    async fn once(mut launcher: Command, kernel: &Kernel) -> Result<(), Failed> {
        let plan = Plan::new(Program::find("true")?);
        let mut prepared = plan.prepare(&mut launcher, kernel, Input::Nothing)?;
        launcher.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(launcher);
        let mut child = command.spawn()?;
        drop(command);
        prepared.hold.begun().await?;
        child.wait().await?;
        Ok(())
    }

    async fn median(run: impl AsyncFn() -> Result<(), Failed>) -> Result<Duration, Failed> {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            run().await?;
            took.push(begun.elapsed());
        }
        took.sort();
        Ok(took[took.len() / 2])
    }
}

#[cfg(not(target_os = "linux"))]
mod measure {
    pub(super) fn run() -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
}
