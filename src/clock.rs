//! Where the controller reads the time from: the system, or a test that lets days pass in seconds.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// The time by which everything is decided and published. Clones are the same clock.
///
/// Only waits inside the process, such as the pause after a failure, are counted by the monotonic clock instead.
#[derive(Clone)]
pub struct Clock {
    read: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Clock {
    /// A clock that shows what `read` says. It must not go back.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read) }
    }

    /// The time at this moment.
    pub fn now(&self) -> Timestamp {
        (self.read)()
    }
}

/// The clock of the system.
impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
