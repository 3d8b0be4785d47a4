//! Who may do what on a server.

use towline::{
    runtime::{
        Schedule,
        roles::{LiveRoles, Role, Roles},
    },
    wire::Shown,
};

use super::reload::Tokens;
use crate::{
    config::Config,
    failure::{Failure, Outcome},
    output,
};

/// The roles of the file. Those without one stay off the machine, unless that was lifted [ARCP 14-10].
pub(crate) fn roles(config: &Config, any_lease: bool) -> Outcome<Roles> {
    let unnamed = if any_lease {
        Role::of_nobody()
    } else {
        Role::of_nobody()
            .off_the_machine()
            .map_err(Failure::local)?
    };
    config.roles(unnamed)
}

/// Says on standard error what holds [ARCP 14-10].
pub(super) fn tell(roles: &Roles) {
    output::note("who may do what:");
    output::note(&format!("  {}", in_words(roles.without_role(), &[])));
    for role in roles.iter() {
        let holders: Vec<&str> = roles
            .assigned()
            .filter(|(_, of)| of.name() == role.name())
            .map(|(principal, _)| principal.as_str())
            .collect();
        output::note(&format!(
            "  {}",
            output::clean_lines(in_words(role, &holders)).trim_end()
        ));
    }
}

/// Says on standard error that programs of jobs would be root's, where they would [ARCP 14-10].
pub(super) fn tell_of_root(config: &Config, demo: bool) {
    let programs = config.programs(demo);
    if is_root() && !programs.is_empty() {
        output::note(&format!(
            "warning: this is root, and so are the programs that run for jobs of {}: confined as their leases say, but every \
             file a lease names is theirs; run the server as a user of its own",
            output::clean(programs.join(", "))
        ));
    }
}

/// Warns of schedules whose principal is not among those that the server knows: a name that was mistyped would have its jobs run
/// as those of somebody without a role.
pub(super) fn warn_of_unknown(schedules: &[Schedule], roles: &LiveRoles, tokens: &Tokens) {
    let roles = roles.now();
    for schedule in schedules {
        let who = schedule.principal();
        let known =
            tokens.contains_key(who.as_str()) || roles.assigned().any(|(known, _)| known == who);
        if !known {
            tracing::warn!(
                schedule = schedule.name(),
                principal = %Shown::new(who),
                "no token of this server is the principal's: its jobs are those of somebody without a role"
            );
        }
    }
}

#[cfg(target_os = "linux")]
fn is_root() -> bool {
    towline::agents::confine::is_root()
}

#[cfg(not(target_os = "linux"))]
fn is_root() -> bool {
    false
}

/// What a role allows, on one line.
pub(crate) fn in_words(role: &Role, holders: &[&str]) -> String {
    let holders = if holders.is_empty() {
        String::new()
    } else {
        format!(" ({})", holders.join(", "))
    };
    let mut parts = vec![
        format!("agents {}", agents(role)),
        format!("lease {}", role.ceiling_in_words()),
    ];
    if !role.budget().is_empty() {
        parts.push(format!(
            "budget {} a job",
            role.budget().to_texts().join(" ")
        ));
    }
    if !role.daily_budget().is_empty() {
        parts.push(format!(
            "budget {} a day",
            role.daily_budget().to_texts().join(" ")
        ));
    }
    if let Some(jobs) = role.jobs_at_once() {
        parts.push(format!("{jobs} jobs at once"));
    }
    parts.push(format!("watches {}", role.watches()));
    parts.push(format!("cancels {}", role.cancels()));
    parts.push(format!("answers {}", role.answers()));
    if role.is_admin() {
        parts.push("admin".to_owned());
    }
    format!("{role}{holders}: {}", parts.join("; "))
}

fn agents(role: &Role) -> String {
    match role.agent_patterns() {
        None => "any".to_owned(),
        Some([]) => "none".to_owned(),
        Some(patterns) => patterns.join(" "),
    }
}
