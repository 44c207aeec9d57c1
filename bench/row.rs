//! One measured figure.

use std::fmt;

use serde::Serialize;

/// A figure of ours beside a rival's, or beside a limit that nobody can pass.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: &'static str,
    /// Our figure.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The largest ratio that we accept.
    pub(crate) target: f64,
    /// Who or what we are compared with.
    pub(crate) rival: &'static str,
    /// The rival's figure.
    pub(crate) rival_value: f64,
    /// Ours divided by the rival's.
    pub(crate) ratio: f64,
    /// Whether the ratio is within the target.
    pub(crate) met: bool,
    /// The command that makes this row again.
    pub(crate) command: &'static str,
}

/// What is compared with what.
pub(crate) struct Comparison {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) rival: &'static str,
    pub(crate) target: f64,
    pub(crate) command: &'static str,
}

impl Comparison {
    /// The row for two figures of the same unit.
    pub(crate) fn row(self, value: f64, rival_value: f64) -> Row {
        let ratio = value / rival_value;
        let Self { name, unit, rival, target, command } = self;
        Row { name, value, unit, target, rival, rival_value, ratio, met: ratio <= target, command }
    }
}

/// The middle of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "yes" } else { "NO" };
        let Self { name, value, unit, rival_value, ratio, target, rival, .. } = self;
        write!(f, "{name:<26} {value:>10.3} {unit:<4} {rival_value:>10.3} {ratio:>7.2}x {target:>7.2}x  {met:<3}  {rival}")
    }
}
