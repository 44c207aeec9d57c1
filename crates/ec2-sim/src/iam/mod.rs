//! IAM: whether the policies of an access key allow a call. Pure: questions in, a decision out.
//!
//! Rules from "Policy evaluation logic" (IAM User Guide): an explicit deny wins, then an
//! allow, and what nobody allows is denied. Only identity-based policies are known.

mod condition;
mod credentials;
mod denial;
mod pattern;
mod policy;
mod questions;

use std::collections::BTreeMap;

pub(crate) use credentials::{AccessKey, Credentials};
pub(crate) use denial::decode;
pub(crate) use policy::Policy;
use policy::{Effect, Statement};
use questions::Question;

use crate::world::{Action, ApiError, World};

/// The keys of a request and their values. Names of keys are compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Context(BTreeMap<String, (String, Vec<String>)>);

impl Context {
    /// With one value more of this key.
    pub(crate) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.add(key, value);
        self
    }

    /// Adds a value of a key.
    fn add(&mut self, key: &str, value: impl Into<String>) {
        let (_, values) = self.0.entry(key.to_lowercase()).or_insert_with(|| (key.to_owned(), Vec::new()));
        values.push(value.into());
    }

    /// The values of a key; none when the request has no such key.
    fn values(&self, key: &str) -> &[String] {
        self.0.get(&key.to_lowercase()).map_or(&[], |(_, values)| values)
    }

    /// Every key as it was written, with its values.
    fn entries(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.values().map(|(key, values)| (key.as_str(), values.as_slice()))
    }
}

/// What the policies say to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision<'a> {
    Allowed,
    /// No statement allows it.
    NotAllowed,
    /// This statement denies it.
    Denied(&'a Statement),
}

/// Checks that an access key may make a call of this world.
///
/// # Errors
///
/// `UnauthorizedOperation` with an encoded message that [`decode`] reads.
pub(crate) fn authorize(key: &AccessKey, world: &World, action: &Action) -> Result<(), ApiError> {
    for question in questions::of(key, world, action) {
        match decide(&key.policies, &question) {
            Decision::Allowed => {}
            decision => return Err(denial::error(key, &question, decision)),
        }
    }
    Ok(())
}

fn decide<'a>(policies: &'a [Policy], question: &'a Question) -> Decision<'a> {
    let mut decision = Decision::NotAllowed;
    for policy in policies {
        for statement in policy.matching(&question.action, &question.resource, &question.context) {
            match statement.effect {
                Effect::Deny => return Decision::Denied(statement),
                Effect::Allow => decision = Decision::Allowed,
            }
        }
    }
    decision
}

#[cfg(test)]
mod tests;
