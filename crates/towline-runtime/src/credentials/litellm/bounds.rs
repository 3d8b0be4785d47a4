//! A lease's bounds as LiteLLM can enforce them.

use towline_proto::lease::{Kind, Pattern};
use towline_wire::Amount;

use super::super::{CredentialConstraints, ProvisionError};

/// What a key is bounded by. No models means all of them.
#[derive(Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) models: Vec<String>,
    pub(super) max_budget: Option<Amount>,
}

impl Bounds {
    /// Fails for bounds that the proxy could not hold a job to.
    pub(super) fn of(
        constraints: &CredentialConstraints,
        known: &[String],
    ) -> Result<Self, ProvisionError> {
        Ok(Self {
            models: models(constraints, known)?,
            max_budget: budget(&constraints.cost_budget)?,
        })
    }
}

fn models(
    constraints: &CredentialConstraints,
    known: &[String],
) -> Result<Vec<String>, ProvisionError> {
    let Some(patterns) = &constraints.model_use else {
        return Ok(known.to_vec());
    };
    let mut models: Vec<String> = Vec::new();
    for pattern in patterns {
        models.extend(covered(pattern, known)?);
    }
    models.sort_unstable();
    models.dedup();
    if models.is_empty() {
        // An empty list would open every model.
        return Err(ProvisionError::refused(format!(
            "the lease's models ({}) are none the proxy was said to have",
            patterns.join(", ")
        )));
    }
    Ok(models)
}

fn covered(pattern: &str, known: &[String]) -> Result<Vec<String>, ProvisionError> {
    let parsed = Pattern::parse(pattern, Kind::Name)
        .map_err(|cause| ProvisionError::refused(cause.to_string()))?;
    if !known.is_empty() {
        let covered = known
            .iter()
            .filter(|model| parsed.matches(model) == Ok(true));
        return Ok(covered.cloned().collect());
    }
    if pattern.contains(['*', '?', '[', ']', '{', '}', '\\']) {
        return Err(ProvisionError::refused(format!(
            "`model.use` has the pattern `{pattern}`, and the proxy's models were not listed, so it cannot be resolved"
        )));
    }
    Ok(vec![pattern.to_owned()])
}

fn budget(budget: &[(String, Amount)]) -> Result<Option<Amount>, ProvisionError> {
    let dollars = budget.iter().find(|(currency, _)| currency == "USD");
    match dollars {
        Some((_, amount)) if amount.is_negative() => Err(ProvisionError::refused(
            "nothing is left of the job's budget",
        )),
        Some((_, amount)) => Ok(Some(*amount)),
        None if budget.is_empty() => Ok(None),
        None => Err(ProvisionError::refused(
            "the proxy counts in USD, and the lease budgets other currencies only",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraints(models: Option<&[&str]>, budget: &[(&str, &str)]) -> CredentialConstraints {
        let texts = |models: &[&str]| models.iter().map(|model| (*model).to_owned()).collect();
        let amount =
            |(currency, text): &(&str, &str)| ((*currency).to_owned(), text.parse().unwrap());
        CredentialConstraints {
            model_use: models.map(texts),
            cost_budget: budget.iter().map(amount).collect(),
            ..CredentialConstraints::default()
        }
    }

    fn bounds(
        models: Option<&[&str]>,
        known: &[&str],
        budget: &[(&str, &str)],
    ) -> Option<(Vec<String>, Option<Amount>)> {
        let known: Vec<String> = known.iter().map(|model| (*model).to_owned()).collect();
        let bounds = Bounds::of(&constraints(models, budget), &known).ok()?;
        Some((bounds.models, bounds.max_budget))
    }

    /// [ARCP 9.8-4] a key is never wider than the lease: what the proxy could not enforce is refused.
    #[test]
    fn keys_are_never_wider_than_the_lease() {
        let offered = ["acme/large", "acme/small", "other"];
        let models = |models: Option<&[&str]>, known: &[&str]| {
            bounds(models, known, &[]).map(|(models, _)| models)
        };
        assert_eq!(
            models(Some(&["acme/*"]), &offered).unwrap(),
            ["acme/large", "acme/small"]
        );
        assert_eq!(
            models(Some(&["other", "acme/small", "acme/s*"]), &offered).unwrap(),
            ["acme/small", "other"]
        );
        assert_eq!(models(Some(&["nobody/*"]), &offered), None);
        assert_eq!(models(Some(&[]), &offered), None);
        assert_eq!(models(Some(&["x", "y"]), &[]).unwrap(), ["x", "y"]);
        assert_eq!(models(Some(&["x*"]), &[]), None);
        assert_eq!(models(None, &offered).unwrap(), offered);

        let budget =
            |budget: &[(&str, &str)]| bounds(Some(&["x"]), &[], budget).map(|(_, budget)| budget);
        assert_eq!(budget(&[]), Some(None));
        assert_eq!(
            budget(&[("EUR", "1"), ("USD", "0.10")]),
            Some(Some("0.10".parse().unwrap()))
        );
        assert_eq!(budget(&[("EUR", "1")]), None);
        assert_eq!(budget(&[("USD", "-0.01")]), None);
    }
}
