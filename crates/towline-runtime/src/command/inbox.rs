//! `x-vendor.towline.inbox`: the open questions that somebody may answer.

use towline_wire::{JobId, payload};

use super::{
    asker::{Asker, envelope},
    visible::answers,
};
use crate::{
    hub::Hub,
    job::JobEntry,
    session::{Reply, SessionEntry},
};

pub(super) fn inbox(hub: &Hub, asker: &Asker, job: Option<&JobId>) {
    let payload = payload::Questions {
        request_id: asker.request.clone(),
        questions: open_questions(hub, &asker.session, job),
    };
    asker.reply(Reply::plain(envelope(&payload)));
}

/// The open questions that a session may answer, the oldest first; of one job, or of all. Those that wait the longest time come
/// first, and what is over the bound comes when they are answered.
pub(crate) fn open_questions(
    hub: &Hub,
    session: &SessionEntry,
    job: Option<&JobId>,
) -> Vec<payload::OpenQuestion> {
    let jobs = match job {
        Some(job) => hub.books.jobs.get(job).into_iter().collect(),
        None => hub.books.jobs.unfinished(),
    };
    let mut open: Vec<_> = jobs
        .iter()
        .filter(|job| answers(hub, session, &job.row))
        .flat_map(|job| questions_of(job))
        .collect();
    open.sort_by(|left, right| left.request.question_id.cmp(&right.request.question_id));
    open.truncate(MOST);
    open
}

/// How many questions of a job wait for an answer.
pub(super) fn waiting(hub: &Hub, job: &JobId) -> u64 {
    let live = hub.books.jobs.get(job);
    live.map_or(0, |job| job.lock().talk.open().len() as u64)
}

/// The open questions of a job, the oldest first.
pub(crate) fn questions_of(job: &JobEntry) -> Vec<payload::OpenQuestion> {
    let core = job.lock();
    let of = |request: &towline_wire::event::InputRequest| payload::OpenQuestion {
        job_id: job.id().clone(),
        agent: job.row.agent.to_string(),
        request: request.clone(),
    };
    core.talk.open().map(|open| of(&open.request)).collect()
}

/// How many questions one answer holds.
const MOST: usize = 1000;
