//! `towline schedule` [ARCP 22-3].

use std::time::Duration;

use serde_json::{Value, json};
use towline::{
    env::{Clock as _, SystemClock},
    store::{Batch, Change, ScheduleChange},
    wire::Timestamp,
};

use crate::{
    args::{ConnectArgs, OutputFormat, ScheduleArgs, ScheduleCommand},
    asking::{self, Question},
    context::Context,
    exit,
    failure::{Failure, Outcome},
    output,
    store_choice::StoreChoice,
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
                None => own(context, &connect, next, from).await?,
            };
            list(format.output, shown)
        }
        ScheduleCommand::Run(args) => {
            let answer = match act(context, "run", &args).await? {
                Some(answer) => answer,
                None => return Err(no_server(context)),
            };
            output::one(args.format.output, &answer, |answer| {
                output::clean(answer["job_id"].as_str().unwrap_or_default()).to_string()
            })?;
            Ok(exit::SUCCESS)
        }
        ScheduleCommand::Pause(args) => turned(context, Turn::Pause, &args).await,
        ScheduleCommand::Resume(args) => turned(context, Turn::Resume, &args).await,
    }
}

#[derive(Clone, Copy)]
enum Turn {
    Pause,
    Resume,
}

async fn turned(context: &Context, turn: Turn, args: &ScheduleArgs) -> Outcome {
    let (action, done) = match turn {
        Turn::Pause => ("pause", "paused"),
        Turn::Resume => ("resume", "resumed"),
    };
    let answer = match act(context, action, args).await? {
        Some(answer) => answer,
        None => turned_in_store(context, turn, args).await?,
    };
    output::one(args.format.output, &answer, |_| {
        format!("{} {done}", output::clean(&args.name))
    })?;
    Ok(exit::SUCCESS)
}

/// Has a server do something, the one that is named or the one on the data directory; nothing when there is neither.
async fn act(context: &Context, action: &str, args: &ScheduleArgs) -> Outcome<Option<Value>> {
    let asked = json!({"action": action, "name": args.name});
    match &args.connect.url {
        Some(url) => ask(url, &args.connect, &asked).await.map(Some),
        None => asking::ask_beside(context, &args.connect, &question(&asked)).await,
    }
}

fn no_server(context: &Context) -> Failure {
    let here = context.data.path().display();
    Failure::usage(format!("only a server runs schedules, and none runs on `{here}`"))
        .help("start `towline serve` there, or name a server with --url and show the token of the schedule's principal or of an administrator")
}

/// No server runs: what is written into the store holds when the next one starts.
async fn turned_in_store(context: &Context, turn: Turn, args: &ScheduleArgs) -> Outcome<Value> {
    let schedules = context.config.schedules()?;
    if !schedules
        .iter()
        .any(|schedule| schedule.name() == args.name)
    {
        return Err(Failure::usage(format!(
            "there is no schedule `{}`, and no server runs on `{}`",
            output::clean(&args.name),
            context.data.path().display()
        ))
        .help("`towline schedule ls` lists those of towline.toml; --config names another file, --url a server"));
    }
    let choice = StoreChoice::of_commands(&context.config, &context.data)?;
    let store = choice.open(Duration::ZERO).await?;
    let name = args.name.as_str();
    let change = match turn {
        Turn::Pause => ScheduleChange::pause(name),
        Turn::Resume => ScheduleChange::resume(name, SystemClock.now()),
    };
    let answer = json!({"name": name, "paused": change.paused});
    let changes = vec![Change::Schedule(change)];
    store
        .commit(Batch { changes })
        .await
        .map_err(Failure::local)?;
    Ok(answer)
}

async fn ask(url: &str, connect: &ConnectArgs, asked: &Value) -> Outcome<Value> {
    asking::ask(url, connect, &question(asked)).await
}

fn question(asked: &Value) -> Question<'_> {
    Question {
        kind: SCHEDULE,
        answer: SCHEDULES,
        payload: asked,
    }
}

/// What the file says, for which nothing has to run; a server on the data directory knows more of the same schedules.
async fn own(
    context: &Context,
    connect: &ConnectArgs,
    next: u32,
    from: Option<Timestamp>,
) -> Outcome<Value> {
    let from = from.unwrap_or_else(|| SystemClock.now());
    let schedules = context.config.schedules()?;
    let asked = json!({"action": "list"});
    let known = asking::ask_beside(context, connect, &question(&asked)).await?;
    let known = known.and_then(|mut known| match known["schedules"].take() {
        Value::Array(known) => Some(known),
        _ => None,
    });
    let shown = schedules.iter().map(|schedule| {
        let mut shown = schedule.describe();
        let mut known = known.iter().flatten();
        let same = known.find(|known| known["name"] == shown["name"]);
        if let Some(same) = same {
            shown["paused"] = same["paused"].clone();
            shown["last_job_id"] = same["last_job_id"].clone();
        }
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
