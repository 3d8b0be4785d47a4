//! `towline approve`, `deny`, `answer` and `say`.

use serde::Serialize;
use towline::{
    JobId,
    client::Client,
    wire::{QuestionId, RawJson, event::QuestionKind, payload::OpenQuestion},
};

use crate::{
    args::{AnswerArgs, ApproveArgs, QuestionArgs, SayArgs},
    connect::{Connection, failed},
    context::Context,
    exit,
    failure::{Failure, Outcome},
    output,
};

#[derive(Serialize)]
struct Answered {
    job_id: String,
    question_id: String,
    answer: RawJson,
}

#[derive(Serialize)]
struct Said {
    job_id: String,
    job_seq: u64,
}

pub(super) async fn approve(context: &Context, args: ApproveArgs) -> Outcome {
    let approval = Some(&QuestionKind::APPROVAL);
    answer_with(context, args.question, approval, true.into(), args.remember).await
}

pub(super) async fn deny(context: &Context, args: QuestionArgs) -> Outcome {
    let approval = Some(&QuestionKind::APPROVAL);
    answer_with(context, args, approval, false.into(), false).await
}

pub(super) async fn answer(context: &Context, args: AnswerArgs) -> Outcome {
    let (kind, said) = match (&args.text, &args.choice, &args.json) {
        (Some(text), _, _) => (Some(&QuestionKind::TEXT), text.as_str().into()),
        (_, Some(id), _) => (Some(&QuestionKind::CHOICE), id.as_str().into()),
        (_, _, json) => (
            None,
            read_json("--json", json.as_deref().unwrap_or("null"))?,
        ),
    };
    answer_with(context, args.question, kind, said, false).await
}

pub(super) async fn say(context: &Context, args: SayArgs) -> Outcome {
    let body = if args.json {
        read_json("TEXT", &args.text)?
    } else {
        args.text.as_str().into()
    };
    let (connection, job) = Connection::to_act_on(context, &args.connect, &args.job).await?;
    let told = connection.client.say(job.clone(), body).await;
    connection.close().await;
    let said = Said {
        job_id: job.to_string(),
        job_seq: told.map_err(failed)?.value(),
    };
    output::one(args.format.output, &said, |said| {
        format!("{} is told", output::clean(&said.job_id))
    })?;
    Ok(exit::SUCCESS)
}

fn read_json(what: &str, text: &str) -> Outcome<RawJson> {
    RawJson::parse(text.to_owned())
        .map_err(|error| Failure::usage(format!("{what} is not JSON: {error}")))
}

async fn answer_with(
    context: &Context,
    args: QuestionArgs,
    kind: Option<&QuestionKind>,
    said: RawJson,
    remember: bool,
) -> Outcome {
    let (connection, job) = Connection::to_act_on(context, &args.connect, &args.job).await?;
    let answered = ask(&connection.client, &job, &args, kind, &said, remember).await;
    connection.close().await;
    let answered = Answered {
        job_id: job.to_string(),
        question_id: answered?.to_string(),
        answer: said,
    };
    output::one(args.format.output, &answered, |answered| {
        format!("{} is answered", output::clean(&answered.question_id))
    })?;
    Ok(exit::SUCCESS)
}

async fn ask(
    client: &Client,
    job: &JobId,
    args: &QuestionArgs,
    kind: Option<&QuestionKind>,
    said: &RawJson,
    remember: bool,
) -> Outcome<QuestionId> {
    let question = match &args.question {
        Some(question) => QuestionId::parse(question).map_err(Failure::usage)?,
        None => {
            let open = client.questions_of(job).await.map_err(failed)?;
            if open.is_empty() {
                // A job that is not there is refused as everywhere.
                drop(client.subscribe(job.clone()).send().await.map_err(failed)?);
            }
            only_one(job, open, kind)?
        }
    };
    let mut answer = client.answer(job.clone(), question.clone(), said.clone());
    if let Some(note) = &args.note {
        answer = answer.note(note);
    }
    if remember {
        answer = answer.remember(true);
    }
    answer.await.map_err(failed)?;
    Ok(question)
}

/// The open question that is meant when none is named.
fn only_one(
    job: &JobId,
    open: Vec<OpenQuestion>,
    kind: Option<&QuestionKind>,
) -> Outcome<QuestionId> {
    let of_kind = open
        .into_iter()
        .map(|open| open.request)
        .filter(|request| kind.is_none_or(|kind| request.kind == *kind));
    let ids: Vec<QuestionId> = of_kind.map(|request| request.question_id).collect();
    match ids.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let what = kind.map_or_else(String::new, |kind| format!(" {kind}"));
            let message = format!(
                "job {} has no open{what} question that you may answer",
                output::clean(job)
            );
            Err(Failure::usage(message).help("`towline inbox` shows the open ones"))
        }
        several => {
            let several: Vec<String> = several.iter().map(output::clean).collect();
            let message = format!("job {} has several open questions", output::clean(job));
            let help = format!("name one with --question: {}", several.join(", "));
            Err(Failure::usage(message).help(&help))
        }
    }
}
