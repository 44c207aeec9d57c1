//! Patterns of policies: wildcards, policy variables, and ARNs segment by segment.
//!
//! Rules from "IAM JSON policy elements: Resource", "String condition operators" and
//! "Policy variables" (IAM User Guide).

use super::Context;

/// A piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// `*`.
    Any,
    /// `?`.
    One,
    Char(char),
}

/// A pattern whose variables have their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

/// How the text of a pattern is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Whether `*` and `?` are wildcards.
    pub(super) wildcards: bool,
    /// Whether `${…}` is a variable: in documents of version 2012-10-17.
    pub(super) variables: bool,
}

impl Pattern {
    /// Reads a pattern. None when a variable in it has no value: it then matches nothing.
    pub(super) fn read(text: &str, reading: Reading, context: &Context) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if reading.variables
                && let Some((name, after)) = rest.strip_prefix("${").and_then(|inner| inner.split_once('}'))
            {
                pieces.extend(variable(name, context)?.chars().map(Piece::Char));
                rest = after;
                continue;
            }
            pieces.push(match first {
                '*' if reading.wildcards => Piece::Any,
                '?' if reading.wildcards => Piece::One,
                other => Piece::Char(other),
            });
            rest = &rest[first.len_utf8()..];
        }
        Some(Self(pieces))
    }

    /// Whether the whole text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        matches(&self.0, &text.chars().collect::<Vec<_>>())
    }

    /// Whether an ARN matches. A wildcard stays inside its segment; the sixth holds the rest.
    pub(super) fn matches_arn(&self, arn: &str) -> bool {
        if self.0 == [Piece::Any] {
            return true;
        }
        let patterns: Vec<&[Piece]> = self.0.splitn(ARN_SEGMENTS, |piece| *piece == Piece::Char(':')).collect();
        let segments: Vec<&str> = arn.splitn(ARN_SEGMENTS, ':').collect();
        patterns.len() == segments.len()
            && patterns.iter().zip(segments).all(|(pattern, segment)| matches(pattern, &segment.chars().collect::<Vec<_>>()))
    }
}

/// `arn:partition:service:region:account:resource`.
const ARN_SEGMENTS: usize = 6;

/// The value of `key` or of `key, 'default'`; three names stand for characters.
fn variable(name: &str, context: &Context) -> Option<String> {
    if matches!(name, "*" | "?" | "$") {
        return Some(name.to_owned());
    }
    let (key, default) = name.split_once(',').map_or((name, None), |(key, default)| (key, Some(default.trim().trim_matches('\''))));
    match context.values(key.trim()) {
        [value] => Some(value.clone()),
        // A key of several values cannot stand in a text.
        _ => default.map(str::to_owned),
    }
}

/// Matches with one point to come back to, so that the time is the product of the lengths at worst.
fn matches(pattern: &[Piece], text: &[char]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(Piece::Any) => {
                back = Some((at, in_text));
                at += 1;
                continue;
            }
            Some(Piece::One) => {
                at += 1;
                in_text += 1;
                continue;
            }
            Some(Piece::Char(c)) if *c == text[in_text] => {
                at += 1;
                in_text += 1;
                continue;
            }
            _ => {}
        }
        let Some((star, start)) = back else {
            return false;
        };
        back = Some((star, start + 1));
        at = star + 1;
        in_text = start + 1;
    }
    pattern[at..].iter().all(|piece| *piece == Piece::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Reading = Reading { wildcards: true, variables: true };

    fn context() -> Context {
        Context::default().with("aws:username", "jane").with("aws:PrincipalTag/Team", "a*b")
    }

    fn pattern(text: &str) -> Option<Pattern> {
        Pattern::read(text, ALL, &context())
    }

    #[test]
    fn wildcards_match_any_run_and_any_character() {
        let table = [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab", "aab", true),
            ("é?", "éü", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (text, value, expected) in table {
            assert_eq!(pattern(text).unwrap().matches(value), expected, "{text} {value}");
        }
    }

    /// The meaning of a pattern, without a thought for time.
    fn means(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|from| means(rest, &text[from..])),
            Some((first, rest)) => text.split_first().is_some_and(|(c, after)| (*first == '?' || first == c) && means(rest, after)),
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_pattern_matches_what_it_means(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let plain = |text: &str| text.chars().collect::<Vec<_>>();
            let found = super::tests::pattern(&pattern).unwrap().matches(&text);
            proptest::prop_assert_eq!(found, means(&plain(&pattern), &plain(&text)));
        }
    }

    #[test]
    fn an_arn_matches_segment_by_segment() {
        let volume = "arn:aws:ec2:us-east-1:000000000000:volume/vol-1";
        let snapshot = "arn:aws:ec2:us-east-1::snapshot/snap-1";
        let table = [
            ("*", volume, true),
            ("arn:aws:ec2:*:*:volume/*", volume, true),
            ("arn:aws:ec2:*:*:snapshot/*", snapshot, true),
            ("arn:aws:ec2:*::snapshot/*", snapshot, true),
            ("arn:aws:ec2:*:000000000000:snapshot/*", snapshot, false),
            ("arn:aws:ec2:us-east-1:*:volume/vol-2", volume, false),
            ("arn:aws:ec2:*:volume/*", volume, false),
            ("arn:aws:ec2:*:*:instance/*", volume, false),
        ];
        for (text, arn, expected) in table {
            assert_eq!(pattern(text).unwrap().matches_arn(arn), expected, "{text} {arn}");
        }
    }

    #[test]
    fn a_variable_stands_for_its_value_and_not_for_wildcards_in_it() {
        assert!(pattern("${aws:username}-*").unwrap().matches("jane-1"));
        let team = pattern("${aws:PrincipalTag/team}").unwrap();
        assert!(team.matches("a*b") && !team.matches("axb"));
        assert!(pattern("${aws:none, 'x'}").unwrap().matches("x"));
        assert!(pattern("${*}").unwrap().matches("*") && !pattern("${*}").unwrap().matches("a"));
        assert_eq!(pattern("${aws:none}"), None);
        let old = Pattern::read("${aws:username}", Reading { variables: false, ..ALL }, &context()).unwrap();
        assert!(old.matches("${aws:username}") && !old.matches("jane"));
    }
}
