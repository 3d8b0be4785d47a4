//! §6.3: taking a session up.

use serde_json::json;

use crate::{
    case::{Case, case},
    check::{Check, ensure, fail},
    context::{Context, FEATURES},
    link::Came,
    session::{Point, Session, end_of, job_of},
};

pub(super) static CASES: &[Case] = &[
    case!(
        "resume-running",
        ["6.3-3", "6.3-4"],
        Draft,
        "a running job's events go on where they were, without gap or duplicate",
        running
    ),
    case!(
        "resume-caught-up",
        ["6.3-5"],
        Draft,
        "a session that missed nothing resumes with an empty replay",
        caught_up
    ),
    case!(
        "resume-authority",
        ["6.3-4"],
        Draft,
        "a resumed session may cancel its jobs",
        authority
    ),
    case!(
        "resume-top-level",
        ["6.3-2"],
        Draft,
        "a resume may stand in the hello's payload itself",
        top_level
    ),
    case!(
        "resume-bare",
        ["6.3-2"],
        Draft,
        "session.resume may be the first frame",
        bare
    ),
    case!(
        "resume-unknown",
        ["6.3-5"],
        Draft,
        "an unknown token is RESUME_WINDOW_EXPIRED instead of a welcome",
        unknown
    ),
    case!(
        "resume-rotates",
        ["6.3-1"],
        Draft,
        "each welcome has a new token, and the old one stops working",
        rotates
    ),
    case!(
        "resume-ahead",
        ["6.3-5"],
        Draft,
        "a position that was never sent is INVALID_REQUEST",
        ahead
    ),
    case!(
        "resume-takeover",
        ["6.3-8"],
        Draft,
        "a resume takes over from a connection that still looks alive",
        takeover
    ),
];

/// A session with a job that streams, and has said something.
async fn streaming(context: &mut Context) -> Check<(Session, String)> {
    context.needs_two_connections()?;
    let chatty = context.agent("chatty")?;
    let mut session = context.open().await?;
    let accepted = session
        .submit(json!({"agent": chatty, "input": {"n": 30, "delay_ms": 10}}))
        .await?;
    let job = job_of(&accepted)?;
    session.events(&job, 3).await?;
    Ok((session, job))
}

async fn goes_on(mut session: Session, job: &str) -> Check {
    let frames = session.until_end(job).await?;
    let end = end_of(&frames);
    ensure(end["type"] == "job.result", || {
        format!("the job ended with {}", end["payload"])
    })?;
    ensure(end["payload"]["result"]["emitted"] == 30, || {
        format!("the result is {}", end["payload"]["result"])
    })?;
    session.done().await
}

async fn running(context: &mut Context) -> Check {
    let (session, job) = streaming(context).await?;
    let id = session.id.clone();
    let point = session.cut();
    let session = context.resume(&point).await?;
    ensure(session.id == id, || {
        format!("session `{}` was opened instead of `{id}`", session.id)
    })?;
    // That its numbers go on is watched in every frame.
    goes_on(session, &job).await
}

/// A session whose only job is over.
async fn idle(context: &mut Context) -> Check<Point> {
    context.needs_two_connections()?;
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    session.run(json!({"agent": echo, "input": 1})).await?;
    Ok(session.cut())
}

async fn caught_up(context: &mut Context) -> Check {
    context.needs("heartbeat")?;
    let point = idle(context).await?;
    let mut session = context.resume(&point).await?;
    let replayed = session.fence().await?;
    ensure(replayed.is_empty(), || format!("{replayed:?} was replayed"))?;
    session.done().await
}

async fn authority(context: &mut Context) -> Check {
    context.needs_two_connections()?;
    let sleep = context.agent("sleep")?;
    let mut session = context.open().await?;
    let accepted = session
        .submit(json!({"agent": sleep, "input": {"ms": 60_000}}))
        .await?;
    let job = job_of(&accepted)?;
    let point = session.cut();
    let mut session = context.resume(&point).await?;
    session
        .ask("job.cancel", json!({"job_id": job}), "job.cancelled")
        .await?;
    session.until_end(&job).await?;
    session.done().await
}

async fn top_level(context: &mut Context) -> Check {
    let (session, job) = streaming(context).await?;
    let point = session.cut();
    let mut hello = context.hello(&FEATURES);
    hello["payload"]["resume_token"] = json!(point.token);
    hello["payload"]["last_event_seq"] = json!(point.last);
    let link = context.link().await?;
    let session = Session::open(link, hello).await?;
    ensure(session.id == point.session, || {
        "a new session was opened".to_owned()
    })?;
    goes_on(session, &job).await
}

async fn bare(context: &mut Context) -> Check {
    let (session, job) = streaming(context).await?;
    let point = session.cut();
    let payload = json!({"resume_token": point.token, "last_event_seq": point.last});
    let opening =
        json!({"arcp": "1.1", "id": "kit-resume", "type": "session.resume", "payload": payload});
    let link = context.link().await?;
    let session = Session::open(link, opening).await?;
    goes_on(session, &job).await
}

async fn unknown(context: &mut Context) -> Check {
    let point = idle(context).await?;
    let wrong = Point {
        token: format!("rt_{}", "0".repeat(64)),
        ..point
    };
    let hello = context.resume_hello(&wrong);
    context
        .refused_opening(hello, &["RESUME_WINDOW_EXPIRED"])
        .await
}

async fn rotates(context: &mut Context) -> Check {
    context.needs("heartbeat")?;
    let old = idle(context).await?;
    let mut session = context.resume(&old).await?;
    let new = session.point();
    ensure(new.token != old.token, || {
        "the token is the old one".to_owned()
    })?;
    // With this frame the runtime knows that the welcome has arrived.
    session.fence().await?;
    let hello = context.resume_hello(&old);
    context
        .refused_opening(hello, &["RESUME_WINDOW_EXPIRED"])
        .await?;
    session.fence().await?;
    session.done().await
}

async fn ahead(context: &mut Context) -> Check {
    let point = idle(context).await?;
    let beyond = Point {
        last: point.last + 1_000,
        ..point.clone()
    };
    let hello = context.resume_hello(&beyond);
    context.refused_opening(hello, &["INVALID_REQUEST"]).await?;
    // A try that failed consumes nothing.
    context.resume(&point).await?.done().await
}

async fn takeover(context: &mut Context) -> Check {
    let (mut old, job) = streaming(context).await?;
    let session = context.resume(&old.point()).await?;
    loop {
        match old.came().await? {
            Came::End => break,
            Came::Nothing => return fail("the old connection stayed open"),
            Came::Frame(_) => {}
        }
    }
    goes_on(session, &job).await
}
