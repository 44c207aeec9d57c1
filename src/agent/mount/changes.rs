//! Tells when something is mounted or unmounted on the node.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use tokio::sync::Notify;

/// How often the table is to be looked at without a word of the kernel.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Changes of the mount table of this process.
pub struct MountChanges(Arc<Notify>);

impl MountChanges {
    /// Begins to watch, with a thread of its own that ends after this.
    pub fn watch() -> io::Result<Self> {
        let table = File::open("/proc/self/mountinfo")?;
        let changed = Arc::new(Notify::new());
        let watched = changed.clone();
        std::thread::Builder::new().name("mount-table".to_owned()).spawn(move || {
            while Arc::strong_count(&watched) > 1 {
                // Source: proc_pid_mounts(5): a change marks the file as having a priority event. An error is looked into by who
                // reads the table.
                match poll(&mut [PollFd::new(&table, PollFlags::PRI)], Some(&LOOK)) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => std::thread::sleep(std::time::Duration::from_secs(1)),
                }
                watched.notify_one();
            }
        })?;
        Ok(Self(changed))
    }

    /// Returns when the table may have changed, and after a second in any case. Cancel safe.
    pub async fn next(&self) {
        self.0.notified().await;
    }
}
