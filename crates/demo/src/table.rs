//! A small table of what took how long.

use std::time::Duration;

/// Rows of a name, a time, and what it means.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<(&'static str, Duration, &'static str)>,
}

impl Table {
    /// Adds a row.
    pub(crate) fn row(&mut self, name: &'static str, took: Duration, meaning: &'static str) {
        self.rows.push((name, took, meaning));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, took, meaning) in &self.rows {
            writeln!(f, "  {name:<22} {:>8.2} s   {meaning}", took.as_secs_f64())?;
        }
        Ok(())
    }
}
