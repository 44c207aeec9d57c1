//! A script of faults: what goes wrong when, by the clock of the account or by the count of calls.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, io};
use crate::world::actions::ActionSpec;
use crate::world::fault::Fault;

/// The faults of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// At once, and then by the clock: milliseconds from the start.
    pub(crate) timed: Vec<(u64, Fault)>,
    counted: Vec<Counted>,
}

/// A fault that waits for a number of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    action: Option<String>,
    left: u64,
    fault: Fault,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    faults: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    at_millis: Option<u64>,
    after_calls: Option<RawCalls>,
    inject: Fault,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCalls {
    action: Option<String>,
    count: u64,
}

impl Script {
    /// Reads a file in YAML or JSON.
    pub(crate) fn load(file: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(file).map_err(io("read", file))?;
        Self::parse(&text).map_err(|problem| Error::Faults { path: file.to_owned(), problem })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: RawFile = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        let mut script = Self::default();
        for (number, entry) in (1..).zip(file.faults) {
            script.add(entry).map_err(|problem| format!("fault {number}: {problem}"))?;
        }
        Ok(script)
    }

    fn add(&mut self, entry: RawEntry) -> Result<(), String> {
        let Some(calls) = entry.after_calls else {
            self.timed.push((entry.at_millis.unwrap_or(0), entry.inject));
            return Ok(());
        };
        if entry.at_millis.is_some() {
            return Err("it has both at_millis and after_calls: give one".to_owned());
        }
        if let Some(action) = calls.action.as_ref().filter(|action| ActionSpec::find(action).is_none()) {
            return Err(format!("after_calls: there is no action '{action}'"));
        }
        if calls.count == 0 {
            return Err("after_calls: count must be 1 or more; leave after_calls out for a fault from the start".to_owned());
        }
        self.counted.push(Counted { action: calls.action, left: calls.count, fault: entry.inject });
        Ok(())
    }

    /// Counts a call that begins, and returns the faults whose number of calls has passed before it.
    pub(crate) fn due(&mut self, action: &str) -> Vec<Fault> {
        let mut due = Vec::new();
        self.counted.retain_mut(|counted| {
            if counted.action.as_deref().is_some_and(|wanted| wanted != action) {
                return true;
            }
            if counted.left == 0 {
                due.push(counted.fault.clone());
                return false;
            }
            counted.left -= 1;
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
faults:
- inject: {fault: throttle, action: '*', bucket: {size: 3, refill_per_second: 1}}
- at_millis: 30000
  inject: {fault: instance-dies, instance_id: i-1}
- after_calls: {action: CreateVolume, count: 2}
  inject: {fault: error, calls: {action: CreateVolume}, times: 1, code: InternalError}
- after_calls: {count: 1}
  inject: {fault: reply-lost, times: 1}
";

    #[test]
    fn faults_are_due_by_time_and_by_count() {
        let mut script = Script::parse(FILE).unwrap();
        assert_eq!(script.timed.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 30_000]);
        let names =
            |faults: Vec<Fault>| faults.iter().map(|fault| serde_json::to_value(fault).unwrap()["fault"].clone()).collect::<Vec<_>>();
        assert_eq!(names(script.due("CreateVolume")), [""; 0]);
        assert_eq!(names(script.due("DescribeVolumes")), ["reply-lost"]);
        assert_eq!(names(script.due("CreateVolume")), [""; 0]);
        assert_eq!(names(script.due("CreateVolume")), ["error"]);
        assert_eq!(names(script.due("CreateVolume")), [""; 0]);
    }

    #[test]
    fn a_script_with_a_mistake_names_the_fault_and_the_mistake() {
        let entry = |text: &str| format!("faults: [{{{text}, inject: {{fault: reply-lost}}}}]");
        let table = [
            ("faults: [{inject: {fault: eror}}]".to_owned(), "unknown variant `eror`"),
            (entry("at_milis: 3"), "unknown field `at_milis`"),
            (entry("at_millis: 1, after_calls: {count: 1}"), "fault 1: it has both"),
            (entry("after_calls: {action: createVolume, count: 1}"), "fault 1: after_calls: there is no action 'createVolume'"),
            (entry("after_calls: {count: 0}"), "count must be 1 or more"),
            (String::new(), "faults"),
        ];
        for (text, expected) in table {
            let problem = Script::parse(&text).unwrap_err();
            assert!(problem.contains(expected), "{problem} should say {expected}");
        }
    }
}
