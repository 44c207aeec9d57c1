//! Policy documents: read strictly, so that a misspelled word is an error and not a gap in the fence.
//!
//! Grammar from "Grammar of the IAM JSON policy language" (IAM User Guide).

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::Context;
use super::condition::Condition;
use super::pattern::{Pattern, Reading};

/// A policy document, checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Document")]
pub(crate) struct Policy {
    /// Whether `${…}` in it is a variable.
    variables: bool,
    statements: Vec<Statement>,
}

/// A statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// Its `Sid`, or its number from 1.
    pub(super) name: String,
    pub(super) effect: Effect,
    actions: Choice,
    resources: Choice,
    conditions: Vec<Condition>,
}

/// What a statement does where it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    patterns: Vec<String>,
    negated: bool,
}

impl Policy {
    /// The statements that match a question.
    pub(super) fn matching<'a>(
        &'a self,
        action: &'a str,
        resource: &'a str,
        context: &'a Context,
    ) -> impl Iterator<Item = &'a Statement> + 'a {
        self.statements.iter().filter(move |statement| statement.matches(action, resource, context, self.variables))
    }
}

impl Statement {
    fn matches(&self, action: &str, resource: &str, context: &Context, variables: bool) -> bool {
        let actions = Reading { wildcards: true, variables: false };
        let by_action = self.actions.matches(|pattern| {
            // Actions are matched without regard to case.
            Pattern::read(&pattern.to_lowercase(), actions, context).is_some_and(|p| p.matches(&action.to_lowercase()))
        });
        let resources = Reading { wildcards: true, variables };
        let by_resource =
            self.resources.matches(|pattern| Pattern::read(pattern, resources, context).is_some_and(|p| p.matches_arn(resource)));
        by_action && by_resource && self.conditions.iter().all(|condition| condition.holds(context, variables))
    }
}

impl Choice {
    fn matches(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.patterns.iter().any(|pattern| fits(pattern)) != self.negated
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Document {
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<RawStatement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawStatement {
    sid: Option<String>,
    effect: Effect,
    action: Option<OneOrMany<String>>,
    not_action: Option<OneOrMany<String>>,
    resource: Option<OneOrMany<String>>,
    not_resource: Option<OneOrMany<String>>,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMany<Scalar>>>,
}

impl TryFrom<Document> for Policy {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        let variables = match document.version.as_deref() {
            Some("2012-10-17") => true,
            Some("2008-10-17") | None => false,
            Some(other) => return Err(format!("Version must be 2012-10-17 or 2008-10-17, not '{other}'")),
        };
        let statements = (1..).zip(document.statement.0).map(|(number, raw)| statement(number, raw)).collect::<Result<_, _>>()?;
        Ok(Self { variables, statements })
    }
}

fn statement(number: usize, raw: RawStatement) -> Result<Statement, String> {
    let name = raw.sid.unwrap_or_else(|| number.to_string());
    let named = |problem: String| format!("statement {name}: {problem}");
    let actions = choice("Action", raw.action, raw.not_action, check_action).map_err(named)?;
    let resources = choice("Resource", raw.resource, raw.not_resource, check_resource).map_err(named)?;
    let mut conditions = Vec::new();
    for (operator, keys) in raw.condition {
        for (key, values) in keys {
            let values = values.0.into_iter().map(|scalar| scalar.0).collect();
            conditions.push(Condition::parse(&operator, &key, values).map_err(named)?);
        }
    }
    Ok(Statement { effect: raw.effect, actions, resources, conditions, name })
}

fn choice(
    name: &str,
    plain: Option<OneOrMany<String>>,
    negated: Option<OneOrMany<String>>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Choice, String> {
    let (patterns, negated) = match (plain, negated) {
        (Some(patterns), None) => (patterns.0, false),
        (None, Some(patterns)) => (patterns.0, true),
        _ => return Err(format!("it must have one of {name} and Not{name}")),
    };
    if patterns.is_empty() {
        return Err(format!("{name} must not be empty"));
    }
    patterns.iter().try_for_each(|pattern| check(pattern))?;
    Ok(Choice { patterns, negated })
}

fn check_action(pattern: &str) -> Result<(), String> {
    let service = pattern.split_once(':').is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
    if pattern == "*" || service { Ok(()) } else { Err(format!("the action '{pattern}' must be * or have the form ec2:CreateVolume")) }
}

fn check_resource(pattern: &str) -> Result<(), String> {
    let segments = pattern.split(':').count();
    if pattern == "*" || (pattern.starts_with("arn:") && segments >= 6) {
        return Ok(());
    }
    Err(format!("the resource '{pattern}' must be * or an ARN of six segments, as arn:aws:ec2:*:*:volume/*"))
}

/// What may be written alone or as a list.
struct OneOrMany<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData)).map(Self)
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value or a list of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element()? {
            found.push(item);
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        T::deserialize(text.into_deserializer()).map(|one| vec![one])
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| vec![one])
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| vec![one])
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| vec![one])
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| vec![one])
    }
}

/// A value of a condition: text, and numbers and booleans that are read as text.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number or a boolean")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(statement: &Value) -> Result<Policy, String> {
        let document = json!({"Version": "2012-10-17", "Statement": statement});
        serde_json::from_value(document).map_err(|error| error.to_string())
    }

    #[test]
    fn one_value_and_a_list_of_one_say_the_same() {
        let one = json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"Bool": {"ec2:Encrypted": true}}});
        let many = json!([{"Effect": "Allow", "Action": ["ec2:*"], "Resource": ["*"], "Condition": {"Bool": {"ec2:Encrypted": ["true"]}}}]);
        assert_eq!(policy(&one).unwrap(), policy(&many).unwrap());
    }

    #[test]
    fn actions_match_without_regard_to_case_and_negations_turn_it_round() {
        let context = Context::default();
        let matches = |statement: Value, action: &str, resource: &str| {
            policy(&statement).unwrap().matching(action, resource, &context).next().is_some()
        };
        let describe = json!({"Effect": "Allow", "Action": "EC2:describe*", "Resource": "*"});
        assert!(matches(describe.clone(), "ec2:DescribeVolumes", "*"));
        assert!(!matches(describe, "ec2:CreateVolume", "*"));
        let all_but = json!({"Effect": "Allow", "NotAction": "ec2:Delete*", "NotResource": "arn:aws:ec2:*:*:instance/*"});
        assert!(matches(all_but.clone(), "ec2:CreateVolume", "arn:aws:ec2:r:a:volume/v"));
        assert!(!matches(all_but.clone(), "ec2:DeleteVolume", "arn:aws:ec2:r:a:volume/v"));
        assert!(!matches(all_but, "ec2:CreateTags", "arn:aws:ec2:r:a:instance/i"));
    }

    #[test]
    fn a_document_with_a_mistake_names_the_statement_and_the_mistake() {
        let good = json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"});
        let with = |field: &str, value: Value| {
            let mut statement = good.clone();
            statement[field] = value;
            policy(&statement).unwrap_err()
        };
        let table = [
            (with("Efect", json!("Deny")), "unknown field `Efect`"),
            (with("Principal", json!("*")), "unknown field `Principal`"),
            (with("Effect", json!("Permit")), "unknown variant `Permit`"),
            (with("Action", json!("CreateVolume")), "statement 1: the action 'CreateVolume'"),
            (with("Action", json!([])), "Action must not be empty"),
            (with("NotAction", json!("ec2:*")), "one of Action and NotAction"),
            (with("Resource", json!("volume/*")), "the resource 'volume/*'"),
            (with("Resource", json!(7)), "invalid type: integer `7`"),
            (with("Condition", json!({"StringEqual": {"aws:a": "b"}})), "the condition operator 'StringEqual' is not known"),
            (with("Condition", json!({"StringEquals": {"aws:a": [["b"]]}})), "invalid type"),
        ];
        for (message, expected) in table {
            assert!(message.contains(expected), "{message} should say {expected}");
        }
        let version: Result<Policy, _> = serde_json::from_value(json!({"Version": "2012", "Statement": good}));
        assert!(version.unwrap_err().to_string().contains("Version must be"));
    }
}
