//! A connection: how one is made, and what a transaction on it came to.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Poll,
};

use futures_util::future::try_join_all;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls, Statement, error::Severity};
use tokio_postgres_rustls::MakeRustlsConnect;
use towline_store::{Reason, StoreError};

use crate::{
    address::Address,
    error::{Trouble, judge, of_statement, unavailable},
    statements::{Step, TEXTS},
};

/// Makes connections to the server that takes writes now.
pub(crate) struct Connector {
    pub(crate) address: Address,
    pub(crate) tls: Option<MakeRustlsConnect>,
    require_sync: bool,
    /// The latest timeline seen: a server on an earlier one is a primary that was replaced and does not know.
    timeline: AtomicU32,
}

/// A connection that says whether a commit on it may be less durable than it looks.
pub(crate) struct Line {
    pub(crate) client: Client,
    doubts: Arc<AtomicBool>,
}

/// A line with the writer's statements.
pub(crate) struct WriterLine {
    pub(crate) line: Line,
    statements: Vec<Statement>,
}

impl Connector {
    pub(crate) fn new(address: Address, require_sync: bool) -> Result<Self, StoreError> {
        let tls = match &address.trust {
            None => None,
            Some(trust) => {
                let mut config = trust.config().map_err(|error| {
                    let text = error.to_string();
                    StoreError::Incompatible(Reason::because(text, error))
                })?;
                config.alpn_protocols = vec![b"postgresql".to_vec()];
                Some(MakeRustlsConnect::new(config))
            }
        };
        Ok(Self {
            address,
            tls,
            require_sync,
            timeline: AtomicU32::new(0),
        })
    }

    /// A connection, however little it is good for.
    async fn connect(&self) -> Result<Line, Error> {
        let config = &self.address.config;
        match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                Ok(Line::new(client, connection))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                Ok(Line::new(client, connection))
            }
        }
    }

    /// A connection to the server that takes writes, as far as one can be seen.
    pub(crate) async fn line(&self) -> Result<Line, StoreError> {
        let line = self.connect().await.map_err(unavailable)?;
        let facts = "SELECT pg_is_in_recovery(), current_setting('synchronous_commit'), \
                     current_setting('synchronous_standby_names'), current_setting('fsync'), \
                     ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int";
        let row = line
            .client
            .query_one(facts, &[])
            .await
            .map_err(of_statement)?;
        let (commit, standbys): (&str, &str) = (row.get(1), row.get(2));
        let timeline = row.get::<_, i32>(4).unsigned_abs();
        let seen = self.timeline.fetch_max(timeline, Ordering::Relaxed);
        if timeline < seen {
            return Err(StoreError::Unavailable(
                format!("the server is on timeline {timeline}, and {seen} was seen: it was replaced and does not know").into(),
            ));
        }
        if self.require_sync && (standbys.is_empty() || row.get::<_, &str>(3) != "on") {
            return Err(StoreError::Unavailable(
                "the server waits for no synchronous standby, or not for its disk; set synchronous_standby_names and fsync, or \
                 leave out --require-sync"
                    .into(),
            ));
        }
        let commit = if ["off", "local"].contains(&commit) {
            "on"
        } else {
            commit
        };
        // A process that is stopped within a transaction must not hold its row for ever.
        let settings = format!(
            "SET synchronous_commit = {commit}; SET idle_in_transaction_session_timeout = '5s'; \
             SET statement_timeout = 0; SET lock_timeout = 0"
        );
        line.client
            .batch_execute(&settings)
            .await
            .map_err(of_statement)?;
        Ok(line)
    }
}

impl Connector {
    /// Says how much a commit is worth on this server, in the log.
    pub(crate) async fn tell_durability(&self) {
        let Ok(line) = self.line().await else { return };
        let sql = "SELECT current_setting('synchronous_standby_names'), current_setting('fsync'), version()";
        let Ok(row) = line.client.query_one(sql, &[]).await else {
            return;
        };
        let (standbys, fsync): (&str, &str) = (row.get(0), row.get(1));
        let survives = match (standbys.is_empty(), fsync) {
            (_, "off") => "nothing but this process's end: fsync is off",
            (true, _) => "a power cut of the server, not the loss of it",
            (false, _) => {
                "the loss of the server, if its standbys are never given up (strict mode)"
            }
        };
        tracing::info!(target: "towline::store", server = row.get::<_, &str>(2), "what is committed survives {survives}");
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    /// Drives the connection in a task of its own.
    fn new<S, T>(client: Client, mut connection: Connection<S, T>) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let doubts = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&doubts);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message {
                    let warns = notice.parsed_severity() == Some(Severity::Warning);
                    told.fetch_or(warns, Ordering::AcqRel);
                    tracing::warn!(target: "towline::store", code = notice.code().code(), notice = notice.message(), "the database says something");
                }
            }
        });
        Self { client, doubts }
    }

    /// Runs a statement of the writer that was not prepared.
    pub(crate) async fn run(&self, step: &Step<'_>) -> Result<u64, StoreError> {
        let values: Vec<_> = step.values.iter().map(|value| value.as_sql()).collect();
        let sql = TEXTS[step.sql as usize];
        self.client
            .execute(sql, &values)
            .await
            .map_err(of_statement)
    }

    /// Commits what was begun by statements that all succeeded.
    pub(crate) async fn commit(&self) -> Result<(), StoreError> {
        self.client
            .batch_execute("COMMIT")
            .await
            .map_err(unavailable)?;
        if self.has_doubts() {
            return Err(StoreError::Unavailable(DOUBT.into()));
        }
        Ok(())
    }

    /// Whether a warning came: a commit whose wait for a standby was cut short says so in one, and succeeds.
    fn has_doubts(&self) -> bool {
        self.doubts.load(Ordering::Acquire)
    }
}

const DOUBT: &str = "the server warned while it committed: a standby may not have it";

/// What a transaction that was sent came to.
pub(crate) enum Sent {
    /// It is durable; how many rows each statement touched.
    Committed(Vec<u64>),
    /// It was not applied and never will be: which statement failed, and why.
    Refused(usize, StoreError),
    /// Nobody knows.
    Lost(StoreError),
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<u64, Error>> + Send + 'a>>;

impl WriterLine {
    pub(crate) async fn new(line: Line) -> Result<Self, StoreError> {
        let prepared = TEXTS.iter().map(|sql| line.client.prepare(sql));
        let statements = try_join_all(prepared).await.map_err(of_statement)?;
        Ok(Self { line, statements })
    }

    /// Runs a statement that gives rows.
    pub(crate) async fn query(
        &self,
        step: &Step<'_>,
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let values: Vec<_> = step.values.iter().map(|value| value.as_sql()).collect();
        let statement = &self.statements[step.sql as usize];
        self.line
            .client
            .query(statement, &values)
            .await
            .map_err(of_statement)
    }

    /// Runs statements as one transaction, all of them in one round trip: each is sent before the first one is answered. `BEGIN`
    /// may have been sent already.
    pub(crate) async fn transact(&self, begin: &'static str, steps: &[Step<'_>]) -> Sent {
        let client = &self.line.client;
        let values: Vec<Vec<_>> = steps
            .iter()
            .map(|step| step.values.iter().map(|value| value.as_sql()).collect())
            .collect();
        let plain = |sql: &'static str| -> Answer<'_> {
            Box::pin(async move { client.batch_execute(sql).await.map(|()| 0) })
        };
        let mut answers: Vec<Answer<'_>> = Vec::with_capacity(steps.len() + 2);
        answers.push(plain(begin));
        for (step, values) in steps.iter().zip(&values) {
            let statement = &self.statements[step.sql as usize];
            answers.push(Box::pin(
                async move { client.execute(statement, values).await },
            ));
        }
        answers.push(plain("COMMIT"));
        // A request goes out when its future is first polled.
        let mut results = Vec::with_capacity(answers.len());
        for answer in &mut answers {
            results.push(
                poll_fn(|cx| {
                    Poll::Ready(match answer.as_mut().poll(cx) {
                        Poll::Ready(result) => Some(result),
                        Poll::Pending => None,
                    })
                })
                .await,
            );
        }
        let mut rows = Vec::with_capacity(steps.len());
        for (index, (answer, result)) in answers.into_iter().zip(results).enumerate() {
            let result = match result {
                Some(result) => result,
                None => answer.await,
            };
            match result.map_err(judge) {
                Ok(count) => rows.push(count),
                // A transaction in which a statement failed is rolled back, whatever becomes of the answer to that; and
                // the server says ROLLBACK to a COMMIT without calling it an error.
                Err(Trouble::Refused(error)) => {
                    return Sent::Refused(index.saturating_sub(1), error);
                }
                Err(Trouble::Lost(error)) => return Sent::Lost(unavailable(error)),
            }
        }
        if self.line.has_doubts() {
            return Sent::Lost(StoreError::Unavailable(DOUBT.into()));
        }
        rows.remove(0);
        Sent::Committed(rows)
    }
}
