//! Looking at a store from outside, also while a node has it.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt as _, pin_mut};
use tokio_postgres::{Client, types::ToSql};
use towline_store::{
    AuditRow, CredentialRow, StoreError, StoreStats, VerifyReport,
    building::{Head, Log, Reader, StreamOp, read_op, verify_span},
};
use towline_wire::{EventSeq, JobSeq};

use crate::{
    address::Address,
    error::{corrupt, of_statement},
    line::{Connector, Line},
    options::PostgresOptions,
    read,
    rows::{bytes, read_span, text, unpack, unsigned},
    schema,
};

/// A look at a store, as one moment had it. Nodes may go on with it meanwhile.
///
/// ```no_run
/// # async fn example() -> Result<(), towline_store::StoreError> {
/// use towline_postgres::{Inspection, PostgresOptions};
///
/// let look = Inspection::begin("postgres://towline@localhost/towline", &PostgresOptions::new()).await?;
/// let report = look.verify().await?;
/// assert!(report.is_ok());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Inspection {
    line: Line,
    schema: usize,
}

impl Inspection {
    /// Connects, and takes the moment that everything is seen as of.
    ///
    /// # Errors
    /// When the database cannot be reached, or holds no store.
    pub async fn begin(url: &str, options: &PostgresOptions) -> Result<Self, StoreError> {
        let address = Address::parse(url, options)?;
        let (shown, name) = (address.to_string(), address.schema.clone());
        let line = Connector::new(address, false)?.line().await?;
        let begin = "SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        line.client
            .batch_execute(begin)
            .await
            .map_err(of_statement)?;
        let Some(version) = schema::version(&line.client, &name).await? else {
            return Err(StoreError::Incompatible(
                format!("there is no store in `{shown}`, schema `{name}`").into(),
            ));
        };
        Ok(Self {
            line,
            schema: usize::try_from(version).map_err(corrupt)?,
        })
    }

    /// How much there is.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn stats(&self) -> Result<StoreStats, StoreError> {
        let client = &self.line.client;
        let totals = read::totals(client).await?;
        Ok(totals.stats(read::disk_bytes(client).await?))
    }

    /// The latest entries of the audit log, at most so many, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit(&self, latest: usize) -> Result<Vec<AuditRow>, StoreError> {
        read::audit(&self.line.client, latest).await
    }

    /// The credentials that are still out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn credentials(&self) -> Result<Vec<CredentialRow>, StoreError> {
        read::outstanding(&self.line.client).await
    }

    /// Checks that logs, streams and counters fit together, and that the writers of a log followed one another. What the
    /// server's own pages are like is for its own tools (`pg_amcheck`) to say.
    ///
    /// # Errors
    /// When the database cannot be read; what is wrong in it is in the report.
    pub async fn verify(&self) -> Result<VerifyReport, StoreError> {
        let client = &self.line.client;
        let mut report = VerifyReport {
            schema: self.schema,
            stats: self.stats().await?,
            problems: Vec::new(),
        };
        let logs = verify_logs(client, &mut report).await?;
        verify_writers(client, &mut report).await?;
        verify_streams(client, &logs, &mut report).await?;
        verify_counts(client, &mut report).await?;
        Ok(report)
    }
}

async fn count(client: &Client, sql: &str) -> Result<u64, StoreError> {
    let row = client.query_one(sql, &[]).await.map_err(of_statement)?;
    unsigned(&row, 0)
}

/// Logs are without a gap, their blocks readable, a terminal record is the last and the job finished with it.
async fn verify_logs(
    client: &Client,
    report: &mut VerifyReport,
) -> Result<HashMap<String, JobSeq>, StoreError> {
    let mut logs = BTreeMap::new();
    let sql = "SELECT j.key, j.id, s.ended_at IS NOT NULL, coalesce(s.chunked, false) \
               FROM job j LEFT JOIN job_state s ON s.key = j.key";
    for row in client.query(sql, &[]).await.map_err(of_statement)? {
        let log = Log::new(text(&row, 1)?.to_owned(), row.get(2), row.get(3));
        logs.insert(row.get::<_, i64>(0), log);
    }
    let sql = "SELECT job, first, head, text, packed, bytes, count FROM block ORDER BY job, first";
    let rows = client
        .query_raw(sql, no_values())
        .await
        .map_err(of_statement)?;
    pin_mut!(rows);
    let (mut events, mut size) = (0, 0);
    while let Some(row) = rows.next().await {
        let row = row.map_err(of_statement)?;
        let (job, first) = (row.get::<_, i64>(0), JobSeq::new(unsigned(&row, 1)?));
        let Some(log) = logs.get_mut(&job) else {
            report.note(format!(
                "the block at {first} is of job number {job}, which is not kept"
            ));
            continue;
        };
        let parts =
            Head::read(bytes(&row, 2)?).zip(unpack(bytes(&row, 2)?, bytes(&row, 3)?, row.get(4)));
        let Some((head, text)) = parts else {
            report.note(format!("{}: the block at {first} cannot be read", log.id));
            continue;
        };
        if (unsigned(&row, 5)?, unsigned(&row, 6)?) != (text.len() as u64, head.len()) {
            report.note(format!(
                "{}: the block at {first} is not as long as it says",
                log.id
            ));
        }
        log.extend(first, &head, &text, report);
        events += head.len();
        size += text.len() as u64;
    }
    logs.values().for_each(|log| log.verify_end(report));
    if (events, size) != (report.stats.events, report.stats.event_bytes) {
        let (counted, known) = (report.stats.events, report.stats.event_bytes);
        report.note(format!(
            "{events} events of {size} bytes are there, counted were {counted} of {known}"
        ));
    }
    Ok(logs.into_values().map(|log| (log.id, log.last)).collect())
}

fn no_values() -> [&'static (dyn ToSql + Sync); 0] {
    []
}

/// Who wrote a log never gives way to somebody who wrote before.
async fn verify_writers(client: &Client, report: &mut VerifyReport) -> Result<(), StoreError> {
    let sql = "SELECT j.id FROM (SELECT job, inc, inc IS DISTINCT FROM lag(inc) OVER (PARTITION BY job ORDER BY first) AS begins \
               FROM block) b JOIN job j ON j.key = b.job WHERE b.begins GROUP BY j.id HAVING count(*) > count(DISTINCT b.inc)";
    for row in client.query(sql, &[]).await.map_err(of_statement)? {
        report.note(format!(
            "{}: a writer came back after another one had written",
            text(&row, 0)?
        ));
    }
    let alone =
        "SELECT CASE WHEN bool_or(alone) THEN count(*) ELSE 0 END FROM node WHERE state < 2";
    let nodes = count(client, alone).await?;
    if nodes > 1 {
        report.note(format!(
            "{nodes} nodes have the store at once, and one of them for itself"
        ));
    }
    Ok(())
}

/// Streams are without a gap, end where the session says, and stay within the logs.
async fn verify_streams(
    client: &Client,
    logs: &HashMap<String, JobSeq>,
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    let changes = waiting(client).await?;
    let mut kept: HashMap<i64, Vec<_>> = HashMap::new();
    let sql = "SELECT first, job, from_seq, count, view, session FROM span ORDER BY session, first";
    for row in client.query(sql, &[]).await.map_err(of_statement)? {
        kept.entry(row.get(5)).or_default().push(read_span(&row)?);
    }
    let sql = "SELECT key, id, last FROM session";
    for row in client.query(sql, &[]).await.map_err(of_statement)? {
        let (key, session): (i64, _) = (row.get(0), text(&row, 1)?);
        let mut last = EventSeq::new(unsigned(&row, 2)?);
        let kept = kept.remove(&key).unwrap_or_default();
        if kept.last().is_some_and(|span| span.last() != last) {
            report.note(format!(
                "{session}: the last number is {last}, but the last span ends elsewhere"
            ));
        }
        let mut before = None;
        for span in &kept {
            verify_span(session, span, before, logs, report);
            before = Some(span.last());
        }
        for op in changes.get(&key).into_iter().flatten() {
            if let StreamOp::Span(span) = op {
                verify_span(session, span, Some(last), logs, report);
                last = span.last();
            }
        }
    }
    if !kept.is_empty() {
        report.note(format!(
            "{} sessions that are not there have spans",
            kept.len()
        ));
    }
    Ok(())
}

async fn waiting(client: &Client) -> Result<HashMap<i64, Vec<StreamOp>>, StoreError> {
    let mut changes: HashMap<i64, Vec<StreamOp>> = HashMap::new();
    let sql = "SELECT streams FROM token WHERE streams IS NOT NULL ORDER BY inc, seq";
    for row in client.query(sql, &[]).await.map_err(of_statement)? {
        let mut reader = Reader::new(bytes(&row, 0)?);
        while !reader.is_empty() {
            let (session, op) = read_op(&mut reader)
                .ok_or_else(|| corrupt("a token's changes of streams cannot be read"))?;
            changes.entry(session).or_default().push(op);
        }
    }
    Ok(changes)
}

async fn verify_counts(client: &Client, report: &mut VerifyReport) -> Result<(), StoreError> {
    let jobs = count(client, "SELECT count(*) FROM job").await?;
    let states = count(client, "SELECT count(*) FROM job_state").await?;
    let live = count(
        client,
        "SELECT count(*) FROM job_state WHERE ended_at IS NULL",
    )
    .await?;
    if jobs != states {
        report.note(format!("there are {jobs} jobs and {states} job states"));
    }
    if (jobs, live) != (report.stats.jobs, report.stats.live_jobs) {
        let (known, known_live) = (report.stats.jobs, report.stats.live_jobs);
        report.note(format!(
            "{jobs} jobs, {live} of them live, are there, counted were {known} and {known_live}"
        ));
    }
    Ok(())
}
