//! The query of a request.

use axum::http::Uri;

use super::problem::Problem;
use crate::refusal::shown;

/// The members of a query, in their order.
///
/// # Errors
/// 400 for a name that is none of `known` [ARCP 16-1].
pub(super) fn members(uri: &Uri, known: &[&str]) -> Result<Vec<(String, String)>, Problem> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let members = form_urlencoded::parse(query).into_owned();
    members
        .map(|(name, value)| {
            if known.contains(&name.as_str()) {
                return Ok((name, value));
            }
            let known = match known {
                [] => "nothing may be asked here".to_owned(),
                known => format!("known are {}", known.join(", ")),
            };
            Err(Problem::bad_request(format!(
                "the query has {}, {known}",
                shown(&name)
            )))
        })
        .collect()
}

/// The one value of a member.
///
/// # Errors
/// 400 where it stands more than once.
pub(super) fn single(members: &[(String, String)], name: &str) -> Result<Option<String>, Problem> {
    let mut values = members.iter().filter(|(known, _)| known == name);
    let value = values.next().map(|(_, value)| value.clone());
    if values.next().is_some() {
        return Err(Problem::bad_request(format!(
            "the query has `{name}` more than once"
        )));
    }
    Ok(value)
}
