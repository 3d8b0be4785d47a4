//! How much work it is to hold an answer against a form's schema, before anybody does it [ARCP 14-4].
//!
//! A schema of a few lines can stand for a check that takes longer than the machine lives: each part that refers twice to the one before
//! it doubles the work. So a form's schema is counted as it is when every reference is written out, and what has no bound by
//! itself is refused: references in a circle, references by names, and the keywords that look at everything once more.

use std::collections::HashMap;

use serde_json::Value;

/// How many parts a schema has at most, written out.
const MOST_PARTS: u64 = 2_000;

/// How many times a part is held against a value, at most.
const MOST_STEPS: u64 = 4_000_000;

/// Keywords that forms do without.
const LEFT_OUT: [&str; 5] = [
    "$id",
    "$dynamicRef",
    "$recursiveRef",
    "unevaluatedProperties",
    "unevaluatedItems",
];

/// How many parts a schema has, written out.
pub(super) fn parts(schema: &Value) -> Result<u64, String> {
    let mut known = HashMap::new();
    let mut schema = schema.clone();
    // What the whole is called changes nothing; a part with a name would have places of its own.
    if let Some(members) = schema.as_object_mut() {
        members.remove("$id");
    }
    let parts = count(&schema, &schema, &mut known)?;
    if parts > MOST_PARTS {
        return Err(format!(
            "with every `$ref` written out it has more than {MOST_PARTS} parts"
        ));
    }
    Ok(parts)
}

/// Whether an answer is small enough for a schema of so many parts.
pub(super) fn affordable(parts: u64, answer: &Value) -> Result<(), String> {
    if parts.saturating_mul(values(answer)) > MOST_STEPS {
        return Err("it has more values than can be held against such a schema".to_owned());
    }
    Ok(())
}

/// `known`: what each place that is referred to counts; nothing while that is being found out.
fn count(
    root: &Value,
    part: &Value,
    known: &mut HashMap<String, Option<u64>>,
) -> Result<u64, String> {
    let mut sum = 1u64;
    match part {
        Value::Array(items) => {
            for item in items {
                sum = sum.saturating_add(count(root, item, known)?);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if LEFT_OUT.contains(&name.as_str()) {
                    return Err(format!("`{name}` is not for forms"));
                }
                let more = match member.as_str() {
                    Some(place) if name == "$ref" => referred(root, place, known)?,
                    _ => count(root, member, known)?,
                };
                sum = sum.saturating_add(more);
            }
        }
        _ => {}
    }
    Ok(sum)
}

fn referred(
    root: &Value,
    place: &str,
    known: &mut HashMap<String, Option<u64>>,
) -> Result<u64, String> {
    match known.get(place) {
        Some(Some(parts)) => return Ok(*parts),
        Some(None) => return Err(format!("`$ref` to `{place}` leads back to itself")),
        None => {}
    }
    let pointer = place.strip_prefix('#').unwrap_or(" ");
    let Some(target) = root.pointer(pointer) else {
        return Err(format!(
            "`$ref` to `{place}` leads nowhere; write `#/$defs/NAME`"
        ));
    };
    known.insert(place.to_owned(), None);
    let parts = count(root, target, known)?;
    known.insert(place.to_owned(), Some(parts));
    Ok(parts)
}

fn values(value: &Value) -> u64 {
    let below = match value {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(members) => members.values().map(values).sum(),
        _ => 0,
    };
    1u64.saturating_add(below)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// [ARCP 14-4] A schema whose references double at every step, or lead in a circle, is refused before anything is held against it.
    #[test]
    fn schemas_have_so_many_parts() {
        let doubling = |steps: usize| {
            let mut defs = json!({"a0": {"type": "object"}});
            for step in 1..=steps {
                let before = format!("#/$defs/a{}", step - 1);
                defs[format!("a{step}")] = json!({"allOf": [{"$ref": before}, {"$ref": before}]});
            }
            json!({"$defs": defs, "$ref": format!("#/$defs/a{steps}")})
        };
        assert!(parts(&doubling(70)).unwrap_err().contains("written out"));
        assert!(parts(&doubling(3)).unwrap() < 200);
        for refused in [
            json!({"$ref": "#"}),
            json!({"properties": {"next": {"$ref": "#"}}}),
            json!({"$ref": "#/$defs/no"}),
            json!({"$ref": "https://a.test/schema"}),
            json!({"$anchor": "a", "items": {"$ref": "#a"}}),
            json!({"allOf": [{"$dynamicRef": "#a"}]}),
            json!({"unevaluatedProperties": false}),
            json!({"properties": {"a": {"$id": "b", "$ref": "#/$defs/c"}}}),
        ] {
            assert!(parts(&refused).is_err(), "{refused}");
        }
        let plain = json!({"type": "object", "properties": {"a": {"enum": ["x", "y"]}}});
        let parts = parts(&plain).unwrap();
        assert_eq!(parts, 7);
        assert!(affordable(parts, &json!({"a": "x"})).is_ok());
        let many = Value::Array(vec![json!(1); 1_000_000]);
        assert!(affordable(parts, &many).is_err());
    }
}
