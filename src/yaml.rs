//! The only user of serde_yaml: YAML is written at the edge, for people, and read nowhere.

use serde::Serialize;

/// Renders a value as a YAML document.
pub fn to_string(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(value)?)
}
