//! `towline agents`

use towline::client::SessionInfo;

use crate::{
    args::{ConnectArgs, OutputFormat},
    connect::Connection,
    context::Context,
    embedded::Purpose,
    exit,
    failure::Outcome,
    output,
};

pub(super) async fn run(context: &Context, args: &ConnectArgs, format: OutputFormat) -> Outcome {
    if let (None, Some(untrusted)) = (&args.url, context.config.untrusted()) {
        output::note(&format!("note: {untrusted}"));
    }
    let connection = Connection::open(context, args, Purpose::Look).await?;
    let session = connection.client.session();
    let agents = session.as_deref().map_or(&[][..], SessionInfo::agents);
    let listed = output::list(format, agents, |agents| match agents {
        [] => "the runtime offers no agents".to_owned(),
        _ => output::table(
            &["AGENT", "VERSIONS", "DEFAULT"],
            agents.iter().map(|agent| {
                vec![
                    agent.name.clone(),
                    agent.versions.join(" "),
                    agent.default.clone().unwrap_or_default(),
                ]
            }),
        ),
    });
    connection.close().await;
    listed.map(|()| exit::SUCCESS)
}
