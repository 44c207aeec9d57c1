//! The only user of serde_yaml: YAML is written and read at the edge, for people.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Renders a value as a YAML document.
pub fn to_string(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(value)?)
}

/// Reads a value; the error names line and column.
pub fn from_str<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    Ok(serde_yaml::from_str(text)?)
}

/// All documents of a text that are not empty, as JSON values; the error names line and column.
pub fn documents(text: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let documents = serde_yaml::Deserializer::from_str(text).map(serde_json::Value::deserialize);
    let values = documents.collect::<Result<Vec<_>, _>>()?;
    Ok(values.into_iter().filter(|value| !value.is_null()).collect())
}
