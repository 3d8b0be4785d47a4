//! §6.6: listing.

use serde_json::{Value, json};

use crate::{
    case::{Case, case},
    check::{Check, ensure},
    context::Context,
    session::{Session, job_of},
};

pub(super) static CASES: &[Case] = &[
    case!(
        "list",
        ["6.6-2"],
        Draft,
        "a job is listed with what the draft says of it",
        list
    ),
    case!(
        "list-filter",
        ["6.6-1"],
        Draft,
        "filters by status and agent leave the others out",
        filter
    ),
    case!(
        "list-pages",
        ["6.6-1"],
        Draft,
        "pages follow one another without a job lost or told twice",
        pages
    ),
    case!(
        "list-invalid",
        ["6.6-1"],
        Draft,
        "a bad cursor, limit or status is INVALID_REQUEST",
        invalid
    ),
];

/// A page of jobs, and the cursor of the next one.
async fn page(session: &mut Session, payload: Value) -> Check<(Vec<Value>, Value)> {
    let page = session
        .ask("session.list_jobs", payload, "session.jobs")
        .await?;
    let payload = &page["payload"];
    let jobs = payload["jobs"].as_array().cloned().unwrap_or_default();
    Ok((jobs, payload["next_cursor"].clone()))
}

async fn list(context: &mut Context) -> Check {
    context.needs("list_jobs")?;
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let accepted = session.submit(json!({"agent": echo, "input": 1})).await?;
    let job = job_of(&accepted)?;
    session.until_end(&job).await?;
    let mut cursor = json!(null);
    let entry = loop {
        let mut payload = json!({"limit": 1000});
        if cursor.is_string() {
            payload["cursor"] = cursor;
        }
        let (jobs, next) = page(&mut session, payload).await?;
        if let Some(entry) = jobs
            .into_iter()
            .find(|entry| entry["job_id"] == job.as_str())
        {
            break entry;
        }
        cursor = next;
        ensure(cursor.is_string(), || {
            "the job that just ended is not listed".to_owned()
        })?;
    };
    for member in ["agent", "status", "created_at"] {
        ensure(entry[member].is_string(), || {
            format!("the entry has no `{member}`")
        })?;
    }
    ensure(entry["status"] == "success", || {
        format!("its status is {}", entry["status"])
    })?;
    ensure(
        entry["lease"].is_object() && entry["last_event_seq"].is_u64(),
        || "the entry has no `lease` or no `last_event_seq`".to_owned(),
    )?;
    session.done().await
}

async fn filter(context: &mut Context) -> Check {
    context.needs("list_jobs")?;
    let (echo, sleep) = (context.agent("echo")?, context.agent("sleep")?);
    let mut session = context.open().await?;
    session.run(json!({"agent": echo, "input": 1})).await?;
    let accepted = session
        .submit(json!({"agent": sleep, "input": {"ms": 60_000}}))
        .await?;
    let job = job_of(&accepted)?;
    let name = sleep.split('@').next().unwrap_or(&sleep).to_owned();
    let payload =
        json!({"filter": {"status": ["running", "pending"], "agent": name}, "limit": 1000});
    let (jobs, _) = page(&mut session, payload).await?;
    ensure(
        jobs.iter().any(|entry| entry["job_id"] == job.as_str()),
        || "the running job is not listed".to_owned(),
    )?;
    let stray = jobs.iter().find(|entry| {
        let agent = entry["agent"].as_str().unwrap_or_default();
        let of_agent = agent == name || agent.starts_with(&format!("{name}@"));
        !of_agent || !(entry["status"] == "running" || entry["status"] == "pending")
    });
    ensure(stray.is_none(), || {
        format!("the filter let {stray:?} through")
    })?;
    session.send("job.cancel", json!({"job_id": job})).await?;
    session.until_end(&job).await?;
    session.done().await
}

async fn pages(context: &mut Context) -> Check {
    context.needs("list_jobs")?;
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let mut made = Vec::new();
    for n in 0..3 {
        let accepted = session.submit(json!({"agent": echo, "input": n})).await?;
        let job = job_of(&accepted)?;
        session.until_end(&job).await?;
        made.push(job);
    }
    let mut seen: Vec<String> = Vec::new();
    let mut payload = json!({"limit": 2});
    loop {
        let (jobs, next) = page(&mut session, payload).await?;
        ensure(jobs.len() <= 2, || {
            format!("a page of 2 has {}", jobs.len())
        })?;
        seen.extend(
            jobs.iter()
                .filter_map(|entry| entry["job_id"].as_str().map(str::to_owned)),
        );
        if !next.is_string() || seen.len() > MOST_JOBS {
            break;
        }
        payload = json!({"limit": 2, "cursor": next});
    }
    for job in &made {
        let times = seen.iter().filter(|listed| *listed == job).count();
        ensure(times == 1 || seen.len() > MOST_JOBS, || {
            format!("`{job}` was listed {times} times")
        })?;
    }
    session.done().await
}

async fn invalid(context: &mut Context) -> Check {
    context.needs("list_jobs")?;
    let mut session = context.open().await?;
    for payload in [
        json!({"cursor": "kit-no-cursor"}),
        json!({"limit": 0}),
        json!({"limit": 1001}),
        json!({"filter": {"status": ["sleeping"]}}),
    ] {
        session
            .refused("session.list_jobs", payload, &["INVALID_REQUEST"])
            .await?;
    }
    session.done().await
}

/// A runtime with more jobs than this is not paged to its end.
const MOST_JOBS: usize = 2_000;
