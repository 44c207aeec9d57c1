//! The figures, each beside its rival's.

use std::sync::{Mutex, PoisonError};

use serde_json::json;

static MISSED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Prints one figure; `target` is the largest ratio that is accepted. Without a rival it is information.
pub(crate) fn row(name: &str, value: f64, unit: &str, rival: &str, rival_value: f64, target: f64) {
    println!("{}", json!({"name": name, "value": value, "unit": unit, "rival": rival, "rival_value": rival_value, "target": target}));
    if value / rival_value > target {
        let text = format!("{name}: {value:.3} {unit} is {:.4} of {rival_value:.3} ({rival}), more than {target:.4}", value / rival_value);
        MISSED.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

/// Says at the end which targets were missed. That is a figure, and no failure: what cannot be measured is one.
pub(crate) fn tell_missed() {
    let missed = MISSED.lock().unwrap_or_else(PoisonError::into_inner);
    if missed.is_empty() {
        eprintln!("all targets are met");
        return;
    }
    eprintln!("{} targets are MISSED:", missed.len());
    missed.iter().for_each(|text| eprintln!("  {text}"));
}
