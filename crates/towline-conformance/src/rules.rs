//! The cases, one group of rules a file.

mod events;
mod hello;
mod jobs;
mod leases;
mod lifecycle;
mod listing;
mod liveness;
mod principals;
mod resume;
mod subscribe;

use crate::case::Case;

pub(crate) use hello::FIRST;

/// Every case but the first.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    let groups: [&'static [Case]; 10] = [
        hello::CASES,
        liveness::CASES,
        jobs::CASES,
        lifecycle::CASES,
        events::CASES,
        listing::CASES,
        subscribe::CASES,
        resume::CASES,
        leases::CASES,
        principals::CASES,
    ];
    groups.into_iter().flatten()
}
