//! Pauses of the SDK at a hundredth of their length, since its waiters look every fifteen seconds.

use std::time::Duration;

use aws_sdk_ec2::config::{AsyncSleep, Sleep};

/// How many times faster than asked for.
const TIMES: u32 = 100;

/// Sleeps a hundredth of what it is asked to sleep.
#[derive(Debug, Clone, Copy)]
pub struct Hurry;

impl AsyncSleep for Hurry {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(tokio::time::sleep(duration / TIMES))
    }
}
