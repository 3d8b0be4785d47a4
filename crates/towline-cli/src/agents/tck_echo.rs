//! `tck-echo`: the agent that the Java SDK's conformance kit submits to. Gives back what it was given, as [`super::echo`].

pub(super) use super::echo::run;
