//! What a client hears while a call waits: a step every so often, so that it does not give up [ARCP 19-1].

use std::time::Duration;

use rmcp::{
    RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
    service::RequestContext,
};

/// Waits for an answer, and tells a client that asked for it that it waits.
pub(super) async fn while_waiting<T>(
    token: Option<ProgressToken>,
    context: &RequestContext<RoleServer>,
    answer: impl Future<Output = T>,
) -> T {
    let telling = async {
        let Some(token) = token else {
            return std::future::pending().await;
        };
        let mut steps = 0.0;
        loop {
            tokio::time::sleep(STEP).await;
            steps += 1.0;
            let step = ProgressNotificationParam::new(token.clone(), steps);
            // Whoever has gone hears nothing.
            drop(context.peer.notify_progress(step).await);
        }
    };
    tokio::select! {
        answer = answer => answer,
        never = telling => never,
    }
}

const STEP: Duration = Duration::from_secs(10);
