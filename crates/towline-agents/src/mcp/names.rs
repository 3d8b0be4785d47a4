//! What tools of servers are called by models, which know letters, digits, `_` and `-` only.

use std::collections::BTreeMap;

use towline_runtime::ToolInfo;

/// The names for models, each with its tool: what no name may hold becomes `_`, and what is the same then is counted. `taken` names
/// are left to others.
pub(super) fn for_models(tools: Vec<ToolInfo>, taken: &[&str]) -> BTreeMap<String, ToolInfo> {
    let mut named: BTreeMap<String, ToolInfo> = BTreeMap::new();
    for tool in tools {
        let plain = tool.name.strip_prefix("mcp:").unwrap_or(&tool.name);
        let mut name = String::new();
        for c in plain.chars() {
            match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => name.push(c),
                '/' => name.push_str("__"),
                _ => name.push('_'),
            }
        }
        name.truncate(LONGEST);
        let mut unique = name.clone();
        let mut number = 2;
        while named.contains_key(&unique) || taken.contains(&&*unique) {
            let end = format!("_{number}");
            let room = name.len().min(LONGEST - end.len());
            unique = format!("{}{end}", &name[..room]);
            number += 1;
        }
        named.insert(unique, tool);
    }
    named
}

/// The longest name that services of models take.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_differ() {
        let long = format!("mcp:x/{}", "a".repeat(100));
        let tools = [
            "mcp:git.hub/make it",
            "mcp:git_hub/make.it",
            "search",
            "spend",
            &*long,
            &*long,
        ];
        let named = for_models(tools.map(ToolInfo::new).into(), &["spend"]);
        let names: Vec<&str> = named.keys().map(String::as_str).collect();
        assert_eq!(names.len(), 6);
        for name in [
            "git_hub__make_it",
            "git_hub__make_it_2",
            "search",
            "spend_2",
        ] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(names.iter().all(|name| name.len() <= LONGEST));
        assert_eq!(named["search"].name, "search");
    }
}
