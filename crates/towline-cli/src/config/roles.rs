//! `[roles.NAME]`: who may do what [ARCP 20-1].

use std::collections::BTreeMap;

use serde::Deserialize;
use towline::{
    Lease,
    runtime::roles::{Reach, Role, RoleError, Roles},
};

use super::{auth::AuthSection, file::File};
use crate::failure::{Failure, Outcome};

/// `[roles.NAME]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct RoleSection {
    agents: Option<Vec<String>>,
    lease_ceiling: Option<BTreeMap<String, Vec<String>>>,
    budget_per_job: Option<Texts>,
    budget_per_day: Option<Texts>,
    jobs: Option<u32>,
    may_watch: Option<String>,
    may_cancel: Option<String>,
    may_answer: Option<String>,
    admin: bool,
}

/// One text, or several.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

impl RoleSection {
    fn role(&self, name: &str, names: &[&str], file: &File) -> Outcome<Role> {
        let wrong = |error: RoleError| wrong(name, &error, file);
        let mut role = Role::named(name);
        if let Some(patterns) = &self.agents {
            role = role.agents(patterns).map_err(wrong)?;
        }
        if let Some(ceiling) = &self.lease_ceiling {
            let mut lease = Lease::new();
            for (namespace, patterns) in ceiling {
                for pattern in patterns {
                    lease.add(namespace, pattern);
                }
            }
            role = role.lease_ceiling(lease).map_err(wrong)?;
        }
        if let Some(budget) = &self.budget_per_job {
            role = role.budget_per_job(budget.all()).map_err(wrong)?;
        }
        if let Some(budget) = &self.budget_per_day {
            role = role.budget_per_day(budget.all()).map_err(wrong)?;
        }
        if let Some(jobs) = self.jobs {
            if jobs == 0 {
                return Err(file.wrong(
                    &format!("roles.{name}.jobs"),
                    "is `0`, so no job could ever run; give at least 1",
                ));
            }
            role = role.jobs(jobs as usize);
        }
        let reach = |key: &str, value: &Option<String>| {
            reach(
                &format!("roles.{name}.{key}"),
                value.as_deref(),
                names,
                file,
            )
        };
        Ok(role
            .may_watch(reach("may_watch", &self.may_watch)?)
            .may_cancel(reach("may_cancel", &self.may_cancel)?)
            .may_answer(reach("may_answer", &self.may_answer)?)
            .admin(self.admin))
    }
}

/// The roles of the file, and who has them; `unnamed` is what holds for the rest.
pub(super) fn roles(
    sections: &BTreeMap<String, RoleSection>,
    auth: &AuthSection,
    file: &File,
    unnamed: Role,
) -> Outcome<Roles> {
    let names: Vec<&str> = sections.keys().map(String::as_str).collect();
    let mut roles = Roles::new(unnamed);
    for (name, section) in sections {
        roles = roles.role(section.role(name, &names, file)?);
    }
    let mut given: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (index, (principal, role)) in auth.roles().enumerate() {
        let key = format!("auth.tokens[{index}].role");
        let before = given.insert(principal, role);
        if before.is_some_and(|before| before != role) {
            let message = format!(
                "differs from that of another token of `{principal}`; a role belongs to the principal, give all its tokens the same"
            );
            return Err(file.wrong(&key, &message));
        }
        if let Some(role) = role {
            roles = roles
                .assign(principal, role)
                .map_err(|_| unknown(&key, role, &names, file))?;
        }
    }
    Ok(roles)
}

fn reach(key: &str, value: Option<&str>, names: &[&str], file: &File) -> Outcome<Reach> {
    let reach = value.unwrap_or("own").parse::<Reach>();
    let reach = reach.map_err(|message| file.wrong(key, &format!("is wrong: {message}")))?;
    match &reach {
        Reach::Role(role) if !names.contains(&role.as_str()) => {
            Err(unknown(key, role, names, file))
        }
        _ => Ok(reach),
    }
}

fn unknown(key: &str, role: &str, names: &[&str], file: &File) -> Failure {
    let known = match (crate::nearest::nearest(role, names), names) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => "there is none; add [roles.NAME]".to_owned(),
        (None, names) => format!("there are {}", names.join(", ")),
    };
    file.wrong(
        key,
        &format!("names the role `{role}`, which there is not; {known}"),
    )
}

fn wrong(name: &str, error: &RoleError, file: &File) -> Failure {
    file.wrong(&format!("roles.{name}"), &format!("is wrong: {error}"))
}
