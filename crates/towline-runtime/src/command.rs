//! What clients ask for, one request a file.
//!
//! A request is prepared outside the committer (it may wait there), decided inside it, and answered when the decision is
//! durable. The worker of a session prepares one request after the other, so requests take effect in the order they came.

mod accept;
mod answer;
mod apart;
mod asker;
mod cancel;
mod day;
mod delegate;
mod fire;
mod follow;
mod inbox;
mod list;
mod look;
mod open;
mod plan;
mod repeat;
mod resume;
mod revoke;
mod schedules;
mod speak;
mod submit;
mod subscribe;
mod unsubscribe;
mod visible;
mod webhooks;
mod whoami;

use std::sync::Arc;

use towline_proto::server::{Request, RequestKind};

use crate::hub::Hub;

pub(crate) use accept::accepted;
pub(crate) use apart::virtual_session;
pub(crate) use asker::{Asker, Call, Way, envelope, shutting_down, store_refusal};
pub(crate) use delegate::{ChildRequest, delegate};
pub(crate) use fire::{FiredBy, fire, set_schedule};
pub(crate) use inbox::{open_questions, questions_of};
pub(crate) use list::{budget_now, cursor_after, jobs, waiting_for, write_cursor};
pub(crate) use look::look;
pub(crate) use open::{OpenRequest, Opened, open};
pub(crate) use resume::{ResumeRequest, resume, unproved};
pub(crate) use visible::answers;
pub(crate) use webhooks::{redeliver, webhooks};

/// Carries a request out, as far as it has to happen in the order of requests.
pub(crate) async fn run(hub: &Arc<Hub>, asker: Asker, request: Request) {
    match request.kind {
        RequestKind::Submit(submission) => {
            let origin = submit::Origin {
                trace: request.trace,
                span: request.parent_span,
            };
            submit::submit(hub, asker, *submission, origin).await;
        }
        RequestKind::Cancel { job, reason } => cancel::cancel(hub, asker, job, reason).await,
        RequestKind::Subscribe {
            job,
            history,
            input,
        } => subscribe::subscribe(hub, asker, job, history, input).await,
        RequestKind::Unsubscribe { job } => unsubscribe::unsubscribe(hub, &asker, job),
        RequestKind::Answer { job, answer } => {
            answer::answer(hub, asker, job, answer).await;
        }
        RequestKind::Speak { job, body } => speak::speak(hub, asker, job, body).await,
        RequestKind::Inbox { job } => inbox::inbox(hub, &asker, job.as_ref()),
        RequestKind::WhoAmI => whoami::whoami(hub, &asker),
        RequestKind::RevokeSessions { principal } => revoke::revoke(hub, asker, &principal).await,
        RequestKind::Schedule(asked) => schedules::run(hub, &asker, asked).await,
        RequestKind::Webhook(asked) => webhooks::run(hub, &asker, asked).await,
        RequestKind::List(list) => list::list(hub, &asker, list).await,
    }
}
