//! Looking at the members of a store, and asking one to leave, from outside.

use std::time::Duration;

use tokio_postgres::Row;
use towline_store::{Incarnation, StoreError};

use crate::{
    PostgresStore,
    address::Address,
    error::{corrupt, of_statement},
    line::{Connector, Line},
    options::PostgresOptions,
    read::all,
    rows::{text, unsigned},
    schema,
    shared::LEAVING,
};

/// The nodes of a store.
///
/// ```no_run
/// # async fn example() -> Result<(), towline_store::StoreError> {
/// use towline_postgres::{Nodes, PostgresOptions};
///
/// let nodes = Nodes::begin("postgres://towline@localhost/towline", &PostgresOptions::new()).await?;
/// for node in nodes.list().await? {
///     println!("{} has {} jobs", node.name, node.jobs);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Nodes {
    line: Line,
}

/// A node, or what one that is dead has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Whether it has the store.
    pub state: NodeState,
    /// How long ago it showed that it lives, by the clock of the server.
    pub pulse_age: Option<Duration>,
    /// How many jobs are its own that have not ended.
    pub jobs: u64,
    /// How many sessions are its own.
    pub sessions: u64,
    /// The agents it hosts.
    pub agents: Vec<String>,
}

/// Whether a node has the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeState {
    /// It does, as far as anybody knows.
    Live,
    /// It does, and was asked to leave.
    Draining,
    /// It does not any more, and others have not taken everything yet.
    Fenced,
}

impl NodeState {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Draining => "draining",
            Self::Fenced => "fenced",
        }
    }
}

impl Nodes {
    /// Connects.
    ///
    /// # Errors
    /// When the database cannot be reached, or holds no store.
    pub async fn begin(url: &str, options: &PostgresOptions) -> Result<Self, StoreError> {
        let address = Address::parse(url, options)?;
        let (shown, name) = (address.to_string(), address.schema.clone());
        let line = Connector::new(address, false)?.line().await?;
        let version = schema::version(&line.client, &name).await?;
        if version < Some(schema::COMPATIBLE_FROM) {
            return Err(StoreError::Incompatible(
                format!("there is no store of several nodes in `{shown}`, schema `{name}`; start one with `towline serve --node NAME`").into(),
            ));
        }
        Ok(Self { line })
    }

    /// Those that have the store, and those that are dead and have left something, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list(&self) -> Result<Vec<Node>, StoreError> {
        let sql = "SELECT n.name, n.inc, n.state, \
                   (extract(epoch FROM clock_timestamp() - p.at) * 1000)::bigint, n.agents, j.count, s.count \
                   FROM node n LEFT JOIN pulse p ON p.inc = n.inc \
                   CROSS JOIN LATERAL (SELECT count(*) FROM job_state WHERE owner = n.inc AND ended_at IS NULL) j \
                   CROSS JOIN LATERAL (SELECT count(*) FROM session WHERE owner = n.inc) s \
                   WHERE n.state < 2 OR j.count > 0 OR s.count > 0 ORDER BY n.inc";
        all(&self.line.client, sql, &[], read_node).await
    }

    /// Asks the nodes of a name to leave, and says how many there are. They end their sessions, give their jobs the time that is
    /// set for a shutdown, and leave what is to go on to the others.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn drain(&self, name: &str) -> Result<u64, StoreError> {
        let sql = "UPDATE node SET state = $2 WHERE name = $1 AND state < 2";
        let asked = self
            .line
            .client
            .execute(sql, &[&name.as_bytes(), &LEAVING])
            .await;
        asked.map_err(of_statement)
    }
}

fn read_node(row: &Row) -> Result<Node, StoreError> {
    let agents: Option<&[u8]> = row.get(4);
    let agents = agents.map(serde_json::from_slice).transpose();
    let state: i64 = row.get(2);
    let age: Option<i64> = row.get(3);
    Ok(Node {
        name: text(row, 0)?.to_owned(),
        incarnation: Incarnation::new(unsigned(row, 1)?),
        state: match state {
            0 => NodeState::Live,
            LEAVING => NodeState::Draining,
            _ => NodeState::Fenced,
        },
        pulse_age: age.map(|age| Duration::from_millis(age.max(0).unsigned_abs())),
        jobs: unsigned(row, 5)?,
        sessions: unsigned(row, 6)?,
        agents: agents.map_err(corrupt)?.unwrap_or_default(),
    })
}

impl PostgresStore {
    /// Says which agents this node hosts, for whoever [lists](Nodes::list) the nodes.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn announce(&self, agents: &[String]) -> Result<(), StoreError> {
        let agents = serde_json::to_vec(agents).map_err(corrupt)?;
        let line = self.connector.line().await?;
        let sql = "UPDATE node SET agents = $2 WHERE inc = $1 AND state < 2";
        let said = line
            .client
            .execute(sql, &[&self.incarnation(), &agents])
            .await;
        said.map(drop).map_err(of_statement)
    }
}
