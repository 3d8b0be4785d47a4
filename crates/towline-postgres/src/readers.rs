//! Connections that only read.

use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::NoTls;
use towline_store::{Reason, StoreError};

use crate::{error::unavailable, line::Connector};

/// A few connections that readers share.
#[derive(Debug)]
pub(crate) struct Readers {
    pool: Pool,
}

impl Readers {
    pub(crate) fn new(connector: &Connector) -> Result<Self, StoreError> {
        let config = connector.address.config.clone();
        let how = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match &connector.tls {
            Some(tls) => Manager::from_config(config, tls.clone(), how),
            None => Manager::from_config(config, NoTls, how),
        };
        let timeouts = Timeouts {
            wait: Some(PATIENCE),
            create: Some(PATIENCE),
            recycle: Some(PATIENCE),
        };
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build();
        let failed =
            |error: deadpool_postgres::BuildError| StoreError::Failed(error.to_string().into());
        Ok(Self {
            pool: pool.map_err(failed)?,
        })
    }

    /// A connection, as soon as one is free.
    pub(crate) async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Closed => StoreError::Closed,
            PoolError::Backend(error) => unavailable(error),
            other => {
                let text = format!("no connection to read on: {other}");
                StoreError::Unavailable(Reason::because(text, other))
            }
        })
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

const CONNECTIONS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);
