//! `towline inbox`

use towline::wire::payload::OpenQuestion;

use crate::{
    args::InboxArgs,
    connect::{Connection, failed},
    context::Context,
    embedded::Purpose,
    exit,
    failure::Outcome,
    output,
};

pub(super) async fn run(context: &Context, args: InboxArgs) -> Outcome {
    let connection = Connection::open(context, &args.connect, Purpose::Look).await?;
    let open = connection.client.inbox().await;
    connection.close().await;
    let open = open.map_err(failed)?;
    output::list(args.format.output, &open, |open| {
        if open.is_empty() {
            return "nobody asks anything".to_owned();
        }
        output::table(
            &["JOB", "AGENT", "QUESTION", "KIND", "UNTIL", "TITLE"],
            open.iter().map(row),
        )
    })?;
    Ok(exit::SUCCESS)
}

fn row(open: &OpenQuestion) -> Vec<String> {
    let request = &open.request;
    vec![
        open.job_id.to_string(),
        open.agent.clone(),
        request.question_id.to_string(),
        request.kind.to_string(),
        request.expires_at.to_string(),
        request.title.clone(),
    ]
}
