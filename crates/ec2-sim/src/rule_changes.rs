//! Changes of a world's rules, written as the part of them that is to be different.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, io};
use crate::world::Rules;

/// Reads a file of changes in YAML or JSON.
pub(crate) fn load(file: &Path) -> Result<Value, Error> {
    let text = fs::read_to_string(file).map_err(io("read", file))?;
    serde_yaml::from_str(&text).map_err(|error| Error::Rules(format!("{}: {error}", file.display())))
}

/// The rules with what `wanted` names changed. What is misspelled is refused.
pub(crate) fn changed(rules: &Rules, wanted: &Value) -> Result<Rules, Error> {
    let unfit = |problem: String| Error::Rules(problem);
    let mut all = serde_json::to_value(rules).map_err(|error| unfit(error.to_string()))?;
    merge(&mut all, wanted, "").map_err(unfit)?;
    serde_json::from_value(all).map_err(|error| unfit(error.to_string()))
}

/// Puts the leaves of one value into another, which must have each already.
fn merge(all: &mut Value, wanted: &Value, path: &str) -> Result<(), String> {
    match (all, wanted) {
        (Value::Object(all), Value::Object(wanted)) => {
            for (name, value) in wanted {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let known = all.keys().cloned().collect::<Vec<_>>().join(", ");
                let Some(field) = all.get_mut(name) else {
                    return Err(format!("there is no rule '{path}'; there are {known}"));
                };
                merge(field, value, &path)?;
            }
            Ok(())
        }
        (Value::Object(_), _) if path.is_empty() => Err("the rules must be a map of names and values".to_owned()),
        (all, wanted) => {
            *all = wanted.clone();
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Profile;
    use serde_json::json;

    #[test]
    fn only_what_is_named_changes() {
        let rules = Rules::of(Profile::Instant);
        let other = changed(&rules, &json!({"throttling": true})).unwrap();
        assert_eq!(other, Rules { throttling: true, ..rules.clone() });
        assert_eq!(changed(&rules, &json!({})).unwrap(), rules);
    }

    #[test]
    fn a_rule_that_is_misspelled_or_of_another_type_is_refused_and_named() {
        let rules = Rules::of(Profile::Instant);
        for (wanted, expected) in [
            (json!({"throtling": true}), "no rule 'throtling'"),
            (json!({"consistency": {"windw": 3}}), "no rule 'consistency.windw'"),
            (json!({"throttling": "yes"}), "invalid type"),
            (json!(3), "must be a map"),
        ] {
            let problem = changed(&rules, &wanted).unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem} should say {expected}");
        }
    }
}
