//! Listing jobs (§6.6).

use std::sync::Arc;

use futures_util::{Stream, TryStreamExt as _, future::BoxFuture, stream};
use towline_proto::client::Request;
use towline_wire::{
    JobStatus, Timestamp,
    payload::{JobFilter, JobListing, ListJobs},
};

use crate::{
    ClientError,
    shared::{Answer, Shared},
};

/// A listing to be asked for; see [`crate::Client::list_jobs`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before it is awaited, or read as `page` or `stream`"]
pub struct ListBuilder {
    shared: Arc<Shared>,
    filter: JobFilter,
    limit: Option<u64>,
    cursor: Option<String>,
    details: bool,
}

/// A page of a listing.
#[derive(Debug, Clone)]
pub struct JobPage {
    /// The jobs, oldest first.
    pub jobs: Vec<JobListing>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
}

impl ListBuilder {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            filter: JobFilter::default(),
            limit: None,
            cursor: None,
            details: false,
        }
    }

    /// Only jobs in this state. Called again: or in that one.
    pub fn status(mut self, status: JobStatus) -> Self {
        self.filter.status.get_or_insert_default().push(status);
        self
    }

    /// Only jobs of this agent: `name` matches every version, `name@version` that one.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.filter.agent = Some(agent.into());
        self
    }

    /// Only jobs created after this moment.
    pub const fn created_after(mut self, moment: Timestamp) -> Self {
        self.filter.created_after = Some(moment);
        self
    }

    /// Only jobs created before this moment.
    pub const fn created_before(mut self, moment: Timestamp) -> Self {
        self.filter.created_before = Some(moment);
        self
    }

    /// At most this many a page, 1 to 1000. Default: the runtime's, 100 by the draft.
    pub const fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Also asks for what only towline's runtimes tell: whose each job is, when it began and ended, what it spent. Default: no.
    pub const fn details(mut self) -> Self {
        self.details = true;
        self
    }

    /// Where the last page ended.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// One page.
    ///
    /// # Errors
    /// [`ClientError::FeatureMissing`] without `list_jobs`; [`ClientError::Refused`], for a bad cursor say.
    pub async fn page(&self) -> Result<JobPage, ClientError> {
        let filter = (self.filter != JobFilter::default()).then(|| self.filter.clone());
        let request = ListJobs {
            filter,
            limit: self.limit,
            cursor: self.cursor.clone(),
            order: None,
            follow: None,
            details: self.details,
        };
        match self.shared.ask(Request::List(request)).await? {
            Answer::Jobs(page) => Ok(JobPage {
                jobs: page.jobs,
                next_cursor: page.next_cursor,
            }),
            _ => Err(ClientError::stopped()),
        }
    }

    /// Every job, page after page, each asked for when the one before was read.
    pub fn stream(self) -> impl Stream<Item = Result<JobListing, ClientError>> + Send {
        let pages = stream::try_unfold(Some(self), |next| async move {
            let Some(mut list) = next else {
                return Ok(None);
            };
            let page = list.page().await?;
            // A runtime that repeats its cursor would be asked forever.
            let more = page
                .next_cursor
                .filter(|cursor| list.cursor.as_ref() != Some(cursor));
            let next = more.map(|cursor| {
                list.cursor = Some(cursor);
                list
            });
            Ok::<_, ClientError>(Some((stream::iter(page.jobs.into_iter().map(Ok)), next)))
        });
        pages.try_flatten()
    }
}

/// Awaiting a listing asks for one page.
impl IntoFuture for ListBuilder {
    type Output = Result<JobPage, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.page().await })
    }
}
