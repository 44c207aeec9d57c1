//! Conditions of a statement: operators over the keys of a request.
//!
//! Rules from "IAM JSON policy elements: Condition operators" and "Multivalued context
//! keys" (IAM User Guide).

use std::cmp::Ordering;

use super::Context;
use super::pattern::{Pattern, Reading};

/// One operator over one key. All conditions of a statement must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    operator: Operator,
    key: String,
    /// One of them must match; for a negated operator none may.
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operator {
    qualifier: Qualifier,
    test: Test,
    negated: bool,
    if_exists: bool,
}

/// How the several values of a key are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Qualifier {
    None,
    ForAllValues,
    ForAnyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Equals,
    EqualsIgnoreCase,
    Like,
    Arn,
    Bool,
    Null,
    Number(Comparison),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, value: f64, wanted: f64) -> bool {
        let order = value.partial_cmp(&wanted);
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// The operators, without prefix and suffix. Dates, addresses and binary values are not known:
/// no key that a simulated request has is one.
const OPERATORS: [(&str, Test, bool); 18] = [
    ("StringEquals", Test::Equals, false),
    ("StringNotEquals", Test::Equals, true),
    ("StringEqualsIgnoreCase", Test::EqualsIgnoreCase, false),
    ("StringNotEqualsIgnoreCase", Test::EqualsIgnoreCase, true),
    ("StringLike", Test::Like, false),
    ("StringNotLike", Test::Like, true),
    ("ArnEquals", Test::Arn, false),
    ("ArnNotEquals", Test::Arn, true),
    ("ArnLike", Test::Arn, false),
    ("ArnNotLike", Test::Arn, true),
    ("Bool", Test::Bool, false),
    ("Null", Test::Null, false),
    ("NumericEquals", Test::Number(Comparison::Equal), false),
    ("NumericNotEquals", Test::Number(Comparison::Equal), true),
    ("NumericLessThan", Test::Number(Comparison::Less), false),
    ("NumericLessThanEquals", Test::Number(Comparison::LessOrEqual), false),
    ("NumericGreaterThan", Test::Number(Comparison::Greater), false),
    ("NumericGreaterThanEquals", Test::Number(Comparison::GreaterOrEqual), false),
];

impl Operator {
    fn parse(operator: &str) -> Result<Self, String> {
        let (qualifier, rest) = match operator.split_once(':') {
            Some(("ForAllValues", rest)) => (Qualifier::ForAllValues, rest),
            Some(("ForAnyValue", rest)) => (Qualifier::ForAnyValue, rest),
            _ => (Qualifier::None, operator),
        };
        let (name, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |name| (name, true));
        let found = OPERATORS.iter().find(|(known, ..)| *known == name);
        let Some((_, test, negated)) = found else {
            let known: Vec<&str> = OPERATORS.iter().map(|(known, ..)| *known).collect();
            return Err(format!("the condition operator '{operator}' is not known here; there are {}", known.join(", ")));
        };
        if *test == Test::Null && if_exists {
            return Err("the condition operator Null asks whether a key exists: NullIfExists makes no sense".to_owned());
        }
        Ok(Self { qualifier, test: *test, negated: *negated, if_exists })
    }
}

impl Condition {
    /// Reads a condition of a policy; the error says what is wrong with it.
    pub(super) fn parse(operator: &str, key: &str, values: Vec<String>) -> Result<Self, String> {
        let parsed = Operator::parse(operator)?;
        let service = key.split_once(':').is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
        if !service {
            return Err(format!("the condition key '{key}' must have a service in front, as in aws:RequestTag/Name"));
        }
        if values.is_empty() {
            return Err(format!("the condition {operator} of {key} needs a value"));
        }
        let wrong = values.iter().find(|value| match parsed.test {
            Test::Bool | Test::Null => !matches!(value.as_str(), "true" | "false"),
            Test::Number(_) => value.parse::<f64>().is_err(),
            _ => false,
        });
        if let Some(value) = wrong {
            return Err(format!("the condition {operator} of {key} cannot have the value '{value}'"));
        }
        Ok(Self { operator: parsed, key: key.to_owned(), values })
    }

    /// Whether the condition holds for a request.
    pub(super) fn holds(&self, context: &Context, variables: bool) -> bool {
        let present = context.values(&self.key);
        let Operator { qualifier, test, negated, if_exists } = self.operator;
        if test == Test::Null {
            return self.values.iter().any(|absent| (absent == "true") == present.is_empty());
        }
        if present.is_empty() {
            return match qualifier {
                Qualifier::ForAllValues => true,
                Qualifier::ForAnyValue => false,
                Qualifier::None => if_exists || negated,
            };
        }
        let fits = |value: &String| self.values.iter().any(|wanted| self.test(wanted, value, context, variables)) != negated;
        match qualifier {
            Qualifier::ForAllValues => present.iter().all(fits),
            Qualifier::None if negated => present.iter().all(fits),
            Qualifier::None | Qualifier::ForAnyValue => present.iter().any(fits),
        }
    }

    fn test(&self, wanted: &str, value: &str, context: &Context, variables: bool) -> bool {
        let read = |wildcards| Pattern::read(wanted, Reading { wildcards, variables }, context);
        match self.operator.test {
            Test::Equals => read(false).is_some_and(|pattern| pattern.matches(value)),
            Test::EqualsIgnoreCase => {
                let pattern = Pattern::read(&wanted.to_lowercase(), Reading { wildcards: false, variables }, context);
                pattern.is_some_and(|pattern| pattern.matches(&value.to_lowercase()))
            }
            Test::Like => read(true).is_some_and(|pattern| pattern.matches(value)),
            Test::Arn => read(true).is_some_and(|pattern| pattern.matches_arn(value)),
            Test::Bool => wanted.eq_ignore_ascii_case(value),
            Test::Number(comparison) => match (value.parse(), wanted.parse()) {
                (Ok(value), Ok(wanted)) => comparison.holds(value, wanted),
                _ => false,
            },
            Test::Null => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(operator: &str, key: &str, values: &[&str], context: &Context) -> bool {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Condition::parse(operator, key, values).unwrap().holds(context, true)
    }

    #[test]
    fn each_operator_looks_at_a_present_and_an_absent_key() {
        let context = Context::default().with("ec2:VolumeSize", "100").with("aws:RequestTag/Team", "blue").with("ec2:Encrypted", "true");
        let (team, size, none) = ("aws:RequestTag/Team", "ec2:VolumeSize", "aws:RequestTag/none");
        let table: &[(&str, &str, &[&str], bool)] = &[
            ("StringEquals", team, &["red", "blue"], true),
            ("StringEquals", team, &["Blue"], false),
            ("StringEquals", team, &["bl*"], false),
            ("StringEquals", none, &["blue"], false),
            ("StringEquals", "AWS:requesttag/TEAM", &["blue"], true),
            ("StringEqualsIgnoreCase", team, &["BLUE"], true),
            ("StringNotEquals", team, &["red", "green"], true),
            ("StringNotEquals", team, &["red", "blue"], false),
            ("StringNotEquals", none, &["blue"], true),
            ("StringLike", team, &["b?u*"], true),
            ("StringLike", none, &["*"], false),
            ("StringNotLike", none, &["*"], true),
            ("StringEqualsIfExists", none, &["blue"], true),
            ("StringEqualsIfExists", team, &["red"], false),
            ("Bool", "ec2:Encrypted", &["true"], true),
            ("Bool", "ec2:Encrypted", &["false"], false),
            ("BoolIfExists", "aws:none", &["false"], true),
            ("Null", none, &["true"], true),
            ("Null", team, &["true"], false),
            ("Null", team, &["false"], true),
            ("NumericLessThanEquals", size, &["100"], true),
            ("NumericLessThan", size, &["100"], false),
            ("NumericGreaterThan", size, &["99.5"], true),
            ("NumericEquals", size, &["100.0"], true),
            ("NumericNotEquals", size, &["100"], false),
        ];
        for (operator, key, values, expected) in table {
            assert_eq!(holds(operator, key, values, &context), *expected, "{operator} {key} {values:?}");
        }
    }

    #[test]
    fn several_values_are_looked_at_all_or_any() {
        let two = Context::default().with("aws:TagKeys", "a").with("aws:TagKeys", "b");
        let none = Context::default();
        let table: &[(&str, &[&str], bool, bool)] = &[
            ("ForAllValues:StringEquals", &["a", "b", "c"], true, true),
            ("ForAllValues:StringEquals", &["a"], false, true),
            ("ForAllValues:StringNotEquals", &["c"], true, true),
            ("ForAllValues:StringNotEquals", &["a"], false, true),
            ("ForAnyValue:StringEquals", &["b"], true, false),
            ("ForAnyValue:StringEquals", &["c"], false, false),
            ("ForAnyValue:StringNotEquals", &["a"], true, false),
            // A question on re:Post of 2023: the suffix does not help a ForAnyValue without a key.
            ("ForAnyValue:StringEqualsIfExists", &["a"], true, false),
            ("StringEquals", &["b"], true, false),
            ("StringNotEquals", &["b"], false, true),
        ];
        for (operator, values, with_two, with_none) in table {
            assert_eq!(holds(operator, "aws:TagKeys", values, &two), *with_two, "{operator} {values:?}");
            assert_eq!(holds(operator, "aws:TagKeys", values, &none), *with_none, "{operator} {values:?} without the key");
        }
    }

    #[test]
    fn a_condition_that_makes_no_sense_is_refused() {
        for (operator, key, value) in [
            ("StringEqual", "aws:a", "x"),
            ("ForSome:StringEquals", "aws:a", "x"),
            ("StringEquals", "Team", "x"),
            ("Bool", "aws:a", "yes"),
            ("Null", "aws:a", "1"),
            ("NullIfExists", "aws:a", "true"),
            ("NumericEquals", "ec2:VolumeSize", "ten"),
            ("IpAddress", "aws:SourceIp", "10.0.0.0/8"),
        ] {
            assert!(Condition::parse(operator, key, vec![value.to_owned()]).is_err(), "{operator} {key} {value}");
        }
        assert!(Condition::parse("StringEquals", "aws:a", Vec::new()).is_err());
    }
}
