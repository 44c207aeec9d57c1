//! The parameters of a Query request: flat names with dots and numbers, read with types.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::world::{ApiError, Filter, Tag, TagSpecification};

/// The parameters of one request. It notes what has been read, so that what
/// nobody understands can be refused instead of silently dropped.
#[derive(Debug)]
pub(super) struct Params {
    values: BTreeMap<String, String>,
    read: RefCell<BTreeSet<String>>,
}

/// What every request carries, and signatures in a query.
const COMMON: [&str; 7] = ["Action", "AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp", "Version"];

impl Params {
    /// Reads a query string and a form body together.
    ///
    /// Refuses what is not UTF-8, escaped or not: a character that stands for
    /// another would be stored as what nobody wrote.
    pub(super) fn parse(query: &[u8], body: &[u8]) -> Result<Self, ApiError> {
        if !is_text(query) || !is_text(body) {
            return Err(ApiError::new("InvalidCharacter", "The request holds characters that are not valid UTF-8."));
        }
        let values = [query, body]
            .iter()
            .flat_map(|bytes| form_urlencoded::parse(bytes))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Ok(Self { values, read: RefCell::default() })
    }

    /// The action's name; empty when there is none.
    pub(super) fn action(&self) -> String {
        self.text("Action").unwrap_or_default()
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = self.values.get(name)?;
        self.read.borrow_mut().insert(name.to_owned());
        Some(value.clone())
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> Result<String, ApiError> {
        self.text(name).filter(|value| !value.is_empty()).ok_or_else(|| ApiError::missing(name))
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.typed(name, "Integer", |text| text.parse().ok())
    }

    /// A boolean.
    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "Boolean", |text| text.to_ascii_lowercase().parse().ok())
    }

    fn typed<T>(&self, name: &str, kind: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        parse(&text)
            .map(Some)
            .ok_or_else(|| ApiError::invalid_value(format!("Invalid value '{text}' for parameter {name}: it must be of type {kind}")))
    }

    /// The texts `<name>.1`, `<name>.2`, in the order of their numbers.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let members = self.members(name);
        members.into_iter().filter_map(|m| self.text(&m)).collect()
    }

    /// The names `<name>.1`, `<name>.2` of the members of a list that has any.
    pub(super) fn members(&self, name: &str) -> Vec<String> {
        let numbers: BTreeSet<u32> = self
            .values
            .keys()
            .filter_map(|key| {
                let rest = key.strip_prefix(name)?.strip_prefix('.')?;
                rest.split('.').next()?.parse().ok()
            })
            .collect();
        numbers.into_iter().map(|n| format!("{name}.{n}")).collect()
    }

    /// `Filter.N.Name` with `Filter.N.Value.M`.
    pub(super) fn filters(&self) -> Result<Vec<Filter>, ApiError> {
        self.members("Filter")
            .into_iter()
            .map(|member| Ok(Filter { name: self.required(&format!("{member}.Name"))?, values: self.texts(&format!("{member}.Value")) }))
            .collect()
    }

    /// `<name>.N.Key` with `<name>.N.Value`, if any.
    pub(super) fn keys(&self, name: &str) -> Result<Vec<(String, Option<String>)>, ApiError> {
        self.members(name)
            .into_iter()
            .map(|member| {
                let key = self.required(&format!("{member}.Key"))?;
                Ok((key, self.text(&format!("{member}.Value"))))
            })
            .collect()
    }

    /// As [`Params::keys`], a missing value being empty.
    pub(super) fn tags(&self, name: &str) -> Result<Vec<Tag>, ApiError> {
        let tag = |(key, value): (String, Option<String>)| Tag { key, value: value.unwrap_or_default() };
        Ok(self.keys(name)?.into_iter().map(tag).collect())
    }

    /// `TagSpecification.N`.
    pub(super) fn tag_specifications(&self) -> Result<Vec<TagSpecification>, ApiError> {
        self.members("TagSpecification")
            .into_iter()
            .map(|member| {
                let resource_type = self.text(&format!("{member}.ResourceType"));
                Ok(TagSpecification { resource_type: resource_type.unwrap_or_default(), tags: self.tags(&format!("{member}.Tag"))? })
            })
            .collect()
    }

    /// Accepts parameters that have no meaning here, with everything below them.
    pub(super) fn ignore(&self, names: &[&str]) {
        let below = |key: &str, name: &str| {
            let rest = key.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let ignored = self.values.keys().filter(|key| names.iter().any(|n| below(key, n)));
        self.read.borrow_mut().extend(ignored.cloned());
    }

    /// Refuses the request when it has parameters that nobody has read.
    pub(super) fn all_read(&self) -> Result<(), ApiError> {
        let read = self.read.borrow();
        let unread = self.values.keys().find(|key| !read.contains(*key) && !COMMON.contains(&key.as_str()) && !key.starts_with("X-Amz-"));
        match unread {
            None => Ok(()),
            Some(name) => Err(ApiError::new("UnknownParameter", format!("The parameter {name} is not recognized, or not simulated"))),
        }
    }
}

/// Whether bytes are UTF-8 once their percent-escapes are undone.
fn is_text(bytes: &[u8]) -> bool {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                plain.push(code);
                rest = &after[2..];
            }
            // Escapes of neighbouring parameters do not make one character together.
            (b'&' | b'=', _) => {
                plain.push(b'\n');
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    std::str::from_utf8(&plain).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Params {
        Params::parse(b"", body.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_text_is_refused() {
        for body in [&b"A=\xff"[..], b"A=%ff", b"A=%C3&B=%A9", b"%ED%A0%80=x"] {
            assert_eq!(Params::parse(b"", body).unwrap_err().code, "InvalidCharacter", "{body:?}");
        }
        assert!(Params::parse(b"A=%C3%A9", "B=é&C=%&D=%zz".as_bytes()).is_ok());
    }

    #[test]
    fn lists_come_in_the_order_of_their_numbers() {
        let params = parse("VolumeId.10=j&VolumeId.2=b&VolumeId.1=a&VolumeIds.3=x");
        assert_eq!(params.texts("VolumeId"), ["a", "b", "j"]);
    }

    #[test]
    fn nested_tags_are_read() {
        let body = "TagSpecification.1.ResourceType=volume\
            &TagSpecification.1.Tag.1.Key=a%20b&TagSpecification.1.Tag.1.Value=%C3%A9";
        let params = parse(body);
        let specifications = params.tag_specifications().unwrap();
        assert_eq!(specifications[0].resource_type, "volume");
        assert_eq!(specifications[0].tags[0].key, "a b");
        assert_eq!(specifications[0].tags[0].value, "é");
        assert_eq!(params.all_read(), Ok(()));
    }

    #[test]
    fn a_parameter_that_nobody_reads_is_refused() {
        let params = parse("Action=X&Version=1&Sise=3");
        assert_eq!(params.all_read().unwrap_err().code, "UnknownParameter");
    }
}
