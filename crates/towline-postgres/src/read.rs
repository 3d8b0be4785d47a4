//! What is read. Every function takes a connection and one moment of it.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt as _, pin_mut};
use tokio_postgres::{Client, Row, types::ToSql};
use towline_store::{
    AuditRow, Block, CredentialRow, IdempotencyRow, JobPage, JobQuery, JobRow, ListCursor,
    Principal, Recovered, RecoveredSession, ScheduleRow, SessionRow, StoreError,
    building::status_number,
};
use towline_wire::{EventSeq, JobId, JobSeq, RawJson};

use crate::{
    deliveries,
    error::of_statement,
    rows::{
        JOBS, LAST, SESSION_COLUMNS, SUMMARY_COLUMNS, job_id, json, read_audit, read_block,
        read_credential, read_idempotency, read_job, read_schedule, read_session, read_span,
        read_summary, unsigned,
    },
    statements::int,
    tally::{Tally, Totals, sum_of_tallies},
};

type Values<'a> = [&'a (dyn ToSql + Sync)];

pub(crate) async fn all<T>(
    client: &Client,
    sql: &str,
    values: &Values<'_>,
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let rows = client.query(sql, values).await.map_err(of_statement)?;
    rows.iter().map(read).collect()
}

pub(crate) async fn one<T>(
    client: &Client,
    sql: &str,
    values: &Values<'_>,
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let row = client.query_opt(sql, values).await.map_err(of_statement)?;
    row.as_ref().map(read).transpose()
}

/// The blocks of a log from the one that holds `from` on, until their text passes a bound.
pub(crate) async fn blocks(
    client: &Client,
    job: &JobId,
    from: JobSeq,
    max_bytes: usize,
) -> Result<Vec<Arc<Block>>, StoreError> {
    // How much text there is stands beside it, so that what is not asked for is not looked at.
    let sql = "SELECT first, head, text, packed FROM ( \
               SELECT first, head, text, packed, (sum(bytes) OVER (ORDER BY first) - bytes)::bigint AS before FROM ( \
               SELECT b.first, b.head, b.text, b.packed, b.bytes FROM job j JOIN block b ON b.job = j.key WHERE j.id = $1 \
               AND b.first >= coalesce((SELECT max(first) FROM block WHERE job = j.key AND first <= $2), $2) \
               ORDER BY b.first LIMIT 256) w) x WHERE before < $3 ORDER BY first";
    let most = int(max_bytes.max(1) as u64);
    let values: &Values<'_> = &[&job.as_str().as_bytes(), &int(from.value()), &most];
    let blocks = all(client, sql, values, |row| {
        Ok(Arc::new(read_block(job, row)?))
    })
    .await?;
    match blocks.first() {
        Some(first) if first.first() > from => Err(StoreError::Evicted {
            job: job.clone(),
            from,
            oldest: first.first(),
        }),
        Some(_) if blocks.last().is_some_and(|last| last.last() < from) => Ok(Vec::new()),
        _ => Ok(blocks),
    }
}

pub(crate) async fn job(client: &Client, job: &JobId) -> Result<Option<JobRow>, StoreError> {
    let sql = format!("{JOBS} WHERE j.id = $1");
    one(client, &sql, &[&job.as_str().as_bytes()], read_job).await
}

/// The session for which a condition about a value holds.
pub(crate) async fn session(
    client: &Client,
    condition: &str,
    value: &[u8],
) -> Result<Option<SessionRow>, StoreError> {
    let sql = format!("SELECT {SESSION_COLUMNS} FROM session WHERE {condition}");
    one(client, &sql, &[&value], read_session).await
}

pub(crate) async fn idempotency(
    client: &Client,
    principal: &Principal,
    key: &str,
) -> Result<Option<IdempotencyRow>, StoreError> {
    let sql = "SELECT principal, key, job, fingerprint, created_at FROM idempotency \
               WHERE sha256(principal) = sha256($1) AND sha256(key) = sha256($2) AND principal = $1 AND key = $2";
    let values: &Values<'_> = &[&principal.as_str().as_bytes(), &key.as_bytes()];
    one(client, sql, values, read_idempotency).await
}

pub(crate) async fn checkpoint(
    client: &Client,
    job: &JobId,
) -> Result<Option<RawJson>, StoreError> {
    let sql = "SELECT c.value FROM checkpoint c JOIN job j ON j.key = c.job WHERE j.id = $1";
    one(client, sql, &[&job.as_str().as_bytes()], |row| json(row, 0)).await
}

pub(crate) async fn credentials_of(
    client: &Client,
    job: &JobId,
) -> Result<Vec<CredentialRow>, StoreError> {
    let sql = "SELECT id, job, outstanding, data FROM credential WHERE job = $1 ORDER BY n";
    all(client, sql, &[&job.as_str().as_bytes()], read_credential).await
}

pub(crate) async fn outstanding(client: &Client) -> Result<Vec<CredentialRow>, StoreError> {
    let sql = "SELECT id, job, outstanding, data FROM credential WHERE outstanding ORDER BY n";
    all(client, sql, &[], read_credential).await
}

pub(crate) async fn audit(client: &Client, latest: usize) -> Result<Vec<AuditRow>, StoreError> {
    let sql = "SELECT at, action, data FROM audit ORDER BY n DESC LIMIT $1";
    let mut rows = all(client, sql, &[&int(latest as u64)], read_audit).await?;
    rows.reverse();
    Ok(rows)
}

/// How much there is, by what each incarnation counted.
pub(crate) async fn totals(client: &Client) -> Result<Totals, StoreError> {
    let sql = sum_of_tallies("true");
    let row = client.query_one(&sql, &[]).await.map_err(of_statement)?;
    let count = "SELECT count(*) FROM session";
    Ok(Totals {
        tally: Tally::read(&row),
        sessions: one(client, count, &[], |row| unsigned(row, 0))
            .await?
            .unwrap_or(0),
    })
}

/// The last number of a session's stream, where that is in its place.
pub(crate) async fn stream_end(
    client: &Client,
    session: &[u8],
) -> Result<Option<EventSeq>, StoreError> {
    let sql = "SELECT last FROM session WHERE id = $1";
    let last = one(client, sql, &[&session], |row| unsigned(row, 0)).await?;
    Ok(last.map(EventSeq::new))
}

/// How many bytes the tables take, with all that belongs to them.
pub(crate) async fn disk_bytes(client: &Client) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class \
               WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'";
    Ok(one(client, sql, &[], |row| unsigned(row, 0))
        .await?
        .unwrap_or(0))
}

/// What a runtime has to know when it starts, read through indexes of what is live. Streams have to be in their place.
pub(crate) async fn recover(client: &Client) -> Result<Recovered, StoreError> {
    let jobs = format!("{JOBS} WHERE s.ended_at IS NULL ORDER BY j.created_at, j.id");
    let talks = "SELECT j.id, t.value FROM talk t JOIN job_state s ON s.key = t.job JOIN job j ON j.key = t.job \
                 WHERE s.ended_at IS NULL ORDER BY t.job";
    let sessions = sessions(client, "true").await?.into_iter();
    Ok(Recovered {
        schedules: schedules(client).await?,
        deliveries: deliveries::pending(client).await?,
        sessions: sessions.map(|(_, session)| session).collect(),
        jobs: all(client, &jobs, &[], read_job).await?,
        credentials: outstanding(client).await?,
        talks: all(client, talks, &[], |row| {
            Ok((job_id(row, 0)?, json(row, 1)?))
        })
        .await?,
    })
}

/// Sessions `s` for which a condition holds, each with its key and its stream, as far as that is in its place.
pub(crate) async fn sessions(
    client: &Client,
    condition: &str,
) -> Result<Vec<(i64, RecoveredSession)>, StoreError> {
    let spans = format!(
        "SELECT p.first, p.job, p.from_seq, p.count, p.view, p.session FROM span p JOIN session s ON s.key = p.session \
         WHERE {condition} ORDER BY p.session, p.first"
    );
    let watches = format!(
        "SELECT w.session, w.job FROM watch w JOIN session s ON s.key = w.session WHERE {condition} \
         ORDER BY w.session, w.job"
    );
    let sessions =
        format!("SELECT {SESSION_COLUMNS}, last FROM session s WHERE {condition} ORDER BY id");
    let mut of_session: HashMap<i64, (Vec<_>, Vec<_>)> = HashMap::new();
    for (session, span) in all(client, &spans, &[], |row| {
        Ok((row.get::<_, i64>(5), read_span(row)?))
    })
    .await?
    {
        of_session.entry(session).or_default().0.push(span);
    }
    for (session, job) in all(client, &watches, &[], |row| {
        Ok((row.get::<_, i64>(0), job_id(row, 1)?))
    })
    .await?
    {
        of_session.entry(session).or_default().1.push(job);
    }
    let recovered = |row: &Row| {
        let key: i64 = row.get(0);
        Ok((key, read_session(row)?, EventSeq::new(unsigned(row, 13)?)))
    };
    let sessions = all(client, &sessions, &[], recovered).await?.into_iter();
    let recovered = sessions.map(|(key, row, last)| {
        let (spans, subscriptions) = of_session.remove(&key).unwrap_or_default();
        let session = RecoveredSession {
            row,
            last,
            spans,
            subscriptions,
        };
        (key, session)
    });
    Ok(recovered.collect())
}

/// How far schedules are.
pub(crate) async fn schedules(client: &Client) -> Result<Vec<ScheduleRow>, StoreError> {
    let sql = "SELECT name, done, paused, job FROM schedule ORDER BY name";
    all(client, sql, &[], read_schedule).await
}

/// A page of jobs.
pub(crate) async fn list(client: &Client, query: &JobQuery) -> Result<JobPage, StoreError> {
    let mut page = JobPage::default();
    if query.limit == 0 {
        return Ok(page);
    }
    let (sql, values) = listing(query);
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as _).collect();
    let rows = client.query_raw(&sql, values).await.map_err(of_statement)?;
    pin_mut!(rows);
    let mut bytes = 0;
    // What does not belong to the page is not taken from the connection, which throws it away.
    while let Some(row) = rows.next().await {
        if page.jobs.len() == query.limit || bytes >= JobPage::MAX_BYTES {
            page.next = page.jobs.last().map(|job| ListCursor {
                created_at: job.created_at,
                job: job.id.clone(),
            });
            break;
        }
        let job = read_summary(&row.map_err(of_statement)?)?;
        bytes += job.bytes();
        page.jobs.push(job);
    }
    Ok(page)
}

type Owned = Box<dyn ToSql + Sync + Send>;

/// The statement of a list, and its values. Each principal has its place in an index, so there is a list of each, as long as
/// the page, and the page is made of those.
fn listing(query: &JobQuery) -> (String, Vec<Owned>) {
    let mut filter = Filter::of(query);
    let limit = filter.value(int(query.limit as u64).saturating_add(1));
    let way = if query.newest_first { "DESC" } else { "ASC" };
    let principals = query.principals.as_ref().map(|principals| {
        let mut names: Vec<_> = principals
            .iter()
            .map(|principal| principal.as_str().as_bytes().to_vec())
            .collect();
        names.sort();
        names.dedup();
        filter.value(names)
    });
    if principals.is_some() {
        filter.add(
            "sha256(j.principal) = sha256(who.principal) AND j.principal = who.principal"
                .to_owned(),
        );
    }
    let one = format!(
        "SELECT j.key, j.created_at, j.id FROM job j JOIN job_state s ON s.key = j.key {} \
         ORDER BY j.created_at {way}, j.id {way} LIMIT {limit}",
        filter.clause()
    );
    let chosen = match principals {
        None => one,
        Some(names) => format!(
            "SELECT c.* FROM unnest({names}::bytea[]) AS who(principal) CROSS JOIN LATERAL ({one}) c \
             ORDER BY c.created_at {way}, c.id {way} LIMIT {limit}"
        ),
    };
    let sql = format!(
        "SELECT {SUMMARY_COLUMNS} FROM ({chosen}) chosen JOIN job j ON j.key = chosen.key \
         JOIN job_state s ON s.key = j.key {LAST} ORDER BY j.created_at {way}, j.id {way}"
    );
    (sql, filter.values)
}

#[derive(Default)]
struct Filter {
    conditions: Vec<String>,
    values: Vec<Owned>,
}

impl Filter {
    /// What a query admits, principals aside.
    fn of(query: &JobQuery) -> Self {
        let mut filter = Self::default();
        if let Some(after) = &query.after {
            let (at, job) = (
                filter.value(after.created_at.unix_micros()),
                filter.value(after.job.as_str().as_bytes().to_vec()),
            );
            let way = if query.newest_first { '<' } else { '>' };
            filter.add(format!("(j.created_at, j.id) {way} ({at}, {job})"));
        }
        for (bound, way) in [(query.created_after, '>'), (query.created_before, '<')] {
            if let Some(bound) = bound {
                let at = filter.value(bound.unix_micros());
                filter.add(format!("j.created_at {way} {at}"));
            }
        }
        if let Some(agent) = &query.agent {
            let name = filter.value(agent.name().as_bytes().to_vec());
            filter.add(format!("j.agent = {name}"));
            if let Some(version) = agent.version() {
                let version = filter.value(version.as_bytes().to_vec());
                filter.add(format!("j.version = {version}"));
            }
        }
        if let Some(wanted) = &query.status {
            let numbers: Vec<i64> = wanted.iter().map(|status| status_number(*status)).collect();
            let numbers = filter.value(numbers);
            filter.add(format!("s.status = ANY({numbers})"));
        }
        if query.is_live_only() {
            filter.add("s.ended_at IS NULL".to_owned());
        }
        filter
    }

    fn add(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    /// Takes a value, and says what it is called.
    fn value(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    fn clause(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.conditions.join(" AND "))
        }
    }
}
