//! `towline schedule` [ARCP 22-3].

use serde_json::{Value, json};
use towline::{
    env::{Clock as _, SystemClock},
    wire::Timestamp,
};

use crate::{
    args::{ConnectArgs, OutputFormat, ScheduleArgs, ScheduleCommand},
    asking::{self, Question},
    context::Context,
    exit,
    failure::{Failure, Outcome},
    output,
};

/// Vendor types of ours, which another runtime passes over.
const SCHEDULE: &str = "x-vendor.towline.schedule";
const SCHEDULES: &str = "x-vendor.towline.schedules";

pub(super) async fn run(context: &Context, command: ScheduleCommand) -> Outcome {
    match command {
        ScheduleCommand::Ls {
            next,
            from,
            format,
            connect,
        } => {
            let shown = match &connect.url {
                Some(url) => {
                    let asked = json!({"action": "list", "next": next, "from": from});
                    let mut answer = ask(url, &connect, &asked).await?;
                    answer["schedules"].take()
                }
                None => own(context, next, from)?,
            };
            list(format.output, shown)
        }
        ScheduleCommand::Run(args) => {
            let answer = act("run", &args).await?;
            output::one(args.format.output, &answer, |answer| {
                output::clean(answer["job_id"].as_str().unwrap_or_default()).to_string()
            })?;
            Ok(exit::SUCCESS)
        }
        ScheduleCommand::Pause(args) => turned("pause", "paused", &args).await,
        ScheduleCommand::Resume(args) => turned("resume", "resumed", &args).await,
    }
}

async fn turned(action: &str, done: &str, args: &ScheduleArgs) -> Outcome {
    let answer = act(action, args).await?;
    output::one(args.format.output, &answer, |_| {
        format!("{} {done}", output::clean(&args.name))
    })?;
    Ok(exit::SUCCESS)
}

async fn act(action: &str, args: &ScheduleArgs) -> Outcome<Value> {
    let Some(url) = &args.connect.url else {
        return Err(Failure::usage("only a server fires schedules")
            .help("name it with --url, and show the token of the schedule's principal or of an administrator"));
    };
    let asked = json!({"action": action, "name": args.name});
    ask(url, &args.connect, &asked).await
}

async fn ask(url: &str, connect: &ConnectArgs, asked: &Value) -> Outcome<Value> {
    let question = Question {
        kind: SCHEDULE,
        answer: SCHEDULES,
        payload: asked,
    };
    asking::ask(url, connect, &question).await
}

/// What the file says, for which nothing has to run.
fn own(context: &Context, next: u32, from: Option<Timestamp>) -> Outcome<Value> {
    let from = from.unwrap_or_else(|| SystemClock.now());
    let schedules = context.config.schedules()?;
    let shown = schedules.iter().map(|schedule| {
        let mut shown = schedule.describe();
        shown["next"] = json!(schedule.next_times(from, next as usize));
        shown
    });
    Ok(shown.collect())
}

fn list(format: OutputFormat, shown: Value) -> Outcome {
    let Value::Array(schedules) = shown else {
        return Err(Failure::connection(
            "the server's answer lists no schedules",
        ));
    };
    output::list(format, &schedules, |schedules| match schedules {
        [] => "no schedules; write [schedules.NAME] in towline.toml".to_owned(),
        _ => output::table(
            &["NAME", "CRON", "ZONE", "AGENT", "PRINCIPAL", "NEXT"],
            schedules.iter().map(row),
        ),
    })?;
    Ok(exit::SUCCESS)
}

fn row(schedule: &Value) -> Vec<String> {
    let text = |key: &str| schedule[key].as_str().unwrap_or_default().to_owned();
    let times = schedule["next"].as_array().into_iter().flatten();
    let times: Vec<&str> = times.filter_map(Value::as_str).collect();
    let next = if schedule["paused"] == true {
        "paused".to_owned()
    } else {
        times.join(" ")
    };
    vec![
        text("name"),
        text("cron"),
        text("zone"),
        text("agent"),
        text("principal"),
        next,
    ]
}
