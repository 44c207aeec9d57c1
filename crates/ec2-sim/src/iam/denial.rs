//! A denial: the error that a client sees, and the encoded message that tells an administrator why.
//!
//! The decoded form is that of `DecodeAuthorizationMessage` (AWS STS API Reference). The
//! message of AWS is encrypted; this one is only encoded, as there is nobody to keep it from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::questions::Question;
use super::{AccessKey, Decision};
use crate::world::ApiError;

/// The answer to a call that a question denies.
pub(super) fn error(key: &AccessKey, question: &Question, decision: Decision<'_>) -> ApiError {
    let (action, resource, user) = (&question.action, &question.resource, key.arn());
    let because = match decision {
        Decision::Denied(_) => "with an explicit deny in an identity-based policy".to_owned(),
        _ => format!("because no identity-based policy allows the {action} action"),
    };
    let encoded = encode(&explain(key, question, decision));
    ApiError::new(
        "UnauthorizedOperation",
        format!(
            "You are not authorized to perform this operation. User: {user} is not authorized to perform: {action} on resource: {resource} \
             {because}. Encoded authorization failure message: {encoded}"
        ),
    )
}

fn explain(key: &AccessKey, question: &Question, decision: Decision<'_>) -> Value {
    let matched = match decision {
        Decision::Denied(statement) => vec![json!({"statementId": statement.name, "effect": "DENY"})],
        _ => Vec::new(),
    };
    let conditions: Vec<Value> = question
        .context
        .entries()
        .map(|(key, values)| {
            let items: Vec<Value> = values.iter().map(|value| json!({"value": value})).collect();
            json!({"key": key, "values": {"items": items}})
        })
        .collect();
    json!({
        "allowed": false,
        "explicitDeny": !matched.is_empty(),
        "matchedStatements": {"items": matched},
        "failures": {"items": []},
        "context": {
            "principal": {"id": key.id, "arn": key.arn()},
            "action": question.action,
            "resource": question.resource,
            "conditions": {"items": conditions},
        },
    })
}

fn encode(explanation: &Value) -> String {
    URL_SAFE_NO_PAD.encode(explanation.to_string())
}

/// The explanation in an encoded message; none when it is no message of a denial.
pub(crate) fn decode(message: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(message.trim()).ok()?;
    let explanation: Value = serde_json::from_slice(&bytes).ok()?;
    explanation["context"]["action"].is_string().then_some(explanation)
}
