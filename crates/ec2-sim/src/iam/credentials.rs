//! The file of access keys: who may sign requests, and with which policies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::Policy;
use crate::error::{Error, io};
use crate::sigv4::Secret;
use crate::world::ACCOUNT_ID;

/// Every access key of a simulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials(BTreeMap<String, Arc<AccessKey>>);

/// An access key of a user, and what the user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    secret: String,
    session_token: Option<String>,
    /// The user's name, in ARNs and in `aws:username`.
    pub(crate) user: String,
    /// `aws:PrincipalTag/…`.
    pub(crate) principal_tags: BTreeMap<String, String>,
    pub(crate) policies: Vec<Policy>,
}

impl AccessKey {
    /// What a request must be signed with.
    pub(crate) fn secret(&self) -> Secret<'_> {
        Secret { secret_access_key: &self.secret, session_token: self.session_token.as_deref() }
    }

    /// The user's ARN.
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT_ID}:user/{}", self.user)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawFile {
    access_keys: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawKey {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    user: Option<String>,
    #[serde(default)]
    principal_tags: BTreeMap<String, String>,
    /// Documents, or paths of files that hold one.
    #[serde(default)]
    policies: Vec<serde_yaml::Value>,
}

impl Credentials {
    /// Reads a file in YAML or JSON. Policies that are named by a path lie beside it.
    pub(crate) fn load(file: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(file).map_err(io("read", file))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let read = |path: &Path| fs::read_to_string(folder.join(path)).map_err(|error| error.to_string());
        Self::parse(&text, read).map_err(|problem| Error::Credentials { path: file.to_owned(), problem })
    }

    /// The access key of this id.
    pub(crate) fn find(&self, access_key_id: &str) -> Option<&Arc<AccessKey>> {
        self.0.get(access_key_id)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn parse(text: &str, read: impl Fn(&Path) -> Result<String, String>) -> Result<Self, String> {
        let file: RawFile = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        if file.access_keys.is_empty() {
            return Err("access-keys is empty, so that nobody could make a call".to_owned());
        }
        let mut keys = BTreeMap::new();
        let mut tokens = BTreeSet::new();
        for (number, raw) in (1..).zip(file.access_keys) {
            let key = access_key(raw, &read).map_err(|problem| format!("access key {number}: {problem}"))?;
            let id = key.id.clone();
            if !tokens.insert(id.clone()) {
                return Err(format!("access key {number}: access-key-id {id} is there twice"));
            }
            keys.insert(id, Arc::new(key));
        }
        Ok(Self(keys))
    }
}

fn access_key(raw: RawKey, read: &impl Fn(&Path) -> Result<String, String>) -> Result<AccessKey, String> {
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
    if !word(&raw.access_key_id) {
        return Err(format!("access-key-id '{}' must be letters and digits, as AKIAIOSFODNN7EXAMPLE", raw.access_key_id));
    }
    let id = raw.access_key_id;
    if raw.secret_access_key.is_empty() {
        return Err(format!("{id}: secret-access-key is empty"));
    }
    let user = raw.user.unwrap_or_else(|| id.clone());
    if !word(&user) {
        return Err(format!("{id}: user '{user}' must be letters, digits and any of _+=,.@-"));
    }
    let policies =
        (1..).zip(raw.policies).map(|(number, value)| policy(value, read).map_err(|problem| format!("{id}: policy {number}: {problem}")));
    Ok(AccessKey {
        secret: raw.secret_access_key,
        session_token: raw.session_token,
        user,
        principal_tags: raw.principal_tags,
        policies: policies.collect::<Result<_, _>>()?,
        id,
    })
}

fn policy(value: serde_yaml::Value, read: &impl Fn(&Path) -> Result<String, String>) -> Result<Policy, String> {
    let serde_yaml::Value::String(path) = value else {
        return serde_yaml::from_value(value).map_err(|error| error.to_string());
    };
    let path = PathBuf::from(path);
    let named = |problem: String| format!("{}: {problem}", path.display());
    let text = read(&path).map_err(named)?;
    serde_yaml::from_str(&text).map_err(|error| named(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}}"#;

    fn parse(text: &str) -> Result<Credentials, String> {
        Credentials::parse(text, |path| if path == Path::new("all.json") { Ok(POLICY.to_owned()) } else { Err("no such file".to_owned()) })
    }

    fn one(more: &str) -> String {
        format!("access-keys:\n- access-key-id: AKIA1\n  secret-access-key: secret\n{more}")
    }

    #[test]
    fn a_policy_stands_in_the_file_or_beside_it() {
        let beside = parse(&one("  policies: [all.json]\n")).unwrap();
        let inside = parse(&one(&format!("  policies:\n  - {POLICY}\n"))).unwrap();
        assert_eq!(beside, inside);
        let key = beside.find("AKIA1").unwrap();
        assert_eq!(key.arn(), "arn:aws:iam::000000000000:user/AKIA1");
        assert_eq!(key.secret().secret_access_key, "secret");
        assert_eq!(beside.find("AKIA2"), None);
    }

    #[test]
    fn json_will_do_too() {
        let text = r#"{"access-keys": [{"access-key-id": "A", "secret-access-key": "s", "session-token": "t", "user": "jane"}]}"#;
        let credentials = parse(text).unwrap();
        let key = credentials.find("A").unwrap();
        assert_eq!((key.user.as_str(), key.secret().session_token, key.policies.len()), ("jane", Some("t"), 0));
    }

    #[test]
    fn a_file_with_a_mistake_names_key_policy_and_mistake() {
        let table = [
            ("access-keys: []".to_owned(), "access-keys is empty"),
            (String::new(), "access-keys"),
            (one("  secret: x\n"), "unknown field `secret`"),
            (one("- access-key-id: AKIA1\n  secret-access-key: x\n"), "access key 2: access-key-id AKIA1 is there twice"),
            (one("  user: a/b\n"), "user 'a/b'"),
            (one("  policies: [none.json]\n"), "access key 1: AKIA1: policy 1: none.json: no such file"),
            (one("  policies: [{Statement: {Effect: Allow, Action: x, Resource: '*'}}]\n"), "policy 1: statement 1: the action 'x'"),
            ("access-keys: [{access-key-id: '', secret-access-key: s}]".to_owned(), "access-key-id ''"),
        ];
        for (text, expected) in table {
            let problem = parse(&text).unwrap_err();
            assert!(problem.contains(expected), "{problem} should say {expected}");
        }
    }
}
